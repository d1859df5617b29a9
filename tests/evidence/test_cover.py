"""Which real images a text covers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dnr_env.evidence.cover import cover, covered
from dnr_env.types import FloatArray


def unit(rows: int, dim: int, seed: int) -> FloatArray:
    vectors = np.random.default_rng(seed).normal(size=(rows, dim))
    units: FloatArray = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return units


@given(st.integers(1, 60), st.integers(1, 8), st.integers(0, 1 << 20))
@settings(deadline=None, max_examples=60)
def test_an_image_is_covered_beyond_two_thirds_of_the_way_to_the_strongest(images: int, dim: int, seed: int) -> None:
    embeddings, texts = unit(images, dim, seed), unit(3, dim, seed + 1)
    found = covered(embeddings, texts)
    assert found.shape == (3, images)
    for text, row in zip(texts, found, strict=True):
        similarities = [float(np.dot(image.astype(float), text.astype(float))) for image in embeddings]
        usual = sum(similarities) / images
        strongest = sorted(similarities)[-5:]
        bound = usual + 2 / 3 * (sum(strongest) / len(strongest) - usual)
        for similarity, is_covered in zip(similarities, row.tolist(), strict=True):
            assert is_covered == (similarity > bound) or abs(similarity - bound) < 1e-6


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_a_row_does_not_depend_on_the_other_texts(dtype: str) -> None:
    embeddings: FloatArray = unit(700, 48, 0).astype(dtype)
    texts = unit(30, 48, 1)
    together = covered(embeddings, texts)
    assert 0 < together.mean() < 0.2
    assert all(np.array_equal(covered(embeddings, texts[i : i + 1])[0], together[i]) for i in range(30))
    assert np.array_equal(covered(embeddings, texts.astype(np.float64)), together)


def test_a_text_that_is_equally_similar_to_all_images_covers_none() -> None:
    embeddings = np.repeat(unit(1, 9, 0), 1001, axis=0)
    assert not covered(embeddings, unit(4, 9, 1)).any()


@pytest.mark.parametrize("images", [300])
def test_errors_are_those_of_resampled_images(images: int) -> None:
    rng = np.random.default_rng(0)
    excited = np.clip(rng.normal(0.2, 0.4, (2, images)), 0, 1)
    shown = rng.random((2, images)) < 0.2 + 0.4 * excited
    found = cover(shown, excited)
    assert found.coverage == pytest.approx((shown * excited).sum(axis=1) / excited.sum(axis=1))
    assert found.precision == pytest.approx([excited[i, shown[i]].mean() for i in range(2)])
    again = rng.integers(images, size=(4000, images))
    for i in range(2):
        x, c = excited[i][again], shown[i][again]
        assert ((x * c).sum(axis=1) / x.sum(axis=1)).std() == pytest.approx(found.coverage_error[i], rel=0.06)
        assert ((x * c).sum(axis=1) / c.sum(axis=1)).std() == pytest.approx(found.precision_error[i], rel=0.06)


def test_nothing_covered_and_nothing_active_have_defined_values() -> None:
    shown = np.array([[False] * 4, [True, False, False, False], [True] * 4])
    excited = np.array([[0.0, 1.0, 0.0, 0.5], [1.0, 1.0, 0.0, 0.0], [0.0] * 4])
    found = cover(shown, excited)
    assert found.coverage.tolist() == [0.0, 0.5, 0.0]
    assert found.precision.tolist() == [0.0, 1.0, 0.0]
    assert found.precision_error.tolist() == [1.0, 1.0, 0.0]
    assert np.isfinite(found.coverage_error).all()
