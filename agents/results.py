"""The outcome of a comparison as tables: means with intervals, and paired differences."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from agents.statistics import Interval, iqm_interval, mean_interval
from dnr_env.types import FloatArray

Record = Mapping[str, Any]
"""A line of results.jsonl: one episode with its verdict."""


class Results:
    """The records of a comparison as tables (members, seeds, neurons) for each agent."""

    def __init__(self, records: Sequence[Record], optima: Mapping[str, float]) -> None:
        self.neurons = list(dict.fromkeys(r["neuron"] for r in records))
        self.agents: list[str] = list(dict.fromkeys(r["agent"] for r in records))
        self.seeds = sorted({r["seed"] for r in records})
        self.optima = optima
        self.cells = {(r["agent"], r["member"], r["neuron"], r["seed"]): r for r in records}
        self.members = {a: list(dict.fromkeys(r["member"] for r in records if r["agent"] == a)) for a in self.agents}

    def table(self, agent: str, value: Callable[[Record], float]) -> FloatArray:
        """(members, seeds, neurons)."""
        return np.array(
            [
                [[value(self.cells[agent, member, neuron, seed]) for neuron in self.neurons] for seed in self.seeds]
                for member in self.members[agent]
            ]
        )

    def planted(self, agent: str, key: str) -> float:
        """Mean precision or recall over the planted neurons; NaN without any."""
        values = [r[key] for r in self.cells.values() if r["agent"] == agent and r[key] is not None]
        return float(np.mean(values)) if values else float("nan")

    def fraction(self, agent: str) -> Interval | None:
        """Judge score over that of the best concept, summed over neurons of known optimum."""
        if set(self.neurons) - self.optima.keys():
            return None
        best = float(np.mean([self.optima[neuron] for neuron in self.neurons]))
        if not best > 0:
            return None
        value = mean_interval(self.table(agent, lambda r: r["value"]))
        return Interval(value.estimate / best, value.low / best, value.high / best)

    def difference(self, agent: str, other: str, key: str) -> Interval:
        """Mean of agent less other, paired by neuron and episode seed; other's training seeds are averaged."""
        ours = self.table(agent, lambda r: r[key])
        return mean_interval(ours - self.table(other, lambda r: r[key]).mean(axis=0))

    @property
    def reference(self) -> str:
        """The agent that the others are compared with: the last one named, since the best would be a lucky one."""
        return self.agents[-1]


COLUMNS = (
    "agent", "judge score", "IQM", "return", "images", "of optimum", "AUC", "MAD", "simulation", "precision", "recall"
)  # fmt: skip


def summary(results: Results) -> list[list[str]]:
    """A row an agent, in the order of COLUMNS, best return first."""
    rows = []
    ranked = sorted(results.agents, key=lambda agent: -results.table(agent, lambda r: r["return"]).mean())
    for agent in ranked:
        values = results.table(agent, lambda r: r["value"])
        fraction = results.fraction(agent)
        rows.append(
            [
                agent,
                _short(mean_interval(values)),
                _short(iqm_interval(values)),
                _short(mean_interval(results.table(agent, lambda r: r["return"])), digits=4),
                f"{results.table(agent, lambda r: r['added_images']).mean():.1f}",
                _short(fraction) if fraction else "",
                *(f"{results.table(agent, lambda r, k=k: r[k]).mean():.3f}" for k in ("auc", "mad", "simulation")),  # type: ignore[misc]
                *(f"{results.planted(agent, k):.3f}".replace("nan", "") for k in ("precision", "recall")),
            ]
        )
    return rows


def differences(results: Results) -> list[list[str]]:
    """What the reference is ahead of each other agent: return, judge score, images."""
    first = results.reference
    others = [agent for agent in results.agents if agent != first]
    keys = (("return", 4), ("value", 3), ("added_images", 1))
    return [
        [other, *(_short(results.difference(first, other, key), digits) for key, digits in keys)] for other in others
    ]


def _short(interval: Interval, digits: int = 3) -> str:
    return f"{interval.estimate:.{digits}f} [{interval.low:.{digits}f}, {interval.high:.{digits}f}]"


def markdown(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table that reads as text and as Markdown."""
    widths = [max(len(row[i]) for row in [columns, *rows]) for i in range(len(columns))]
    lines = [
        "| " + " | ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) + " |" for row in [columns, *rows]
    ]
    lines.insert(1, "|" + "|".join("-" * (w + 2) for w in widths) + "|")
    return "\n".join(lines)
