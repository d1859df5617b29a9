"""The rules of an episode: what each action does, what it costs, what ends an episode, and what nobody sees."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from gymnasium.utils.env_checker import data_equivalence
from hypothesis import given, settings
from hypothesis import strategies as st
from refining import EDITS, IDS, ONE, SLOTS, WORDS, WordByWord, going_on, in_form, listed, make, seeds_of, with_mutator

import dnr_env
from dnr_env import Action, Kind
from dnr_env.env.observe import PROGRESS, SCORE_COLUMNS
from dnr_env.evidence.lab import Lab
from dnr_env.evidence.probe_source import ProbeSource
from dnr_env.seeds import Purpose
from dnr_env.shapes.config import ShapesConfig
from dnr_env.shapes.stack import shapes_stack
from dnr_env.stack import Knowledge, Stack
from dnr_env.types import FloatArray, IntArray

GIVEN = {"concepts": ["red thing", "star", "huge thing"]}  # of four slots, one is empty


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[IntArray]:
    """The seeds of every measurement of any lab, in order."""
    seeds_asked: list[IntArray] = []
    measure = Lab.measure

    def spy(lab: Lab, *, seeds: IntArray, **arguments: Any) -> Any:
        seeds_asked.append(seeds)
        return measure(lab, seeds=seeds, **arguments)

    monkeypatch.setattr(Lab, "measure", spy)
    return seeds_asked


# --- what an action does ---------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=25)
@given(data=st.data())
@pytest.mark.parametrize("env_id", IDS)
def test_any_play_keeps_the_promises_of_the_environment(env_id: str, data: st.DataObject) -> None:
    """Order, bills, masks and spaces, whatever is done."""
    size, budget = data.draw(st.integers(1, 6), "images"), data.draw(st.integers(0, 30), "budget")
    users = data.draw(st.lists(st.sampled_from(WORDS), max_size=3), "users")
    env = make(env_id, images_per_measure=size, budget=budget, max_steps=7, reward="none", user_concepts=users)
    env.action_space.seed(data.draw(st.integers(0, 1000), "actions"))
    state, start = env.unwrapped.episodes.state, data.draw(st.sampled_from([{}, GIVEN]), "start")
    observation, info = env.reset(seed=data.draw(st.integers(0, 50), "seed"), options=start)
    assert info["images"] == 0
    for step in itertools.count(1):
        assert env.observation_space.contains(observation)
        held, order = int(state.size[0]), state.order[0]
        assert sorted(order.tolist()) == list(range(env.unwrapped.episodes.rules.capacity(structured=False)))
        assert (np.diff(state.means[0, order[:held]]) <= 0).all()
        assert np.isfinite(state.means[0, :held]).all()
        assert (state.deviations[0, :held] > 0).all()
        assert len(set(listed(info))) == len(listed(info)) == held
        assert (info["master_images"] % size == 0).all()
        assert info["images"] == info["master_images"].sum() <= budget
        assert info["action_mask"].tolist() == env.unwrapped.action_masks().tolist()
        action = env.action_space.sample()
        parts: list[int] = np.atleast_1d(action).tolist()
        kind, slot = parts[0], parts[1] if len(parts) > 1 else 0
        mask, before = info["action_mask"], info
        legal = mask[kind] and (env_id == ONE or kind == Action.ADD or bool(mask[len(Action) + slot]))
        observation, reward, terminated, truncated, info = env.step(action)
        assert not truncated
        assert info["images"] - before["images"] == size * (legal and kind == Action.KEEP)
        assert reward == pytest.approx(-0.00005 * size * (legal and kind == Action.KEEP))
        assert len(listed(info)) - held <= (legal and kind in (Action.MUTATE, Action.ADD))
        if kind != Action.STOP and not legal:
            assert info["message"].startswith("the action had no effect")
            assert listed(info) == listed(before)
        assert terminated == (kind == Action.STOP or step == 7)
        if terminated:
            break


@pytest.mark.parametrize("env_id", IDS)
def test_only_keep_draws_and_only_drawings_are_billed(stack: Stack, asked: list[IntArray], env_id: str) -> None:
    env = make(env_id, stack=with_mutator(stack, WordByWord()), user_concepts=["blue ring"], reward="none")
    env.reset(seed=0, options={"neuron": "layer4:5", **GIVEN})
    asked.clear()
    for action, images in ((Action.MUTATE, 0), (Action.ADD, 0), (Action.KEEP, 5), (Action.KEEP, 5), (Action.STOP, 0)):
        _, reward, _, _, info = env.step(in_form(action, env_id))
        assert (sum(seeds.size for seeds in asked), reward) == (images, pytest.approx(-0.00005 * images))
        asked.clear()
    assert listed(info) == [*GIVEN["concepts"], "ring", "blue ring"]
    assert info["images"] == 10


def test_what_is_listed_already_costs_a_step_and_nothing_else(stack: Stack) -> None:
    env = make(stack=with_mutator(stack, WordByWord()), user_concepts=["a Star", "star"], reward="none")
    before, info = env.reset(seed=0, options={"concepts": list(WORDS[:4])})
    after, reward, ended, _, again = env.step(Action.ADD)
    assert (reward, ended, again["message"]) == (0, False, "'star' is listed already")
    assert listed(again) == listed(info)
    users = after["scores"][:, SCORE_COLUMNS.index("from_user")]
    assert users.tolist() == [text == "star" for text in again["concepts"]]  # now the user's as well
    assert (after["scores"][:, :4] == before["scores"][:, :4]).all()
    for word in WORDS[4:]:
        assert env.step(Action.MUTATE)[4]["master"].count(word) == 1
    *_, info = env.step(Action.MUTATE)  # the mutator knows no more
    assert info["message"] == f"{info['label']!r} is listed already"
    assert len(listed(info)) == len(WORDS)


def test_a_concept_kept_twice_is_drawn_with_the_seeds_that_follow(asked: list[IntArray]) -> None:
    env = make(SLOTS, images_per_measure=3, reward="none")
    _, info = env.reset(seed=0, options={"neuron": "layer4:5", "block": 6, **GIVEN})
    asked.clear()
    wanted, drawn = [], dict.fromkeys(info["concepts"], 0)
    for slot in (0, 2, 0, 1, 0):
        text = info["concepts"][slot]
        *_, info = env.step([Action.KEEP, slot])
        wanted.append(Purpose.SEARCH.seeds(drawn[text], 3, 6).tolist())
        drawn[text] += 3
    assert [seeds[0].tolist() for seeds in asked] == wanted
    assert dict(zip(info["master"], info["master_images"], strict=True)) | drawn == drawn | {"": 0}


def test_keep_alone_draws_the_highest_upper_bound_and_the_other_actions_are_for_the_incumbent(stack: Stack) -> None:
    mutator = WordByWord()
    env = make(stack=with_mutator(stack, mutator), budget=100, max_steps=20, reward="none")
    chosen = []
    for seed in range(6):
        _, info = env.reset(seed=seed)
        for _ in range(8):
            means, deviations = info["master_means"], info["master_deviations"]
            shown = [info["master"].index(text) for text in info["concepts"] if text]
            before, label = info["master_images"], info["label"]
            assert label == info["concepts"][0] == info["master"][means[: len(listed(info))].argmax()]
            *_, info = env.step(Action.KEEP)
            (place,) = np.flatnonzero(info["master_images"] - before)
            assert place in shown
            assert means[place] + deviations[place] == (means[shown] + deviations[shown]).max()
            chosen.append(info["master"][place] == label)
        env.step(Action.MUTATE)
        assert mutator.batches[-1].concepts == [info["label"]]
    assert 0 < sum(chosen) < len(chosen)  # it is the incumbent often, but not always


def test_the_three_forms_agree_where_their_actions_coincide(stack: Stack) -> None:
    """The incumbent's environment chooses a slot. The others do the same when they choose it, whatever the kind."""
    own = with_mutator(stack, WordByWord())  # it does not look at kinds
    envs = [make(env_id, stack=own, user_concepts=["blue ring"], budget=50) for env_id in IDS]
    for seed in range(4):
        rng = np.random.default_rng(seed)
        starts = [env.reset(seed=seed) for env in envs]
        for action in (0, 1, 0, 2, 1, 0, 2, 3):
            scores = dict(zip(SCORE_COLUMNS, starts[0][0]["scores"].T, strict=True))
            state = envs[0].unwrapped.episodes.state
            hopeful = int(np.flatnonzero(state.order[0] == state.hopeful[0])[0])
            assert scores["present"][hopeful]
            slot = hopeful if action == Action.KEEP else 0
            starts = []
            results = [env.step(in_form(action, env.spec.id, slot, rng.integers(4))) for env in envs]
            for result in results:
                result[4].pop("action_mask")
                starts.append((result[0], result[4]))
            assert data_equivalence(results[0], results[1], exact=True)
            assert data_equivalence(results[0], results[2], exact=True)


