"""The state of n parallel episodes as arrays: the measurements, their ranking, and the observation of them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from dnr_env.env.rules import Action, Rules
from dnr_env.scores import promise, score
from dnr_env.types import BoolArray, FloatArray, IntArray

SCORE_COLUMNS = (
    "score", "standard_error", "images", "age", "from_user", "present", "similarity", "specificity", "simulation"
)  # fmt: skip
"""The columns of the observation `scores`."""
RECENT = 4
PROGRESS = (
    "steps_left", "budget_left", "image_cost", "user_left", "since_gain", *(f"gain_{i}" for i in range(RECENT)),
    "headroom",
)  # fmt: skip
"""The entries of the observation `progress`."""
_LIMIT = 100.0  # the bound of `scores` and `progress` in the observation space


@dataclass
class State:
    """The arrays of n episodes. The second axis of most of them is the master list, in the order of measurement."""

    rules: Rules
    activations: FloatArray  # (n, capacity, most_images) normalised, zero where empty
    similarities: FloatArray  # (n, capacity, most_images) cosine with the exemplars
    counts: IntArray  # (n, capacity) images measured
    concepts: FloatArray  # (n, capacity, dim) unit embeddings of the texts
    attainable: FloatArray  # (n,) the share of the score that the best simulation in the vocabulary earns
    simulations: FloatArray  # (n, capacity) correlations of the texts with the neuron over the probe set
    drawn: FloatArray  # (n, capacity, dim) sums of the image embeddings
    born: IntArray  # (n, capacity) step at which the concept was added
    from_user: BoolArray  # (n, capacity)
    scores: FloatArray  # (n, capacity)
    errors: FloatArray  # (n, capacity)
    order: IntArray  # (n, capacity) the master list by score, best first
    size: IntArray  # (n,) length of the master list
    exemplars: FloatArray  # (n, dim)
    controls: FloatArray  # (n, controls)
    block: IntArray  # (n,) block of seeds that the images are drawn with
    image_embeddings: FloatArray  # (n, all_images, dim) all images of the episode, in the order of drawing
    image_activations: FloatArray  # (n, all_images)
    image_count: IntArray  # (n,)
    steps: IntArray  # (n,)
    spent: IntArray  # (n,) images drawn for the agent after the initial measurement
    user_left: IntArray  # (n,) concepts of the user that are not measured yet
    gains: FloatArray  # (n, RECENT) changes of the incumbent's score in the last steps, latest first
    since_gain: IntArray  # (n,) steps since the incumbent's score last rose

    @classmethod
    def empty(cls, n: int, rules: Rules, dim: int, controls: int) -> State:
        """Return the state of n episodes before their first reset."""
        listed, images, everything = rules.capacity, rules.most_images, rules.all_images
        f = np.float32
        return cls(
            rules=rules,
            activations=np.zeros((n, listed, images), f),
            similarities=np.zeros((n, listed, images), f),
            counts=np.zeros((n, listed), np.intp),
            concepts=np.zeros((n, listed, dim), f),
            attainable=np.zeros(n),
            simulations=np.zeros((n, listed)),
            drawn=np.zeros((n, listed, dim), f),
            born=np.zeros((n, listed), np.intp),
            from_user=np.zeros((n, listed), bool),
            scores=np.full((n, listed), -np.inf),
            errors=np.zeros((n, listed)),
            order=np.tile(np.arange(listed), (n, 1)),
            size=np.zeros(n, np.intp),
            exemplars=np.zeros((n, dim), f),
            controls=np.zeros((n, controls), f),
            block=np.zeros(n, np.intp),
            image_embeddings=np.zeros((n, everything, dim), f),
            image_activations=np.zeros((n, everything), f),
            image_count=np.zeros(n, np.intp),
            steps=np.zeros(n, np.intp),
            spent=np.zeros(n, np.intp),
            user_left=np.zeros(n, np.intp),
            gains=np.zeros((n, RECENT)),
            since_gain=np.zeros(n, np.intp),
        )

    def clear(self, rows: IntArray) -> None:
        """Set the given rows back to the state before the first reset."""
        fresh = State.empty(1, self.rules, self.concepts.shape[2], self.controls.shape[1])
        for name, array in vars(self).items():
            if name != "rules":
                array[rows] = getattr(fresh, name)

    @property
    def incumbent(self) -> IntArray:
        """(n,) the place in the master list of the concept with the best score on the images seen."""
        return self.order[:, 0].copy()

    def join(self, rows: IntArray, embeddings: FloatArray, simulations: FloatArray) -> IntArray:
        """Append concepts to master lists.

        Args:
            rows: (b,) episodes. One that occurs more than once gets its concepts in their order.
            embeddings: (b, dim).
            simulations: (b,).

        Returns:
            (b,) places of the concepts in the master lists.
        """
        places = self.size[rows] + occurrence(rows)
        self.concepts[rows, places] = embeddings
        self.simulations[rows, places] = simulations
        self.born[rows, places] = self.steps[rows]
        np.add.at(self.size, rows, 1)
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
            rows: (b,) episodes.
            places: (b,) places in their master lists. No (row, place) occurs twice.
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
        seen = self.image_count[row] + s * occurrence(rows)[:, None] + new
        self.image_embeddings[row, seen] = embeddings
        self.image_activations[row, seen] = activations
        np.add.at(self.image_count, rows, s)
        self.scores[rows, places], self.errors[rows, places] = score(
            self.rules.score,
            activations=self.activations[rows, places],
            counts=self.counts[rows, places],
            m=self.rules.images_per_measure,
            similarities=self.similarities[rows, places],
            controls=self.controls[rows],
            simulations=self.simulations[rows, places],
        )
        changed = np.unique(rows)
        # Scores often tie where a neuron saturates; the simulation on real images breaks the ties.
        self.order[changed] = np.lexsort((-self.simulations[changed], -self.scores[changed]))

    def masks(self) -> BoolArray:
        """(n, 4) which actions have an effect. STOP always has one."""
        can_draw = (self.rules.budget - self.spent >= self.rules.images_per_measure) & (
            self.steps < self.rules.max_steps
        )
        out = np.repeat(can_draw[:, None], len(Action), axis=1)
        out[:, Action.ADD] &= self.user_left > 0
        out[:, Action.STOP] = True
        return out

    def observe(self) -> dict[str, FloatArray]:
        """Return the observation: `concepts`, `scores`, `exemplars` and `progress`, float32, each with n rows."""
        rules, n, k = self.rules, len(self.steps), self.rules.n_slots
        row, slot = np.arange(n)[:, None], self.order[:, :k]
        present = slot < self.size[:, None]
        counts = np.maximum(self.counts[row, slot], 1)
        columns = (
            self.scores[row, slot],
            self.errors[row, slot],
            self.counts[row, slot] / rules.images_per_measure,
            (self.steps[:, None] - self.born[row, slot]) / rules.max_steps,
            self.from_user[row, slot],
            present,
            self.similarities[row, slot].sum(axis=2) / counts,
            np.linalg.norm(self.drawn[row, slot], axis=2) / counts,
            self.simulations[row, slot],
        )
        scores = np.where(present[..., None], np.stack(columns, axis=2), 0.0)
        progress = np.column_stack(
            (
                (rules.max_steps - self.steps) / rules.max_steps,
                (rules.budget - self.spent) / 100,
                np.full(n, 1000 * rules.image_cost),
                self.user_left,
                self.since_gain / rules.max_steps,
                self.gains,
                self._headroom(),
            )
        )
        return {
            "concepts": np.where(present[..., None], self.concepts[row, slot], np.float32(0)),
            "scores": np.clip(scores, -_LIMIT, _LIMIT).astype(np.float32),
            "exemplars": self.exemplars.copy(),
            "progress": np.clip(progress, -_LIMIT, _LIMIT).astype(np.float32),
        }

    def _headroom(self) -> FloatArray:
        """(n,) the score that the incumbent would gain with the best simulation in the vocabulary, tried or not."""
        held = self.simulations[np.arange(len(self.order)), self.order[:, 0]]
        counted = promise(self.rules.score, np.zeros(len(held)), lambda: held)
        return np.maximum(self.attainable - counted, 0.0)  # a user's concept may beat the whole vocabulary

    def note_gain(self, rows: IntArray, before: FloatArray) -> None:
        """Close a step of b rows. Their incumbents had the scores `before` when the step began."""
        gain = self.scores[rows, self.incumbent[rows]] - before
        self.gains[rows, 1:] = self.gains[rows, :-1]
        self.gains[rows, 0] = gain
        self.since_gain[rows] = np.where(gain > 0, 0, self.since_gain[rows] + 1)
        self.steps[rows] += 1


def occurrence(rows: IntArray) -> IntArray:
    """(b,) how often each element occurred earlier in the array."""
    met: Counter[int] = Counter()
    before = np.empty(len(rows), np.intp)
    for i, row in enumerate(rows.tolist()):
        before[i] = met[row]
        met[row] += 1
    return before
