"""What no word names: blotches and light."""

from __future__ import annotations

import numpy as np
import pytest

from dnr_env.scenes.surroundings import UNNAMED, blotch, light
from dnr_env.types import FloatArray


@pytest.fixture
def u() -> FloatArray:
    return np.random.default_rng(0).random((200, UNNAMED), dtype=np.float32)


def white(count: int) -> FloatArray:
    return np.ones((3, count, 64, 64), np.float32)


def test_light_is_a_tint_of_the_picture_and_a_slope_across_it(u: FloatArray) -> None:
    planes = white(len(u))
    light(planes, u)
    assert 0.2 < planes.min() < 0.4
    assert 0.97 < planes.max() <= 1
    colours = planes / planes[:, :, :1, :1]
    np.testing.assert_allclose(colours, np.broadcast_to(colours[:1], colours.shape), rtol=1e-5)  # one slope for all
    assert np.ptp(planes[:, :, 32, 32] / planes[:1, :, 32, 32], axis=1).max() > 0.5
    steps = np.diff(planes, axis=3)
    np.testing.assert_allclose(steps, np.broadcast_to(steps[..., :1, :1], steps.shape), atol=1e-5)


def test_blotches_leave_part_of_most_backgrounds_and_cover_part_of_all(u: FloatArray) -> None:
    planes = white(len(u))
    blotch(planes, u)
    assert planes.min() >= 0
    assert planes.max() <= 1
    covered = 1 - (planes.min(axis=0) > 0.95).mean(axis=(1, 2))
    assert covered.min() > 0.2
    assert np.mean(covered < 0.98) > 0.5


def test_a_picture_does_not_depend_on_the_others(u: FloatArray) -> None:
    for change in (blotch, light):
        together, alone = white(len(u)), white(1)
        change(together, u)
        change(alone, u[7:8])
        np.testing.assert_array_equal(together[:, 7], alone[:, 0])
