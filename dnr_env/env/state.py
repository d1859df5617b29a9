"""The state of n parallel episodes as arrays: what is listed and measured, what follows from it, and their ranking."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from dnr_env.env.rules import Action, Rules
from dnr_env.evidence.calibration import Calibration
from dnr_env.interfaces import Kind
from dnr_env.scores import drawn_part
from dnr_env.scores import score as score_of
from dnr_env.types import BoolArray, FloatArray, IntArray

RECENT = 4
"""The number of changes of the incumbent's posterior mean that an observation holds."""


@dataclass
class State:
    """The arrays of n episodes. The second axis of most of them is the master list, in the order of listing."""

    rules: Rules
    calibration: Calibration
    activations: FloatArray  # (n, capacity, most_images) normalised, zero where empty
    similarities: FloatArray  # (n, capacity, most_images) cosine with the exemplars
    counts: IntArray  # (n, capacity) images drawn
    concepts: FloatArray  # (n, capacity, dim) unit embeddings of the texts
    simulations: FloatArray  # (n, capacity) correlations of the texts with the neuron over the search half
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
    def empty(cls, n: int, rules: Rules, calibration: Calibration, dim: int, controls: int) -> State:
        """Return the state of n episodes before their first reset."""
        listed, images = rules.capacity, max(1, rules.most_images)
        f = np.float32
        return cls(
            rules=rules,
            calibration=calibration,
            activations=np.zeros((n, listed, images), f),
            similarities=np.zeros((n, listed, images), f),
            counts=np.zeros((n, listed), np.intp),
            concepts=np.zeros((n, listed, dim), f),
            simulations=np.zeros((n, listed)),
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
        fresh = State.empty(1, self.rules, self.calibration, self.concepts.shape[2], self.controls.shape[1])
        for name, array in vars(self).items():
            if isinstance(array, np.ndarray):
                array[rows] = getattr(fresh, name)

    @property
    def incumbent(self) -> IntArray:
        """(n,) the place in the master list of the concept with the highest posterior mean."""
        return self.order[:, 0].copy()

    @property
    def hopeful(self) -> IntArray:
        """(n,) the place of the candidate with the highest upper bound: posterior mean + deviation."""
        row, slot = np.arange(len(self.steps))[:, None], self.order[:, : self.rules.n_slots]
        best = (self.means[row, slot] + self.deviations[row, slot]).argmax(axis=1)
        places: IntArray = slot[row[:, 0], best]
        return places

    def join(
        self, rows: IntArray, embeddings: FloatArray, simulations: FloatArray, excited: FloatArray, cover: FloatArray
    ) -> IntArray:
        """Append concepts to master lists, undrawn, and rank them.

        Args:
            rows: (b,) episodes. One that occurs more than once gets its concepts in their order.
            embeddings: (b, dim).
            simulations: (b,).
            excited: (b,) expected excitement, relative to that of the neuron's best concept.
            cover: (b, 4) coverage, its error, precision, its error.

        Returns:
            (b,) places of the concepts in the master lists.
        """
        places = self.size[rows] + occurrence(rows)
        self.concepts[rows, places] = embeddings
        self.simulations[rows, places] = simulations
        self.excited[rows, places] = excited
        self.cover[rows, places] = cover
        self.born[rows, places] = self.steps[rows]
        np.add.at(self.size, rows, 1)
        self._estimate(rows, places)
        self.promises[rows, places] = self.means[rows, places]
        return places

    def record(
        self,
        rows: IntArray,
        places: IntArray,
        activations: FloatArray,
        embeddings: FloatArray,
        similarities: FloatArray,
    ) -> None:
        """Record s new images of b concepts, then score and rank these concepts again.

        Args:
            rows: (b,) distinct episodes.
            places: (b,) places in their master lists.
            activations: (b, s) normalised activations.
            embeddings: (b, s, dim) image embeddings.
            similarities: (b, s) cosine similarities with the exemplars of the row.
        """
        s = activations.shape[1]
        new = np.arange(s)
        row, place = rows[:, None], places[:, None]
        at = self.counts[row, place] + new
        self.activations[row, place, at] = activations
        self.similarities[row, place, at] = similarities
        self.counts[rows, places] += s
        self.drawn[rows, places] += embeddings.sum(axis=1)
        seen = self.image_count[row] + new
        self.image_embeddings[row, seen] = embeddings
        self.image_activations[row, seen] = activations
        self.image_count[rows] += s
        self.scores[rows, places], self.errors[rows, places] = score_of(
            drawn_part(self.rules.score),
            activations=self.activations[rows, places],
            counts=self.counts[rows, places],
            m=self.rules.images_per_measure,
            similarities=self.similarities[rows, places],
            controls=self.controls[rows],
        )
        self._estimate(rows, places)

    def _estimate(self, rows: IntArray, places: IntArray) -> None:
        """Compute the posteriors of b concepts, and rank the master lists again."""
        score, counts = self.rules.score, self.counts[rows, places]
        excited, errors = self.excited[rows, places], self.errors[rows, places]
        found = self.calibration.posterior(
            score, excited, self.simulations[rows, places], self.scores[rows, places], errors, counts
        )
        self.means[rows, places], self.deviations[rows, places] = found
        self.unsettled[rows, places], self.reaches[rows, places] = self.calibration.movement(
            score, excited, errors, counts, self.rules.images_per_measure
        )
        changed = np.unique(rows)
        # Equal means are common where a neuron saturates; the simulation on real images breaks the ties.
        self.order[changed] = np.lexsort((-self.simulations[changed], -self.means[changed]))

    def masks(self, slots: bool, kinds: bool) -> BoolArray:
        """(n, 4) which actions have an effect; with `slots` also which slots hold a candidate; with `kinds` all kinds.

        STOP and MUTATE always have one.
        """
        n = len(self.steps)
        actions = np.ones((n, len(Action)), bool)
        actions[:, Action.KEEP] = self.rules.budget - self.image_count >= self.rules.images_per_measure
        actions[:, Action.ADD] = self.user_left > 0
        parts = [actions]
        if slots:
            parts.append(np.arange(self.rules.n_slots) < self.size[:, None])
        if kinds:
            parts.append(np.ones((n, len(Kind)), bool))
        return np.concatenate(parts, axis=1)

    def note_gain(self, rows: IntArray, before: FloatArray) -> None:
        """Close a step of b rows. Their incumbents had the posterior means `before` when the step began."""
        gain = self.means[rows, self.incumbent[rows]] - before
        self.gains[rows, 1:] = self.gains[rows, :-1]
        self.gains[rows, 0] = gain
        self.since_gain[rows] = np.where(gain > 0, 0, self.since_gain[rows] + 1)
        self.steps[rows] += 1


def occurrence(rows: IntArray) -> IntArray:
    """(b,) how often each element occurred earlier in the array."""
    counter: Counter[int] = Counter()
    out = np.empty(len(rows), np.intp)
    for i, row in enumerate(rows.tolist()):
        out[i] = counter[row]
        counter[row] += 1
    return out
