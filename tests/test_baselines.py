"""The baselines that draw little or nothing, and the blocks of seeds that evaluations draw with."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents import make_agent
from agents.cloning import teacher_of
from agents.compare import contestants, optimal_values, play
from agents.labelling import label
from agents.plan import plan
from agents.results import Results, unseen
from agents.rollout import rollout
from agents.statistics import Interval
from agents.until import SIGNALS
from dnr_env import Action, DnRError, Rules, load_stack
from dnr_env.judge import judge
from dnr_env.scores import excitement
from dnr_env.seeds import BLOCKS, SeedBlock
from dnr_env.shapes.lexicon import FAMILIES, FAMILY_SLICES, OPEN
from dnr_env.shapes.parse import parse, values_of
from dnr_env.stacks import Stack

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))
import sceptic

NEURONS = ["layer4:3", "layer2:9", "planted:20", "layer1:4", "layer3:17"]
JOBS = [(neuron, seed) for seed in (1, 2) for neuron in NEURONS]


@pytest.fixture(scope="module")
def stack() -> Stack:
    return load_stack("shapes")


def indices(stack: Stack, neurons: Sequence[str]) -> np.ndarray:
    return np.array([stack.lab.reader.neurons.index(neuron) for neuron in neurons])


# --- the label of real images alone ----------------------------------------------------------------------------------


def test_promises_are_those_of_a_ridge_regression_on_the_real_images(stack: Stack) -> None:
    """Words shown, less chance, against excitement; a concept shows the words it allows, the rest by chance."""
    neurons = indices(stack, NEURONS)
    embeddings = stack.probe.embeddings.astype(float)
    shown = embeddings[:, :-1] * (0.5 / embeddings[:, -1:])
    shown -= shown.mean(axis=0)
    concepts = ["red thing", "huge warm dotted star", "tiny thing on outdoor", "round thing"]
    asked = np.zeros((len(concepts), shown.shape[1]))
    for row, concept in enumerate(concepts):
        for family, (value, part) in enumerate(zip(values_of(concept), FAMILY_SLICES, strict=True)):
            if value != OPEN:
                words = FAMILIES[family].words
                named = (*words, *FAMILIES[family].hypernyms)
                first = sum(len(f.words) + len(f.hypernyms) for f in FAMILIES[:family])
                word = named[value - first]
                members = FAMILIES[family].hypernyms.get(word, (word,))
                asked[row, part] = [(w in members) / len(members) - 1 / len(words) for w in words]
    for neuron in neurons.tolist():
        which = np.array([neuron])
        excited = excitement(stack.probe.normalise(stack.probe.real(which), which)[0].astype(float))
        gram = shown.T @ shown + 2.0 * np.eye(shown.shape[1])
        weights = np.linalg.solve(gram, shown.T @ (excited - excited.mean()))
        expected = excited.mean() + asked @ weights
        found = stack.foretell(concepts, np.full(len(concepts), neuron), "log_k")
        assert found == pytest.approx(expected, abs=1e-5)
        grounded = stack.foretell(concepts, np.full(len(concepts), neuron), "grounded_k")
        simulations = stack.simulation(concepts, np.full(len(concepts), neuron))
        assert grounded == pytest.approx(0.5 * expected + 0.5 * simulations, abs=1e-5)


@pytest.mark.parametrize("score", ["log_k", "grounded_k"])
def test_promise_labels_with_the_best_word_and_draws_nothing(stack: Stack, score: str) -> None:
    drawn = stack.lab.counters.drawn
    labels = make_agent("promise").labels(stack, NEURONS, score)
    assert labels
    assert stack.lab.counters.drawn == drawn
    for neuron, found in zip(indices(stack, NEURONS), labels, strict=True):
        words = list(stack.vocabulary())
        promises = stack.foretell(words, np.full(len(words), neuron), score)
        assert found[0] == words[int(promises.argmax())]
        assert promises[words.index(found[0])] >= promises[words.index(found[1])] >= promises[words.index(found[2])]


def test_informed_begins_where_promise_is(stack: Stack) -> None:
    """With the same real images, the mutator's first samples lie around the promise's best concepts."""
    wanted = dict(zip(NEURONS, make_agent("promise").labels(stack, NEURONS, "grounded_k") or [], strict=True))
    first = rollout(make_agent("rounds:1@informed"), JOBS, stack=stack)
    met = sum(episode.concepts[-1][0] in wanted[episode.neuron] for episode in first)
    assert met >= len(JOBS) // 2


def test_joined_words_say_what_the_terms_say(stack: Stack) -> None:
    heaviest = make_agent("linear").labels(stack, NEURONS, "grounded_k") or []
    joined = make_agent("linear-joined").labels(stack, NEURONS, "grounded_k") or []
    longer = 0
    for words, phrases in zip(heaviest, joined, strict=True):
        named, first = values_of(phrases[0]), values_of(words[0])
        assert all(one == other for one, other in zip(named, first, strict=True) if other != OPEN)
        assert phrases[1:] == [word for word in words if word != phrases[0]]
        longer += named != first
    assert longer


def test_clip_dissect_takes_its_constants(stack: Stack) -> None:
    published = make_agent("clip-dissect").labels(stack, NEURONS, "log_k")
    assert make_agent("clip-dissect:100:10:1").labels(stack, NEURONS, "log_k") == published
    assert make_agent("clip-dissect:20:40:0.5").labels(stack, NEURONS, "log_k") != published


# --- loops -----------------------------------------------------------------------------------------------------------


def test_dnd_has_five_candidates() -> None:
    episodes = list(rollout(make_agent("dnd"), JOBS))
    assert max(len(episode.concepts) for episode in episodes) == 5
    assert all(episode.images == 10 * len(episode.concepts) for episode in episodes)


def test_line_starts_from_the_strongest_images_and_ends_with_a_summary(stack: Stack) -> None:
    new = 0
    for episode in rollout(make_agent("line:2@informed"), JOBS, stack=stack):
        (proposal,) = stack.propose(indices(stack, [episode.neuron]).tolist(), 8)
        captions = [
            excerpt.caption for excerpt in proposal.excerpts if any(v != OPEN for v in parse(excerpt.caption).values)
        ]
        start = list(dict.fromkeys(map(stack.normalise, captions)))[:5]
        texts = [text for text, _ in episode.concepts]
        assert texts[: len(start)] == start
        assert episode.steps == 4  # two mutations, the summary, and the stop
        assert episode.images == 5 * (len(start) + 3)
        assert episode.label == max(episode.concepts, key=lambda concept: concept[1])[0]
        if len(texts) == len(start) + 3:  # it may be one that is there already
            new += 1
            before = sorted(episode.concepts[:-1], key=lambda concept: -concept[1])[:3]
            said = np.array([values_of(text) for text, _ in before])
            summary = np.array(values_of(texts[-1]))
            assert (summary != OPEN).sum() == 1
            assert (said[:, summary != OPEN] != OPEN).any(axis=0).all()  # it speaks of what the best three speak of
    assert new


@given(weight=st.floats(0, 1))
@settings(max_examples=10, deadline=None)
def test_a_blend_is_between_score_and_promise(weight: float) -> None:
    stack = load_stack("shapes")
    for episode in rollout(make_agent(f"blend:1:{weight}@informed"), JOBS[:4], stack=stack):
        texts = [text for text, _ in episode.concepts]
        scores = dict(episode.concepts)
        best = sorted(texts, key=lambda text: -scores[text])[:8]  # those in the slots
        promises = stack.foretell(best, np.repeat(indices(stack, [episode.neuron]), len(best)), "grounded_k")
        blended = {text: weight * scores[text] + (1 - weight) * p for text, p in zip(best, promises, strict=True)}
        assert blended[episode.label] == pytest.approx(max(blended.values()), abs=1e-6)


def test_a_shortlist_draws_what_real_images_promise(stack: Stack) -> None:
    wanted = dict(zip(NEURONS, make_agent("promise").labels(stack, NEURONS, "grounded_k") or [], strict=True))
    for episode in rollout(make_agent("shortlist:3:0.5"), JOBS, stack=stack):
        assert [text for text, _ in episode.concepts] == wanted[episode.neuron]
        assert (episode.images, episode.added_images) == (15, 0)
    first = rollout(make_agent("shortlist:3:0"), JOBS, stack=stack)
    assert [episode.label for episode in first] == [wanted[neuron][0] for neuron, _ in JOBS]


@pytest.mark.parametrize(
    ("spec", "images"),
    [
        ("promise", 0),
        ("shortlist:2:0.5", 10),
        ("stop", 40),
        ("line:2", 25 + 15),
        ("rounds:3", 40 + 15),
        ("blend:1:0.2", 45),
        ("until:score:9:0:4", 60),
        ("rounds:90", 140),
        ("dnd", 50),
        ("dnd@informed", 50),
    ],
)
def test_a_plan_bounds_what_is_drawn(spec: str, images: int) -> None:
    planned = plan("shapes", make_agent(spec), ",".join(NEURONS), Rules())
    assert planned.search_images == len(NEURONS) * images
    episodes = list(rollout(make_agent(spec), JOBS))
    assert max(episode.images for episode in episodes) <= images
    if spec.startswith(("shortlist", "until", "rounds:3")):
        assert max(episode.images for episode in episodes) == images


@pytest.mark.parametrize("spec", ["line:2", "blend:1:0.5", "shortlist:2:0.5", "dnd"])
def test_whose_episodes_are_others_cannot_be_cloned(spec: str) -> None:
    with pytest.raises(DnRError, match="cannot be cloned"):
        teacher_of(spec)


# --- the sceptic -----------------------------------------------------------------------------------------------------


def test_a_rule_stops_in_play_where_it_stops_on_paper(stack: Stack) -> None:
    """What tuning reads off recorded paths is what the agent comes to."""
    rules = Rules()
    neurons, seeds = NEURONS[:3], (1, 2)
    found = sceptic.paths(stack, neurons, seeds, "informed", rules)
    row = np.arange(len(found.gain))
    for rule in sceptic.tune(found):
        name, threshold, least, most = rule.agent.split(":")[1:]
        point = sceptic.stops(found.signals[name], float(threshold), int(least), int(most))
        assert rule.gain == pytest.approx(found.gain[row, point].mean())
        jobs = [(neuron, seed) for seed in seeds for neuron in neurons]
        episodes = list(rollout(make_agent(f"{rule.agent}@informed"), jobs, stack=stack))
        assert [episode.steps - 1 for episode in episodes] == point.tolist()
        bill = rules.image_cost * np.array([episode.images for episode in episodes])
        gains = np.array([episode.curve[-1][1] for episode in episodes])
        assert (gains - bill).mean() == pytest.approx(rule.gain, abs=1e-6)
        assert np.mean([episode.images for episode in episodes]) == pytest.approx(rule.images)


def test_a_signal_of_few_values_is_reached_in_spite_of_rounding() -> None:
    """The steps without a gain are counted in 24ths, which no decimal number meets."""
    signal = np.tile(np.float32([0, 0, 1, 2, 3]) / np.float32(24), (7, 1)).astype(float)
    signals = dict.fromkeys(SIGNALS, signal)
    gain = np.tile([0.0, 0.0, 1.0, 0.0, 0.0], (7, 1))
    for rule in sceptic.tune(sceptic.Paths(signals, gain, 5 * np.tile(np.arange(5), (7, 1)))):
        assert (rule.gain, rule.images) == (1.0, 10.0)


def test_there_are_at_least_ten_rules() -> None:
    assert len(SIGNALS) >= 10
    for name in SIGNALS:
        assert make_agent(f"until:{name}:-0.25:0:3").name == f"until:{name}:-0.25:0:3"
    for wrong in (
        "until",
        "until:luck:0.5:1:5",
        "until:score:x:1:5",
        "until:score:0.5:1",
        "until:score:0.5:-1:5",
        "until:score:0.5:5:1",
        f"until:score:0.5:1:{'9' * 400}",
    ):
        with pytest.raises(DnRError, match=r"must be written as until:score:0\.69:1:5"):
            make_agent(wrong)


@given(
    st.lists(st.lists(st.floats(-1, 1, width=32), min_size=4, max_size=4), min_size=1, max_size=6),
    st.floats(-1, 1),
    st.integers(0, 2),
    st.integers(0, 3),
)
def test_stops(signal: list[list[float]], threshold: float, least: int, most: int) -> None:
    for row, point in zip(signal, sceptic.stops(np.array(signal), threshold, least, most).tolist(), strict=True):
        expected = 0
        while expected < most and not (expected >= least and row[expected] >= threshold):
            expected += 1
        assert point == expected


# --- blocks of seeds -------------------------------------------------------------------------------------------------


def test_everything_of_an_evaluation_is_drawn_from_the_block_of_its_seed(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    measure = stack.lab.measure

    def spy(concepts: Sequence[str], seeds: Any, neurons: Any = None) -> Any:
        asked.extend(seeds.ravel().tolist())
        return measure(concepts, seeds, neurons)

    monkeypatch.setattr(stack.lab, "measure", spy)
    for seed, block in ((3, 3), (BLOCKS + 5, 5)):
        asked.clear()
        (episode,) = rollout(make_agent("rounds:1"), [("layer4:3", seed)], stack=stack)
        judge(stack, ["layer4:3"], [episode.label], "log_k", 5, blocks=[block])
        own = {int(one) for purpose in SeedBlock for one in purpose.seeds(0, 50, block)}
        assert set(asked) <= own
        assert {max(purpose for purpose in SeedBlock if purpose <= one) for one in asked} == {
            SeedBlock.SEARCH,
            SeedBlock.REWARD,
            SeedBlock.JUDGE,
        }


def test_the_oracle_has_all_of_the_optimum_on_every_block(stack: Stack, tmp_path: Path) -> None:
    neurons, seeds, rules = NEURONS[:3], (1, 2), Rules()
    records = play(stack, contestants(["stop", "oracle"]), neurons, seeds, tmp_path / "results.jsonl", rules)
    results = Results(records, optimal_values(stack, neurons, seeds, rules))
    assert results.fraction("oracle") == Interval(1.0, 1.0, 1.0)
    backwards = Results(records, optimal_values(stack, neurons, seeds[::-1], rules))  # as `--seeds 2 1` asks
    assert backwards.fraction("oracle") == Interval(1.0, 1.0, 1.0)
    stop = results.fraction("stop")
    assert stop is not None
    assert stop.estimate < 1


def test_a_label_is_judged_on_the_block_of_its_seed(stack: Stack, tmp_path: Path) -> None:
    rules = Rules()
    for seed in (0, 3):
        records = label(stack, make_agent("promise"), NEURONS[:2], seed, tmp_path / f"{seed}.jsonl", rules)
        verdicts = judge(
            stack, NEURONS[:2], [r["label"] for r in records], rules.score, rules.images_per_measure, blocks=[seed] * 2
        )
        assert [r["value"] for r in records] == [verdict.value for verdict in verdicts]


def test_intervals_of_one_unit_say_what_they_lack() -> None:
    def record(neuron: str, seed: int) -> dict[str, Any]:
        return {"agent": "a", "member": "", "neuron": neuron, "seed": seed}

    assert unseen(Results([record("n", 1), record("m", 1), record("n", 2), record("m", 2)], {})) == ""
    assert "between blocks of drawings" in unseen(Results([record("n", 1), record("m", 1)], {}))
    assert "between neurons and between blocks of drawings" in unseen(Results([record("n", 1)], {}))


def test_blocks_show_other_images_and_the_same_block_the_same() -> None:
    env: Any = gym.make("dnr_env:DnR/Refine-v0", neurons="layer4:3")
    _, first = env.reset(seed=0)
    _, again = env.reset(seed=0, options={"block": 0})
    _, other = env.reset(seed=0, options={"block": 1})
    assert set(first["concepts"]) == set(other["concepts"])
    assert np.array_equal(first["activations"], again["activations"])
    assert not np.array_equal(first["activations"], other["activations"])
    kept = [env.step(Action.KEEP)[4] for _ in range(3)][-1]
    assert (kept["activations"] != 0).sum() > (other["activations"] != 0).sum()
    for wrong in (-1, BLOCKS, 0.5, "1", True):
        with pytest.raises(DnRError, match=r"block: a block of image seeds is a whole number from 0 to 1023"):
            env.reset(options={"block": wrong})


def test_blocks_of_one_purpose_never_meet() -> None:
    for purpose in SeedBlock:
        for block in (0, 1, BLOCKS - 1):
            seeds = purpose.seeds(0, 1 << 20, block)
            assert seeds[0] == purpose + (block << 20)
            assert seeds[-1] < purpose + ((block + 1) << 20)
        assert np.array_equal(purpose.rows(4, np.array([0, 7])), [purpose.seeds(0, 4), purpose.seeds(0, 4, 7)])


def test_images_of_rewards_are_counted(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    measured: set[tuple[str, int]] = set()
    measure = stack.lab.measure

    def spy(concepts: Sequence[str], seeds: Any, neurons: Any = None) -> Any:
        for text, row in zip(concepts, seeds.tolist(), strict=True):
            measured.update((text, seed) for seed in row if SeedBlock.REWARD <= seed < SeedBlock.JUDGE)
        return measure(concepts, seeds, neurons)

    monkeypatch.setattr(stack.lab, "measure", spy)
    for name in ("stop", "rounds:3", "patience:2@informed", "promise"):
        measured.clear()
        (episode,) = rollout(make_agent(name), [("layer2:9", 2)], stack=stack)
        assert episode.reward_images == len(measured)
        (unpaid,) = rollout(make_agent(name), [("layer2:9", 2)], stack=stack, reward="none")
        assert unpaid.reward_images == 0


def test_real_images_break_ties() -> None:
    """Where a neuron saturates, equal scores are ordered by simulation."""
    env: Any = gym.make("dnr_env:DnR/Refine-v0", neurons="planted", score="log_k")
    ties = 0
    for neuron in range(40):
        env.reset(seed=0, options={"neuron": f"planted:{neuron}"})
        state = env.unwrapped.refinement.state
        order = state.order[0, : state.size[0]]
        scores, simulations = state.scores[0, order], state.simulations[0, order]
        for i in range(len(order) - 1):
            if scores[i] == scores[i + 1]:
                assert simulations[i] >= simulations[i + 1]
                ties += 1
            assert scores[i] >= scores[i + 1]
    assert ties
