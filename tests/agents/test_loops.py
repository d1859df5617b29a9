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

from dnr_env import Action, Rules
from dnr_env.agents.loops import DnDAgent, PatienceAgent
from dnr_env.agents.registry import make_agent
from dnr_env.env.observe import PROGRESS, SCORE_COLUMNS
from dnr_env.evaluation.rollout import Episode, Job, rollout
from dnr_env.seeds import Purpose, block_of
from dnr_env.stack import Stack


def test_stop_draws_nothing_and_takes_the_best_promise() -> None:
    for episode in rollout(make_agent("stop"), JOBS):
        assert (episode.steps, episode.images, episode.total_reward) == (1, 0, 0.0)
        assert episode.label == episode.first_label


def test_random_does_what_has_an_effect_and_all_of_it() -> None:
    def seen(**env: Any) -> set[int]:
        return {action for job in JOBS for action, _ in played(make_agent("random"), job, **env)[1]}

    assert seen() == {Action.KEEP, Action.MUTATE, Action.STOP}
    assert seen(user_concepts=["red star", "dotted ring"]) == set(Action)
    assert seen(budget=4) == {Action.MUTATE, Action.STOP}


MEASURING = ("dnr", "patience:3", "rounds:2", "annealed", "lookahead", "halving", "lucb", "top-two")


@pytest.mark.parametrize("name", MEASURING)
def test_a_loop_measures_what_is_listed_before_it_goes_on(name: str) -> None:
    """It draws all candidates first, and a mutant before the next one, as the published loops do."""
    for job in JOBS[:3]:
        episode, actions = played(make_agent(name), job)
        first = sum(born == 0 for born in births(actions, episode))
        assert [action for action, _ in actions[:first]] == [Action.KEEP] * first
        if not episode.ran_out and episode.images <= 95:  # a mutant may promise too little for a slot
            best = sorted(episode.concepts, key=lambda concept: -(concept[1] or 0.0))[:8]
            assert all(images for *_, images in best)


def births(actions: list[list[int]], episode: Episode) -> list[int]:
    """0 for each candidate of the start and 1 for each later concept, from the number of mutations that were new."""
    mutants = sum(origin != episode.origins[0] for origin in episode.origins)
    return [0] * (len(episode.concepts) - mutants) + [1] * mutants


@pytest.mark.parametrize("name", [*MEASURING, "dnd", "shortlist:3"])
def test_without_a_budget_a_loop_goes_on_and_ends(name: str) -> None:
    episode, actions = played(make_agent(name), JOBS[0], budget=0)
    assert Action.KEEP not in {action for action, _ in actions}
    assert episode.images == 0
    assert episode.label


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
        texts = [text for text, *_ in episode.concepts]
        assert episode.images == 10 * len(texts) <= 50
        assert [action for action, _ in actions] == [Action.KEEP] * (2 * len(texts)) + [Action.STOP]
        index = np.array([stack.neurons.index(neuron)])
        seeds = np.tile(Purpose.SEARCH.seeds(0, 10, block_of(1)), (len(texts), 1))
        evidence = stack.lab.measure(concepts=texts, neurons=np.repeat(index, len(texts)), seeds=seeds)
        activations = stack.probe.normalise(evidence.activations, np.repeat(index, len(texts)))
        similarities = evidence.embeddings @ stack.probe.exemplar_embeddings[index[0]]
        order = np.argsort([-(mean or 0.0) for _, mean, _ in episode.concepts], kind="stable")
        chosen = order[dnd_choice(activations[order].tolist(), similarities[order].tolist())]
        assert episode.label == texts[chosen]
        differs += chosen != order[0]
    assert differs  # the rule is not just the best mean


def test_dnd_selects_with_what_it_could_afford() -> None:
    episode, actions = played(make_agent("dnd"), ("layer4:3", 1), budget=12)
    assert [action for action, _ in actions] == [Action.KEEP, Action.KEEP, Action.STOP]
    assert episode.images == 10


