"""What is rated: items, each a neuron with one label or with two to compare; and the screens of each annotator."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeVar

import numpy as np

from dnr_env.errors import DnRError

CONTROL = "control"
"""The source of labels of other neurons, which should not fit."""

Thing = TypeVar("Thing")

Given = Mapping[str, Mapping[str, str]]
"""For each source, in order, the label of each neuron."""


class Item(NamedTuple):
    """A neuron and its label to rate, or its two labels to compare."""

    neuron: str
    labels: tuple[str, ...]
    """One, or two."""
    sources: tuple[tuple[str, ...], ...]
    """The sources of each label. One that several gave is rated once."""


class Plan(NamedTuple):
    """Everything that annotators will rate, the same for all of them."""

    sources: tuple[str, ...]
    """The last is compared with each of the others."""
    pairs: bool
    items: tuple[Item, ...]
    equal: tuple[tuple[str, float], ...]
    """Of pairs: each other source, and the share of all neurons to choose from whose two labels are equal. These are
    not shown."""
    repeats: int
    """The items that each annotator rates twice."""

    @property
    def neurons(self) -> list[str]:
        """The neurons, without repetition."""
        return list(dict.fromkeys(item.neuron for item in self.items))


class Screen(NamedTuple):
    """One item, as one annotator is asked about it."""

    item: int
    """The item, by its index."""
    again: bool
    """Whether the annotator has rated it before."""
    flipped: bool
    """Whether the second label stands on the left; a repeated pair changes sides."""


def make_plan(
    given: Given, neurons: Sequence[str], *, items: int, repeats: int, pairs: bool, control: bool, seed: int
) -> Plan:
    """Choose neurons at random until there are enough items. Each chosen neuron has its labels of all sources.

    Args:
        given: the labels of each source, which has all of the neurons.
        neurons: the neurons to choose from.
        items: the most screens of an annotator, with the repeated ones. A neuron has all of its labels shown or none.
        repeats: how many of these show an item again.
        pairs: compare the last source with each of the others, instead of rating each label alone.
        control: add a source with labels of other neurons. They are those of the last source, and differ from all
            labels of the neuron.
        seed: the seed of the choices.

    Raises:
        DnRError: the numbers do not leave an item, no two labels can be compared, there is no label for a control, or a
            source has its name.
    """
    if control and CONTROL in given:
        raise DnRError(f"`labels` must not have a file called {CONTROL} unless `control` is off (got one)")
    if pairs and len(given) + control < 2:
        raise DnRError("`labels` must be at least two files to compare pairs without a control (got 1)")
    if items < 1:
        raise DnRError(f"`items` must be at least 1 (got {items})")
    if not 0 <= repeats < items:
        raise DnRError(f"`repeats` must be from 0 to less than `items`, {items} (got {repeats})")
    last = list(given)[-1]
    others = [name for name in given if name != last]
    equal = {name: float(np.mean([given[name][n] == given[last][n] for n in neurons])) for name in others}
    if pairs and not control and all(share == 1 for share in equal.values()):
        raise DnRError("`labels` must differ for at least one neuron to be compared (got equal ones)")
    rng = np.random.default_rng(seed)
    names = tuple(given) if not control else (CONTROL, *given)
    chosen: list[Item] = []
    for neuron in rng.permutation(np.array(neurons, object)).tolist():
        labels = {source: given[source][neuron] for source in given}
        if control:
            labels = {CONTROL: _foreign(given, neuron, rng), **labels}
        fresh = _pairs(neuron, labels, names) if pairs else _singles(neuron, labels, names)
        if len(chosen) + len(fresh) > items - repeats:
            break
        chosen += fresh
    if not chosen:
        raise DnRError(f"`items` must leave room for the labels of one neuron beside {repeats} repeats (got {items})")
    if control and not any(CONTROL in sources for item in chosen for sources in item.sources):
        raise DnRError(
            "`labels` must have a label of another neuron for a control, or `control` must be off (got none)"
        )
    return Plan(names, pairs, tuple(chosen), tuple(equal.items()) if pairs else (), min(repeats, len(chosen)))


def _singles(neuron: str, labels: Mapping[str, str], names: Sequence[str]) -> list[Item]:
    by_label: dict[str, list[str]] = {}
    for source in names:
        if labels[source]:
            by_label.setdefault(labels[source], []).append(source)
    return [Item(neuron, (label,), (tuple(sources),)) for label, sources in by_label.items()]


def _pairs(neuron: str, labels: Mapping[str, str], names: Sequence[str]) -> list[Item]:
    *others, last = names
    by_label: dict[str, list[str]] = {}
    for other in others:
        if labels[other] not in ("", labels[last]):
            by_label.setdefault(labels[other], []).append(other)
    return [Item(neuron, (label, labels[last]), (tuple(sources), (last,))) for label, sources in by_label.items()]


def _foreign(given: Given, neuron: str, rng: np.random.Generator) -> str:
    """A label of another neuron that differs from all labels of this one; "" if there is none."""
    own = {labels[neuron] for labels in given.values()}
    last = given[list(given)[-1]]
    others = sorted({label for label in last.values() if label not in own})
    return str(rng.choice(np.array(others, object))) if others else ""


def rng_of(name: str) -> np.random.Generator:
    """A random generator that depends on a name alone."""
    return np.random.default_rng(list(hashlib.sha256(name.encode()).digest()))


def screens(plan: Plan, annotator: str) -> list[Screen]:
    """The screens of one annotator, in an order that depends on the plan and the name alone.

    Each round has one item of every neuron that has one left. The first items come again among the last ones.
    """
    rng = rng_of(annotator)
    of: dict[str, list[int]] = {}
    for place, item in enumerate(plan.items):
        of.setdefault(item.neuron, []).append(place)
    mine = [rng.permutation(places).tolist() for places in of.values()]
    first: list[int] = []
    for number in range(max(map(len, mine))):
        those = [places[number] for places in mine if len(places) > number]
        first += rng.permutation(those).tolist()
    sides = rng.integers(2, size=len(plan.items)).astype(bool).tolist()
    order = with_repeats(first, plan.repeats, rng)
    return [Screen(place, again, plan.pairs and sides[place] != again) for place, again in order]


def with_repeats(order: Sequence[Thing], repeats: int, rng: np.random.Generator) -> list[tuple[Thing, bool]]:
    """Mix the first things of an order once more, at random, into its last ones; each with whether it comes again."""
    start = max(repeats, len(order) - 2 * repeats)
    tail = [(thing, False) for thing in order[start:]] + [(thing, True) for thing in order[:repeats]]
    return [*((thing, False) for thing in order[:start]), *(tail[i] for i in rng.permutation(len(tail)).tolist())]
