"""Agents: episodes that depend on their job alone, the rules of the fixed loops, and learned policies."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import stable_baselines3.common.evaluation
from safetensors.numpy import load_file, save_file
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv

import train
from agents import make_agent
from agents.base import Agent
from agents.checkpoints import load_checkpoint, network_of, save_checkpoint
from agents.compare import contestants, play
from agents.features import COUNT, INCUMBENT_MOVES, MOVES, features
from agents.learned import LearnedAgent
from agents.loops import DnDAgent
from agents.networks import Network
from agents.results import Results
from agents.rollout import Episode, Job, rollout
from dnr_env import Action, DnRError, Rules, load_stack
from dnr_env.episode import PROGRESS, SCORE_COLUMNS
from dnr_env.seeds import SeedBlock
from dnr_env.stacks import Stack

LAYER4 = [f"layer4:{i}" for i in range(12)]
JOBS: list[Job] = [(neuron, seed) for seed in (1, 2) for neuron in ("layer4:3", "layer2:9", "planted:20", "planted:41")]
JOBS.append(("layer4:3", 7))


def random_policy(seed: int = 0, moves: Any = MOVES, activation: str = "tanh") -> LearnedAgent:
    rng = np.random.default_rng(seed)
    sizes = (COUNT, 16, 16, len(moves))
    layers = tuple(
        (rng.normal(size=shape).astype(np.float32) / 3, rng.normal(size=shape[1]).astype(np.float32) / 3)
        for shape in itertools.pairwise(sizes)
    )
    return LearnedAgent("policy", Network(layers, activation), moves, {})


AGENTS: dict[str, Callable[[], Agent]] = {
    **{name: lambda name=name: make_agent(name) for name in ("stop", "random", "dnd", "dnr", "annealed")},
    "patience:1": lambda: make_agent("patience:1"),
    "patience:4": lambda: make_agent("patience:4"),
    **{
        name: lambda name=name: make_agent(name)
        for name in ("halving", "lucb:1", "top-two", "lookahead", "patience:2@linear")
    },
    "learned": random_policy,
    "learned, incumbent": lambda: random_policy(1, INCUMBENT_MOVES, "relu"),
}
EVERY = pytest.mark.parametrize("name", AGENTS)


def played(agent: Agent, job: Job, **env: Any) -> tuple[Episode, list[list[int]]]:
    """An episode, with its (action, slot)s."""
    actions: list[list[int]] = []
    predict = agent.predict

    def spy(*args: Any, **options: Any) -> Any:
        chosen, state = predict(*args, **options)
        action = np.atleast_1d(chosen[0]).tolist()
        actions.append(action if len(action) == 2 else [*action, 0])
        return chosen, state

    agent.predict = spy  # type: ignore[method-assign]
    try:
        (episode,) = rollout(agent, [job], **env)
    finally:
        del agent.predict
    return episode, actions


# --- every agent -----------------------------------------------------------------------------------------------------


@EVERY
def test_an_episode_depends_on_its_job_alone(name: str) -> None:
    env = {"user_concepts": "simulated:0.5"}
    agent = AGENTS[name]()
    alone = list(rollout(agent, JOBS, batch=1, **env))
    assert [(e.neuron, e.seed) for e in alone] == JOBS
    assert list(rollout(agent, JOBS, batch=7, **env)) == alone
    order = np.random.default_rng(0).permutation(len(JOBS)).tolist()
    shuffled = list(rollout(AGENTS[name](), [JOBS[i] for i in order], batch=64, **env))
    assert shuffled == [alone[i] for i in order]


@EVERY
@pytest.mark.parametrize("deterministic", [True, False])
def test_one_observation_is_a_batch_of_one(name: str, deterministic: bool) -> None:
    together, n = AGENTS[name](), 5
    apart = [AGENTS[name]() for _ in range(n)]
    envs: Any = gym.make_vec(
        f"dnr_env:{together.env_id}", num_envs=n, neurons="layer4", user_concepts=["red star"], max_steps=8
    )
    observation, infos = envs.reset(seed=3)
    state, states = None, [None] * n
    start = np.ones(n, bool)
    for _ in range(20):  # through ends, where another episode begins in the same step
        masks = envs.unwrapped.action_masks()
        together.watch(infos)
        actions, state = together.predict(observation, state, start, deterministic, masks)
        for row, agent in enumerate(apart):
            agent.watch({key: value[row] for key, value in infos.items() if "final" not in key})
            one = {key: value[row] for key, value in observation.items()}
            action, states[row] = agent.predict(one, states[row], start[row], deterministic, masks[row])
            assert np.shape(action) == envs.single_action_space.shape
            assert np.array_equal(action, actions[row])
            assert envs.single_action_space.contains(np.int64(action) if action.ndim == 0 else action)
        observation, _, terminated, truncated, infos = envs.step(actions)
        start = terminated | truncated


@EVERY
def test_images_are_counted_alike(name: str) -> None:
    """The first measurement, and five for every KEEP, MUTATE and ADD; the bill is for the latter."""
    for job in JOBS[:4]:
        episode, actions = played(AGENTS[name](), job, user_concepts=["red star"])
        drawing = sum(action != Action.STOP for action, _ in actions)
        assert episode.steps == len(actions)
        assert episode.added_images == 5 * drawing <= 100
        first = len(episode.concepts) - sum(action in (Action.MUTATE, Action.ADD) for action, _ in actions)
        assert episode.images == 5 * first + episode.added_images
        assert episode.truncated == (actions[-1][0] != Action.STOP)
        assert [images for images, *_ in episode.curve] == [0, *np.cumsum([5 * (a != Action.STOP) for a, _ in actions])]
        assert episode.total_reward == pytest.approx(episode.curve[-1][1] - 0.0005 * episode.added_images)


class Counter(Agent):
    """Answers how often it was asked in this episode."""

    state_size = 1

    def act(self, observation: Any, memory: Any, masks: Any, deterministic: bool) -> Any:
        memory += 1
        return memory[:, 0].astype(int)


def test_memory_is_each_episodes_own_and_ends_with_it() -> None:
    seen, agent = observations(3), Counter()
    first, state = agent.predict(seen)
    second, again = agent.predict(seen, state, np.array([False, True, False]))
    third, _ = agent.predict(seen, again)
    assert [first.tolist(), second.tolist(), third.tolist()] == [[1, 1, 1], [2, 1, 2], [3, 2, 3]]
    assert agent.predict(seen, state)[0].tolist() == [2, 2, 2]  # a state that was handed out does not change


# --- the fixed loops -------------------------------------------------------------------------------------------------


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
    """The selection rule of Describe-and-Dissect, from its paper and code, with lists."""
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
        index = np.array([stack.lab.reader.neurons.index(neuron)])
        seeds = np.tile(SeedBlock.SEARCH.seeds(0, 10, 1), (listed, 1))  # an episode's seed is its block
        evidence = stack.lab.measure([text for text, _ in texts], seeds)
        activations = stack.probe.normalise(evidence.activations[None, :, :, index[0]], index)[0]
        similarities = evidence.embeddings @ stack.probe.exemplar_embeddings[index[0]]
        chosen = dnd_choice(activations.tolist(), similarities.tolist())
        assert episode.label == texts[chosen][0]
        differs += chosen != 0
    assert differs  # the rule is not just the best score


def test_dnd_selects_with_what_it_could_afford() -> None:
    episode, actions = played(make_agent("dnd"), ("layer4:3", 1), budget=12)
    assert [action for action, _ in actions] == [Action.KEEP, Action.KEEP]
    assert episode.truncated
    assert episode.added_images == 10


def test_dnd_counts_images_of_any_measure() -> None:
    for size in (1, 4, 10, 12):
        episode, _ = played(DnDAgent(), ("layer4:3", 1), images_per_measure=size, budget=1000, max_steps=200)
        rounds = -(-10 // size)
        assert episode.images == len(episode.concepts) * rounds * size


def dnr_replay(job: Job) -> tuple[list[list[int]], str]:
    """Describe-and-Refine's loop on a single environment, with lists."""
    env = gym.make("dnr_env:DnR/RefineSlots-v0", neurons="all")
    neuron, seed = job
    digest = hashlib.sha256(f"{neuron} {seed}".encode()).digest()
    _, info = env.reset(seed=int.from_bytes(digest[:6], "big"), options={"neuron": neuron, "block": seed})

    def mean_of_best() -> float:
        return sum(sorted(info["master_scores"][: len(info["master"])].tolist())[-3:]) / 3

    actions = []
    while True:
        before = mean_of_best()
        for slot in range(3):
            actions.append([1, slot])
            *_, truncated, info = env.step(np.array([1, slot]))
            if truncated:
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
    """After each step, how many of the last steps have brought no gain."""
    scores, quiet = [score for *_, score in episode.curve], [0]
    for before, after in itertools.pairwise(scores):
        quiet.append(0 if after > before else quiet[-1] + 1)
    return quiet


