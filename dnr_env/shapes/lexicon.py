"""The words of Shapes: five attribute families, the words above them, and concepts made of both.

A *value* is a word ("red") or a hypernym ("warm") of a family; values are numbered over all families. A concept is a
partial description with at most one value for each family. The image's seed decides what the concept leaves open.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cache

import numpy as np

from dnr_env.types import BoolArray, FloatArray


@dataclass(frozen=True)
class Family:
    """One attribute: its words, in the order of the renderer's codes, and their hypernyms."""

    name: str
    words: tuple[str, ...]
    hypernyms: dict[str, tuple[str, ...]]


FAMILIES: tuple[Family, ...] = (
    Family(
        "size",
        ("tiny", "small", "large", "huge"),
        {"little": ("tiny", "small"), "big": ("large", "huge")},
    ),
    Family(
        "colour",
        ("red", "orange", "yellow", "green", "cyan", "blue", "purple", "pink", "brown", "white"),
        {
            "warm": ("red", "orange", "yellow", "pink", "brown"),
            "cool": ("green", "cyan", "blue", "purple"),
            "pale": ("yellow", "cyan", "pink", "white"),
        },
    ),
    Family(
        "texture",
        ("solid", "shaded", "striped", "wavy", "checkered", "dotted", "speckled", "hatched"),
        {
            "smooth": ("solid", "shaded"),
            "lined": ("striped", "wavy", "hatched"),
            "spotted": ("dotted", "speckled"),
            "patterned": ("striped", "wavy", "checkered", "dotted", "speckled", "hatched"),
        },
    ),
    Family(
        "shape",
        ("circle", "oval", "ring", "crescent", "square", "bar", "triangle", "hexagon", "star", "cross"),
        {
            "round": ("circle", "oval", "ring", "crescent"),
            "angular": ("square", "bar", "triangle", "hexagon"),
            "pointed": ("triangle", "star", "cross"),
        },
    ),
    Family(
        "background",
        ("black", "grey", "snow", "sky", "grass", "sand", "brick", "water"),
        {
            "plain": ("black", "grey", "snow"),
            "outdoor": ("sky", "grass", "sand", "water"),
            "bright": ("snow", "sky", "sand"),
        },
    ),
)
SIZE, COLOUR, TEXTURE, SHAPE, BACKGROUND = range(5)

WORDS: tuple[str, ...] = tuple(word for family in FAMILIES for word in family.words)
"""All base words, family by family. They are the axes of the embedding."""

FAMILY_SLICES: tuple[slice, ...] = tuple(
    slice(stop - len(family.words), stop)
    for family, stop in zip(FAMILIES, itertools.accumulate(len(f.words) for f in FAMILIES), strict=True)
)
"""The slice of each family's words in `WORDS`."""

CHANCE = np.concatenate([np.full(len(family.words), 1 / len(family.words), np.float32) for family in FAMILIES])
"""(words,) the probability of each word if a concept leaves its family open."""

VALUES: tuple[tuple[int, str], ...] = tuple(
    (number, word) for number, family in enumerate(FAMILIES) for word in (*family.words, *family.hypernyms)
)
"""All values as (family, word), hypernyms included."""

VALUE_FAMILY = np.array([family for family, _ in VALUES])
MAX_NAMED = 3
"""The most families that a concept of the vocabulary names. Labels should be short."""
OPEN = -1
"""The value of a family that a concept leaves open."""


def _members() -> BoolArray:
    members = np.zeros((len(VALUES), len(WORDS)), bool)
    for value, (family, word) in enumerate(VALUES):
        words = FAMILIES[family].hypernyms.get(word, (word,))
        for member in words:
            members[value, FAMILY_SLICES[family].start + FAMILIES[family].words.index(member)] = True
    return members


MEMBERS: BoolArray = _members()
"""(values, words) which base words a value allows."""

COVERS: BoolArray = np.asarray((MEMBERS[:, None] <= MEMBERS[None]).all(axis=2))
"""(values, values) whether the second value is true wherever the first is."""

