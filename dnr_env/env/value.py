"""The held-out value of a concept: what the reward pays for, and what no agent sees."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dnr_env.env.rules import Rules
from dnr_env.evidence.sight import see
from dnr_env.scores import score
from dnr_env.seeds import Purpose
from dnr_env.stack import Stack
from dnr_env.structure import parts_of
from dnr_env.types import FloatArray, IntArray

_KEPT = 1 << 17  # values


class Values:
    """Held-out values, each computed once: episodes often return to the same labels.

    Args:
        stack: the models.
        rules: the score and its drawings.
    """

    def __init__(self, stack: Stack, rules: Rules) -> None:
        self._stack, self._rules = stack, rules
        self._known: dict[tuple[str, int, int], float] = {}

    def of(self, texts: Sequence[str], neurons: IntArray, blocks: IntArray) -> FloatArray:
        """(b,) the values of `held_out_value`. The value of a concept does not depend on the others."""
        if len(self._known) + len(texts) > _KEPT:
            self._known = {}
        asked = list(zip(texts, neurons.tolist(), blocks.tolist(), strict=True))
        if new := [one for one in dict.fromkeys(asked) if one not in self._known]:
            named, of, block = zip(*new, strict=True)
            found = held_out_value(self._stack, self._rules, texts=named, neurons=np.array(of), blocks=np.array(block))
            self._known.update(zip(new, found.tolist(), strict=True))
        return np.array([self._known[one] for one in asked])


def held_out_value(
    stack: Stack, rules: Rules, *, texts: Sequence[str], neurons: IntArray, blocks: IntArray
) -> FloatArray:
    """(b,) scores of concepts on drawings of reward seeds and on the held-out half of the real images.

    The parts of a label are drawn separately, with the same seeds, and count alike.

    Args:
        stack: the models.
        rules: the score, its subset size, and the number of drawings of each noun phrase.
        texts: b concepts, at least one.
        neurons: (b,) indices.
        blocks: (b,) blocks of reward seeds.
    """
    held_out = stack.probes.held_out
    simulations = stack.texts.simulation(held_out, texts, neurons)
    parts = parts_of(texts, stack.language.parts)
    lengths = np.array([stack.language.length(text) for text in texts])
    which, seeds = neurons[parts.labels], Purpose.REWARD.rows(rules.reward_images, blocks[parts.labels])
    seen = see(stack.lab, stack.probe, concepts=parts.texts, neurons=which, seeds=seeds)
    return parts.mean(
        score(
            rules.score,
            activations=seen.activations,
            counts=np.full(len(which), rules.reward_images),
            m=rules.images_per_measure,
            similarities=seen.similarities,
            controls=held_out.controls[which],
            simulations=simulations[parts.labels],
            lengths=lengths[parts.labels],
        )[0]
    )
