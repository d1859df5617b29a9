"""The parts of a stack as protocols, and the types that pass between them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Literal, NamedTuple, Protocol, get_args

import numpy as np

from dnr_env.neurons import Neurons
from dnr_env.structure import Structure, one_phrase, words_in
from dnr_env.types import BoolArray, FloatArray, ImageArray, Images, IntArray

Origin = Literal["writer", "captions", "vocabulary", "user", "model"]
"""Where the words of a concept come from: a language model or another writer; captions of real images; a list of words;
a user; or a model that was fitted to the neuron, which chose or changed words."""
ORIGINS: tuple[Origin, ...] = get_args(Origin)


class Kind(IntEnum):
    """The kind of a mutation."""

    NARROW = 0
    """A concept with fewer images than the present one."""
    BROADEN = 1
    """A concept with more images than the present one."""
    SWAP = 2
    """Another concept in place of the present one, neither narrower nor broader."""
    MODEL = 3
    """The concept, of all that can be named, of which a model of the neuron promises most; it need not be near."""
    UNITE = 4
    """The present concept or another, which adds what it misses: "A or B"."""
    EXCEPT = 5
    """The present concept without another, where that does not excite: "A but not C"."""


class Generator(Protocol):
    """Text to image. An image depends only on its concept, its seed, and what the fingerprint identifies."""

    @property
    def fingerprint(self) -> str:
        """Identifies everything that the images depend on."""

    keeps_images: bool
    """Whether the store keeps the images: True if drawing an image again costs more than reading it."""

    def generate(self, concepts: Sequence[str], seeds: Sequence[int]) -> ImageArray:
        """Draw image `seeds[i]` of `concepts[i]`: (n, height, width, 3) uint8."""


class Reader(Protocol):
    """The target and the image embedder. A reader measures drawn and real images alike."""

    fingerprint: str
    neurons: Neurons
    dim: int
    """Length of an image embedding."""

    def read(self, images: Images) -> tuple[FloatArray, FloatArray]:
        """Measure n images, each (height, width, 3) uint8.

        Returns:
            Activations (n, neurons) and unit embeddings (n, dim), float32. A row does not depend on the other images.
        """


class Target(Protocol):
    """The network under study."""

    @property
    def fingerprint(self) -> str:
        """Identifies everything that the activations depend on."""

    @property
    def neurons(self) -> Neurons:
        """The names of the network's neurons."""

    def read(self, images: Images) -> FloatArray:
        """Measure n images, each (height, width, 3) uint8: activations (n, neurons) float32."""


class Embedder(Protocol):
    """Embeds texts in the space of the image embeddings."""

    def embed_texts(self, texts: Sequence[str]) -> FloatArray:
        """(n, dim) float32 unit vectors. A row does not depend on the other texts."""


@dataclass(frozen=True)
class Language:
    """How a generator understands phrases."""

    normalise: Callable[[str], str]
    """Turns a phrase into the text that is measured. Raises ConceptError if the phrase cannot be drawn."""
    passed_over: Callable[[str], tuple[str, ...]] = lambda text: ()
    """Returns the words of a phrase that `normalise` ignores: unknown words, and words that contradict earlier ones."""
    parts: Callable[[str], Structure] = one_phrase
    """Takes a text of `normalise` apart into what is drawn and what is left out."""
    length: Callable[[str], float] = words_in
    """The length of a text of `normalise`, in words. A language may leave out words that carry no meaning."""
    implied: Callable[[str, str], bool] = lambda phrase, other: phrase == other
    """Whether the first phrase implies the second, which is then true of all that the first is true of. By default, a
    phrase implies only itself."""
    structured: bool = False
    """Whether it can say unions and exceptions. See `dnr_env.algebra.structured`."""


class Captioner(Protocol):
    """Image to text."""

    fingerprint: str

    def caption(self, images: Images) -> list[str]:
        """Describe each image in one text."""


