"""Planted neurons of `scenes`: what they compute, and how labels are compared with them."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnr_env.scenes.outputs import OUTPUTS, presence
from dnr_env.scenes.planted import (
    FORMULAS,
    NAMED_FROM,
    Formula,
    Part,
    activations,
    compare,
    phrase_probability,
)
from dnr_env.scenes.render import SceneRenderer
from dnr_env.shapes.lexicon import ANYTHING, FAMILIES, OPEN, SIZE, VALUES, vocabulary
from dnr_env.shapes.parse import normalise, values_of
from dnr_env.structure import Phrase, Structure
from dnr_env.types import FloatArray, IntArray

FRESH = 1 << 50
SCENES = SceneRenderer().resolve([ANYTHING] * 400, range(FRESH, FRESH + 400))
READ = [Formula.read(text) for text in FORMULAS]

phrases = st.sampled_from(vocabulary())


def is_true(phrase: str, codes: IntArray) -> bool:
    """Whether an object and its background (5,) fit a phrase, from the tables as they are written."""
    for family, value in enumerate(values_of(phrase)):
        name = VALUES[value][1]
        if value != OPEN and FAMILIES[family].words[codes[family]] not in FAMILIES[family].hypernyms.get(name, (name,)):
            return False
    return True


def sure(**probabilities: float) -> FloatArray:
    """One row of presence probabilities (1, outputs), 0 but for those given; "_" stands for " & "."""
    row = np.zeros((1, len(OUTPUTS)))
    for name, probability in probabilities.items():
        row[0, OUTPUTS.index(name.replace("_", " & "))] = probability
    return row


def test_the_formulas_are_about_sixty_of_five_kinds() -> None:
    assert 50 <= len(set(FORMULAS)) == len(FORMULAS) <= 70
    unions = [f for f in READ if len(f.parts) == 2]
    sums = [f for f in READ if f.summed]
    exceptions = [f for f in READ if f.parts[0].but_not]
    assert min(len(unions), len(sums), len(exceptions)) >= 10
    assert all(len(f.parts) == 3 for f in sums)
    assert not any(f.summed for f in unions)
    for formula in READ:
        weights = [part.weight for part in formula.parts]
        assert weights[0] == 1
        assert all(first > second for first, second in pairwise(weights))
        for part in formula.parts:
            assert normalise(part.phrase) == part.phrase
            assert part.but_not is None or normalise(part.but_not) == part.but_not


def test_formulas_are_read() -> None:
    assert Formula.read("red star | 0.6 blue circle") == Formula((Part("red star"), Part("blue circle", weight=0.6)))
    assert Formula.read("star & !thing on sky") == Formula((Part("star", "thing on sky"),))
    summed = Formula.read("red star + 0.75 ring + 0.5 huge thing & !star")
    assert summed == Formula((Part("red star"), Part("ring", weight=0.75), Part("huge thing", "star", 0.5)), True)


@given(phrases)
def test_a_sure_head_knows_what_one_object_shows_or_cannot_rule_it_out(phrase: str) -> None:
    """It is right unless the phrase names attributes that no output joins: all three, or the size and another."""
    shown = phrase_probability(presence(SCENES).astype(float), phrase)
    assert set(np.unique(shown)) <= {0, 1}
    codes = np.concatenate([SCENES.objects, np.repeat(SCENES.backgrounds, 3).reshape(-1, 3, 1)], axis=2)
    true = [any(is_true(phrase, row) for row in picture if row[0] >= 0) for picture in codes]
    named = [family for family, value in enumerate(values_of(phrase)[:4]) if value != OPEN]
    if len(named) <= 1 or (len(named) == 2 and SIZE not in named):
        np.testing.assert_array_equal(shown, true)
    else:
        assert (shown >= true).all()


def test_a_phrase_is_as_sure_as_its_weakest_part_and_a_hypernym_as_any_of_its_words() -> None:
    row = sure(red_star=0.5, red=0.9, star=0.9, orange_star=0.4, red_striped=0.8, striped_star=0.3, tiny=0.2, sky=0.6)
    for phrase, wanted in {
        "red star": 0.5,
        "warm star": 1 - 0.5 * 0.6,
        "red striped star": 0.3,
        "tiny red striped thing": 0.2,
        "star on sky": 0.6,
        "red thing": 0.9,
    }.items():
        assert phrase_probability(row, phrase) == pytest.approx([wanted])


def test_unions_sums_and_exceptions() -> None:
    row = sure(red_star=0.8, ring=0.5, sky=0.25)
    texts = ["red star | 0.6 ring", "red star + 0.6 ring + 0.4 thing on sky", "red star & !ring"]
    wanted = [1 - 0.2 * (1 - 0.3), 0.8 + 0.3 + 0.1, 0.8 * 0.5]
    np.testing.assert_allclose(activations(row, [Formula.read(text) for text in texts])[0], wanted)


def test_every_planted_neuron_tells_pictures_of_its_parts_from_others() -> None:
    """Drawings of the first part excite most, and those of any part more than pictures of anything."""
    renderer, seeds = SceneRenderer(), range(FRESH, FRESH + 100)
    for text, formula in zip(FORMULAS, READ, strict=True):
        *parts, anything = (
            activations(presence(renderer.resolve([phrase] * 100, seeds)).astype(float), [formula]).mean()
            for phrase in (*(part.phrase for part in formula.parts), ANYTHING)
        )
        assert max(parts) == parts[0], text
        assert min(parts) > anything, text


# --- labels -----------------------------------------------------------------------------------------------------------


Label = list[tuple[str, str | None]]


def compared(label: Label, formula: str) -> tuple[float, float]:
    """F1 of precision and recall, and the share of the parts that are named."""
    precision, recall, named = compare(formula, Structure(tuple(Phrase(*phrase) for phrase in label)))
    assert precision is not None
    assert recall is not None
    assert named is not None
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0, named


def whole(formula: Formula) -> Label:
    return [(part.phrase, part.but_not) for part in formula.parts]


@pytest.mark.parametrize("text", FORMULAS)
def test_the_formula_itself_is_the_perfect_label_and_a_part_of_it_names_that_part(text: str) -> None:
    parts = whole(Formula.read(text))
    assert compared(parts, text) == (1, 1)
    assert compared(parts[::-1], text) == (1, 1)
    for part in parts:
        f1, named = compared([part], text)
        assert f1 == 1
        assert named == pytest.approx(1 / len(parts))


@pytest.mark.parametrize(
    ("label", "formula", "f1", "named"),
    [
        ([("red thing", None)], "red star", 2 / 3, 1),  # precision 1, recall 1/2
        ([("small red star", None)], "red star", 4 / 5, 1),
        ([("blue star", None)], "red star", 1 / 2, 0),
        ([("warm thing", None)], "red thing", 1 / 3, 0),  # precision 1/5
        ([("ring", None)], "red star", 0, 0),
        ([(ANYTHING, None)], "red star", 0, 0),
        ([("red star", None), ("ring", None)], "red star", 1 / 2, 1),  # a phrase too many
        ([("red star", None), ("red star", None)], "red star | 0.6 ring", 1 / 2, 1 / 2),
        ([("ring", None), ("red thing", None)], "red star | 0.6 ring", 6 / 7, 1),
        ([("ring", None), ("red star", None)], "red star + 0.8 ring + 0.5 thing on sky", 1, 2 / 3),
        ([("warm thing", None)], "warm thing & !red thing", 2 * 0.8 / 1.8, 1),  # four of five words
        ([("warm thing", "red thing")], "warm thing & !red thing", 1, 1),
        ([("warm thing", "red thing")], "warm thing", 2 * 0.8 / 1.8, 1),
        ([("star", "thing on sky")], "star & !thing on sky", 1, 1),
        ([("star", None)], "star & !thing on sky", 2 / 3, 1),
        ([("star", "red ring")], "star", 1 / 2, 0),  # excludes a colour and a shape
        ([("red thing", "warm thing")], "red thing", 0, 0),  # allows nothing
    ],
)
def test_labels_are_compared(label: Label, formula: str, f1: float, named: float) -> None:
    np.testing.assert_allclose(compared(label, formula), (f1, named))


@given(st.lists(st.tuples(phrases, st.none() | phrases), min_size=1, max_size=2), st.sampled_from(FORMULAS))
def test_comparisons_are_shares_and_agree(label: Label, formula: str) -> None:
    f1, named = compared(label, formula)
    assert 0 <= f1 <= 1
    assert 0 <= named <= 1
    np.testing.assert_allclose(compared(list(reversed(label)), formula), (f1, named))
    if named:
        assert f1 >= NAMED_FROM / len(label)
