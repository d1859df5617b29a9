"""The fixed loops, each against its definition."""

from __future__ import annotations

import hashlib
import itertools
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import stable_baselines3.common.evaluation
from playing import JOBS, LAYER4, played
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv

from dnr_env import Action
from dnr_env.agents.loops import DnDAgent, PatienceAgent
from dnr_env.agents.registry import make_agent
from dnr_env.env.state import PROGRESS, SCORE_COLUMNS
from dnr_env.evaluation.rollout import Episode, Job, rollout
from dnr_env.seeds import Purpose
from dnr_env.stack import Stack


def test_stop_stops() -> None:
    for episode in rollout(make_agent("stop"), JOBS):
        assert (episode.steps, episode.added_images, episode.total_reward) == (1, 0, 0.0)
        assert episode.label == episode.first_label


def test_random_does_what_has_an_effect_and_all_of_it() -> None:
    def seen(**env: Any) -> set[int]:
        return {action for job in JOBS for action, _ in played(make_agent("random"), job, **env)[1]}

    assert seen() == {Action.KEEP, Action.MUTATE, Action.STOP}
    assert seen(user_concepts=["red star", "dotted ring"]) == set(Action)
    assert seen(budget=4) == {Action.STOP}


def dnd_choice(activations: list[list[float]], similarities: list[list[float]]) -> int:
    """Apply the selection rule of Describe-and-Dissect, reimplemented with lists from its paper and code."""
    concepts, images = len(activations), len(activations[0])
    everything = sorted(
        ((c, i) for c in range(concepts) for i in range(images)), key=lambda at: -activations[at[0]][at[1]]
    )
    rank = {at: place for place, at in enumerate(everything)}
    squared = [sum(r * r for r in sorted(rank[c, i] for i in range(images))[:5]) / 5 for c in range(concepts)]
    best_first = sorted(range(concepts), key=squared.__getitem__)
    results = []
    for c in range(concepts):
        near = [similarities[c][i] for i in range(images) if rank[c, i] < 10]
        weight = sum(near) / len(near) if near else -1.0
        results.append((concepts - best_first.index(c)) * weight)
    return results.index(max(results))


def test_dnd_measures_ten_images_of_each_and_selects_by_its_rule(stack: Stack) -> None:
    differs = 0
    for neuron in LAYER4:
        episode, actions = played(make_agent("dnd"), (neuron, 1))
        listed = len(episode.concepts)
        assert episode.images == 10 * listed
        assert [action for action, _ in actions] == [Action.KEEP] * listed + [Action.STOP]
        texts = sorted(episode.concepts, key=lambda concept: -concept[1])
        index = np.array([stack.neurons.index(neuron)])
        seeds = np.tile(Purpose.SEARCH.seeds(0, 10, 1), (listed, 1))  # an episode's seed is its block
        evidence = stack.lab.measure(concepts=[text for text, _ in texts], seeds=seeds)
        activations = stack.probe.normalise(evidence.activations[None, :, :, index[0]], index)[0]
        similarities = evidence.embeddings @ stack.probe.exemplar_embeddings[index[0]]
        chosen = dnd_choice(activations.tolist(), similarities.tolist())
        assert episode.label == texts[chosen][0]
        differs += chosen != 0
    assert differs  # the rule is not just the best score


def test_dnd_selects_with_what_it_could_afford() -> None:
    episode, actions = played(make_agent("dnd"), ("layer4:3", 1), budget=12)
    assert [action for action, _ in actions] == [Action.KEEP, Action.KEEP]
    assert episode.ran_out
    assert episode.added_images == 10


