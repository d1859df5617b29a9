"""The judge's own embedder: true attributes of pictures, and noun phrases, as unit vectors."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnr_env.scenes.outputs import presence
from dnr_env.scenes.planted import phrase_probability
from dnr_env.scenes.render import SceneRenderer, Scenes
from dnr_env.scenes.tail import FREQUENCIES
from dnr_env.scenes.truth import DIM, TrueEmbedder, object_words, true_embeddings
from dnr_env.shapes.lexicon import ANYTHING, COLOUR, FAMILIES, FAMILY_SLICES, WORDS, vocabulary
from dnr_env.shapes.parse import values_of
from dnr_env.types import FloatArray

FRESH = 1 << 50
SCENES = SceneRenderer().resolve([ANYTHING] * 500, range(FRESH, FRESH + 500))
PICTURES = true_embeddings(SCENES)

phrases = st.sampled_from(vocabulary())


def cosines(text: str, rows: FloatArray = PICTURES) -> FloatArray:
    similarity: FloatArray = rows @ TrueEmbedder().embed_texts([text])[0]
    return similarity


@given(st.lists(phrases, min_size=1, max_size=5))
def test_texts_are_unit_vectors_by_themselves(texts: list[str]) -> None:
    rows = TrueEmbedder().embed_texts([*texts, "thing"])
    assert rows.dtype == np.float32
    assert rows.shape == (len(texts) + 1, DIM)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)
    np.testing.assert_array_equal(TrueEmbedder().embed_texts(texts[-1:])[0], rows[len(texts) - 1])


def test_pictures_are_unit_vectors_and_alike_if_they_show_the_same() -> None:
    assert PICTURES.dtype == np.float32
    assert PICTURES.shape == (500, DIM)
    np.testing.assert_allclose(np.linalg.norm(PICTURES, axis=1), 1, atol=1e-6)
    again = true_embeddings(SCENES._replace(objects=SCENES.objects[:, ::-1], uniforms=SCENES.uniforms * 0))
    np.testing.assert_array_equal(PICTURES, again)  # the order of objects, light and places do not matter


def test_words_of_an_object_are_its_own_and_the_background() -> None:
    for place in range(3):
        for row, objects, background in zip(
            object_words(SCENES, place), SCENES.objects[:, place], SCENES.backgrounds, strict=True
        ):
            expected = {f.words[c] for f, c in zip(FAMILIES, [*objects, background], strict=True)}
            assert {WORDS[word] for word in np.flatnonzero(row)} == (expected if objects[0] >= 0 else set())


def test_a_picture_is_nearer_to_a_phrase_that_is_true_of_it() -> None:
    shown = presence(SCENES).astype(float)
    gaps = []
    for text in vocabulary()[::10]:
        true = phrase_probability(shown, text) == 1
        if 5 <= true.sum() <= 400:
            similarity = cosines(text)
            gaps.append(similarity[true].mean() - similarity[~true].mean())
    assert len(gaps) > 50
    assert min(gaps) > 0
    assert np.mean(gaps) > 0.1


def _two(colours: tuple[str, str]) -> Scenes:
    """A picture of a star and a ring in two colours, among other pictures."""
    objects, words = SCENES.objects.copy(), FAMILIES[COLOUR].words
    shapes = [FAMILIES[3].words.index(shape) for shape in ("star", "ring")]
    objects[0] = [[1, words.index(colour), 0, shape] for colour, shape in zip(colours, shapes, strict=True)] + [
        [-1] * 4
    ]
    return SCENES._replace(objects=objects)


def test_pairs_of_words_belong_to_one_object() -> None:
    bound, swapped = (true_embeddings(_two(colours))[:1] for colours in (("red", "blue"), ("blue", "red")))
    for text in ("red star", "blue ring"):
        assert cosines(text, bound) > cosines(text, swapped) + 0.05
    for text in ("blue star", "red ring"):
        assert cosines(text, swapped) > cosines(text, bound) + 0.05


@pytest.mark.parametrize("hypernym", FAMILIES[COLOUR].hypernyms)
def test_a_hypernym_weighs_its_words_by_how_common_they_are(hypernym: str) -> None:
    alone = TrueEmbedder().embed_texts([f"{word} thing" for word in FAMILIES[COLOUR].words])
    weights = alone @ TrueEmbedder().embed_texts([f"{hypernym} thing"])[0]
    members = [word in FAMILIES[COLOUR].hypernyms[hypernym] for word in FAMILIES[COLOUR].words]
    expected = np.where(members, FREQUENCIES[COLOUR], 0)
    np.testing.assert_allclose(weights, expected / np.linalg.norm(expected), atol=1e-6)


@given(phrases)
def test_a_phrase_names_its_words_and_their_pairs(text: str) -> None:
    row = TrueEmbedder().embed_texts([text])[0]
    named = [family for family, value in enumerate(values_of(text)) if value >= 0]
    for family, part in enumerate(FAMILY_SLICES):
        assert row[part].any() == (family in named or not named)
    if named:
        assert row[len(WORDS) :].any() == (len(named) > 1)