def test_the_mutator_is_told_the_kind_where_the_action_names_one(stack: Stack) -> None:
    for env_id in IDS:
        mutator = WordByWord()
        env = make(env_id, stack=with_mutator(stack, mutator))
        _, info = env.reset(seed=0, options=GIVEN)
        for slot, kind in enumerate((Kind.SWAP, Kind.NARROW)):
            wanted = info["concepts"][0 if env_id == ONE else slot]
            *_, info = env.step(in_form(Action.MUTATE, env_id, slot, kind))
            assert mutator.batches[-1].concepts == [wanted]
            assert mutator.batches[-1].kinds == [kind if env_id == EDITS else None]


def test_add_takes_what_a_user_suggests() -> None:
    env = make()
    env.reset(seed=0, options={"neuron": "layer4:5"})
    assert not env.unwrapped.action_masks()[Action.ADD]
    assert env.unwrapped.suggest("a Tiny WAVY thing, on water") == "tiny wavy thing on water"
    assert env.unwrapped.action_masks()[Action.ADD]
    *_, info = env.step(Action.ADD)
    assert (listed(info)[-1], info["origins"][len(listed(info)) - 1]) == ("tiny wavy thing on water", "user")
    assert env.unwrapped.suggest("red flurb star, not blue") == "red star"
    message = env.step(Action.ADD)[4]["message"]
    assert message == "ignored words of 'red flurb star, not blue': flurb, not, blue"
    with pytest.raises(dnr_env.ConceptError, match="zork"):
        env.unwrapped.suggest("zork blurp")
    with pytest.raises(dnr_env.ConceptError, match="must contain at least one word"):
        env.unwrapped.suggest("  ")


