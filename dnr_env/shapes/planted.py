"""Planted neurons: formulas over the words, computed on the probabilities that the detector reads from pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dnr_env.shapes.lexicon import FAMILY_SLICES, MEMBERS, OPEN, VALUES, WORDS
from dnr_env.shapes.parse import values_of
from dnr_env.stack import Agreement
from dnr_env.structure import Structure
from dnr_env.types import BoolArray, FloatArray

FORMULAS: tuple[str, ...] = (
    # one word
    "red", "green", "blue", "purple", "striped", "dotted", "checkered", "wavy", "circle", "star", "cross", "ring",
    "huge", "tiny", "grass", "brick", "sky",
    # one hypernym
    "warm", "cool", "pale", "patterned", "lined", "spotted", "smooth", "round", "angular", "pointed", "outdoor",
    "plain",
    # AND
    "red & striped", "blue & circle", "green & star", "warm & dotted", "cool & checkered", "pale & round",
    "huge & round", "tiny & pointed", "yellow & grass", "purple & brick", "star & sky", "ring & water",
    "striped & angular", "dotted & round", "large & cross", "white & outdoor", "wavy & big", "warm & plain",
    "round & black", "little & lined", "orange & hatched", "triangle & sand",
    # OR
    "red | dotted", "warm | striped", "star | cross", "blue | water", "huge | checkered", "ring | wavy",
    "green | grass", "pointed | speckled", "pink | purple", "tiny | crescent", "cool | brick", "square | hexagon",
    # AND-NOT
    "round & !solid", "warm & !red", "patterned & !dotted", "angular & !bar", "big & !round", "cool & !smooth",
    "outdoor & !grass", "pointed & !star", "striped & !black", "circle & !warm", "blue & !tiny", "cross & !plain",
)  # fmt: skip
"""Their order is their index in the layer `planted`."""

_INDEX = {word: value for value, (_, word) in enumerate(VALUES)}


@dataclass(frozen=True)
class Formula:
    """A formula `first` or `first operator second`. The second value may be negated."""

    first: int
    second: int | None = None
    operator: str = ""
    negated: bool = False

    @classmethod
    def read(cls, text: str) -> Formula:
        """Parse the notation of FORMULAS."""
        first, *rest = text.split()
        if not rest:
            return cls(_INDEX[first])
        operator, second = rest
        return cls(_INDEX[first], _INDEX[second.removeprefix("!")], operator, second.startswith("!"))

    def words(self) -> dict[int, BoolArray]:
        """(words,) which base words the formula accepts, for each family that it mentions."""
        asked = {VALUES[self.first][0]: MEMBERS[self.first].copy()}
        if self.second is not None:
            family = VALUES[self.second][0]
            others = np.zeros(len(WORDS), bool)
            others[FAMILY_SLICES[family]] = True
            second = others & ~MEMBERS[self.second] if self.negated else MEMBERS[self.second]
            if family in asked:
                asked[family] = asked[family] & second if self.operator == "&" else asked[family] | second
            else:
                asked[family] = second
        return asked


def activations(probabilities: FloatArray, formulas: Sequence[Formula]) -> FloatArray:
    """Compute activations (n, formulas) of planted neurons, between 0 and 1, from word probabilities (n, words).

    An activation is the probability of the formula if its parts are independent: AND is a product, NOT is one minus the
    probability, and a hypernym is the sum over its words. Two values of one family exclude each other: OR is their sum,
    and AND NOT is the sum over the remaining words.
    """
    value = probabilities @ MEMBERS.T.astype(probabilities.dtype)
    out = np.empty((len(probabilities), len(formulas)), probabilities.dtype)
    for column, formula in enumerate(formulas):
        parts = [probabilities @ words.astype(probabilities.dtype) for words in formula.words().values()]
        if len(parts) == 1:
            out[:, column] = parts[0]
            continue
        assert formula.second is not None
        p, q = value[:, formula.first], value[:, formula.second]
        q = 1 - q if formula.negated else q
        out[:, column] = p * q if formula.operator == "&" else p + q - p * q
    return out


def precision_recall(formula: str, label: str) -> tuple[float, float]:
    """Compare the attributes of a label with those of a planted formula.

    Within a family, precision is the share of the label's words that the formula accepts, and recall is the share of
    the formula's words that the label allows. Precision is the mean over the families that the label names; recall is
    the mean over the families that the formula mentions. A family that only one of the two names counts as 0.

    Returns:
        (precision, recall), each in [0, 1].
    """
    asked = Formula.read(formula).words()
    named = {f: MEMBERS[v] for f, v in enumerate(values_of(label)) if v != OPEN}
    both = {f: float((asked[f] & named[f]).sum()) for f in asked.keys() & named.keys()}
    precision = sum(both[f] / named[f].sum() for f in both) / len(named) if named else 0.0
    return precision, sum(both[f] / asked[f].sum() for f in both) / len(asked)


def compare(formula: str, label: Structure) -> Agreement:
    """The `precision_recall` of a noun phrase. Other labels are not compared."""
    return Agreement(*precision_recall(formula, label.phrases[0].drawn)) if label.plain else Agreement()
