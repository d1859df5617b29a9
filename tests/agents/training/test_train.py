"""Training: the learning rate, validation, and a policy that learns."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from sb3_contrib import MaskablePPO
from trainings import options, policy

from dnr_env import Rules
from dnr_env.agents.base import Agent
from dnr_env.agents.learned.policy import LearnedAgent
from dnr_env.agents.registry import make_agent
from dnr_env.agents.training import train
from dnr_env.agents.training.options import options_json, settings_json
from dnr_env.errors import DnRError
from dnr_env.evaluation.rollout import rollout


@pytest.mark.parametrize(("algorithm", "network"), [("maskable-ppo", "set"), ("a2c", "flat"), ("dqn", "flat")])
@pytest.mark.parametrize("steps", [300, 512, 1100])
def test_the_learning_rate_falls_from_what_was_asked_for_and_never_below_zero(
    algorithm: str, network: str, steps: int
) -> None:
    chosen = options(algorithm=algorithm, network=network, steps=steps, learning_rate=0.01)
    model = train.make_model(chosen, seed=0)
    model.learning_starts = 50
    schedule, rates = model.lr_schedule, [0.01]

    def noted(remaining: float) -> float:
        rates.append(schedule(remaining))
        return rates[-1]

    model.lr_schedule = noted
    model.learn(chosen.steps)
    assert all(rate >= later >= 0 for rate, later in pairwise(rates))
    if algorithm != "dqn":  # which learns after every few steps
        assert rates[1] == 0.01
        assert rates[-1] > 0
    assert rates[-1] <= 0.01 * 256 / steps


@pytest.mark.parametrize(("prices", "seeds"), [((0.001,), 4), ((0.0, 0.001, 0.002), 2), ((0.0, 0.1, 0.2, 0.3, 0.4), 1)])
def test_validation_plays_every_price_alike(
    prices: tuple[float, ...], seeds: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    played: list[tuple[dict[str, Any], list[Any]]] = []

    def spy(agent: LearnedAgent, jobs: list[Any], **env: Any) -> list[Any]:
        played.append((env, jobs))
        return [SimpleNamespace(total_reward=env["rules"].image_cost, images=10) for _ in jobs]

    chosen = options(image_cost=prices, budget=(100, 50), user_concepts=("none", "simulated:0.5"), envs=20)
    model = train.make_model(chosen, seed=0)
    monkeypatch.setattr(train, "rollout", spy)
    assert train.validate(model, chosen) == pytest.approx((np.mean(prices), 10))
    assert [env["rules"] for env, _ in played] == [Rules(score="log_k", budget=100, image_cost=p) for p in prices]
    assert all((env["stack"], env["user_concepts"]) == ("shapes", None) for env, _ in played)
    assert all(len(jobs) == 3 * seeds for _, jobs in played)
    assert len({job for _, jobs in played for job in jobs}) == 3 * seeds * len(prices)


class ReachedError(Exception):
    """The folder was accepted, and training would begin."""


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Any]:
    """Train in a folder, with a file of user concepts beside it, until the learner would be made."""
    users = tmp_path / "mine.txt"
    users.write_text("red star\n")
    chosen = options(tmp_path / "run", user_concepts=("none", str(users), "simulated:0.5"), envs=8)

    def reached(*_: Any) -> None:
        raise ReachedError

    def begin() -> Any:
        with monkeypatch.context() as patch:
            patch.setattr(train, "make_model", reached)
            with pytest.raises(ReachedError):
                train.train_seed(chosen, 0)
        return chosen

    (tmp_path / "run" / "seed-0").mkdir(parents=True)
    settings = json.dumps(settings_json(chosen))
    (tmp_path / "run" / "seed-0" / "options.json").write_text(settings)
    return begin


def test_a_folder_resumes_with_the_same_contents(run: Callable[[], Any], tmp_path: Path) -> None:
    chosen = run()
    noted = tmp_path / "run" / "seed-0" / "options.json"
    found = json.loads(noted.read_text())
    assert found.keys() == {*options_json(chosen), "version", "fingerprints", "user_concepts_sha256"}
    assert found["fingerprints"]["shapes"].keys() == {"generator", "reader", "probe"}
    assert list(found["user_concepts_sha256"]) == [str(tmp_path / "mine.txt")]
    noted.write_text(json.dumps(dict(reversed(found.items()))))  # the same, written in another way
    run()


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (lambda found: found.update(version="0.0.1"), "version"),
        (lambda found: found["fingerprints"]["shapes"].update(reader="another"), "fingerprints"),
        (lambda found: found.pop("fingerprints"), "fingerprints"),
        (lambda found: found.update(dropout=0.5), "dropout"),
        (lambda found: found.update(gamma=0.5), "gamma"),
        (None, "user_concepts_sha256"),
    ],
)
def test_a_folder_of_other_contents_is_refused(
    run: Callable[[], Any], tmp_path: Path, change: Callable[[dict[str, Any]], None] | None, name: str
) -> None:
    chosen, noted = run(), tmp_path / "run" / "seed-0" / "options.json"
    found = json.loads(noted.read_text())
    if change:
        change(found)
        noted.write_text(json.dumps(found))
    else:
        (tmp_path / "mine.txt").write_text("blue circle\n")
    before = noted.read_bytes()
    with pytest.raises(DnRError, match=rf"^`out` must be a new folder .*, which differs in {name}\)$"):
        train.train_seed(chosen, 0)
    assert noted.read_bytes() == before


def test_the_entropy_bonus_falls_to_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    noted: list[float] = []
    learn = MaskablePPO.train

    def spy(model: MaskablePPO) -> None:
        noted.append(model.ent_coef)
        learn(model)

    monkeypatch.setattr(MaskablePPO, "train", spy)
    monkeypatch.setattr(train, "validate", lambda model, options: (0.0, 0.0))
    train.train_seed(options(tmp_path, steps=1024, entropy=0.04, checkpoint_every=10_000), 0)
    assert noted == pytest.approx([0.04, 0.03, 0.02, 0.01])


@pytest.mark.slow
def test_a_policy_learns_to_beat_chance() -> None:
    chosen = options(
        envs=32, neurons="layer4:0-9", network="flat", image_cost=(0.001,), steps=10_240, learning_rate=0.002
    )
    _, learned = policy(chosen)
    jobs = [(f"layer4:{i}", seed) for seed in (1, 2, 3) for i in range(10)]
    rules = Rules(score="log_k", image_cost=0.001, budget=50)

    def mean_return(agent: Agent) -> float:
        return float(np.mean([episode.total_reward for episode in rollout(agent, jobs, rules=rules)]))

    assert mean_return(learned) > mean_return(make_agent("random")) + 0.015
