"""The judge, which measures a final label on image seeds and real images that the search does not use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dnr_env.env.rules import Rules
from dnr_env.evidence.sight import see
from dnr_env.scores import score
from dnr_env.seeds import Purpose
from dnr_env.shapes.planted import precision_recall
from dnr_env.stack import Stack
from dnr_env.types import FloatArray, IntArray

IMAGES = 50


@dataclass(frozen=True)
class Verdict:
    """Evaluation of one label for one neuron. Values that need drawings are None if the stack has no judge."""

    value: float | None
    """The score on the judge's images."""
    error: float | None
    """The standard error of the score."""
    judge_value: float | None
    """The score with the simulation in the space of the judge's own embedder; None if there is none."""
    auc: float | None
    """P(an image of the label excites the neuron more than a control image), as in CoSy."""
    mad: float | None
    """(mean over the label's images - mean over the control set) / deviation of the control set, as in CoSy."""
    simulation: float
    """Correlation of label-image similarity and activation over the held-out half, which penalises narrow labels."""
    simulations: dict[str, float]
    """The simulation on other probe sets, by name: a corruption, or `images` for further real images."""
    simulation_error: float
    """The standard error of the simulation, over a random choice of the images."""
    judge_simulation: float | None
    """The simulation in the space of the judge's own embedder, which no search uses; None if there is none."""
    judge_simulation_error: float | None
    auc_error: float | None
    mad_error: float | None
    activation_rate: float | None
    """The share of the label's images above the threshold of the neuron's top 1% of real images, as in SIEVE."""
    activation_rate_error: float | None


@dataclass(frozen=True)
class Agreement:
    """Agreement of a label with the formula of a planted neuron; None for other neurons."""

    precision: float | None
    recall: float | None
    """See `dnr_env.shapes.planted.precision_recall`."""


def agreement(stack: Stack, neuron: str, label: str) -> Agreement:
    """Compare a label with what an embedded world knows of the neuron."""
    formula = stack.known.truth(neuron)
    return Agreement(*precision_recall(formula, label)) if formula else Agreement(None, None)


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
    held_out = stack.probes.held_out
    simulation, error = held_out.simulation(texts, which), held_out.simulation_error(texts, which)
    second = stack.judge_embedder
    own, own_error = second.simulation(held_out, labels, which) if second else (None, None)
    others = {name: probe.simulation(texts, which) for name, probe in stack.probes.others().items()}
    drawn: dict[str, FloatArray] = {}
    if "judge" not in stack.missing:
        seeds = Purpose.JUDGE.rows(images, np.zeros(len(labels), int) if blocks is None else np.array(blocks))
        seen = see(stack.judge_lab, stack.probe, concepts=labels, neurons=which, seeds=seeds)
        counts, controls = np.full(len(which), images), held_out.controls[which]

        def scored(name: str, simulations: FloatArray) -> tuple[FloatArray, FloatArray]:
            return score(
                name,
                activations=seen.activations,
                counts=counts,
                m=rules.images_per_measure,
                similarities=seen.similarities,
                controls=controls,
                simulations=simulations,
            )

        drawn["auc"], drawn["auc_error"] = scored("auc", simulation)
        drawn["mad"], drawn["mad_error"] = scored("mad", simulation)
        drawn["value"], drawn["error"] = scored(rules.score, simulation)
        if own is not None:
            drawn["judge_value"] = scored(rules.score, own)[0]
        drawn["activation_rate"], drawn["activation_rate_error"] = activation_rate(stack, which, seen.activations)
    return [
        Verdict(
            **{field: float(drawn[field][i]) if field in drawn else None for field in _DRAWN},
            simulation=float(simulation[i]),
            simulations={name: float(values[i]) for name, values in others.items()},
            simulation_error=float(error[i]),
            judge_simulation=None if own is None else float(own[i]),
            judge_simulation_error=None if own_error is None else float(own_error[i]),
        )
        for i in range(len(which))
    ]


_DRAWN = (
    "value",
    "error",
    "judge_value",
    "auc",
    "auc_error",
    "mad",
    "mad_error",
    "activation_rate",
    "activation_rate_error",
)


def activation_rate(stack: Stack, neurons: IntArray, activations: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The share of a label's images among the top 1% of its neuron's activations, and its standard error.

    The top 1% are those of the held-out half. The error is that of Agresti and Coull 1998, with two successes and two
    failures added: with none or all of the images above the threshold, the plain error of a share would be 0.

    Args:
        stack: the stack.
        neurons: (b,) indices.
        activations: (b, images) normalised activations.
    """
    images = activations.shape[1]
    above = (activations > stack.probes.held_out.strong(neurons)[:, None]).sum(axis=1)
    likely = (above + 2) / (images + 4)
    return above / images, np.sqrt(likely * (1 - likely) / (images + 4))


def judge_images(stack: Stack) -> int:
    """Return the number of images that the judge draws per label."""
    return 0 if "judge" in stack.missing else IMAGES
