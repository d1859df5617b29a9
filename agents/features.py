"""What a learned policy sees and does: 29 numbers and 10 moves, whatever the words and the embedder's dimension."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from agents.base import Observation, column, progress
from dnr_env.episode import RECENT, Action
from dnr_env.types import BoolArray, FloatArray

SLOTS = 4
COUNT = 5 * SLOTS + RECENT + 5

MOVES: tuple[tuple[int, int], ...] = (
    *((Action.KEEP, slot) for slot in range(SLOTS)),
    *((Action.MUTATE, slot) for slot in range(SLOTS)),
    (Action.ADD, 0),
    (Action.STOP, 0),
)
"""What a policy chooses from, as (action, slot) of `DnR/RefineSlots-v0`."""
INCUMBENT_MOVES: tuple[tuple[int, int], ...] = tuple((action, 0) for action in Action)
"""The four actions of `DnR/Refine-v0`, which act on the best slot."""


def move_masks(masks: BoolArray, moves: Sequence[tuple[int, int]]) -> BoolArray:
    """Masks (n, 4 + slots) of `DnR/RefineSlots-v0` to (n, moves)."""
    action, slot = np.array(moves).T
    slots = np.pad(masks[:, len(Action) :], ((0, 0), (0, SLOTS)))  # an environment may have fewer
    allowed: BoolArray = masks[:, action] & slots[:, slot]
    return allowed


def features(observation: Observation) -> FloatArray:
    """(n, 29) float32 of order one.

    Of the four best slots: score (of the others, how far behind the best), standard error, images, from the user,
    present. Then the recent changes of the best score, the steps since it rose, its specificity and similarity to the
    exemplars, the budget and the user's concepts left. Differences of a hundredth decide: gaps, errors and changes are
    magnified.
    """
    lacking = max(0, SLOTS - observation["scores"].shape[1])

    def best(name: str) -> FloatArray:
        values = column(observation, name)[:, :SLOTS]
        return np.pad(values, ((0, 0), (0, lacking))) if lacking else values

    score, present = best("score"), best("present")
    behind = np.where(present > 0, 10 * (score[:, :1] - score), 5.0)
    behind[:, 0] = 4 * score[:, 0] - 2
    parts = [
        behind,
        10 * best("standard_error"),
        np.log1p(best("images")),
        best("from_user"),
        present,
        *(20 * progress(observation, f"gain_{i}")[:, None] for i in range(RECENT)),
        4 * progress(observation, "since_gain")[:, None],
        column(observation, "specificity")[:, :1],
        column(observation, "similarity")[:, :1],
        progress(observation, "budget_left")[:, None],
        progress(observation, "user_left")[:, None],
    ]
    values: FloatArray = np.clip(np.concatenate(parts, axis=1), -10, 10).astype(np.float32)
    return values
