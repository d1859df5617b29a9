"""The stacks of `scenes`, with random weights: parts, episodes with unions and exceptions, and the judge."""

from __future__ import annotations

import subprocess
import sys
import warnings
from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env, data_equivalence
from refining import EDITS, going_on, listed, make
from stable_baselines3.common.env_checker import check_env as check_env_sb3

from dnr_env import Action, Kind, Rules, registry
from dnr_env.evaluation.judge import judge
from dnr_env.scenes.config import INFIDELITY, PRESETS, ScenesConfig
from dnr_env.scenes.planted import FORMULAS
from dnr_env.scenes.render import SceneRenderer
from dnr_env.scenes.stack import scenes_stack
from dnr_env.seeds import Purpose
from dnr_env.shapes.lexicon import ANYTHING
from dnr_env.stack import Stack
from dnr_env.types import ImageArray

UNION, EXCEPTION = "red thing or star", "star but not red thing"
BOTH = "red thing but not striped thing or star but not ring"
NEURON = "planted:22"
SMALL: dict[str, Any] = {"n_slots": 4, "budget": 25, "max_steps": 6, "neurons": "planted:22-40"}


@pytest.fixture(scope="module")
def scenes(scene_weights: None) -> Stack:
    return scenes_stack("scenes", ScenesConfig())


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every text that any renderer is asked for."""
    texts: list[str] = []
    generate = SceneRenderer.generate

    def spy(renderer: SceneRenderer, concepts: Sequence[str], seeds: Sequence[int]) -> ImageArray:
        texts.extend(concepts)
        return generate(renderer, concepts, seeds)

    monkeypatch.setattr(SceneRenderer, "generate", spy)
    return texts


# --- parts -----------------------------------------------------------------------------------------------------------


def test_settings_decide_the_parts(scene_weights: None) -> None:
    stacks = {name: scenes_stack(name, config) for name, config in PRESETS.items()}
    generators = {name: stack.lab.generator.fingerprint for name, stack in stacks.items()}
    readers = {name: stack.lab.reader.fingerprint for name, stack in stacks.items()}
    usual = stacks["scenes"]
    for name, config in PRESETS.items():
        own = SceneRenderer([config.infidelity * probability for probability in INFIDELITY])
        assert generators[name] == own.fingerprint
        assert (generators[name] == generators["scenes"]) == (config.infidelity == 1)
        assert (readers[name] == readers["scenes"]) == (config.target == "depthwise" and config.neurons == "channels")
        assert stacks[name].proposer.captioner.fingerprint == usual.proposer.captioner.fingerprint
    probes = [stacks[name].probes for name in ("scenes", "scenes-few")]
    assert [len(each.clean.embeddings) + len(each.held_out.embeddings) for each in probes] == [600, 200]
    assert stacks["scenes-few"].probe.fingerprint != usual.probe.fingerprint


def test_the_probe_is_of_faithful_pictures_of_anything(scenes: Stack) -> None:
    seeds = Purpose.PROBE.seeds(0, 600)
    pictures = SceneRenderer().generate([ANYTHING] * 600, seeds.tolist())
    which = np.array([scenes.neurons.index(NEURON)])
    activations, embeddings = scenes.lab.reader.read(list(pictures))
    both = [scenes.probes.clean, scenes.probes.held_out]
    read = np.concatenate([probe.real(which)[0] for probe in both])
    np.testing.assert_array_equal(np.sort(read), np.sort(activations[:, which[0]]))
    rows = np.concatenate([probe.embeddings for probe in both])
    np.testing.assert_allclose(np.sort(rows[:, 0]), np.sort(embeddings[:, 0]), atol=1e-6)


def test_only_evaluation_knows_the_formulas(scenes: Stack) -> None:
    assert scenes.known.truth(NEURON) == FORMULAS[22]
    assert scenes.known.truth("layer4:1") is None
    assert scenes.known.optimum("grounded_k") == {}


def test_a_stack_is_built_without_torch(scene_weights: None) -> None:
    code = "import sys, dnr_env.scenes.stack; print([m for m in ('torch', 'open_clip') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


# --- episodes --------------------------------------------------------------------------------------------------------


def test_both_checkers_pass(scenes: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "load", {"scenes": scenes}.__getitem__)  # no stack of this name can be loaded yet
    env = gym.make(EDITS, stack=scenes)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(env.unwrapped)
        warnings.filterwarnings("ignore", ".*unconventional shape.*")
        check_env_sb3(env.unwrapped)


def test_candidates_are_noun_phrases_of_the_captions(scenes: Stack) -> None:
    _, info = make(EDITS, stack=scenes).reset(seed=3, options={"neuron": NEURON})
    assert len(listed(info)) >= 2
    for text in listed(info):
        assert scenes.language.parts(text).plain
        assert scenes.language.normalise(text) == text


def test_an_episode_with_unions_and_exceptions(scenes: Stack, drawn: list[str]) -> None:
    env = make(EDITS, stack=scenes)
    _, info = env.reset(seed=0, options={"neuron": NEURON, "concepts": ["red thing"]})
    for kind, word in ((Kind.UNITE, "or"), (Kind.EXCEPT, "but not")):
        before = listed(info)
        slot = list(info["concepts"]).index("red thing")
        *_, info = env.step((Action.MUTATE, slot, kind))
        (new,) = [text for text in listed(info) if text not in before and f" {word} " in text]
        phrases = new.split(f" {word} ")
        assert len(phrases) == 2
        assert "red thing" in (phrases if kind == Kind.UNITE else phrases[:1])
        if new in info["concepts"]:
            for _ in range(2):
                *_, info = env.step((Action.KEEP, list(info["concepts"]).index(new), 0))
    assert info["images"] > 0
    *_, ended, _, _ = env.step((Action.STOP, 0, 0))
    assert ended
    assert drawn
    assert not any(" or " in text or "but not" in text for text in drawn)


def test_native_equals_sync_step_by_step(scenes: Stack) -> None:
    options: dict[str, Any] = {**SMALL, "stack": scenes, "user_concepts": [UNION, EXCEPTION]}
    native = gym.make_vec(EDITS, num_envs=3, **options)
    sync = gym.make_vec(EDITS, num_envs=3, vectorization_mode="sync", **options)
    assert data_equivalence(native.reset(seed=7), sync.reset(seed=7), exact=True)
    rng = np.random.default_rng(0)
    for _ in range(8):
        action = going_on(rng, 3, EDITS)
        ours, theirs = native.step(action), sync.step(action)
        for one, other in zip(ours[:4], theirs[:4], strict=True):
            assert data_equivalence(one, other, exact=True)


# --- the judge -------------------------------------------------------------------------------------------------------


def test_labels_of_two_phrases_are_judged(scenes: Stack, drawn: list[str]) -> None:
    labels = ["red thing", "star", UNION, EXCEPTION, BOTH]
    one, other, union, exception, both = judge(
        scenes, neurons=[NEURON] * len(labels), labels=labels, rules=Rules(), images=10
    )
    assert set(drawn) <= {"red thing", "star", ANYTHING}
    for verdict, parts in ((union, [one, other]), (exception, [other]), (both, [one, other])):
        for name in ("auc", "mad", "activation_rate"):
            assert getattr(verdict, name) == pytest.approx(np.mean([getattr(part, name) for part in parts]))
    which = scenes.neurons.indices([NEURON])
    for label, verdict in zip(labels, (one, other, union, exception, both), strict=True):
        assert verdict.simulation == scenes.texts.simulation(scenes.probes.held_out, [label], which)[0]
    assert len({verdict.judge_simulation for verdict in (one, other, union, exception, both)}) == len(labels)
    assert all(verdict.judge_value is not None and np.isfinite(verdict.judge_value) for verdict in (union, both))
