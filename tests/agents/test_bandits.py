"""Best-arm identification on arms whose means are known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from playing import JOBS, played

from dnr_env import Action, Rules
from dnr_env.agents.base import Agent
from dnr_env.agents.registry import make_agent
from dnr_env.env.observe import PROGRESS, SCORE_COLUMNS


class Arms:
    """Candidates with normally distributed measurements, as an agent sees them: undrawn first, sorted by mean."""

    def __init__(self, means: Sequence[float], noise: float, seed: int = 0, budget: int = 100) -> None:
        self.rng, self.noise, self.budget = np.random.default_rng(seed), noise, budget
        self.means = np.array(means)
        self.sums, self.counts = np.zeros(len(means)), np.zeros(len(means), int)

    def pull(self, arm: int) -> None:
        self.sums[arm] += self.rng.normal(self.means[arm], self.noise)
        self.counts[arm] += 1

    @property
    def posterior(self) -> Any:
        """The mean of the measurements; nothing is known of an arm without any."""
        return np.where(self.counts > 0, self.sums / np.maximum(self.counts, 1), 0.0)

    @property
    def order(self) -> Any:
        return np.argsort(-self.posterior, kind="stable")

    def observe(self) -> dict[str, Any]:
        scores = np.zeros((8, len(SCORE_COLUMNS)), np.float32)
        deviation = np.where(self.counts > 0, self.noise / np.sqrt(np.maximum(self.counts, 1)), 10.0)
        columns = {
            "mean": self.posterior[self.order],
            "deviation": deviation[self.order],
            "images": self.counts[self.order],
            "present": 1,
        }
        for name, values in columns.items():
            scores[: len(self.means), SCORE_COLUMNS.index(name)] = values
        progress = np.zeros(len(PROGRESS), np.float32)
        progress[PROGRESS.index("budget_left")] = (self.budget - 5 * self.counts.sum()) / 100
        progress[PROGRESS.index("images_per_measure")] = 0.05
        return {"scores": scores, "progress": progress}

    @property
    def further(self) -> int:
        """Measurements after the first of each arm."""
        return int(np.maximum(self.counts - 1, 0).sum())

    def play(self, agent: Agent, most: int = 500) -> int | None:
        """Return the arm on which an agent stops, or None if it does not stop within `most` measurements."""
        state = agent.start([0])
        for _ in range(most):
            masks = np.ones((1, 12), bool)
            masks[0, Action.KEEP] = self.budget - 5 * self.counts.sum() >= 5
            observation = {key: value[None] for key, value in self.observe().items()}
            (action,), state = agent.predict(observation, state, action_masks=masks)  # type: ignore[assignment]
            arm = int(self.order[action[1]])
            if action[0] == Action.STOP:
                return arm
            assert action[0] == Action.KEEP
            assert masks[0, Action.KEEP]
            self.pull(arm)
        return None


@pytest.mark.parametrize(
    ("spec", "arms", "budget", "counts"),
    [
        ("halving:60", 8, 100, [3, 3, 1, 1, 1, 1, 1, 1]),
        ("halving", 8, 100, [6, 6, 2, 2, 1, 1, 1, 1]),
        ("halving:300", 8, 100, [6, 6, 2, 2, 1, 1, 1, 1]),
        ("halving:40", 8, 100, [1] * 8),
        ("halving:400", 8, 1000, [24, 24, 10, 10, 3, 3, 3, 3]),
        ("halving:50", 5, 100, [3, 3, 1, 1, 1]),
        ("halving:30", 2, 100, [3, 3]),
        ("halving", 1, 100, [0]),
    ],
)
def test_halving_measures_the_better_half_of_each_round(spec: str, arms: int, budget: int, counts: list[int]) -> None:
    order = np.random.default_rng(1).permutation(arms)
    game = Arms((-order / 10).tolist(), 1e-9, budget=budget)
    assert game.play(make_agent(spec)) == int(np.argmin(order))
    assert game.counts[np.argsort(order)].tolist() == counts


@pytest.mark.parametrize(("spec", "budget", "pulls"), [("halving:20", 100, 4), ("halving", 23, 4), ("halving", 0, 0)])
def test_halving_ends_with_its_images(spec: str, budget: int, pulls: int) -> None:
    game = Arms([0.5] * 8, 0.1, budget=budget)
    assert game.play(make_agent(spec)) is not None
    assert sorted(game.counts.tolist()) == [0] * (8 - pulls) + [1] * pulls


def test_halving_takes_the_best_of_the_last_round_and_finds_it_more_often_than_a_look() -> None:
    means = [0.5, 0.4, 0.35, 0.3, 0.3, 0.2, 0.1, 0.0]
    found, looked = 0, 0
    for seed in range(200):
        look, game = Arms(means, 0.15, seed), Arms(means, 0.15, seed)
        for arm in range(8):
            look.pull(arm)
        looked += look.order[0] == 0
        label = game.play(make_agent("halving"))
        finalists = np.flatnonzero(game.counts == game.counts.max())
        assert len(finalists) == 2
        assert label == finalists[(game.sums / game.counts)[finalists].argmax()]
        found += label == 0
    assert found > looked + 20


@pytest.mark.parametrize("spec", ["lucb:1", "top-two:0.9"])
def test_large_gaps_end_sooner_than_small_ones(spec: str) -> None:
    def pulls(gap: float) -> float:
        games = [Arms([1.0, *[1 - gap] * 7], 0.1, seed, budget=10**4) for seed in range(20)]
        for game in games:
            game.play(make_agent(spec))
        return float(np.mean([game.further for game in games]))

    huge, large, small = pulls(5.0), pulls(0.4), pulls(0.1)
    assert huge == 0
    assert large < small / 2


@pytest.mark.parametrize(("bold", "careful"), [("lucb:0.2", "lucb:2"), ("top-two:0.4", "top-two:0.95")])
def test_certainty_costs_images_and_pays(bold: str, careful: str) -> None:
    def outcome(spec: str) -> tuple[float, float]:
        games = [Arms([0.6, 0.5, 0.5, 0.4, 0.3], 0.15, seed, budget=10**4) for seed in range(60)]
        right = [game.play(make_agent(spec)) == 0 for game in games]
        return float(np.mean([game.further for game in games])), float(np.mean(right))

    (few, sometimes), (many, mostly) = outcome(bold), outcome(careful)
    assert few < many
    assert mostly > 0.9 > sometimes


@pytest.mark.parametrize("spec", ["lucb:1", "top-two:0.9"])
def test_measurements_go_to_those_that_may_be_best(spec: str) -> None:
    game = Arms([1.0, 0.97, 0.0, 0.0, 0.0, 0.0], 0.1, 2, budget=10**4)
    game.play(make_agent(spec))
    assert game.further > 3
    assert (game.counts[:2] - 1).sum() == game.further


def test_a_tie_without_doubt_ends_lucb() -> None:
    for noise in (0.0, 1e-12):
        game = Arms([0.5, 0.5], noise)
        game.play(make_agent("lucb"))
        assert game.further <= 40


@pytest.mark.parametrize("name", ["halving", "halving:60", "lucb", "lucb:1", "top-two"])
def test_identification_proposes_nothing_and_measures_every_candidate_first(name: str) -> None:
    agent = make_agent(name)
    for job in JOBS[:4]:
        episode, actions = played(agent, job)
        assert {action for action, _ in actions} <= {Action.KEEP, Action.STOP}
        assert actions[-1][0] == Action.STOP
        listed = len(episode.concepts)
        assert 5 * listed <= episode.images <= 5 * agent.most_measurements(Rules(), listed)
