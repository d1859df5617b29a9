"""Ranking of a layer's neurons under six scoring methods, all oriented alike (Table 1 of the DnR report)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from dnr_env.env.rules import Rules
from dnr_env.evidence.sight import see
from dnr_env.files import csv_table, write_atomically
from dnr_env.scores import RANKED, score
from dnr_env.seeds import Purpose
from dnr_env.stack import Stack
from dnr_env.structure import parts_of

RANK_IMAGES = 20

Row = dict[str, str | float]


def rank_neurons(
    stack: Stack, *, neurons: Sequence[str], labels: Mapping[str, str], rules: Rules, block: int = 0
) -> list[Row]:
    """Score each neuron's label by each method, and rank the neurons. Rank 1 has the highest score.

    The score of a label is the mean over its parts, which are drawn separately.

    `combined_rank` is the mean of the ranks under `log_k` and `semantic_k`, as in the report.

    Args:
        stack: The stack, whose judge lab measures.
        neurons: Names of the neurons.
        labels: The label of each neuron.
        rules: The rules, which define the subset size m of the scores.
        block: The block of image seeds.

    Returns:
        A row for each neuron, sorted by `combined_rank`.
    """
    which = stack.neurons.indices(neurons)
    texts = [labels[neuron] for neuron in neurons]
    parts = parts_of(texts, stack.language.parts)
    seeds = np.tile(Purpose.JUDGE.seeds(0, RANK_IMAGES, block), (len(parts.texts), 1))
    seen = see(stack.judge_lab, stack.probe, concepts=parts.texts, neurons=which[parts.labels], seeds=seeds)
    scores = {
        name: parts.mean(
            score(
                name,
                activations=seen.activations,
                counts=np.full(len(seeds), RANK_IMAGES),
                m=rules.images_per_measure,
                similarities=seen.similarities,
            )[0]
        )
        for name in RANKED
    }
    from scipy.stats import rankdata  # slow to import, and needed here only

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
    """Write the whole table as CSV."""
    write_atomically(path, csv_table(list(rows[0]), rows))


def shown_ranking(rows: Sequence[Row], most: int = 12) -> str:
    """Format the best neurons as text: each score with its rank."""
    lines = [f"{'neuron':<12}{'label':<34}" + "".join(f"{name:>20}" for name in RANKED) + f"{'combined':>11}"]
    for row in rows[:most]:
        cells = "".join(f"{row[name]:.3f} (#{row[name + '_rank']})".rjust(20) for name in RANKED)
        lines.append(f"{row['neuron']:<12}{row['label']!s:<34}{cells}{row['combined_rank']:>11.1f}")
    return "\n".join(lines)
