"""Labels at the ends of the scale: two that know nothing of the neuron, and the best there is."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

from agents.base import Agent
from dnr_env.errors import DnRError
from dnr_env.stacks import Stack


class ConstantAgent(Agent):
    """The vocabulary's first word for every neuron: what a label is worth that says nothing about the neuron."""

    name = "constant"

    def labels(self, stack: Stack, neurons: Sequence[str], score: str) -> list[list[str]]:
        """The same label for all."""
        return [[stack.vocabulary()[0]] for _ in neurons]


class RandomLabelAgent(Agent):
    """A random concept of the vocabulary for each neuron, by its name."""

    name = "random-label"

    def labels(self, stack: Stack, neurons: Sequence[str], score: str) -> list[list[str]]:
        """One label each, the same at every call."""
        words = stack.vocabulary()
        return [[words[zlib.crc32(neuron.encode()) % len(words)]] for neuron in neurons]


class OracleAgent(Agent):
    """The concept that brute force over the vocabulary has found best by the score: the ceiling, where it is known."""

    name = "oracle"

    def labels(self, stack: Stack, neurons: Sequence[str], score: str) -> list[list[str]]:
        """The best concept of each neuron."""
        best = stack.optimum(score)
        for neuron in neurons:
            if neuron not in best:
                raise DnRError(
                    f"agent: 'oracle' does not know the best concept of {neuron} by {score} on the stack "
                    f"{stack.name!r}; shapes with grounded_k or log_k will do"
                )
        return [[best[neuron]] for neuron in neurons]
