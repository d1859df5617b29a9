"""What policies are given, the networks that they are, and training on several prices, budgets and users at once."""

from __future__ import annotations

import json
from itertools import combinations, pairwise, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import agents
import train
from agents import cloning, make_agent
from agents.checkpoints import network_of
from agents.features import CONTEXT, COUNT, GROUPS, INCUMBENT_MOVES, PER_SLOT, SLOTS, features
from agents.learned import LearnedAgent
from agents.networks import PRESENT, PolicyNetwork, RecurrentNetwork, SetNetwork
from agents.rollout import Episode, rollout
from agents.sb3 import make_vec_env
from dnr_env import DnRError
from dnr_env.episode import PROGRESS, SCORE_COLUMNS
from dnr_env.neurons import split_of
from dnr_env.types import FloatArray

ANY = st.integers(0, 2**32 - 1)
SMALL: dict[str, Any] = {"neurons": "layer4:0-5", "n_slots": 4, "max_steps": 6}


def observations(n: int, slots: int = 8, dim: int = 6, seed: int = 0) -> dict[str, Any]:
    """Observations of any kind, whose first slot is present."""
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(n, slots, len(SCORE_COLUMNS)))
    scores[..., SCORE_COLUMNS.index("score")] = -np.sort(-rng.random((n, slots)), axis=1)
    scores[..., SCORE_COLUMNS.index("images")] = rng.integers(1, 6, (n, slots))
    scores[..., SCORE_COLUMNS.index("present")] = np.sort(rng.integers(2, size=(n, slots)))[:, ::-1]
    scores[:, 0, SCORE_COLUMNS.index("present")] = 1
    parts = {"concepts": (n, slots, dim), "exemplars": (n, dim), "progress": (n, len(PROGRESS))}
    return {"scores": scores, **{key: rng.random(shape) for key, shape in parts.items()}}


# --- features --------------------------------------------------------------------------------------------------------


def test_features_hold_what_they_say() -> None:
    scores, progress = np.zeros((1, 3, len(SCORE_COLUMNS))), np.zeros((1, len(PROGRESS)))
    slots = [
        {"score": 0.6, "standard_error": 0.02, "images": 3, "present": 1, "similarity": 0.3, "specificity": 0.8,
         "simulation": 0.5},
        {"score": 0.55, "standard_error": 0.05, "images": 1, "present": 1, "from_user": 1, "simulation": 0.7},
    ]  # fmt: skip
    for slot, entries in enumerate(slots):
        for name, value in entries.items():
            scores[0, slot, SCORE_COLUMNS.index(name)] = value
    entries = {"steps_left": 0.75, "budget_left": 0.9, "image_cost": 1.0, "user_left": 2, "since_gain": 0.125}
    for name, value in {**entries, "gain_0": 0.01, "gain_3": -0.02, "headroom": 0.03}.items():
        progress[0, PROGRESS.index(name)] = value
    seen = features({"scores": scores, "progress": progress})
    assert seen.shape == (1, COUNT)
    assert seen[0, : SLOTS * PER_SLOT].reshape(SLOTS, PER_SLOT) == pytest.approx(
        np.array(
            [
                [0, 0.2, np.log(4), 0, 1, 1.2, 3.2, 0],
                [0.5, 0.5, np.log(2), 1, 1, 0, 0, 2],
                [5, 0, 0, 0, 0, 0, 0, 0],
                [5, 0, 0, 0, 0, 0, 0, 0],  # an environment may have fewer slots
            ]
        ),
        abs=1e-6,
    )
    context = [0.4, 2, 0.3, 0.2, 0, 0, -0.4, 0.5, 0.75, 0.9, 2, np.log(2)]
    assert seen[0, SLOTS * PER_SLOT :] == pytest.approx(np.array(context), abs=1e-6)


@pytest.mark.parametrize(("price", "seen"), [(0, -2.303), (0.0002, -0.916), (0.0005, 0), (0.002, 1.386), (1, 7.6)])
def test_every_price_is_seen_within_bounds(price: float, seen: float) -> None:
    observation = observations(1)
    observation["progress"][:, PROGRESS.index("image_cost")] = min(1000 * price, 100.0)  # as the environment clips it
    assert features(observation)[0, -1] == pytest.approx(min(seen, np.log(200)), abs=1e-3)


