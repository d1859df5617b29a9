"""More planted neurons, kept for blind tests: their formulas are drawn by a rule, and nothing was tuned on them."""

from __future__ import annotations

import hashlib
import itertools
from collections import Counter

from dnr_env.shapes.lexicon import FAMILIES, MEMBERS, VALUES
from dnr_env.shapes.planted import FORMULAS, Formula
from dnr_env.shapes.reader import ShapesReader
from dnr_env.types import FloatArray, Images

FRESH: tuple[str, ...] = (
    # one word
    "black", "hatched", "solid", "white", "hexagon", "pink", "brown", "large", "snow", "oval", "square", "grey", "sand",
    "speckled", "crescent", "triangle", "small",
    # one hypernym, all that were left
    "big", "little", "bright",
    # AND
    "warm & wavy", "grey & pointed", "water & green", "little & red", "tiny & lined", "red & outdoor", "bright & cool",
    "speckled & oval", "plain & hexagon", "patterned & square", "large & orange", "warm & cross", "striped & tiny",
    "patterned & red", "ring & green", "oval & huge", "square & purple", "grass & blue", "patterned & star",
    "warm & angular", "cool & circle", "bright & hexagon",
    # OR
    "little | purple", "brown | ring", "cool | bar", "outdoor | cool", "pink | speckled", "brown | speckled",
    "blue | crescent", "ring | water", "lined | bright", "striped | speckled", "brick | grass", "bright | outdoor",
    # AND-NOT
    "green & !grass", "pale & !small", "crescent & !cyan", "oval & !huge", "huge & !wavy", "tiny & !bar",
    "smooth & !triangle", "patterned & !checkered", "bright & !sand", "bright & !snow", "outdoor & !bright",
    "lined & !wavy",
)  # fmt: skip
"""What `draw` gives, written down so that it stays. Their order is their index in the layer `fresh`."""

_Kind = tuple[str, bool, int, bool]


def draw() -> tuple[str, ...]:
    """As many formulas of each kind as `planted.FORMULAS` has, or all that are left of the kind.

    A hash of its text gives every possible formula its turn, in an order that is random and the same on every machine.
    A formula is passed over if it is true of every picture or of none, if it is a pair that means the same as a single
    value, or if one of `planted.FORMULAS` or one drawn before means the same.
    """
    names = [name for _, name in VALUES]
    forms = ("{} & {}", "{} | {}", "{} & !{}")
    pairs = [form.format(*pair) for form in forms for pair in itertools.permutations(names, 2)]
    taken = {_meaning(Formula.read(text)) for text in FORMULAS}
    single = {_meaning(Formula.read(name)) for name in names}
    left = Counter(_kind(Formula.read(text)) for text in FORMULAS)
    drawn: dict[_Kind, list[str]] = {kind: [] for kind in left}
    for text in sorted([*names, *pairs], key=lambda text: hashlib.sha256(f"fresh {text}".encode()).digest()):
        formula = Formula.read(text)
        kind, meaning = _kind(formula), _meaning(formula)
        if _trivial(formula) or (formula.operator and meaning in single):
            continue
        if left[kind] and meaning not in taken:
            drawn[kind].append(text)
            taken.add(meaning)
            left[kind] -= 1
    return tuple(itertools.chain(*drawn.values()))


def _kind(formula: Formula) -> _Kind:
    """The operator, whether it negates, the number of families, and whether a single value is a hypernym."""
    hypernym = not formula.operator and bool(MEMBERS[formula.first].sum() > 1)
    return formula.operator, formula.negated, len(formula.words()), hypernym


def _meaning(formula: Formula) -> tuple[str, frozenset[tuple[int, bytes]]]:
    """Equal for two formulas, neither of them trivial, that are true of the same pictures.

    Within one family the words that are asked for say it all, whatever the operator.
    """
    words = formula.words()
    return formula.operator if len(words) > 1 else "", frozenset((f, asked.tobytes()) for f, asked in words.items())


def _trivial(formula: Formula) -> bool:
    """Whether a formula asks for no word of a family, or for all of them."""
    return any(asked.sum() in (0, len(FAMILIES[family].words)) for family, asked in formula.words().items())


class FreshReader:
    """The neurons of FRESH and no others, read from the same words as those of the layer `planted`.

    Args:
        base: the target whose detector reads the words.
    """

    dim = ShapesReader.dim
    neurons = tuple(f"fresh:{i}" for i in range(len(FRESH)))

    def __init__(self, base: ShapesReader) -> None:
        self.base = base
        digest = hashlib.sha256("\n".join(FRESH).encode()).hexdigest()
        self.fingerprint = f"{base.fingerprint} fresh {digest[:16]}"
        self._formulas = [Formula.read(text) for text in FRESH]

    def read(self, images: Images) -> tuple[FloatArray, FloatArray]:
        """As `ShapesReader.read`, (n, 66) activations."""
        activations, embeddings = self.base.read_formulas(images, self._formulas)
        return activations[:, -len(FRESH) :], embeddings

    def formula(self, neuron: str) -> str:
        """The formula of a neuron. For evaluation alone."""
        return FRESH[int(neuron.split(":")[1])]
