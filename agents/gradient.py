"""Rules at full strength: list what costs nothing, then draw as long as the posterior says that it pays."""

from __future__ import annotations

import numpy as np

from dnr_env.agents.base import Agent, Observation, column, keeps_left, price_of_keep
from dnr_env.agents.joint import Evidence, Joint
from dnr_env.env.rules import Action
from dnr_env.interfaces import Kind
from dnr_env.types import BoolArray, FloatArray, IntArray

EDITS_ID = "DnR/RefineEdits-v0"
_LEAST = 1e-12  # variances below this are none


class ListingAgent(Agent):
    """Base class of rules that first list concepts, a user's too, which is free, and then draw the slot that pays most.

    They read observations alone, so they play any stack. Subclasses choose the kinds of the mutations by `kinds`, and
    value drawings by `assess`.

    Args:
        mutations: The number of concepts to list.
    """

    env_id = EDITS_ID
    state_size = 1  # mutations so far

    def __init__(self, mutations: int) -> None:
        self.mutations: int = mutations

    def act(
        self, observation: Observation, memory: FloatArray, masks: BoolArray | None, deterministic: bool
    ) -> IntArray:
        """ADD what a user has, MUTATE the incumbent, then KEEP the slot that pays most; STOP when none pays."""
        adds = np.zeros(len(memory), bool) if masks is None else masks[:, Action.ADD]
        lists = (memory[:, 0] < self.mutations) & ~adds
        allowed = np.ones((len(memory), len(Kind)), bool) if masks is None else masks[:, -len(Kind) :]
        kinds = self.kinds(observation, memory, lists, allowed)
        memory[:, 0] += lists
        chosen = np.column_stack((np.full(len(memory), int(Action.MUTATE)), np.zeros(len(memory), int), kinds))
        chosen[adds, 0] = Action.ADD
        rows = np.flatnonzero(~lists & ~adds)
        if len(rows):
            gain, slot, label = self.assess({key: value[rows] for key, value in observation.items()})
            draws = gain > 0 if masks is None else (gain > 0) & masks[rows, Action.KEEP]
            chosen[rows, 0] = np.where(draws, Action.KEEP, Action.STOP)
            chosen[rows, 1] = np.where(draws, slot, label)
        return chosen

    def kinds(self, observation: Observation, memory: FloatArray, lists: BoolArray, allowed: BoolArray) -> IntArray:
        """Choose the kind (n,) of the next mutation, for the rows that list one. Here it is what the model promises.

        Args:
            observation: The observations of n episodes.
            memory: Their memory, as in `act`.
            lists: (n,) which of them list a concept now.
            allowed: (n, kinds) the kinds that can change the incumbent.
        """
        return np.full(len(memory), int(Kind.MODEL))

    def assess(self, observation: Observation) -> tuple[FloatArray, IntArray, IntArray]:
        """Return the highest gain (b,) of drawing a slot, less its price; that slot (b,); and the best label (b,)."""
        raise NotImplementedError


class ImproveAgent(ListingAgent):
    """Expected improvement: lists what the model promises, then draws the slot whose next drawing gains most.

    The gain of slot i is the expected rise of the best posterior mean after one KEEP, less its price c:

        E[max(μ_i', μ*)] - max_j μ_j - c,   μ* = max of μ_j over j ≠ i,   μ_i' ~ N(μ_i, r_i²),

    with μ the column `mean`. The expected rise is the column `worth`. The agent stops when no gain is positive. The
    label has the highest posterior mean. Source: Jones, Schonlau and Welch 1998, "Efficient Global Optimization", with
    the noisy case of Frazier, Powell and Dayanik 2008.
    """

    def __init__(self, mutations: int = 8) -> None:
        super().__init__(mutations)
        self.name = f"improve:{mutations}"

    def assess(self, observation: Observation) -> tuple[FloatArray, IntArray, IntArray]:
        """Read the column `worth`."""
        worth = column(observation, "worth").astype(float)
        slot: IntArray = worth.argmax(axis=1)
        return worth.max(axis=1) - price_of_keep(observation), slot, np.zeros(len(slot), int)


