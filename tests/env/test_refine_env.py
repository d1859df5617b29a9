"""The environment as Gymnasium sees it: both checkers, determinism, arguments, errors, renderings."""

from __future__ import annotations

import inspect
import pickle
import re
import subprocess
import sys
import warnings
from dataclasses import fields
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env, data_equivalence
from refining import EDITS, IDS, SLOTS, going_on, make
from stable_baselines3.common.env_checker import check_env as check_env_sb3

from dnr_env import Action, DnRError, Rules
from dnr_env.env.observe import PROGRESS, SCORE_COLUMNS
from dnr_env.env.refine_env import RefineEnv
from dnr_env.env.vector_env import RefineVectorEnv
from dnr_env.errors import UnknownArgumentError
from dnr_env.stack import Stack


@pytest.mark.parametrize("env_id", IDS)
@pytest.mark.parametrize("render_mode", [None, "rgb_array", "ansi"])
def test_both_checkers_pass(env_id: str, render_mode: str | None) -> None:
    env = gym.make(env_id, render_mode=render_mode)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(env.unwrapped)
        if render_mode is None:
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
            action = going_on(rng, 1, env_id)[0]
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
for action in (0, 1, 0, 1):
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


@pytest.mark.parametrize("mutator", ["evidence", "informed"])
def test_pickle_round_trip_in_the_middle_of_an_episode(mutator: str) -> None:
    env = make(mutator=mutator).unwrapped
    env.reset(seed=2)
    env.step(Action.MUTATE)
    copy = pickle.loads(pickle.dumps(env))
    for action in (Action.MUTATE, Action.KEEP, Action.MUTATE):
        assert data_equivalence(env.step(action), copy.step(action), exact=True)


def test_starting_from_given_concepts_and_neurons() -> None:
    env = make()
    _, info = env.reset(
        seed=0, options={"neuron": "layer2:3", "concepts": ["Small RED discs", "small red circle", "star"]}
    )
    assert info["neuron"] == "layer2:3"
    assert [text for text in info["master"] if text] == ["small red circle", "star"]
    _, info = env.reset(seed=0, options={"neuron": 0})
    assert info["neuron"] == "layer1:0"


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


@pytest.mark.parametrize(
    ("env_id", "action", "message"),
    [
        (SLOTS, 1, r"an action must be integers \(action, slot\) \(got \[1\]\)"),
        (SLOTS, [1, 1, 1], r"an action must be integers \(action, slot\)"),
        (SLOTS, [4, 0], KNOWN.format(4)),
        (SLOTS, [0, 4], r"a slot must be from 0 to 3 \(got \[4\]\)"),
        (EDITS, [1, 1], r"an action must be integers \(action, slot, kind\) \(got \[\[1, 1\]\]\)"),
        (EDITS, [0, -1, 0], r"a slot must be from 0 to 3 \(got \[-1\]\)"),
        (EDITS, [1, 0, 6], r"a kind must be one of 0 \(NARROW\), .*, 4 \(UNITE\), 5 \(EXCEPT\) \(got \[6\]\)"),
        (EDITS, [1, 0, 0.5], r"an action must be integers \(action, slot, kind\)"),
    ],
)
def test_an_action_of_several_numbers_is_checked_part_by_part(env_id: str, action: Any, message: str) -> None:
    env = make(env_id).unwrapped
    env.reset(seed=0)
    with pytest.raises(DnRError, match=message):
        env.step(action)


def test_the_forms_of_actions() -> None:
    assert [make(env_id).action_space for env_id in IDS] == [
        gym.spaces.Discrete(4),
        gym.spaces.MultiDiscrete([4, 4]),
        gym.spaces.MultiDiscrete([4, 4, 6]),
    ]
    for made in (RefineEnv, RefineVectorEnv):
        with pytest.raises(DnRError, match=r"`actions` must be one of edits, … \(got 'edit'\)"):
            made(actions="edit")  # type: ignore[arg-type]


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
            env.step(Action.KEEP)
    with pytest.raises(gym.error.ResetNeeded):
        env.step(Action.KEEP)
    env.reset(seed=0)
    env.step(Action.KEEP)


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
    assert rules.most_images == 10  # two measurements of 5 fit into 12 images
    assert Rules(budget=1000, max_steps=3).most_images == 15  # KEEP draws once a step
    rules = Rules(n_slots=3, max_steps=7)
    assert rules.capacity(structured=False) == 10  # a step lists at most one concept
    assert rules.capacity(structured=True) == 30  # or a union and its two parts
    with pytest.raises(AttributeError):
        rules.budget = 3  # type: ignore[misc]


def test_the_reference_names_everything() -> None:
    """The docstring is the reference page: columns and entries in their order, keys, arguments and their defaults."""
    text = inspect.getdoc(RefineEnv) or ""
    parts = dict(part.split("\n", 1) for part in text.split("\n## ")[1:])
    rows = re.findall(r"^\| (`.*?`) \|", parts["Observation Space"], re.MULTILINE)
    names = [name for row in rows for name in re.findall(r"\w+", row.replace("`gain_0` to ", "gain_0 gain_1 gain_2 "))]
    assert names[4:] == [*SCORE_COLUMNS, *PROGRESS]
    assert f"(n_slots, {len(SCORE_COLUMNS)})" in text
    assert f"| `progress` | ({len(PROGRESS)},) |" in text
    _, info = make().reset(seed=0)
    rows = re.findall(r"^\| (`.*?`) \|", parts["Information"], re.MULTILINE)
    assert {name for row in rows for name in re.findall(r"\w+", row)} == set(info)
    defaults = dict(re.findall(r"^\| `(\w+)` \| `?\"?(.*?)\"?`? \|", parts["Arguments"], re.MULTILINE))
    for field in fields(Rules):
        said = defaults[field.name]
        assert (said if isinstance(field.default, str) else float(said)) == field.default
