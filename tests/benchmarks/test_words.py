"""A price per word makes labels shorter, and its table counts what the labels say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from words import labels_of_scenes, labels_of_shapes, measure, table

from dnr_env.evidence.vocabulary import Vocabulary
from dnr_env.scenes import find_optimum as in_scenes
from dnr_env.scenes.config import ScenesConfig
from dnr_env.scenes.planted import FORMULAS
from dnr_env.scenes.stack import scenes_stack
from dnr_env.shapes import find_optimum as in_shapes
from dnr_env.stack import Stack

SAID = [
    "red thing",
    "star",
    "thing on grass",
    "striped thing",
    "red striped thing",
    "red star",
    "striped star on grass",
]
PRICES = (0.0, 0.04, 0.3, 10.0)


def saying(stack: Stack) -> Stack:
    """The stack, with a few noun phrases as its vocabulary."""
    few = Vocabulary(lambda: SAID, stack.embedder, stack.probes, stack.vocabulary.length)
    return replace(stack, vocabulary=few)


@pytest.fixture(scope="module")
def scenes(scene_weights: None) -> Stack:
    return scenes_stack("scenes", ScenesConfig())


@pytest.mark.slow
def test_each_label_of_shapes_gets_shorter_with_the_price(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(in_shapes, "_POOL", 1000)
    neurons = stack.neurons.select("layer3:train")
    found = labels_of_shapes(saying(stack), neurons, PRICES)
    lengths = np.array([[stack.language.length(label) for label in found[price]] for price in PRICES])
    assert (np.diff(lengths, axis=0) <= 0).all()
    assert lengths[0].mean() > lengths[1].mean() > 1
    assert (lengths[-1] == 1).all()


@pytest.mark.slow
def test_the_best_labels_of_scenes_get_shorter_with_the_price(scenes: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(in_scenes, "_POOL", 300)
    monkeypatch.setattr(in_scenes, "_REAL_IMAGES", 300)
    neurons = scenes.neurons.select("layer4:0-9,planted:20-29")
    found = labels_of_scenes(saying(scenes), neurons, PRICES)
    lengths = np.array([[scenes.language.length(label) for label in found[price]] for price in PRICES])
    means = lengths.mean(axis=1)
    assert means[0] > means[1] > means[2]
    assert (lengths[-1] == 1).all()
    free = [scenes.language.parts(label) for label in found[0.0]]
    assert any(phrase.excluded for label in free for phrase in label.phrases)
    assert not any("but not" in label for label in found[10.0])


def test_the_table_counts_what_labels_say(scenes: Stack) -> None:
    formulas = ["red thing", "red star | 0.6 blue circle", "warm thing & !striped thing"]
    names = [*(f"planted:{FORMULAS.index(formula)}" for formula in formulas), "layer4:0"]
    neurons = [scenes.neurons.index(name) for name in names]
    labels = ["red thing", "warm star", "blue ring or warm thing but not striped thing", "star or thing on grass"]
    result = measure(scenes, neurons, labels)
    assert result.f1[:2] == pytest.approx([1, 0.75])  # precision 0.6 and recall 1
    assert result.parts.tolist() == [0.5]
    assert result.words.tolist() == [1, 2, 2, 1]
    assert (result.unions, result.exceptions) == (0.5, 0.25)
    assert (len(result.planted), len(result.channels)) == (3, 1)
    own, real = scenes.judge_embedder, scenes.probes.held_out
    assert own is not None
    assert result.planted[0] == own.simulation(real, ["red thing"], np.array(neurons[:1]))[0][0]


def test_worlds_without_parts_name_none(stack: Stack) -> None:
    neurons = stack.neurons.select("planted:0-2,layer4:0-1")
    result = measure(stack, neurons, ["red thing"] * 5)
    cells = [cell.strip() for cell in table({"shapes": {0.04: result}}).splitlines()[-1].split("|")]
    assert cells[1:3] == ["shapes", "0.04"]
    assert cells[4:8] == ["", "1.00", "0%", "0%"]
