"""What ratings say of labels: means and paired differences with intervals, and how reliable annotators are.

Annotators need not have rated all screens. A mean is over the ratings that there are, and its interval resamples
annotators and neurons, each for the whole table, as `dnr_env.evaluation.statistics` does with seeds and neurons.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from dnr_env.evaluation.statistics import Difference, Interval, holm_of, interval_of, resampled
from dnr_env.extras import needed
from dnr_env.rating.answers import STEPS, Answer
from dnr_env.rating.plan import CONTROL, Item, Plan
from dnr_env.types import FloatArray

_MIDDLE = (STEPS + 1) // 2

Answered = Mapping[str, Sequence[Answer]]
"""The answers of each annotator."""


class Mean(NamedTuple):
    """The mean rating of a source, from 1 to 5; of pairs, how far the last source is preferred to it, from -2 to 2."""

    source: str
    neurons: int
    ratings: int
    interval: Interval


class Paired(NamedTuple):
    """The last source's mean minus that of another, on the same neurons, corrected by Holm's procedure."""

    source: str
    other: str
    neurons: int
    difference: Difference


class Reliability(NamedTuple):
    """How reliable one annotator is."""

    annotator: str
    ratings: int
    """How many, without those of repeated screens."""
    seconds: float
    """The median time for a rating, with those of repeated screens."""
    control: float | None
    """The mean rating of the control; of pairs, how far the last source is preferred to it; None without a control."""
    others: float | None
    """The mean rating of all other labels; None of pairs."""
    repeated: int
    """How many items were rated twice."""
    equal: float | None
    """The share of these with two equal ratings; None without any."""
    apart: float | None
    """The mean absolute difference of their two ratings; None without any."""


def preference(plan: Plan, answer: Answer) -> int:
    """The rating of an answer, from 1 to STEPS; of pairs, how far the second label is preferred, from -2 to 2."""
    if not plan.pairs:
        return answer.rating
    return (answer.rating - _MIDDLE) * (-1 if answer.screen.flipped else 1)


def tables(plan: Plan, answered: Answered) -> dict[str, FloatArray]:
    """(annotators, neurons) of each source: its ratings; of pairs, how far the last is preferred to it. NaN: none."""
    places = {neuron: place for place, neuron in enumerate(plan.neurons)}
    shape = len(answered), len(places)
    found = {source: np.full(shape, np.nan) for source in plan.sources[: -1 if plan.pairs else None]}
    for row, answers in enumerate(answered.values()):
        for answer in answers:
            item = plan.items[answer.screen.item]
            if not answer.screen.again:
                for source in rated(plan, item):
                    found[source][row, places[item.neuron]] = preference(plan, answer)
    return found


def rated(plan: Plan, item: Item) -> tuple[str, ...]:
    """The sources that a rating of an item counts for."""
    return item.sources[0] if plan.pairs else tuple(source for part in item.sources for source in part)


def means(plan: Plan, answered: Answered) -> list[Mean]:
    """The mean of each source that was rated."""
    found = []
    for source, table in tables(plan, answered).items():
        there = ~np.isnan(table)
        if there.any():
            interval = interval_of(float(np.nanmean(table)), _samples([table])[0])
            found.append(Mean(source, int(there.any(axis=0).sum()), int(there.sum()), interval))
    return found


def differences(plan: Plan, answered: Answered) -> list[Paired]:
    """The last source minus each other one; of pairs, how far it is preferred. Only neurons with both ratings count.

    The control is no member of the family whose p-values are corrected.
    """
    found = tables(plan, answered)
    last, compared = plan.sources[-1], list[Paired]()
    for family in ([CONTROL], [source for source in plan.sources[:-1] if source != CONTROL]):
        others, counts, estimates, samples = [], [], [], []
        for other in (source for source in family if source in found):
            sides = [found[other]] if plan.pairs else _both(found[last], found[other])
            if np.isnan(sides[0]).all():
                continue
            ours, *theirs = [float(np.nanmean(side)) for side in sides]
            mine, *less = _samples(sides)
            others.append(other)
            counts.append(int((~np.isnan(sides[0])).any(axis=0).sum()))
            estimates.append(ours - sum(theirs))
            samples.append(mine - less[0] if less else mine)
        compared += [Paired(last, *one) for one in zip(others, counts, holm_of(estimates, samples), strict=True)]
    return compared


def _both(ours: FloatArray, theirs: FloatArray) -> list[FloatArray]:
    missing = np.isnan(ours) | np.isnan(theirs)
    return [np.where(missing, np.nan, side) for side in (ours, theirs)]


def _samples(sides: Sequence[FloatArray]) -> list[FloatArray]:
    """Bootstrap samples (resamples,) of the means of tables that lack the same cells. Empty ones are left out."""
    there = ~np.isnan(sides[0])
    sums = resampled([np.where(there, side, 0.0)[None] for side in (*sides, there.astype(float))])
    some = sums[-1] > 0
    return [total[some] / sums[-1][some] for total in sums[:-1]]


def reliability(plan: Plan, answered: Answered) -> list[Reliability]:
    """How reliable each annotator is."""
    found = []
    for annotator, answers in answered.items():
        first = {a.screen.item: preference(plan, a) for a in answers if not a.screen.again}
        control = [rating for item, rating in first.items() if CONTROL in rated(plan, plan.items[item])]
        others = [rating for item, rating in first.items() if rated(plan, plan.items[item]) != (CONTROL,)]
        again = [a for a in answers if a.screen.again and a.screen.item in first]
        twice = [abs(preference(plan, a) - first[a.screen.item]) for a in again]
        found.append(
            Reliability(
                annotator,
                len(first),
                float(np.median([a.seconds for a in answers])) if answers else 0.0,
                float(np.mean(control)) if control else None,
                None if plan.pairs or not others else float(np.mean(others)),
                len(twice),
                float(np.mean([not d for d in twice])) if twice else None,
                float(np.mean(twice)) if twice else None,
            )
        )
    return found


def alpha(plan: Plan, answered: Answered) -> float | None:
    """Krippendorff's ordinal alpha of all annotators, without the control, which everybody rates alike.

    Source: Krippendorff 2019, "Content Analysis", 4th edition, chapter 12.

    Returns:
        1 for full agreement, 0 for agreement by chance; None if no item has two ratings, or if all ratings of such
        items are equal.
    """
    items = [i for i, item in enumerate(plan.items) if CONTROL not in rated(plan, item)]
    table = np.full((len(answered), len(plan.items)), np.nan)
    for row, answers in enumerate(answered.values()):
        for answer in answers:
            if not answer.screen.again:
                table[row, answer.screen.item] = preference(plan, answer)
    table = table[:, items]
    shared = table[:, (~np.isnan(table)).sum(axis=0) > 1]
    if len(np.unique(shared[~np.isnan(shared)])) < 2:
        return None
    with needed("web"):
        import krippendorff
    return float(krippendorff.alpha(reliability_data=shared, level_of_measurement="ordinal"))
