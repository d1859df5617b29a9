"""Input and output of learned policies: 108 features and 34 moves, whatever the words and the embedding size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from dnr_env.agents.base import Observation, column, progress
from dnr_env.env.arrays import RECENT
from dnr_env.env.rules import Action, ActionForm
from dnr_env.errors import unknown
from dnr_env.interfaces import Kind
from dnr_env.types import BoolArray, FloatArray, IntArray

SLOTS = 6
"""The number of candidates that a policy sees, best first. It may KEEP each of them, and STOP with it."""
CHANGED = 4
"""The number of candidates, best first, that a policy may MUTATE."""
PER_SLOT = 16
CONTEXT = RECENT + 8
COUNT = SLOTS * PER_SLOT + CONTEXT

GROUPS: Mapping[str, tuple[str, ...]] = {
    "errors": ("deviation", "standard_error"),
    "cover": ("coverage", "coverage_error", "precision", "precision_error"),
    "exemplars": ("similarity", "specificity"),
    "simulation": ("simulation",),
    "worth": ("worth",),
}
"""Columns of the observation `scores` that an ablation removes together."""

_OF_A_SLOT = (Kind.NARROW, Kind.BROADEN, Kind.SWAP, Kind.UNITE, Kind.EXCEPT)
MOVE_SETS: Mapping[ActionForm, IntArray] = {
    "incumbent": np.array([[action] for action in Action]),
    "slots": np.array(
        [
            *((action, s) for action in (Action.KEEP, Action.STOP) for s in range(SLOTS)),
            *((Action.MUTATE, s) for s in range(CHANGED)),
            (Action.ADD, 0),
        ]
    ),
    "edits": np.array(
        [
            *((action, s, 0) for action in (Action.KEEP, Action.STOP) for s in range(SLOTS)),
            *((Action.MUTATE, s, kind) for kind in _OF_A_SLOT for s in range(CHANGED)),
            (Action.MUTATE, 0, Kind.MODEL),
            (Action.ADD, 0, 0),
        ]
    ),
}
"""The moves of a policy, (moves, parts): actions of the environment, of which ADD ignores its slot."""


def moves_of(form: ActionForm, outputs: int) -> IntArray:
    """Find the moves (outputs, parts) of a policy. One may know only the kinds of a language without unions.

    Raises:
        ValueError: no policy of this form has so many outputs.
    """
    moves = MOVE_SETS[form]
    older = moves[(moves[:, 2:] < Kind.UNITE).all(axis=1)]
    for known in (moves, older):
        if len(known) == outputs:
            return known
    raise ValueError(f"a policy of {form} must have {len(moves)} outputs (got {outputs})")


_DEFAULT_PRICE = 0.05
"""The price of a thousand images at which the logarithm of the price is 0."""
_LEAST_PRICE = 0.005
"""The lowest price of a thousand images that policies distinguish, since its logarithm has to be finite."""
_LEAST_WORTH = 1e-6
"""The lowest worth of drawing that policies distinguish, for the same reason."""


def actions_of(moves: IntArray) -> IntArray:
    """Convert moves (n, parts) to actions of the environment, which are (n,) if they have one part."""
    return moves[:, 0] if moves.shape[1] == 1 else moves


def move_masks(masks: BoolArray, moves: IntArray) -> BoolArray:
    """Convert masks (n, actions and what else they choose) of an environment to masks (n, moves)."""
    allowed: BoolArray = masks[:, moves[:, 0]]
    if moves.shape[1] > 1:
        end = masks.shape[1] - (len(Kind) if moves.shape[1] > 2 else 0)
        slots = np.pad(masks[:, len(Action) : end], ((0, 0), (0, SLOTS)))  # an environment may have fewer slots
        allowed = allowed & slots[:, moves[:, 1]]
    if moves.shape[1] > 2:
        allowed = allowed & masks[:, end + moves[:, 2]]
    return allowed


def features(observation: Observation, without: Sequence[str] = ()) -> FloatArray:
    """Compute features (n, 108), float32 and of order one: 16 for each of the six best slots, then 12 for the episode.

    Features of a slot: the gap between its mean and the best, deviation, promise less mean, the logarithm of what KEEP
    is worth over what it costs, images, score less mean where drawn, standard error, coverage and
    precision with their errors, simulation less that of the best, similarity to the exemplars, specificity, from the
    user, and present. Features of the episode: mean and simulation of the best, headroom, its recent changes, steps
    since it rose, the steps, budget and user's concepts left, and the logarithm of the price. Differences of means are
    scaled up, because 0.003 matters.

    Args:
        observation: The observations of n episodes.
        without: Names of `GROUPS` whose features are set to zero.
    """
    blank = _columns(without)
    lacking = max(0, SLOTS - observation["scores"].shape[1])
    price = np.maximum(progress(observation, "image_cost"), _LEAST_PRICE)
    images_of_keep = np.maximum(100 * progress(observation, "images_per_measure"), 1)

    def best(name: str) -> FloatArray:
        values = column(observation, name)[:, :SLOTS]
        return np.pad(values, ((0, 0), (0, lacking))) if lacking else values  # padding nothing takes long

    mean, present, simulation, images = best("mean"), best("present"), best("simulation"), best("images")
    worth, cost = np.maximum(best("worth"), _LEAST_WORTH), (price * images_of_keep / 1000)[:, None]
    slots = {
        "gap": 30 * (mean[:, :1] - mean),
        "deviation": 20 * best("deviation"),
        "promise": 30 * (best("promise") - mean),
        "worth": np.log(worth / cost) / 2,
        "images": np.log1p(images),
        "score": 10 * (best("score") - mean) * (images > 0),
        "standard_error": 10 * best("standard_error"),
        "coverage": 2 * best("coverage"),
        "coverage_error": 10 * best("coverage_error"),
        "precision": 2 * best("precision"),
        "precision_error": 10 * best("precision_error"),
        "simulation": 5 * (simulation - simulation[:, :1]),
        "similarity": 4 * best("similarity"),
        "specificity": 2 * best("specificity"),
        "from_user": best("from_user"),
        "present": present,
    }
    zero = np.zeros_like(present)
    each = np.stack([zero if name in blank else values for name, values in slots.items()], axis=2)
    context = [
        4 * mean[:, 0] - 2,
        4 * simulation[:, 0] * ("simulation" not in blank),
        30 * progress(observation, "headroom"),
        *(30 * progress(observation, f"gain_{i}") for i in range(RECENT)),
        4 * progress(observation, "since_gain"),
        progress(observation, "steps_left"),
        progress(observation, "budget_left"),
        progress(observation, "user_left"),
        np.log(price / _DEFAULT_PRICE),
    ]
    n = len(present)
    parts = [np.where(present[..., None] > 0, each, 0.0).reshape(n, -1), np.stack(context, axis=1)]
    values: FloatArray = np.clip(np.concatenate(parts, axis=1), -10, 10).astype(np.float32)
    return values


def _columns(groups: Sequence[str]) -> set[str]:
    for group in groups:
        if group not in GROUPS:
            raise unknown("without", group, GROUPS)
    return {name for group in groups for name in GROUPS[group]}
