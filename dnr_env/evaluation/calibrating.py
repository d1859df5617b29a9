"""Measures what a stack is calibrated on: fixed concepts of fixed neurons, with what real images and drawings say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from dnr_env.errors import DnRError
from dnr_env.evidence.calibrate import DRAWN, JUDGED, Sample, fit
from dnr_env.evidence.calibration import Calibration, relative
from dnr_env.evidence.calibration_check import Row, cross_validate
from dnr_env.evidence.sight import see
from dnr_env.interfaces import MutationBatch
from dnr_env.neurons import Which
from dnr_env.progress import bar
from dnr_env.seeds import Purpose
from dnr_env.stack import Stack
from dnr_env.types import IntArray

FEWEST = 20
"""The fewest neurons from which the deviation between neurons can be estimated."""
_BLOCKS = 16  # neurons take the blocks of seeds in turn, so that the images of one block do not decide
_PROPOSED, _PROMISING, _RANDOM = 3, 5, 2  # concepts of a neuron, by where they come from
_WEIGHTS = (1.0, 0.5, 0.0)  # of excitement, against simulation, where the promising are looked for
_TOGETHER = 8  # neurons that are measured in one batch


def calibrated(stack: Stack, neurons: Which, most: int) -> tuple[Calibration, list[Row]]:
    """Calibrate a stack on up to `most` of some neurons, and check it by cross-validation over these.

    Raises:
        DnRError: the stack has no generator or embedder, or too few neurons are alive.
    """
    stack.require("calibrate", ("generator", "embedder"))
    measured = sample(stack, chosen(stack, stack.neurons.select(neurons), most))
    rows = cross_validate(measured)
    about = {"neurons": len(np.unique(measured.neurons)), "concepts": len(measured.neurons)}
    return replace(fit(measured), checked={**about, "rows": [row._asdict() for row in rows]}), rows


def chosen(stack: Stack, neurons: Sequence[int], most: int) -> list[int]:
    """Choose up to `most` of the neurons that are alive, spread evenly.

    Raises:
        DnRError: too few neurons are alive.
    """
    alive = [neuron for neuron in neurons if stack.probe.alive[neuron]]
    if most < FEWEST:
        raise DnRError(f"`limit` must be at least {FEWEST} neurons (got {most})")
    if len(alive) < FEWEST:
        raise DnRError(
            f"`neurons` must name at least {FEWEST} neurons that vary on the real images (got {len(alive)} of "
            f"{len(neurons)})"
        )
    return [alive[i] for i in np.unique(np.linspace(0, len(alive) - 1, min(most, len(alive))).round().astype(int))]


def sample(stack: Stack, neurons: Sequence[int]) -> Sample:
    """Measure concepts such as episodes list, for each neuron. The store keeps the images' measurements.

    Args:
        stack: the models.
        neurons: the indices of the neurons.
    """
    found = [_concepts(stack, neuron) for neuron in bar(neurons, unit="neuron", desc="concepts")]
    parts = []
    for start in bar(range(0, len(neurons), _TOGETHER), unit="batch", desc="calibration"):
        these = range(start, min(start + _TOGETHER, len(neurons)))
        texts = [text for i in these for text in found[i]]
        places: IntArray = np.repeat(these, [len(found[i]) for i in these])
        which = np.array(neurons, np.intp)[places]
        seeds = Purpose.CALIBRATION.rows(DRAWN + JUDGED, places % _BLOCKS)
        seen = see(stack.lab, stack.probe, concepts=texts, neurons=which, seeds=seeds)
        embeddings = stack.embedder.embed_texts(texts)
        parts.append(
            Sample(
                neurons=which,
                excited=stack.prior.relative(texts, which),
                simulations=stack.probe.simulation(embeddings, which),
                held_out=stack.probes.held_out.simulation(embeddings, which),
                activations=seen.activations,
                similarities=seen.similarities,
                controls=stack.probe.controls[which],
            )
        )
    return Sample(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def _concepts(stack: Stack, neuron: int) -> list[str]:
    """Noun phrases for a neuron: proposals, promising ones of the vocabulary, edits of both, and random ones."""
    rng = np.random.default_rng(neuron)
    words = stack.vocabulary.concepts
    which = np.full(len(words), neuron)
    excited = relative(stack.promises.excited(words, which), stack.prior.most_excited(which[:1]))
    simulations = stack.vocabulary.simulations(neuron)
    listed: dict[str, None] = {}
    if not stack.missing & {"captioner"}:
        listed.update(dict.fromkeys(stack.proposer.propose([neuron], 8)[0].concepts[:_PROPOSED]))
    for weight in _WEIGHTS:
        order = np.argsort(-(weight * excited + (1 - weight) * simulations), kind="stable")
        listed.update((words[i], None) for i in order[: rng.integers(1, _PROMISING + 1)])
    for mutator in stack.mutators.values():
        if mutator.origin != "writer":  # a language model would have to be paid
            batch = _request(stack, neuron, list(listed), rng)
            listed.update(dict.fromkeys(suggestion.concept for suggestion in mutator.mutate(batch)))
    listed.update((words[i], None) for i in rng.integers(len(words), size=_RANDOM))
    return [text for text in listed if stack.language.parts(text).plain]


def _request(stack: Stack, neuron: int, listed: list[str], rng: np.random.Generator) -> MutationBatch:
    """A request for a mutation of a random concept, nothing of which is drawn."""
    return MutationBatch(
        concepts=[listed[rng.integers(len(listed))]],
        tried=[listed],
        embeddings=np.zeros((1, 1, stack.lab.reader.dim), np.float32),
        activations=np.zeros((1, 1), np.float32),
        seen=np.zeros((1, 1), bool),
        rngs=[rng],
        neurons=np.array([neuron]),
        history=lambda i: [],
        score="log_k",
        kinds=[None],
    )
