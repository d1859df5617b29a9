"""The lab's evidence for one neuron, on the scale of the probe set."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from dnr_env.evidence.lab import Lab
from dnr_env.evidence.probe import Probe
from dnr_env.types import FloatArray, IntArray


class Sighting(NamedTuple):
    """The measurements of b concepts, with s images each, for one neuron each."""

    activations: FloatArray
    """(b, s) normalised activations of the concept's neuron."""
    similarities: FloatArray
    """(b, s) cosines of the images with that neuron's exemplars."""
    embeddings: FloatArray
    """(b, s, dim) unit embeddings of the images."""


def see(lab: Lab, probe: Probe, *, concepts: Sequence[str], neurons: IntArray, seeds: IntArray) -> Sighting:
    """Measure the s images `seeds[i]` of `concepts[i]` for neuron `neurons[i]`."""
    evidence = lab.measure(concepts=concepts, neurons=neurons, seeds=seeds)
    similarities = (evidence.embeddings * probe.exemplar_embeddings[neurons][:, None]).sum(axis=2)
    return Sighting(probe.normalise(evidence.activations, neurons), similarities, evidence.embeddings)
