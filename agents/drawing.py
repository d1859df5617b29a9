"""The part that loops of the literature share: what is listed is measured before the loop goes on."""

from __future__ import annotations

import numpy as np

from dnr_env.agents.base import Agent, Observation, column
from dnr_env.env.rules import Action, Rules
from dnr_env.types import BoolArray, FloatArray, IntArray

SLOTS_ID = "DnR/RefineSlots-v0"


class DrawingAgent(Agent):
    """Base class of loops that measure every concept when it is listed, as published loops do.

    The environment lists concepts undrawn. Such a loop draws each slot once, best promise first, before its own first
    choice, and draws a new concept before its next one. When the budget masks KEEP, it goes on without drawing.
    Subclasses implement `choose`.
    """

    env_id = SLOTS_ID

    def act(
        self, observation: Observation, memory: FloatArray, masks: BoolArray | None, deterministic: bool
    ) -> IntArray:
        """KEEP an undrawn slot, or else act as the loop chooses."""
        waits, slot = undrawn(observation, masks)
        chosen = np.column_stack([np.full(len(slot), Action.KEEP), slot])
        rows = np.flatnonzero(~waits)
        if len(rows):
            remembered = memory[rows]
            seen = {key: value[rows] for key, value in observation.items()}
            chosen[rows] = self.choose(seen, remembered, None if masks is None else masks[rows], rows)
            memory[rows] = remembered
        return chosen

    def choose(self, observation: Observation, memory: FloatArray, masks: BoolArray | None, rows: IntArray) -> IntArray:
        """Choose actions and slots (b, 2) where every slot is drawn, or none can be.

        Args:
            observation: The observations of these b episodes.
            memory: Their memory, as in `act`.
            masks: Their masks, as in `act`.
            rows: (b,) their places in the batch, for what `watch` has stored.
        """
        raise NotImplementedError

    def most_measurements(self, rules: Rules, candidates: int) -> int:
        """Return the most KEEPs: one of each candidate, and one of each mutant."""
        if self.mutations is None:
            return super().most_measurements(rules, candidates)
        return min(rules.most_measurements, candidates + self.mutations)


def undrawn(observation: Observation, masks: BoolArray | None) -> tuple[BoolArray, IntArray]:
    """Find whether a slot can and should be drawn for the first time (n,), and the first such slot (n,)."""
    lacking = (column(observation, "present") > 0) & (column(observation, "images") == 0)
    waits: BoolArray = lacking.any(axis=1)
    if masks is not None:
        waits &= masks[:, Action.KEEP]
    return waits, lacking.argmax(axis=1)


def by_drawings(observation: Observation) -> IntArray:
    """Order the slots (n, slots) by the score of their drawings alone, best first, and those without drawings last."""
    drawn = (column(observation, "present") > 0) & (column(observation, "images") > 0)
    order: IntArray = np.argsort(np.where(drawn, -column(observation, "score"), np.inf), axis=1, kind="stable")
    return order
