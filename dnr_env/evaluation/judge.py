"""The judge, which measures a final label on image seeds and real images that the search does not use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dnr_env.env.rules import Rules
from dnr_env.evidence.sight import see
from dnr_env.scores import score
from dnr_env.seeds import Purpose
from dnr_env.stack import Agreement, Stack
from dnr_env.structure import parts_of
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


def agreement(stack: Stack, neuron: str, label: str) -> Agreement:
    """Compare a label with what an embedded world knows of the neuron."""
    formula = stack.known.truth(neuron)
    return Agreement() if formula is None else stack.known.compare(formula, stack.language.parts(label))


def judge(
    stack: Stack,
    *,
    neurons: Sequence[str],
    labels: Sequence[str],
    rules: Rules,
    images: int = IMAGES,
    blocks: Sequence[int] | None = None,
) -> list[Verdict]:
    """Judge label i for neuron i. Each distinct noun phrase is drawn once.

    The parts of a label are drawn separately, with the same seeds, and every score of drawings is the mean over them.

    Args:
        stack: The stack, whose judge lab measures.
        neurons: Names of n neurons.
        labels: n texts, as `Language.normalise` returns them.
        rules: The rules, which define the score and its subset size m.
        images: The number of images per noun phrase.
        blocks: The n blocks of image seeds. None uses the first block for all.
    """
    if not neurons:
        return []
    which = stack.neurons.indices(neurons)
    texts, held_out = stack.texts, stack.probes.held_out
    simulation, error = (f(held_out, labels, which) for f in (texts.simulation, texts.simulation_error))
    second = stack.judge_embedder
    own, own_error = second.simulation(held_out, labels, which, stack.language.parts) if second else (None, None)
    others = {name: texts.simulation(probe, labels, which) for name, probe in stack.probes.others().items()}
    lengths = np.array([stack.language.length(label) for label in labels])
    drawn: dict[str, FloatArray] = {}
    if "judge" not in stack.missing:
        parts = parts_of(labels, stack.language.parts)
        of = which[parts.labels]
        block = np.zeros(len(labels), int) if blocks is None else np.array(blocks)
        seeds = Purpose.JUDGE.rows(images, block[parts.labels])
        seen = see(stack.judge_lab, stack.probe, concepts=parts.texts, neurons=of, seeds=seeds)
        counts, controls = np.full(len(of), images), held_out.controls[of]

        def scored(name: str, simulations: FloatArray) -> tuple[FloatArray, FloatArray]:
            values, errors = score(
                name,
                activations=seen.activations,
                counts=counts,
                m=rules.images_per_measure,
                similarities=seen.similarities,
                controls=controls,
                simulations=simulations[parts.labels],
                lengths=lengths[parts.labels],
            )
            return parts.mean(values), parts.error(errors)

        drawn["auc"], drawn["auc_error"] = scored("auc", simulation)
        drawn["mad"], drawn["mad_error"] = scored("mad", simulation)
        drawn["value"], drawn["error"] = scored(rules.score, simulation)
        if own is not None:
            drawn["judge_value"] = scored(rules.score, own)[0]
        rate, rate_error = activation_rate(stack, of, seen.activations)
        drawn["activation_rate"], drawn["activation_rate_error"] = parts.mean(rate), parts.error(rate_error)
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
    """The share of a noun phrase's images among the top 1% of its neuron's activations, and its standard error.

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
    """Return the number of images that the judge draws per noun phrase of a label."""
    return 0 if "judge" in stack.missing else IMAGES