class GradientAgent(ListingAgent):
    """Knowledge gradient with look-ahead, KG(*), on a joint model of the neuron's concepts.

    One KEEP may change no decision although several would, because the expected rise is not concave in their number.
    So the gain of slot i is that of its best number of further KEEPs,

        max over k of  E[max_j μ_j after k more KEEPs of slot i] - max_j μ_j - k c.

    The agent draws the slot with the highest gain once, then decides anew, and stops when none is positive. The means μ
    and their changes are those of `dnr_env.agents.joint.Joint`, and the label has the highest of these means. Its
    inputs follow from the observation (`evidence_of`). Source: Frazier and Powell 2010, "Paradoxes in Learning and
    the Marginal Value of Information".

    Args:
        mutations: The number of concepts to list.
        look: The most KEEPs of one slot that the agent considers together.
        spread: The share of the promise's error variance that is each concept's own is spread · (1 - s²)², at most 1,
            with s the highest simulation of a slot. Where real images explain the neuron well, the order of its best
            promises is hardly in doubt. Measured on 105 train neurons of `shapes`: the own errors deviate by 0.043
            for s of 0.5 to 0.6, by 0.033 to 0.7, and by 0.009 above 0.8.
        doubt: The degrees of freedom of the prior on a neuron's scale of errors.
    """

    def __init__(self, mutations: int = 8, look: int = 4, spread: float = 1.5, doubt: float = 8.0) -> None:
        super().__init__(mutations)
        self.look, self.spread, self.doubt = look, spread, doubt
        self.name = f"gradient:{mutations}:{look}:{spread:g}:{doubt:g}"

    def assess(self, observation: Observation) -> tuple[FloatArray, IntArray, IntArray]:
        """Value every number of further KEEPs of every slot by the joint model."""
        price, left = price_of_keep(observation), keeps_left(observation)
        explained = np.square(np.maximum(column(observation, "simulation").astype(float).max(axis=1), 0))
        alike = 1 - np.minimum(self.spread * np.square(1 - explained), 1)
        n = len(explained)
        gains, slots, labels = np.zeros(n), np.zeros(n, int), np.zeros(n, int)
        for row, evidence in enumerate(evidence_of(observation)):
            joint = Joint(evidence, float(alike[row]), self.doubt)
            ahead = np.arange(1, self.look + 1)
            net = np.where(ahead <= left[row], joint.rises(self.look) - price[row] * ahead, 0.0).max(axis=1)
            gains[row], slots[row], labels[row] = net.max(), net.argmax(), joint.mean.argmax()
        return gains, slots, labels


def evidence_of(observation: Observation) -> list[Evidence]:
    """Recover promises, results and noise of the drawings from the columns of the observation.

    Let q² be the unsettled variance of a slot, r its reach, n its number of KEEPs. The noise variance of one KEEP is
    N = q⁴ / r² - q², the unsettled variance was q₀² = 1 / (1 / q² - n / N) before anything was drawn, and the mean is
    promise + (1 - q² / q₀²) (result - promise).

    Args:
        observation: The observations of n episodes.

    Returns:
        For each episode, the evidence on its present slots.
    """
    names = ("promise", "mean", "unsettled", "reach", "images", "present")
    promise, mean, unsettled, reach, images, present = (column(observation, name).astype(float) for name in names)
    variance = np.maximum(np.square(unsettled), _LEAST)
    noise = np.maximum(variance**2 / np.maximum(np.square(reach), _LEAST) - variance, _LEAST)
    prior = 1 / np.maximum(1 / variance - images / noise, 1e-3 / variance)
    weight = 1 - variance / prior
    moved = np.divide(mean - promise, weight, out=np.zeros(mean.shape), where=(images > 0) & (weight > 1e-3))
    found = []
    for row in range(len(mean)):
        which = slice(0, int(present[row].sum()))
        found.append(
            Evidence(
                promise=promise[row, which],
                result=(promise + moved)[row, which],
                keeps=np.rint(images[row, which]).astype(int),
                deviation=np.sqrt(prior[row, which]),
                noise=noise[row, which],
            )
        )
    return found
