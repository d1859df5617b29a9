"""The renderer of `scenes`: what is drawn, how often, and that nothing else changes."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dnr_env.errors import ConceptError
from dnr_env.scenes.render import ATTRIBUTES, OBJECTS, SceneRenderer, Scenes, draw_scenes
from dnr_env.scenes.tail import FREQUENCIES
from dnr_env.shapes import lexicon
from dnr_env.shapes.lexicon import ANYTHING, BACKGROUND, COLOUR, FAMILIES, OPEN, SHAPE, SIZE, TEXTURE, VALUES
from dnr_env.shapes.parse import values_of
from dnr_env.types import BoolArray, ImageArray, IntArray

FRESH = 1 << 50  # seeds that no training and no block of the environment uses
RENDERER = SceneRenderer()
SOME = settings(deadline=None, max_examples=50)

concepts = st.sampled_from(lexicon.vocabulary())
seeds = st.integers(0, (1 << 60) - 1)


def code(family: int, word: str) -> int:
    return FAMILIES[family].words.index(word)


def allowed(family: int, value: int) -> list[int]:
    """The codes of a value, from the tables as they are written."""
    if value == OPEN:
        return list(range(len(FAMILIES[family].words)))
    word = VALUES[value][1]
    return [code(family, name) for name in FAMILIES[family].hypernyms.get(word, (word,))]


def described(scenes: Scenes) -> IntArray:
    """The codes (n, 5) of object 0 and of the background."""
    return np.column_stack([scenes.objects[:, 0], scenes.backgrounds])


def anything(count: int, first: int = FRESH) -> Scenes:
    return RENDERER.resolve([ANYTHING] * count, range(first, first + count))


def with_object(scenes: Scenes, place: int, family: int, word: str) -> Scenes:
    """The same pictures with one attribute of one object changed where there is such an object."""
    objects = scenes.objects.copy()
    there = objects[:, place, SIZE] >= 0
    objects[there, place, family] = code(family, word)
    return scenes._replace(objects=objects)


def changed(one: ImageArray, other: ImageArray) -> BoolArray:
    """(n, 64, 64) the pixels that differ by about half of the most that any pixel of their picture does, or more."""
    difference = np.abs(one.astype(int) - other).max(axis=3)
    most = difference.max(axis=(1, 2), keepdims=True)
    return np.asarray((difference > 0.45 * most) & (most > 0))


# --- what is drawn ----------------------------------------------------------------------------------------------------


@given(concepts, seeds)
@SOME
def test_the_first_object_and_the_background_are_what_the_phrase_says(concept: str, seed: int) -> None:
    codes = described(RENDERER.resolve([concept], [seed]))[0]
    for family, value in enumerate(values_of(concept)):
        assert codes[family] in allowed(family, value)


@given(concepts, concepts, seeds)
@SOME
def test_phrases_with_one_seed_differ_in_what_they_name_alone(one: str, other: str, seed: int) -> None:
    first, second = (RENDERER.resolve([text], [seed]) for text in (one, other))
    np.testing.assert_array_equal(first.uniforms, second.uniforms)
    np.testing.assert_array_equal(first.objects[:, 1:], second.objects[:, 1:])
    for family, values in enumerate(zip(values_of(one), values_of(other), strict=True)):
        if values[0] == values[1]:
            assert described(first)[0, family] == described(second)[0, family]


def test_objects_are_there_or_not_as_a_whole_and_first_ones_first() -> None:
    objects = anything(3000).objects
    there = (objects >= 0).all(axis=2)
    np.testing.assert_array_equal(there, (objects >= 0).any(axis=2))
    assert (np.diff(there.astype(int), axis=1) <= 0).all()
    shares = np.bincount(there.sum(axis=1), minlength=OBJECTS + 1) / len(objects)
    np.testing.assert_allclose(shares, [0, 1 / 3, 1 / 3, 1 / 3], atol=0.04)


def test_a_word_is_as_frequent_as_one_over_its_rank() -> None:
    """Of every object, whether a phrase describes it or not, and among the words that a hypernym allows."""
    scenes = anything(20_000)
    seen = [scenes.objects[:, place, family] for place in range(OBJECTS) for family in ATTRIBUTES]
    families = [*ATTRIBUTES * OBJECTS, BACKGROUND]
    for family, codes in zip(families, [*seen, scenes.backgrounds], strict=True):
        shares = np.bincount(codes[codes >= 0]) / np.sum(codes >= 0)
        zipf = 1 / np.arange(1, len(FAMILIES[family].words) + 1)
        np.testing.assert_allclose(np.sort(shares)[::-1], zipf / zipf.sum(), atol=0.02)
        np.testing.assert_allclose(shares, FREQUENCIES[family], atol=0.02)
    warm = RENDERER.resolve(["warm thing"] * 20_000, range(FRESH, FRESH + 20_000)).objects[:, 0, COLOUR]
    members = np.array(allowed(COLOUR, values_of("warm thing")[COLOUR]))
    wanted = FREQUENCIES[COLOUR][members] / FREQUENCIES[COLOUR][members].sum()
    np.testing.assert_allclose(np.bincount(warm, minlength=10)[members] / 20_000, wanted, atol=0.02)


def test_six_hundred_pictures_lack_most_conjunctions_of_three_words() -> None:
    objects = anything(600).objects.reshape(-1, len(ATTRIBUTES))
    shown = {tuple(row) for row in objects[:, [COLOUR, TEXTURE, SHAPE]].tolist() if row[0] >= 0}
    assert len(shown) < 0.6 * 10 * 8 * 10
    hexagons = objects[objects[:, SHAPE] == code(SHAPE, "hexagon")]
    assert not (hexagons[:, [COLOUR, TEXTURE]] == [code(COLOUR, "purple"), code(TEXTURE, "hatched")]).all(axis=1).any()


def test_a_phrase_without_a_known_word_is_refused() -> None:
    with pytest.raises(ConceptError, match="at least one word that can be drawn"):
        RENDERER.generate(["wombat"], [FRESH])


# --- pictures ---------------------------------------------------------------------------------------------------------


def test_a_picture_does_not_depend_on_its_batch() -> None:
    texts = [text for text, _ in zip(itertools.cycle(["red star", ANYTHING, "huge ring on sky"]), range(150))]
    numbers = np.arange(FRESH, FRESH + 150)
    images = RENDERER.generate(texts, numbers.tolist())
    assert images.shape == (150, 64, 64, 3)
    assert images.dtype == np.uint8
    order = np.random.default_rng(0).permutation(150)
    np.testing.assert_array_equal(RENDERER.generate([texts[i] for i in order], numbers[order].tolist()), images[order])
    for i in (0, 1, 63, 64, 149):
        np.testing.assert_array_equal(RENDERER.generate(texts[i : i + 1], [int(numbers[i])])[0], images[i])
    assert len(np.unique(images.reshape(150, -1), axis=0)) == 150


def test_the_described_object_is_wholly_visible_and_its_size_can_be_told() -> None:
    """A solid disc covers the area of its size, which no disc of another size does, whatever else there is."""
    scenes = RENDERER.resolve(["solid circle on black"] * 400, range(FRESH, FRESH + 400))
    red, white = (draw_scenes(with_object(scenes, 0, COLOUR, word)) for word in ("red", "white"))
    areas = changed(red, white).sum(axis=(1, 2))
    by_size = [areas[scenes.objects[:, 0, SIZE] == size] for size in range(4)]
    for smaller, larger in itertools.pairwise(by_size):
        assert smaller.max() < larger.min()
    radii = [np.sqrt(np.median(area) / np.pi) / 0.85 for area in by_size]
    np.testing.assert_allclose(radii, [6.0, 8.3, 11.4, 15.6], rtol=0.06)


def test_objects_hardly_hide_each_other() -> None:
    scenes = anything(600)
    plain = with_object(with_object(scenes, 1, TEXTURE, "solid"), 2, TEXTURE, "solid")
    for place in (1, 2):
        alone = np.full_like(plain.objects, -1)
        alone[:, place] = plain.objects[:, place]
        shown = []
        for objects in (plain.objects, alone):
            pictures = plain._replace(objects=objects)
            pair = (draw_scenes(with_object(pictures, place, COLOUR, word)) for word in ("red", "white"))
            shown.append(changed(*pair).sum(axis=(1, 2))[scenes.objects[:, place, SIZE] >= 0])
        hidden = 1 - shown[0] / shown[1]
        assert hidden.mean() < 0.05
        assert np.mean(hidden > 0.5) < 0.01


# --- unfaithful drawings ----------------------------------------------------------------------------------------------


def test_each_named_attribute_is_wrong_at_its_own_rate_and_nothing_else_is() -> None:
    n, concept = 6000, "large warm striped star on grass"
    rates = (0.1, 0.3, 0.0, 0.5, 0.2)
    numbers = range(FRESH, FRESH + n)
    wrong, right = (renderer.resolve([concept] * n, numbers) for renderer in (SceneRenderer(rates), RENDERER))
    np.testing.assert_array_equal(wrong.objects[:, 1:], right.objects[:, 1:])
    np.testing.assert_array_equal(wrong.uniforms, right.uniforms)
    for family, (value, rate) in enumerate(zip(values_of(concept), rates, strict=True)):
        codes = described(wrong)[:, family]
        meant = np.isin(codes, allowed(family, value))
        assert np.mean(~meant) == pytest.approx(rate, abs=5 * np.sqrt(rate * (1 - rate) / n))
        np.testing.assert_array_equal(codes[meant], described(right)[meant, family])


@given(concepts, seeds)
@SOME
def test_what_is_not_named_cannot_be_drawn_wrongly(concept: str, seed: int) -> None:
    wrong, right = (r.resolve([concept], [seed]) for r in (SceneRenderer((1.0,) * 5), RENDERER))
    for family, value in enumerate(values_of(concept)):
        same = described(wrong)[0, family] == described(right)[0, family]
        assert same == (value == OPEN)


def test_the_fingerprint_says_every_digit_of_the_infidelity() -> None:
    prints = {SceneRenderer(rates).fingerprint for rates in ((0.0,) * 5, (0.1, 0, 0, 0, 0), (0.1 + 1e-9, 0, 0, 0, 0))}
    assert len(prints) == 3
    assert (
        SceneRenderer((0, 0, 0, 0, 0)).fingerprint == RENDERER.fingerprint == "scenes-renderer-2 infidelity=0/0/0/0/0"
    )
