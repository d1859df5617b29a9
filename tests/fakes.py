"""A generator and a reader that need no model."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence

import numpy as np

from dnr_env.evidence.lab import Lab
from dnr_env.neurons import Neurons
from dnr_env.types import FloatArray, ImageArray, Images


class CountingGenerator:
    """Noise that is a function of concept and seed; `drawn` counts each image it was asked for."""

    fingerprint = "noise"

    def __init__(self, keeps_images: bool = False) -> None:
        self.keeps_images = keeps_images
        self.drawn: Counter[tuple[str, int]] = Counter()

    def generate(self, concepts: Sequence[str], seeds: Sequence[int]) -> ImageArray:
        self.drawn.update(zip(concepts, seeds, strict=True))
        pairs = zip(concepts, seeds, strict=True)
        digests = [hashlib.sha512(f"{concept} {seed}".encode()).digest() for concept, seed in pairs]
        return np.stack([np.frombuffer(digest[:48], np.uint8).reshape(4, 4, 3) for digest in digests])


class FakeReader:
    """Three neurons, the first of which is NaN on every other image, and embeddings of length one."""

    neurons = Neurons(("a:0", "a:1", "b:0"))
    dim = 4

    def __init__(self, fingerprint: str = "fake") -> None:
        self.fingerprint = fingerprint

    def read(self, images: Images) -> tuple[FloatArray, FloatArray]:
        pixels = np.asarray(images).reshape(len(images), -1).astype(np.float32)
        activations = pixels[:, :3] / 7
        activations[pixels[:, 3] % 2 == 0, 0] = np.nan
        embeddings = pixels[:, 4:8] + 1
        return activations, embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)


def drawn(lab: Lab) -> Counter[tuple[str, int]]:
    """How often a lab's counting generator was asked for each image."""
    assert isinstance(lab.generator, CountingGenerator)
    return lab.generator.drawn
