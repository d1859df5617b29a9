"""Checkpoints: loading restores everything, and damage is reported in one sentence."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from trainings import options, policy

from dnr_env import DnRError
from dnr_env.agents.training import train
from dnr_env.agents.training.checkpoints import load_checkpoint, save_checkpoint


def replaced(data: bytes, old: bytes, new: bytes) -> bytes:
    """Replace a text in the header of a safetensors file, where it is a JSON string."""
    size = int.from_bytes(data[:8], "little")
    quoted, other = (json.dumps(text.decode())[1:-1].encode() for text in (old, new))
    header = data[8 : 8 + size]
    assert quoted in header
    header = header.replace(quoted, other).ljust(size)
    return data[:8] + header + data[8 + size :]


@pytest.mark.parametrize(
    ("algorithm", "network"),
    [
        *(pytest.param(learner, "flat", marks=pytest.mark.slow) for learner in ("maskable-ppo", "ppo")),
        *((learner, "flat") for learner in ("a2c", "dqn")),
        ("maskable-ppo", "set"),
    ],
)
def test_a_checkpoint_brings_everything_back(tmp_path: Path, algorithm: str, network: str) -> None:
    chosen = options(algorithm=algorithm, network=network, steps=1024)
    model, _ = policy(chosen)
    curve = [{"steps": 1024, "validation_return": 0.1, "validation_images": 5.0}]
    path = tmp_path / "checkpoint.safetensors"
    save_checkpoint(model, path, curve)
    again = train.make_model(chosen, seed=0)
    assert load_checkpoint(again, path) == curve
    assert again.num_timesteps == model.num_timesteps >= 1024
    for (name, ours), theirs in zip(model.policy.state_dict().items(), again.policy.state_dict().values(), strict=True):
        assert ours.equal(theirs), name
    first, second = (m.policy.optimizer.state_dict()["state"] for m in (model, again))
    assert first.keys() == second.keys()
    assert all(bool((np.asarray(first[i][k]) == np.asarray(second[i][k])).all()) for i in first for k in first[i])
    again.learn(64, reset_num_timesteps=False)  # and training goes on
    assert again.num_timesteps > model.num_timesteps
    whole = path.read_bytes()
    path.write_bytes(whole[:-100])
    with pytest.raises(DnRError, match=r"`out` must hold undamaged checkpoints \(got .*checkpoint\.safetensors: "):
        load_checkpoint(train.make_model(chosen, seed=0), path)
    other = [b"[5]", b"[{}]", b"5", b"{", json.dumps([dict.fromkeys(curve[0], "1")]).encode()]
    for damaged in other:
        path.write_bytes(replaced(whole, json.dumps(curve).encode(), damaged))
        with pytest.raises(DnRError, match=r"`out` must hold undamaged checkpoints \(got .*checkpoint\.safetensors: "):
            load_checkpoint(train.make_model(chosen, seed=0), path)
