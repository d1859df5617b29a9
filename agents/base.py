"""What an agent is: Stable-Baselines3's `predict`, for one observation or for a batch."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dnr_env.episode import PROGRESS, SCORE_COLUMNS
from dnr_env.models import Suggestion
from dnr_env.stacks import Stack
from dnr_env.types import BoolArray, FloatArray, IntArray

Observation = Mapping[str, FloatArray]
State = tuple[FloatArray, ...]


class Agent:
    """Chooses actions. Subclasses implement `act` on batches."""

    name = "agent"
    env_id = "DnR/Refine-v0"
    """The environment whose actions it gives."""
    env_options: Mapping[str, Any] = {}
    """Arguments of the environment that it asks for, whatever the caller gives."""
    fingerprint = ""
    """Tells apart learned policies of one name; empty for those that are always the same."""
    state_size = 0
    """Numbers that it remembers of each episode."""
    starts: int | None = None
    """Concepts of its own that an episode begins with, at most; None if it starts from the writer's candidates."""
    measurements: int | None = None
    """Measurements after the first, at most; None where the rules alone bound them."""

    @property
    def plays(self) -> bool:
        """Whether it plays episodes; one that does not has `labels` alone."""
        return type(self).act is not Agent.act

    def start(self, seeds: Sequence[int]) -> State:
        """The state to begin with where the agent's own dice are to depend on the episodes' seeds, one each."""
        return (np.column_stack([np.zeros((len(seeds), self.state_size)), np.asarray(seeds, float)]),)

    def predict(
        self,
        observation: Observation,
        state: State | None = None,
        episode_start: BoolArray | None = None,
        deterministic: bool = True,
        action_masks: BoolArray | None = None,
    ) -> tuple[IntArray, State | None]:
        """Actions for observations.

        Args:
            observation: of one episode, or of n with n rows first.
            state: what the last call returned; None at the beginning.
            episode_start: (n,) bool, which episodes have just begun; none but the first call's, if None.
            deterministic: whether a learned policy takes its likeliest action.
            action_masks: (n, actions) bool, as the environment's `action_masks()`; None allows all.

        Returns:
            One action or n, and the state for the next call.
        """
        single = observation["progress"].ndim == 1
        if single:
            observation = {key: value[None] for key, value in observation.items()}
            action_masks = None if action_masks is None else np.asarray(action_masks)[None]
        n = len(observation["progress"])
        memory = (self.start([0] * n) if state is None else state)[0].copy()
        if episode_start is not None:
            memory[np.atleast_1d(episode_start), :-1] = 0
        actions = self.act(observation, memory, action_masks, deterministic)
        return (actions[0] if single else actions), (memory,)

    def act(
        self, observation: Observation, memory: FloatArray, masks: BoolArray | None, deterministic: bool
    ) -> IntArray:
        """(n,) actions, or (n, 2) with slots.

        `memory` (n, state_size + 1) is changed in place; it is zero where an episode begins, but for the last column,
        the seed of the agent's dice.
        """
        raise NotImplementedError

    def prepare(self, stack: Stack, neurons: Sequence[str], score: str) -> Sequence[Mapping[str, Any]]:
        """See the neurons of the episodes that are about to begin, as far as real images show them.

        Returns:
            The options that each episode is to be reset with, such as its `concepts`.
        """
        return [{}] * len(neurons)

    def watch(self, infos: Mapping[str, Any]) -> None:
        """See the information of the step before `predict` is asked; only loops that select by images need it."""

    def suggestions(self) -> Mapping[int, Suggestion]:
        """Concepts of its own that the ADD of the last `predict` is to take, by the row of the episode."""
        return {}

    def ranking(self, row: int, concepts: Sequence[tuple[str, float]], label: str) -> list[str]:
        """The concepts of an episode that has ended, the label first.

        Args:
            row: of the batch.
            concepts: the master list, texts with scores.
            label: what the episode ended with.
        """
        by_score = sorted(concepts, key=lambda concept: (concept[0] != label, -concept[1]))
        return [text for text, _ in by_score]

    def labels(self, stack: Stack, neurons: Sequence[str], score: str) -> list[list[str]] | None:
        """Each neuron's label and further choices, by an agent that needs no episode; None for one that plays."""
        return None


class MeasuringAgent(Agent):
    """An agent that counts in images and so has to know how many one measurement has."""

    _drawn: IntArray = np.zeros(0, int)

    def watch(self, infos: Mapping[str, Any]) -> None:
        """Keep how many images have been drawn."""
        self._drawn = np.atleast_1d(infos["images"])

    def size(self, observation: Observation, row: int) -> int:
        """Images of one measurement, by an observation that an episode begins with."""
        return int(self._drawn[row]) // round(float(column(observation, "images")[row].sum()))


def slot_texts(infos: Mapping[str, Any]) -> list[Sequence[str]]:
    """(n) the texts of each episode's slots, best first and "" where empty, of the information of one episode or n."""
    concepts = infos["concepts"]
    return list(concepts) if isinstance(concepts, np.ndarray) else [concepts]


def column(observation: Observation, name: str) -> FloatArray:
    """(n, slots) one column of the observation `scores`."""
    values: FloatArray = observation["scores"][..., SCORE_COLUMNS.index(name)]
    return values


def progress(observation: Observation, name: str) -> FloatArray:
    """(n,) one entry of the observation `progress`."""
    values: FloatArray = observation["progress"][..., PROGRESS.index(name)]
    return values


def dice(observation: Observation, memory: FloatArray, row: int) -> np.random.Generator:
    """A random generator that depends on the seed and on what is seen: an episode goes the same in any batch."""
    seen = observation["scores"][row].tobytes() + observation["progress"][row].tobytes() + memory[row, -1].tobytes()
    return np.random.default_rng(zlib.crc32(seen))
