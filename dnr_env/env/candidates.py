"""The concepts that episodes begin with, and where they come from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from dnr_env.env.options import Start
from dnr_env.interfaces import Origin, Usage
from dnr_env.propose.proposer import Proposer


class Candidates(NamedTuple):
    """The initial concepts of one episode."""

    concepts: list[str]
    origin: Origin
    usage: Usage = Usage()
    failure: str = ""
    """Why they are captions although the stack has a writer; "" otherwise."""


def candidates(proposer: Proposer, neurons: Sequence[int], starts: Sequence[Start], n_slots: int) -> list[Candidates]:
    """Return the initial concepts of each episode: those of its options, or proposals, which are made in one batch.

    Raises:
        DnRError: a neuron has no candidate that can be drawn, or the language model cannot be used.
    """
    asked = [neuron for neuron, start in zip(neurons, starts, strict=True) if start.concepts is None]
    made = dict(zip(asked, proposer.propose(asked, n_slots), strict=True))
    found = []
    for neuron, start in zip(neurons, starts, strict=True):
        if start.concepts is not None:
            found.append(Candidates(start.concepts, start.origin))
        else:
            proposal = made[neuron]
            found.append(Candidates(proposal.concepts, proposal.origin, proposal.usage, proposal.failure))
    return found
