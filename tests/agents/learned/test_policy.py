"""Learned policies as agents: saved, loaded, damaged, shipped."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from playing import masks, observations, random_policy
from safetensors.torch import load_file, save_file
from trainings import options, policy

from dnr_env import DnRError, Rules
from dnr_env.agents.learned.features import CHANGED, COUNT, MOVE_SETS, moves_of
from dnr_env.agents.learned.network import network_of
from dnr_env.agents.learned.policy import LearnedAgent
from dnr_env.agents.registry import make_agent
from dnr_env.env.observe import SCORE_COLUMNS
from dnr_env.env.rules import ActionForm
from dnr_env.evaluation.rollout import rollout
from dnr_env.interfaces import Kind


def text(name: str, content: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_text(content, encoding="utf-8")


def card(**changes: Any) -> Callable[[Path], None]:
    """Change entries of the card. None removes an entry."""

    def change(folder: Path) -> None:
        path = folder / "policy.json"
        entries = json.loads(path.read_text(encoding="utf-8")) | changes
        path.write_text(json.dumps({k: v for k, v in entries.items() if v is not None}), encoding="utf-8")

    return change


def tensors(**changes: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        arrays = load_file(folder / "policy.safetensors") | changes
        save_file({k: v for k, v in arrays.items() if v is not None}, folder / "policy.safetensors")

    return change


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "no card": (lambda folder: (folder / "policy.json").unlink(), "which has no policy.json"),
    "no weights": (lambda folder: (folder / "policy.safetensors").unlink(), "which has no policy.safetensors"),
    "a folder for a card": (
        lambda folder: os.makedirs((folder / "policy.json").rename(folder / "kept.json").with_name("policy.json")),
        "a readable policy",
    ),
    "torn card": (text("policy.json", '{"format": 1, '), "damaged"),
    "binary card": (lambda folder: (folder / "policy.json").write_bytes(b"\xff\xfe\x00"), "damaged"),
    "card of a list": (text("policy.json", "[1, 2]"), "damaged"),
    "torn weights": (
        lambda folder: (folder / "policy.safetensors").write_bytes((folder / "policy.safetensors").read_bytes()[:-40]),
        "damaged",
    ),
    "weights of rubbish": (text("policy.safetensors", "rubbish" * 20), "damaged"),
    "empty weights": (text("policy.safetensors", ""), "damaged"),
    "a pickle for weights": (
        lambda folder: (folder / "policy.safetensors").write_bytes(pickle.dumps({"0.w": [1]})),
        "damaged",
    ),
    "a layer less": (tensors(**{"4.weight": None, "4.bias": None}), "damaged"),
    "a bias less": (tensors(**{"2.bias": None}), "damaged"),
    "another shape": (tensors(**{"2.weight": torch.zeros(3, 3)}), "damaged"),
    "no tensors": (lambda folder: save_file({}, folder / "policy.safetensors"), "damaged"),
    "other features": (card(features=31), f"31.*{COUNT}"),
    "other slots": (card(slots=8), "8.*6"),
    "another format": (card(format=9), "format 9, not 4"),
    "no format": (card(format=None), "of this version .got .* with format None, not 4.; train it again"),
    "no moves": (card(moves=None), "damaged"),
    "other moves": (card(moves="slots"), "damaged"),
    "unknown moves": (card(moves="no-keep"), "damaged"),
    "moves that are no text": (card(moves=[[0, 0, 0]] * 26), "damaged"),
    "unknown activation": (card(activation="os.system"), "damaged"),
    "another network": (card(network="set"), "damaged"),
    "a network that is no more": (card(network="raw"), "damaged.*`network` must be set or flat"),
    "no network": (card(network=None), "damaged"),
    "an unknown group": (card(without=["everything"]), "damaged"),
    "a group that is a number": (card(without=3), "damaged"),
    "return of text": (card(validation_return="high"), "damaged"),
    "a return that is no number": (card(validation_return=float("nan")), "damaged"),
    "a list of mutators": (card(mutator=["informed"]), "damaged"),
    "a card without an end": (text("policy.json", "[" * 100_000), "damaged"),
    "weights that are no numbers": (tensors(**{"2.bias": torch.full((16,), torch.nan)}), "damaged"),
    "weights of another kind": (tensors(**{"2.bias": torch.zeros(16, dtype=torch.float64)}), "damaged"),
    "a tensor more": (tensors(**{"9.bias": torch.zeros(8)}), "damaged"),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_a_damaged_policy_is_one_sentence(tmp_path: Path, what: str) -> None:
    random_policy().save(tmp_path)
    assert isinstance(make_agent(str(tmp_path)), LearnedAgent)
    damage, message = DAMAGE[what]
    damage(tmp_path)
    with pytest.raises(DnRError, match=message) as caught:
        make_agent(str(tmp_path))
    assert str(caught.value).startswith("`agent` must be ")
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("form", "environment"),
    [("edits", "DnR/RefineEdits-v0"), ("slots", "DnR/RefineSlots-v0"), ("incumbent", "DnR/Refine-v0")],
)
def test_a_saved_policy_acts_the_same(tmp_path: Path, form: ActionForm, environment: str) -> None:
    policy = random_policy(4, form, "relu" if form == "incumbent" else "tanh")
    policy.card = {"note": "ü", "validation_return": 0.25}
    policy.save(tmp_path / "seed-0")
    again = LearnedAgent.load(tmp_path / "seed-0")
    assert sorted(os.listdir(tmp_path / "seed-0")) == ["policy.json", "policy.safetensors"]
    assert again.fingerprint == policy.fingerprint
    assert again.card["note"] == "ü"
    assert again.env_id == environment
    seen, allowed = observations(600), masks(600, form)
    for deterministic in (True, False):
        ours, _ = policy.predict(seen, deterministic=deterministic, action_masks=allowed)
        theirs, _ = again.predict(seen, deterministic=deterministic, action_masks=allowed)
        assert np.array_equal(ours, theirs)
        parts = ours.reshape(600, -1).T
        assert len(np.unique(parts, axis=1).T) > 3
        for part, start in zip(parts, (0, 4, 12), strict=False):
            assert allowed[np.arange(600), start + part].all()
    again.save(tmp_path / "again")
    for name in ("policy.json", "policy.safetensors"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "seed-0" / name).read_bytes()


def test_undetermined_actions_follow_the_probabilities() -> None:
    moves = MOVE_SETS["slots"]
    weights = np.array([40, 20, 10, 5, 5, 4, 3, 2, 0.5, 0.5, 6, 4, 8, 3, 2, 1, 6])
    chances = weights / weights.sum()
    biases = torch.from_numpy(np.log(chances).astype(np.float32))
    hidden = {"0.weight": torch.zeros(1, COUNT), "0.bias": torch.zeros(1)}
    network = network_of("flat", "tanh", {**hidden, "2.weight": torch.zeros(len(moves), 1), "2.bias": biases})
    actions, _ = LearnedAgent("policy", network, "slots", {}).predict(observations(4000), deterministic=False)
    counts = np.array([(actions == move).all(axis=1).sum() for move in moves])
    assert counts.sum() == 4000
    assert (np.abs(counts - 4000 * chances) < 4 * np.sqrt(4000 * chances)).all()


@pytest.mark.parametrize("form", ["edits", "slots", "incumbent"])
def test_a_policy_of_each_form_plays_its_environment(form: ActionForm) -> None:
    (episode,) = rollout(random_policy(3, form), [("layer4:3", 1)], rules=Rules(max_steps=3, n_slots=2))
    assert 1 <= episode.steps <= 3


@pytest.mark.parametrize("network", ["set", "flat"])
def test_what_it_goes_without_stays_hidden_from_a_loaded_policy(tmp_path: Path, network: str) -> None:
    _, agent = policy(options(network=network, without=("simulation", "errors")), trained=False)
    agent.save(tmp_path)
    again, observation = LearnedAgent.load(tmp_path), observations(200)
    before, _ = again.predict(observation, deterministic=True)
    for name in ("simulation", "standard_error"):
        observation["scores"][..., SCORE_COLUMNS.index(name)] += 0.5
    assert (again.predict(observation)[0] == before).all()
    _, other = policy(options(network=network), trained=False)
    assert other.fingerprint != agent.fingerprint  # the same weights, but it plays otherwise


def test_the_shipped_policy_plays_on_stacks_that_it_never_saw() -> None:
    agent = make_agent("learned")
    assert isinstance(agent, LearnedAgent)
    assert agent.env_id == "DnR/RefineEdits-v0"
    assert agent.card["command"].startswith("python train.py ")
    assert agent.card["evaluation"]
    for stack in ("shapes", "shapes-transfer"):
        episodes = list(rollout(agent, [(f"layer4:{i}", 1) for i in range(6)], stack=stack))
        assert np.mean([episode.total_reward for episode in episodes]) > 0
        assert all(0 <= episode.images <= 100 for episode in episodes)


def test_a_policy_without_unions_keeps_its_moves() -> None:
    """They are those of the set without UNITE and EXCEPT, in the same order."""
    all_moves = MOVE_SETS["edits"]
    older = [move for move in all_moves.tolist() if move[2] not in (Kind.UNITE, Kind.EXCEPT)]
    assert len(older) == len(all_moves) - 2 * CHANGED == 26
    assert moves_of("edits", 26).tolist() == older
    assert (random_policy().moves == all_moves).all()
    for outputs in (25, 27, 33, 35):
        with pytest.raises(ValueError, match=f"34 outputs .got {outputs}."):
            moves_of("edits", outputs)
