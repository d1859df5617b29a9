"""Fixed loops and heuristics that play episodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dnr_env.agents.base import Agent, Observation, column, dice, measure_size, progress, slot_texts
from dnr_env.agents.drawing import SLOTS_ID, DrawingAgent, by_drawings
from dnr_env.env.rules import Action, Rules
from dnr_env.scores import dnd_selection
from dnr_env.types import BoolArray, FloatArray, IntArray


class StopAgent(Agent):
    """Draws nothing and takes the writer's candidate that real images promise most."""

    name = "stop"
    measurements = 0
    mutations = 0

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

    The label is the rule's choice among the candidates that have drawings; without any, the best promise.
    Source: Bai et al. 2025 and the published code. The rule is `dnr_env.scores.dnd_selection`.
    """

    name = "dnd"
    env_id = SLOTS_ID
    env_options: Mapping[str, Any] = {"n_slots": 5}
    mutations = 0
    images = 10

    def most_measurements(self, rules: Rules, candidates: int) -> int:
        """Count the measurements until each candidate has ten images."""
        each = -(-self.images // rules.images_per_measure)
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
        present = column(observation, "present") > 0
        measured = np.rint(column(observation, "images") * measure_size(observation)[:, None]).astype(int)
        lacking = present & (measured < self.images)
        slot = lacking.argmax(axis=1)
        action = np.where(lacking.any(axis=1), Action.KEEP, Action.STOP)
        if masks is not None:
            action = np.where(masks[:, Action.KEEP], action, Action.STOP)
        for row in np.flatnonzero(action == Action.STOP).tolist():
            which = np.flatnonzero(measured[row] > 0)
            if not len(which):
                slot[row] = 0
                continue
            used = min(self.images, int(measured[row, which].min()))
            chosen = dnd_selection(activations[row, which, :used], similarities[row, which, :used])
            slot[row] = which[chosen.argmax()]
            self._ranked[row] = [self._texts[row][which[i]] for i in np.argsort(-chosen, kind="stable")]
        return np.column_stack([action, slot])

    def ranking(self, row: int, concepts: Sequence[tuple[str, float]], label: str) -> list[str]:
        """Rank the concepts by the selection rule, or by posterior mean if nothing was drawn."""
        ranked = self._ranked.pop(row, [])
        return ranked if ranked[:1] == [label] else super().ranking(row, concepts, label)


class DnRAgent(DrawingAgent):
    """Describe-and-Refine's loop: mutates the best concepts and continues while their mean score rises.

    An iteration mutates the concepts from the best to the `top`-th, each by its rank at that time. The loop stops after
    an iteration that has not raised the mean score of the best `top` concepts. Concepts are ranked by the score of
    their drawings, and so is the label: it is the best concept by drawings alone.

    Args:
        top: The number of concepts that an iteration mutates.
    """

    name = "dnr"
    state_size = 3  # begun, position in the iteration, mean score when it began

    def __init__(self, top: int = 3) -> None:
        self.top = top

    def choose(self, observation: Observation, memory: FloatArray, masks: BoolArray | None, rows: IntArray) -> IntArray:
        """MUTATE the best concepts in turn; STOP on the best if an iteration has not gained anything."""
        order = by_drawings(observation)
        best = order[:, : self.top]
        each = np.arange(len(order))[:, None]
        drawn = column(observation, "images")[each, best] > 0
        total = np.where(drawn, column(observation, "score")[each, best], 0.0).sum(axis=1)
        mean = total / np.maximum(drawn.sum(axis=1), 1)
        first, done = memory[:, 0] == 0, memory[:, 1] == best.shape[1]
        stop = done & (mean <= memory[:, 2])
        begins = first | done
        memory[begins, 1] = 0
        memory[begins, 2] = mean[begins]
        rank = np.where(stop, 0, memory[:, 1]).astype(int)
        memory[:, 0] = 1
        memory[:, 1] += 1
        slot = order[each[:, 0], rank]
        filled = column(observation, "present")[each[:, 0], slot] > 0
        slot = np.where(filled, slot, order[:, 0])
        return np.column_stack([np.where(stop, Action.STOP, Action.MUTATE), slot])


class PatienceAgent(DrawingAgent):
    """Mutates the incumbent until `patience` consecutive mutations have not raised its posterior mean.

    The label is the incumbent: the concept with the highest posterior mean.
    """

    state_size = 2  # mutations without a gain, and the incumbent's mean before the last one

    def __init__(self, patience: int) -> None:
        self.patience = patience
        self.name = f"patience:{patience}"

    def choose(self, observation: Observation, memory: FloatArray, masks: BoolArray | None, rows: IntArray) -> IntArray:
        """MUTATE, or STOP after `patience` mutations without a gain."""
        stop = mutations_without_gain(observation, memory) >= self.patience
        return np.column_stack([np.where(stop, Action.STOP, Action.MUTATE), np.zeros(len(stop), int)])


def mutations_without_gain(observation: Observation, memory: FloatArray) -> IntArray:
    """Count the consecutive mutations (n,) that have not raised the incumbent's posterior mean.

    Call it once before each mutation. The first two columns of `memory` hold one more than the count (0 before the
    first call) and the mean at the last call.
    """
    mean = column(observation, "mean")[:, 0]
    gained = (memory[:, 0] == 0) | (mean > memory[:, 1])
    memory[:, 0] = np.where(gained, 1, memory[:, 0] + 1)
    memory[:, 1] = mean
    return memory[:, 0].astype(int) - 1


class AnnealedAgent(DrawingAgent):
    """Simulated annealing: mutates a slot sampled by its mean, with a falling temperature, to leave local optima.

    The temperature falls linearly with the steps left (Kirkpatrick et al. 1983). The label is the concept with the
    highest posterior mean.

    Args:
        temperature: The initial temperature, in units of the score. The final one is a twentieth of it.
        patience: The agent stops after this number of consecutive mutations without a gain.
    """

    name = "annealed"
    state_size = 2

    def __init__(self, temperature: float = 0.05, patience: int = 6) -> None:
        self.temperature = temperature
        self.patience = patience

    def choose(self, observation: Observation, memory: FloatArray, masks: BoolArray | None, rows: IntArray) -> IntArray:
        """MUTATE a slot sampled from the softmax of the means, or STOP after `patience` mutations without a gain."""
        impatient = mutations_without_gain(observation, memory) >= self.patience
        temperature = self.temperature * np.maximum(progress(observation, "steps_left"), 0.05)
        worth = column(observation, "mean") / temperature[:, None]
        worth = np.where(column(observation, "present") > 0, worth, -np.inf)
        chance = np.exp(worth - worth.max(axis=1, keepdims=True))
        chance /= chance.sum(axis=1, keepdims=True)
        slot = np.array([dice(observation, memory, row).choice(chance.shape[1], p=p) for row, p in enumerate(chance)])
        slot[impatient] = 0
        return np.column_stack([np.where(impatient, Action.STOP, Action.MUTATE), slot])
