"""Additional planted neurons for blind tests. Their formulas are drawn by a rule, and nothing was tuned on them."""

from __future__ import annotations

import hashlib
import itertools
from collections import Counter

from dnr_env.neurons import Neurons
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
"""The formulas that `draw` returns, recorded so that they never change. Their order is their index in layer `fresh`."""

_Kind = tuple[str, bool, int, bool]


def draw() -> tuple[str, ...]:
    """Draw as many formulas of each kind as `planted.FORMULAS` has, or all that remain of the kind.

    Formulas are tried in the order of a hash of their text, which is random but the same on every machine. A formula is
    rejected if it is true of every picture or of none, if it is a pair equivalent to a single value, or if it is
    equivalent to one of `planted.FORMULAS` or to one drawn before.
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
    """The operator, whether the formula negates, its number of families, and whether it is a single hypernym."""
    hypernym = not formula.operator and bool(MEMBERS[formula.first].sum() > 1)
    return formula.operator, formula.negated, len(formula.words()), hypernym


def _meaning(formula: Formula) -> tuple[str, frozenset[tuple[int, bytes]]]:
    """A value that is equal for two non-trivial formulas if they are true of the same pictures.

    Within one family, the accepted words determine the meaning, whatever the operator.
    """
    words = formula.words()
    return formula.operator if len(words) > 1 else "", frozenset((f, asked.tobytes()) for f, asked in words.items())


def _trivial(formula: Formula) -> bool:
    """Whether a formula accepts no word of a family, or all of them."""
    return any(asked.sum() in (0, len(FAMILIES[family].words)) for family, asked in formula.words().items())


class FreshReader:
    """Reads the neurons of FRESH and no others, from the same words as those of layer `planted`.

    Args:
        base: the target that provides the detector of the words.
    """

    dim = ShapesReader.dim
    neurons = Neurons(f"fresh:{i}" for i in range(len(FRESH)))

    def __init__(self, base: ShapesReader) -> None:
        self.base = base
        digest = hashlib.sha256("\n".join(FRESH).encode()).hexdigest()
        self.fingerprint = f"{base.fingerprint} fresh {digest[:16]}"
        self._formulas = [Formula.read(text) for text in FRESH]

    def read(self, images: Images) -> tuple[FloatArray, FloatArray]:
        """See `ShapesReader.read`. There are (n, 66) activations."""
        activations, embeddings = self.base.read_formulas(images, self._formulas)
        return activations[:, -len(FRESH) :], embeddings

    def formula(self, neuron: str) -> str:
        """The formula of a neuron. Only evaluation may use it."""
        return FRESH[int(neuron.split(":")[1])]
