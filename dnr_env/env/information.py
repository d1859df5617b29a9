"""The contents of `info`. Every value keeps its shape from step to step, so that recorders can stack them."""

from __future__ import annotations

from typing import Any

import numpy as np

from dnr_env.env.episodes import Episodes
from dnr_env.interfaces import Usage
from dnr_env.types import IntArray, ObjectArray

Info = dict[str, Any]


def information(episodes: Episodes, rows: IntArray, slots: bool) -> Info:
    """Return the `info` of b episodes, each value with b rows. Nothing is measured for it."""
    state, rules, names = episodes.state, episodes.rules, episodes.stack.neurons
    order = state.order[rows, : rules.n_slots]
    row = rows[:, None]
    filled = (order < state.size[row])[..., None]
    texts, origins, labels = episodes.texts, episodes.origins, episodes.labels
    return {
        "neuron": _objects([names[episodes.neuron[r]] for r in rows]),
        "label": _objects([labels[r] for r in rows]),
        "origin": _objects([dict(zip(texts[r], origins[r], strict=True)).get(labels[r], "") for r in rows]),
        "concepts": _objects(
            [
                tuple(texts[r][p] if p < len(texts[r]) else "" for p in places)
                for r, places in zip(rows.tolist(), order.tolist(), strict=True)
            ]
        ),
        "master": _objects([(*texts[r], *[""] * (rules.capacity - len(texts[r]))) for r in rows]),
        "origins": _objects([(*origins[r], *[""] * (rules.capacity - len(origins[r]))) for r in rows]),
        "master_scores": np.where(np.isfinite(state.scores[rows]), state.scores[rows], 0.0),
        "activations": np.where(filled, state.activations[row, order], np.float32(0)),
        "similarities": np.where(filled, state.similarities[row, order], np.float32(0)),
        "images": state.image_count[rows],
        "usage": np.array([episodes.usage[r] for r in rows]).reshape(-1, len(Usage())),
        "failure": _objects([episodes.failures[r] for r in rows]),
        "message": _objects([episodes.messages[r] for r in rows]),
        "action_mask": episodes.masks(slots)[rows].astype(np.int8),
    }


def _objects(values: list[Any]) -> ObjectArray:
    out = np.empty(len(values), object)
    out[:] = values
    return out
