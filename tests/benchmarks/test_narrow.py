"""What the exemplars of a neuron show."""

from __future__ import annotations

import pytest
from narrow import shown_in_scenes, shown_in_shapes, shows

from dnr_env.scenes.config import ScenesConfig
from dnr_env.scenes.stack import scenes_stack
from dnr_env.shapes.lexicon import ANYTHING, FAMILIES, OPEN, VALUES, text_of
from dnr_env.shapes.render import Renderer
from dnr_env.stack import Stack

SEEDS = list(range(200))


def test_pictures_of_shapes_show_the_words_that_they_were_drawn_with() -> None:
    codes = Renderer().resolve([ANYTHING] * len(SEEDS), SEEDS)[0]
    for number, family in enumerate(FAMILIES):
        for code, word in enumerate(family.words):
            values = [OPEN] * len(FAMILIES)
            values[number] = VALUES.index((number, word))
            assert (shown_in_shapes(SEEDS, text_of(tuple(values))) == (codes[:, number] == code)).all()
    assert shown_in_shapes(SEEDS, ANYTHING).all()


def test_pictures_of_scenes_show_a_phrase_if_one_object_has_all_of_it() -> None:
    red, star, both = (shown_in_scenes(SEEDS, text) for text in ("red thing", "star", "red star"))
    assert (both <= (red & star)).all()
    assert both.sum() < (red & star).sum()  # the star of some pictures is another object than the red one


@pytest.mark.parametrize("world", ["shapes", "scenes"])
def test_more_pictures_show_a_union_and_fewer_an_exception(world: str, stack: Stack, scene_weights: None) -> None:
    chosen = stack if world == "shapes" else scenes_stack("scenes", ScenesConfig())
    one = shows(chosen, "red thing")
    assert len(one) == len(chosen.probe)
    assert shows(chosen, ANYTHING).all()
    assert 0 < one.mean() < 0.5
    if world == "scenes":
        union, excepted = (shows(chosen, f"red thing {more}") for more in ("or star", "but not star"))
        assert (one <= union).all()
        assert (excepted <= one).all()
        assert union.sum() > one.sum() > excepted.sum()