@pytest.mark.parametrize("patience", [1, 2, 5])
def test_patience_stops_exactly_when_it_is_out(patience: int) -> None:
    stopped = 0
    for episode in rollout(make_agent(f"patience:{patience}"), [(neuron, 1) for neuron in LAYER4]):
        quiet = quiet_steps(episode)
        if episode.truncated:
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
    """On the same candidates, the less often the fewer steps are left; the dice depend on the episode's seed."""
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


# --- naming agents ---------------------------------------------------------------------------------------------------


def text(name: str, content: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_text(content, encoding="utf-8")


def card(**changes: Any) -> Callable[[Path], None]:
    """Change entries of the card; None takes one away."""

    def change(folder: Path) -> None:
        path = folder / "policy.json"
        entries = json.loads(path.read_text(encoding="utf-8")) | changes
        path.write_text(json.dumps({k: v for k, v in entries.items() if v is not None}), encoding="utf-8")

    return change


def tensors(**changes: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        arrays = load_file(folder / "policy.safetensors") | changes
        save_file({k: v for k, v in arrays.items() if v is not None}, folder / "policy.safetensors")

    return change


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "no card": (lambda folder: (folder / "policy.json").unlink(), "holds no policy.json"),
    "no weights": (lambda folder: (folder / "policy.safetensors").unlink(), "holds no policy.safetensors"),
    "a folder for a card": (
        lambda folder: ((folder / "policy.json").unlink(), (folder / "policy.json").mkdir()),
        "cannot be read",
    ),
    "torn card": (text("policy.json", '{"format": 1, '), "damaged"),
    "binary card": (lambda folder: (folder / "policy.json").write_bytes(b"\xff\xfe\x00"), "damaged"),
    "card of a list": (text("policy.json", "[1, 2]"), "damaged"),
    "torn weights": (
        lambda folder: (folder / "policy.safetensors").write_bytes((folder / "policy.safetensors").read_bytes()[:-40]),
        "damaged",
    ),
    "weights of rubbish": (text("policy.safetensors", "rubbish" * 20), "damaged"),
    "empty weights": (text("policy.safetensors", ""), "damaged"),
    "a pickle for weights": (
        lambda folder: (folder / "policy.safetensors").write_bytes(pickle.dumps({"0.w": [1]})),
        "damaged",
    ),
    "a layer less": (tensors(**{"2.w": None, "2.b": None}), "damaged"),
    "a bias less": (tensors(**{"1.b": None}), "damaged"),
    "another shape": (tensors(**{"1.w": np.zeros((3, 3), np.float32)}), "damaged"),
    "no tensors": (lambda folder: save_file({}, folder / "policy.safetensors"), "damaged"),
    "other features": (card(features=31), f"31.*{COUNT}"),
    "other slots": (card(slots=8), "8.*4"),
    "another format": (card(format=9), "9.*2"),
    "no format": (card(format=None), "of another version .format None, not 2.; train it again"),
    "no moves": (card(moves=None), "damaged"),
    "other moves": (card(moves=[[0, 0], [1, 0]]), "damaged"),
    "unknown moves": (card(moves=[[9, 0]] * 10), "damaged"),
    "moves of text": (card(moves="slots"), "damaged"),
    "unknown activation": (card(activation="os.system"), "damaged"),
    "another network": (card(network="set"), "damaged"),
    "embeddings that are none": (card(network="raw"), "damaged"),
    "no network": (card(network=None), "damaged"),
    "an unknown group": (card(without=["everything"]), "damaged"),
    "a group that is a number": (card(without=3), "damaged"),
    "return of text": (card(validation_return="high"), "damaged"),
    "a return that is no number": (card(validation_return=float("nan")), "damaged"),
    "a list of mutators": (card(mutator=["informed"]), "damaged"),
    "a card without an end": (text("policy.json", "[" * 100_000), "damaged"),
    "weights that are no numbers": (tensors(**{"1.b": np.full(8, np.nan, np.float32)}), "damaged"),
    "weights of another kind": (tensors(**{"1.b": np.zeros(8, np.int64)}), "damaged"),
    "a tensor more": (tensors(**{"9.b": np.zeros(8, np.float32)}), "damaged"),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_a_damaged_policy_is_one_sentence(tmp_path: Path, what: str) -> None:
    random_policy().save(tmp_path)
    assert isinstance(make_agent(str(tmp_path)), LearnedAgent)
    damage, message = DAMAGE[what]
    damage(tmp_path)
    with pytest.raises(DnRError, match=message) as caught:
        make_agent(str(tmp_path))
    assert str(caught.value).startswith("agent: ")
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("dmr", "agent: 'dmr' is not known; known are dn"),
        ("", "agent: "),
        ("clip-dissect@linear", "agent: 'clip-dissect' plays no episode and mutates nothing"),
        ("dnr@", "one mutator after one @, as dnr@informed has"),
        ("dnr@linear@informed", "one mutator after one @, as dnr@informed has"),
        ("patience", r"must be written as patience:3 \(steps without a gain, 1 or more\)"),
        ("patience:", "must be written as patience:3"),
        ("patience:0", "1 or more"),
        ("patience:-2", "1 or more"),
        ("patience:x", "'patience:x' must be written as"),
        ("patience:1.5", "1 or more"),
        ("patience:²", "1 or more"),
        ("dnr:3", "not known"),
        ("no/such/folder", "not known"),
    ],
)
def test_an_unknown_agent_is_one_sentence(spec: str, message: str) -> None:
    with pytest.raises(DnRError, match=message):
        make_agent(spec)


