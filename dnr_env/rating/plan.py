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
        control: add a source with the last source's labels of other chosen neurons.
        seed: the seed of the choices.

    Raises:
        DnRError: the numbers do not leave an item, no two labels can be compared, there is no label for a control, or a
            source has its name.
    """
    if control and CONTROL in given:
        raise DnRError(f"`labels` must not have a file called {CONTROL} unless `control` is off (got one)")
    if pairs and len(given) + control < 2:
        raise DnRError("`labels` must be at least two files to compare pairs without a control (got 1)")
    if seed < 0:
        raise DnRError(f"`seed` must be a whole number of at least 0 (got {seed})")
    if items < 1:
        raise DnRError(f"`items` must be at least 1 (got {items})")
    if not 0 <= repeats < items:
        raise DnRError(f"`repeats` must be from 0 to less than `items`, {items} (got {repeats})")
    last = list(given)[-1]
    others = [name for name in given if name != last]
    equal = {name: float(np.mean([given[name][n] == given[last][n] for n in neurons])) for name in others}
    if pairs and not control and all(share == 1 for share in equal.values()):
        raise DnRError("`labels` must differ for at least one neuron to be compared (got equal ones)")
    chosen, count = list[str](), 0
    for neuron in np.random.default_rng(seed).permutation(np.array(neurons, object)).tolist():
        size = len(_items(given, neuron, pairs)) + control
        if count + size > items - repeats:
            break
        count += size
        chosen += [neuron] if size else []
    if not chosen:
        raise DnRError(f"`items` must leave room for the labels of one neuron beside {repeats} repeats (got {items})")
    found: Given = given
    if control:
        found = {CONTROL: _controls(given, chosen), **given}
        if not any(found[CONTROL].values()):
            raise DnRError("`control` must be off where no other chosen neuron has a label of its own (got on)")
    made = [item for neuron in chosen for item in _items(found, neuron, pairs)]
    return Plan(tuple(found), pairs, tuple(made), tuple(equal.items()) if pairs else (), min(repeats, len(made)))


def _items(given: Given, neuron: str, pairs: bool) -> list[Item]:
    labels = {source: given[source][neuron] for source in given}
    return _pairs(neuron, labels) if pairs else _singles(neuron, labels)


def _singles(neuron: str, labels: Mapping[str, str]) -> list[Item]:
    by_label: dict[str, list[str]] = {}
    for source, label in labels.items():
        if label:
            by_label.setdefault(label, []).append(source)
    return [Item(neuron, (label,), (tuple(sources),)) for label, sources in by_label.items()]


def _pairs(neuron: str, labels: Mapping[str, str]) -> list[Item]:
    *others, last = labels
    by_label: dict[str, list[str]] = {}
    for other in others:
        if labels[other] not in ("", labels[last]):
            by_label.setdefault(labels[other], []).append(other)
    return [Item(neuron, (label, labels[last]), (tuple(sources), (last,))) for label, sources in by_label.items()]


def _controls(given: Given, neurons: Sequence[str]) -> dict[str, str]:
    """For each neuron the last source's label of another one, each used once; "" where that is one of its own labels.

    Of all rotations of the neurons it is the one whose labels share the fewest words with the neurons' own.
    """
    own = [{labels[neuron] for labels in given.values()} for neuron in neurons]
    words = [{word for label in labels for word in label.lower().split()} for labels in own]
    labels = [given[list(given)[-1]][neuron] for neuron in neurons]

    def shared(turn: int) -> int:
        turned = labels[turn:] + labels[:turn]
        return sum(
            1000 * (label in mine) + len(known.intersection(label.lower().split()))
            for label, mine, known in zip(turned, own, words, strict=True)
        )

    turn = min(range(1, len(neurons)), key=shared, default=0)
    turned = labels[turn:] + labels[:turn]
    return {n: "" if label in mine else label for n, label, mine in zip(neurons, turned, own, strict=True)}


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
    """Mix the first things of an order once more, in turn, into its last ones; each with whether it comes again."""
    start = max(repeats, len(order) - 2 * repeats, min(3, len(order)))  # the least distance between the two
    size = len(order) - start + repeats
    places = set(rng.choice(size, repeats, replace=False).tolist())
    rest, again = iter(order[start:]), iter(order[:repeats])
    mixed = [(next(again), True) if place in places else (next(rest), False) for place in range(size)]
    return [*((thing, False) for thing in order[:start]), *mixed]
