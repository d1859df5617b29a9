"""Every neuron of a layer under the six scoring methods, in one orientation (Table 1 of the DnR report)."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from scipy.stats import rankdata

from agents.labelling import cell
from dnr_env.files import write_atomically
from dnr_env.scores import RANKED, score
from dnr_env.seeds import SeedBlock
from dnr_env.stacks import Stack

IMAGES = 20

Row = dict[str, str | float]


def rank(
    stack: Stack, neurons: Sequence[str], labels: Mapping[str, str], images_per_measure: int, block: int = 0
) -> list[Row]:
    """Score each neuron's label by each method on its own images, and rank the neurons; rank 1 is the highest score.

    `combined_rank` is the mean of the ranks under `log_k` and `semantic_k`, which the report combines; the rows are in
    its order.
    """
    which = np.array([stack.lab.reader.neurons.index(neuron) for neuron in neurons])
    texts = [labels[neuron] for neuron in neurons]
    seeds = np.tile(SeedBlock.JUDGE.seeds(0, IMAGES, block), (len(texts), 1))
    seen = stack.measure(texts, which, seeds, stack.judge_lab)
    counts = np.full(len(which), IMAGES)
    scores = {name: score(name, seen.activations, counts, images_per_measure, seen.similarities)[0] for name in RANKED}
    ranks = {name: rankdata(-values, method="min") for name, values in scores.items()}
    combined = (ranks["log_k"] + ranks["semantic_k"]) / 2
    rows: list[Row] = []
    for place in np.argsort(combined, kind="stable").tolist():
        row: Row = {"neuron": neurons[place], "label": texts[place]}
        for name in RANKED:
            row[name] = round(float(scores[name][place]), 6)
            row[f"{name}_rank"] = int(ranks[name][place])
        row["combined_rank"] = float(combined[place])
        rows.append(row)
    return rows


def write_ranking(rows: Sequence[Row], path: Path) -> None:
    """The whole table as CSV."""
    out = io.StringIO()
    writer = csv.DictWriter(out, list(rows[0]))
    writer.writeheader()
    writer.writerows({name: cell(value) for name, value in row.items()} for row in rows)
    write_atomically(path, out.getvalue().encode())


def shown_ranking(rows: Sequence[Row], most: int = 12) -> str:
    """The best neurons as text: each score with its rank."""
    lines = [f"{'neuron':<12}{'label':<34}" + "".join(f"{name:>20}" for name in RANKED) + f"{'combined':>11}"]
    for row in rows[:most]:
        cells = "".join(f"{row[name]:.3f} (#{row[name + '_rank']})".rjust(20) for name in RANKED)
        lines.append(f"{row['neuron']:<12}{row['label']!s:<34}{cells}{row['combined_rank']:>11.1f}")
    return "\n".join(lines)
