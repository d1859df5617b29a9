"""Agents that label neurons from real images and a vocabulary, without generator, language model or episode."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np

from dnr_env.agents.base import Agent
from dnr_env.agents.explanations import PENALTY, TEMPERATURE, TOP, linear_explanation, soft_wpmi, strongest
from dnr_env.interfaces import Origin
from dnr_env.stack import Stack


class Labeller(Agent):
    """Base class of agents that label neurons without episodes and without drawing."""

    measurements = 0
    mutations = 0
    needs = ("embedder",)


def most_promising(stack: Stack, neurons: Sequence[str], score: str, count: int) -> list[list[str]]:
    """Find the concepts of the vocabulary with the highest promises for each neuron, best first.

    The promise is the mean of what real images say of a concept's value, before anything is drawn.
    """
    found = [stack.prior.leading(stack.neurons.index(neuron), score, count) for neuron in neurons]
    return [[text for text, _ in leading] for leading in found]


class PromiseAgent(Labeller):
    """Chooses the concept of the vocabulary that real images promise most, by `Stack.prior`. Nothing is drawn."""

    name = "promise"

    def labels(self, stack: Stack, neurons: Sequence[str], score: str) -> list[list[str]]:
        """Return the three best words of each neuron, best first."""
        return most_promising(stack, neurons, score, 3)

    def origin(self, neuron: str) -> Origin:
        """Return "model"."""
        return "model"


class ClipDissectAgent(Labeller):
    """Chooses the word whose similarities with the probe images best fit a neuron's strongest images, by soft WPMI.

    Source: Oikarinen and Weng 2023, "CLIP-Dissect".

    Args:
        top: The number of strongest images to use.
        temperature: The factor on similarities before the softmax over words.
        penalty: The weight of the penalty on common words.
    """

    def __init__(self, top: int = TOP, temperature: float = TEMPERATURE, penalty: float = PENALTY) -> None:
        self.top, self.temperature, self.penalty = top, temperature, penalty
        published = (top, temperature, penalty) == (TOP, TEMPERATURE, PENALTY)
        self.name = "clip-dissect" if published else f"clip-dissect:{top}:{temperature:g}:{penalty:g}"

    def labels(self, stack: Stack, neurons: Sequence[str], score: str) -> list[list[str]]:
        """Return the three best words of each neuron, best first."""
        best = self._best(stack)
        return [best[neuron] for neuron in neurons]

    @cache  # noqa: B019 (an agent lives as long as its run)
    def _best(self, stack: Stack) -> dict[str, list[str]]:
        # All neurons at once, because the penalty on common words is a mean over neurons.
        words, probe = stack.vocabulary.concepts, stack.probe
        images = np.concatenate([strongest(probe.real(part).T, self.top) for part in probe.blocks()])
        texts = stack.vocabulary.embeddings.astype(np.float32)
        scores = soft_wpmi(images, probe.alive, probe.embeddings, texts, self.temperature, self.penalty)
        best = np.argsort(-scores, axis=1, kind="stable")[:, :3]
        return {name: [words[i] for i in row] for name, row in zip(stack.neurons, best.tolist(), strict=True)}


class LinearAgent(Labeller):
    """Chooses the words whose weighted similarities explain a neuron's activations on all probe images.

    Source: Oikarinen and Weng 2024, "Linear Explanations for Individual Neurons".

    Args:
        joined: Whether the label joins all words of an explanation, as far as the stack can draw them. Otherwise the
            label is the word with the largest weight.
    """

    def __init__(self, joined: bool = False) -> None:
        self.joined = joined
        self._explained: set[str] = set()
        self.name = "linear-joined" if joined else "linear"

    def labels(self, stack: Stack, neurons: Sequence[str], score: str) -> list[list[str]]:
        """Return the words by weight, after the joined phrase if there is one. The fallback is the first word."""
        found = self._words(stack, neurons)
        if not self.joined:
            return found
        return [list(dict.fromkeys([stack.language.normalise(", ".join(words)), *words])) for words in found]

    def _words(self, stack: Stack, neurons: Sequence[str]) -> list[list[str]]:
        words, texts = list(stack.vocabulary.concepts), stack.vocabulary.embeddings.astype(np.float32)
        real = stack.probe.real(stack.neurons.indices(neurons)).T
        explained = linear_explanation(real, stack.probe.embeddings, texts, words)
        self._explained = {neuron for neuron, terms in zip(neurons, explained, strict=True) if terms}
        return [[word for word, _ in terms] or words[:1] for terms in explained]

    def origin(self, neuron: str) -> Origin:
        """Return "model", or "vocabulary" if no word explains the neuron."""
        return "model" if neuron in self._explained else "vocabulary"
