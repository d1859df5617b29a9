"""Pictures outside the probe set, from which simulated users know better than mutators."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import numpy as np

from dnr_env.evidence.lab import Lab
from dnr_env.evidence.probe import Probe
from dnr_env.scores import excitement
from dnr_env.seeds import Purpose
from dnr_env.shapes.lexicon import ANYTHING
from dnr_env.types import FloatArray

PICTURES = 500
"""The number of the pictures."""


class Outside:
    """Pictures of anything, drawn like those of the probe set.

    Args:
        lab: draws faithfully, and measures.
        probe: returns the probe set, which gives the scale of the activations.
        first: the place of the first picture that is outside the probe set.
    """

    def __init__(self, lab: Lab, probe: Callable[[], Probe], first: int) -> None:
        self._lab, self._probe = lab, probe
        self.seeds = Purpose.PROBE.seeds(first, PICTURES)

    @cached_property
    def excited(self) -> FloatArray:
        """(neurons, pictures) float64 excitement."""
        seen = self._lab.measure(concepts=[ANYTHING], seeds=self.seeds[None]).activations[0].T
        return excitement(self._probe().normalise(seen, np.arange(len(seen))).astype(np.float64))
