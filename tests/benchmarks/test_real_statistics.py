"""Statistics of layers where they are known: linear units, noise, and tails."""

from __future__ import annotations

import numpy as np
import pytest
from real_statistics import Layer, above_half, probe_of, r_squared

from dnr_env.types import FloatArray

PICTURES = 600
FOLD = np.arange(PICTURES) % 5


def _layer(noise: float, seed: int = 0) -> Layer:
    """Units that are a linear function of unit embeddings and, as far as they vary, a share `noise` of noise."""
    rng = np.random.default_rng(seed)
    embeddings: FloatArray = rng.normal(size=(PICTURES, 16))
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    linear = embeddings @ rng.normal(size=(16, 20))
    linear /= linear.std(axis=0)
    mixed = np.sqrt(1 - noise) * linear + np.sqrt(noise) * rng.normal(size=linear.shape)
    return Layer("", 3 + 2 * mixed, embeddings)


@pytest.mark.parametrize("noise", [0.0, 0.3, 0.7, 1.0])
def test_r_squared_is_the_share_that_is_linear(noise: float) -> None:
    assert np.median(r_squared(_layer(noise), FOLD)) == pytest.approx(1 - noise, abs=0.05)


def test_pictures_of_a_held_out_fold_are_not_known() -> None:
    """A group of pictures that share everything is predicted well only if some of it are in the other folds."""
    rng = np.random.default_rng(1)
    group = np.arange(PICTURES) // 20
    embeddings = np.eye(30)[group]
    layer = Layer("", rng.normal(size=(30, 10))[group] + 0.1 * rng.normal(size=(PICTURES, 10)), embeddings)
    assert np.median(r_squared(layer, FOLD)) > 0.9
    assert np.median(r_squared(layer, group % 5)) < 0.05


def test_above_half_is_the_share_of_pictures_nearer_to_the_exemplars_than_to_the_middle() -> None:
    values = np.zeros((PICTURES, 2))
    values[:60, 0] = 1  # a tenth of the pictures as strong as the ten strongest
    values[:10, 1] = 1
    values[10:100, 1] = 0.4
    layer = Layer("", values, np.ones((PICTURES, 1)))
    np.testing.assert_allclose(above_half(probe_of(layer)), [0.1, 1 / 60])
