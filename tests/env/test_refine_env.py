"""The environment's contract: both checkers, determinism, masks, ends, rewards."""

from __future__ import annotations

import itertools
import json
import pickle
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env, data_equivalence
from stable_baselines3.common.env_checker import check_env as check_env_sb3

import dnr_env
from dnr_env import Action, DnRError, Rules
from dnr_env.env.refine_env import RefineEnv
from dnr_env.env.state import PROGRESS, SCORE_COLUMNS
from dnr_env.env.vector_env import RefineVectorEnv
from dnr_env.errors import UnknownArgumentError
from dnr_env.scores import SCORES, score
from dnr_env.seeds import Purpose
from dnr_env.stack import Stack

IDS = ("DnR/Refine-v0", "DnR/RefineSlots-v0")
SMALL: dict[str, Any] = {"n_slots": 4, "budget": 30, "max_steps": 8}


def make(env_id: str = IDS[0], **options: Any) -> Any:
    return gym.make(env_id, **{**SMALL, **options})


def listed(info: dict[str, Any]) -> list[str]:
    """The master list without the padding."""
    return [text for text in info["master"] if text]


def sample(env: gym.Env[Any, Any], rng: np.random.Generator) -> Any:
    """A random action without STOP, legal or not."""
    action = int(rng.integers(3))
    space = env.action_space
    return np.array([action, rng.integers(space.nvec[1])]) if isinstance(space, gym.spaces.MultiDiscrete) else action


@pytest.mark.parametrize("env_id", IDS)
@pytest.mark.parametrize("render_mode", [None, "rgb_array", "ansi"])
def test_both_checkers_pass(env_id: str, render_mode: str | None) -> None:
    env = gym.make(env_id, render_mode=render_mode)
    check_env(env.unwrapped)
    if render_mode is None:
        with warnings.catch_warnings():
            # Stable-Baselines3 says so of every observation with two axes; its policies flatten them.
            warnings.filterwarnings("ignore", ".*unconventional shape.*")
            check_env_sb3(env.unwrapped)


@pytest.mark.parametrize("env_id", IDS)
def test_twins_agree_on_everything(env_id: str) -> None:
    first, second = make(env_id), make(env_id)
    for seed in range(3):
        assert data_equivalence(first.reset(seed=seed), second.reset(seed=seed), exact=True)
        rng, ended = np.random.default_rng(seed), False
        while not ended:
            action = sample(first, rng)
            ours, theirs = first.step(action), second.step(action)
            assert data_equivalence(ours, theirs, exact=True)
            assert first.observation_space.contains(ours[0])
            ended = ours[2] or ours[3]


def test_the_seed_decides_the_stream_of_episodes() -> None:
    first, second = make(), make()
    first.reset(seed=4)
    second.reset(seed=4)
    neurons = [first.reset()[1]["neuron"] for _ in range(6)]
    assert neurons == [second.reset()[1]["neuron"] for _ in range(6)]
    assert len(set(neurons)) > 1


