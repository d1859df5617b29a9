"""Behaviour cloning: the recorded steps, the clones, and the refused teachers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from trainings import options

from dnr_env import DnRError
from dnr_env.agents.learned.features import MOVE_SETS
from dnr_env.agents.training import cloning, train
from dnr_env.agents.training.cloning import teacher_of
from dnr_env.env.rules import FORMS, Action, ActionForm
from dnr_env.interfaces import Kind


@pytest.fixture
def few_lessons(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cloning, "_LESSONS", 1500)
    monkeypatch.setattr(cloning, "_BATCH", 32)
    monkeypatch.setattr(cloning, "_RATE", 0.003)


TEACHER = """
import numpy as np
from dnr_env.agents.base import Agent, column, progress


class Teacher(Agent):
    '''Takes the model's word, draws the best twice, and stops.'''

    env_id = "DnR/RefineEdits-v0"

    def act(self, observation, memory, masks, deterministic):
        drawn = column(observation, "images").sum(axis=1)
        first = progress(observation, "steps_left") == 1
        action = np.where(first, 1, np.where(drawn < 2, 0, 3))
        return np.column_stack([action, np.zeros(len(action), int), np.where(action == 1, 3, 0)])


class Wanderer(Teacher):
    '''Mutates a slot that a policy cannot mutate.'''

    def act(self, observation, memory, masks, deterministic):
        return np.tile([1, 5, 0], (len(memory), 1))


class Prepared(Teacher):
    def prepare(self, stack, neurons, score):
        return [{"concepts": ("red",)}] * len(neurons)
"""


@pytest.fixture
def taught(tmp_path: Path) -> str:
    (tmp_path / "mine.py").write_text(TEACHER, encoding="utf-8")
    return f"python:{tmp_path / 'mine.py'}:Teacher"


@pytest.mark.usefixtures("few_lessons")
@pytest.mark.slow
def test_a_clone_plays_as_its_teacher(taught: str) -> None:
    model = train.make_model(options(), seed=0)
    cloning.clone(model, taught)
    lessons = cloning.watch(taught, model.env, model.gamma, seed=9)
    again, _ = model.predict(lessons.seen, deterministic=True, action_masks=lessons.masks)
    assert len(lessons.moves) > 1000
    assert len(np.unique(lessons.moves)) > 2
    assert (again == lessons.moves).mean() > 0.9
    values = model.policy.predict_values(torch.as_tensor(lessons.seen)).detach().numpy()[:, 0]
    assert np.corrcoef(values, lessons.returns)[0, 1] > 0.2


@pytest.mark.usefixtures("few_lessons")
def test_a_teacher_whose_moves_the_policy_has_not_is_refused(taught: str) -> None:
    model = train.make_model(options(), seed=0)
    with pytest.raises(DnRError, match=r"`clone` must be an agent most of whose steps .*Wanderer', with 0%\)"):
        cloning.clone(model, taught.replace("Teacher", "Wanderer"))


@pytest.mark.usefixtures("few_lessons")
def test_lessons_hold_what_a_teacher_did(taught: str) -> None:
    model = train.make_model(options(), seed=0)
    lessons = cloning.watch(taught, model.env, 1.0, seed=1)
    assert lessons.masks[np.arange(len(lessons.moves)), lessons.moves].all()
    found = {tuple(move) for move in MOVE_SETS["edits"][np.unique(lessons.moves)].tolist()}
    assert {(Action.MUTATE, 0, Kind.MODEL), (Action.STOP, 0, 0)} < found
    assert {action for action, *_ in found} == {Action.KEEP, Action.MUTATE, Action.STOP}
    assert len(lessons.moves) > 1000
    assert np.isfinite(lessons.returns).all()


@pytest.mark.parametrize("form", FORMS)
def test_the_move_of_an_action_is_found(form: ActionForm) -> None:
    moves = MOVE_SETS[form]
    actions = moves if form != "incumbent" else moves[:, 0]
    assert (cloning.places_of(actions, moves) == np.arange(len(moves))).all()


def test_what_an_action_ignores_does_not_matter_and_what_counts_does() -> None:
    moves = MOVE_SETS["edits"]
    actions = [(2, 5, 3), (3, 0, 2), (0, 4, 1), (1, 7, 3), (0, 7, 0), (1, 4, 0), (3, 6, 0)]
    places = cloning.places_of(np.array(actions), moves).tolist()
    assert [tuple(moves[place].tolist()) for place in places[:4]] == [(2, 0, 0), (3, 0, 0), (0, 4, 0), (1, 0, 3)]
    assert places[4:] == [-1, -1, -1]  # beyond the slots that a policy sees or changes


def test_returns_are_discounted_within_episodes() -> None:
    rewards = np.array([[1.0, 1], [2, 2], [4, 4], [8, 8]])
    ends = np.array([[0, 0], [1, 0], [0, 0], [0, 1]], bool)
    returns = cloning.discounted(rewards, ends, 0.5)
    assert np.array_equal(returns, np.array([[2, 4], [2, 6], [np.nan, 8], [np.nan, 8]]), equal_nan=True)


@pytest.mark.usefixtures("few_lessons")
@pytest.mark.slow
def test_cloning_alone_is_a_run(tmp_path: Path, taught: str) -> None:
    chosen = options(tmp_path, clone=taught, steps=0)
    train.train_seed(chosen, 0)
    before = {path.name: path.read_bytes() for path in (tmp_path / "seed-0").iterdir() if path.is_file()}
    assert json.loads(before["policy.json"])["trained_steps"] == 0
    train.train_seed(chosen, 0)
    assert all((tmp_path / "seed-0" / name).read_bytes() == data for name, data in before.items())


@pytest.mark.usefixtures("few_lessons")
@pytest.mark.slow
def test_learning_goes_on_after_cloning(tmp_path: Path, taught: str) -> None:
    train.train_seed(options(tmp_path, clone=taught, checkpoint_every=512), 0)
    curve = (tmp_path / "seed-0" / "curve.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in curve] == ["steps", "0", "512"]


def test_whose_episodes_are_others_cannot_be_cloned(taught: str) -> None:
    with pytest.raises(DnRError, match=r"`clone` must be an agent that plays DnR/RefineSlots-v0 \(.*RefineEdits-v0\)"):
        teacher_of(taught, "slots")
    with pytest.raises(DnRError, match="`clone` must be an agent without initial concepts or environment options"):
        teacher_of(taught.replace("Teacher", "Prepared"), "edits")