def test_an_empty_folder_holds_no_policy(tmp_path: Path) -> None:
    with pytest.raises(DnRError, match=r"agent: .* holds no policy\.json; a folder that train\.py wrote will do"):
        make_agent(str(tmp_path))


def test_a_run_stands_for_its_best_policy(tmp_path: Path) -> None:
    for seed, value in enumerate((0.1, 0.3, -0.2)):
        policy = random_policy(seed)
        policy.card = {"validation_return": value}
        policy.save(tmp_path / f"seed-{seed}")
    best = make_agent(str(tmp_path))
    assert best.fingerprint == random_policy(1).fingerprint
    assert make_agent(str(tmp_path / "seed-2")).fingerprint == random_policy(2).fingerprint


class Trap:
    """Unpickling it makes a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.folder),)


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    trap = pickle.dumps(Trap(tmp_path / "caught"))
    run = tmp_path / "run"
    random_policy().save(run / "seed-0")
    for folder in (run, run / "seed-0"):
        for name in ("policy.zip", "policy.pkl", "policy.pt", "checkpoint.zip", "data.pkl"):
            (folder / name).write_bytes(trap)
    assert make_agent(str(run)).fingerprint == random_policy().fingerprint
    (run / "seed-0" / "policy.safetensors").write_bytes(trap)
    with pytest.raises(DnRError, match="damaged"):
        make_agent(str(run))
    assert not (tmp_path / "caught").exists()
    with pytest.raises(FileExistsError):  # the trap would have worked
        (pickle.loads(trap), pickle.loads(trap))


# --- learned policies ------------------------------------------------------------------------------------------------


def observations(n: int, seed: int = 0) -> dict[str, Any]:
    """Observations of any kind, as far as policies look at them."""
    rng = np.random.default_rng(seed)
    scores = rng.random((n, 8, len(SCORE_COLUMNS)))
    scores[..., SCORE_COLUMNS.index("score")] = -np.sort(-scores[..., 0], axis=1)
    scores[..., SCORE_COLUMNS.index("images")] = rng.integers(1, 6, (n, 8))
    for name in ("from_user", "present"):
        scores[..., SCORE_COLUMNS.index(name)] = rng.integers(2, size=(n, 8))
    progress = rng.random((n, len(PROGRESS)))
    progress[:, -4:] = rng.normal(scale=0.1, size=(n, 4))
    return {"scores": scores.astype(np.float32), "progress": progress.astype(np.float32)}


def masks(n: int, seed: int = 0) -> Any:
    """(n, 4 + 8): any, but that the first slot can be acted on and STOP is possible."""
    allowed = np.random.default_rng(seed).random((n, 12)) < 0.6
    allowed[:, [Action.STOP, 4]] = True
    return allowed


def test_a_saved_policy_acts_the_same(tmp_path: Path) -> None:
    for moves, activation in ((MOVES, "tanh"), (INCUMBENT_MOVES, "relu")):
        policy = random_policy(4, moves, activation)
        policy.card = {"moves": "slots", "note": "ü", "validation_return": 0.25}
        policy.save(tmp_path / "seed-0")
        again = LearnedAgent.load(tmp_path / "seed-0")
        assert sorted(os.listdir(tmp_path / "seed-0")) == ["policy.json", "policy.safetensors"]
        assert again.fingerprint == policy.fingerprint
        assert again.card["note"] == "ü"
        seen, allowed = observations(600), masks(600)
        for deterministic in (True, False):
            ours, _ = policy.predict(seen, deterministic=deterministic, action_masks=allowed)
            theirs, _ = again.predict(seen, deterministic=deterministic, action_masks=allowed)
            assert np.array_equal(ours, theirs)
            assert len({tuple(action) for action in ours.tolist()}) > 3
            assert allowed[np.arange(600), ours[:, 0]].all()
            assert allowed[np.arange(600), 4 + ours[:, 1]].all()
        again.save(tmp_path / "again")
        for name in ("policy.json", "policy.safetensors"):
            assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "seed-0" / name).read_bytes()


def test_a_row_of_the_network_does_not_depend_on_the_others() -> None:
    rng = np.random.default_rng(0)
    shapes = ((COUNT, 64), (64, 64), (64, 10))
    layers = tuple((rng.normal(size=s).astype(np.float32), rng.normal(size=s[1]).astype(np.float32)) for s in shapes)
    network, rows = Network(layers, "tanh"), features(observations(65))
    together = network(rows)
    assert all(np.array_equal(together[i], network(rows[i : i + 1])[0]) for i in range(65))


def test_undetermined_actions_follow_the_probabilities() -> None:
    chances = np.array([0.5, 0.2, 0.1, 0.05, 0.05, 0.04, 0.03, 0.02, 0.005, 0.005])
    network = Network(((np.zeros((COUNT, 10), np.float32), np.log(chances).astype(np.float32)),), "tanh")
    actions, _ = LearnedAgent("policy", network, MOVES, {}).predict(observations(4000), deterministic=False)
    counts = np.array([(actions == move).all(axis=1).sum() for move in MOVES])
    assert counts.sum() == 4000
    assert (np.abs(counts - 4000 * chances) < 4 * np.sqrt(4000 * chances)).all()


def options(out: Path, **changes: Any) -> train.Options:
    small: dict[str, Any] = {
        "envs": 16, "neurons": "layer4:0-5", "validation": "layer4:6-8", "steps": 1024, "network": "flat"
    }  # fmt: skip
    return train.Options(out=out, **{**small, **changes})


@pytest.mark.parametrize("moves", ["slots", "incumbent"])
@pytest.mark.parametrize("algorithm", ["maskable-ppo", "ppo", "a2c", "dqn", "qr-dqn"])
def test_the_exported_network_is_the_policy(tmp_path: Path, algorithm: str, moves: str) -> None:
    chosen = options(tmp_path, algorithm=algorithm, moves=moves, learning_rate=0.02)
    model = train.make_model(chosen, seed=0)
    untrained = network_of(model)
    if "dqn" in algorithm:
        model.learning_starts = 100
    model.learn(chosen.steps)
    policy = LearnedAgent("policy", network_of(model), train.MOVE_SETS[moves], {})
    assert policy.network.activation == ("relu" if "dqn" in algorithm else "tanh")
    assert not np.array_equal(untrained.layers[0][0], policy.network.layers[0][0])
    seen, allowed = observations(600), masks(600)
    if algorithm == "maskable-ppo":
        ours, _ = policy.predict(seen, action_masks=allowed)
        action, slot = policy.moves.T
        theirs, _ = model.predict(
            features(seen), deterministic=True, action_masks=allowed[:, action] & allowed[:, 4 + slot]
        )
    else:
        ours, _ = policy.predict(seen)
        theirs, _ = model.predict(features(seen), deterministic=True)
    assert np.array_equal(ours, policy.moves[theirs])
    least = 1e-4 if algorithm == "qr-dqn" else 0.01  # quantiles move slowly
    assert np.ptp(policy.network(features(seen)), axis=0).min() > least  # it looks at what it sees


def test_a_folder_may_have_an_at_in_its_name(tmp_path: Path) -> None:
    shipped = make_agent("learned")
    assert isinstance(shipped, LearnedAgent)
    shipped.save(tmp_path / "mine@home")
    assert make_agent(str(tmp_path / "mine@home")).env_options == {"mutator": "informed"}
    assert make_agent(f"{tmp_path / 'mine@home'}@evidence").env_options == {"mutator": "evidence"}


def replaced(data: bytes, old: bytes, new: bytes) -> bytes:
    """A safetensors file with another text in its header, which JSON has within a string."""
    size = int.from_bytes(data[:8], "little")
    quoted, other = (json.dumps(text.decode())[1:-1].encode() for text in (old, new))
    header = data[8 : 8 + size]
    assert quoted in header
    header = header.replace(quoted, other).ljust(size)
    return data[:8] + header + data[8 + size :]


@pytest.mark.parametrize(
    ("algorithm", "network"),
    [*((learner, "flat") for learner in ("maskable-ppo", "a2c", "dqn", "qr-dqn")), ("maskable-ppo", "set"),
     ("ppo", "recurrent")],
)  # fmt: skip
def test_a_checkpoint_brings_everything_back(tmp_path: Path, algorithm: str, network: str) -> None:
    chosen = options(tmp_path, algorithm=algorithm, network=network)
    model = train.make_model(chosen, seed=0)
    if "dqn" in algorithm:
        model.learning_starts = 100
    model.learn(chosen.steps)
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
    with pytest.raises(DnRError, match=r"checkpoint\.safetensors is damaged"):
        load_checkpoint(train.make_model(chosen, seed=0), path)
    other = [b"[5]", b"[{}]", b"5", b"{", json.dumps([dict.fromkeys(curve[0], "1")]).encode()]
    for damaged in other:
        path.write_bytes(replaced(whole, json.dumps(curve).encode(), damaged))
        with pytest.raises(DnRError, match=r"checkpoint\.safetensors is damaged"):
            load_checkpoint(train.make_model(chosen, seed=0), path)


def test_a_policy_learns_to_beat_chance(tmp_path: Path) -> None:
    chosen = options(tmp_path, envs=32, neurons="layer4:0-9", steps=10_240, learning_rate=0.002)
    model = train.make_model(chosen, seed=0)
    model.learn(chosen.steps)
    jobs = [(f"layer4:{i}", seed) for seed in (1, 2, 3) for i in range(10)]
    learned = LearnedAgent("policy", network_of(model), train.MOVE_SETS[chosen.moves], {})

    def mean_return(agent: Agent) -> float:
        return float(np.mean([episode.total_reward for episode in rollout(agent, jobs)]))

    assert mean_return(learned) > mean_return(make_agent("random")) + 0.015


def test_episodes_are_plain_data() -> None:
    (episode,) = rollout(make_agent("patience:1"), JOBS[:1])
    assert json.loads(json.dumps(dataclasses.asdict(episode)))["label"] == episode.label


def test_the_reference_is_the_last_agent_named_whatever_was_played_first(tmp_path: Path) -> None:
    def compare(*names: str) -> Results:
        path = tmp_path / "results.jsonl"
        return Results(play(load_stack("shapes"), contestants(names), LAYER4[:2], [1], path, Rules()), {})

    assert compare("stop", "patience:1").reference == "patience:1"
    again = compare("random", "patience:1", "stop")  # two of them are in the file already, in another order
    assert again.agents == ["random", "patience:1", "stop"]
    assert again.reference == "stop"
