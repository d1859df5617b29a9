"""Train the small CLIP of `scenes` from scratch. It takes about thirteen minutes on one core.

    python -m dnr_env.scenes.clip_train --seed 0 --out clip.safetensors

The command prints how well captions find pictures that training never saw, and how well the words of each family are
told apart.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors.torch import save_file
from torch.nn.functional import cross_entropy
from tqdm import trange

from dnr_env.scenes.captions import captions
from dnr_env.scenes.clip import DIM, ClipImages, ClipTexts, build
from dnr_env.scenes.clip_quality import quality
from dnr_env.scenes.clip_tokens import TOKENS, tokenize
from dnr_env.scenes.render import SceneRenderer, Scenes, draw_scenes
from dnr_env.shapes.checkpoint import load_checkpoint, save_checkpoint
from dnr_env.shapes.lexicon import ANYTHING, vocabulary
from dnr_env.shapes.network import to_input
from dnr_env.types import ImageArray

_FIRST_SEED = 1 << 47  # of seed 0; no other part of the world draws seeds from here on
_SEEDS = 1 << 32  # of each seed
_TEST_SEED = 1 << 46
_CAPTIONS = 3
"""The captions of each picture, each with other parts of what it shows. Reading one costs a tenth of the picture."""
_OF_WORDS = 0.1
"""The weight of the loss of words. That of contrasts is 1."""
_SAVED_EVERY = 100  # steps


class Captioned(NamedTuple):
    """Pictures with their captions, and what they show."""

    images: ImageArray
    """(n, 64, 64, 3)"""
    captions: list[list[str]]
    """Lists of n captions, one for each picture."""
    scenes: Scenes


def captioned(first: int, size: int) -> Captioned:
    """Draw seeds `first` to `first + size`, and write captions for each.

    Every second picture is of a random phrase, as too few pictures of anything show the rare words.
    """
    rng = np.random.default_rng(first)
    concepts = vocabulary()
    texts = [concepts[rng.integers(len(concepts))] if place % 2 else ANYTHING for place in range(size)]
    scenes = SceneRenderer().resolve(texts, range(first, first + size))
    return Captioned(draw_scenes(scenes), [captions(scenes, rng) for _ in range(_CAPTIONS)], scenes)


def contrastive_loss(model: Any, embeddings: torch.Tensor, captions: list[list[str]]) -> torch.Tensor:
    """The loss of CLIP (Radford et al. 2021, figure 3), which caption belongs to which picture and the reverse.

    It is the mean over the lists of captions. The embeddings (n, DIM) of pictures may have any length.
    """
    images = torch.nn.functional.normalize(embeddings, dim=1)
    own = torch.arange(len(images))
    losses = []
    for texts in captions:
        logits = (
            model.logit_scale.exp() * images @ model.encode_text(torch.from_numpy(tokenize(texts)), normalize=True).T
        )
        losses += [cross_entropy(logits, own), cross_entropy(logits.T, own)]
    return torch.stack(losses).mean()


class WordHead(torch.nn.Module):
    """Predicts the words of a picture's captions from its embedding (Joulin et al. 2016). It is dropped after training.

    Contrasts alone taught nothing about texture and shape in 80,000 pictures.
    """

    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(DIM, len(TOKENS))
        torch.nn.init.constant_(self.linear.bias, -3.0)  # most words are rare

    def loss(self, embeddings: torch.Tensor, captions: list[list[str]]) -> torch.Tensor:
        """The cross entropy, summed over all words, of embeddings (n, DIM) and lists of n captions."""
        said = torch.zeros(len(embeddings), len(TOKENS))
        for texts in captions:
            said.scatter_(1, torch.from_numpy(tokenize(texts)), 1.0)
        logits = self.linear(embeddings)
        return torch.nn.functional.binary_cross_entropy_with_logits(logits, said, reduction="sum") / len(embeddings)


def learning_rate(step: int, steps: int, peak: float) -> float:
    """Up along a line for 10% of the steps, then down to zero along half a cosine."""
    rise = 0.1 * steps
    return peak * (step / rise if step < rise else (1 + np.cos(np.pi * (step - rise) / (steps - rise))) / 2)


def train(seed: int, steps: int, checkpoint: Path, batch: int = 96, peak: float = 0.003) -> Any:
    """Train on `steps` batches of pictures, each drawn once. A training that was stopped goes on from `checkpoint`."""
    torch.manual_seed(seed)
    model, words = build(), WordHead()
    trained = torch.nn.ModuleList([model, words])
    optimiser = torch.optim.AdamW(trained.parameters(), betas=(0.9, 0.98), weight_decay=0.05)
    begin = load_checkpoint(checkpoint, trained, optimiser)
    first = _FIRST_SEED + seed * _SEEDS
    for step in (bar := trange(begin, steps, initial=begin, total=steps, unit="batch")):
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(step + 1, steps + 1, peak)
        pictures = captioned(first + step * batch, batch)
        embeddings = model.encode_image(to_input(pictures.images).contiguous(memory_format=torch.channels_last))
        contrast = contrastive_loss(model, embeddings, pictures.captions)
        loss = contrast + _OF_WORDS * words.loss(embeddings, pictures.captions)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        with torch.no_grad():
            model.logit_scale.clamp_(max=float(np.log(100)))  # as CLIP does
        if step % 50 == 0:
            bar.set_postfix(loss=f"{contrast.item():.2f}")
        if (step + 1) % _SAVED_EVERY == 0:
            save_checkpoint(checkpoint, trained, optimiser, step + 1)
    checkpoint.unlink(missing_ok=True)
    return model


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    model = train(options.seed, options.steps, options.out.with_suffix(".checkpoint"))
    state = model.to(memory_format=torch.contiguous_format).state_dict()
    half = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in state.items()}
    save_file(half, options.out)
    test = captioned(_TEST_SEED, 4000)
    print(quality(ClipImages(options.out), ClipTexts(options.out), test.images, test.captions[0], test.scenes))


if __name__ == "__main__":
    main()