@pytest.mark.parametrize("group", GROUPS)
def test_what_a_policy_goes_without_does_not_matter(group: str) -> None:
    observation = observations(50)
    blank = features(observation, without=(group,))
    kept = features(observation) == blank
    slot, context = {
        "errors": ([1], []),
        "exemplars": ([5, 6], []),
        "simulation": ([7], [1, 2]),
    }[group]
    hidden = [  # (the simulation of the best slot less itself is 0 anyway)
        *(PER_SLOT * s + column for s in range(SLOTS) for column in slot),
        *(PER_SLOT * SLOTS + c for c in context),
    ]
    assert not blank[:, hidden].any()
    assert kept[:, [i for i in range(COUNT) if i not in hidden]].all()
    assert not kept[:, [i for i in hidden if i != slot[0] or group != "simulation"]].all(axis=0).any()
    for name in GROUPS[group]:
        observation["scores"][..., SCORE_COLUMNS.index(name)] += 0.3
    assert (features(observation, without=(group,)) == blank).all()


def test_an_unknown_group_is_one_sentence() -> None:
    with pytest.raises(DnRError, match="without: 'score' is not known; known are errors, exemplars"):
        features(observations(1), without=("score",))


def test_embeddings_follow_when_asked_for() -> None:
    observation = observations(3, slots=2, dim=9)
    seen = features(observation, raw=True)
    assert seen.shape == (3, COUNT + 5 * 9)
    assert (seen[:, :COUNT] == features(observation)).all()
    assert seen[:, COUNT : COUNT + 18].reshape(3, 2, 9) == pytest.approx(3 * observation["concepts"], abs=1e-6)
    assert not seen[:, COUNT + 18 : COUNT + 36].any()
    assert seen[:, COUNT + 36 :] == pytest.approx(3 * observation["exemplars"], abs=1e-6)


# --- networks --------------------------------------------------------------------------------------------------------


def options(out: Path = Path("out"), **changes: Any) -> train.Options:
    small: dict[str, Any] = {
        "envs": 8, "neurons": "layer4:0-5", "validation": "layer4:6-8", "steps": 512, "learning_rate": 0.02,
        "user_concepts": ("none",), "image_cost": (0.0005, 0.002), "budget": (50,),
        "stack": ("shapes",), "score": ("log_k",),
    }  # fmt: skip
    return train.Options(out=out, **{**small, **changes})


def policy(chosen: train.Options, trained: bool = True) -> tuple[Any, LearnedAgent]:
    """A learner of Stable-Baselines3 and its policy without it."""
    model = train.make_model(chosen, seed=0)
    if trained:
        model.learn(chosen.steps)
    card = train.options_json(chosen)
    return model, LearnedAgent("policy", network_of(model), train.MOVE_SETS[chosen.moves], card)


def logits(model: Any, seen: FloatArray) -> FloatArray:
    """What the learner's policy computes."""
    with torch.no_grad():
        found: FloatArray = model.policy.get_distribution(torch.as_tensor(seen)).distribution.logits.numpy()
    return found


def compute(network: PolicyNetwork, seen: FloatArray) -> FloatArray:
    """What a network without a memory computes."""
    return network.logits(seen, np.zeros((len(seen), 0)))


def centred(values: FloatArray) -> FloatArray:
    return values - values.mean(axis=1, keepdims=True)


