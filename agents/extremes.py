"""Lower and upper bounds for other agents: labels chosen without looking at the neuron, and the best known label."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

from dnr_env.agents.labellers import Labeller
from dnr_env.errors import DnRError
from dnr_env.stack import Stack


class ConstantAgent(Labeller):
    """Labels every neuron with the first word of the vocabulary, as a lower bound."""

    name = "constant"

    def labels(self, stack: Stack, neurons: Sequence[str], score: str) -> list[list[str]]:
        """Return the same label for every neuron."""
        return [[stack.vocabulary.concepts[0]] for _ in neurons]


class RandomLabelAgent(Labeller):
    """Labels each neuron with a random concept of the vocabulary, as a lower bound."""

    name = "random-label"

    def labels(self, stack: Stack, neurons: Sequence[str], score: str) -> list[list[str]]:
        """Choose a concept by the hash of the neuron's name, so that it is always the same."""
        words = stack.vocabulary.concepts
        return [[words[zlib.crc32(neuron.encode()) % len(words)]] for neuron in neurons]


class OracleAgent(Labeller):
    """Labels each neuron with the concept that brute force over the vocabulary found best, as an upper bound."""

    name = "oracle"

    def labels(self, stack: Stack, neurons: Sequence[str], score: str) -> list[list[str]]:
        """Return the best concept of each neuron.

        Raises:
            DnRError: The best concept of a neuron is not known.
        """
        best = stack.known.optimum(score)
        for neuron in neurons:
            if neuron not in best:
                raise DnRError(
                    f"`agent` must not be 'oracle' unless the best concepts are known, as on shapes with grounded_k or "
                    f"log_k (got {neuron} on {stack.name!r} with {score})"
                )
        return [[best[neuron]] for neuron in neurons]