# --- what ends an episode --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("env_id", IDS)
def test_an_empty_budget_masks_keep_and_ends_nothing(env_id: str) -> None:
    env = make(env_id, budget=12, max_steps=6, reward="none")
    _, info = env.reset(seed=0)
    allowed, ends = [int(info["action_mask"][Action.KEEP])], []
    for _ in range(6):
        *_, ended, truncated, info = env.step(in_form(Action.KEEP, env_id))
        assert not truncated
        ends.append(ended)
        allowed.append(int(info["action_mask"][Action.KEEP]))
    assert allowed == [1, 1, 0, 0, 0, 0, 0]
    assert ends == [False] * 5 + [True]  # the steps
    assert info["images"] == 10
    assert info["message"].startswith("the action had no effect")


@pytest.mark.parametrize("env_id", IDS)
def test_without_a_budget_real_images_decide(env_id: str, stack: Stack) -> None:
    env = make(env_id, budget=0, stack=with_mutator(stack, WordByWord()))
    _, info = env.reset(seed=0, options=GIVEN)
    assert info["action_mask"][:4].tolist() == [0, 1, 0, 1]
    for _ in range(3):
        observation, *_, info = env.step(in_form(Action.MUTATE, env_id))
        assert env.observation_space.contains(observation)
    assert listed(info) == [*GIVEN["concepts"], *WORDS[:1], *WORDS[2:4]]
    assert (info["images"], info["master_images"].sum()) == (0, 0)
    assert info["label"] == listed(info)[int(info["master_means"][: len(listed(info))].argmax())]
    assert env.step(in_form(Action.STOP, env_id))[2:4] == (True, False)