def test_dnd_counts_images_of_any_measure() -> None:
    for size in (4, 10, 12):
        rules: dict[str, Any] = {"images_per_measure": size, "budget": 1000, "max_steps": 200}
        episode, _ = played(DnDAgent(), ("layer4:3", 1), **rules)
        rounds = -(-10 // size)
        listed = len(episode.concepts)
        assert episode.images == listed * rounds * size == size * DnDAgent().most_measurements(Rules(**rules), listed)


def dnr_replay(job: Job) -> tuple[list[list[int]], str]:
    """Play Describe-and-Refine's loop on a single environment, reimplemented with lists."""
    env = gym.make("dnr_env:DnR/RefineSlots-v0", neurons="all")
    neuron, seed = job
    digest = hashlib.sha256(f"{neuron} {seed}".encode()).digest()
    options = {"neuron": neuron, "block": block_of(seed)}
    observation, info = env.reset(seed=int.from_bytes(digest[:6], "big"), options=options)
    actions: list[list[int]] = []

    def rows() -> list[tuple[float, int]]:
        """The drawn slots as (score, slot), best score first."""
        table = [dict(zip(SCORE_COLUMNS, row, strict=True)) for row in observation["scores"].tolist()]
        return sorted(((-row["score"], slot) for slot, row in enumerate(table) if row["images"]), key=lambda r: r)

    def do(action: int, slot: int) -> bool:
        nonlocal observation, info
        actions.append([action, slot])
        observation, _, ended, _, info = env.step(np.array([action, slot]))
        return bool(ended)

    def measure() -> bool:
        """Draw what is undrawn; True if the episode ends by that."""
        while info["action_mask"][Action.KEEP]:
            table = observation["scores"]
            undrawn = (table[:, SCORE_COLUMNS.index("present")] > 0) & (table[:, SCORE_COLUMNS.index("images")] == 0)
            if not undrawn.any():
                break
            if do(Action.KEEP, int(undrawn.argmax())):
                return True
        return False

    ended = measure()
    while not ended:
        before = np.mean([-score for score, _ in rows()[:3]])
        for rank in range(3):
            ended = do(Action.MUTATE, rows()[rank][1]) or measure()
            if ended:
                return actions, info["label"]
        if np.mean([-score for score, _ in rows()[:3]]) <= before:
            do(Action.STOP, rows()[0][1])
            break
    return actions, info["label"]


def test_dnr_stops_after_the_first_iteration_that_gains_nothing() -> None:
    lengths, stopped = set(), 0
    for job in [(neuron, 1) for neuron in LAYER4]:
        episode, actions = played(make_agent("dnr"), job)
        expected, label = dnr_replay(job)
        assert actions == expected
        assert episode.label == label
        lengths.add(len(actions))
        stopped += not episode.ran_out
    assert stopped
    assert len(lengths) > 1


@pytest.mark.parametrize("patience", [1, 2, 4])
def test_patience_stops_exactly_when_it_is_out(patience: int) -> None:
    stopped = 0
    for neuron in LAYER4[:8]:
        episode, actions = played(make_agent(f"patience:{patience}"), (neuron, 1))
        means = [float(mean) for (*_, mean), (action, _) in zip(episode.curve, actions, strict=False)
                 if action in (Action.MUTATE, Action.STOP) and mean is not None]  # fmt: skip
        quiet = [0]
        for before, after in itertools.pairwise(means):
            quiet.append(0 if np.float32(after) > np.float32(before) else quiet[-1] + 1)
        if episode.ran_out:
            assert max(quiet) < patience
        else:
            stopped += 1
            assert quiet.index(patience) == len(quiet) - 1
    assert stopped


def test_more_patience_costs_more_images() -> None:
    jobs = [(neuron, 1) for neuron in LAYER4]
    one, twenty = (list(rollout(make_agent(f"patience:{p}"), jobs)) for p in (1, 20))
    assert np.mean([e.images for e in one]) < np.mean([e.images for e in twenty]) - 5
    for short, long in zip(one, twenty, strict=True):  # the same episode, broken off
        assert long.curve[: short.steps - 1] == short.curve[: short.steps - 1]


def test_annealed_leaves_the_incumbent_ever_less() -> None:
    """With fewer steps left, annealing mutates the incumbent more often. It is random over episode seeds."""
    agent = make_agent("annealed")
    scores, progress = np.zeros((300, 8, len(SCORE_COLUMNS)), np.float32), np.zeros((300, len(PROGRESS)), np.float32)
    scores[..., SCORE_COLUMNS.index("mean")] = 0.6 - 0.02 * np.arange(8)
    scores[..., SCORE_COLUMNS.index("present")] = 1
    scores[..., SCORE_COLUMNS.index("images")] = 1
    leaves = []
    for left in (1.0, 0.5, 0.1):
        progress[:, PROGRESS.index("steps_left")] = left
        actions, _ = agent.predict({"scores": scores, "progress": progress}, agent.start(range(300)))
        assert (actions[:, 0] == Action.MUTATE).all()
        leaves.append(np.mean(actions[:, 1] != 0))
    assert leaves[0] > leaves[1] > leaves[2]
    assert 0.25 < leaves[0] < 1
    _, played_actions = played(agent, (LAYER4[0], 1))
    assert {Action.MUTATE, Action.KEEP} <= {action for action, _ in played_actions}


def test_evaluate_policy_of_stable_baselines_plays_a_fixed_loop() -> None:
    def make() -> gym.Env[Any, Any]:
        return gym.make("dnr_env:DnR/RefineSlots-v0", neurons="layer4:0-9")

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
