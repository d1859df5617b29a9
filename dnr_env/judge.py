"""The judge: measures a final label on seeds that neither the search nor the reward has seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dnr_env.scores import score
from dnr_env.seeds import SeedBlock
from dnr_env.stacks import Stack
from dnr_env.types import FloatArray

IMAGES = 50


@dataclass(frozen=True)
class Verdict:
    """What the judge finds of one label for one neuron."""

    value: float
    """The score, on the judge's images."""
    error: float
    """Its standard error."""
    auc: float
    """P(an image of the label excites the neuron more than a control image) (CoSy)."""
    mad: float
    """(mean over the label's images - mean over the control set) / its standard deviation (CoSy)."""
    simulation: float
    """Correlation over the probe set of label-image similarity with the neuron's activation; punishes narrow labels."""
    corrupted: dict[str, float]
    """The same where the probe images are corrupted, by the corruption's name: does the label survive?"""


def judge(
    stack: Stack,
    neurons: Sequence[str],
    labels: Sequence[str],
    score_name: str,
    images_per_measure: int,
    images: int = IMAGES,
    blocks: Sequence[int] | None = None,
) -> list[Verdict]:
    """Judge label i for neuron i; each distinct label is drawn once.

    Args:
        stack: whose generator and target judge.
        neurons: (n) names.
        labels: (n) texts, as `Stack.normalise` returns them.
        score_name: the score that `value` is.
        images_per_measure: the subset size m of the score.
        images: how many images of each label.
        blocks: (n) the block of seeds that each is judged on; the first for None.
    """
    if not neurons:
        return []
    probe, names = stack.probe, stack.lab.reader.neurons
    which = np.array([names.index(neuron) for neuron in neurons])
    seeds = SeedBlock.JUDGE.rows(images, np.zeros(len(labels), int) if blocks is None else np.array(blocks))
    seen = stack.measure(labels, which, seeds, stack.judge_lab)

    texts = stack.embedder.embed_texts(labels)
    simulation = probe.simulation(texts, which)

    def by(name: str) -> tuple[FloatArray, FloatArray]:
        counts = np.full(len(which), images)
        return score(
            name, seen.activations, counts, images_per_measure, seen.similarities, probe.controls[which], simulation
        )

    (value, error), (auc, _), (mad, _) = by(score_name), by("auc"), by("mad")
    corrupted = {name: stack.corrupted(name).simulation(texts, which) for name in stack.corruptions}
    return [
        Verdict(
            value=float(value[i]),
            error=float(error[i]),
            auc=float(auc[i]),
            mad=float(mad[i]),
            simulation=float(simulation[i]),
            corrupted={name: float(values[i]) for name, values in corrupted.items()},
        )
        for i in range(len(which))
    ]
