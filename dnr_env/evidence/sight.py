"""The lab's evidence for one neuron, on the scale of the probe set."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from dnr_env.errors import ItemError
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
    """Measure the s images `seeds[i]` of `concepts[i]` for neuron `neurons[i]`.

    Raises:
        ItemError: an image makes a neuron infinite or undefined that is finite on the probe set.
    """
    evidence = lab.measure(concepts=concepts, neurons=neurons, seeds=seeds)
    for row in np.flatnonzero(probe.alive[neurons] & ~np.isfinite(evidence.activations).all(axis=1)).tolist():
        raise ItemError(
            f"{lab.reader.neurons[neurons[row]]} has an activation that is not finite on a drawing of {concepts[row]!r}"
        )
    similarities = (evidence.embeddings * probe.exemplar_embeddings[neurons][:, None]).sum(axis=2)
    return Sighting(probe.normalise(evidence.activations, neurons), similarities, evidence.embeddings)
