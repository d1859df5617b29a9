"""Episodes in a language with unions and exceptions: estimates and real images by brute force, bills, masks, parity."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env, data_equivalence
from hypothesis import given, settings
from hypothesis import strategies as st
from playing import random_policy
from refining import EDITS, IDS, ONE, going_on, listed, make
from stable_baselines3.common.env_checker import check_env as check_env_sb3

from dnr_env import Action, Kind, Rules
from dnr_env.agents.base import Agent
from dnr_env.agents.registry import make_agent
from dnr_env.env import viewer
from dnr_env.env.observe import SCORE_COLUMNS
from dnr_env.env.value import held_out_value
from dnr_env.evaluation.rollout import rollout
from dnr_env.evidence.lab import Lab
from dnr_env.scores import GROUNDED_ALPHA
from dnr_env.shapes.render import Renderer
from dnr_env.stack import Stack
from dnr_env.types import BoolArray, FloatArray

UNION, EXCEPTION = "red thing or star", "star but not red thing"
BOTH = "red thing but not striped thing or star but not ring"
GIVEN = {"neuron": "planted:51", "concepts": [UNION, EXCEPTION]}
KEEP, MUTATE, ADD, STOP = Action


def slot_of(info: dict[str, Any], text: str) -> int:
    return list(info["concepts"]).index(text)


def place_of(info: dict[str, Any], text: str) -> int:
    return listed(info).index(text)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every text that any generator is asked for."""
    texts: list[str] = []
    generate = Renderer.generate

    def spy(renderer: Renderer, concepts: Sequence[str], seeds: Sequence[int]) -> Any:
        texts.extend(concepts)
        return generate(renderer, concepts, seeds)

    monkeypatch.setattr(Renderer, "generate", spy)
    return texts


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Every image that any lab is asked for, in order."""
    requests: list[tuple[str, int]] = []
    measure = Lab.measure

    def spy(lab: Lab, *, concepts: Sequence[str], seeds: Any, **others: Any) -> Any:
        requests.extend((text, seed) for text, row in zip(concepts, seeds.tolist(), strict=True) for seed in row)
        return measure(lab, concepts=concepts, seeds=seeds, **others)

    monkeypatch.setattr(Lab, "measure", spy)
    return requests


# --- real images, by brute force -------------------------------------------------------------------------------------


def shown(stack: Stack, embeddings: FloatArray, noun: str) -> tuple[FloatArray, BoolArray]:
    """The standardised similarities of a noun phrase with images, and which of these it covers."""
    similarity = np.array([float(row @ stack.embedder.embed_texts([noun])[0]) for row in embeddings.astype(float)])
    edge = similarity.mean() + 2 / 3 * (np.sort(similarity)[-5:].mean() - similarity.mean())
    return (similarity - similarity.mean()) / similarity.std(), similarity > edge


LABELS: dict[str, list[tuple[str, str | None]]] = {
    UNION: [("red thing", None), ("star", None)],
    EXCEPTION: [("star", "red thing")],
    BOTH: [("red thing", "striped thing"), ("star", "ring")],
    "wavy thing": [("wavy thing", None)],
}
PRICES = {UNION: 0.04, EXCEPTION: 0.08, BOTH: 0.08}
"""What their words cost under `grounded_k`: of a union, as much as of its phrases on average."""


def by_hand(stack: Stack, embeddings: FloatArray, label: str) -> tuple[FloatArray, BoolArray]:
    """The similarity of a label with images, and which of these it covers, image by image."""
    similarities, covers = [], []
    for noun, exception in LABELS[label]:
        similarity, cover = shown(stack, embeddings, noun)
        out = shown(stack, embeddings, exception)[1] if exception else np.zeros(len(cover), bool)
        similarities.append([min(z, 0.0) if left else z for z, left in zip(similarity, out, strict=True)])
        covers.append([one and not left for one, left in zip(cover, out, strict=True)])
    return np.max(similarities, axis=0), np.any(covers, axis=0)


@pytest.mark.parametrize("label", LABELS)
@pytest.mark.parametrize("half", ["search", "held out"])
def test_simulation_and_cover_of_a_label_by_hand(saying: Stack, label: str, half: str) -> None:
    probe = saying.probe if half == "search" else saying.probes.held_out
    neurons = saying.neurons.indices(["planted:51", "layer4:5"])
    similarity, cover = by_hand(saying, probe.embeddings, label)
    for neuron in neurons:
        which = np.array([neuron])
        found = saying.texts.simulation(probe, [label], which)
        assert found == pytest.approx(np.corrcoef(similarity, probe.real(which)[0])[0, 1], abs=1e-5)
        assert 0 < saying.texts.simulation_error(probe, [label], which)[0] < 0.1
        if half == "search":
            excited = np.clip(probe.normalise(probe.real(which), which)[0], 0, 1).astype(float)
            told = saying.covers.of([label], which)
            assert told.coverage == pytest.approx(excited[cover].sum() / excited.sum(), abs=1e-6)
            assert told.precision == pytest.approx(excited[cover].mean(), abs=1e-6)
    assert (saying.texts.covered(probe, [label])[0] == cover).all()


def test_the_error_of_a_simulation_is_that_of_a_bootstrap(saying: Stack) -> None:
    probe, which, rng = saying.probe, saying.neurons.indices(["planted:51"]), np.random.default_rng(0)
    similarity, real = saying.texts.similarity(probe, BOTH), probe.real(which)[0]
    again = [np.corrcoef(similarity[rows], real[rows])[0, 1] for rows in rng.integers(len(real), size=(500, len(real)))]
    assert saying.texts.simulation_error(probe, [BOTH], which)[0] == pytest.approx(np.std(again), rel=0.15)


def test_a_noun_phrase_means_the_same_in_both_languages(stack: Stack, saying: Stack) -> None:
    words = list(stack.vocabulary.concepts[::2000])
    which = np.full(len(words), 3)
    for ask in ("embeddings", "simulation", "simulation_error"):
        arguments: Any = (words,) if ask == "embeddings" else (stack.probe, words, which)
        both = [getattr(one.texts, ask)(*arguments) for one in (stack, saying)]
        assert (both[0] == both[1]).all()
    assert (stack.prior.relative(words, which) == saying.prior.relative(words, which)).all()
    mixed = saying.texts.simulation(stack.probe, [*words, UNION], np.full(len(words) + 1, 3))
    assert (mixed[:-1] == stack.texts.simulation(stack.probe, words, which)).all()


def test_embedding_and_promise_of_a_union_are_the_means_of_its_parts(saying: Stack) -> None:
    one, other, both, without = saying.texts.embeddings(["red thing", "star", UNION, EXCEPTION])
    assert both == pytest.approx((one + other) / np.linalg.norm(one + other), abs=1e-6)
    assert (without == other).all()
    which = np.full(4, saying.neurons.index("planted:51"))
    promised = saying.prior.relative(["red thing", "star", UNION, EXCEPTION], which)
    assert promised[2] == pytest.approx((promised[0] + promised[1]) / 2)
    assert promised[3] == promised[1]


# --- estimates, by conditioning a joint normal distribution ----------------------------------------------------------


def conditioned(
    stack: Stack, rules: Rules, state: Any, place: int, price: float, ahead: int = 0
) -> tuple[float, float]:
    """Mean and deviation of a label's value, less the price of its words, given the drawings of its parts.

    With `ahead`, so many more of the next to be drawn are given.

    The vector (D of each part, S, measurement of each part) is normal; conditioning is plain linear algebra.
    """
    calibration, share = stack.calibration, GROUNDED_ALPHA if rules.score == "grounded_k" else 1.0
    parts = [part for part in state.parts[0, place].tolist() if part >= 0]
    m = len(parts)
    excited, simulations = state.excited[0, parts], state.simulations[0, parts]
    prior, _ = calibration.prior(rules.score, excited, simulations)
    constant, slope, stays = calibration.seen
    noise = calibration.variance(rules.score, excited, state.errors[0, parts], state.counts[0, parts])
    counts = state.counts[0, parts].copy()
    counts[counts.argmin()] += ahead
    mean = np.array([*prior.mean, constant + slope * state.simulations[0, place]])
    covariance = np.zeros((m + 1, m + 1))
    covariance[:m, :m] = np.diag(prior.deviation**2)
    covariance[:m, m] = covariance[m, :m] = calibration.together * stays * prior.deviation / m
    covariance[m, m] = stays**2
    known = [i for i in range(m) if counts[i]]
    gain = covariance[:, known] @ np.linalg.inv(
        covariance[np.ix_(known, known)] + np.diag(noise[known] / counts[known])
    )
    after = mean + gain @ (state.scores[0, parts] - prior.mean)[known]
    spread = covariance - gain @ covariance[known]
    weights = np.array([share / m] * m + [1 - share])
    return float(weights @ after) - price, float(np.sqrt(weights @ spread @ weights))


@pytest.mark.parametrize("score", ["grounded_k", "log_k", "mean"])
@pytest.mark.parametrize("label", [UNION, EXCEPTION, BOTH])
def test_the_estimate_of_a_label_is_the_conditional_distribution(saying: Stack, label: str, score: str) -> None:
    env = make(EDITS, stack=saying, score=score, reward="none")
    rules, state = env.unwrapped.episodes.rules, env.unwrapped.episodes.state
    _, info = env.reset(seed=0, options={"neuron": "planted:51", "concepts": [label]})
    price = PRICES[label] if score == "grounded_k" else 0.0
    for _ in range(4):
        place = place_of(info, label)
        mean, deviation = conditioned(saying, rules, state, place, price)
        assert state.means[0, place] == pytest.approx(mean, abs=1e-9)
        assert state.deviations[0, place] == pytest.approx(deviation, abs=1e-9)
        settled, sure = (conditioned(saying, rules, state, place, price, n)[1] for n in (5, 10**12))
        assert state.reaches[0, place] == pytest.approx(np.sqrt(deviation**2 - settled**2), abs=1e-9)
        if len(LABELS[label]) == 1:
            assert state.unsettled[0, place] == pytest.approx(np.sqrt(deviation**2 - sure**2), abs=1e-6)
        *_, info = env.step((KEEP, slot_of(info, label), 0))
        assert state.deviations[0, place] < deviation
    assert state.promises[0, place] != state.means[0, place]


NOUNS = st.sampled_from(["red thing", "star", "small striped thing", "blue star", "warm round thing on grass", "ring"])
PHRASES = NOUNS | st.builds("{} but not {}".format, NOUNS, NOUNS)


@pytest.mark.parametrize("score", ["grounded_k", "log_k", "mean"])
@given(
    texts=st.lists(PHRASES | st.builds("{} or {}".format, PHRASES, PHRASES), min_size=1, max_size=3),
    neuron=st.sampled_from(["planted:51", "planted:63", "layer4:5"]),
)
@settings(deadline=None, max_examples=25)
def test_the_prior_of_a_label_is_what_the_environment_lists_as_its_promise(
    saying: Stack, score: str, texts: list[str], neuron: str
) -> None:
    """For noun phrases, unions and exceptions, and also after drawings."""
    env = make(EDITS, stack=saying, score=score, reward="none")
    observation, info = env.reset(seed=0, options={"neuron": neuron, "concepts": texts})
    state, labels = env.unwrapped.episodes.state, listed(info)
    assert {saying.language.normalise(text) for text in texts} <= set(labels)
    which = np.full(len(labels), saying.neurons.index(neuron))
    simulations = saying.texts.simulation(saying.probe, labels, which)
    told = saying.prior.of_labels(labels, int(which[0]), score, simulations)
    np.testing.assert_allclose(told, state.means[0, : len(labels)], atol=1e-9)
    for slot, label in enumerate(filter(None, info["concepts"])):
        row = dict(zip(SCORE_COLUMNS, observation["scores"][slot], strict=True))
        assert row["promise"] == row["mean"] == pytest.approx(told[labels.index(label)], abs=1e-6)
    env.step((KEEP, 0, 0))
    np.testing.assert_allclose(told, state.promises[0, : len(labels)], atol=1e-9)
    plain = [i for i, label in enumerate(labels) if saying.language.parts(label).plain]
    alone = saying.prior.values([labels[i] for i in plain], which[plain], score).mean
    np.testing.assert_allclose(told[plain], alone, atol=1e-9)


def test_a_label_shows_what_its_parts_show(saying: Stack) -> None:
    env = make(EDITS, stack=saying)
    _, info = env.reset(seed=0, options=GIVEN)
    state, episodes = env.unwrapped.episodes.state, env.unwrapped.episodes
    for keeps in range(3):
        observation, _, _, _, info = env.step((KEEP, slot_of(info, UNION), 0))
        row = dict(zip(SCORE_COLUMNS, observation["scores"][slot_of(info, UNION)], strict=True))
        one, other, both = (place_of(info, text) for text in ("red thing", "star", UNION))
        assert row["images"] == keeps + 1
        assert state.counts[0, [one, other]].tolist() == [[5, 0], [5, 5], [10, 5]][keeps]
        scores = state.scores[0, [one, other]][state.counts[0, [one, other]] > 0]
        assert row["score"] == pytest.approx(scores.mean(), abs=1e-6)
        images = np.concatenate([state.activations[0, part, : state.counts[0, part]] for part in (one, other)])
        shown_first = info["activations"][slot_of(info, UNION)][: len(images)]
        assert sorted(shown_first) == sorted(images)
        drawings = viewer.drawings(episodes, 0, both, 100)
        assert len(drawings) == len(images) == len(set(drawings))
        for (text, seed), activation in zip(drawings, shown_first, strict=True):
            again = saying.lab.measure(concepts=[text], seeds=np.array([[seed]])).activations[0]
            neuron = episodes.neuron[:1]
            assert saying.probe.normalise(again[:, neuron[0]], neuron)[0] == activation
    assert [text for text, _ in drawings[:4]] == ["red thing", "star"] * 2  # in turn
    pictures = viewer.view(episodes, 0).candidates[slot_of(info, UNION)].drawn
    expected = saying.lab.images(*zip(*drawings[:5], strict=True))
    assert all((a == b).all() for a, b in zip(pictures, expected, strict=True))
    assert [len(trial.activations) for trial in episodes.history(0)] == [10, 5, 0, 0]


# --- what is drawn, and what it costs --------------------------------------------------------------------------------


def test_nobody_is_asked_to_draw_a_union_and_what_is_shared_is_billed_once(
    saying: Stack, measured: list[tuple[str, int]], drawn: list[str]
) -> None:
    env = make(
        EDITS, stack=saying, n_slots=6, budget=40, max_steps=12, reward="none", image_cost=0.01, user_concepts=[BOTH]
    )
    _, info = env.reset(seed=0, options=GIVEN)
    assert listed(info) == ["red thing", "star", UNION, EXCEPTION]
    *_, info = env.step((ADD, 0, 0))
    assert listed(info)[4:] == [BOTH]  # its parts are listed already
    total = 0.0
    for text in (UNION, UNION, EXCEPTION, BOTH, "star", UNION):
        counts = dict(zip(listed(info), info["master_images"], strict=False))
        _, reward, _, _, info = env.step((KEEP, slot_of(info, text), 0))
        total += reward
        after = dict(zip(listed(info), info["master_images"], strict=False))
        assert after["red thing"] + after["star"] == counts["red thing"] + counts["star"] + 5 == info["images"]
        assert after[UNION] == after[BOTH] == info["images"]
        assert after[EXCEPTION] == after["star"]
    assert (after["red thing"], after["star"]) == (15, 15)  # the part with fewer images; of equals, the first
    assert total == pytest.approx(-0.01 * len(measured))
    assert len(measured) == len(set(measured)) == info["images"] == 30
    assert {text for text, _ in measured} == {"red thing", "star"}
    env.render()
    assert not [text for text in drawn if " or " in text or "but not" in text]


@pytest.mark.parametrize("label", [UNION, EXCEPTION, BOTH])
@pytest.mark.parametrize("score", ["grounded_k", "auc"])
def test_the_held_out_value_of_a_label_follows_from_its_parts(saying: Stack, label: str, score: str) -> None:
    rules, share = Rules(score=score), GROUNDED_ALPHA if score == "grounded_k" else 1.0
    which, blocks = saying.neurons.indices(["planted:51"]), np.array([3])

    def value(text: str) -> tuple[float, float]:
        simulation = saying.texts.simulation(saying.probes.held_out, [text], which)[0]
        return held_out_value(saying, rules, texts=[text], neurons=which, blocks=blocks)[0], simulation

    parts = [value(noun) for noun, _ in LABELS[label]]
    found, real = value(label)
    one_word, price = (0.04, PRICES[label]) if score == "grounded_k" else (0.0, 0.0)
    of_drawings = np.mean([one + one_word - (1 - share) * simulation for one, simulation in parts])
    assert found == pytest.approx(of_drawings + (1 - share) * real - price, abs=1e-9)


@settings(deadline=None, max_examples=10)
@given(seed=st.integers(0, 10_000))
@pytest.mark.parametrize("env_id", IDS)
def test_any_play_keeps_its_promises(saying: Stack, env_id: str, seed: int) -> None:
    """Returns telescope, bills add up, and masks tell which kinds have an effect."""
    env = make(env_id, stack=saying, user_concepts=[BOTH, "ring or sky"], neurons="planted:51-62", image_cost=0.001)
    _, info = env.reset(seed=seed)
    episodes, rng = env.unwrapped.episodes, np.random.default_rng(seed)
    first, total, ended = info["label"], 0.0, False
    while not ended:
        action = going_on(rng, 1, env_id)[0]
        before, masks = listed(info), env.unwrapped.action_masks()
        incumbent = saying.language.parts(info["concepts"][0])
        _, reward, ended, _, info = env.step(action)
        total += reward
        new = listed(info)[len(before) :]
        assert len(new) <= 3
        assert all(drawn in listed(info) for text in new for drawn in saying.language.parts(text).drawn)
        assert env.observation_space.contains(env.unwrapped._observation())
        if env_id == EDITS:
            assert masks[-6:-2].all()
            assert masks[-2] == (len(incumbent.phrases) == 1)
            assert masks[-1] == incumbent.plain
            if action[0] == MUTATE and action[1] == 0 and not masks[-6 + action[2]]:
                assert not new
                assert "no effect" in info["message"]
    owners = [place for place, text in enumerate(listed(info)) if saying.language.parts(text).plain]
    assert info["master_images"][owners].sum() == info["images"]
    gained = episodes.value(np.zeros(1, int), [info["label"]]) - episodes.value(np.zeros(1, int), [first])
    assert total == pytest.approx(gained[0] - 0.001 * info["images"])


# --- the environments ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("env_id", IDS)
def test_both_checkers_pass(saying: Stack, env_id: str) -> None:
    env = gym.make(env_id, stack=saying)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(env.unwrapped)
        warnings.filterwarnings("ignore", ".*unconventional shape.*")
        check_env_sb3(env.unwrapped)


@pytest.mark.parametrize("mode", ["NextStep", "SameStep"])
def test_native_equals_sync_step_by_step(saying: Stack, mode: str) -> None:
    options: dict[str, Any] = {
        "stack": saying, "n_slots": 4, "budget": 25, "max_steps": 6, "neurons": "planted:51-62",
        "user_concepts": [UNION, "ring or star"],
    }  # fmt: skip
    native = gym.make_vec(EDITS, num_envs=3, autoreset_mode=mode, **options)
    sync = gym.make_vec(EDITS, num_envs=3, vectorization_mode="sync", vector_kwargs={"autoreset_mode": mode}, **options)
    ours: Any = native.reset(seed=7)
    assert data_equivalence(ours, sync.reset(seed=7), exact=True)
    rng, unions = np.random.default_rng(0), 0
    for _ in range(14):
        action = np.stack(
            [rng.choice(4, 3, p=(0.4, 0.4, 0.15, 0.05)), rng.integers(3, size=3), rng.integers(6, size=3)], 1
        )
        ours, theirs = native.step(action), sync.step(action)
        finals = [result[4].pop("final_obs", []) for result in (ours, theirs)]
        assert all(a is b is None or data_equivalence(a, b, exact=True) for a, b in zip(*finals, strict=True))
        assert data_equivalence(ours, theirs, exact=True)
        unions += sum(" or " in text or "but not" in text for row in ours[4]["concepts"] for text in row)
    assert unions > 20


@pytest.mark.parametrize("kind", [Kind.UNITE, Kind.EXCEPT])
def test_a_language_without_unions_masks_them(stack: Stack, kind: Kind) -> None:
    env = make(EDITS, stack=stack)
    _, before = env.reset(seed=0)
    assert before["action_mask"][-6:].tolist() == [1, 1, 1, 1, 0, 0]
    _, reward, _, _, after = env.step((MUTATE, 0, kind))
    assert reward == 0
    assert listed(after) == listed(before)
    assert "no effect" in after["message"]
    assert len(before["master"]) == env.unwrapped.episodes.rules.capacity(structured=False)


def test_what_a_user_says_is_read_as_a_label(saying: Stack) -> None:
    env = make(ONE, stack=saying, user_concepts=["a star, or something happy and red"])
    env.reset(seed=0)
    *_, info = env.step(ADD)
    assert UNION in listed(info)
    assert info["message"].endswith("happy")
    assert env.unwrapped.suggest("a disc but not blue") == "circle but not blue thing"


@pytest.mark.parametrize(
    ("agent", "unions"),
    [
        (make_agent("kinds:8"), True), (make_agent("cover:8"), True), (random_policy(4), True),
        (make_agent("learned"), True), (make_agent("gradient:3"), False), (make_agent("dnd"), False),
    ],
    ids=lambda value: value.name if isinstance(value, Agent) else "",
)  # fmt: skip
def test_agents_play_with_unions_without_change(
    saying: Stack, agent: Agent, unions: bool, measured: list[tuple[str, int]]
) -> None:
    jobs = [(f"planted:{i}", 0) for i in (45, 51, 52, 57, 60)]
    episodes = list(rollout(agent, jobs, stack=saying))
    plain = [saying.language.parts(text).plain for episode in episodes for text, *_ in episode.concepts]
    assert unions == (not all(plain))
    assert not [text for text, _ in measured if " or " in text or "but not" in text]
    for episode in episodes:
        labels = saying.language.parts(episode.label).drawn
        assert episode.reward_images >= 20 * len(labels)
