"""The observation and action spaces, and the check of actions."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from gymnasium import spaces

from dnr_env.env.observe import LIMIT, PROGRESS, SCORE_COLUMNS
from dnr_env.env.rules import FORMS, Action, ActionForm, Rules
from dnr_env.errors import DnRError
from dnr_env.interfaces import Kind
from dnr_env.types import FloatArray, IntArray

Observation = dict[str, FloatArray]
_KINDS = tuple(Kind)


class Choices(NamedTuple):
    """The actions of n episodes, taken apart."""

    actions: IntArray
    """(n,) values of `Action`."""
    slots: IntArray | None
    """(n,) the slot that each action is for; None if the environment chooses."""
    kinds: list[Kind | None]
    """(n,) the kind of each mutation; None if the mutator chooses."""


def action_space(rules: Rules, form: ActionForm) -> spaces.Discrete | spaces.MultiDiscrete:
    """Return Discrete(4), MultiDiscrete([4, n_slots]) or MultiDiscrete([4, n_slots, 6])."""
    sizes = _sizes(rules, form)
    return spaces.MultiDiscrete(sizes) if len(sizes) > 1 else spaces.Discrete(sizes[0])


def _sizes(rules: Rules, form: ActionForm) -> list[int]:
    return [len(Action), rules.n_slots, len(Kind)][: 1 + FORMS.index(form)]


def read_actions(actions: Any, rules: Rules, form: ActionForm) -> Choices:
    """Take apart (n,) actions, (n, 2) with slots, or (n, 3) with slots and kinds.

    Raises:
        DnRError: an action has the wrong form, or is out of range.
    """
    try:
        array = np.asarray(actions)
    except ValueError:  # rows of different lengths
        array = np.array(None)
    sizes = _sizes(rules, form)
    shape = () if form == "incumbent" else (len(sizes),)
    if not np.issubdtype(array.dtype, np.integer) or array.ndim < 1 or array.shape[1:] != shape:
        parts = ("one integer", "integers (action, slot)", "integers (action, slot, kind)")[len(sizes) - 1]
        raise DnRError(f"an action must be {parts} (got {actions!r})")
    columns = array.reshape(len(array), len(sizes)).T
    known = ", ".join(f"{a.value} ({a.name})" for a in Action)
    kinds = ", ".join(f"{kind.value} ({kind.name})" for kind in Kind)
    accepted = (
        f"an action must be one of {known}",
        f"a slot must be from 0 to {rules.n_slots - 1}",
        f"a kind must be one of {kinds}",
    )
    for column, size, said in zip(columns, sizes, accepted, strict=False):
        if ((column < 0) | (column >= size)).any():
            raise DnRError(f"{said} (got {column.tolist()})")
    return Choices(
        columns[0],
        columns[1] if len(sizes) > 1 else None,
        [_KINDS[kind] for kind in columns[2].tolist()] if len(sizes) > 2 else [None] * len(array),
    )


def observation_space(rules: Rules, dim: int) -> spaces.Dict:
    """Return the observation space of one episode."""

    def box(limit: float, *shape: int) -> spaces.Box:
        return spaces.Box(-limit, limit, shape, np.float32)

    return spaces.Dict(
        {
            "concepts": box(1.001, rules.n_slots, dim),
            "scores": box(LIMIT, rules.n_slots, len(SCORE_COLUMNS)),
            "exemplars": box(1.001, dim),
            "progress": box(LIMIT, len(PROGRESS)),
        }
    )
