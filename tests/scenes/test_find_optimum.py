"""The table of best labels, made with random weights from a few phrases, against brute force over all labels."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dnr_env.algebra import text_of
from dnr_env.evidence.lab import Lab
from dnr_env.evidence.vocabulary import Vocabulary
from dnr_env.scenes import find_optimum, networks
from dnr_env.scenes.config import PRESETS, ScenesConfig
from dnr_env.scenes.optimum import optimum
from dnr_env.scenes.render import SceneRenderer
from dnr_env.scenes.stack import real_images, scenes_stack
from dnr_env.scores import GROUNDED_ALPHA
from dnr_env.seeds import Purpose
from dnr_env.shapes.optimum import SCORES
from dnr_env.shapes.weighing import log_k
from dnr_env.stack import Stack
from dnr_env.structure import Phrase, Structure

SAID = ["red thing", "star", "thing on grass", "striped thing", "blue circle"]
SILENT = {"thing", "on", "but", "not"}
POOL, IMAGES, REAL = 600, 20, 300


@pytest.mark.slow
def test_the_best_label_is_that_of_brute_force_or_as_good(scene_weights: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(find_optimum, "_POOL", POOL)
    monkeypatch.setattr(find_optimum, "_FINAL_IMAGES", IMAGES)
    monkeypatch.setattr(find_optimum, "_REAL_IMAGES", REAL)
    usual = scenes_stack("scenes", ScenesConfig())
    stack = replace(usual, vocabulary=Vocabulary(lambda: SAID, usual.embedder, usual.probes))
    best = find_optimum.search(stack)
    assert set(best) == set(SCORES)
    assert all(list(labels) == list(stack.neurons) for labels in best.values())
    assert set(best["log_k"].values()) <= set(SAID)
    labels = everything()
    real = real_images(Lab(SceneRenderer(), stack.lab.reader), Purpose.ORACLE.seeds(POOL + IMAGES, REAL))
    drawn = drawn_again(stack)
    words = np.array([np.mean([len(set(said.split()) - SILENT) for said in label.split(" or ")]) for label in labels])
    below = []
    for name in ("layer1:3", "layer3:8", "layer4:7", "planted:22"):
        neuron = stack.neurons.index(name)
        simulation = stack.texts.simulation(real, labels, np.full(len(labels), neuron))
        means = [np.mean([drawn[noun][neuron] for noun in stack.language.parts(label).drawn]) for label in labels]
        weighed = GROUNDED_ALPHA * np.array(means) + (1 - GROUNDED_ALPHA) * simulation
        values = dict(zip(labels, weighed - 0.04 * words, strict=True))
        below.append(max(values.values()) - values[best["grounded_k"][name]])
        assert drawn[best["log_k"][name]][neuron] == max(drawn[noun][neuron] for noun in SAID)
    assert np.median(below) < 1e-5
    assert max(below) < 0.02


def everything() -> list[str]:
    """Every label of the algebra, in its canonical text."""
    phrases = [Phrase(one, other) for one in sorted(SAID) for other in (None, *SAID) if one != other]
    pairs = [pair for pair in itertools.combinations(phrases, 2) if pair[0].drawn != pair[1].drawn]
    return [text_of(Structure(some)) for some in [*((phrase,) for phrase in phrases), *pairs]]


def drawn_again(stack: Stack) -> dict[str, np.ndarray]:
    """What the final drawings say of each phrase."""
    lab = Lab(stack.lab.generator, stack.lab.reader)
    seeds = np.tile(Purpose.ORACLE.seeds(POOL, IMAGES), (len(SAID), 1))
    seen = lab.measure(concepts=SAID, seeds=seeds).activations
    return {noun: log_k(stack.probe, each) for noun, each in zip(SAID, seen, strict=True)}


def test_a_shipped_table_belongs_to_one_preset(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(networks, "DATA", tmp_path)
    table = {score: {"layer1:0": f"red thing or {word}"} for score, word in zip(SCORES, ("star", "bar"), strict=True)}
    (tmp_path / "optimum-scenes-few.json").write_text(json.dumps(table), encoding="utf-8")
    assert optimum(PRESETS["scenes-few"], "grounded_k") == {"layer1:0": "red thing or star"}
    assert optimum(PRESETS["scenes-few"], "log_k") == {"layer1:0": "red thing or bar"}
    assert optimum(PRESETS["scenes-few"], "auc") == {}
    assert optimum(PRESETS["scenes"], "grounded_k") == {}
    assert optimum(ScenesConfig("residual", 0), "grounded_k") == {}
