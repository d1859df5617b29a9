"""Fixed loops and heuristics that play episodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dnr_env.agents.base import Agent, Observation, column, dice, progress, slot_texts
from dnr_env.env.rules import Action, Rules
from dnr_env.scores import dnd_selection
from dnr_env.types import BoolArray, FloatArray, IntArray

SLOTS_ID = "DnR/RefineSlots-v0"


class StopAgent(Agent):
    """Takes the best of the first candidates without refining them."""

    name = "stop"
    measurements = 0

    def act(
        self, observation: Observation, memory: FloatArray, masks: BoolArray | None, deterministic: bool
    ) -> IntArray:
        """STOP in every episode."""
        return np.full(len(memory), Action.STOP)


class RandomAgent(Agent):
    """Takes a random action among those that have an effect."""

    name = "random"

    def act(
        self, observation: Observation, memory: FloatArray, masks: BoolArray | None, deterministic: bool
    ) -> IntArray:
        """Choose a random unmasked action in every episode."""
        allowed = np.ones((len(memory), len(Action)), bool) if masks is None else masks
        return np.array(
            [dice(observation, memory, row).choice(np.flatnonzero(mask)) for row, mask in enumerate(allowed)]
        )


class DnDAgent(Agent):
    """Describe-and-Dissect: measures five candidates on ten images each and applies its own selection rule.

    Source: Bai et al. 2025 and the published code. The rule is `dnr_env.scores.dnd_selection`.
    """

    name = "dnd"
    env_id = SLOTS_ID
    env_options: Mapping[str, Any] = {"n_slots": 5}
    mutates = False
    images = 10

    def most_measurements(self, rules: Rules, candidates: int) -> int:
        """Count the measurements until each candidate has ten images."""
        each = -(-self.images // rules.images_per_measure) - 1
        return min(rules.most_measurements, candidates * each)

    def __init__(self) -> None:
        self._seen: tuple[FloatArray, FloatArray] = (np.zeros((0, 0, 0)), np.zeros((0, 0, 0)))
        self._texts: Sequence[Sequence[str]] = ()
        self._ranked: dict[int, list[str]] = {}

    def watch(self, infos: Mapping[str, Any]) -> None:
        """Store the texts, and the activations and similarities (n, slots, images), for the selection rule."""
        self._texts = slot_texts(infos)
        one, other = (infos[key].reshape(-1, *infos[key].shape[-2:]) for key in ("activations", "similarities"))
        self._seen = (one, other)

    def act(
        self, observation: Observation, memory: FloatArray, masks: BoolArray | None, deterministic: bool
    ) -> IntArray:
        """KEEP the first slot with fewer than ten images, then STOP on the slot that the rule selects."""
        activations, similarities = self._seen
        measured = (similarities != 0).sum(axis=2)
        present = column(observation, "present") > 0
        lacking = present & (measured < self.images)
        slot = lacking.argmax(axis=1)
        action = np.where(lacking.any(axis=1), Action.KEEP, Action.STOP)
        if masks is not None:
            action = np.where(masks[:, Action.KEEP], action, Action.STOP)
        for row in np.flatnonzero(action == Action.STOP).tolist():
            which = np.flatnonzero(present[row])
            used = min(self.images, int(measured[row, which].min()))
            chosen = dnd_selection(activations[row, which, :used], similarities[row, which, :used])
            slot[row] = which[chosen.argmax()]
            self._ranked[row] = [self._texts[row][which[i]] for i in np.argsort(-chosen, kind="stable")]
        return np.column_stack([action, slot])

    def ranking(self, row: int, concepts: Sequence[tuple[str, float]], label: str) -> list[str]:
        """Rank the concepts by the selection rule, or by score if the budget ended the episode first."""
        ranked = self._ranked.pop(row, [])
        return ranked if ranked[:1] == [label] else super().ranking(row, concepts, label)


class DnRAgent(Agent):
    """Describe-and-Refine's loop: mutates the best concepts and continues while their mean score rises.

    An iteration mutates the slots from the best to the `top`-th, each by its rank at that time. The loop stops after an
    iteration that has not raised the mean score of the best `top` concepts. The label is the best concept.

    Args:
        top: The number of slots that an iteration mutates.
    """

    name = "dnr"
    env_id = SLOTS_ID
    state_size = 2  # position in the iteration, mean score when it began

    def __init__(self, top: int = 3) -> None:
        self.top = top

    def act(
        self, observation: Observation, memory: FloatArray, masks: BoolArray | None, deterministic: bool
    ) -> IntArray:
        """MUTATE the slots in turn; STOP if an iteration has not gained anything."""
        first = progress(observation, "steps_left") == 1
        present = column(observation, "present")[:, : self.top]
        mean = column(observation, "score")[:, : self.top].sum(axis=1) / present.sum(axis=1)
        done = memory[:, 0] == present.shape[1]
        stop = done & (mean <= memory[:, 1])
        begins = first | done
        memory[begins, 0] = 0
        memory[begins, 1] = mean[begins]
        slot = np.where(stop, 0, memory[:, 0]).astype(int)
        memory[:, 0] += 1
        filled = present[np.arange(len(slot)), slot] > 0
        return np.column_stack([np.where(stop, Action.STOP, Action.MUTATE), np.where(filled, slot, 0)])


class PatienceAgent(Agent):
    """Mutates until `patience` consecutive steps have brought no gain."""

    state_size = 1

    def __init__(self, patience: int) -> None:
        self.patience = patience
        self.name = f"patience:{patience}"

    def act(
        self, observation: Observation, memory: FloatArray, masks: BoolArray | None, deterministic: bool
    ) -> IntArray:
        """MUTATE, or STOP after `patience` steps without a gain."""
        return np.where(steps_since_gain(observation, memory) >= self.patience, Action.STOP, Action.MUTATE)


def steps_since_gain(observation: Observation, memory: FloatArray) -> IntArray:
    """Count the steps (n,) since the incumbent's score last rose, in the first column of `memory`."""
    gained = (progress(observation, "gain_0") > 0) | (progress(observation, "steps_left") == 1)
    memory[:, 0] = np.where(gained, 0, memory[:, 0] + 1)
    return memory[:, 0].astype(int)


class AnnealedAgent(Agent):
    """Simulated annealing: mutates a slot sampled by score, with a falling temperature, to leave local optima.

    The temperature falls linearly with the steps left (Kirkpatrick et al. 1983).

    Args:
        temperature: The initial temperature, in units of the score. The final one is a twentieth of it.
        patience: The agent stops after this number of consecutive steps without a gain.
    """

    name = "annealed"
    env_id = SLOTS_ID
    state_size = 1

    def __init__(self, temperature: float = 0.05, patience: int = 6) -> None:
        self.temperature = temperature
        self.patience = patience

    def act(
        self, observation: Observation, memory: FloatArray, masks: BoolArray | None, deterministic: bool
    ) -> IntArray:
        """MUTATE a slot sampled from the softmax of the scores, or STOP after `patience` steps without a gain."""
        impatient = steps_since_gain(observation, memory) >= self.patience
        temperature = self.temperature * np.maximum(progress(observation, "steps_left"), 0.05)
        worth = column(observation, "score") / temperature[:, None]
        worth = np.where(column(observation, "present") > 0, worth, -np.inf)
        chance = np.exp(worth - worth.max(axis=1, keepdims=True))
        chance /= chance.sum(axis=1, keepdims=True)
        slot = np.array([dice(observation, memory, row).choice(chance.shape[1], p=p) for row, p in enumerate(chance)])
        slot[impatient] = 0
        return np.column_stack([np.where(impatient, Action.STOP, Action.MUTATE), slot])
