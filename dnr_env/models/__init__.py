"""What a stack is made of. A stack brings one object for each of these protocols."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np

from dnr_env.types import BoolArray, FloatArray, ImageArray, Images, IntArray


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

    def read(self, images: Images) -> tuple[FloatArray, FloatArray]:
        """N images, (height, width, 3) uint8 each, to activations (n, neurons) and unit embeddings (n, dim), float32.

        A row does not depend on the other rows.
        """


class Embedder(Protocol):
    """Texts into the space of the image embeddings."""

    def embed_texts(self, texts: Sequence[str]) -> FloatArray:
        """(n, dim) float32 of length one. A row does not depend on the other rows."""


class Captioner(Protocol):
    """Image to text."""

    fingerprint: str

    def caption(self, images: Images) -> list[str]:
        """One text an image."""


class Usage(NamedTuple):
    """What a text has cost at a language model, whether it was asked for now or is remembered."""

    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0

    def plus(self, other: Usage) -> Usage:
        """Both together."""
        return Usage(*(a + b for a, b in zip(self, other, strict=True)))


class Summary(NamedTuple):
    """The concepts that a writer finds in one neuron's captions."""

    concepts: list[str]
    usage: Usage = Usage()


class Suggestion(NamedTuple):
    """A mutator's answer to one request."""

    concept: str
    usage: Usage = Usage()


class Writer(Protocol):
    """Captions to concepts."""

    fingerprint: str

    def summarise(
        self, captions: Sequence[Sequence[str]], count: int, rngs: Sequence[np.random.Generator]
    ) -> list[Summary]:
        """For each of b neurons, by its captions, up to `count` distinct concepts that say what these share.

        An answer does not depend on the other neurons.
        """


class Trial(NamedTuple):
    """A concept of a master list, and what its images came to."""

    concept: str
    score: float
    error: float
    activations: FloatArray
    """(images,) normalised."""
    seeds: IntArray
    """(images,) the images' seeds."""


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
    neurons: IntArray
    """(b) the episodes' neurons."""
    history: Callable[[int], list[Trial]]
    """The trials of a request's episode, in the order of measurement."""
    score: str
    """The score of the episodes, which the new concepts should raise."""


class Mutator(Protocol):
    """Concept and evidence to a new concept."""

    def mutate(self, batch: MutationBatch) -> list[Suggestion]:
        """(b) concepts, none of which its episode has tried.

        A request's answer does not depend on the other requests. The same text comes back where nothing is untried.
        """
