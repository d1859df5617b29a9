"""The results of a comparison as tables: means with intervals, and paired differences."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any

import numpy as np

from dnr_env.evaluation.statistics import (
    Difference,
    Interval,
    difference_interval,
    holm_intervals,
    iqm_interval,
    mean_interval,
)
from dnr_env.types import FloatArray, IntArray

Record = Mapping[str, Any]
"""A line of results.jsonl, which holds one episode and its verdict."""


class Results:
    """The records of a comparison as tables (members, seeds, neurons) for each agent.

    Args:
        records: A record for each agent, member, neuron and seed.
        optima: The judge's values (seeds,) of a neuron's best concept, in ascending order of seeds. The keys are the
            neurons whose best concept is known.
    """

    def __init__(self, records: Sequence[Record], optima: Mapping[str, FloatArray]) -> None:
        self.neurons = list(dict.fromkeys(r["neuron"] for r in records))
        self.agents: list[str] = list(dict.fromkeys(r["agent"] for r in records))
        self.seeds = sorted({r["seed"] for r in records})
        self.optima = optima
        self.cells = {(r["agent"], r["member"], r["neuron"], r["seed"]): r for r in records}
        self.members = {a: list(dict.fromkeys(r["member"] for r in records if r["agent"] == a)) for a in self.agents}

    def table(
        self, agent: str, value: str | Callable[[Record], float | FloatArray], neurons: Sequence[str] | None = None
    ) -> FloatArray:
        """Make a table (members, seeds, neurons) of one value per record.

        Args:
            agent: The agent whose records are used.
            value: The name of a value, or a function of a record. The axes of an array that it returns come last.
            neurons: The neurons to use. None uses all.
        """
        chosen = self.neurons if neurons is None else neurons
        of: Callable[[Record], Any] = itemgetter(value) if isinstance(value, str) else value
        return np.array(
            [
                [[of(self.cells[agent, member, neuron, seed]) for neuron in chosen] for seed in self.seeds]
                for member in self.members[agent]
            ]
        )

    def mean(self, agent: str, key: str) -> float:
        """Compute the mean of one value over an agent's records."""
        return float(self.table(agent, key).mean())

    def seconds(self, agent: str) -> float | None:
        """Compute the mean time that people took for a neuron, or None of an agent that is no person."""
        timed = [record["seconds"] for key, record in self.cells.items() if key[0] == agent and "seconds" in record]
        return float(np.mean(timed)) if timed else None

    def ranked(self) -> list[str]:
        """Sort the agents by mean net value, best first."""
        return sorted(self.agents, key=lambda agent: -self.mean(agent, "net"))

    def judge_net(self, agent: str) -> Interval | None:
        """Compute the mean net value with the judge's own embedder, or None if the stack has none."""
        lacking = any(record["judge_net"] is None for record in self.cells.values())
        return None if lacking else mean_interval(self.table(agent, "judge_net"))

    def planted(self, agent: str, key: str) -> float | None:
        """Compute the mean precision, recall or share of parts over the planted neurons, or None if it is not known."""
        known = self.planted_neurons if any(r[key] is not None for r in self.cells.values()) else []
        return float(self.table(agent, key, known).mean()) if known else None

    @property
    def planted_neurons(self) -> list[str]:
        """Neurons whose attributes are known."""
        known = {key[2] for key, r in self.cells.items() if r["precision"] is not None}
        return [neuron for neuron in self.neurons if neuron in known]

    def f1(self, agent: str) -> Interval | None:
        """Compute the mean F1 of the labels' attributes over the planted neurons, or None if there are none."""
        planted = self.planted_neurons
        return mean_interval(self.table(agent, f1_score, planted)) if planted else None

    def f1_difference(self, agent: str, other: str) -> Interval | None:
        """Compute the paired difference of the mean F1 over the planted neurons, or None if there are none."""
        planted = self.planted_neurons
        if not planted:
            return None
        return difference_interval(self.table(agent, f1_score, planted), self.table(other, f1_score, planted))

    def regret(self, agent: str) -> Interval | None:
        """Compute the mean judge score of the best concept minus that of the label, over neurons of known optimum.

        The best concept was found on other images than the judge's, so a label can score higher. The result is None if
        no optimum is known.
        """
        known = [neuron for neuron in self.neurons if neuron in self.optima]
        if not known:
            return None
        best = np.array([self.optima[neuron] for neuron in known]).T  # on the same drawings as the labels
        return mean_interval(best - self.table(agent, "value", known))

    def gain_at(self, agent: str, images: int | IntArray) -> FloatArray:
        """Compute the value gained if each episode had been stopped at a number of images.

        An episode that ended earlier keeps its final value. The value is that of the rewards, which use held-out images
        by default.

        Args:
            agent: The agent whose episodes are used.
            images: The limit on the images drawn, 0 or more: one number, or an array (k,).

        Returns:
            An array (members, seeds, neurons) for one number, or (members, seeds, neurons, k) for k numbers.
        """
        return self.table(agent, lambda r: _gained(r["curve"], images))

    def fraction(self, agent: str) -> Interval | None:
        """Compute the total judge score divided by that of the best concepts, or None if one of these is unknown."""
        if set(self.neurons) - self.optima.keys():
            return None
        best = float(np.mean([self.optima[neuron] for neuron in self.neurons]))
        regret = self.regret(agent)
        if not best > 0 or regret is None:
            return None
        # Optima differ between neurons more than agents do, so the interval is that of the regret of each neuron.
        return Interval(1 - regret.estimate / best, 1 - regret.high / best, 1 - regret.low / best)

    def difference(self, agent: str, other: str, key: str) -> Interval:
        """Compare two agents, paired by neuron and episode seed, without a correction for multiple comparisons."""
        return difference_interval(self.table(agent, key), self.table(other, key))

    def differences(self, agent: str, others: Sequence[str], key: str) -> dict[str, Difference]:
        """Compare an agent with each of the others, paired by neuron and episode seed, as one Holm-corrected family.

        Args:
            agent: The agent whose mean comes first.
            others: All agents that it is compared with. Selecting them by results would invalidate the correction.
            key: The name of the value to compare.
        """
        ours = self.table(agent, key)
        found = holm_intervals([(ours, self.table(other, key)) for other in others])
        return dict(zip(others, found, strict=True))

    @property
    def others(self) -> list[str]:
        """All agents except the reference, in their order."""
        return [agent for agent in self.agents if agent != self.reference]

    @property
    def reference(self) -> str:
        """The agent that the others are compared with: the last one named, since choosing the best would be biased."""
        return self.agents[-1]


