"""The analysis of the confirmation (docs/study/preregistration.md), as Markdown tables.

Every interval refers to unseen networks, neurons, trainings and blocks of drawings: see
`dnr_env.evaluation.statistics`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path

import numpy as np
from study_comparisons import HINDSIGHT

from dnr_env.evaluation.results import Record, Results, correction, f1_score, markdown, shown
from dnr_env.evaluation.statistics import (
    Difference,
    Interval,
    difference_interval,
    holm_intervals,
    interval_of,
    mean_interval,
    resampled,
)
from dnr_env.files import make_folder, write_atomically
from dnr_env.types import FloatArray, IntArray

JUDGES = {"net": "net value", "judge_net": "net value by the judge's embedder"}
"""The two judges, with the headings of their columns."""


@dataclass(frozen=True)
class Scope:
    """The networks of one world, or of both."""

    name: str
    results: tuple[Results, ...]
    """Those of each network, the networks of a world together."""
    networks: tuple[int, ...]
    """The number of networks of each world."""

    def table(self, agent: str, key: str) -> FloatArray:
        """(members, seeds, neurons) one value of an agent's records, one network after the other."""
        return np.concatenate([one.table(agent, key) for one in self.results], axis=2)

    def f1(self, agent: str) -> Interval:
        """The mean F1 of the attributes of planted neurons, of which every network has as many."""
        tables = [one.table(agent, f1_score, one.planted_neurons) for one in self.results]
        return mean_interval(np.concatenate(tables, axis=2), networks=self.networks)

    def mean(self, agent: str, key: str) -> float:
        """The mean of one value of an agent's records."""
        return float(self.table(agent, key).mean())

    def difference(self, agent: str, other: str, key: str) -> Interval:
        """Compare two agents, paired by neuron and seed, without a correction."""
        return difference_interval(self.table(agent, key), self.table(other, key), networks=self.networks)

    def differences(self, agent: str, others: Sequence[str]) -> dict[tuple[str, str], Difference]:
        """Compare an agent with each of the others by both judges, as one family. Keys are (other, judge)."""
        keys = [(other, judge) for other in others for judge in JUDGES]
        pairs = [(self.table(agent, judge), self.table(other, judge)) for other, judge in keys]
        return dict(zip(keys, holm_intervals(pairs, networks=self.networks), strict=True))


def scopes(found: Sequence[Results], worlds: Sequence[str]) -> list[Scope]:
    """Both worlds together, and then each alone.

    Args:
        found: the results of each network.
        worlds: the world of each, where equal ones stand together.
    """
    parts = {
        world: tuple(result for result, _ in pairs)
        for world, pairs in groupby(zip(found, worlds, strict=True), key=itemgetter(1))
    }
    each = [Scope(world, results, (len(results),)) for world, results in parts.items()]
    return [Scope("all worlds", tuple(found), tuple(map(len, parts.values()))), *each]


def share_of_way(tables: Sequence[FloatArray], networks: Sequence[int]) -> Interval:
    """Compute (policy - rule) / (end - rule) of mean values.

    Args:
        tables: (members, seeds, neurons) of the policy, the rule and the end.
        networks: the number of networks of each world.
    """
    samples = resampled(tables, networks=networks)
    means = np.array([table.mean() for table in tables])
    with np.errstate(divide="ignore", invalid="ignore"):  # equal means have no way between them
        estimate, shares = ((of[0] - of[1]) / (of[2] - of[1]) for of in (means, samples))
    return interval_of(float(estimate), shares)


def images_at_equal_value(scope: Scope, learned: str, rule: str) -> Interval:
    """Compute the images with which a policy gains as much as a rule, or infinity if it never does.

    The policy is stopped at a number of images, the same for all neurons: the smallest with which its mean gain on
    held-out images is that of the rule at its end. The result is the mean of the images that it has then drawn.
    """
    every = np.unique([point[0] for one in scope.results for r in one.cells.values() for point in r["curve"]])
    limits: IntArray = every.astype(int)

    def curves(agent: str, column: int, limits: IntArray) -> FloatArray:
        def read(record: Record) -> FloatArray:
            points = np.array([point[:2] for point in record["curve"]])
            values: FloatArray = points[np.searchsorted(points[:, 0], limits, side="right") - 1, column]
            return values

        return np.concatenate([one.table(agent, read) for one in scope.results], axis=2)

    end = np.repeat(limits[-1:], len(limits))
    tables = [curves(learned, 1, limits), curves(rule, 1, end), curves(learned, 0, limits)]
    samples = resampled(tables, networks=scope.networks)
    means = np.array([table.mean(axis=(0, 1, 2)) for table in tables])
    return interval_of(float(_first_reached(*means[:, None])[0]), _first_reached(*samples))


