"""The search of the labels of the algebra against brute force over all of them, with random weights."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from dnr_env.algebra import text_of
from dnr_env.evidence.lab import Lab
from dnr_env.scenes.config import ScenesConfig
from dnr_env.scenes.label_search import LabelSearch
from dnr_env.scenes.stack import scenes_stack
from dnr_env.scores import GROUNDED_ALPHA
from dnr_env.seeds import Purpose
from dnr_env.shapes.weighing import log_k
from dnr_env.stack import Stack
from dnr_env.structure import Phrase, Structure
from dnr_env.types import FloatArray

SAID = [
    "red thing",
    "star",
    "thing on grass",
    "striped thing",
    "small thing",
    "blue circle",
    "warm square",
    "dotted bar",
    "red star",
]
SILENT = {"thing", "on", "but", "not"}


@pytest.fixture(scope="module")
def scenes(scene_weights: None) -> Stack:
    return scenes_stack("scenes", ScenesConfig())


@pytest.fixture(scope="module")
def search(scenes: Stack) -> LabelSearch:
    return LabelSearch(SAID, scenes.embedder, scenes.language, scenes.probes.held_out)


@pytest.fixture(scope="module")
def drawn(scenes: Stack) -> FloatArray:
    """(phrases, neurons)"""
    lab = Lab(scenes.lab.generator, scenes.lab.reader)
    seeds = Purpose.ORACLE.rows(10, np.zeros(len(SAID), int))
    return np.stack([log_k(scenes.probe, seen) for seen in lab.measure(concepts=SAID, seeds=seeds).activations])


@pytest.fixture(scope="module")
def everything() -> list[str]:
    """Every label of the algebra."""
    implied = {"red star": {"red thing", "star"}}  # and each phrase implies itself
    phrases = [
        Phrase(one, other) for one in SAID for other in (None, *SAID) if other not in {one, *implied.get(one, set())}
    ]
    pairs = [
        (one, other)
        for one, other in itertools.combinations(phrases, 2)
        if one.drawn != other.drawn
        and not any(a.drawn in implied.get(b.drawn, ()) for a, b in ((one, other), (other, one)))
    ]
    return [text_of(Structure(some)) for some in [*((phrase,) for phrase in phrases), *pairs]]


def brute_force(scenes: Stack, labels: list[str], neuron: int, drawn: FloatArray) -> FloatArray:
    """(labels,) values by the definition: parts are drawn separately and count alike, real images decide the rest.

    The words of a label, of a union those of its phrases on average, cost 0.04 each.
    """
    of = {noun: drawn[row, neuron] for row, noun in enumerate(SAID)}
    means = [np.mean([of[noun] for noun in scenes.language.parts(label).drawn]) for label in labels]
    simulation = scenes.texts.simulation(scenes.probes.held_out, labels, np.full(len(labels), neuron))
    words = [np.mean([len(set(said.split()) - SILENT) for said in label.split(" or ")]) for label in labels]
    return GROUNDED_ALPHA * np.array(means) + (1 - GROUNDED_ALPHA) * simulation - 0.04 * np.array(words)


@pytest.mark.parametrize("name", ["layer1:3", "layer4:7", "planted:22", "planted:38"])
def test_the_search_finds_what_brute_force_finds(
    scenes: Stack, search: LabelSearch, drawn: FloatArray, everything: list[str], name: str
) -> None:
    neuron = scenes.neurons.index(name)
    values = brute_force(scenes, everything, neuron, drawn)
    found = search.best(neuron, drawn[:, neuron], 5)
    ours = search.values("grounded_k", found, neuron, drawn[:, neuron])
    np.testing.assert_allclose(ours, brute_force(scenes, found, neuron, drawn), atol=1e-6)
    assert (np.diff(ours) <= 0).all()
    assert ours[0] >= values.max() - 1e-5
    assert len({frozenset(scenes.language.parts(label).drawn) for label in found}) == len(found)