@pytest.mark.parametrize("env_id", IDS)
def test_stop_on_an_empty_slot_takes_the_incumbent(env_id: str) -> None:
    env = make(env_id)
    for slot in range(4):
        _, info = env.reset(seed=0, options=GIVEN)
        wanted = info["concepts"][0 if env_id == ONE or slot == 3 else slot]
        _, _, terminated, truncated, info = env.step(in_form(Action.STOP, env_id, slot))
        assert (info["label"], terminated, truncated) == (wanted, True, False)


# --- rewards ---------------------------------------------------------------------------------------------------------


def value(stack: Stack, neuron: str, label: str, block: int) -> float:
    """A label's value under `grounded_k`, computed without the environment."""
    index, held_out = stack.neurons.index(neuron), stack.probes.held_out
    seeds = Purpose.REWARD.seeds(0, 20, block)[None]
    raw = stack.lab.measure(concepts=[label], seeds=seeds).activations[0, :, index]
    top = np.log1p(np.maximum(np.sort(stack.probe.normalise(raw[None], np.array([index]))[0]), 0).astype(float))
    excited = np.mean([np.sort(top[list(subset)])[-2:].mean() for subset in itertools.combinations(range(20), 5)])
    similarity = held_out.embeddings.astype(float) @ stack.embedder.embed_texts([label])[0].astype(float)
    simulation = np.corrcoef(similarity, held_out.all_raw(np.array([index]))[:, 0].astype(float))[0, 1]
    words = len([word for word in label.split() if word not in ("thing", "on")])
    return float(0.6 * excited + 0.4 * simulation - 0.04 * words)


@pytest.mark.parametrize("mode", ["held_out", "observed", "none"])
@pytest.mark.parametrize("env_id", IDS)
def test_rewards_telescope(stack: Stack, mode: str, env_id: str) -> None:
    """The sum of an episode's rewards is the label's value less the first incumbent's, less images and dollars."""
    paid = with_mutator(stack, WordByWord(), prices=(2.0, 4.0))
    env = make(env_id, stack=paid, reward=mode, image_cost=0.002, dollar_cost=0.5, user_concepts=["red star"])
    rng = np.random.default_rng(1)
    for seed in range(4):
        _, info = env.reset(seed=seed)
        first, block = info["label"], int(env.unwrapped.episodes.state.block[0])
        estimate, total = info["master_means"][info["master"].index(first)], 0.0
        for _ in range(6):
            _, reward, *_, info = env.step(going_on(rng, 1, env_id)[0])
            total += reward
        chosen = info["concepts"][0 if env_id == ONE else 2]
        _, reward, *_, info = env.step(in_form(Action.STOP, env_id, 2))
        total += reward
        assert info["label"] == chosen
        calls, read, written = info["usage"].tolist()
        assert (read, written) == (1000 * calls, 50 * calls)
        bill = 0.002 * info["images"] + 0.5 * (2.0 * read + 4.0 * written) / 1e6
        gain = 0.0
        if mode == "held_out":
            gain = value(stack, info["neuron"], info["label"], block) - value(stack, info["neuron"], first, block)
        elif mode == "observed":
            gain = info["master_means"][info["master"].index(info["label"])] - estimate
        assert total == pytest.approx(gain - bill, abs=1e-6)


@pytest.mark.parametrize("env_id", IDS)
def test_keep_on_the_only_concept_earns_exactly_its_bill(env_id: str) -> None:
    env = make(env_id, image_cost=0.001)
    for seed in range(10):
        env.reset(seed=seed, options={"concepts": ["red thing"]})
        assert [env.step(in_form(Action.KEEP, env_id))[1] for _ in range(6)] == [-0.005] * 6


# --- what nobody sees ------------------------------------------------------------------------------------------------


