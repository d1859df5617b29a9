"""The policy of MaskablePPO around a set network, and the networks by which trained models act."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from playing import masks, observations
from trainings import centred, logits_of_learner, options, policy

from dnr_env.agents.learned.features import features, move_masks
from dnr_env.agents.learned.network import kind_of, logits_of
from dnr_env.agents.learned.policy import LearnedAgent
from dnr_env.agents.training import train
from dnr_env.agents.training.set_policy import SetPolicy, acting_network
from dnr_env.env.rules import FORMS, ActionForm


@pytest.mark.parametrize("network", ["set", "flat"])
def test_a_saved_policy_computes_what_was_trained(tmp_path: Path, network: str) -> None:
    model, agent = policy(options(network=network, without=("errors",)))
    assert isinstance(model.policy, SetPolicy) == (network == "set")
    agent.save(tmp_path / "policy")
    again = LearnedAgent.load(tmp_path / "policy")
    assert again.fingerprint == agent.fingerprint
    assert again.without == ("errors",)
    card = json.loads((tmp_path / "policy" / "policy.json").read_text())
    assert card["network"] == network
    assert card["image_cost"] == [0.0005, 0.002]
    seen = features(observations(300), ("errors",))
    ours, theirs = logits_of(again.network, seen), logits_of_learner(model, seen)
    assert np.ptp(ours, axis=0).min() > 0.01  # it looks at what it sees
    assert centred(ours) == pytest.approx(centred(theirs), abs=1e-5)


@pytest.mark.parametrize("network", ["set", "flat"])
def test_the_acting_network_is_a_copy(network: str) -> None:
    model = train.make_model(options(network=network), seed=0)
    seen = features(observations(100))
    acting = acting_network(model)
    before = logits_of(acting, seen)
    assert centred(before) == pytest.approx(centred(logits_of_learner(model, seen)), abs=1e-5)
    model.learn(512)
    assert np.array_equal(logits_of(acting, seen), before)
    assert not np.allclose(centred(before), centred(logits_of_learner(model, seen)), atol=1e-3)


@pytest.mark.parametrize("moves", FORMS)
@pytest.mark.parametrize("algorithm", ["maskable-ppo", "ppo", "a2c", "dqn"])
def test_the_exported_network_is_the_policy(algorithm: str, moves: ActionForm) -> None:
    chosen = options(algorithm=algorithm, moves=moves, network="flat", envs=16, steps=1024)
    untrained = acting_network(train.make_model(chosen, seed=0))
    model, agent = policy(chosen)
    assert kind_of(agent.network) == ("flat", "relu" if algorithm == "dqn" else "tanh")
    assert not untrained.state_dict()["0.weight"].equal(agent.network.state_dict()["0.weight"])
    seen, allowed = observations(600), masks(600, moves)
    if algorithm == "maskable-ppo":
        ours, _ = agent.predict(seen, action_masks=allowed)
        theirs, _ = model.predict(features(seen), deterministic=True, action_masks=move_masks(allowed, agent.moves))
    else:
        ours, _ = agent.predict(seen)
        theirs, _ = model.predict(features(seen), deterministic=True)
    assert np.array_equal(ours.reshape(600, -1), agent.moves[theirs])
    assert np.ptp(logits_of(agent.network, features(seen)), axis=0).min() > 0.01  # it looks at what it sees