@pytest.mark.parametrize("network", ["set", "flat", "raw"])
def test_a_saved_policy_computes_what_was_trained(tmp_path: Path, network: str) -> None:
    model, agent = policy(options(network=network, without=("errors",)))
    agent.save(tmp_path / "policy")
    again = LearnedAgent.load(tmp_path / "policy")
    assert again.fingerprint == agent.fingerprint
    assert again.without == ("errors",)
    card = json.loads((tmp_path / "policy" / "policy.json").read_text())
    assert card["network"] == network
    assert card["image_cost"] == [0.0005, 0.002]
    dim = model.observation_space.shape[0] - COUNT if network == "raw" else 0
    seen = features(observations(300, dim=dim // 5 or 6), ("errors",), network == "raw")
    ours, theirs = compute(again.network, seen), logits(model, seen)
    assert np.ptp(ours, axis=0).min() > 0.01  # it looks at what it sees
    assert centred(ours) == pytest.approx(centred(theirs), abs=1e-5)


@pytest.mark.parametrize("network", ["set", "flat"])
def test_what_it_goes_without_stays_hidden_from_a_loaded_policy(tmp_path: Path, network: str) -> None:
    _, agent = policy(options(network=network, without=("simulation", "errors")), trained=False)
    agent.save(tmp_path)
    again, observation = LearnedAgent.load(tmp_path), observations(200)
    before, _ = again.predict(observation, deterministic=True)
    for name in ("simulation", "standard_error"):
        observation["scores"][..., SCORE_COLUMNS.index(name)] += 0.5
    assert (again.predict(observation)[0] == before).all()
    _, other = policy(options(network=network), trained=False)
    assert other.fingerprint != agent.fingerprint  # the same weights, but it plays otherwise


def test_a_raw_policy_is_good_for_its_embedder_alone() -> None:
    _, agent = policy(options(network="raw"), trained=False)
    dim = (agent.network.inputs - COUNT) // 5
    assert agent.predict(observations(2, dim=dim))[0].shape == (2, 2)
    with pytest.raises(DnRError, match=f"agent: policy was trained on embeddings of {dim} numbers and these have 6"):
        agent.predict(observations(2, dim=6))


@pytest.fixture(scope="module")
def set_network() -> SetNetwork:
    network = network_of(train.make_model(options(network="set"), seed=3))
    assert isinstance(network, SetNetwork)
    return network


@settings(max_examples=50, deadline=None)
@given(seed=ANY, order=st.permutations(range(SLOTS)))
def test_slots_in_another_order_are_moves_in_another_order(
    set_network: SetNetwork, seed: int, order: list[int]
) -> None:
    rng = np.random.default_rng(seed)
    slots, context = rng.normal(size=(5, SLOTS, PER_SLOT)), rng.normal(size=(5, CONTEXT))
    slots[:, :, PRESENT] = rng.integers(2, size=(5, SLOTS))

    def moves(which: FloatArray) -> FloatArray:
        return compute(set_network, np.concatenate([which.reshape(5, -1), context], axis=1).astype(np.float32))

    before, after = moves(slots), moves(slots[:, order])
    permuted = [*order, *(SLOTS + slot for slot in order), 2 * SLOTS, 2 * SLOTS + 1]
    assert after == pytest.approx(before[:, permuted], abs=1e-6)


def test_an_absent_slot_says_nothing_to_the_others(set_network: SetNetwork) -> None:
    rows = features(observations(40))
    slots = rows[:, : SLOTS * PER_SLOT].reshape(40, SLOTS, PER_SLOT)
    absent = slots[:, :, PRESENT] == 0
    changed = rows.copy()
    changed[:, : SLOTS * PER_SLOT] = np.where(
        absent[:, :, None] & (np.arange(PER_SLOT) != PRESENT), 3.0, slots
    ).reshape(40, -1)
    kept = np.concatenate([~absent, ~absent, np.ones((40, 2), bool)], axis=1)
    before, after = compute(set_network, rows), compute(set_network, changed)
    assert absent.any()
    assert (before == after)[kept].all()


def test_a_row_of_a_set_network_does_not_depend_on_the_others(set_network: SetNetwork) -> None:
    rows = features(observations(65))
    together = compute(set_network, rows)
    assert all(np.array_equal(together[i], compute(set_network, rows[i : i + 1])[0]) for i in range(65))


def test_a_memory_is_kept_from_step_to_step_and_begins_empty(tmp_path: Path) -> None:
    """A saved policy with a memory acts as Stable-Baselines3 does, over episodes that begin at different times."""
    model, agent = policy(options(network="recurrent", algorithm="ppo"))
    agent.save(tmp_path / "policy")
    again = LearnedAgent.load(tmp_path / "policy")
    assert isinstance(again.network, RecurrentNetwork)
    assert again.fingerprint == agent.fingerprint
    rng, n = np.random.default_rng(0), 40
    ours, theirs, start, moves = None, None, np.ones(n, bool), []
    for step in range(12):
        seen = observations(n, seed=step)
        wanted, theirs = model.predict(features(seen), theirs, start, deterministic=True)
        chosen, ours = again.predict(seen, ours, start)
        assert (chosen == again.moves[wanted]).all()
        assert ours is not None
        assert ours[0][:, :-1] == pytest.approx(np.concatenate([theirs[0][0], theirs[1][0]], axis=1), abs=1e-5)
        forgetful, _ = again.predict(seen, None, np.ones(n, bool))
        moves.append((chosen != forgetful).any(axis=1))
        start = rng.random(n) < 0.2
    assert not moves[0].any()
    assert np.any(moves)  # what it remembers counts


def test_a_row_of_a_network_with_a_memory_does_not_depend_on_the_others() -> None:
    _, agent = policy(options(network="recurrent", algorithm="ppo"), trained=False)
    rows, memory = features(observations(65)), np.random.default_rng(0).normal(size=(65, agent.state_size))
    alone = memory.copy()
    together = agent.network.logits(rows, memory)
    for i in range(65):
        assert np.array_equal(agent.network.logits(rows[i : i + 1], alone[i : i + 1])[0], together[i])
    assert np.array_equal(alone, memory)


# --- several prices, budgets and users -------------------------------------------------------------------------------


def test_groups_play_as_they_would_alone() -> None:
    groups = [{"image_cost": 0.0, "budget": 10}, {"image_cost": 0.01}, {"user_concepts": "simulated:0.5"}]
    together = make_vec_env(7, INCUMBENT_MOVES, groups=groups, **SMALL)
    apart = [make_vec_env(n, INCUMBENT_MOVES, **SMALL, **group) for n, group in zip((3, 2, 2), groups, strict=True)]
    together.seed(5)
    for first, one in zip((0, 3, 5), apart, strict=True):
        one.seed(5 + first)
    assert (together.reset() == np.concatenate([one.reset() for one in apart])).all()
    rng, ended = np.random.default_rng(0), 0
    for _ in range(12):
        moves = rng.choice(4, size=7, p=(0.3, 0.4, 0.2, 0.1))
        assert (together.action_masks() == np.concatenate([one.action_masks() for one in apart])).all()
        ours = together.step(moves)
        theirs = [one.step(part) for one, part in zip(apart, np.split(moves, [3, 5]), strict=True)]
        for i in range(3):
            assert (ours[i] == np.concatenate([step[i] for step in theirs])).all()
        for mine, his in zip(ours[3], [info for step in theirs for info in step[3]], strict=True):
            assert mine.keys() == his.keys()
            assert not mine or (mine["terminal_observation"] == his["terminal_observation"]).all()
            assert mine.get("episode") == his.get("episode")
        ended += int(ours[2].sum())
    assert ended > 3


def test_no_two_groups_have_the_same_dice() -> None:
    envs = make_vec_env(8, INCUMBENT_MOVES, groups=[{}, {}], **{**SMALL, "neurons": "train"})
    envs.seed(0)
    first = envs.reset()
    assert len(np.unique(first, axis=0)) == 8


def test_all_values_are_played_alike() -> None:
    chosen = options(
        stack=("shapes", "shapes-transfer"),
        score=("log_k", "grounded_k"),
        user_concepts=("none", "simulated:0.5"),
        image_cost=(0.0, 0.001, 0.002, 0.003),
        budget=(100, 50),
        envs=19,
    )
    envs = train.make_model(chosen, seed=0).env
    played = [group.refinement for group in envs.groups]
    assert [group.num_envs for group in envs.groups] == [3, 3, 3, 2, 2, 2, 2, 2]
    assert sorted(one.rules.image_cost for one in played) == sorted((0.0, 0.001, 0.002, 0.003) * 2)
    assert sorted(one.rules.budget for one in played) == [50] * 4 + [100] * 4
    assert sorted(one.rules.score for one in played) == ["grounded_k"] * 4 + ["log_k"] * 4
    assert sorted(one.stack.name for one in played) == ["shapes"] * 4 + ["shapes-transfer"] * 4
    envs.reset()
    assert sum(bool((one.state.user_left > 0).all()) for one in played) == 4


@settings(max_examples=100, deadline=None)
@given(st.permutations(["stack", "score", "user_concepts", "image_cost", "budget"]), st.integers(1, 4), st.data())
def test_every_value_meets_every_other(names: list[str], most: int, data: st.DataObject) -> None:
    counts = (most, *data.draw(st.tuples(*[st.integers(1, min(most, 2))] * 4)))
    stacks = ("shapes", "shapes-directions", "shapes-withheld", "shapes-unpaired")
    several = {
        name: stacks[:n] if name == "stack" else tuple(range(1, n + 1)) for name, n in zip(names, counts, strict=True)
    }
    played = train.groups(options(envs=64, **several))
    assert len(played) == (8 if most > 1 else 1)
    for one, other in combinations(names, 2):
        assert {(group[one], group[other]) for group in played} == set(product(several[one], several[other]))
    for name, values in several.items():
        dealt = [group[name] for group in played]
        assert {dealt.count(value) for value in values} <= {len(played) // len(values), -(-len(played) // len(values))}


def test_what_is_kept_for_a_test_is_not_trained_on_by_way_of_another_stack() -> None:
    stacks = ("shapes", "shapes-directions", "shapes-unfaithful", "shapes-transfer")
    envs = train.make_model(options(stack=stacks, neurons="layer4:train"), seed=0).env
    seen = set()
    for group in envs.groups:
        trained, names = group.refinement, group.refinement.stack.lab.reader.neurons
        seen.add((trained.stack.name, len(trained.neurons) == len(names)))
        if trained.stack.name != "shapes-directions":
            assert {split_of(names[i]) for i in trained.neurons} == {"train"}
    assert seen == {(name, name == "shapes-directions") for name in stacks}


def test_no_two_trainings_begin_with_the_same_episodes() -> None:
    first, second, again = (train.make_model(options(neurons="train"), seed=seed).env.reset() for seed in (0, 1, 0))
    assert (first == again).all()
    assert not {row.tobytes() for row in first} & {row.tobytes() for row in second}


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


def test_one_of_each_is_one_group() -> None:
    assert len(train.make_model(options(envs=5, image_cost=(0.001,)), seed=0).env.groups) == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"envs": 7, "image_cost": (0.1, 0.2)}, "envs: 7 is too few for several values of image_cost; 8 or more"),
        ({"image_cost": tuple(n / 1000 for n in range(9))}, "image_cost: 9 are too many to be dealt; 8 at most"),
        ({"stack": ()}, "stack: none was given; shapes will do"),
        ({"score": ()}, "score: none was given; grounded_k will do"),
        ({"image_cost": ()}, "image_cost: none was given; 0.0 will do"),
        ({"budget": ()}, "budget: none was given"),
        ({"user_concepts": ()}, "user_concepts: none was given"),
        ({"steps": 0}, "steps: 0 is too few; 1 or more"),
        ({"steps": -1, "clone": "dnr"}, "steps: -1 is too few; 0 or more"),
        ({"clone": "oracle"}, "clone: 'oracle' plays no episode"),
        ({"clone": "dmr"}, "agent: 'dmr' is not known"),
        (
            {"clone": "rounds:3@informed"},
            "clone: 'rounds:3@informed' mutates by 'informed'; --mutator informed will do",
        ),
        ({"clone": "dnr", "algorithm": "a2c", "network": "flat"}, "clone: only maskable-ppo learns from another agent"),
        ({"network": "set", "algorithm": "ppo"}, "network: 'set' is for maskable-ppo"),
        ({"network": "set", "moves": "incumbent"}, "network: 'set' is for maskable-ppo"),
        ({"network": "recurrent"}, "network: 'recurrent' is for ppo alone; --algorithm ppo will do"),
    ],
)
def test_options_that_do_not_fit_are_one_sentence(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DnRError, match=message):
        train.check(options(**changes))


