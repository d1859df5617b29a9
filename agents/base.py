"""The base class of agents: Stable-Baselines3's `predict`, for one observation or for a batch."""

from __future__ import annotations

import zlib
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from dnr_env.env.observe import PROGRESS, SCORE_COLUMNS
from dnr_env.env.rules import Rules
from dnr_env.interfaces import Origin, Suggestion
from dnr_env.stack import Stack
from dnr_env.types import BoolArray, FloatArray, IntArray

Observation = Mapping[str, FloatArray]
State = tuple[FloatArray, ...]


class Agent:
    """Base class of all agents. Subclasses implement `act` for batches of observations."""

    name = "agent"
    env_id = "DnR/Refine-v0"
    """The environment that it plays."""
    env_options: Mapping[str, Any] = {}
    """Environment arguments that the agent requires. They override those of the caller."""
    fingerprint = ""
    """Distinguishes policies of the same name. It is empty for agents that never change."""
    state_size = 0
    """Size of its memory per episode."""
    initial_concepts: int | None = None
    """The most initial concepts that it provides per episode; None if it starts from the writer's candidates."""
    measurements: int | None = None
    """The most KEEPs; None if only the rules limit them."""
    mutations: int | None = None
    """The most MUTATEs; None if only the rules limit them."""
    needs: Collection[str] = ("generator", "captioner", "embedder")
    """Parts of a stack that it requires, named as in `dnr_env.stack.Stack.missing`."""

    @property
    def plays(self) -> bool:
        """Whether it plays episodes. Other agents implement only `labels`."""
        return type(self).act is not Agent.act

    def most_measurements(self, rules: Rules, candidates: int) -> int:
        """Return the most KEEPs in an episode that begins with this number of candidates. Each draws images."""
        most = rules.most_measurements
        return most if self.measurements is None else min(most, self.measurements)

    def start(self, seeds: Sequence[int]) -> State:
        """Return the initial state, in which the agent's random numbers depend on the seed of each episode."""
        return (np.column_stack([np.zeros((len(seeds), self.state_size)), np.asarray(seeds, float)]),)

    def predict(
        self,
        observation: Observation,
        state: State | None = None,
        episode_start: BoolArray | None = None,
        deterministic: bool = True,
        action_masks: BoolArray | None = None,
    ) -> tuple[IntArray, State | None]:
        """Choose actions for observations.

        Args:
            observation: The observation of one episode, or of n episodes along the first axis.
            state: The state that the last call returned. None starts new episodes.
            episode_start: (n,) bool array of the episodes that have just begun. None means that no episode has begun
                since the last call.
            deterministic: Whether a learned policy takes its most probable action.
            action_masks: (n, actions) bool array, as `action_masks()` of the environment returns it. None allows all.

        Returns:
            One action or n actions, and the state for the next call.
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
        """Choose actions (n,), actions and slots (n, 2), or actions, slots and kinds of mutation (n, 3).

        Args:
            observation: The observations of n episodes.
            memory: (n, state_size + 1) array, which the agent updates in place. The last column is the seed of the
                agent's random numbers. The other columns are zero when an episode begins.
            masks: (n, actions) bool array of the allowed actions. None allows all.
            deterministic: Whether a learned policy takes its most probable action.
        """
        raise NotImplementedError

    def prepare(self, stack: Stack, neurons: Sequence[str], score: str) -> Sequence[Mapping[str, Any]]:
        """Prepare for the episodes that are about to begin, using real images only.

        Returns:
            The reset options of each episode, such as its `concepts` with their `origin`.
        """
        return [{}] * len(neurons)

    def watch(self, infos: Mapping[str, Any]) -> None:
        """Receive the infos of the last step, before `predict`. Only agents that need more than observations use it."""

    def suggestions(self) -> Mapping[int, Suggestion]:
        """Return the agent's own concepts for the ADD actions of the last `predict`, by row.

        A suggestion with a `failure` and the concept "" says that a writer was asked and had no answer.
        """
        return {}

    def origin(self, neuron: str) -> Origin:
        """Return where the last `labels` of a neuron come from, or the `suggestions` of an agent that plays."""
        return "vocabulary"

    def ranking(self, row: int, concepts: Sequence[tuple[str, float]], label: str) -> list[str]:
        """Rank the concepts of an episode that has ended, label first.

        Args:
            row: The row of the episode in the batch.
            concepts: The master list, as texts with posterior means.
            label: The label of the episode.
        """
        best_first = sorted(concepts, key=lambda concept: (concept[0] != label, -concept[1]))
        return [text for text, _ in best_first]

    def labels(self, stack: Stack, neurons: Sequence[str], score: str) -> list[list[str]] | None:
        """Label neurons without episodes: each label and the next choices. Agents that play episodes return None."""
        return None


def slot_texts(infos: Mapping[str, Any]) -> list[Sequence[str]]:
    """Return the texts of the slots of each episode, best first and "" if empty, from infos of one or n episodes."""
    concepts = infos["concepts"]
    return list(concepts) if isinstance(concepts, np.ndarray) else [concepts]


def column(observation: Observation, name: str) -> FloatArray:
    """Return one column (n, slots) of the observation `scores`."""
    values: FloatArray = observation["scores"][..., SCORE_COLUMNS.index(name)]
    return values


def progress(observation: Observation, name: str) -> FloatArray:
    """Return one entry (n,) of the observation `progress`."""
    values: FloatArray = observation["progress"][..., PROGRESS.index(name)]
    return values


def measure_size(observation: Observation) -> IntArray:
    """Return the number (n,) of images that one KEEP draws."""
    size: IntArray = np.rint(100 * progress(observation, "images_per_measure")).astype(int)
    return size


def keeps_left(observation: Observation) -> IntArray:
    """Return the number (n,) of KEEPs that the budget still allows."""
    images = np.rint(100 * progress(observation, "budget_left")).astype(int)
    left: IntArray = images // measure_size(observation)
    return left


def price_of_keep(observation: Observation) -> FloatArray:
    """Return the amount (n,) by which the images of one KEEP lower the reward, in units of the score."""
    price: FloatArray = progress(observation, "image_cost").astype(float) / 1000 * measure_size(observation)
    return price


def dice(observation: Observation, memory: FloatArray, row: int) -> np.random.Generator:
    """Make a random generator from seed and observation, so that an episode is the same in any batch."""
    seen = observation["scores"][row].tobytes() + observation["progress"][row].tobytes() + memory[row, -1].tobytes()
    return np.random.default_rng(zlib.crc32(seen))
