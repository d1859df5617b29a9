"""The contents of `info`. Every value keeps its shape from step to step, so that recorders can stack them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from dnr_env.env.episodes import Episodes
from dnr_env.env.observe import taken
from dnr_env.env.rules import ActionForm
from dnr_env.interfaces import Usage
from dnr_env.types import IntArray, ObjectArray

Info = dict[str, Any]


def information(episodes: Episodes, rows: IntArray, form: ActionForm) -> Info:
    """Return the `info` of b episodes, each value with b rows. Nothing is measured for it."""
    state, rules, names = episodes.state, episodes.rules, episodes.stack.neurons
    order = state.order[rows, : rules.n_slots]
    capacity = state.means.shape[1]
    at = rows[:, None] * capacity + order
    which = rows.tolist()
    labels = episodes.label_places[rows].tolist()
    texts = [episodes.texts[r] for r in which]
    origins = [episodes.origins[r] for r in which]
    master = [(*listed, *[""] * (capacity - len(listed))) for listed in texts]
    return {
        "neuron": _objects([names[neuron] for neuron in episodes.neuron[rows].tolist()]),
        "label": _objects(_named(texts, labels)),
        "origin": _objects(_named(origins, labels)),
        "concepts": _objects([tuple([m[p] for p in places]) for m, places in zip(master, order.tolist(), strict=True)]),
        "master": _objects(master),
        "origins": _objects([(*whose, *[""] * (capacity - len(whose))) for whose in origins]),
        "master_means": np.where(np.isfinite(state.means[rows]), state.means[rows], 0.0),
        "master_deviations": state.deviations[rows],
        "master_images": state.counts[rows],
        "activations": taken(state.activations, at),
        "similarities": taken(state.similarities, at),
        "images": state.image_count[rows],
        "usage": np.array([episodes.usage[r] for r in which]).reshape(-1, len(Usage())),
        "failure": _objects([episodes.failures[r] for r in which]),
        "message": _objects([episodes.messages[r] for r in which]),
        "action_mask": episodes.masks(form)[rows].astype(np.int8),
    }


def _named(lists: Sequence[Sequence[str]], places: Sequence[int]) -> list[Any]:
    """The entry of each list at its place; "" of an empty one."""
    return [entries[place] if entries else "" for entries, place in zip(lists, places, strict=True)]


def _objects(values: list[Any]) -> ObjectArray:
    out = np.empty(len(values), object)
    out[:] = values
    return out
