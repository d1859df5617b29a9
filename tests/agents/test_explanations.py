"""CLIP-Dissect and linear explanations, on embeddings whose words are known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import logsumexp, softmax

from dnr_env.agents.explanations import clip_dissect, linear_explanation
from dnr_env.types import FloatArray

IMAGES, WORDS, DIM = 400, 30, 64
NAMES = [f"word {i}" for i in range(WORDS)]


def unit(rows: FloatArray) -> FloatArray:
    lengths: FloatArray = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / lengths


@pytest.fixture(scope="module")
def world() -> tuple[FloatArray, FloatArray, FloatArray]:
    """Image embeddings, text embeddings, and how much of each word is in each image: (images, words)."""
    rng = np.random.default_rng(0)
    texts = unit(rng.normal(size=(WORDS, DIM)))
    content = rng.random((IMAGES, WORDS)) * (rng.random((IMAGES, WORDS)) < 0.15)
    images = unit(content @ texts + 0.05 * rng.normal(size=(IMAGES, DIM)))
    return images.astype(np.float32), texts.astype(np.float32), content


def test_planted_words_are_found(world: tuple[FloatArray, FloatArray, FloatArray]) -> None:
    images, texts, content = world
    activations = (7 * content - 3).astype(np.float32)
    scores = clip_dissect(activations, images, texts, top=40)
    assert scores.shape == (WORDS, WORDS)
    assert (scores.argmax(axis=1) == np.arange(WORDS)).mean() > 0.9
    # Ranks alone count, so the scale of a neuron does not.
    np.testing.assert_array_equal(clip_dissect(np.exp(activations), images, texts, top=40), scores)
    explained = linear_explanation(activations, images, texts, NAMES)
    assert [terms[0][0] for terms in explained] == NAMES


def test_scores_are_those_of_the_equation(world: tuple[FloatArray, FloatArray, FloatArray]) -> None:
    images, texts, content = world
    activations = content[:, :5].astype(np.float32)
    word = softmax(10 * images.astype(float) @ texts.T.astype(float), axis=1)
    expected = np.zeros((5, WORDS))
    for neuron in range(5):
        order = sorted(range(IMAGES), key=lambda x: (-activations[x, neuron], x))[:100]
        for rank, x in enumerate(order):
            expected[neuron] += np.log(1 + (0.998 - rank / 100 * 0.028) * (word[x] - 1))
    prior = logsumexp(expected, axis=0) - np.log(5)
    np.testing.assert_allclose(clip_dissect(activations, images, texts), expected - prior, atol=1e-6)
    np.testing.assert_allclose(clip_dissect(activations, images, texts, penalty=0.0), expected, atol=1e-6)


def test_the_penalty_holds_words_down_that_suit_everything(world: tuple[FloatArray, FloatArray, FloatArray]) -> None:
    images, texts, content = world
    common = unit(images.mean(axis=0, keepdims=True)).astype(np.float32)
    more = np.concatenate([texts, 3 * common])  # the last word is near every image
    activations = content[:, :10].astype(np.float32)
    assert (clip_dissect(activations, images, more, penalty=0.0).argmax(axis=1) == WORDS).any()
    assert (clip_dissect(activations, images, more).argmax(axis=1) == np.arange(10)).mean() > 0.8


def test_neurons_without_scores_have_defined_ones(world: tuple[FloatArray, FloatArray, FloatArray]) -> None:
    images, texts, content = world
    good = content[:, :6].astype(np.float32)
    bad = np.stack([np.zeros(IMAGES), np.full(IMAGES, 2.5), *np.zeros((3, IMAGES))], axis=1).astype(np.float32)
    bad[9, 2], bad[9, 3], bad[9, 4] = np.nan, np.inf, -np.inf
    both = np.concatenate([bad, good], axis=1)
    scores = clip_dissect(both, images, texts)
    assert (scores[:5] == 0).all()
    np.testing.assert_array_equal(scores[5:], clip_dissect(good, images, texts))
    assert (clip_dissect(bad, images, texts) == 0).all()
    alone = clip_dissect(good[:, :1], images, texts)
    assert alone.argmax() == 0  # one neuron has nothing to be told apart from, and still has a word
    explained = linear_explanation(both, images, texts, NAMES)
    assert explained[:5] == [[]] * 5
    assert explained[5:] == linear_explanation(good, images, texts, NAMES)


def test_sums_of_words_are_taken_apart(world: tuple[FloatArray, FloatArray, FloatArray]) -> None:
    images, texts, _ = world
    similarity = images @ texts.T
    similarity = (similarity - similarity.mean(axis=0)) / similarity.std(axis=0)
    noise = np.random.default_rng(1).normal(size=IMAGES)
    activations = np.stack(
        [
            similarity[:, 3],
            5 + 2 * similarity[:, 4] + 1.5 * similarity[:, 8],
            similarity[:, 1] + 0.8 * similarity[:, 2] + 0.6 * similarity[:, 20] + 0.3 * noise,
            noise,
            similarity[:, 5] - similarity[:, 6],  # a weight is never negative
        ],
        axis=1,
    )
    one, two, three, none, minus = linear_explanation(activations, images, texts, NAMES)
    assert [word for word, _ in one] == ["word 3"]
    assert one[0][1] == pytest.approx(1, abs=1e-3)
    assert [word for word, _ in two] == ["word 4", "word 8"]
    spread = activations[:, 1].std()
    assert [weight for _, weight in two] == pytest.approx([2 / spread, 1.5 / spread], rel=0.02)
    assert {word for word, _ in three} == {"word 1", "word 2", "word 20"}
    assert len(none) <= 2
    assert minus[0][0] == "word 5"
    assert all(weight > 0 for terms in (one, two, three, none, minus) for _, weight in terms)
    assert len(linear_explanation(activations, images, texts, NAMES, terms=1)[2]) == 1


def test_a_single_weight_is_the_correlation(world: tuple[FloatArray, FloatArray, FloatArray]) -> None:
    images, texts, content = world
    (((name, weight),),) = linear_explanation(content[:, 7:8], images, texts, NAMES, terms=1)
    assert name == "word 7"
    assert weight == pytest.approx(np.corrcoef(content[:, 7], images @ texts[7])[0, 1], abs=1e-4)


def test_no_word_rises_with_it(world: tuple[FloatArray, FloatArray, FloatArray]) -> None:
    images, texts, _ = world
    falling = -(images @ texts[:1].T)
    assert linear_explanation(falling, images, texts[:1], NAMES[:1]) == [[]]
    constant = np.repeat(images[:1], IMAGES, axis=0)
    assert linear_explanation(falling, constant, texts, NAMES) == [[]]


def test_more_neurons_than_a_block(
    world: tuple[FloatArray, FloatArray, FloatArray], monkeypatch: pytest.MonkeyPatch
) -> None:
    images, texts, content = world
    whole = linear_explanation(content, images, texts, NAMES)
    monkeypatch.setattr("dnr_env.agents.explanations._BLOCK", 7)
    parts = linear_explanation(content, images, texts, NAMES)
    assert [[word for word, _ in terms] for terms in parts] == [[word for word, _ in terms] for terms in whole]
