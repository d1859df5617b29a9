"""The observation and action spaces, and the check of actions."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces

from dnr_env.env.rules import Action, Rules
from dnr_env.env.state import PROGRESS, SCORE_COLUMNS
from dnr_env.errors import DnRError
from dnr_env.types import FloatArray, IntArray

Observation = dict[str, FloatArray]


def action_space(rules: Rules, slots: bool) -> spaces.Discrete | spaces.MultiDiscrete:
    """Return Discrete(4), or MultiDiscrete([4, n_slots]) where the agent chooses a slot."""
    return spaces.MultiDiscrete([len(Action), rules.n_slots]) if slots else spaces.Discrete(len(Action))


def read_actions(actions: Any, rules: Rules, slots: bool) -> tuple[IntArray, IntArray]:
    """Split (n,) or (n, 2) actions into (n,) actions and (n,) slots.

    Raises:
        DnRError: an action has the wrong form, or is out of range.
    """
    try:
        array = np.asarray(actions)
    except ValueError:  # rows of different lengths
        array = np.array(None)
    if not np.issubdtype(array.dtype, np.integer) or (array.ndim, array.shape[1:]) != ((2, (2,)) if slots else (1, ())):
        form = "integers (action, slot)" if slots else "one integer"
        raise DnRError(f"an action must be {form} (got {actions!r})")
    chosen, slot = (array[:, 0], array[:, 1]) if slots else (array, np.zeros_like(array))
    known = ", ".join(f"{a.value} ({a.name})" for a in Action)
    if ((chosen < 0) | (chosen >= len(Action))).any():
        raise DnRError(f"an action must be one of {known} (got {chosen.tolist()})")
    if ((slot < 0) | (slot >= rules.n_slots)).any():
        raise DnRError(f"a slot must be from 0 to {rules.n_slots - 1} (got {slot.tolist()})")
    return chosen, slot


def observation_space(rules: Rules, dim: int) -> spaces.Dict:
    """Return the observation space of one episode."""

    def box(limit: float, *shape: int) -> spaces.Box:
        return spaces.Box(-limit, limit, shape, np.float32)

    return spaces.Dict(
        {
            "concepts": box(1.001, rules.n_slots, dim),
            "scores": box(100.0, rules.n_slots, len(SCORE_COLUMNS)),
            "exemplars": box(1.001, dim),
            "progress": box(100.0, len(PROGRESS)),
        }
    )
