"""The evaluation loop: its image seeds, its counts, and the episodes of agents that do not play."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from playing import JOBS, Drawing

from dnr_env import Action, Rules
from dnr_env.agents.registry import make_agent
from dnr_env.evaluation.judge import judge
from dnr_env.evaluation.rollout import price, rollout
from dnr_env.interfaces import MutationBatch, Origin, Suggestion, Usage
from dnr_env.seeds import EVALUATION_BLOCKS, Purpose, block_of
from dnr_env.stack import Bill, Stack


def test_everything_of_an_evaluation_is_drawn_from_the_block_of_its_seed(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    measure = stack.lab.measure

    def spy(*, concepts: Sequence[str], seeds: Any, neurons: Any = None) -> Any:
        asked.extend(seeds.ravel().tolist())
        return measure(concepts=concepts, seeds=seeds, neurons=neurons)

    monkeypatch.setattr(stack.lab, "measure", spy)
    for seed, block in ((3, 11), (EVALUATION_BLOCKS + 5, 13)):
        asked.clear()
        (episode,) = rollout(Drawing(), [("layer4:3", seed)], stack=stack)
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
    for agent in (make_agent("stop"), make_agent("promise"), Drawing()):
        measured.clear()
        (episode,) = rollout(agent, [("layer2:9", 2)], stack=stack)
        assert episode.reward_images == len(measured)
        (unpaid,) = rollout(agent, [("layer2:9", 2)], stack=stack, rules=Rules(reward="none"))
        assert unpaid.reward_images == 0


def test_every_image_of_the_search_is_billed(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: set[tuple[str, int]] = set()
    measure = stack.lab.measure

    def spy(*, concepts: Sequence[str], seeds: Any, neurons: Any = None) -> Any:
        for text, row in zip(concepts, seeds.tolist(), strict=True):
            drawn.update((text, seed) for seed in row if seed < Purpose.REWARD)
        return measure(concepts=concepts, seeds=seeds, neurons=neurons)

    monkeypatch.setattr(stack.lab, "measure", spy)
    rules = Rules(image_cost=0.01, reward="none")
    for agent in (make_agent("stop"), make_agent("promise"), Drawing()):
        drawn.clear()
        (episode,) = rollout(agent, [("layer2:9", 2)], stack=stack, rules=rules)
        assert episode.images == len(drawn) == sum(images for *_, images in episode.concepts)
        assert episode.total_reward == pytest.approx(-0.01 * episode.images)
        assert [images for images, *_ in episode.curve] == sorted(images for images, *_ in episode.curve)
        assert (episode.curve[0][0], episode.curve[-1][0]) == (0, episode.images)
        assert all(gained == pytest.approx(0) for _, gained, _ in episode.curve)  # the price is no part of it
        assert price(rules, episode) == pytest.approx(0.01 * episode.images)


def test_the_estimate_is_that_of_the_label() -> None:
    played = list(rollout(Drawing(), JOBS))
    for episode in played:
        means = {text: mean for text, mean, _ in episode.concepts}
        assert episode.mean == means[episode.label] == max(means.values(), key=lambda mean: mean or 0)
        assert episode.curve[-1][2] == episode.mean
        assert episode.deviation is not None
        assert episode.deviation > 0
        assert not episode.ran_out
    (unplayed,) = rollout(make_agent("promise"), JOBS[:1])
    assert (unplayed.mean, unplayed.deviation, unplayed.images) == (None, None, 0)
    assert unplayed.concepts == [(unplayed.label, None, 0)]


@pytest.mark.parametrize(("rules", "steps", "out"), [(Rules(max_steps=3), 3, True), (Rules(budget=0), 13, False)])
def test_an_episode_runs_out_of_steps_alone(rules: Rules, steps: int, out: bool) -> None:
    for episode in rollout(Drawing(), JOBS[:3], rules=rules):
        assert (episode.steps, episode.ran_out) == (steps, out)
        assert episode.images <= rules.budget


def test_a_mutation_that_costs_dollars_is_billed(stack: Stack) -> None:
    """A model of language that reads a million tokens of a dollar each, for each mutation."""

    class Paid:
        origin: Origin = "writer"

        def mutate(self, batch: MutationBatch) -> list[Suggestion]:
            free = stack.mutators["random"].mutate(batch)
            return [one._replace(usage=Usage(1, 1_000_000, 0)) for one in free]

    paid = dataclasses.replace(stack, mutators={"paid": Paid()}, bill=Bill((1.0, 1.0)))
    rules = Rules(dollar_cost=0.02, image_cost=0.001, reward="none")
    for episode in rollout(Drawing(), JOBS[:2], stack=paid, rules=rules):
        assert episode.mutation_cost == episode.calls == 4
        assert episode.total_reward == pytest.approx(-0.02 * 4 - 0.001 * episode.images)
        assert price(rules, episode) == pytest.approx(-episode.total_reward)
        assert all(gained == pytest.approx(0) for _, gained, _ in episode.curve)


def test_a_label_without_an_episode_gains_what_its_images_show() -> None:
    """Its return is its held-out value minus that of the first incumbent, without a price of images."""
    jobs = [(f"layer4:{i}", 1) for i in (3, 7, 20)]
    played = list(rollout(make_agent("stop"), jobs, rules=Rules(image_cost=0.0)))
    oracle = list(rollout(make_agent("oracle"), jobs))
    assert [one.first_label for one in oracle] == [one.first_label for one in played]
    checked = 0
    for one in oracle:
        env: Any = gym.make("dnr_env:DnR/RefineSlots-v0", image_cost=0.0, user_concepts=[one.label])
        options = {"neuron": one.neuron, "concepts": [one.first_label], "block": block_of(one.seed)}
        env.reset(options=options)
        _, gained, *_, info = env.step(np.array([Action.ADD, 0]))
        _, more, *_ = env.step(np.array([Action.STOP, info["concepts"].index(one.label)]))
        assert one.total_reward == pytest.approx(gained + more, abs=1e-6)
        checked += one.label != one.first_label
    assert checked >= 2
    assert {one.total_reward for one in rollout(make_agent("oracle"), jobs, rules=Rules(reward="none"))} == {0.0}


def test_episodes_are_plain_data() -> None:
    (episode,) = rollout(Drawing(), JOBS[:1])
    assert json.loads(json.dumps(dataclasses.asdict(episode)))["label"] == episode.label


@pytest.mark.parametrize("name", ["drawing", "halving:25", "lucb:1", "rounds:3", "constant", "random-label", "oracle"])
def test_episodes_are_the_same_every_time_and_in_any_batch(name: str) -> None:
    agent = Drawing if name == "drawing" else partial(make_agent, name)
    once = list(rollout(agent(), JOBS))
    assert list(rollout(agent(), JOBS)) == once
    assert list(rollout(agent(), JOBS[::-1], batch=1)) == once[::-1]
