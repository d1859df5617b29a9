"""What joins a master list: concepts with what real images say of them, and what they are made of."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dnr_env.env.state import State
from dnr_env.stack import Stack
from dnr_env.structure import MOST_PHRASES
from dnr_env.types import IntArray


def join(stack: Stack, state: State, rows: IntArray, neurons: IntArray, listed: Sequence[Sequence[str]]) -> None:
    """Append the last concepts of master lists to the state: one for each row, in the order of the list.

    Args:
        stack: the models.
        state: the arrays of the episodes.
        rows: (b,) episodes. One that occurs more than once gets its last concepts.
        neurons: (n,) the neurons of all episodes.
        listed: (n) the master lists of all episodes, which have the concepts already.
    """
    place, named = state.size.copy(), []
    parts = np.full((len(rows), MOST_PHRASES), -1, np.intp)
    for i, row in enumerate(rows.tolist()):
        named.append(listed[row][place[row]])
        place[row] += 1
        structure = stack.language.parts(named[i]) if state.structured else None
        if structure and not structure.plain:
            parts[i, : len(structure.drawn)] = [listed[row].index(one) for one in structure.drawn]
    which, embeddings = neurons[rows], stack.texts.embeddings(named)
    state.join(
        rows,
        embeddings,
        stack.texts.simulation(stack.probe, named, which, embeddings),
        stack.prior.relative(named, which),
        np.array([stack.language.length(text) for text in named]),
        np.stack(stack.covers.of(named, which), axis=1),
        parts,
    )
    for row in set(rows.tolist()):
        state.attainable[row] = stack.prior.highest_unlisted(int(neurons[row]), state.rules.score, listed[row])
