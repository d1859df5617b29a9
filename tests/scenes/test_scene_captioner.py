"""The captioner of `scenes`: which objects it sees, and how often it leaves words out and gets them wrong."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dnr_env.scenes.captioner import MISTAKEN, NOTICED, SECOND, SURE, SceneCaptioner, seen
from dnr_env.scenes.networks import Network
from dnr_env.scenes.outputs import OUTPUTS, PAIR_SLICES
from dnr_env.scenes.render import SceneRenderer
from dnr_env.shapes.lexicon import ANYTHING, BACKGROUND, COLOUR, FAMILIES, SHAPE, SIZE, TEXTURE
from dnr_env.types import FloatArray, Images

FRESH = 1 << 50
COUNT = 4000

codes = st.tuples(*(st.integers(0, len(family.words) - 1) for family in FAMILIES))


def shown(objects: list[tuple[Any, ...]], sure: list[float]) -> FloatArray:
    """(outputs,) how sure a network is of a picture with these objects, which it sees whole."""
    row = np.zeros(len(OUTPUTS))
    for each, probability in zip(objects, sure, strict=True):
        words = [family.words[code] for family, code in zip(FAMILIES, each, strict=True)]
        for family in (SIZE, BACKGROUND):
            row[OUTPUTS.index(words[family])] = max(probability, row[OUTPUTS.index(words[family])])
        for one, other in PAIR_SLICES:
            place = OUTPUTS.index(f"{words[one]} & {words[other]}")
            row[place] = max(probability, row[place])
    return row


@given(codes, codes, st.floats(0.02, 0.49), st.floats(0.5, 1))
def test_it_sees_the_objects_that_the_network_sees(one: Any, other: Any, less: float, more: float) -> None:
    found = seen(shown([other, one], [less, more]))
    size, background = one[SIZE], one[BACKGROUND]  # of the surest object; they are not bound to an object
    assert found[0] == (list(one), more)
    if other[COLOUR] != one[COLOUR] and other[SHAPE] != one[SHAPE]:
        assert found[1] == ([size, other[COLOUR], other[TEXTURE], other[SHAPE], background], less)


@given(st.integers(0, 2**32 - 1))
def test_the_first_is_the_surest_and_the_second_the_surest_of_the_others(seed: int) -> None:
    row = np.random.default_rng(seed).random(len(OUTPUTS))
    (first, first_sure), (second, second_sure) = seen(row)
    sure = row[PAIR_SLICES[COLOUR, SHAPE]].reshape(10, 10)
    assert first_sure == sure[first[COLOUR], first[SHAPE]] == sure.max()
    others = [
        sure[colour, shape]
        for colour in range(10)
        for shape in range(10)
        if colour != first[COLOUR] and shape != first[SHAPE]
    ]
    assert second_sure == sure[second[COLOUR], second[SHAPE]] == max(others)
    assert second[COLOUR] != first[COLOUR]
    assert second[SHAPE] != first[SHAPE]


@given(order=st.lists(st.integers(0, 19), min_size=1, max_size=20))
@settings(deadline=None, max_examples=10)
def test_a_caption_depends_only_on_its_image(scene_weights: None, order: list[int]) -> None:
    pictures = SceneRenderer().generate([ANYTHING] * 20, range(FRESH, FRESH + 20))
    captioner = SceneCaptioner(Network("plain"))
    captions = captioner.caption(pictures)
    assert len(set(captions)) > 10
    assert captioner.caption(pictures[order]) == [captions[place] for place in order]


class _Sees(Network):
    """A network that sees the same two objects whole, whatever the image."""

    def __init__(self, second: float = SURE) -> None:
        self.fingerprint, self.second = "sees", second

    def read(self, images: Images) -> tuple[FloatArray, FloatArray]:
        row = shown([OBJECT, OTHER], [0.9, self.second])
        return np.zeros((len(images), 0)), np.tile(row, (len(images), 1))


OBJECT, OTHER = (1, 2, 3, 4, 5), (1, 6, 5, 7, 5)


@pytest.fixture(scope="module")
def phrases() -> list[list[dict[int, int]]]:
    """Of many captions, the code of each family that is named in each noun phrase."""
    images = [np.frombuffer(number.to_bytes(12, "big"), np.uint8).reshape(2, 2, 3) for number in range(COUNT)]
    texts = SceneCaptioner(_Sees()).caption(images)
    return [[_named(phrase) for phrase in text.split(" and ")] for text in texts]


def _named(phrase: str) -> dict[int, int]:
    words = phrase.split()
    return {
        number: family.words.index(word)
        for number, family in enumerate(FAMILIES)
        for word in words
        if word in family.words
    }


def near(found: float, probability: float, count: int) -> bool:
    """Whether a share of `count` agrees with a probability, by four standard errors."""
    return abs(found - probability) < 4 * math.sqrt(probability * (1 - probability) / count)


def test_an_object_that_the_network_is_not_sure_of_is_missed() -> None:
    images = [np.frombuffer(number.to_bytes(12, "big"), np.uint8).reshape(2, 2, 3) for number in range(100)]
    texts = SceneCaptioner(_Sees(second=SURE - 0.01)).caption(images)
    assert not any(" and " in text for text in texts)


def test_words_are_left_out_and_mistaken_as_often_as_it_says(phrases: list[list[dict[int, int]]]) -> None:
    seconds = [caption[1] for caption in phrases if len(caption) == 2]
    assert near(len(seconds) / COUNT, SECOND, COUNT)
    for described, named in ((OBJECT, [caption[0] for caption in phrases]), (OTHER, seconds)):
        for family, kind in enumerate(FAMILIES):
            said = [phrase[family] for phrase in named if family in phrase]
            if family == BACKGROUND and named is seconds:
                assert not said
                continue
            assert near(len(said) / len(named), NOTICED[family], len(named))
            wrong = MISTAKEN[family] * (1 - 1 / len(kind.words))  # a random word may be the right one
            assert near(sum(code != described[family] for code in said) / len(said), wrong, len(said))
