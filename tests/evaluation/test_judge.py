"""The judge, compared with an independent computation, and its results for dead or non-finite neurons."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import math
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from dnr_env.env.rules import Rules
from dnr_env.evaluation.judge import IMAGES, judge
from dnr_env.evaluation.report import write_label_report
from dnr_env.evidence.lab import Lab
from dnr_env.evidence.probe import Probe
from dnr_env.evidence.probe_source import ProbeSource
from dnr_env.scores import GROUNDED_ALPHA, SCORES
from dnr_env.seeds import Purpose
from dnr_env.shapes.lexicon import ANYTHING, FAMILIES, embed_words
from dnr_env.shapes.render import Renderer
from dnr_env.stack import Stack
from dnr_env.types import FloatArray, ImageArray, Images

PAIRS = (("layer4:5", "huge purple striped thing"), ("layer3:1", "huge star"), ("planted:26", "star on sky"))


def by_hand(stack: Stack, neuron: str, label: str, images: int) -> dict[str, float]:
    """Compute the verdict for the score `log_k` with plain loops."""
    index, whole = stack.neurons.index(neuron), stack.probes.whole
    everything = whole.all_raw(np.array([index]))[:, 0].astype(float)
    held_out = [i for i in range(len(everything)) if hashlib.sha256(f"#{i}".encode()).digest()[0] % 2]
    search = np.delete(everything, held_out)
    probe = everything[held_out]
    evidence = stack.lab.measure(concepts=[label], seeds=np.arange(2 << 30, (2 << 30) + images)[None])
    control = probe[stack.probes.held_out.control]
    middle = float(np.median(search[stack.probe.control]))
    unit = float(np.mean(sorted(search)[-10:])) - middle
    drawn = [(float(a) - middle) / unit for a in evidence.activations[0, :, index]]
    real = [(float(a) - middle) / unit for a in control]
    logs = sorted(math.log(1 + max(a, 0.0)) for a in drawn)
    subsets = [sum(subset[-2:]) / 2 for subset in itertools.combinations(logs, 5)]
    auc = np.mean([(a > b) + (a == b) / 2 for a in drawn for b in real])
    mad = (np.mean(drawn) - np.mean(real)) / np.std(real, ddof=1)
    similarity = [float(stack.embedder.embed_texts([label])[0] @ row) for row in whole.embeddings[held_out]]
    simulation = np.corrcoef(similarity, probe)[0, 1]
    strong = float(np.quantile(probe, 0.99))
    rate = np.mean([a > strong for a in evidence.activations[0, :, index]])
    codes = Renderer().resolve([ANYTHING] * len(probe), [(3 << 30) + i for i in held_out])[0]
    words = [
        [float(code == i) for i in range(len(f.words))] for row in codes for f, code in zip(FAMILIES, row, strict=True)
    ]
    true = embed_words(np.array(list(itertools.chain(*words))).reshape(len(probe), -1))
    attributes = np.corrcoef(true @ stack.embedder.embed_texts([label])[0], probe)[0, 1]
    return {
        "value": float(np.mean(subsets)), "auc": float(auc), "mad": float(mad), "simulation": float(simulation),
        "activation_rate": float(rate), "judge_simulation": float(attributes),
    }  # fmt: skip


def test_the_judge_by_hand(stack: Stack) -> None:
    neurons, labels = zip(*PAIRS, strict=True)
    for (neuron, label), verdict in zip(
        PAIRS,
        judge(stack, neurons=neurons, labels=labels, rules=Rules(score="log_k", images_per_measure=5), images=12),
        strict=True,
    ):
        expected = by_hand(stack, neuron, label, 12)
        for name, value in expected.items():
            assert getattr(verdict, name) == pytest.approx(value, rel=1e-4, abs=1e-5), name
        assert verdict.error is not None
        assert 0 < verdict.error < 1


def test_each_embedder_has_a_value_of_its_own(stack: Stack) -> None:
    """Under `grounded_k`, a value is `log_k` and the embedder's simulation, less its words; by hand for both."""
    neurons, labels = zip(*PAIRS, strict=True)
    asked: dict[str, Any] = {"neurons": neurons, "labels": labels, "images": 12}
    for name in ("grounded_k", "log_k"):
        verdicts = judge(stack, **asked, rules=Rules(score=name, images_per_measure=5))
        for (neuron, label), verdict in zip(PAIRS, verdicts, strict=True):
            plain = by_hand(stack, neuron, label, 12)
            for field, simulation in (("value", "simulation"), ("judge_value", "judge_simulation")):
                words = len(set(label.split()) - {"thing", "on"})
                mixed = GROUNDED_ALPHA * plain["value"] + (1 - GROUNDED_ALPHA) * plain[simulation] - 0.04 * words
                expected = mixed if name == "grounded_k" else plain["value"]
                assert getattr(verdict, field) == pytest.approx(expected, rel=1e-4, abs=1e-5)
    alone = dataclasses.replace(stack, judge_embedder=None)
    assert [verdict.judge_value for verdict in judge(alone, **asked, rules=Rules())] == [None] * len(PAIRS)


