"""Train a target of `scenes` from scratch. It takes five to eight minutes on one core.

    python -m dnr_env.scenes.target_train --architecture plain --seed 0 --out target-plain.safetensors

The three targets are made with `--architecture plain --seed 0`, `residual --seed 1` and `depthwise --seed 2`. The
command prints the mean average precision of each kind of output on pictures that training never saw. `--widths` gives
the layers other widths, and the setting `target=FILE` of a `scenes` stack studies the network.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from tqdm import trange

from dnr_env.scenes.network import SceneNet
from dnr_env.scenes.outputs import KINDS, presence
from dnr_env.scenes.render import SceneRenderer, draw_scenes
from dnr_env.scenes.widths import WIDTHS
from dnr_env.shapes.checkpoint import load_checkpoint, save_checkpoint
from dnr_env.shapes.lexicon import ANYTHING, vocabulary
from dnr_env.shapes.network import to_input
from dnr_env.shapes.weights import save_target
from dnr_env.types import BoolArray, FloatArray

_FIRST_SEED = 1 << 45  # of network 0; beyond every seed that the environment uses
_SEEDS = 1 << 32  # of each network
_TEST_SEED = 1 << 44
_SAVED_EVERY = 300  # steps


def pictures(first: int, size: int) -> tuple[torch.Tensor, BoolArray]:
    """Draw seeds `first` to `first + size`: inputs (size, 3, 64, 64) and what they show (size, outputs).

    Every second picture is of a random phrase, as too few pictures of anything show the rare words.
    """
    concepts = vocabulary()
    chosen = np.random.default_rng(first).integers(len(concepts), size=size).tolist()
    texts = [concepts[number] if place % 2 else ANYTHING for place, number in enumerate(chosen)]
    scenes = SceneRenderer().resolve(texts, range(first, first + size))
    return to_input(draw_scenes(scenes)), presence(scenes)


def average_precision(scores: FloatArray, shown: BoolArray) -> FloatArray:
    """The average precision (outputs,) of scores (n, outputs); NaN for an output that no picture shows.

    It is the mean, over the pictures that show an output, of the precision at their rank.
    """
    order = np.argsort(-scores, axis=0, kind="stable")
    hits = np.take_along_axis(shown, order, axis=0)
    precision = np.cumsum(hits, axis=0) / np.arange(1, len(hits) + 1)[:, None]
    count = hits.sum(axis=0)
    total = np.where(hits, precision, 0).sum(axis=0)
    mean: FloatArray = np.divide(total, count, out=np.full(len(count), np.nan), where=count > 0)
    return mean


def quality(network: SceneNet, count: int, batch: int = 250) -> dict[str, float]:
    """The mean average precision of each kind of output on `count` pictures that no training draws."""
    logits, shown = [], []
    with torch.inference_mode():
        for first in range(_TEST_SEED, _TEST_SEED + count, batch):
            x, y = pictures(first, batch)
            logits.append(network(x)[0].numpy())
            shown.append(y)
    precision = average_precision(np.concatenate(logits), np.concatenate(shown))
    return {kind: float(np.nanmean(precision[part])) for kind, part in KINDS.items()}


def learning_rate(step: int, steps: int, peak: float) -> float:
    """One cycle: linearly up from a tenth of the peak in 10% of the steps, then along a cosine to zero."""
    rise = 0.1 * steps
    if step < rise:
        return peak * (0.1 + 0.9 * step / rise)
    return peak * (1 + math.cos(math.pi * (step - rise) / (steps - rise))) / 2


def train(
    architecture: str, seed: int, steps: int, checkpoint: Path, batch: int = 64, widths: Sequence[int] | None = None
) -> SceneNet:
    """Train on `steps` batches of pictures, each drawn once. A training that was stopped goes on from `checkpoint`."""
    torch.manual_seed(seed)
    network = SceneNet(architecture, widths).to(memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(network.parameters(), weight_decay=0.01)
    begin = load_checkpoint(checkpoint, network, optimiser)
    first = _FIRST_SEED + seed * _SEEDS
    for step in (bar := trange(begin, steps, initial=begin, total=steps, unit="batch")):
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(step, steps, peak=0.006)
        x, shown = pictures(first + step * batch, batch)
        logits = network(x.contiguous(memory_format=torch.channels_last))[0]
        wanted = torch.from_numpy(shown).float()
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, wanted, reduction="sum") / batch
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        if step % 50 == 0:
            bar.set_postfix(loss=f"{loss.item():.2f}")
        if (step + 1) % _SAVED_EVERY == 0:
            save_checkpoint(checkpoint, network, optimiser, step + 1)
    checkpoint.unlink(missing_ok=True)
    return network.eval()


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--architecture", choices=WIDTHS, required=True)
    parser.add_argument("--widths", type=int, nargs=4, help="channels of the four layers")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    checkpoint = options.out.with_suffix(".checkpoint")
    widths = options.widths or WIDTHS[options.architecture]
    network = train(options.architecture, options.seed, options.steps, checkpoint, widths=widths)
    built = {"architecture": options.architecture, "widths": " ".join(map(str, widths))}
    save_target(options.out, network, "scenes", **built)
    for kind, precision in quality(network, 4000).items():
        print(f"{kind:<18}{precision:.3f}")


if __name__ == "__main__":
    main()
