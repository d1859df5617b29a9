"""The rules of refinement, on arrays: n episodes side by side, and no model in sight."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from enum import IntEnum
from typing import Literal, get_args

import numpy as np

from dnr_env.errors import DnRError, unknown
from dnr_env.scores import check_score, promise, score
from dnr_env.types import BoolArray, FloatArray, IntArray


class Action(IntEnum):
    """What an agent may do with the incumbent, or with a slot."""

    KEEP = 0
    """Measure more images of the concept."""
    MUTATE = 1
    """Make a new concept from it and the evidence, and measure that."""
    ADD = 2
    """Measure the next concept of the user."""
    STOP = 3
    """End the episode; the concept is the label."""


_LIMITS = {
    "n_slots": (1, 64),
    "images_per_measure": (1, 200),
    "budget": (0, 10**9),
    "max_steps": (1, 1000),
    "reward_images": (1, 1000),
}
RewardMode = Literal["held_out", "observed", "none"]


@dataclass(frozen=True)
class Rules:
    """What an episode may cost and how it is scored."""

    n_slots: int = 8
    """Candidates that the agent sees, the best by score; also how many an episode begins with at most."""
    images_per_measure: int = 5
    """Images that one measurement draws; also the subset size m of the score."""
    budget: int = 100
    """Images that the agent may have drawn after the initial measurement."""
    max_steps: int = 24
    """Actions of an episode."""
    image_cost: float = 0.0005
    """What one image takes off the reward."""
    score: str = "grounded_k"
    """The score of a concept, one of `dnr_env.scores.SCORES`."""
    reward: str = "held_out"
    """"held_out": gain on images the agent never sees; "observed": on its own; "none": the bill alone."""
    reward_images: int = 20
    """Images that a concept's held-out value is taken on."""

    def __post_init__(self) -> None:
        for option, (least, most) in _LIMITS.items():
            value = getattr(self, option)
            if not isinstance(value, int) or not least <= value <= most:
                raise DnRError(f"{option}: {value!r} cannot be used; a whole number from {least} to {most} will do")
        if not isinstance(self.image_cost, (int, float)) or not 0 <= self.image_cost <= 1:
            raise DnRError(f"image_cost: {self.image_cost!r} is no price; a number from 0 to 1 will do")
        if self.reward not in get_args(RewardMode):
            raise unknown("reward", self.reward, get_args(RewardMode))
        if self.reward_images < self.images_per_measure:
            least = self.images_per_measure
            raise DnRError(f"reward_images: {self.reward_images} is too few to compare; {least} or more will do")
        check_score(self.score)

    @property
    def capacity(self) -> int:
        """Length of the longest master list."""
        return self.n_slots + self.max_steps

    @property
    def most_images(self) -> int:
        """Images of one concept at most."""
        return self.images_per_measure * (1 + self._measurements)

    @property
    def all_images(self) -> int:
        """Images of one episode at most."""
        return self.images_per_measure * (self.n_slots + self._measurements)

    @property
    def _measurements(self) -> int:
        """Measurements after the initial ones at most."""
        return min(self.max_steps, self.budget // self.images_per_measure)


SCORE_COLUMNS = (
    "score", "standard_error", "images", "age", "from_user", "present", "similarity", "specificity", "simulation"
)  # fmt: skip
"""Columns of the observation `scores`."""
RECENT = 4
PROGRESS = (
    "steps_left", "budget_left", "image_cost", "user_left", "since_gain", *(f"gain_{i}" for i in range(RECENT)),
    "headroom",
)  # fmt: skip
"""Entries of the observation `progress`."""
_LIMIT = 100.0  # no entry of an observation is beyond this


@dataclass
class State:
    """n episodes. The second axis of most arrays is the master list, in the order of measurement."""

    rules: Rules
    activations: FloatArray  # (n, capacity, most_images) normalised, zero where empty
    similarities: FloatArray  # (n, capacity, most_images) cosine with the exemplars
    counts: IntArray  # (n, capacity) images measured
    concepts: FloatArray  # (n, capacity, dim) unit embeddings of the texts
    attainable: FloatArray  # (n,) what the most simulation of any concept of the vocabulary counts for in the score
    simulations: FloatArray  # (n, capacity) correlations of the texts with the neuron over the probe set
    drawn: FloatArray  # (n, capacity, dim) sums of the images' embeddings
    born: IntArray  # (n, capacity) step at which the concept joined
    from_user: BoolArray  # (n, capacity)
    scores: FloatArray  # (n, capacity)
    errors: FloatArray  # (n, capacity)
    order: IntArray  # (n, capacity) the master list by score, best first
    size: IntArray  # (n,) length of the master list
    exemplars: FloatArray  # (n, dim)
    controls: FloatArray  # (n, controls)
    block: IntArray  # (n,) the block of seeds that the episode's images are drawn with
    image_embeddings: FloatArray  # (n, all_images, dim) all images of the episode, as they came
    image_activations: FloatArray  # (n, all_images)
    image_count: IntArray  # (n,)
    steps: IntArray  # (n,)
    spent: IntArray  # (n,) images drawn for the agent after the initial measurement
    user_left: IntArray  # (n,) concepts that the user still has to give
    gains: FloatArray  # (n, RECENT) change of the incumbent's score in the last steps, latest first
    since_gain: IntArray  # (n,) steps since it last rose

    @classmethod
    def empty(cls, n: int, rules: Rules, dim: int, controls: int) -> State:
        """N episodes that have not begun."""
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
        """Forget the episodes of some rows."""
        fresh = State.empty(1, self.rules, self.concepts.shape[2], self.controls.shape[1])
        for name, array in vars(self).items():
            if name != "rules":
                array[rows] = getattr(fresh, name)

    @property
    def incumbent(self) -> IntArray:
        """(n,) place in the master list of the concept that is best by the images seen."""
        return self.order[:, 0].copy()

    def join(self, rows: IntArray, embeddings: FloatArray, simulations: FloatArray) -> IntArray:
        """Put concepts at the end of master lists: (b,) rows, (b, dim) embeddings, (b,) simulations.

        Returns (b,) places. A row that occurs more than once gets its concepts in their order.
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
        """Take s new images of b concepts into account, and score and rank again.

        Args:
            rows: (b,) episodes.
            places: (b,) places in their master lists; no (row, place) occurs twice.
            activations: (b, s) normalised.
            embeddings: (b, s, dim).
            similarities: (b, s) cosines with the row's exemplars.
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
            self.activations[rows, places],
            self.counts[rows, places],
            self.rules.images_per_measure,
            self.similarities[rows, places],
            self.controls[rows],
            self.simulations[rows, places],
        )
        changed = np.unique(rows)
        # Equal scores are common where a neuron saturates: real images decide between them.
        self.order[changed] = np.lexsort((-self.simulations[changed], -self.scores[changed]))

    def masks(self) -> BoolArray:
        """(n, 4) which actions have an effect. STOP always has."""
        can_draw = (self.rules.budget - self.spent >= self.rules.images_per_measure) & (
            self.steps < self.rules.max_steps
        )
        out = np.repeat(can_draw[:, None], len(Action), axis=1)
        out[:, Action.ADD] &= self.user_left > 0
        out[:, Action.STOP] = True
        return out

    def observe(self) -> dict[str, FloatArray]:
        """The agent's view: `concepts`, `scores`, `exemplars`, `progress`, float32, each with n rows first."""
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
        """(n,) how far the incumbent's simulation is behind the best of the vocabulary, tried or not, in the score."""
        held = self.simulations[np.arange(len(self.order)), self.order[:, 0]]
        counted = promise(self.rules.score, np.zeros(len(held)), lambda: held)
        return np.maximum(self.attainable - counted, 0.0)  # a user's concept may be better than the vocabulary's

    def note_gain(self, rows: IntArray, before: FloatArray) -> None:
        """Close a step of some rows, whose incumbents scored `before` (b,) when it began."""
        gain = self.scores[rows, self.incumbent[rows]] - before
        self.gains[rows, 1:] = self.gains[rows, :-1]
        self.gains[rows, 0] = gain
        self.since_gain[rows] = np.where(gain > 0, 0, self.since_gain[rows] + 1)
        self.steps[rows] += 1


def occurrence(rows: IntArray) -> IntArray:
    """(b,) how often each element has occurred before."""
    met: Counter[int] = Counter()
    before = np.empty(len(rows), np.intp)
    for i, row in enumerate(rows.tolist()):
        before[i] = met[row]
        met[row] += 1
    return before