def test_the_error_is_that_of_repeated_judging(stack: Stack) -> None:
    """The standard error agrees with the deviation of values over disjoint sets of images."""
    neuron, label, images, repeats = "layer4:7", "striped thing", 50, 60
    index = np.array([stack.neurons.index(neuron)])
    (verdict,) = judge(
        stack, neurons=[neuron], labels=[label], rules=Rules(score="mean", images_per_measure=5), images=images
    )
    raw = stack.lab.measure(concepts=[label], seeds=Purpose.JUDGE.seeds(0, images * repeats)[None]).activations[
        0, :, index[0]
    ]
    values = stack.probe.normalise(raw[None], index).reshape(repeats, images).mean(axis=1)
    assert verdict.error == pytest.approx(values.std(ddof=1), rel=0.4)


def test_every_label_is_judged_alone(stack: Stack) -> None:
    """Verdicts are equal to the last digit, because a resumed run forms other batches."""
    pairs = [*PAIRS, *((f"layer4:{i}", stack.vocabulary.concepts[100 * i]) for i in range(30))]
    neurons, labels = zip(*pairs, strict=True)
    together = judge(stack, neurons=neurons, labels=labels, rules=Rules(score="log_k", images_per_measure=5), images=10)
    assert together == [
        judge(stack, neurons=[n], labels=[t], rules=Rules(score="log_k", images_per_measure=5), images=10)[0]
        for n, t in pairs
    ]
    assert (
        judge(
            stack,
            neurons=neurons[::-1],
            labels=labels[::-1],
            rules=Rules(score="log_k", images_per_measure=5),
            images=10,
        )
        == together[::-1]
    )
    assert judge(stack, neurons=[], labels=[], rules=Rules(score="log_k", images_per_measure=5)) == []


def test_one_label_of_many_neurons_is_drawn_once(stack: Stack) -> None:
    drawn: list[tuple[str, int]] = []

    class Spy(Renderer):
        def generate(self, concepts: Any, seeds: Any) -> ImageArray:
            drawn.extend(zip(concepts, seeds, strict=True))
            return super().generate(concepts, seeds)

    fresh = dataclasses.replace(stack, judge_lab=Lab(Spy(), stack.lab.reader))
    judge(
        fresh,
        neurons=["layer4:1", "layer4:2", "planted:0"],
        labels=["red thing", "red thing", "star"],
        rules=Rules(score="log_k", images_per_measure=5),
    )
    assert len(drawn) == len(set(drawn)) == 2 * IMAGES
    assert {seed for _, seed in drawn} == set(range(2 << 30, (2 << 30) + IMAGES))


def test_simulation_punishes_a_label_that_is_too_narrow(stack: Stack) -> None:
    assert stack.known.truth("planted:0") == "red"
    right, narrow, wrong = judge(
        stack,
        neurons=["planted:0"] * 3,
        labels=["red thing", "huge red cross", "huge blue cross"],
        rules=Rules(score="log_k", images_per_measure=5),
    )
    assert right.value is not None
    assert wrong.value is not None
    assert narrow.value == pytest.approx(right.value, abs=0.01)  # activation alone does not tell
    assert right.simulation > narrow.simulation + 0.1
    assert narrow.simulation > wrong.simulation
    assert wrong.value < right.value / 2


SICK: dict[str, Any] = {
    "dead": lambda a: 0 * a,
    "constant": lambda a: 0 * a + np.float32(3.3),
    "nan": lambda a: np.nan * a,
    "now and then nan": lambda a: np.where(a > np.float32(0.02), np.nan, a),
    "infinite": lambda a: np.where(a > np.float32(0.02), np.inf, a),
    "both infinities": lambda a: np.where(a > np.float32(0.02), np.inf, -np.inf),
    "vast": lambda a: a * np.float32(1e30),
    "minute": lambda a: a * np.float32(1e-30),
}
"""Faulty neurons, whose activations are made from those of a healthy one."""


