"""What an agent sees of the episodes: arrays of fixed shapes, computed from the state and from nothing else."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from dnr_env.env.arrays import RECENT
from dnr_env.env.state import State
from dnr_env.types import FloatArray, IntArray

LIMIT = 100.0
"""The bound of `scores` and `progress` in the observation space."""

_SLOTS: dict[str, Callable[[State, IntArray], FloatArray]] = {
    "mean": lambda s, at: s.means.take(at),
    "deviation": lambda s, at: s.deviations.take(at),
    "promise": lambda s, at: s.promises.take(at),
    "worth": lambda s, at: worth_of_drawing(s.means.take(at), s.reaches.take(at)),
    "unsettled": lambda s, at: s.unsettled.take(at),
    "reach": lambda s, at: s.reaches.take(at),
    "images": lambda s, at: s.counts.take(at) / s.rules.images_per_measure,
    "score": lambda s, at: s.scores.take(at),
    "standard_error": lambda s, at: s.errors.take(at),
    "simulation": lambda s, at: s.simulations.take(at),
    "coverage": lambda s, at: taken(s.cover, at)[..., 0],
    "coverage_error": lambda s, at: taken(s.cover, at)[..., 1],
    "precision": lambda s, at: taken(s.cover, at)[..., 2],
    "precision_error": lambda s, at: taken(s.cover, at)[..., 3],
    "similarity": lambda s, at: taken(s.similarities, at).sum(axis=2) / np.maximum(s.counts.take(at), 1),
    "specificity": lambda s, at: np.linalg.norm(taken(s.drawn, at), axis=2) / np.maximum(s.counts.take(at), 1),
    "age": lambda s, at: (s.steps[:, None] - s.born.take(at)) / s.rules.max_steps,
    "from_user": lambda s, at: s.from_user.take(at).astype(float),
    "present": lambda s, at: np.ones(at.shape),
}
SCORE_COLUMNS: tuple[str, ...] = tuple(_SLOTS)
"""The columns of the observation `scores`."""
PROGRESS = (
    "steps_left", "budget_left", "image_cost", "user_left", "since_gain", *(f"gain_{i}" for i in range(RECENT)),
    "headroom", "images_per_measure",
)  # fmt: skip
"""The entries of the observation `progress`."""


def observe(state: State) -> dict[str, FloatArray]:
    """Return the observation: `concepts`, `scores`, `exemplars` and `progress`, float32, each with n rows."""
    rules, n, k = state.rules, len(state.steps), state.rules.n_slots
    row, slot = np.arange(n)[:, None], state.order[:, :k]
    present = (slot < state.size[:, None])[..., None]
    at = row * state.means.shape[1] + slot  # in flattened arrays, which are read faster
    columns = np.stack([column(state, at) for column in _SLOTS.values()], axis=2)
    best = state.means.take(at[:, 0])
    progress = np.column_stack(
        (
            (rules.max_steps - state.steps) / rules.max_steps,
            (rules.budget - state.image_count) / 100,
            np.full(n, 1000 * rules.image_cost),
            state.user_left,
            state.since_gain / rules.max_steps,
            state.gains,
            np.where(np.isfinite(best) & np.isfinite(state.attainable), state.attainable - best, 0.0),
            np.full(n, rules.images_per_measure / 100),
        )
    )
    return {
        "concepts": taken(state.concepts, at),
        "scores": np.clip(np.where(present, columns, 0.0), -LIMIT, LIMIT).astype(np.float32),
        "exemplars": state.exemplars.copy(),
        "progress": np.clip(progress, -LIMIT, LIMIT).astype(np.float32),
    }


def taken(array: FloatArray, at: IntArray) -> FloatArray:
    """Rows of an array (n, capacity, size) by their places in (n · capacity, size)."""
    return array.reshape(-1, array.shape[2]).take(at, axis=0)


def worth_of_drawing(means: FloatArray, reaches: FloatArray) -> FloatArray:
    """The knowledge gradient: the expected rise of the best posterior mean if one slot is drawn once more.

    Let Δ be the distance of a slot's mean from the best of the others, and r its reach, the standard deviation of the
    change that the drawings make to its mean. The expected rise is r f(-Δ / r) with f(z) = z Φ(z) + φ(z). Source:
    Frazier, Powell and Dayanik 2008, equations 8-11.

    Args:
        means: (n, slots) posterior means, best first; -inf in empty slots.
        reaches: (n, slots).

    Returns:
        (n, slots), 0 where a slot is empty or the only one.
    """
    if means.shape[1] == 1:
        return np.zeros(means.shape)
    others = np.repeat(means[:, :1], means.shape[1], axis=1)
    others[:, 0] = means[:, 1]
    usable = np.isfinite(means) & np.isfinite(others) & (reaches > 0)
    distance = np.abs(np.where(usable, means, 0.0) - np.where(usable, others, 0.0))
    reach = np.where(usable, reaches, 1.0)
    return np.where(usable, expected_rise(-distance, reach), 0.0)


def expected_rise(mean: FloatArray, deviation: FloatArray) -> FloatArray:
    """The expected positive part of normal variables with deviation > 0."""
    from scipy.special import ndtr  # takes longer to import than the rest of the package

    z = mean / deviation
    density = np.exp(-0.5 * np.square(z)) / np.sqrt(2 * np.pi)
    rise: FloatArray = deviation * (z * ndtr(z) + density)
    return np.maximum(rise, 0.0)
