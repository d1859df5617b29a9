"""Coverage and precision of concepts of a stack."""

from __future__ import annotations

import numpy as np

from dnr_env.evidence.covers import Covers
from dnr_env.stack import Stack


def test_a_pair_does_not_depend_on_the_others(stack: Stack) -> None:
    rng = np.random.default_rng(0)
    texts = [stack.vocabulary.concepts[i] for i in rng.integers(len(stack.vocabulary.concepts), size=9)]
    neurons = rng.integers(len(stack.neurons), size=9)
    together = stack.covers.of(texts, neurons)
    assert stack.covers.of([], neurons[:0]).coverage.shape == (0,)
    for i, text in enumerate(texts):
        alone = Covers(stack.vocabulary).of([text], neurons[i : i + 1])
        for one, other in zip(alone, together, strict=True):
            assert one[0] == other[i]


def test_a_planted_neuron_is_covered_by_its_formula(stack: Stack) -> None:
    names = [name for name in stack.neurons if name.startswith("planted") and stack.known.truth(name) == "striped"]
    found = stack.covers.of(["striped thing", "star"], np.repeat(stack.neurons.indices(names[:1]), 2))
    assert found.coverage[0] > 0.8 > found.coverage[1]
    assert found.precision[0] > found.precision[1]