_PRINT_EPISODE = """
import gymnasium as gym, hashlib, sys
env = gym.make("dnr_env:DnR/Refine-v0", n_slots=4, budget=30, max_steps=8)
observation, info = env.reset(seed=5)
out = [repr(info["master"])]
for action in (1, 1, 0, 1):
    observation, reward, *_, info = env.step(action)
    out += [repr(reward), repr(info["master"]), hashlib.sha256(observation["scores"].tobytes()).hexdigest()]
print("".join(out))
print("torch" in sys.modules)
"""


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> list[list[str]]:
    """The lines of two processes with hash seeds of their own: the store is cold for the first, warm for the second."""
    cache = tmp_path_factory.mktemp("cache")

    def run(hash_seed: str) -> list[str]:
        environment = {"PYTHONHASHSEED": hash_seed, "DNR_CACHE_DIR": str(cache), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-c", _PRINT_EPISODE]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        return done.stdout.splitlines()

    return [run("0"), run("1")]


def test_processes_agree_whatever_the_hash_seed_and_with_a_cold_store(
    printed: list[list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    exec(_PRINT_EPISODE, {})  # a third hash seed
    here = capsys.readouterr().out.splitlines()
    assert here[0] == printed[0][0] == printed[1][0]


def test_a_warm_store_needs_no_torch(printed: list[list[str]]) -> None:
    assert [lines[1] for lines in printed] == ["True", "False"]


def test_import_is_light() -> None:
    code = "import sys, dnr_env; print([m for m in ('diffusers', 'transformers', 'torch') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


@pytest.mark.parametrize("env_id", IDS)
def test_specification_round_trip(env_id: str) -> None:
    env = make(env_id, neurons="layer4:0-9")
    again = gym.make(gym.envs.registration.EnvSpec.from_json(env.spec.to_json()))
    assert data_equivalence(env.reset(seed=1), again.reset(seed=1), exact=True)


def test_pickle_round_trip_in_the_middle_of_an_episode() -> None:
    env = make().unwrapped
    env.reset(seed=2)
    env.step(Action.MUTATE)
    copy = pickle.loads(pickle.dumps(env))
    for action in (Action.MUTATE, Action.KEEP, Action.MUTATE):
        assert data_equivalence(env.step(action), copy.step(action), exact=True)


@pytest.mark.parametrize("env_id", IDS)
@pytest.mark.parametrize("users", [None, ["red star", "dotted thing"]])
def test_masks_agree_with_effects(env_id: str, users: list[str] | None) -> None:
    """A masked action, or a masked slot, changes nothing but the steps; every other one does something."""
    env = make(env_id, user_concepts=users, max_steps=6, budget=20)
    slots = env_id == IDS[1]
    rng = np.random.default_rng(0)
    for seed in range(25):
        _, info = env.reset(seed=seed, options={"concepts": ["red thing", "star", "huge thing"]})
        ended = False
        while not ended:
            mask = env.unwrapped.action_masks()
            assert (mask == info["action_mask"]).all()
            action, slot = int(rng.integers(3)), int(rng.integers(4)) if slots else 0
            legal = mask[action] and (not slots or mask[len(Action) + slot])
            before = info
            _, reward, terminated, truncated, info = env.step(np.array([action, slot]) if slots else action)
            assert (info["images"] > before["images"]) == legal
            if not legal:
                assert reward == 0
                assert info["message"]
                assert info["master"] == before["master"]
            ended = terminated or truncated
        with pytest.raises(gym.error.ResetNeeded):
            env.step(np.array([0, 0]) if slots else 0)


def test_ends() -> None:
    env = make()
    env.reset(seed=0)
    assert env.step(Action.STOP)[2:4] == (True, False)
    env.reset(seed=0)
    ends = [env.step(Action.MUTATE)[2:4] for _ in range(30 // 5)]
    assert ends == [(False, False)] * 5 + [(True, False)]  # the budget
    env = make(max_steps=3)
    env.reset(seed=0)
    ends = [env.step(Action.ADD)[2:4] for _ in range(3)]
    assert ends == [(False, False)] * 2 + [(True, False)]  # the steps, although none had an effect


def test_no_budget_is_a_defined_episode() -> None:
    env = make(budget=0)
    _, info = env.reset(seed=0)
    assert info["action_mask"].tolist() == [0, 0, 0, 1]
    assert env.step(Action.STOP)[1:4] == (0.0, True, False)


@pytest.mark.parametrize("mode", ["held_out", "observed"])
@pytest.mark.parametrize("env_id", IDS)
def test_rewards_telescope(stack: Stack, mode: str, env_id: str) -> None:
    """The sum of an episode's rewards is the label's value less the first incumbent's, less the bill."""
    env = make(env_id, reward=mode, image_cost=0.002)
    rng = np.random.default_rng(1)
    for seed in range(8):
        observation, info = env.reset(seed=seed)
        first, images, first_score = info["label"], info["images"], observation["scores"][0, 0]
        total, ended = 0.0, False
        for _ in range(5):
            observation, reward, terminated, truncated, info = env.step(sample(env, rng))
            total += reward
            ended = terminated or truncated
        if not ended:
            stop = np.array([Action.STOP, 2]) if env_id == IDS[1] else Action.STOP
            chosen = info["concepts"][2 if env_id == IDS[1] else 0]
            observation, reward, *_, info = env.step(stop)
            total += reward
            assert info["label"] == chosen
        bill = 0.002 * (info["images"] - images)
        if mode == "held_out":
            gain = held_out(stack, info["neuron"], info["label"]) - held_out(stack, info["neuron"], first)
        else:
            gain = info["master_scores"][info["master"].index(info["label"])] - first_score
        assert total == pytest.approx(gain - bill, abs=1e-6)


def held_out(stack: Stack, neuron: str, label: str) -> float:
    """A label's value under `grounded_k`, computed without the environment."""
    index = stack.neurons.index(neuron)
    raw = stack.lab.measure(concepts=[label], seeds=Purpose.REWARD.seeds(0, 20)[None]).activations[0, :, index]
    top = np.log1p(np.maximum(np.sort(stack.probe.normalise(raw[None], np.array([index]))[0]), 0).astype(float))
    excited = np.mean([np.sort(top[list(subset)])[-2:].mean() for subset in itertools.combinations(range(20), 5)])
    similarity = stack.probe.embeddings.astype(float) @ stack.embedder.embed_texts([label])[0].astype(float)
    simulation = np.corrcoef(similarity, stack.probe.activations[:, index].astype(float))[0, 1]
    return float(0.5 * excited + 0.5 * simulation)


def test_keep_earns_nothing_but_its_bill_in_held_out_mode() -> None:
    env = make(image_cost=0.001)
    for seed in range(10):
        env.reset(seed=seed, options={"concepts": ["red thing"]})
        assert [env.step(Action.KEEP)[1] for _ in range(3)] == [-0.005] * 3


@pytest.mark.parametrize("name", SCORES)
def test_keep_has_zero_expected_gain_in_observed_mode(stack: Stack, name: str) -> None:
    """Over many (concept, neuron) pairs, the score of 25 images is on average that of 5."""
    rng = np.random.default_rng(0)
    texts = [stack.vocabulary.concepts[i] for i in rng.integers(len(stack.vocabulary.concepts), size=40)]
    evidence = stack.lab.measure(concepts=texts, seeds=np.tile(Purpose.SEARCH.seeds(1000, 200), (40, 1)))
    neurons = np.arange(0, len(stack.neurons), 9)
    gains = []
    for row in range(40):
        a = stack.probe.normalise(evidence.activations[row][:, neurons].T, neurons)
        similar = evidence.embeddings[row] @ stack.probe.exemplar_embeddings[neurons].T
        order = rng.permutation(200)
        many, few = order[:25], order[:5]
        controls = stack.probe.controls[neurons]
        counts = np.full(len(neurons), 0)
        simulation = stack.vocabulary.simulation([texts[row]] * len(neurons), neurons)
        late, _ = score(
            name,
            activations=a[:, many],
            counts=counts + 25,
            m=5,
            similarities=similar.T[:, many],
            controls=controls,
            simulations=simulation,
        )
        early, _ = score(
            name,
            activations=a[:, few],
            counts=counts + 5,
            m=5,
            similarities=similar.T[:, few],
            controls=controls,
            simulations=simulation,
        )
        gains.append((late - early).mean())
    assert abs(np.mean(gains)) < 3.5 * np.std(gains) / np.sqrt(len(gains))


def test_a_concept_keeps_its_value_when_others_join(stack: Stack) -> None:
    alone, among = make(), make()
    alone.reset(seed=0, options={"neuron": "layer4:5", "concepts": ["striped thing"]})
    _, info = among.reset(seed=0, options={"neuron": "layer4:5", "concepts": ["star", "striped thing", "huge ring"]})
    place = info["master"].index("striped thing")
    assert info["master_scores"][place] == alone.unwrapped.episodes.state.scores[0, 0]
    value = info["master_scores"][place]
    for _ in range(4):
        info = among.step(Action.MUTATE)[4]
        assert info["master_scores"][place] == value


def test_search_reward_and_judge_never_share_an_image(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    measure = stack.lab.measure

    def spy(*, seeds: Any, **arguments: Any) -> Any:
        asked.extend(seeds.ravel().tolist())
        return measure(seeds=seeds, **arguments)

    monkeypatch.setattr(stack.lab, "measure", spy)
    env = make(reward="none")
    env.reset(seed=0)
    env.step(Action.MUTATE)
    assert asked
    assert max(asked) < Purpose.REWARD  # labelling costs not one image more than the agent's own
    asked.clear()
    env = make()
    env.reset(seed=0)
    env.step(Action.MUTATE)
    assert {Purpose.SEARCH.value, Purpose.REWARD.value} == {max(b for b in Purpose if b <= s).value for s in asked}


def test_nothing_of_truth_or_of_reward_images_reaches_the_agent(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """With other reward and judge images, and other formulas, observations and infos are the same to the bit."""

    def episode() -> list[Any]:
        env = make()
        seen = [env.reset(seed=3, options={"neuron": "planted:20"})]
        for action in (1, 1, 0, 1):
            observation, _, *ends, info = env.step(action)
            seen.append((observation, ends, info))
        return seen

    before = episode()
    measure = stack.lab.measure

    def changed(*, seeds: Any, **arguments: Any) -> Any:
        evidence = measure(seeds=seeds, **arguments)
        elsewhere = (seeds >= Purpose.REWARD) & (seeds < Purpose.PROBE)
        activations = np.where(elsewhere, -7.0, evidence.activations).astype(np.float32)
        return evidence._replace(activations=activations)

    monkeypatch.setattr(stack.lab, "measure", changed)
    monkeypatch.setattr("dnr_env.shapes.planted.FORMULAS", ("red",) * 75)
    assert data_equivalence(tuple(before), tuple(episode()), exact=True)
    text = json.dumps([str(info) for *_, info in before])
    assert not any(word in text for word in ("formula", "truth", "value", "optimum"))


def test_starting_from_given_concepts_and_neurons() -> None:
    env = make()
    _, info = env.reset(
        seed=0, options={"neuron": "layer2:3", "concepts": ["Small RED discs", "small red circle", "star"]}
    )
    assert info["neuron"] == "layer2:3"
    assert listed(info) == ["small red circle", "star"]
    _, info = env.reset(seed=0, options={"neuron": 0})
    assert info["neuron"] == "layer1:0"


def test_suggest_and_add() -> None:
    env = make()
    env.reset(seed=0, options={"neuron": "layer4:5"})
    assert not env.unwrapped.action_masks()[Action.ADD]
    assert env.unwrapped.suggest("a Tiny WAVY thing, on water") == "tiny wavy thing on water"
    assert env.unwrapped.action_masks()[Action.ADD]
    observation, *_, info = env.step(Action.ADD)
    assert listed(info)[-1] == "tiny wavy thing on water"
    env.unwrapped.suggest(info["label"])  # a known concept is measured again, and is now the user's as well
    observation, *_, again = env.step(Action.ADD)
    assert again["master"] == info["master"]
    assert again["message"] == f"{info['label']!r} had been measured before, and was measured again"
    assert observation["scores"][:, SCORE_COLUMNS.index("from_user")].sum() >= 1
    assert env.unwrapped.suggest("red flurb star, not blue") == "red star"
    message = env.step(Action.ADD)[4]["message"]
    assert message == "ignored words of 'red flurb star, not blue': flurb, not, blue"
    with pytest.raises(dnr_env.ConceptError, match="zork"):
        env.unwrapped.suggest("zork blurp")
    with pytest.raises(dnr_env.ConceptError, match="must contain at least one word"):
        env.unwrapped.suggest("  ")


def test_observation_is_what_it_says(stack: Stack) -> None:
    env = make()
    observation, info = env.reset(seed=0, options={"neuron": "layer4:7"})
    scores = dict(zip(SCORE_COLUMNS, observation["scores"].T, strict=True))
    progress = dict(zip(PROGRESS, observation["progress"], strict=True))
    assert (np.diff(scores["score"]) <= 0).all()
    assert np.allclose(np.linalg.norm(observation["concepts"], axis=1), 1, atol=1e-5)
    assert observation["concepts"][0] == pytest.approx(stack.embedder.embed_texts([info["label"]])[0])
    assert progress["steps_left"] == 1
    assert progress["budget_left"] == pytest.approx(0.3)
    env.step(Action.KEEP)
    observation, *_ = env.step(Action.MUTATE)
    progress = dict(zip(PROGRESS, observation["progress"], strict=True))
    assert progress["budget_left"] == pytest.approx(0.2)
    assert progress["steps_left"] == pytest.approx(6 / 8)


def test_headroom_is_how_far_simulation_is_behind_the_vocabularys_best(stack: Stack) -> None:
    everything = stack.vocabulary.concepts
    where = PROGRESS.index("headroom")
    for neuron in ("layer4:7", "planted:3"):
        place = np.full(len(everything), stack.neurons.index(neuron))
        simulations = stack.vocabulary.simulation(everything, place)
        env = make(score="grounded_k")
        observation, info = env.reset(seed=0, options={"neuron": neuron})
        while True:
            left = simulations.max() - simulations[everything.index(info["label"])]
            assert observation["progress"][where] == pytest.approx(left / 2, abs=1e-6)  # it is half of the score
            observation, _, terminated, truncated, info = env.step(Action.MUTATE)
            if terminated or truncated:
                break
        env.reset(options={"neuron": neuron, "concepts": [everything[int(simulations.argmax())]]})
        assert env.step(Action.KEEP)[0]["progress"][where] == pytest.approx(0, abs=1e-9)
        ungrounded, _ = make(score="log_k").reset(seed=0, options={"neuron": neuron})
        assert ungrounded["progress"][where] == 0  # simulation does not count in it


def test_a_concept_that_is_better_than_the_vocabulary_has_no_headroom(stack: Stack) -> None:
    poor = dnr_env.load_stack("shapes-withheld")  # it may not propose "star"
    neurons = np.arange(len(stack.neurons))
    ahead = stack.vocabulary.simulation(["star"] * len(neurons), neurons) - poor.vocabulary.best_simulation(neurons)
    assert ahead.max() > 0.01
    env = make(stack="shapes-withheld", score="grounded_k")
    observation, _ = env.reset(options={"neuron": int(ahead.argmax()), "concepts": ["star"]})
    assert observation["progress"][PROGRESS.index("headroom")] == 0


KNOWN = "an action must be one of 0 \\(KEEP\\), 1 \\(MUTATE\\), 2 \\(ADD\\), 3 \\(STOP\\) \\(got \\[{}\\]\\)"


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (4, KNOWN.format(4)),
        (-1, KNOWN.format(-1)),
        (1.5, r"an action must be one integer \(got \[1.5\]\)"),
        ("keep", r"an action must be one integer \(got \['keep'\]\)"),
        (None, "an action must be one integer"),
        (True, r"an action must be one integer \(got \[True\]\)"),
        ([1, 1], "an action must be one integer"),
        ([1, [1]], "an action must be one integer"),
    ],
)
def test_an_action_out_of_range_changes_nothing(action: Any, message: str) -> None:
    env = make().unwrapped
    env.reset(seed=0)
    with pytest.raises(DnRError, match=message):
        env.step(action)
    twin = make().unwrapped
    twin.reset(seed=0)
    assert data_equivalence(env.step(1), twin.step(1), exact=True)


@pytest.mark.parametrize("kind", [np.int8, np.int64, np.array])
def test_numpy_integers_are_actions(kind: Any) -> None:
    env, twin = make().unwrapped, make().unwrapped
    env.reset(seed=0)
    twin.reset(seed=0)
    assert data_equivalence(env.step(kind(1)), twin.step(1), exact=True)


def test_nothing_works_before_the_first_reset() -> None:
    env = make(render_mode="rgb_array").unwrapped
    for call in (lambda: env.step(0), env.render, lambda: env.suggest("red star")):
        with pytest.raises(gym.error.ResetNeeded, match=r"call reset\(\) first"):
            call()


def test_the_seed_can_be_read_back() -> None:
    env = make().unwrapped
    env.reset(seed=7)
    assert env.np_random_seed == 7
    env.reset()
    assert env.np_random_seed == 7  # the stream goes on


def test_arguments_come_in_many_types(tmp_path: Path) -> None:
    users = tmp_path / "users.txt"
    users.write_text("red star\n# a comment\n\nblue thing\n", encoding="utf-8")
    options: dict[str, Any] = {
        "neurons": ["layer1:0", np.int64(2), 5],
        "n_slots": np.int64(4),
        "image_cost": np.float32(0),
    }
    env = RefineEnv(user_concepts=users, **{**options, "budget": np.int32(10)})
    assert env.episodes.neurons == [0, 2, 5]
    assert (env.episodes.rules.n_slots, type(env.episodes.rules.n_slots)) == (4, int)
    _, info = env.reset(seed=0, options={"neuron": np.int32(2), "block": np.int8(3), "concepts": ("star", "ring")})
    assert (info["neuron"], info["label"] in ("star", "ring")) == ("layer1:2", True)
    assert env.step(Action.ADD)[4]["master"][2] == "red star"
    once: Any = (text for text in ["red star"])  # the types allow no generator, the environment does
    assert RefineEnv(user_concepts=once).reset(seed=0)[1]["action_mask"][Action.ADD]


def test_the_stack_may_be_a_path_or_a_stack(stack: Stack, tmp_path: Path) -> None:
    assert RefineEnv(stack=Path("shapes")).episodes.stack.name == "shapes"
    assert RefineEnv(stack=stack).episodes.stack is stack
    with pytest.raises(DnRError, match=r"missing\.yaml"):
        RefineEnv(stack=tmp_path / "missing.yaml")


@pytest.mark.parametrize("env_id", IDS)
def test_an_unknown_argument_is_pythons_own_error_too(env_id: str) -> None:
    """TorchRL, among others, tries optional arguments and looks for these words."""
    for made in (RefineEnv, RefineVectorEnv):
        with pytest.raises(UnknownArgumentError, match=r"got an unexpected keyword argument 'budgets'; it .* budget"):
            made(budgets=3)
    with pytest.raises(TypeError, match=r"unexpected keyword argument 'neuron'; it must be one of .*neurons"):
        gym.make(env_id, neuron="layer4:3")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stack": "shape"}, r"`stack` must be one of shapes.* \(got 'shape'\)"),
        ({"stack": 3}, r"`stack` must be .* \(got 3\)"),
        ({"neurons": "layer9"}, r"`neurons` must be one of .*layer4.* \(got 'layer9'\)"),
        ({"neurons": []}, r"`neurons` must name at least one neuron \(got \[\]\)"),
        ({"neurons": [True]}, r"must be given by name or by index \(got True\)"),
        ({"neurons": [1.0]}, r"must be given by name or by index \(got 1.0\)"),
        ({"neurons": "layer4:999"}, "0 to 127"),
        ({"neurons": "tset"}, "test"),
        ({"score": "log"}, "log_k"),
        ({"budget": -5}, r"`budget` must be a whole number from 0 to 1000000000 \(got -5\)"),
        ({"budget": True}, r"`budget` must be a whole number .* \(got True\)"),
        ({"budget": 30.0}, r"`budget` must be a whole number .* \(got 30.0\)"),
        ({"rules": {"budget": 3}}, r"`rules` must be a Rules \(got {'budget': 3}\)"),
        ({"image_cost": True}, r"`image_cost` must be a number from 0 to 1 \(got True\)"),
        ({"reward_images": 3}, r"`reward_images` must be at least `images_per_measure`, 5 \(got 3\)"),
        ({"image_cost": -1}, "image_cost"),
        ({"n_slots": 0}, "n_slots"),
        ({"reward": "heldout"}, "held_out"),
        ({"mutator": "llm"}, "evidence"),
        ({"mutator": ""}, r"`mutator` must be one of .* \(got ''\)"),
        ({"render_mode": "png"}, "rgb_array"),
        ({"user_concepts": ["zork"]}, "zork"),
        ({"user_concepts": [3]}, r"`user_concepts` must be texts such as 'red star' \(got \[3\]\)"),
        ({"user_concepts": 3}, r"`user_concepts` must be a list, a file, a callable or 'simulated:0.5' \(got 3\)"),
        ({"user_concepts": "simulated:2"}, r"with a quality from 0 to 1 \(got 'simulated:2'\)"),
        ({"images": 3}, "unexpected keyword argument 'images'; it must be one of image_cost, reward_images"),
    ],
)
def test_bad_arguments_say_what_is_accepted(options: dict[str, Any], message: str) -> None:
    with pytest.raises(DnRError, match=message):
        RefineEnv(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"neuron": "layer4:9999"}, "layer4"),
        ({"neuron": 10**6}, "0 to 314"),
        ({"neuron": ["planted:3", "planted:4"]}, r"must be given by name or by index \(got \['planted:3', "),
        ({"neuron": 1.5}, r"must be given by name or by index \(got 1.5\)"),
        ({"neuron": True}, r"must be given by name or by index \(got True\)"),
        ({"concepts": []}, "1 to 4"),
        ({"concepts": ["red star", "zork"]}, "zork"),
        ({"concepts": "red star"}, r"`concepts` must be a list of texts .* \(got 'red star'\)"),
        ({"concepts": [3]}, r"`concepts` must be a list of texts .* \(got \[3\]\)"),
        ({"concepts": 3}, r"`concepts` must be a list of texts .* \(got 3\)"),
        ({"block": 1024}, r"`block` must be a whole number from 0 to 1023 \(got 1024\)"),
        ({"block": True}, r"`block` must be a whole number .* \(got True\)"),
        ({"neurons": "layer4"}, r"`options` must be one of neuron.* \(got 'neurons'\)"),
        ([], r"`options` must be a mapping such as {'neuron': 'layer1:0'} \(got \[\]\)"),
        ("layer4:3", r"`options` must be a mapping .* \(got 'layer4:3'\)"),
    ],
)
def test_bad_reset_options(options: Any, message: str) -> None:
    with pytest.raises(DnRError, match=message):
        make().reset(seed=0, options=options)


