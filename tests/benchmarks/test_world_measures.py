"""Measures of the generator, the probe, the captioner and the CLIP, where the answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from world_clip import binding_captions, can_be_bound, full_captions, nearer, prompts, right_of_two
from world_measures import (
    anything,
    caption_errors,
    common_to_rare,
    counts,
    described,
    full_phrase,
    generator_errors,
    pairs_known,
    probe_scenes,
    shown_words,
    triples_missing,
)

from dnr_env.scenes.render import SceneRenderer, Scenes
from dnr_env.scenes.truth import TrueEmbedder, true_embeddings
from dnr_env.seeds import Purpose
from dnr_env.shapes.lexicon import ANYTHING, BACKGROUND, COLOUR, FAMILIES, SHAPE, SIZE, WORDS
from dnr_env.shapes.parse import values_of
from dnr_env.types import FloatArray

FRESH = 1 << 50


def _scenes(*pictures: str) -> Scenes:
    """Pictures such as "small red striped star, huge blue solid bar on grass"."""
    objects, backgrounds = np.full((len(pictures), 3, 4), -1), np.empty(len(pictures), int)
    for row, text in enumerate(pictures):
        listed, background = text.split(" on ")
        backgrounds[row] = FAMILIES[BACKGROUND].words.index(background)
        for place, phrase in enumerate(listed.split(", ")):
            words = zip(FAMILIES, phrase.split(), strict=False)
            objects[row, place] = [family.words.index(word) for family, word in words]
    return Scenes(objects, backgrounds, np.zeros((len(pictures), 0)))


TWO = "small red striped star, huge blue solid bar on grass"


def test_the_probe_is_that_of_the_world() -> None:
    scenes = probe_scenes()
    seeds = Purpose.PROBE.seeds(0, 600).tolist()
    np.testing.assert_array_equal(scenes.objects, SceneRenderer().resolve([ANYTHING] * 600, seeds).objects)


def test_counts_words_and_what_is_described() -> None:
    scenes = _scenes(TWO, "tiny pink wavy oval on sky")
    assert counts(scenes).tolist() == [2, 1]
    assert {WORDS[i] for i in np.flatnonzero(shown_words(scenes)[0])} == set(TWO.replace(",", "").split()) - {"on"}
    texts = [full_phrase(codes) for codes in described(scenes)]
    assert texts == ["small red striped star on grass", "tiny pink wavy oval on sky"]


@pytest.mark.parametrize("infidelity", [(0, 0, 0, 0, 0), (1, 0, 1, 0, 1), (0, 1, 0, 1, 0), (0.3, 0.1, 0.2, 0.05, 0.5)])
def test_errors_of_the_generator_are_as_frequent_as_it_is_told(infidelity: tuple[float, ...]) -> None:
    rng = np.random.default_rng(0)
    asked = np.stack([rng.integers(len(family.words), size=1500) for family in FAMILIES], axis=1)
    drawn = SceneRenderer(infidelity).resolve([full_phrase(codes) for codes in asked], range(FRESH, FRESH + 1500))
    rates = np.array(infidelity, float)
    tolerance = 4 * np.sqrt(rates * (1 - rates) / 1500)  # 0 where it always or never errs
    assert (np.abs(generator_errors(drawn, asked) - rates) <= tolerance).all()


def test_pairs_are_known_from_ten_pictures_on() -> None:
    once, twice = "small red striped star on sky", "small red striped star, small red striped star on sky"
    assert pairs_known(_scenes(*[once] * 10)) == 3 / 260
    assert pairs_known(_scenes(*[once] * 9)) == 0
    assert pairs_known(_scenes(*[twice] * 9)) == 0  # pictures count, not objects
    assert triples_missing(_scenes(twice, TWO)) == pytest.approx(798 / 800)


def test_the_ratio_of_the_commonest_to_the_rarest_word() -> None:
    colours = [*FAMILIES[COLOUR].words, "blue", "blue"]
    scenes = _scenes(*(f"small {colour} solid star on sky" for colour in colours))
    assert common_to_rare(scenes, COLOUR) == 3


def test_errors_of_captions_by_hand() -> None:
    scenes = _scenes(TWO, TWO, "tiny pink wavy oval on sky")
    errors = caption_errors(["a red star on grass", "a blue star and a pink solid bar", "a thing"], scenes)
    assert errors.words == 1 / 8
    assert errors.captions == 1 / 3
    assert errors.misses == 2 / 5


def test_full_captions_have_no_errors_and_those_of_other_pictures_have() -> None:
    scenes = anything(range(FRESH, FRESH + 300))
    captions = full_captions(scenes)
    assert caption_errors(captions, scenes) == (0, 0, 0)
    errors = caption_errors(captions[1:] + captions[:1], scenes)
    assert min(errors) > 0.3
    assert errors.captions > errors.words


def test_full_captions_are_english_of_at_most_eighteen_words() -> None:
    three = "small red striped star, huge orange solid bar, tiny pink wavy oval on sky"
    assert full_captions(_scenes(TWO, three)) == [
        "a small red striped star and a huge blue solid bar on grass",
        "a small red striped star, a huge orange solid bar and a tiny pink wavy oval on sky",
    ]
    assert max(len(text.split()) for text in full_captions(anything(range(FRESH, FRESH + 300)))) == 18


def test_prompts_name_one_word_and_nothing_else() -> None:
    for family, kind in enumerate(FAMILIES):
        for word, text in zip(kind.words, prompts(family), strict=True):
            values = values_of(text)
            assert [value >= 0 for value in values] == [other == family for other in range(len(FAMILIES))]
            assert word in text.split()


def test_swapped_captions_have_the_same_words_but_not_the_same_objects() -> None:
    assert binding_captions(_scenes(TWO, "tiny orange wavy oval, tiny pink wavy ring on sky")) == (
        ["a red star and a blue bar", "an orange oval and a pink ring"],
        ["a blue star and a red bar", "a pink oval and an orange ring"],
    )


def test_pictures_that_can_be_bound() -> None:
    scenes = _scenes(
        TWO,
        "tiny pink wavy oval on sky",
        "tiny pink wavy oval, tiny pink solid bar on sky",
        "tiny pink wavy oval, tiny red wavy oval on sky",
        "tiny pink wavy oval, tiny red wavy bar, tiny blue wavy ring on sky",
    )
    assert can_be_bound(scenes).tolist() == [True, False, False, False, False]


@given(st.integers(0, 2**32 - 1), st.integers(2, 10))
def test_an_embedder_that_errs_never_always_or_at_random(seed: int, number: int) -> None:
    rng = np.random.default_rng(seed)
    words, own = np.eye(number), rng.integers(number, size=400)
    assert right_of_two(words[own], words, own, rng) == 1
    assert right_of_two(-words[own], words, own, rng) == 0
    noise: FloatArray = rng.normal(size=(400, number))
    assert 0.35 < right_of_two(noise, words, own, rng) < 0.65
    assert nearer(noise, noise, -noise) == 1


def test_true_attributes_are_always_nearer_to_their_word() -> None:
    scenes = anything(range(FRESH, FRESH + 900))
    alone = np.flatnonzero(counts(scenes) == 1)
    images, own = true_embeddings(scenes)[alone], described(scenes)[alone]
    for family in (SIZE, SHAPE, BACKGROUND):
        words = TrueEmbedder().embed_texts(prompts(family))
        assert right_of_two(images, words, own[:, family], np.random.default_rng(0)) == 1
