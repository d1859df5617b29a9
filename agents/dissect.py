"""Labels from real images and a vocabulary alone: no generator, no language model, no episode."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np

from agents.base import Agent
from dnr_env.describe.dissect import linear_explanation, soft_wpmi, strongest
from dnr_env.stacks import Stack


class ClipDissectAgent(Agent):
    """The words whose similarities with the probe images best fit a neuron's strongest images, by soft WPMI.

    Source: Oikarinen and Weng 2023, "CLIP-Dissect".
    """

    name = "clip-dissect"

    def labels(self, stack: Stack, neurons: Sequence[str], score: str) -> list[list[str]]:
        """The best words of each neuron, best first."""
        best = self._best(stack)
        return [best[neuron] for neuron in neurons]

    @cache  # noqa: B019 (an agent lives as long as its run)
    def _best(self, stack: Stack) -> dict[str, list[str]]:
        # All neurons at once: how common a word is, which is taken off, is a mean over them.
        words, probe = stack.words.concepts, stack.probe
        images = np.concatenate([strongest(probe.real(part).T) for part in probe.blocks()])
        scores = soft_wpmi(images, probe.alive, probe.embeddings, stack.words.embeddings.astype(np.float32))
        best = np.argsort(-scores, axis=1, kind="stable")[:, :3]
        return {
            name: [words[i] for i in row] for name, row in zip(stack.lab.reader.neurons, best.tolist(), strict=True)
        }


class LinearAgent(Agent):
    """The words whose weighted similarities explain a neuron's activations on all probe images, heaviest first.

    Source: Oikarinen and Weng 2024, "Linear Explanations for Individual Neurons".
    """

    name = "linear"

    def labels(self, stack: Stack, neurons: Sequence[str], score: str) -> list[list[str]]:
        """The words of each neuron's explanation; for a neuron that none fits, the vocabulary's first."""
        words, texts = list(stack.words.concepts), stack.words.embeddings.astype(np.float32)
        places = {name: place for place, name in enumerate(stack.lab.reader.neurons)}
        real = stack.probe.real(np.array([places[neuron] for neuron in neurons])).T
        explained = linear_explanation(real, stack.probe.embeddings, texts, words)
        return [[word for word, _ in terms] or words[:1] for terms in explained]
