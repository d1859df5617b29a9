"""Planted neurons of `scenes`: formulas over what a target's head reads from pixels, and how well a label fits one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np

from dnr_env.scenes.outputs import PAIR_SLICES
from dnr_env.shapes.lexicon import FAMILIES, FAMILY_SLICES, MEMBERS, OPEN
from dnr_env.shapes.parse import values_of
from dnr_env.stack import Agreement
from dnr_env.structure import Structure
from dnr_env.types import BoolArray, FloatArray

FORMULAS: tuple[str, ...] = (
    # one word
    "red thing", "yellow thing", "striped thing", "dotted thing", "star", "triangle", "huge thing", "thing on grass",
    # one object
    "red star", "blue circle", "white square", "striped circle", "dotted square", "green triangle", "speckled bar",
    "shaded ring", "blue striped thing", "warm dotted thing", "cool pointed thing", "patterned angular thing",
    "yellow shaded circle", "small red thing", "huge round thing", "white thing on grass", "circle on water",
    "big lined thing",
    # unions of unequal parts
    "red star | 0.6 blue circle", "striped square | 0.7 yellow thing", "green circle | 0.5 dotted thing",
    "ring | 0.8 cross", "white triangle | 0.6 thing on sand", "orange thing | 0.7 crescent",
    "shaded star | 0.6 speckled circle", "pale round thing | 0.5 brown bar", "huge circle | 0.7 tiny star",
    "thing on brick | 0.6 red square", "wavy thing | 0.7 blue bar", "smooth oval | 0.6 white striped thing",
    "thing on snow | 0.8 hatched thing", "checkered thing | 0.6 pink thing",
    # exceptions
    "warm thing & !striped thing", "round thing & !solid thing", "white thing & !thing on sky", "star & !yellow thing",
    "patterned thing & !circle", "square & !red thing", "thing on outdoor & !ring", "cool thing & !triangle",
    "blue thing & !round thing", "striped thing & !thing on grass", "big thing & !shaded thing",
    # polysemantic sums of unequal parts
    "red circle + 0.7 striped square + 0.5 thing on water", "blue star + 0.8 dotted circle + 0.5 white bar",
    "green striped thing + 0.7 ring + 0.4 thing on black", "yellow triangle + 0.6 shaded square + 0.5 huge thing",
    "white star + 0.7 brown thing + 0.5 speckled thing", "cross + 0.8 red striped thing + 0.6 thing on snow",
    "blue square + 0.6 orange thing + 0.4 wavy thing", "dotted triangle + 0.7 white circle + 0.6 thing on brick",
    "pink thing + 0.7 green bar + 0.5 striped star", "shaded circle + 0.6 blue oval + 0.5 tiny thing",
    "warm ring + 0.8 cool square + 0.5 thing on sand", "hatched thing + 0.7 red triangle + 0.5 solid oval",
)  # fmt: skip
"""Their order is their index in the layer `planted`. A weight is that of the part it precedes."""

NAMED_FROM = 0.6
"""The F1 of attributes from which a phrase names a part. Half of what it mentions, and nothing wrong, is enough."""

_PART = re.compile(r"(?:([\d.]+) )?([^&]+?)(?: & !(.+))?")


@dataclass(frozen=True)
class Part:
    """One noun phrase of a formula."""

    phrase: str
    but_not: str | None = None
    weight: float = 1.0


@dataclass(frozen=True)
class Formula:
    """Parts that are joined by `|` (a union) or `+` (a sum)."""

    parts: tuple[Part, ...]
    summed: bool = False

    @classmethod
    def read(cls, text: str) -> Formula:
        """Parse the notation of FORMULAS."""
        parts = []
        for piece in re.split(r" [|+] ", text):
            match = _PART.fullmatch(piece)
            assert match is not None
            weight, phrase, but_not = match.groups()
            parts.append(Part(phrase, but_not, float(weight or 1)))
        return cls(tuple(parts), summed=" + " in text)


def activations(probabilities: FloatArray, formulas: Sequence[Formula]) -> FloatArray:
    """Compute activations (n, formulas) of planted neurons from presence probabilities (n, outputs).

    A union is 1 - Π (1 - weight · p) over its parts, a sum is Σ weight · p, and "A but not B" is p(A) · (1 - p(B)).
    """
    out = np.empty((len(probabilities), len(formulas)), probabilities.dtype)
    for column, formula in enumerate(formulas):
        parts = np.stack([part.weight * _part(probabilities, part) for part in formula.parts])
        out[:, column] = parts.sum(axis=0) if formula.summed else _any(parts, axis=0)
    return out


def _part(probabilities: FloatArray, part: Part) -> FloatArray:
    shown = phrase_probability(probabilities, part.phrase)
    return shown if part.but_not is None else shown * (1 - phrase_probability(probabilities, part.but_not))


def _any(probabilities: FloatArray, axis: int | tuple[int, ...]) -> FloatArray:
    either: FloatArray = 1 - (1 - probabilities).prod(axis=axis)
    return either


def phrase_probability(probabilities: FloatArray, phrase: str) -> FloatArray:
    """Compute how sure a head is (n,) that a picture shows a noun phrase, from its presence probabilities (n, outputs).

    The phrase is at most as sure as each pair of attributes that it names and that has outputs of its own, and as each
    other attribute. For a hypernym, any of its words is enough.
    """
    codes = {f: np.flatnonzero(MEMBERS[v, FAMILY_SLICES[f]]) for f, v in enumerate(values_of(phrase)) if v != OPEN}
    terms = []
    alone = set(codes)
    for (first, second), part in PAIR_SLICES.items():
        if first in codes and second in codes:
            table = probabilities[:, part].reshape(-1, len(FAMILIES[first].words), len(FAMILIES[second].words))
            terms.append(_any(table[:, codes[first]][:, :, codes[second]], axis=(1, 2)))
            alone -= {first, second}
    terms += [_any(probabilities[:, FAMILY_SLICES[f].start + codes[f]], axis=1) for f in sorted(alone)]
    weakest: FloatArray = np.min(terms, axis=0)
    return weakest


def compare(formula: str, label: Structure) -> Agreement:
    """Compare a label with a planted formula.

    Phrases and parts are matched one to one so that the sum of their F1 is highest. Precision and recall are means over
    the phrases of the label, each compared with its part, and 0 for a phrase too many. A part is named by a phrase with
    an F1 of NAMED_FROM or more.
    """
    parts = [_attributes(part.phrase, part.but_not) for part in Formula.read(formula).parts]
    phrases = [_attributes(*phrase) for phrase in label.phrases]
    compared = np.zeros((max(len(phrases), len(parts)),) * 2 + (2,))
    compared[: len(phrases), : len(parts)] = [[_precision_recall(phrase, part) for part in parts] for phrase in phrases]
    f1 = 2 * compared.prod(axis=2) / np.maximum(compared.sum(axis=2), 1e-12)
    rows = np.arange(len(f1))
    matched = np.array(max(permutations(rows), key=lambda order: f1[rows, order].sum()))
    precision, recall = compared[rows, matched].sum(axis=0) / len(phrases)
    named = (f1[rows, matched] >= NAMED_FROM).sum() / len(parts)
    return Agreement(float(precision), float(recall), float(named))


def _attributes(phrase: str, but_not: str | None) -> dict[tuple[int, bool], BoolArray]:
    """The base words (words,) that a phrase allows, by family, and those that it excludes by family and True.

    What excludes words of one family only limits the words that are allowed of it.
    """
    named = {(f, False): MEMBERS[v] for f, v in enumerate(values_of(phrase)) if v != OPEN}
    excluded = {f: MEMBERS[v] for f, v in enumerate(values_of(but_not)) if v != OPEN} if but_not else {}
    if len(excluded) == 1:
        ((family, words),) = excluded.items()
        every = np.zeros(len(words), bool)
        every[FAMILY_SLICES[family]] = True
        return {**named, (family, False): named.get((family, False), every) & ~words}
    return {**named, **{(family, True): words for family, words in excluded.items()}}


def _precision_recall(
    phrase: dict[tuple[int, bool], BoolArray], part: dict[tuple[int, bool], BoolArray]
) -> tuple[float, float]:
    """Precision and recall as `dnr_env.shapes.planted.precision_recall` defines them, by family."""
    both = {key: (phrase[key] & part[key]).sum() for key in phrase.keys() & part.keys()}
    if not any(both.values()):
        return 0.0, 0.0
    precision = sum(count / phrase[key].sum() for key, count in both.items() if count) / len(phrase)
    recall = sum(count / part[key].sum() for key, count in both.items()) / len(part)
    return float(precision), float(recall)