Values = tuple[int, ...]
"""A concept as one value (or OPEN) for each family, in the order of FAMILIES."""


def _phrase(family: int, value: int) -> str:
    return "" if value == OPEN else VALUES[value][1]


@cache
def text_of(values: Values) -> str:
    """The canonical text of a concept, as in "small warm striped star on black"."""
    size, colour, texture, shape, background = (_phrase(f, v) for f, v in enumerate(values))
    is_noun = shape in FAMILIES[SHAPE].words
    words = [size, colour, texture, shape if is_noun or not shape else f"{shape} thing"]
    if not shape:
        words.append("thing")
    if background:
        words.append(f"on {background}")
    return " ".join(word for word in words if word)


ANYTHING = text_of((OPEN,) * len(FAMILIES))
"""The concept that leaves everything open."""


WITHHELD = frozenset({"large", "red", "blue", "striped", "dotted", "circle", "star", "grass", "brick"})
"""The words that the stack `shapes-withheld` lacks. It keeps their hypernyms."""


def sayable(withheld: frozenset[str]) -> BoolArray:
    """(values,) which values a concept may name if some words are withheld."""
    return np.array([word not in withheld for _, word in VALUES])


@cache
def vocabulary(withheld: frozenset[str] = frozenset()) -> tuple[str, ...]:
    """List every concept that names one to MAX_NAMED families, in a fixed order: 13,961 texts with all words."""
    may = sayable(withheld)
    by_family = [[v for v, (family, _) in enumerate(VALUES) if family == f and may[v]] for f in range(len(FAMILIES))]
    texts = []
    for count in range(1, MAX_NAMED + 1):
        for families in itertools.combinations(range(len(FAMILIES)), count):
            for chosen in itertools.product(*(by_family[f] for f in families)):
                values = [OPEN] * len(FAMILIES)
                for family, value in zip(families, chosen, strict=True):
                    values[family] = value
                texts.append(text_of(tuple(values)))
    return tuple(texts)


def allowed_words(values: Values) -> BoolArray:
    """(words,) which base words a concept's images may show. An open family allows all of its words."""
    allowed = np.ones(len(WORDS), bool)
    for family, value in enumerate(values):
        if value != OPEN:
            allowed[FAMILY_SLICES[family]] = MEMBERS[value, FAMILY_SLICES[family]]
    return allowed


def embed_words(probabilities: FloatArray) -> FloatArray:
    """Embed word probabilities as unit vectors.

    Args:
        probabilities: (n, words). The probabilities of each family sum to one.

    Returns:
        (n, words + 1) float32 unit vectors. Each word has its difference from chance. The last axis is a constant, so
        that a concept that leaves everything open has a direction too.
    """
    said = np.empty((len(probabilities), len(WORDS) + 1), np.float32)
    said[:, -1] = 0.5
    said[:, :-1] = probabilities - CHANCE
    norm: FloatArray = said / np.sqrt(np.square(said).sum(axis=1, keepdims=True))
    return norm


def word_probabilities(embeddings: FloatArray) -> FloatArray:
    """Invert `embed_words`: turn unit embeddings (n, words + 1) into probabilities (n, words)."""
    probabilities: FloatArray = embeddings[:, :-1] * (0.5 / embeddings[:, -1:]) + CHANCE
    return probabilities


def total_probabilities(weights: FloatArray, embeddings: FloatArray) -> FloatArray:
    """Compute weighted sums of the images' word probabilities directly from their embeddings.

    Args:
        weights: (b, sums, images), zero for padding.
        embeddings: (b, images, words + 1), zero for padding.

    Returns:
        (b, sums, words).
    """
    constant = embeddings[:, None, :, -1]
    norm = np.divide(0.5, constant, out=np.zeros_like(constant), where=constant > 0)
    totals: FloatArray = (weights * norm) @ embeddings[..., :-1] + weights.sum(axis=2)[..., None] * CHANCE
    return totals
