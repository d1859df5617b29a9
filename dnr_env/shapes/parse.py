"""Free phrases to concepts of the lexicon."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache

from dnr_env.errors import ConceptError
from dnr_env.shapes import lexicon
from dnr_env.shapes.lexicon import COVERS, FAMILIES, OPEN, VALUES, Values

MAX_TEXT = 500
"""The most characters of a phrase. A longer text is not a concept."""

SILENT = frozenset(
    [
        *("a", "an", "the", "of", "in", "with", "and", "over", "against", "on", "this", "that", "is", "some", "any"),
        *("thing", "things", "object", "objects", "something", "shape", "shapes", "shaped", "pattern", "texture"),
        *("textured", "colour", "color", "coloured", "colored", "sized", "image", "picture", "photo", "drawing"),
        "background",
    ]
)
"""Words that say nothing of the picture."""
_SYNONYMS = {
    "crimson": "red", "scarlet": "red", "violet": "purple", "magenta": "pink", "turquoise": "cyan", "teal": "cyan",
    "disc": "circle", "disk": "circle", "ball": "circle", "ellipse": "oval", "donut": "ring", "moon": "crescent",
    "box": "square", "rectangle": "bar", "stripe": "striped", "stripy": "striped", "dot": "dotted", "polka": "dotted",
    "checked": "checkered", "checkerboard": "checkered", "checker": "checkered", "speckle": "speckled",
    "noisy": "speckled", "wave": "wavy", "gradient": "shaded", "plus": "cross", "crosshatched": "hatched",
    "gray": "grey", "bricks": "brick", "seawater": "water", "beach": "sand",
    "lawn": "grass", "minuscule": "tiny", "enormous": "huge", "gigantic": "huge", "circular": "circle",
    "triangular": "triangle", "hexagonal": "hexagon", "spiky": "pointed",
}  # fmt: skip
_NAMES = {word: value for value, (_, word) in enumerate(VALUES)}


@dataclass(frozen=True)
class ParsedPhrase:
    """The values of a phrase, its words outside the lexicon, and its words that contradict earlier ones."""

    values: Values
    unknown: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()


def words_of(text: str) -> list[str]:
    """Split a text into its words, in lower case."""
    return re.findall(r"[^\W_]+", unicodedata.normalize("NFKC", text).lower())


def value_of(word: str) -> int | None:
    """Find the value that a word names, also in the plural or by a synonym; None if there is none."""
    for form in (word, word.removesuffix("s"), word.removesuffix("es")):
        form = _SYNONYMS.get(form, form)
        if form in _NAMES:
            return _NAMES[form]
    return None


@lru_cache(maxsize=65536)
def parse(text: str) -> ParsedPhrase:
    """Parse a phrase such as "a small warm striped thing on black".

    Words may be in any order and case, in the plural, or synonyms ("disc", "violet"). "White" is a colour of the
    object, but after "on" it is the snow-white background. The first word of a family counts; later ones are reported
    in `ignored`.

    Raises:
        ConceptError: the text is too long.
    """
    if len(text) > MAX_TEXT:
        raise ConceptError(f"`concept` must be a text of at most {MAX_TEXT} characters (got {len(text)})")
    values = [OPEN] * len(FAMILIES)
    unknown, ignored = [], []
    behind = False
    for word in words_of(text):
        behind = behind or word in ("on", "against", "over")
        if word in SILENT:
            continue
        value = _NAMES["snow"] if behind and word == "white" else value_of(word)
        behind = False
        if value is None:
            unknown.append(word)
            continue
        family = VALUES[value][0]
        if values[family] == OPEN:
            values[family] = value
        elif values[family] != value:
            ignored.append(word)
    return ParsedPhrase(tuple(values), tuple(unknown), tuple(ignored))


@lru_cache(maxsize=65536)
def values_of(text: str) -> Values:
    """Parse a phrase into the values of a concept.

    Raises:
        ConceptError: the text is too long, or none of its words is known.
    """
    parsed = parse(text)
    if all(value == OPEN for value in parsed.values) and text != lexicon.ANYTHING:
        raise ConceptError(
            "`concept` must contain at least one word that can be drawn, such as red, striped, star or grass "
            f"(got {text[:80]!r})"
        )
    return parsed.values


def normalise(text: str) -> str:
    """Turn a phrase into its canonical text. Raises ConceptError as `values_of` does."""
    return lexicon.text_of(values_of(text))


def passed_over(text: str) -> tuple[str, ...]:
    """The words of a phrase that `normalise` ignores: unknown words, and words that contradict earlier ones."""
    parsed = parse(text)
    return (*parsed.unknown, *parsed.ignored)


def length(text: str) -> float:
    """The length of a concept in words: how many families it names."""
    return float(sum(value != OPEN for value in values_of(text)))


def implied(text: str, other: str) -> bool:
    """Whether a concept implies another: wherever the first is true, so is each value that the other names."""
    return all(
        theirs == OPEN or (ours != OPEN and COVERS[ours, theirs])
        for ours, theirs in zip(values_of(text), values_of(other), strict=True)
    )
