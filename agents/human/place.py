"""Where the moves of a session lead: which neuron the person is at, and what they did with each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from dnr_env.agents.human.log import Move


class Place(NamedTuple):
    """Where the moves that stand have led."""

    present: int
    """The index of the neuron that the person is at."""
    own: list[list[Move]]
    """The moves for each neuron. One that has its label ends with a "stop"."""


def place_of(moves: Sequence[Move], neurons: int) -> Place:
    """Follow moves that stand, without the undone and the undos.

    A "stop" leads to the next neuron without a label, the first ones after the last; if all have theirs, it stays.
    """
    present, own = 0, [list[Move]() for _ in range(neurons)]
    for move in moves:
        if move.neuron is not None:
            present = move.neuron - 1
        elif move.event == "reopen":
            own[present].pop()
        else:
            own[present].append(move)
            if move.event == "stop":
                after = ((present + i) % neurons for i in range(1, neurons))
                present = next((i for i in after if not labelled(own[i])), present)
    return Place(present, own)


def labelled(own: Sequence[Move]) -> bool:
    """Whether the moves for a neuron have given it its label."""
    return bool(own) and own[-1].event == "stop"


def standing_moves(moves: Sequence[Move]) -> list[Move]:
    """The moves that were not undone, of all moves of a session."""
    standing: list[Move] = []
    for move in moves:
        standing = standing[:-1] if move.event == "undo" else [*standing, move]
    return standing
