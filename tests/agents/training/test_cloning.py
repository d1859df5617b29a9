"""Behaviour cloning: the recorded steps, the clones, and the refused teachers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from trainings import options

from dnr_env import DnRError
from dnr_env.agents.training import cloning, train
from dnr_env.agents.training.cloning import teacher_of


@pytest.fixture
def few_lessons(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cloning, "_LESSONS", 1500)
    monkeypatch.setattr(cloning, "_BATCH", 32)


@pytest.mark.parametrize(("network", "moves"), [("set", "slots"), ("flat", "incumbent")])
@pytest.mark.usefixtures("few_lessons")
@pytest.mark.slow
def test_a_clone_plays_as_its_teacher(network: str, moves: str) -> None:
    model = train.make_model(options(network=network, moves=moves), seed=0)
    cloning.clone(model, "patience:2", 0.003)
    lessons = cloning.watch("patience:2", model.env, model.gamma, seed=9)
    again, _ = model.predict(lessons.seen, deterministic=True, action_masks=lessons.masks)
    assert len(lessons.moves) > 1000
    assert len(np.unique(lessons.moves)) == 2
    assert (again == lessons.moves).mean() > 0.95
    values = model.policy.predict_values(torch.as_tensor(lessons.seen)).detach().numpy()[:, 0]
    assert np.corrcoef(values, lessons.returns)[0, 1] > 0.2


@pytest.mark.usefixtures("few_lessons")
def test_a_teacher_whose_moves_the_policy_has_not_is_refused() -> None:
    model = train.make_model(options(network="flat", moves="no-keep"), seed=0)
    with pytest.raises(DnRError, match=r"`clone` must be an agent most of whose steps .* \(got 'lucb', with \d+%\)"):
        cloning.clone(model, "lucb", 0.003)


@pytest.mark.usefixtures("few_lessons")
def test_lessons_hold_what_a_teacher_did() -> None:
    model = train.make_model(options(), seed=0)
    lessons = cloning.watch("top-two", model.env, 0.99, seed=1)  # it measures slots that are no moves too
    assert lessons.masks[np.arange(len(lessons.moves)), lessons.moves].all()
    assert len(np.unique(lessons.moves)) > 3
    assert len(lessons.moves) < 1450
    assert np.isfinite(lessons.returns).all()


def test_returns_are_discounted_within_episodes() -> None:
    rewards = np.array([[1.0, 1], [2, 2], [4, 4], [8, 8]])
    ends = np.array([[0, 0], [1, 0], [0, 0], [0, 1]], bool)
    returns = cloning.discounted(rewards, ends, 0.5)
    assert np.array_equal(returns, np.array([[2, 4], [2, 6], [np.nan, 8], [np.nan, 8]]), equal_nan=True)


@pytest.mark.usefixtures("few_lessons")
@pytest.mark.slow
def test_cloning_alone_is_a_run(tmp_path: Path) -> None:
    chosen = options(tmp_path, clone="patience:1", steps=0)
    train.train_seed(chosen, 0)
    before = {path.name: path.read_bytes() for path in (tmp_path / "seed-0").iterdir() if path.is_file()}
    assert json.loads(before["policy.json"])["trained_steps"] == 0
    train.train_seed(chosen, 0)
    assert all((tmp_path / "seed-0" / name).read_bytes() == data for name, data in before.items())


@pytest.mark.usefixtures("few_lessons")
@pytest.mark.slow
def test_learning_goes_on_after_cloning(tmp_path: Path) -> None:
    train.train_seed(options(tmp_path, clone="patience:1", checkpoint_every=512), 0)
    curve = (tmp_path / "seed-0" / "curve.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in curve] == ["steps", "0", "512"]


@pytest.mark.parametrize("spec", ["line:2", "blend:1:0.5", "shortlist:2:0.5", "dnd"])
def test_whose_episodes_are_others_cannot_be_cloned(spec: str) -> None:
    with pytest.raises(DnRError, match="`clone` must be an agent without initial concepts or environment options"):
        teacher_of(spec)
