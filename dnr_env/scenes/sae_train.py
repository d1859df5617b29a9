"""Train the sparse autoencoder of `scenes-sae`. It takes about a minute of one core.

    python -m dnr_env.scenes.sae_train --out sae.safetensors

The command prints, for pictures that training never saw, the share of the variance that the features explain, and how
many features are dead.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.functional import normalize
from tqdm import trange

from dnr_env.scenes.networks import Network
from dnr_env.scenes.render import SceneRenderer
from dnr_env.scenes.sae import FEATURES, LAYER, RARE, TARGET, K
from dnr_env.shapes.lexicon import ANYTHING
from dnr_env.shapes.network import LAYERS
from dnr_env.types import FloatArray

_FIRST_SEED = 1 << 42  # no other part of the world draws seeds from here to 2**43
_DRAWN = 500  # pictures drawn together
_TEST = 2000  # pictures that training never sees
_BATCH, _PEAK = 512, 0.002
_DEAD_AFTER = 20_000  # pictures in which a feature never fires
_REVIVED, _OF_DEAD = 20, 1 / 32  # dead features of a picture that learn from its error, and the weight of this loss


def layer_of(first: int, count: int) -> FloatArray:
    """(count, channels) the layer's channel means on faithful pictures of anything, from seed `first` on."""
    network, renderer = Network(TARGET), SceneRenderer()
    start = sum(network.widths[: LAYERS.index(LAYER)])
    parts = []
    for place in trange(first, first + count, _DRAWN, unit="batch", desc="pictures"):
        seeds = range(place, min(place + _DRAWN, first + count))
        parts.append(network.read(renderer.generate([ANYTHING] * len(seeds), seeds))[0])
    return np.concatenate(parts)[:, start : start + network.widths[LAYERS.index(LAYER)]]


def train(channels: FloatArray, steps: int, seed: int) -> dict[str, Tensor]:
    """Train a TopK autoencoder with an auxiliary loss for dead features (Gao et al. 2024, arXiv:2406.04093).

    Args:
        channels: (n, channels).
        steps: batches, of random rows.
        seed: decides the initial weights and the rows.

    Returns:
        W_enc (channels, features), b_enc (features,), W_dec (features, channels) and b_dec (channels,), float32. They
        apply to channels as they are. Each row of W_dec, divided by the channels' standard deviations, has unit norm.
    """
    rng = torch.Generator().manual_seed(seed)
    deviation, mean = torch.std_mean(torch.from_numpy(channels), dim=0)
    given = (torch.from_numpy(channels) - mean) / deviation
    decoder = normalize(torch.randn(FEATURES, given.shape[1], generator=rng)).requires_grad_()
    encoder = decoder.detach().T.clone().requires_grad_()
    bias, centre = torch.zeros(FEATURES, requires_grad=True), torch.zeros(given.shape[1], requires_grad=True)
    optimiser = torch.optim.Adam([decoder, encoder, bias, centre])
    silent = torch.zeros(FEATURES)  # pictures since a feature was last used
    for step in (bar := trange(steps, unit="batch", desc="training")):
        optimiser.param_groups[0]["lr"] = _PEAK * min(1, 5 * (1 - step / steps))  # falls in the last fifth
        x = given[torch.randint(len(given), (_BATCH,), generator=rng)]
        before = (x - centre) @ encoder + bias
        features = _largest(before, K)
        error = x - centre - features @ decoder
        loss = error.square().mean()
        silent = torch.where((features > 0).any(dim=0), 0, silent + _BATCH)
        if (dead := silent > _DEAD_AFTER).any():
            revived = _largest(before[:, dead], min(_REVIVED, int(dead.sum()))) @ decoder[dead]
            loss = loss + _OF_DEAD * (error.detach() - revived).square().mean()
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        with torch.no_grad():
            decoder.copy_(normalize(decoder))
        if step % 100 == 0:
            bar.set_postfix(loss=f"{loss.item():.3f}", dead=int(dead.sum()))
    made = {
        "W_enc": encoder / deviation[:, None],
        "b_enc": bias,
        "W_dec": decoder * deviation,
        "b_dec": mean + centre * deviation,
    }
    return {name: tensor.detach().contiguous() for name, tensor in made.items()}


def _largest(before: Tensor, k: int) -> Tensor:
    """Set all but the k largest of (n, features), and what is negative, to 0."""
    values, places = before.topk(k)
    return torch.zeros_like(before).scatter(1, places, values.relu())


def quality(weights: dict[str, Tensor], channels: FloatArray) -> tuple[float, Tensor]:
    """The share of the variance of channels (n, channels) that is explained, and how often each feature fires."""
    x = torch.from_numpy(channels)
    features = _largest((x - weights["b_dec"]) @ weights["W_enc"] + weights["b_enc"], K)
    error = x - weights["b_dec"] - features @ weights["W_dec"]
    explained = 1 - (error.square().mean(dim=0) / x.var(dim=0, correction=0)).mean()
    return float(explained), (features > 0).float().mean(dim=0)


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--pictures", type=int, default=30_000)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    weights = train(layer_of(_FIRST_SEED, options.pictures), options.steps, options.seed)
    explained, rate = quality(weights, layer_of(_FIRST_SEED + options.pictures, _TEST))
    save_file({**weights, "rate": rate}, options.out)
    print(f"explained {explained:.3f}\ndead      {int((rate < RARE).sum())} of {FEATURES}")


if __name__ == "__main__":
    main()
