"""How far annotators agree on the labels of the same neurons."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from dnr_env.agents.human.recorded import Recorded
from dnr_env.evaluation.results import markdown
from dnr_env.registry import load


class Agreement(NamedTuple):
    """Of two annotators, on the neurons that both have labelled, under the same stack; or of one with themselves."""

    one: str
    other: str
    neurons: int
    equal: float
    """The share of equal labels."""
    similarity: float
    """The mean cosine similarity of the labels' embeddings; 1 for equal labels."""
    apart: float
    """The mean absolute difference of the labels' simulations on the held-out real images."""


def agreement(episodes: Sequence[Recorded]) -> list[Agreement]:
    """The agreement of every two annotators who share labelled neurons, and of each with themselves on repeats."""
    labels: dict[tuple[str, str, bool], dict[str, str]] = {}
    for episode in episodes:
        if episode.label:
            labels.setdefault((episode.annotator, episode.stack, episode.again), {})[episode.neuron] = episode.label
    found = []
    for (key, mine), (other_key, theirs) in itertools.combinations(sorted(labels.items()), 2):
        (one, stack_name, again), (other, other_stack, other_again) = key, other_key
        shared = [neuron for neuron in mine if neuron in theirs]
        if stack_name != other_stack or not shared or ((again or other_again) and one != other):
            continue
        stack = load(stack_name)
        sides = [[side[neuron] for neuron in shared] for side in (mine, theirs)]
        first, second = (stack.texts.embeddings(texts) for texts in sides)
        which = np.array(stack.neurons.indices(shared))
        values = [stack.texts.simulation(stack.probes.held_out, texts, which) for texts in sides]
        equal = float(np.mean([a == b for a, b in zip(*sides, strict=True)]))
        similarity, apart = float((first * second).sum(axis=1).mean()), float(np.abs(values[0] - values[1]).mean())
        found.append(Agreement(one, other, len(shared), equal, similarity, apart))
    return found


def shown_agreement(found: Sequence[Agreement]) -> str:
    """The agreement as a table; empty if there is none."""
    if not found:
        return ""
    columns = ("annotators", "neurons", "equal labels", "similarity of labels", "simulations apart")
    rows = [[_who(a), str(a.neurons), f"{a.equal:.0%}", f"{a.similarity:.2f}", f"{a.apart:.3f}"] for a in found]
    return markdown(columns, rows)


def _who(a: Agreement) -> str:
    return f"{a.one} twice" if a.one == a.other else f"{a.one}, {a.other}"