def f1_score(record: Record) -> float:
    """Compute the harmonic mean of the precision and recall of a label's attributes, or 0 if both are 0."""
    precision, recall = record["precision"], record["recall"]
    return float(2 * precision * recall / (precision + recall)) if precision + recall else 0.0


def _gained(curve: Sequence[Sequence[float]], images: int | IntArray) -> FloatArray:
    """Look up the value gained at the last point of an `Episode.curve` at or below each number of images."""
    spent, gained = np.array([point[:2] for point in curve]).T
    held: FloatArray = gained[np.searchsorted(spent, images, side="right") - 1]
    return held


_ATTRIBUTES = ("precision", "recall", "parts")
COLUMNS = (
    "agent",
    "net value",
    "judge net",
    "judge score",
    "IQM",
    "images",
    "reward images",
    "judge images",
    "of optimum",
    "return",
    "AUC",
    "MAD",
    "simulation",
    *_ATTRIBUTES,
    "seconds",
)
"""Columns of a comparison's summary. Net value is the judge score minus the price of all images of the search, and
judge net the same with the simulation of the judge's own embedder; empty if there is none. The seconds are those that
people took for a neuron."""
DIFFERENCES = ("net value", "adjusted p of net value", "judge score", "images")


def summary(results: Results) -> list[list[str]]:
    """Make a row of COLUMNS for each agent, best net value first."""
    rows = []
    for agent in results.ranked():
        values = results.table(agent, "value")
        rows.append(
            [
                agent,
                shown(mean_interval(results.table(agent, "net"))),
                shown(results.judge_net(agent)),
                shown(mean_interval(values), 3),
                shown(iqm_interval(values), 3),
                *(f"{results.mean(agent, key):.1f}" for key in ("images", "reward_images", "judge_images")),
                shown(results.fraction(agent), 3),
                f"{results.mean(agent, 'return'):.4f}",
                *(f"{results.mean(agent, key):.3f}" for key in ("auc", "mad", "simulation")),
                *("" if (share := results.planted(agent, key)) is None else f"{share:.3f}" for key in _ATTRIBUTES),
                "" if (seconds := results.seconds(agent)) is None else f"{seconds:.0f}",
            ]
        )
    return rows


def differences(results: Results) -> list[list[str]]:
    """Make a row of DIFFERENCES between the reference and each other agent. Each column is one family."""
    nets, values, images = (
        results.differences(results.reference, results.others, key) for key in ("net", "value", "images")
    )
    return [
        [
            other,
            shown(nets[other]),
            f"{nets[other].adjusted:.4f}",
            shown(values[other], 3),
            shown(images[other], 1),
        ]
        for other in results.others
    ]


def correction(comparisons: int) -> str:
    """Describe the intervals of a family of comparisons."""
    return f"95% intervals, Holm-corrected for {comparisons} comparison{'' if comparisons == 1 else 's'}"


def unseen(results: Results) -> str:
    """Say which variation the intervals leave out, for the end of a sentence. The text is empty if there is none."""
    lacking = [
        name for name, units in (("neurons", results.neurons), ("blocks of drawings", results.seeds)) if len(units) == 1
    ]
    return f" (without the variation between {' and between '.join(lacking)}, of which there is one)" if lacking else ""


def shown(interval: Interval | None, digits: int = 4) -> str:
    """Format an interval. None gives an empty text."""
    if interval is None:
        return ""
    return f"{interval.estimate:.{digits}f} [{interval.low:.{digits}f}, {interval.high:.{digits}f}]"


def markdown(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Format a table as aligned Markdown."""
    widths = [max(len(row[i]) for row in [columns, *rows]) for i in range(len(columns))]
    lines = [
        "| " + " | ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) + " |" for row in [columns, *rows]
    ]
    lines.insert(1, "|" + "|".join("-" * (w + 2) for w in widths) + "|")
    return "\n".join(lines)
