"""Input and output of learned policies: 44 features and 10 moves, whatever the words and the embedding size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from dnr_env.agents.base import Observation, column, progress
from dnr_env.env.rules import Action
from dnr_env.env.state import RECENT
from dnr_env.errors import unknown
from dnr_env.types import BoolArray, FloatArray

SLOTS = 4
PER_SLOT = 8
CONTEXT = RECENT + 8
COUNT = SLOTS * PER_SLOT + CONTEXT

GROUPS: Mapping[str, tuple[str, ...]] = {
    "errors": ("standard_error",),
    "exemplars": ("similarity", "specificity"),
    "simulation": ("simulation",),
}
"""Columns of the observation `scores` that an ablation removes together."""

MOVES: tuple[tuple[int, int], ...] = (
    *((Action.KEEP, slot) for slot in range(SLOTS)),
    *((Action.MUTATE, slot) for slot in range(SLOTS)),
    (Action.ADD, 0),
    (Action.STOP, 0),
)
"""The moves of a policy, as (action, slot) of `DnR/RefineSlots-v0`."""
INCUMBENT_MOVES: tuple[tuple[int, int], ...] = tuple((action, 0) for action in Action)
"""The four actions of `DnR/Refine-v0`, which act on the best slot."""
_LEAST_PRICE = 0.05
"""The lowest price of a thousand images that policies distinguish, since its logarithm has to be finite."""


def move_masks(masks: BoolArray, moves: Sequence[tuple[int, int]]) -> BoolArray:
    """Convert masks (n, 4 + slots) of `DnR/RefineSlots-v0` to masks (n, moves)."""
    action, slot = np.array(moves).T
    slots = np.pad(masks[:, len(Action) :], ((0, 0), (0, SLOTS)))  # an environment may have fewer slots
    allowed: BoolArray = masks[:, action] & slots[:, slot]
    return allowed


def features(observation: Observation, without: Sequence[str] = ()) -> FloatArray:
    """Compute features (n, 44), float32 and of order one: 8 for each of the four best slots, then 12 for the episode.

    Features of a slot: the gap between its score and the best, standard error, images, from the user, present,
    similarity to the exemplars, specificity, and simulation minus that of the best. Features of the episode: score,
    simulation and headroom of the best, its recent changes, steps since it rose, the steps, budget and user's concepts
    left, and the price of an image. Gaps, errors and changes are scaled up, because differences of 0.01 matter.

    Args:
        observation: The observations of n episodes.
        without: Names of `GROUPS` whose features are set to zero.
    """
    blank = _columns(without)
    lacking = max(0, SLOTS - observation["scores"].shape[1])

    def best(name: str) -> FloatArray:
        values = column(observation, name)[:, :SLOTS]
        return np.pad(values * (name not in blank), ((0, 0), (0, lacking)))

    score, present, simulation = best("score"), best("present"), best("simulation")
    slots = [
        np.where(present > 0, 10 * (score[:, :1] - score), 5.0),
        10 * best("standard_error"),
        np.log1p(best("images")),
        best("from_user"),
        present,
        4 * best("similarity"),
        4 * best("specificity"),
        np.where(present > 0, 10 * (simulation - simulation[:, :1]), 0.0),
    ]
    context = [
        4 * score[:, 0] - 2,
        4 * simulation[:, 0],
        10 * progress(observation, "headroom") * ("simulation" not in blank),
        *(20 * progress(observation, f"gain_{i}") for i in range(RECENT)),
        4 * progress(observation, "since_gain"),
        progress(observation, "steps_left"),
        progress(observation, "budget_left"),
        progress(observation, "user_left"),
        np.log(np.maximum(progress(observation, "image_cost"), _LEAST_PRICE) / 0.5),  # 0 at the default price
    ]
    n = len(score)
    parts = [np.stack(slots, axis=2).reshape(n, -1), np.stack(context, axis=1)]
    values: FloatArray = np.clip(np.concatenate(parts, axis=1), -10, 10).astype(np.float32)
    return values


def _columns(groups: Sequence[str]) -> set[str]:
    for group in groups:
        if group not in GROUPS:
            raise unknown("without", group, GROUPS)
    return {name for group in groups for name in GROUPS[group]}
