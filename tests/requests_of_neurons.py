"""Requests to mutators for neurons with a known preference."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dnr_env.interfaces import MutationBatch
from dnr_env.shapes import lexicon
from dnr_env.shapes.language import RandomMutator
from dnr_env.shapes.lexicon import FAMILY_SLICES, WORDS
from dnr_env.shapes.linear import LinearMutator


def requests(seeds: Sequence[int], liked: str, images: int = 60, pad: int = 80, noise: float = 0.3) -> MutationBatch:
    """Make requests for neurons that prefer one word, with `images` random images and padding."""
    embeddings, activations = [], []
    for seed in seeds:
        rng = np.random.default_rng(seed)
        shown = np.zeros((pad, len(WORDS)), np.float32)
        for part in FAMILY_SLICES:
            shown[np.arange(pad), rng.integers(part.start, part.stop, pad)] = 1
        embeddings.append(lexicon.embed_words(shown))
        likes = shown[:, WORDS.index(liked)] if liked else np.zeros(pad)
        activations.append((likes + noise * rng.normal(size=pad)).astype(np.float32))
    seen = np.arange(pad) < np.full((len(seeds), 1), images)
    rngs = [np.random.default_rng(seed) for seed in seeds]
    tried = [["small thing"] for _ in seeds]
    return MutationBatch(
        ["small thing"] * len(seeds),
        tried,
        np.array(embeddings),
        np.array(activations),
        seen,
        rngs,
        np.zeros(len(seeds), int),
        lambda i: [],
        "log_k",
        [None] * len(seeds),
    )


def answers(mutator: LinearMutator | RandomMutator, batch: MutationBatch) -> list[str]:
    return [suggestion.concept for suggestion in mutator.mutate(batch)]
