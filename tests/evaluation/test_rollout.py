"""The evaluation loop: its image seeds, its counts, and the episodes of agents that do not play."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import pytest
from playing import JOBS

from dnr_env import Action, Rules
from dnr_env.agents.registry import make_agent
from dnr_env.evaluation.judge import judge
from dnr_env.evaluation.rollout import rollout
from dnr_env.seeds import BLOCKS, Purpose
from dnr_env.stack import Stack


def test_everything_of_an_evaluation_is_drawn_from_the_block_of_its_seed(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    measure = stack.lab.measure

    def spy(*, concepts: Sequence[str], seeds: Any, neurons: Any = None) -> Any:
        asked.extend(seeds.ravel().tolist())
        return measure(concepts=concepts, seeds=seeds, neurons=neurons)

    monkeypatch.setattr(stack.lab, "measure", spy)
    for seed, block in ((3, 3), (BLOCKS + 5, 5)):
        asked.clear()
        (episode,) = rollout(make_agent("rounds:1"), [("layer4:3", seed)], stack=stack)
        judge(
            stack,
            neurons=["layer4:3"],
            labels=[episode.label],
            rules=Rules(score="log_k", images_per_measure=5),
            blocks=[block],
        )
        own = {int(one) for purpose in Purpose for one in purpose.seeds(0, 50, block)}
        assert set(asked) <= own
        assert {max(purpose for purpose in Purpose if purpose <= one) for one in asked} == {
            Purpose.SEARCH,
            Purpose.REWARD,
            Purpose.JUDGE,
        }


def test_images_of_rewards_are_counted(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    measured: set[tuple[str, int]] = set()
    measure = stack.lab.measure

    def spy(*, concepts: Sequence[str], seeds: Any, neurons: Any = None) -> Any:
        for text, row in zip(concepts, seeds.tolist(), strict=True):
            measured.update((text, seed) for seed in row if Purpose.REWARD <= seed < Purpose.JUDGE)
        return measure(concepts=concepts, seeds=seeds, neurons=neurons)

    monkeypatch.setattr(stack.lab, "measure", spy)
    for name in ("stop", "rounds:3", "patience:2@informed", "promise"):
        measured.clear()
        (episode,) = rollout(make_agent(name), [("layer2:9", 2)], stack=stack)
        assert episode.reward_images == len(measured)
        (unpaid,) = rollout(make_agent(name), [("layer2:9", 2)], stack=stack, rules=Rules(reward="none"))
        assert unpaid.reward_images == 0


def test_a_label_without_an_episode_gains_what_its_images_show() -> None:
    """Its return is its held-out value minus that of the first incumbent, without a price of images."""
    jobs = [(f"layer4:{i}", 1) for i in (3, 7, 20)]
    played = list(rollout(make_agent("stop"), jobs, rules=Rules(image_cost=0.0)))
    oracle = list(rollout(make_agent("oracle"), jobs))
    assert [one.first_label for one in oracle] == [one.first_label for one in played]
    checked = 0
    for one in oracle:
        env = gym.make("dnr_env:DnR/Refine-v0", image_cost=0.0, user_concepts=[one.label])
        env.reset(options={"neuron": one.neuron, "concepts": [one.first_label], "block": one.seed})
        _, gained, *_, info = env.step(Action.ADD)
        if info["label"] == one.label:
            assert one.total_reward == pytest.approx(gained, abs=1e-6)
            checked += 1
    assert checked >= 2
    assert sum(one.total_reward for one in oracle) > 0.05
    assert {one.total_reward for one in rollout(make_agent("oracle"), jobs, rules=Rules(reward="none"))} == {0.0}


def test_episodes_are_plain_data() -> None:
    (episode,) = rollout(make_agent("patience:1"), JOBS[:1])
    assert json.loads(json.dumps(dataclasses.asdict(episode)))["label"] == episode.label


@pytest.mark.parametrize(
    "name", ["halving:25", "lucb:1", "top-two:0.9", "rounds:3", "constant", "random-label", "oracle"]
)
def test_episodes_are_the_same_every_time_and_in_any_batch(name: str) -> None:
    once = list(rollout(make_agent(name), JOBS))
    assert list(rollout(make_agent(name), JOBS)) == once
    assert list(rollout(make_agent(name), JOBS[::-1], batch=1)) == once[::-1]
