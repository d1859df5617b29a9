"""The arrays of n parallel episodes, before anything happens to them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dnr_env.env.rules import Rules
from dnr_env.evidence.calibration import Calibration
from dnr_env.structure import MOST_PHRASES
from dnr_env.types import BoolArray, FloatArray, IntArray

if TYPE_CHECKING:
    from typing_extensions import Self

RECENT = 4
"""The number of changes of the incumbent's posterior mean that an observation holds."""


@dataclass
class Arrays:
    """The arrays of n episodes. The second axis of most of them is the master list, in the order of listing."""

    rules: Rules
    calibration: Calibration
    structured: bool  # whether labels may be unions and exceptions
    activations: FloatArray  # (n, capacity, most_images) normalised, zero where empty
    similarities: FloatArray  # (n, capacity, most_images) cosine with the exemplars
    counts: IntArray  # (n, capacity) images drawn, of a label those of all its parts
    parts: IntArray  # (n, capacity, MOST_PHRASES) places of what is drawn for a label; -1 for none, as of a noun phrase
    concepts: FloatArray  # (n, capacity, dim) unit embeddings of the texts
    simulations: FloatArray  # (n, capacity) correlations of the texts with the neuron over the search half
    prices: FloatArray  # (n, capacity) what the words of the texts cost
    cover: FloatArray  # (n, capacity, 4) coverage, its error, precision, its error, on the search half
    excited: FloatArray  # (n, capacity) expected excitement, relative to that of the best concept
    promises: FloatArray  # (n, capacity) prior means of the values
    drawn: FloatArray  # (n, capacity, dim) sums of the image embeddings
    born: IntArray  # (n, capacity) step at which the concept was listed
    from_user: BoolArray  # (n, capacity)
    scores: FloatArray  # (n, capacity) of the drawings; 0 without any
    errors: FloatArray  # (n, capacity)
    means: FloatArray  # (n, capacity) posterior means of the values
    deviations: FloatArray  # (n, capacity) posterior deviations of the values
    unsettled: FloatArray  # (n, capacity) the part of the deviations that drawings can settle
    reaches: FloatArray  # (n, capacity) deviation of the change that one more KEEP makes to the posterior mean
    order: IntArray  # (n, capacity) the master list by posterior mean, best first
    size: IntArray  # (n,) length of the master list
    attainable: FloatArray  # (n,) the highest promise of a concept of the vocabulary that is not listed
    exemplars: FloatArray  # (n, dim)
    controls: FloatArray  # (n, controls) of the search half
    block: IntArray  # (n,) block of seeds that the images are drawn with
    image_embeddings: FloatArray  # (n, most_images, dim) all images of the episode, in the order of drawing
    image_activations: FloatArray  # (n, most_images)
    image_count: IntArray  # (n,)
    steps: IntArray  # (n,)
    user_left: IntArray  # (n,) concepts of the user that are not listed yet
    gains: FloatArray  # (n, RECENT) changes of the incumbent's posterior mean in the last steps, latest first
    since_gain: IntArray  # (n,) steps since it last rose

    @classmethod
    def empty(
        cls, n: int, rules: Rules, calibration: Calibration, dim: int, controls: int, structured: bool = False
    ) -> Self:
        """Return the state of n episodes before their first reset."""
        listed, images = rules.capacity(structured), max(1, rules.most_images)
        f = np.float32
        return cls(
            rules=rules,
            calibration=calibration,
            structured=structured,
            activations=np.zeros((n, listed, images), f),
            similarities=np.zeros((n, listed, images), f),
            counts=np.zeros((n, listed), np.intp),
            parts=np.full((n, listed, MOST_PHRASES), -1, np.intp),
            concepts=np.zeros((n, listed, dim), f),
            simulations=np.zeros((n, listed)),
            prices=np.zeros((n, listed)),
            cover=np.zeros((n, listed, 4)),
            excited=np.zeros((n, listed)),
            promises=np.zeros((n, listed)),
            drawn=np.zeros((n, listed, dim), f),
            born=np.zeros((n, listed), np.intp),
            from_user=np.zeros((n, listed), bool),
            scores=np.zeros((n, listed)),
            errors=np.zeros((n, listed)),
            means=np.full((n, listed), -np.inf),
            deviations=np.zeros((n, listed)),
            unsettled=np.zeros((n, listed)),
            reaches=np.zeros((n, listed)),
            order=np.tile(np.arange(listed), (n, 1)),
            size=np.zeros(n, np.intp),
            attainable=np.zeros(n),
            exemplars=np.zeros((n, dim), f),
            controls=np.zeros((n, controls), f),
            block=np.zeros(n, np.intp),
            image_embeddings=np.zeros((n, images, dim), f),
            image_activations=np.zeros((n, images), f),
            image_count=np.zeros(n, np.intp),
            steps=np.zeros(n, np.intp),
            user_left=np.zeros(n, np.intp),
            gains=np.zeros((n, RECENT)),
            since_gain=np.zeros(n, np.intp),
        )

    def clear(self, rows: IntArray) -> None:
        """Set the given rows back to the state before the first reset."""
        dim, controls = self.concepts.shape[2], self.controls.shape[1]
        fresh = self.empty(1, self.rules, self.calibration, dim, controls, self.structured)
        for name, array in vars(self).items():
            if isinstance(array, np.ndarray):
                array[rows] = getattr(fresh, name)
