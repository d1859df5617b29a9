"""The judge, which measures a final label on image seeds that neither search nor reward uses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dnr_env.env.rules import Rules
from dnr_env.evidence.sight import see
from dnr_env.scores import score
from dnr_env.seeds import Purpose
from dnr_env.stack import Stack
from dnr_env.types import FloatArray

IMAGES = 50


@dataclass(frozen=True)
class Verdict:
    """Evaluation of one label for one neuron. Values that need drawings are None if the stack has no judge."""

    value: float | None
    """The score on the judge's images."""
    error: float | None
    """The standard error of the score."""
    auc: float | None
    """P(an image of the label excites the neuron more than a control image), as in CoSy."""
    mad: float | None
    """(mean over the label's images - mean over the control set) / deviation of the control set, as in CoSy."""
    simulation: float
    """Correlation of label-image similarity and activation over the probe set, which penalises narrow labels."""
    simulations: dict[str, float]
    """The simulation on other probe sets, by name: a corruption, or `images` for further real images."""


def judge(
    stack: Stack,
    *,
    neurons: Sequence[str],
    labels: Sequence[str],
    rules: Rules,
    images: int = IMAGES,
    blocks: Sequence[int] | None = None,
) -> list[Verdict]:
    """Judge label i for neuron i. Each distinct label is drawn once.

    Args:
        stack: The stack, whose judge lab measures.
        neurons: Names of n neurons.
        labels: n texts, as `Language.normalise` returns them.
        rules: The rules, which define the score and its subset size m.
        images: The number of images per label.
        blocks: The n blocks of image seeds. None uses the first block for all.
    """
    if not neurons:
        return []
    which = stack.neurons.indices(neurons)
    texts = stack.embedder.embed_texts(labels)
    simulation = stack.probe.simulation(texts, which)
    others = {name: probe.simulation(texts, which) for name, probe in stack.probes.others().items()}
    drawn: dict[str, FloatArray] = {}
    if "judge" not in stack.missing:
        seeds = Purpose.JUDGE.rows(images, np.zeros(len(labels), int) if blocks is None else np.array(blocks))
        seen = see(stack.judge_lab, stack.probe, concepts=labels, neurons=which, seeds=seeds)
        for field, name in (("value", rules.score), ("auc", "auc"), ("mad", "mad")):
            drawn[field], error = score(
                name,
                activations=seen.activations,
                counts=np.full(len(which), images),
                m=rules.images_per_measure,
                similarities=seen.similarities,
                controls=stack.probe.controls[which],
                simulations=simulation,
            )
            drawn.setdefault("error", error)
    return [
        Verdict(
            **{field: float(drawn[field][i]) if drawn else None for field in ("value", "error", "auc", "mad")},
            simulation=float(simulation[i]),
            simulations={name: float(values[i]) for name, values in others.items()},
        )
        for i in range(len(which))
    ]


def judge_images(stack: Stack) -> int:
    """Return the number of images that the judge draws per label."""
    return 0 if "judge" in stack.missing else IMAGES
