"""Free phrases to concepts of the lexicon."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache

from dnr_env.errors import ConceptError
from dnr_env.shapes import lexicon
from dnr_env.shapes.lexicon import FAMILIES, OPEN, VALUES, Values

MAX_TEXT = 500
"""Characters of a phrase that are read; a longer text is no concept."""

_SILENT = frozenset(
    [
        *("a", "an", "the", "of", "in", "with", "and", "over", "against", "on", "this", "that", "is", "some", "any"),
        *("thing", "things", "object", "objects", "something", "shape", "shapes", "shaped", "pattern", "texture"),
        *("textured", "colour", "color", "coloured", "colored", "sized", "image", "picture", "photo", "drawing"),
        "background",
    ]
)
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
class Parsed:
    """What a phrase says: its values, the words not in the lexicon, and the words that contradict earlier ones."""

    values: Values
    unknown: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()


def _value(word: str) -> int | None:
    for form in (word, word.removesuffix("s"), word.removesuffix("es")):
        form = _SYNONYMS.get(form, form)
        if form in _NAMES:
            return _NAMES[form]
    return None


@lru_cache(maxsize=65536)
def parse(text: str) -> Parsed:
    """Read a phrase such as "a small warm striped thing on black".

    Words may come in any order and case, in the plural, and with synonyms ("disc", "violet"). "White" is a colour of
    the object, but after "on" it is the snow-white background. The first word of a family wins; later ones are
    reported in `ignored`.
    """
    if len(text) > MAX_TEXT:
        raise ConceptError(f"concept: a text of {len(text)} characters is too long; {MAX_TEXT} at most will do")
    values = [OPEN] * len(FAMILIES)
    unknown, ignored = [], []
    behind = False
    for word in re.findall(r"[^\W_]+", unicodedata.normalize("NFKC", text).lower()):
        behind = behind or word in ("on", "against", "over")
        if word in _SILENT:
            continue
        value = _NAMES["snow"] if behind and word == "white" else _value(word)
        behind = False
        if value is None:
            unknown.append(word)
            continue
        family = VALUES[value][0]
        if values[family] == OPEN:
            values[family] = value
        elif values[family] != value:
            ignored.append(word)
    return Parsed(tuple(values), tuple(unknown), tuple(ignored))


def values_of(text: str) -> Values:
    """The values of a concept's text.

    Raises:
        ConceptError: the text is empty, or not one of its words is known.
    """
    parsed = parse(text)
    if all(value == OPEN for value in parsed.values) and text != lexicon.ANYTHING:
        said = f"none of its words is known ({', '.join(parsed.unknown[:8])})" if parsed.unknown else "it says nothing"
        raise ConceptError(
            f"concept: {text[:80]!r} cannot be drawn: {said}; words such as red, striped, star, on grass will do"
        )
    return parsed.values


def normalise(text: str) -> str:
    """The canonical text of a phrase; raises ConceptError like `values_of`."""
    return lexicon.text_of(values_of(text))


def passed_over(text: str) -> tuple[str, ...]:
    """The words of a phrase that `normalise` does not read: unknown ones and those that contradict earlier ones."""
    parsed = parse(text)
    return (*parsed.unknown, *parsed.ignored)