def _first_reached(gains: FloatArray, wanted: FloatArray, images: FloatArray) -> FloatArray:
    """(n,) the images at the first limit (n, limits) at which the gain is as high as is wanted; infinity if none."""
    reached = gains >= wanted - 1e-12  # of sums in another order
    first = images[np.arange(len(images)), reached.argmax(axis=1)]
    return np.where(reached.any(axis=1), first, np.inf)


def agents(scope: Scope) -> str:
    """Tabulate all agents, best net value first."""
    names = sorted(scope.results[0].agents, key=lambda agent: -scope.mean(agent, "net"))
    rows = [
        [
            agent,
            *(shown(mean_interval(scope.table(agent, judge), networks=scope.networks)) for judge in JUDGES),
            f"{scope.mean(agent, 'value'):.4f}",
            f"{scope.mean(agent, 'images'):.1f}",
            shown(scope.f1(agent), 3),
        ]
        for agent in names
    ]
    return markdown(("agent", *JUDGES.values(), "judge score", "images drawn", "F1 of planted neurons"), rows)


def apart(scope: Scope, learned: str, others: Sequence[str]) -> str:
    """Tabulate the policy less each other agent, by both judges, corrected as one family."""
    found = scope.differences(learned, others)
    rows = [
        [
            other,
            *(text for judge in JUDGES for text in _with_p(found[other, judge])),
            f"{scope.mean(learned, 'images') - scope.mean(other, 'images'):.1f}",
        ]
        for other in others
    ]
    headings = (f"`{learned}` less", *(name for judge in JUDGES.values() for name in (judge, "adjusted p")), "images")
    return f"Brackets are {correction(len(found))}, as are p-values.\n\n" + markdown(headings, rows)


def _with_p(difference: Difference) -> tuple[str, str]:
    return shown(difference), f"{difference.adjusted:.4f}"


def ways(every: Sequence[Scope], learned: str, rule: str) -> str:
    """Tabulate the share of the way from the rule to hindsight, with the length of the way. No family is corrected."""
    rows = [
        [
            scope.name,
            heading,
            shown(scope.difference(learned, rule, judge)),
            shown(scope.difference(HINDSIGHT, rule, judge)),
            shown(share_of_way([scope.table(who, judge) for who in (learned, rule, HINDSIGHT)], scope.networks), 2),
        ]
        for scope in every
        for judge, heading in JUDGES.items()
    ]
    headings = ("worlds", "by", f"`{learned}` less `{rule}`", f"`{HINDSIGHT}` less `{rule}`", "share of the way")
    return markdown(headings, rows)


def images(every: Sequence[Scope], learned: str, rule: str) -> str:
    """Tabulate the images that the policy needs to gain as much as the rule."""
    rows = []
    for scope in every:
        needed, drawn = images_at_equal_value(scope, learned, rule), scope.mean(rule, "images")
        share = f"{needed.estimate / drawn:.2f}" if drawn else ""
        rows.append([scope.name, f"{drawn:.1f}", shown(needed, 1), share])
    headings = ("worlds", f"images of `{rule}`", f"images of `{learned}` at equal value", "share")
    return "`inf` means that the value is not reached.\n\n" + markdown(headings, rows)


def verdict(scope: Scope, learned: str, others: Sequence[str]) -> str:
    """Say whether the claim is confirmed: every corrected interval of the policy less another agent is above zero."""
    found = scope.differences(learned, others)
    lacking = [f"`{other}` ({JUDGES[judge]}: {shown(one)})" for (other, judge), one in found.items() if one.low <= 0]
    said = f"{correction(len(found))} of `{learned}` less each other agent, {scope.name}"
    if not lacking:
        return f"Confirmed: all {said}, are above zero."
    return f"Not confirmed: of the {said}, {len(lacking)} are not above zero: {', '.join(lacking)}."


def write_report(found: Sequence[Results], worlds: Sequence[str], folder: Path, learned: str, rule: str) -> None:
    """Write the tables.

    Args:
        found: the results of each network, with the agent `hindsight`.
        worlds: the world of each network, where equal ones stand together.
        folder: the folder of the tables.
        learned: the learned policy.
        rule: the best tuned rule.
    """
    make_folder(folder)
    every = scopes(found, worlds)
    others = [agent for agent in found[0].agents if agent not in (learned, HINDSIGHT)]
    tables = {
        "verdict": verdict(every[0], learned, others),
        "way": ways(every, learned, rule),
        "images": images(every, learned, rule),
        **{f"agents-{scope.name.replace(' ', '-')}": agents(scope) for scope in every},
        **{f"differences-{scope.name.replace(' ', '-')}": apart(scope, learned, others) for scope in every},
    }
    for name, text in tables.items():
        write_atomically(folder / f"{name}.md", (text + "\n").encode())
