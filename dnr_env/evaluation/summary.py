"""What the judge's verdicts say of a whole file of labels: means with intervals, and paired differences of files.

Drawing i of every label has the same seed, so the drawings' random effects are common to all labels. The bootstrap
therefore resamples neurons and drawings, each for the whole table, as `dnr_env.evaluation.statistics` describes with
drawings in place of episode seeds. Intervals refer to unseen drawings and neurons. Simulations and the agreement with
planted formulas need no drawings: their intervals come from the neurons alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dnr_env.env.rules import Rules
from dnr_env.evaluation.judge import IMAGES, judge_images
from dnr_env.evaluation.labelling import Record
from dnr_env.evaluation.results import f1_score
from dnr_env.evaluation.statistics import Difference, Interval, holm_intervals, mean_interval
from dnr_env.evidence.sight import see
from dnr_env.files import csv_table, write_atomically
from dnr_env.scores import score
from dnr_env.seeds import Purpose
from dnr_env.stack import Stack
from dnr_env.structure import parts_of
from dnr_env.types import FloatArray

DRAWN = ("auc", "mad", "activation_rate", "value", "judge_value")
METRICS = ("auc", "mad", "activation_rate", "simulation", "judge_simulation", "value", "judge_value", "f1")
"""`f1` is the agreement of label and formula, over planted neurons alone."""
_BLOCK = 64  # labels whose drawings are in memory together


@dataclass(frozen=True)
class Mean:
    """The mean of one metric over a source's labels."""

    source: str
    metric: str
    labels: int
    interval: Interval


@dataclass(frozen=True)
class Paired:
    """The mean difference of one metric between two sources on the neurons that all sources label."""

    source: str
    other: str
    metric: str
    neurons: int
    difference: Difference
    """The source's less the other's; intervals and p-values of a metric are corrected by Holm's procedure."""


Tables = dict[str, FloatArray]
"""For each metric (1, drawings, labels): what each drawing contributes, so that the mean is the metric's; one drawing
where the metric needs none."""


def tables(stack: Stack, records: Sequence[Record], rules: Rules) -> Tables:
    """The contributions of each drawing to the metrics of some labels. The store has the drawings' measurements."""
    found = {name: np.array([[[r[name] for r in records]]], float) for name in ("simulation", "judge_simulation")}
    if stack.judge_embedder is None:
        del found["judge_simulation"]
    if judge_images(stack):
        parts = [_drawn(stack, records[i : i + _BLOCK], rules) for i in range(0, len(records), _BLOCK)]
        found.update({name: np.concatenate([part[name] for part in parts]).T[None] for name in parts[0]})
    planted = [r for r in records if r["precision"] is not None]
    if planted:
        found["f1"] = np.array([[[f1_score(r) for r in planted]]])
    return {name: found[name] for name in METRICS if name in found}


def _drawn(stack: Stack, records: Sequence[Record], rules: Rules) -> dict[str, FloatArray]:
    """(labels, images) for each metric of DRAWN. Those of a score are its pseudo-values of the jackknife.

    Drawing i of the parts of a label has the same seed, so that they are one drawing here, with the mean of theirs.

    There is no `judge_value` where no embedder is the judge's own.
    """
    parts = parts_of([r["label"] for r in records], stack.language.parts)
    rows = [records[label] for label in parts.labels.tolist()]  # one for each part
    which = stack.neurons.indices([r["neuron"] for r in rows])
    seeds = Purpose.JUDGE.rows(IMAGES, np.array([r["block"] for r in rows]))
    seen = see(stack.judge_lab, stack.probe, concepts=parts.texts, neurons=which, seeds=seeds)
    held_out = stack.probes.held_out
    controls = held_out.controls[which][:, None]
    one = np.ones(seeds.shape, int)
    found = {
        name: score(name, activations=seen.activations[..., None], counts=one, m=1, controls=controls)[0]
        for name in ("auc", "mad")
    }
    found["activation_rate"] = (seen.activations > held_out.strong(which)[:, None]).astype(float)
    others = np.array([[j for j in range(IMAGES) if j != i] for i in range(IMAGES)])
    weighed = {"value": "simulation", "judge_value": "judge_simulation"}
    for name, simulation in weighed.items() if stack.judge_embedder else [("value", "simulation")]:
        without, _ = score(
            rules.score,
            activations=seen.activations[:, others],
            counts=one * (IMAGES - 1),
            m=rules.images_per_measure,
            similarities=seen.similarities[:, others],
            controls=controls,
            simulations=np.array([[r[simulation]] for r in rows]),
            lengths=np.array([[stack.language.length(r["label"])] for r in rows]),
        )
        found[name] = IMAGES * np.array([[r[name]] for r in rows]) - (IMAGES - 1) * without
    return {name: parts.mean(values) for name, values in found.items()}


def means(source: str, parts: Tables) -> list[Mean]:
    """The mean of each metric with its 95% interval."""
    return [Mean(source, name, part.shape[2], mean_interval(part)) for name, part in parts.items()]


def differences(stack: Stack, sources: Sequence[tuple[str, Sequence[Record]]], rules: Rules) -> list[Paired]:
    """Compare the last source with each of the others, on records of the same neurons in the same order."""
    parts = [tables(stack, records, rules) for _, records in sources]
    *others, last = [name for name, _ in sources]
    found = []
    for metric in parts[-1]:
        family = holm_intervals([(parts[-1][metric], part[metric]) for part in parts[:-1]])
        neurons = parts[-1][metric].shape[2]
        found += [Paired(last, other, metric, neurons, one) for other, one in zip(others, family, strict=True)]
    return found


def write_means(rows: Sequence[Mean], path: Path) -> None:
    """The means as CSV."""
    columns = ("source", "metric", "labels", "mean", "low", "high")
    lines = [(r.source, r.metric, r.labels, r.interval.estimate, r.interval.low, r.interval.high) for r in rows]
    write_atomically(path, csv_table(columns, [dict(zip(columns, line, strict=True)) for line in lines]))


def write_differences(rows: Sequence[Paired], path: Path) -> None:
    """The differences as CSV."""
    columns = ("source", "other", "metric", "neurons", "difference", "low", "high", "p", "adjusted")
    lines = [
        (r.source, r.other, r.metric, r.neurons, d.estimate, d.low, d.high, d.p, d.adjusted)
        for r in rows
        for d in [r.difference]
    ]
    write_atomically(path, csv_table(columns, [dict(zip(columns, line, strict=True)) for line in lines]))