def test_dnd_counts_images_of_any_measure() -> None:
    for size in (4, 10, 12):
        episode, _ = played(DnDAgent(), ("layer4:3", 1), images_per_measure=size, budget=1000, max_steps=200)
        rounds = -(-10 // size)
        assert episode.images == len(episode.concepts) * rounds * size


def test_dnd_has_five_candidates() -> None:
    episodes = list(rollout(make_agent("dnd"), JOBS))
    assert max(len(episode.concepts) for episode in episodes) == 5
    assert all(episode.images == 10 * len(episode.concepts) for episode in episodes)


def dnr_replay(job: Job) -> tuple[list[list[int]], str]:
    """Play Describe-and-Refine's loop on a single environment, reimplemented with lists."""
    env = gym.make("dnr_env:DnR/RefineSlots-v0", neurons="all")
    neuron, seed = job
    digest = hashlib.sha256(f"{neuron} {seed}".encode()).digest()
    _, info = env.reset(seed=int.from_bytes(digest[:6], "big"), options={"neuron": neuron, "block": seed})

    def mean_of_best() -> float:
        scores: list[float] = info["master_scores"][: sum(map(bool, info["master"]))].tolist()
        return sum(sorted(scores)[-3:]) / 3

    actions = []
    while True:
        before = mean_of_best()
        for slot in range(3):
            actions.append([1, slot])
            _, _, ended, _, info = env.step(np.array([1, slot]))
            if ended:
                return actions, info["label"]
        if mean_of_best() <= before:
            return [*actions, [3, 0]], info["label"]


def test_dnr_stops_after_the_first_iteration_that_gains_nothing() -> None:
    iterations = set()
    for job in [(neuron, seed) for neuron in LAYER4 for seed in (1, 2)]:
        episode, actions = played(make_agent("dnr"), job)
        expected, label = dnr_replay(job)
        assert actions == expected
        assert episode.label == label
        iterations.add(len(actions) // 3)
    assert len(iterations) > 2  # some stop at once, some go on


def quiet_steps(episode: Episode) -> list[int]:
    """Count, after each step, the consecutive steps without a gain."""
    scores, quiet = [score for *_, score in episode.curve], [0]
    for before, after in itertools.pairwise(scores):
        quiet.append(0 if after > before else quiet[-1] + 1)
    return quiet


@pytest.mark.parametrize("patience", [1, 2, 5])
def test_patience_stops_exactly_when_it_is_out(patience: int) -> None:
    stopped = 0
    for episode in rollout(make_agent(f"patience:{patience}"), [(neuron, 1) for neuron in LAYER4]):
        quiet = quiet_steps(episode)
        if episode.ran_out:
            assert max(quiet[:-1]) < patience
        else:
            stopped += 1
            assert quiet.index(patience) == episode.steps - 1  # the last step is STOP itself
    assert stopped > 3


def test_more_patience_costs_more_images() -> None:
    jobs = [(neuron, 1) for neuron in LAYER4]
    one, twenty = (list(rollout(make_agent(f"patience:{p}"), jobs)) for p in (1, 20))
    assert {e.added_images for e in twenty} == {100}
    assert np.mean([e.added_images for e in one]) < 50
    for short, long in zip(one, twenty, strict=True):  # the same episode, broken off
        assert long.curve[: short.steps - 1] == short.curve[: short.steps - 1]


def test_annealed_leaves_the_incumbent_ever_less() -> None:
    """With fewer steps left, annealing mutates the incumbent more often. It is random over episode seeds."""
    agent = make_agent("annealed")
    scores, progress = np.zeros((300, 8, len(SCORE_COLUMNS)), np.float32), np.zeros((300, len(PROGRESS)), np.float32)
    scores[..., SCORE_COLUMNS.index("score")] = 0.6 - 0.02 * np.arange(8)
    scores[..., SCORE_COLUMNS.index("present")] = 1
    leaves = []
    for left in (1.0, 0.5, 0.1):
        progress[:, PROGRESS.index("steps_left")] = left
        actions, _ = agent.predict({"scores": scores, "progress": progress}, agent.start(range(300)))
        assert (actions[:, 0] == Action.MUTATE).all()
        leaves.append(np.mean(actions[:, 1] != 0))
    assert leaves[0] > leaves[1] > leaves[2]
    assert 0.25 < leaves[0] < 1
    _, played_actions = played(agent, (LAYER4[0], 1))
    assert {action for action, _ in played_actions} <= {Action.MUTATE, Action.STOP}


def test_evaluate_policy_of_stable_baselines_plays_a_fixed_loop() -> None:
    def make() -> gym.Env[Any, Any]:
        return gym.make("dnr_env:DnR/Refine-v0", neurons="layer4:0-9")

    envs = DummyVecEnv([lambda: Monitor(make())])
    envs.seed(11)
    returns, lengths = stable_baselines3.common.evaluation.evaluate_policy(
        make_agent("patience:2"), envs, n_eval_episodes=5, return_episode_rewards=True
    )
    env, agent = make(), make_agent("patience:2")
    for i in range(5):
        observation, _ = env.reset(seed=11 if i == 0 else None)
        total, steps, state, ended = 0.0, 0, None, False
        while not ended:
            action, state = agent.predict(observation, state, np.array([steps == 0]))
            observation, reward, terminated, truncated, _ = env.step(action)
            total, steps, ended = total + float(reward), steps + 1, terminated or truncated
        assert (steps, pytest.approx(total, abs=1e-5)) == (lengths[i], returns[i])


def test_a_loop_may_ask_for_a_mutator() -> None:
    searched = list(rollout(make_agent("patience:3@linear"), JOBS))
    assert searched == list(rollout(PatienceAgent(3), JOBS, mutator="linear"))
    assert searched != list(rollout(PatienceAgent(3), JOBS))