class Usage(NamedTuple):
    """The calls and tokens that an answer of a language model took, whether it is new or from the store."""

    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0

    def plus(self, other: Usage) -> Usage:
        """Add two usages."""
        return Usage(*(a + b for a, b in zip(self, other, strict=True)))


class Summary(NamedTuple):
    """The concepts that a writer finds in the captions of one neuron."""

    concepts: list[str]
    usage: Usage = Usage()
    failure: str = ""
    """Why the writer has found none; empty if it has, or if it was not asked to."""


class Suggestion(NamedTuple):
    """The answer of a mutator to one request."""

    concept: str
    usage: Usage = Usage()
    failure: str = ""
    """Why a mutator that was asked has no new concept; empty if it has one, or if none is left to suggest."""
    origin: Origin | None = None
    """The origin of the concept; None if it is the mutator's."""


class Writer(Protocol):
    """Captions to concepts."""

    fingerprint: str
    origin: Origin
    """The origin of the candidates: "writer", or "captions" if the stack has no writer on purpose."""

    def summarise(
        self, captions: Sequence[Sequence[str]], count: int, rngs: Sequence[np.random.Generator]
    ) -> list[Summary]:
        """Find up to `count` distinct concepts that the captions of a neuron share, for each of b neurons.

        An answer does not depend on the other neurons.
        """


class Trial(NamedTuple):
    """A concept of a master list, with the measurements of its images."""

    concept: str
    score: float
    """The posterior mean of its held-out value, also where nothing was drawn."""
    error: float
    """The posterior deviation."""
    activations: FloatArray
    """(images,) the normalised activations; of no image where nothing was drawn."""
    seeds: IntArray
    """(images,) the seeds of the images."""


@dataclass(frozen=True)
class MutationBatch:
    """The b requests that the episodes of one step make to a mutator, each with the images of its episode so far."""

    concepts: list[str]
    """(b) the concept to change."""
    tried: list[list[str]]
    """(b) every concept of the episode's master list."""
    embeddings: FloatArray
    """(b, images, dim) embeddings of the images seen, padded."""
    activations: FloatArray
    """(b, images) normalised activations of the images seen, padded."""
    seen: BoolArray
    """(b, images) which entries are images and not padding."""
    rngs: list[np.random.Generator]
    """(b) the episodes' random generators."""
    neurons: IntArray
    """(b) the episodes' neurons."""
    history: Callable[[int], list[Trial]]
    """Returns the trials of a request's episode, in the order of listing."""
    score: str
    """The score that the new concepts should raise."""
    kinds: list[Kind | None]
    """(b) the kind of mutation that is asked for; None leaves it to the mutator."""

    def take(self, rows: Sequence[int]) -> MutationBatch:
        """Return some of the requests, in the order of `rows`."""
        index = np.array(rows, np.intp)
        return replace(
            self,
            concepts=[self.concepts[row] for row in rows],
            tried=[self.tried[row] for row in rows],
            embeddings=self.embeddings[index],
            activations=self.activations[index],
            seen=self.seen[index],
            rngs=[self.rngs[row] for row in rows],
            neurons=self.neurons[index],
            history=lambda i: self.history(rows[i]),
            kinds=[self.kinds[row] for row in rows],
        )


class Mutator(Protocol):
    """Turns a concept and its evidence into a new concept."""

    origin: Origin
    """The origin of its concepts."""

    def mutate(self, batch: MutationBatch) -> list[Suggestion]:
        """Suggest a concept that the episode has not tried, for each of b requests.

        An answer does not depend on the other requests. If every concept of the kind that is asked for has been tried,
        the answer is the request's own concept.
        """


class Promises(Protocol):
    """Predicts from a model of the real images how much a concept's images excite a neuron, before any is drawn."""

    def excited(self, concepts: Sequence[str], neurons: IntArray) -> FloatArray:
        """(b,) the expected `scores.excitement` of the images of concept i, for neuron i. It is deterministic."""
