"""What a stack is made of. A stack brings one object for each of these protocols."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from dnr_env.types import BoolArray, FloatArray, ImageArray


class Generator(Protocol):
    """Text to image. One image is a function of (concept, seed) and of what the fingerprint names."""

    fingerprint: str
    keeps_images: bool
    """Whether the store keeps its images: True where drawing one again costs more than reading it."""

    def generate(self, concepts: Sequence[str], seeds: Sequence[int]) -> ImageArray:
        """Image `seeds[i]` of `concepts[i]`: (n, height, width, 3) uint8."""


class Reader(Protocol):
    """The target and the image embedder: what is measured on an image, whoever drew it."""

    fingerprint: str
    neurons: tuple[str, ...]
    """Name of every neuron, as "layer:index"."""
    dim: int
    """Length of an image embedding."""

    def read(self, images: ImageArray) -> tuple[FloatArray, FloatArray]:
        """(n, height, width, 3) uint8 to activations (n, neurons) and unit embeddings (n, dim), float32.

        A row does not depend on the other rows.
        """


class Embedder(Protocol):
    """Texts into the space of the image embeddings."""

    def embed_texts(self, texts: Sequence[str]) -> FloatArray:
        """(n, dim) float32 of length one."""


class Captioner(Protocol):
    """Image to text."""

    fingerprint: str

    def caption(self, images: ImageArray) -> list[str]:
        """One text an image."""


class Writer(Protocol):
    """Captions to concepts."""

    fingerprint: str

    def summarise(self, captions: Sequence[str], count: int, rng: np.random.Generator) -> list[str]:
        """Up to `count` distinct concepts that say what the captions share."""


@dataclass(frozen=True)
class MutationBatch:
    """What the episodes of one step ask a mutator: b requests, each with the images of its episode so far."""

    concepts: list[str]
    """(b) the concept to change."""
    tried: list[list[str]]
    """(b) every concept of the episode's master list."""
    embeddings: FloatArray
    """(b, images, dim) embeddings of the images seen, padded."""
    activations: FloatArray
    """(b, images) their normalised activations, padded."""
    seen: BoolArray
    """(b, images) which of them are images."""
    rngs: list[np.random.Generator]
    """(b) the episodes' random generators."""


class Mutator(Protocol):
    """Concept and evidence to a new concept."""

    def mutate(self, batch: MutationBatch) -> list[str]:
        """(b) concepts, none of which its episode has tried.

        A request's answer does not depend on the other requests. The same text comes back where nothing is untried.
        """
