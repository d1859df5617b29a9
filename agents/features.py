"""What a learned policy sees and does: 44 numbers and 10 moves, whatever the words and the embedder's dimension."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from agents.base import Observation, column, progress
from dnr_env.episode import RECENT, Action
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
"""Columns of the observation `scores` that an ablation takes away together."""

MOVES: tuple[tuple[int, int], ...] = (
    *((Action.KEEP, slot) for slot in range(SLOTS)),
    *((Action.MUTATE, slot) for slot in range(SLOTS)),
    (Action.ADD, 0),
    (Action.STOP, 0),
)
"""What a policy chooses from, as (action, slot) of `DnR/RefineSlots-v0`."""
INCUMBENT_MOVES: tuple[tuple[int, int], ...] = tuple((action, 0) for action in Action)
"""The four actions of `DnR/Refine-v0`, which act on the best slot."""
_LEAST_PRICE = 0.05
"""Of a thousand images. What costs less is seen as that: the logarithm has to end somewhere."""


def move_masks(masks: BoolArray, moves: Sequence[tuple[int, int]]) -> BoolArray:
    """Masks (n, 4 + slots) of `DnR/RefineSlots-v0` to (n, moves)."""
    action, slot = np.array(moves).T
    slots = np.pad(masks[:, len(Action) :], ((0, 0), (0, SLOTS)))  # an environment may have fewer
    allowed: BoolArray = masks[:, action] & slots[:, slot]
    return allowed


def features(observation: Observation, without: Sequence[str] = (), raw: bool = False) -> FloatArray:
    """(n, 44) float32 of order one: 8 numbers of each of the four best slots, then 12 of the episode.

    Of a slot: how far its score is behind the best, standard error, images, from the user, present, similarity to the
    exemplars, specificity, simulation less that of the best. Of the episode: score, simulation and headroom of the
    best, its recent changes, steps since it rose, the steps, budget and user's concepts left, the price of an image.
    Differences of a hundredth decide: gaps, errors and changes are magnified.

    Args:
        observation: of n episodes.
        without: names of `GROUPS` whose numbers are zero.
        raw: whether embeddings follow, those of the four concepts and of the exemplars: (n, 44 + 5 dim).
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
    if raw:
        dim = observation["exemplars"].shape[1]
        concepts = np.pad(observation["concepts"][:, :SLOTS], ((0, 0), (0, lacking), (0, 0)))
        parts += [np.sqrt(dim) * concepts.reshape(n, -1), np.sqrt(dim) * observation["exemplars"]]  # of length one
    values: FloatArray = np.clip(np.concatenate(parts, axis=1), -10, 10).astype(np.float32)
    return values


def _columns(groups: Sequence[str]) -> set[str]:
    for group in groups:
        if group not in GROUPS:
            raise unknown("without", group, GROUPS)
    return {name for group in groups for name in GROUPS[group]}