class SickReader:
    """The reader of the embedded world, in which the first neurons of layer 4 are faulty."""

    def __init__(self, stack: Stack) -> None:
        self._reader = stack.lab.reader
        self.neurons, self.dim = self._reader.neurons, self._reader.dim
        self.fingerprint = "sick"

    def spoil(self, activations: FloatArray) -> FloatArray:
        out = activations.copy()
        first = self.neurons.index("layer4:0")
        for i, change in enumerate(SICK.values()):
            out[:, first + i] = change(activations[:, first + i])
        return out

    def read(self, images: Images) -> tuple[FloatArray, FloatArray]:
        activations, embeddings = self._reader.read(images)
        return self.spoil(activations), embeddings


@pytest.fixture(scope="module")
def sick(stack: Stack) -> Stack:
    reader = SickReader(stack)
    good = stack.probes.whole
    probe = Probe("sick", reader.spoil(good.all_raw(good.neurons)), good.embeddings, good.images)
    lab = Lab(Renderer(), reader)
    return dataclasses.replace(stack, lab=lab, judge_lab=lab, probes=ProbeSource(lambda _: probe))


NUMBERS = [pytest.param(i, id=name) for i, name in enumerate(SICK)]


@pytest.mark.parametrize("number", NUMBERS)
def test_verdicts_of_sick_neurons_are_finite(sick: Stack, number: int) -> None:
    for name in SCORES:
        for verdict in judge(
            sick,
            neurons=[f"layer4:{number}"] * 2,
            labels=["red thing", "huge star"],
            rules=Rules(score=name, images_per_measure=5),
            images=10,
        ):
            numbers = {name: value for name, value in vars(verdict).items() if name != "simulations"}
            assert all(math.isfinite(value) for value in numbers.values()), verdict


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("mode", ["held_out", "observed"])
def test_episodes_of_sick_neurons_are_finite(sick: Stack, number: int, mode: str) -> None:
    env = gym.make("dnr_env:DnR/RefineSlots-v0", stack=sick, reward=mode, user_concepts=["tiny ring"], n_slots=4)
    observation, info = env.reset(seed=1, options={"neuron": f"layer4:{number}"})
    seen = [observation]
    for action in ([1, 0], [0, 0], [2, 0], [1, 2], [0, 1], [3, 1]):
        observation, reward, terminated, truncated, info = env.step(np.array(action))
        assert math.isfinite(reward)
        seen.append(observation)
    assert terminated
    assert not truncated
    assert info["label"] in info["master"]
    for observation in seen:
        assert env.observation_space.contains(observation)
        assert all(np.isfinite(part).all() for part in observation.values())
    assert np.isfinite(info["master_means"]).all()


def test_a_dead_neuron_costs_its_bill_and_the_words_of_its_label(sick: Stack) -> None:
    env = gym.make("dnr_env:DnR/Refine-v0", stack=sick)
    _, info = env.reset(seed=0, options={"neuron": "layer4:0"})
    for action, bill in ((1, 0.0), (0, 0.00025), (0, 0.00025)):
        before = sick.language.length(info["label"])
        _, reward, _, _, info = env.step(action)
        assert reward == pytest.approx(-0.04 * (sick.language.length(info["label"]) - before) - bill)
    assert sick.probe.alive[sick.lab.reader.neurons.index("layer4:0")] == np.False_
    (verdict,) = judge(
        sick, neurons=["layer4:0"], labels=["red thing"], rules=Rules(score="log_k", images_per_measure=5)
    )
    assert (verdict.value, verdict.auc, verdict.mad, verdict.simulation) == pytest.approx((0.0, 0.5, 0.0, 0.0))


def test_the_report_says_that_a_neuron_is_dead(sick: Stack, tmp_path: Path) -> None:
    (verdict,) = judge(
        sick, neurons=["layer4:0"], labels=["red thing"], rules=Rules(score="log_k", images_per_measure=5)
    )
    record = {
        "neuron": "layer4:0", "seed": 0, "block": 0, "label": "red thing", "images": 40, "steps": 1, "alive": False,
        "mean": 0.1, "deviation": 0.2, "curve": [(0, 0.0, 0.1), (40, 0.0, 0.1)], "calls": 0, "cost": 0.0,
        "labels": ["red thing"],
        "origin": "model", "fallback": "", "failure": "",
        "concepts": [("red thing", 0.1, 40)], **dataclasses.asdict(verdict),
    }  # fmt: skip
    write_label_report(sick, "dnr", [record], "log_k", 8, tmp_path / "report.html")
    assert "constant or not finite" in (tmp_path / "report.html").read_text(encoding="utf-8")