@pytest.mark.parametrize(("prices", "seeds"), [((0.001,), 4), ((0.0, 0.001, 0.002), 2), ((0.0, 0.1, 0.2, 0.3, 0.4), 1)])
def test_validation_plays_every_price_alike(
    prices: tuple[float, ...], seeds: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    played: list[tuple[dict[str, Any], list[Any]]] = []

    def spy(agent: LearnedAgent, jobs: list[Any], **env: Any) -> list[Episode]:
        played.append((env, jobs))
        return [Episode(*job, "", "", 0, 0, 10, 0, env["image_cost"], 1, False) for job in jobs]

    chosen = options(image_cost=prices, budget=(100, 50), user_concepts=("none", "simulated:0.5"), envs=20)
    model = train.make_model(chosen, seed=0)
    monkeypatch.setattr(train, "rollout", spy)
    assert train.validate(model, chosen) == pytest.approx((np.mean(prices), 10))
    assert [env["image_cost"] for env, _ in played] == list(prices)
    assert all((env["budget"], env["user_concepts"], env["reward"]) == (100, None, "held_out") for env, _ in played)
    assert all(len(jobs) == 3 * seeds for _, jobs in played)
    assert len({job for _, jobs in played for job in jobs}) == 3 * seeds * len(prices)


# --- cloning ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def few_lessons(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cloning, "_LESSONS", 1500)
    monkeypatch.setattr(cloning, "_BATCH", 32)


@pytest.mark.parametrize(("network", "moves"), [("set", "slots"), ("flat", "incumbent")])
@pytest.mark.usefixtures("few_lessons")
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
    with pytest.raises(DnRError, match=r"clone: only \d+% of the steps of 'lucb' are moves of the policy"):
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
    assert np.array_equal(returns, [[2, 4], [2, 6], [np.nan, 8], [np.nan, 8]], equal_nan=True)


@pytest.mark.usefixtures("few_lessons")
def test_cloning_alone_is_a_run(tmp_path: Path) -> None:
    chosen = options(tmp_path, clone="patience:1", steps=0)
    train.train_seed(chosen, 0)
    before = {path.name: path.read_bytes() for path in (tmp_path / "seed-0").iterdir() if path.is_file()}
    assert json.loads(before["policy.json"])["trained_steps"] == 0
    train.train_seed(chosen, 0)
    assert all((tmp_path / "seed-0" / name).read_bytes() == data for name, data in before.items())


@pytest.mark.usefixtures("few_lessons")
def test_learning_goes_on_after_cloning(tmp_path: Path) -> None:
    train.train_seed(options(tmp_path, clone="patience:1", checkpoint_every=512), 0)
    curve = (tmp_path / "seed-0" / "curve.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in curve] == ["steps", "0", "512"]


# --- the policy that comes with the package --------------------------------------------------------------------------


def test_the_policy_of_the_package_has_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agents, "_SHIPPED", tmp_path / "learned")
    with pytest.raises(DnRError, match=r"agent: .*learned holds no policy\.json"):
        agents.make_agent("learned")
    _, shipped = policy(options(network="set"), trained=False)
    shipped.save(tmp_path / "learned")
    again = agents.make_agent("learned")
    assert (again.name, again.fingerprint) == ("learned", shipped.fingerprint)


def test_the_shipped_policy_plays_on_stacks_that_it_never_saw() -> None:
    agent = make_agent("learned")
    assert isinstance(agent, LearnedAgent)
    assert agent.card["command"].startswith("python train.py ")
    assert agent.card["evaluation"]
    for stack in ("shapes", "shapes-transfer"):
        episodes = list(rollout(agent, [(f"layer4:{i}", 1) for i in range(6)], stack=stack))
        assert np.mean([episode.total_reward for episode in episodes]) > 0
        assert all(0 < episode.added_images <= 100 for episode in episodes)