def test_search_reward_and_judge_never_share_an_image(asked: list[IntArray]) -> None:
    for reward, purposes in (("none", {Purpose.SEARCH}), ("observed", {Purpose.SEARCH}), ("held_out", Purpose)):
        env = make(reward=reward)
        env.reset(seed=0)
        asked.clear()
        for action in (0, 1, 0, 3):
            env.step(action)
        used = {max(purpose for purpose in Purpose if purpose <= seed) for seed in seeds_of(asked)}
        assert Purpose.SEARCH in used
        assert used <= {*purposes} - {Purpose.JUDGE, Purpose.ORACLE, Purpose.PROBE}


class Elsewhere:
    """A held-out half on which every concept has another value. All else of it is missing."""

    def __init__(self, neurons: int) -> None:
        self.controls = np.sort(np.random.default_rng(0).normal(size=(neurons, 500)), axis=1)

    def simulation(self, texts: FloatArray, neurons: IntArray) -> FloatArray:
        """See `Probe.simulation`."""
        return np.random.default_rng(1).uniform(-1, 1, len(texts))


@pytest.mark.parametrize("env_id", IDS)
def test_nothing_of_truth_reward_judge_or_held_out_half_reaches_the_agent(
    stack: Stack, env_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With noise in their place, observations, infos and what mutators get are the same to the bit; rewards are not."""

    def episodes(**changes: Any) -> tuple[list[Any], list[float]]:
        seen: list[Any] = []
        rewards = []
        fresh = replace(shapes_stack("shapes", ShapesConfig()), **changes)  # nothing is remembered
        for mutator in (WordByWord(), *fresh.mutators.values()):
            env = make(env_id, stack=with_mutator(fresh, mutator), user_concepts="simulated:0.5", budget=50)
            seen += env.reset(seed=3, options={"neuron": "planted:20"})
            for action, slot in ((0, 0), (1, 1), (0, 1), (2, 0), (0, 0), (1, 0), (3, 1)):
                observation, reward, *ends, info = env.step(in_form(action, env_id, slot, Kind.MODEL))
                seen += [observation, *ends, info]
                rewards.append(reward)
            for batch in getattr(mutator, "batches", []):
                asked = {**vars(batch), "history": [tuple(trial) for trial in batch.history(0)]}
                seen.append([asked[key] for key in sorted(asked.keys() - {"rngs"})])
        return seen, rewards

    before, paid = episodes()
    measure = Lab.measure

    def changed(lab: Lab, *, seeds: IntArray, **arguments: Any) -> Any:
        evidence = measure(lab, seeds=seeds, **arguments)
        shape = (*seeds.shape, *[1] * (evidence.activations.ndim - 2))
        elsewhere = ((seeds >= Purpose.REWARD) & (seeds < Purpose.PROBE)).reshape(shape)
        noise = np.random.default_rng(len(seeds)).normal(size=evidence.activations.shape)
        return evidence._replace(activations=np.where(elsewhere, noise, evidence.activations).astype(np.float32))

    monkeypatch.setattr(Lab, "measure", changed)
    monkeypatch.setattr(ProbeSource, "held_out", property(lambda source: Elsewhere(len(stack.neurons))))
    lies = Knowledge(lambda neuron: "red", optimum=lambda score: dict.fromkeys(stack.neurons, "red thing"))
    after, repaid = episodes(known=lies, judge_lab=None, judge_embedder=None)
    assert data_equivalence(before, after, exact=True)
    assert paid != repaid
    text = json.dumps([str(info) for info in before if isinstance(info, dict) and "label" in info])
    assert not any(word in text for word in ("formula", "truth", "value", "optimum"))


# --- what a concept and an observation are ---------------------------------------------------------------------------


def test_an_estimate_does_not_depend_on_the_other_concepts() -> None:
    alone, among = make(SLOTS), make(SLOTS)
    start = {"neuron": "layer4:5", "block": 3}
    _, one = alone.reset(seed=0, options={**start, "concepts": ["striped thing"]})
    _, info = among.reset(seed=0, options={**start, "concepts": ["star", "striped thing", "huge ring"]})
    for _ in range(3):
        for key in ("master_means", "master_deviations", "master_images"):
            assert info[key][1] == one[key][0]
        *_, one = alone.step([Action.KEEP, 0])
        *_, info = among.step([Action.KEEP, info["concepts"].index("striped thing")])
    *_, info = among.step([Action.MUTATE, 0])
    *_, info = among.step([Action.KEEP, info["concepts"].index("huge ring")])
    assert info["master_means"][1] == one["master_means"][0]


def test_the_observation_is_what_it_says(stack: Stack) -> None:
    env = make(SLOTS, user_concepts=["red star"])
    observation, info = env.reset(seed=0, options={"neuron": "layer4:7"})
    scores = dict(zip(SCORE_COLUMNS, observation["scores"].T, strict=True))
    progress = dict(zip(PROGRESS, observation["progress"], strict=True))
    assert (np.diff(scores["mean"]) <= 0).all()
    assert (scores["promise"] == scores["mean"]).all()
    assert (scores["deviation"] > 0).all()
    for column in ("images", "score", "standard_error", "similarity", "specificity", "age", "from_user"):
        assert not scores[column].any()  # nothing is drawn
    assert scores["present"].all()
    places = np.full(4, stack.neurons.index("layer4:7"))
    assert scores["simulation"] == pytest.approx(stack.vocabulary.simulation(list(info["concepts"]), places), abs=1e-6)
    assert np.allclose(np.linalg.norm(observation["concepts"], axis=1), 1, atol=1e-5)
    assert observation["concepts"][0] == pytest.approx(stack.embedder.embed_texts([info["label"]])[0])
    assert progress == pytest.approx(
        {**dict.fromkeys(PROGRESS, 0), "steps_left": 1, "budget_left": 0.3, "image_cost": 0.05, "user_left": 1}
        | {"headroom": progress["headroom"], "images_per_measure": 0.05}
    )
    drawn = info["concepts"][1]
    observation, *_, info = env.step([Action.KEEP, 1])
    slot = info["concepts"].index(drawn)
    row = dict(zip(SCORE_COLUMNS, observation["scores"][slot], strict=True))
    seen = np.sort(np.log1p(np.maximum(info["activations"][slot, :5], 0)))
    assert (row["images"], row["score"]) == (1, pytest.approx(seen[-2:].mean(), abs=1e-6))
    assert row["similarity"] == pytest.approx(info["similarities"][slot, :5].mean(), abs=1e-6)
    assert 0 < row["specificity"] <= 1
    assert row["deviation"] < scores["deviation"][1]
    assert row["promise"] == scores["promise"][1]
    assert row["age"] == pytest.approx(1 / 8)
    for _ in range(2):
        observation, *_, info = env.step([Action.ADD, 0])
    progress = dict(zip(PROGRESS, observation["progress"], strict=True))
    assert (progress["steps_left"], progress["budget_left"], progress["user_left"]) == pytest.approx((5 / 8, 0.25, 0))


def test_gains_are_the_changes_of_the_incumbents_estimate() -> None:
    env = make(budget=100, max_steps=20)
    _, info = env.reset(seed=2, options={"neuron": "layer4:7"})
    gains: list[float] = []
    best = [info["master_means"][: len(listed(info))].max()]
    for action in (0, 0, 1, 0, 1, 0, 0, 0):
        observation, *_, info = env.step(action)
        best.append(info["master_means"][: len(listed(info))].max())
        gains.insert(0, best[-1] - best[-2])
        progress = dict(zip(PROGRESS, observation["progress"], strict=True))
        assert [progress[f"gain_{i}"] for i in range(4)] == pytest.approx((gains + [0.0] * 4)[:4], abs=1e-6)
        since = next((i for i, gain in enumerate(gains) if gain > 0), len(gains))
        assert progress["since_gain"] == pytest.approx(since / 20)
    assert max(gains) > 0 > min(gains)
