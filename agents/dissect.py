"""Labels from real images and a vocabulary alone: no generator, no language model, no episode."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np

from agents.base import Agent
from dnr_env.describe.dissect import PENALTY, TEMPERATURE, TOP, linear_explanation, soft_wpmi, strongest
from dnr_env.stacks import Stack


def most_promising(stack: Stack, neurons: Sequence[str], score: str, count: int) -> list[list[str]]:
    """The concepts of the vocabulary with the highest promises for each neuron, best first."""
    words, names = list(stack.words.concepts), stack.lab.reader.neurons
    found: dict[str, list[str]] = {}
    for neuron in dict.fromkeys(neurons):
        promises = stack.foretell(words, np.full(len(words), names.index(neuron)), score)
        found[neuron] = [words[i] for i in np.argsort(-promises, kind="stable")[:count]]
    return [found[neuron] for neuron in neurons]


class PromiseAgent(Agent):
    """The concepts for which a linear model of the real images predicts the highest score; nothing is drawn.

    The mutator `informed` starts from the same model.
    """

    name = "promise"

    def labels(self, stack: Stack, neurons: Sequence[str], score: str) -> list[list[str]]:
        """The best words of each neuron, best first."""
        return most_promising(stack, neurons, score, 3)


class ClipDissectAgent(Agent):
    """The words whose similarities with the probe images best fit a neuron's strongest images, by soft WPMI.

    Source: Oikarinen and Weng 2023, "CLIP-Dissect".

    Args:
        top: how many of the strongest images count.
        temperature: how sharply an image decides between words.
        penalty: what a word's being common counts.
    """

    def __init__(self, top: int = TOP, temperature: float = TEMPERATURE, penalty: float = PENALTY) -> None:
        self.top, self.temperature, self.penalty = top, temperature, penalty
        published = (top, temperature, penalty) == (TOP, TEMPERATURE, PENALTY)
        self.name = "clip-dissect" if published else f"clip-dissect:{top}:{temperature:g}:{penalty:g}"

    def labels(self, stack: Stack, neurons: Sequence[str], score: str) -> list[list[str]]:
        """The best words of each neuron, best first."""
        best = self._best(stack)
        return [best[neuron] for neuron in neurons]

    @cache  # noqa: B019 (an agent lives as long as its run)
    def _best(self, stack: Stack) -> dict[str, list[str]]:
        # All neurons at once: how common a word is, which is taken off, is a mean over them.
        words, probe = stack.words.concepts, stack.probe
        images = np.concatenate([strongest(probe.real(part).T, self.top) for part in probe.blocks()])
        texts = stack.words.embeddings.astype(np.float32)
        scores = soft_wpmi(images, probe.alive, probe.embeddings, texts, self.temperature, self.penalty)
        best = np.argsort(-scores, axis=1, kind="stable")[:, :3]
        return {
            name: [words[i] for i in row] for name, row in zip(stack.lab.reader.neurons, best.tolist(), strict=True)
        }


class LinearAgent(Agent):
    """The words whose weighted similarities explain a neuron's activations on all probe images, heaviest first.

    Source: Oikarinen and Weng 2024, "Linear Explanations for Individual Neurons".

    Args:
        joined: whether the label is all of an explanation's words in one phrase, as far as a stack can draw it, and not
            the heaviest alone.
    """

    def __init__(self, joined: bool = False) -> None:
        self.joined = joined
        self.name = "linear-joined" if joined else "linear"

    def labels(self, stack: Stack, neurons: Sequence[str], score: str) -> list[list[str]]:
        """The phrase that joins each neuron's explanation, then its words; for one that none fits, the first word."""
        found = self._words(stack, neurons)
        if not self.joined:
            return found
        return [list(dict.fromkeys([stack.normalise(", ".join(words)), *words])) for words in found]

    def _words(self, stack: Stack, neurons: Sequence[str]) -> list[list[str]]:
        words, texts = list(stack.words.concepts), stack.words.embeddings.astype(np.float32)
        places = {name: place for place, name in enumerate(stack.lab.reader.neurons)}
        real = stack.probe.real(np.array([places[neuron] for neuron in neurons])).T
        explained = linear_explanation(real, stack.probe.embeddings, texts, words)
        return [[word for word, _ in terms] or words[:1] for terms in explained]