def test_a_failure_in_the_middle_closes_the_episode(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    env = make().unwrapped
    env.reset(seed=0)

    def fail(**_: Any) -> Any:
        raise RuntimeError("the generator is gone")

    with monkeypatch.context() as patch:
        patch.setattr(stack.lab, "measure", fail)
        with pytest.raises(RuntimeError, match="generator"):
            env.step(Action.MUTATE)
    with pytest.raises(gym.error.ResetNeeded):
        env.step(Action.MUTATE)
    env.reset(seed=0)
    env.step(Action.MUTATE)


def test_renders(capsys: pytest.CaptureFixture[str]) -> None:
    env = make(render_mode="rgb_array")
    env.reset(seed=0)
    frame = env.render()
    assert frame.dtype == np.uint8
    assert frame.ndim == 3
    env.step(Action.MUTATE)
    assert env.render().shape == frame.shape
    assert (env.render() != frame).any()
    env.close()
    env.close()
    text = make(render_mode="ansi")
    _, info = text.reset(seed=0)
    assert info["label"] in text.render()
    human = make(render_mode="human")
    _, info = human.reset(seed=0)
    assert info["label"] in capsys.readouterr().out
    assert human.render() is None


def test_rules_are_checked_once_and_frozen() -> None:
    rules = Rules(budget=12)
    assert rules.most_images == 15  # two more measurements of 5 fit into 12 images
    with pytest.raises(AttributeError):
        rules.budget = 3  # type: ignore[misc]
