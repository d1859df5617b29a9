"""The search for units that "A or B" names better than one phrase: planted units, brute force, and what J means."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import world_polysemantic
from hypothesis import given
from hypothesis import strategies as st
from world_measures import anything, part_of
from world_polysemantic import best_labels, gains, informedness, polysemantic, top_pictures, truth

from dnr_env.scenes.render import Scenes
from dnr_env.shapes.lexicon import FAMILIES, VALUES, vocabulary
from dnr_env.shapes.parse import values_of
from dnr_env.types import BoolArray, FloatArray

FRESH = 1 << 50
FEW = (
    *(text for text in vocabulary() if sum(value >= 0 for value in values_of(text)) < 2),
    "blue circle",
    "red square",
)
"""Every value alone, and two pairs."""


def _true(scenes: Scenes, phrase: str) -> BoolArray:
    """By the definition, one object at a time."""
    named = [VALUES[value] for value in values_of(phrase) if value >= 0]

    def is_described(codes: list[int], background: int) -> bool:
        words = [family.words[code] for family, code in zip(FAMILIES, [*codes, background], strict=True)]
        return all(words[f] in FAMILIES[f].hypernyms.get(word, (word,)) for f, word in named)

    pictures = zip(scenes.objects.tolist(), scenes.backgrounds.tolist(), strict=True)
    return np.array([any(is_described(o, b) for o in objects if o[0] >= 0) for objects, b in pictures])


def test_a_phrase_is_true_if_one_object_has_all_that_it_names() -> None:
    scenes = anything(range(FRESH, FRESH + 150))
    phrases = [*vocabulary()[::120], *FEW]
    true = truth(scenes, phrases)
    for phrase, column in zip(phrases, true.T, strict=True):
        np.testing.assert_array_equal(column, _true(scenes, phrase), err_msg=phrase)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=4, max_size=30), st.integers(1, 3))
def test_j_is_a_difference_of_shares(labels: list[tuple[bool, bool]], count: int) -> None:
    true, top = np.array(labels, np.float32), np.arange(count)[None]
    found = informedness(true, top)[0]
    np.testing.assert_allclose(found, true[:count].mean(axis=0) - true[count:].mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(informedness(1 - true, top)[0], -found, atol=1e-6)


def test_top_pictures_are_the_strongest_hundredth() -> None:
    activations = np.random.default_rng(0).normal(size=(400, 3))
    top = top_pictures(activations)
    assert top.shape == (3, 4)
    for unit, pictures in enumerate(top):
        assert activations[pictures, unit].min() == np.sort(activations[:, unit])[-4]


def _j(label: FloatArray, pictures: list[int]) -> float:
    return float(label[pictures].mean() - np.delete(label, pictures).mean())


def test_the_best_labels_are_those_of_brute_force(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(world_polysemantic, "FIRST_PARTS", 4)
    rng = np.random.default_rng(1)
    true, other = ((rng.random((120, 25)) < rng.random(25)).astype(np.float32) for _ in range(2))
    top, second = (np.stack([rng.permutation(120)[:9] for _ in range(6)]) for _ in range(2))
    labels = best_labels(true, top)
    for pictures, (single, a, b) in zip(top.tolist(), labels.tolist(), strict=True):
        alone = [_j(column, pictures) for column in true.T]
        assert alone[single] == pytest.approx(max(alone))
        assert a in np.argsort(-np.array(alone), kind="stable")[:4]
        pairs = product(np.argsort(-np.array(alone), kind="stable")[:4].tolist(), range(25))
        best = max(_j(np.maximum(true[:, x], true[:, y]), pictures) for x, y in pairs)
        assert _j(np.maximum(true[:, a], true[:, b]), pictures) == pytest.approx(best)
    expected = [
        _j(np.maximum(other[:, a], other[:, b]), pictures) - _j(other[:, single], pictures)
        for pictures, (single, a, b) in zip(second.tolist(), labels.tolist(), strict=True)
    ]
    np.testing.assert_allclose(gains(other, second, labels), expected, atol=1e-6)


def test_planted_unions_are_found_and_no_others() -> None:
    scenes = anything(range(FRESH, FRESH + 6000))
    halves = [part_of(scenes, slice(3000)), part_of(scenes, slice(3000, 6000))]
    rng = np.random.default_rng(2)

    def unit(*phrases: str) -> FloatArray:
        shown = np.any([_true(scenes, phrase) for phrase in phrases], axis=0)
        activations: FloatArray = shown + 0.3 * rng.random(6000)
        return activations

    units = [unit("blue circle"), unit("brick"), unit("blue circle", "red square"), unit("hatched thing", "hexagon")]
    activations = np.stack([*units, rng.random(6000)], axis=1)
    true = [truth(half, FEW) for half in halves]
    found = polysemantic(np.split(activations, 2), true)
    assert found.tolist() == [False, False, True, True, False]
    labels = best_labels(true[0], top_pictures(activations[:3000]))
    assert FEW[labels[0, 0]] == "blue circle"
    assert {FEW[phrase] for phrase in labels[2, 1:]} == {"blue circle", "red square"}
    assert {FEW[phrase] for phrase in labels[3, 1:]} == {"hatched thing", "hexagon"}
