"""The pool of pictures, resampled, against what the generator draws."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from dnr_env.scenes.config import INFIDELITY
from dnr_env.scenes.pool import Pool
from dnr_env.scenes.render import SceneRenderer
from dnr_env.scenes.tail import chances
from dnr_env.shapes.lexicon import FAMILIES, FAMILY_SLICES, WORDS
from dnr_env.shapes.parse import values_of
from dnr_env.types import FloatArray, IntArray

SEEDS = np.arange(20_000) + (1 << 50)


def words(generator: SceneRenderer, phrases: Sequence[str], seeds: IntArray) -> FloatArray:
    """(n, words) 1 for each word that is true of what a drawing describes."""
    shown = generator.resolve(phrases, seeds.tolist())
    codes = np.concatenate([shown.objects[:, 0], shown.backgrounds[:, None]], axis=1)
    found = np.zeros((len(codes), len(WORDS)))
    for family, part in enumerate(FAMILY_SLICES):
        found[np.arange(len(codes)), part.start + codes[:, family]] = 1
    return found


@pytest.fixture(scope="module")
def pool() -> Pool:
    return Pool(lambda phrases, seeds: words(SceneRenderer(), phrases, seeds), SEEDS, INFIDELITY)


@pytest.mark.parametrize("phrase", ["star", "warm dotted thing", "small pointed thing on brick", "huge pink thing"])
def test_the_pool_stands_for_what_the_generator_draws(pool: Pool, phrase: str) -> None:
    drawn = words(SceneRenderer(INFIDELITY), [phrase] * 5000, SEEDS[:5000]).mean(axis=0)
    expected = np.concatenate(
        [chances(f, slips)[v] for f, (slips, v) in enumerate(zip(INFIDELITY, values_of(phrase), strict=True))]
    )
    np.testing.assert_allclose(expected, drawn, atol=0.03)
    rows = pool.rows(phrase)
    np.testing.assert_allclose(pool._activations[rows].mean(axis=0), drawn, atol=0.2)
    assert np.abs(pool._activations[rows].mean(axis=0) - drawn).mean() < 0.04
    assert len(set(rows.tolist())) > len(rows) / 3


def test_the_pool_shows_every_pair_of_words(pool: Pool) -> None:
    together = pool._activations.T @ pool._activations
    for one, first in enumerate(FAMILY_SLICES):
        for other, second in enumerate(FAMILY_SLICES):
            assert one == other or (together[first, second] >= 20).all(), (FAMILIES[one].name, FAMILIES[other].name)
