"""The outcome of a comparison as tables: means with intervals, and paired differences."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any

import numpy as np

from agents.statistics import Difference, Interval, difference_interval, holm_intervals, iqm_interval, mean_interval
from dnr_env.types import FloatArray, IntArray

Record = Mapping[str, Any]
"""A line of results.jsonl: one episode with its verdict."""


class Results:
    """The records of a comparison as tables (members, seeds, neurons) for each agent.

    Args:
        records: one for each agent, member, neuron and seed.
        optima: the judge's values of a neuron's best concept, (seeds,) in ascending order, by the neurons where it is
            known.
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
        """(members, seeds, neurons) of one number of the records, or of what is made of a record.

        Args:
            agent: whose records.
            value: the number's name, or a function; where that gives an array, its axes follow.
            neurons: which; None for all.
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
        """Mean of one number of an agent's records."""
        return float(self.table(agent, key).mean())

    def ranked(self) -> list[str]:
        """The agents, best mean net value first."""
        return sorted(self.agents, key=lambda agent: -self.mean(agent, "net"))

    def planted(self, agent: str, key: str) -> float | None:
        """Mean precision or recall over the planted neurons; None without any."""
        return float(self.table(agent, key, self.planted_neurons).mean()) if self.planted_neurons else None

    @property
    def planted_neurons(self) -> list[str]:
        """The neurons whose attributes are known."""
        known = {key[2] for key, r in self.cells.items() if r["precision"] is not None}
        return [neuron for neuron in self.neurons if neuron in known]

    def f1(self, agent: str) -> Interval | None:
        """Mean F1 of the labels' attributes over the planted neurons; None without any."""
        planted = self.planted_neurons
        return mean_interval(self.table(agent, f1_score, planted)) if planted else None

    def f1_difference(self, agent: str, other: str) -> Interval | None:
        """Mean F1 of agent less other over the planted neurons, paired by neuron and seed; None without any."""
        planted = self.planted_neurons
        if not planted:
            return None
        return difference_interval(self.table(agent, f1_score, planted), self.table(other, f1_score, planted))

    def regret(self, agent: str) -> Interval | None:
        """The judge score of the best concept less the label's, mean over the neurons of known optimum; None without.

        The best was searched for on other images than the judge's, so a label can be ahead of it.
        """
        known = [neuron for neuron in self.neurons if neuron in self.optima]
        if not known:
            return None
        best = np.array([self.optima[neuron] for neuron in known]).T  # the same drawings as those of the labels
        return mean_interval(best - self.table(agent, "value", known))

    def gain_at(self, agent: str, images: int | IntArray) -> FloatArray:
        """The value gained had each episode been cut at so many images; one that ended before stays where it was.

        The value is that of the rewards: on held-out images unless the rules say otherwise.

        Args:
            agent: whose episodes.
            images: added images, 0 or more: the most that an episode may draw, not what it draws; one number, or (k,).

        Returns:
            (members, seeds, neurons) for one number, (members, seeds, neurons, k) for k.
        """
        return self.table(agent, lambda r: _gained(r["curve"], images))

    def fraction(self, agent: str) -> Interval | None:
        """Judge score over that of the best concept, summed over neurons; None where it is not known of all."""
        if set(self.neurons) - self.optima.keys():
            return None
        best = float(np.mean([self.optima[neuron] for neuron in self.neurons]))
        regret = self.regret(agent)
        if not best > 0 or regret is None:
            return None
        # The neurons' optima differ more than agents do: the interval is of what is lost, neuron by neuron.
        return Interval(1 - regret.estimate / best, 1 - regret.high / best, 1 - regret.low / best)

    def difference(self, agent: str, other: str, key: str) -> Interval:
        """Mean of agent less other, paired by neuron and episode seed: a comparison by itself, not corrected."""
        return difference_interval(self.table(agent, key), self.table(other, key))

    def differences(self, agent: str, others: Sequence[str], key: str) -> dict[str, Difference]:
        """Mean of an agent less each of the others, paired by neuron and episode seed: one family, Holm-corrected.

        Args:
            agent: whose mean comes first.
            others: all agents that it is compared with; to leave some out for their outcome would undo the correction.
            key: the number of the records.
        """
        ours = self.table(agent, key)
        found = holm_intervals([(ours, self.table(other, key)) for other in others])
        return dict(zip(others, found, strict=True))

    @property
    def others(self) -> list[str]:
        """All agents but the reference, in their order."""
        return [agent for agent in self.agents if agent != self.reference]

    @property
    def reference(self) -> str:
        """The agent that the others are compared with: the last one named, since the best would be a lucky one."""
        return self.agents[-1]


def f1_score(record: Record) -> float:
    """Harmonic mean of the precision and recall of a label's attributes; 0 where both are 0."""
    precision, recall = record["precision"], record["recall"]
    return float(2 * precision * recall / (precision + recall)) if precision + recall else 0.0


def _gained(curve: Sequence[Sequence[float]], images: int | IntArray) -> FloatArray:
    """The value gained at the last points of an `Episode.curve` that are at or below numbers of images."""
    spent, gained, _ = np.array(curve).T
    held: FloatArray = gained[np.searchsorted(spent, images, side="right") - 1]
    return held


_ATTRIBUTES = ("precision", "recall")
COLUMNS = (
    "agent",
    "net value",
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
)
"""Of a comparison's summary. Net value is the judge score less the price of all images that the search drew."""
DIFFERENCES = ("net value", "adjusted p of net value", "judge score", "images")


def summary(results: Results) -> list[list[str]]:
    """A row an agent, in the order of COLUMNS, best net value first."""
    rows = []
    for agent in results.ranked():
        values = results.table(agent, "value")
        rows.append(
            [
                agent,
                shown(mean_interval(results.table(agent, "net"))),
                shown(mean_interval(values), 3),
                shown(iqm_interval(values), 3),
                *(f"{results.mean(agent, key):.1f}" for key in ("images", "reward_images", "judge_images")),
                shown(results.fraction(agent), 3),
                f"{results.mean(agent, 'return'):.4f}",
                *(f"{results.mean(agent, key):.3f}" for key in ("auc", "mad", "simulation")),
                *("" if (share := results.planted(agent, key)) is None else f"{share:.3f}" for key in _ATTRIBUTES),
            ]
        )
    return rows


def differences(results: Results) -> list[list[str]]:
    """What the reference is ahead of each other agent, in the order of DIFFERENCES; each column is a family."""
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
    """What the intervals of a family of so many comparisons are."""
    return f"95% intervals, Holm-corrected for {comparisons} comparison{'' if comparisons == 1 else 's'}"


def unseen(results: Results) -> str:
    """What the intervals of a comparison cannot hold, for the end of a sentence; empty where nothing is lacking."""
    lacking = [
        name for name, units in (("neurons", results.neurons), ("blocks of drawings", results.seeds)) if len(units) == 1
    ]
    return f" (without the variation between {' and between '.join(lacking)}, of which there is one)" if lacking else ""


def shown(interval: Interval | None, digits: int = 4) -> str:
    """An interval as text; nothing for none."""
    if interval is None:
        return ""
    return f"{interval.estimate:.{digits}f} [{interval.low:.{digits}f}, {interval.high:.{digits}f}]"


def markdown(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table that reads as text and as Markdown."""
    widths = [max(len(row[i]) for row in [columns, *rows]) for i in range(len(columns))]
    lines = [
        "| " + " | ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) + " |" for row in [columns, *rows]
    ]
    lines.insert(1, "|" + "|".join("-" * (w + 2) for w in widths) + "|")
    return "\n".join(lines)
