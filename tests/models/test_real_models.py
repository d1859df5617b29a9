"""The whole pipeline on real classes: images, crops, captions, concepts, scores, labels, reports, training."""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
import yaml
from in_process import Done, run_here
from safetensors.numpy import save_file
from small_world import config_of, fresh, language_model, small_world

import dnr_env
from dnr_env import Rules
from dnr_env.agents.registry import make_agent
from dnr_env.cli.main import main as dnr
from dnr_env.cli.train import main as dnr_train
from dnr_env.errors import DnRError
from dnr_env.evaluation.plan import plan
from dnr_env.evaluation.rollout import rollout
from dnr_env.interfaces import Kind, MutationBatch
from dnr_env.models import prompts
from dnr_env.models.networks import load_network
from dnr_env.models.read_config import read_config
from dnr_env.propose.kinds import words_of
from dnr_env.registry import read_spec
from dnr_env.stack import Stack

ROOT = Path(__file__).parents[2]
KEY = "sk-sentinel-0123456789abcdef"
# Schedulers of diffusers 0.42 pass tensors to numpy 2.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def server() -> Iterator[Any]:
    with language_model() as running:
        yield running


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


def environment(cache: Path, url: str) -> dict[str, str]:
    return {"DNR_CACHE_DIR": str(cache), "OPENAI_BASE_URL": url, "OPENAI_API_KEY": KEY}


def apart(env: dict[str, str]) -> dict[str, str]:
    """The environment of a process of its own."""
    hub = {"HF_HUB_OFFLINE": "1", "HF_HOME": f"{env['DNR_CACHE_DIR']}/hub"}
    return {**os.environ, **env, **hub, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"}


def run(*arguments: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=ROOT, env=apart(env), capture_output=True, text=True, timeout=300)


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def label(stack: str, out: Path, env: dict[str, str], *more: str) -> Done:
    return run_here(dnr, ["label", "--stack", stack, "--agent", "dnr", "--budget", "15", "--out", out, *more], env)


@pytest.fixture(scope="module")
def labelled(world: Path, server: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """Label three neurons with an empty cache. Return the folder of results and the environment with the full cache."""
    folder = tmp_path_factory.mktemp("labelled")
    env = environment(folder / "cache", server.url)
    done = label(str(world), folder / "out", env, "--neurons", "layer3:0,layer3:7,layer3:9")
    assert done.returncode == 0, done.stderr
    return folder / "out", env


@pytest.mark.slow
def test_neurons_are_labelled_with_evidence_and_a_bill(labelled: tuple[Path, dict[str, str]]) -> None:
    out, _ = labelled
    records = [json.loads(line) for line in (out / "labels.jsonl").read_text().splitlines()]
    assert [r["neuron"] for r in records] == ["layer3:0", "layer3:7", "layer3:9"]
    for record in records:
        assert record["label"] in {text for text, *_ in record["concepts"]}
        assert record["labels"][0] == record["label"]
        assert len(record["labels"]) == len(set(record["labels"])) == 3
        assert record["calls"] >= 13  # at most ten captions, three summaries, and the mutations
        assert record["cost"] == pytest.approx((record["input_tokens"] + 2 * record["output_tokens"]) / 1e6)
        assert record["alive"]
        assert np.isfinite([record[name] for name in ("value", "error", "auc", "mad", "simulation")]).all()
    page = (out / "report.html").read_text()
    for text in (
        "real images that excite it most",
        "images drawn of the label",
        "estimate of the best concept against the images drawn",
        "answers of a language model",
        "captions: ",
    ):
        assert text in page
    assert page.count("data:image/webp") >= 6
    linked = re.findall(r'href="(pictures/[^"]+)"', page)
    assert len(linked) >= 6
    assert all((out / name).is_file() for name in linked)


def test_a_model_in_memory_is_labelled_as_the_command_line_labels_it(
    labelled: tuple[Path, dict[str, str]], world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, env = labelled
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    network = load_network(f"python:{world.parent}/network.py:make", "none")
    model = network.module.train()
    labels = dnr_env.label(
        model,
        "layer3",
        neurons=[0, 7, 9],
        images=sorted((world.parent / "photos").rglob("*.png")),
        stack=world,
        preprocess=network.transform,
        agent="dnr",
        rules=Rules(budget=15),
        progress=False,
    )
    assert model.training
    records = {r["neuron"]: r for r in map(json.loads, (out / "labels.jsonl").read_text().splitlines())}
    for label in labels:
        same = records[label.neuron]
        assert (label.text, label.evidence.bill["images"]) == (same["label"], same["images"])
        assert label.value == pytest.approx(same["value"], abs=1e-5)
        assert Path(label.evidence.exemplars[0].image).is_file()


@pytest.mark.slow
def test_a_run_that_is_killed_goes_on_to_the_same_files_and_asks_nothing_twice(
    labelled: tuple[Path, dict[str, str]], world: Path, tmp_path: Path
) -> None:
    with language_model() as server:
        env = environment(tmp_path / "cache", server.url)
        arguments = [
            "evaluate.py", "label", "--stack", str(world), "--agent", "dnr", "--budget", "15",
            "--neurons", "layer3:0,layer3:7,layer3:9", "--out", str(tmp_path / "out"),
        ]  # fmt: skip
        for questions in (5, 20):
            process = subprocess.Popen(
                [sys.executable, *arguments],
                cwd=ROOT,
                env=apart(env),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            deadline = time.monotonic() + 120
            while len(server.requests) < questions and process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.01)
            process.send_signal(signal.SIGKILL)
            process.wait()
        done = run_here(dnr, arguments[1:], env)  # the last process is this one
        assert done.returncode == 0, done.stderr
        asked = [json.dumps(request, sort_keys=True) for request in server.requests]
        # Only questions that were pending when the process died, at most eight each time, may be repeated.
        assert len(asked) - len(set(asked)) <= 2 * 8
    assert files(tmp_path / "out") == files(labelled[0])


NO_SOCKETS = """
import socket, sys
def refuse(*_, **__):
    raise AssertionError("a socket was opened")
socket.socket.connect = socket.socket.connect_ex = socket.create_connection = socket.getaddrinfo = refuse
import runpy
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.slow
def test_a_warm_cache_needs_no_socket(labelled: tuple[Path, dict[str, str]], world: Path, tmp_path: Path) -> None:
    out, env = labelled
    done = run(
        "-c", NO_SOCKETS, "evaluate.py", "label", "--stack", str(world), "--agent", "dnr", "--budget", "15",
        "--neurons", "layer3:0,layer3:7,layer3:9", "--out", str(tmp_path / "again"), env=env,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert files(tmp_path / "again") == files(out)
    assert "0 images drawn" in done.stdout


def test_results_of_a_changed_file_are_not_mixed_in(
    labelled: tuple[Path, dict[str, str]], world: Path, tmp_path: Path
) -> None:
    _, env = labelled
    changed = world.with_name("changed.yaml")
    config = yaml.safe_load(world.read_text())
    for limit in (None, 28):
        config["probe"]["limit"] = limit
        changed.write_text(yaml.safe_dump(config))
        done = label(str(changed), tmp_path / "out", env, "--agent", "clip-dissect", "--neurons", "layer3:0")
    assert done.returncode == 1
    assert "`out` must be an empty folder or one that was made with the same settings" in done.stderr
    assert "made with another probe" in done.stderr


def test_no_key_is_written_anywhere(labelled: tuple[Path, dict[str, str]]) -> None:
    out, env = labelled
    forms = [KEY.encode(), base64.b64encode(KEY.encode()), quote(KEY, safe="").encode()]
    for folder in (out, Path(env["DNR_CACHE_DIR"])):
        for path in filter(Path.is_file, folder.rglob("*")):
            content = path.read_bytes()
            assert not any(form in content for form in forms), path


OWN = """
import torch
from torch import nn

def make():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 8, stride=8), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU())
"""


def test_a_users_own_network_with_an_autoencoder(world: Path, server: Any, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(OWN)
    generator = np.random.default_rng(0)
    weights = {"W_enc": generator.normal(size=(8, 24)), "b_enc": generator.normal(size=24)}
    save_file({name: value.astype(np.float32) for name, value in weights.items()}, tmp_path / "sae.safetensors")
    (tmp_path / "cfg.json").write_text('{"architecture": "topk", "k": 6}')
    settings = f"target.network=python:{tmp_path}/mine.py:make target.layers=1 target.sae={tmp_path}/sae.safetensors"
    env = environment(tmp_path / "cache", server.url)
    done = label(f"{world} {settings}", tmp_path / "out", env, "--neurons", "1.sae:0,1.sae:5")
    assert done.returncode == 0, done.stderr
    records = [json.loads(line) for line in (tmp_path / "out" / "labels.jsonl").read_text().splitlines()]
    assert [record["neuron"] for record in records] == ["1.sae:0", "1.sae:5"]


@pytest.mark.slow
def test_dnd_and_the_baselines_without_generator(
    labelled: tuple[Path, dict[str, str]], world: Path, tmp_path: Path
) -> None:
    _, env = labelled
    agents = ["clip-dissect", "linear", "linear-joined", "promise", "shortlist:2", "line:1", "dnd"]
    settings = ["--neurons", "layer3:0,layer3:7", "--seeds", "0", "--budget", "20", "--out", tmp_path / "out"]
    done = run_here(dnr, ["compare", "--stack", world, "--agents", *agents, *settings], env)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in (tmp_path / "out" / "results.jsonl").read_text().splitlines()]
    images = {row["agent"]: row["images"] for row in rows}
    without = dict.fromkeys(("clip-dissect", "linear", "linear-joined", "promise"), 0)
    played = [row for row in rows if row["agent"] == "dnd"]
    assert all(row["concepts"] >= 2 for row in played)
    assert all(row["images"] == 20 for row in played)  # ten of each of the two that the budget pays for
    assert images["shortlist:2"] == 10
    assert images["line:1"] > 5
    assert images.items() >= without.items()


def test_who_starts_from_real_images_asks_for_no_candidates(world: Path, server: Any, tmp_path: Path) -> None:
    env = environment(tmp_path / "cache", server.url)
    before = len(server.requests)
    done = label(str(world), tmp_path / "out", env, "--agent", "shortlist:2", "--neurons", "layer3:0")
    assert done.returncode == 0, done.stderr
    assert len(server.requests) == before
    assert "captions: " not in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    planned = plan(str(world), make_agent("shortlist:2"), "layer3:0", Rules())
    assert (planned.calls, planned.search_images) == (0, 10)


@pytest.mark.slow
def test_ppo_trains_on_it(labelled: tuple[Path, dict[str, str]], world: Path, tmp_path: Path) -> None:
    _, env = labelled
    settings = [
        "--envs",
        "8",
        "--steps",
        "256",
        "--seeds",
        "0",
        "--budget",
        "15",
        "--reward",
        "observed",
        "--user-concepts",
        "none",
    ]
    neurons = ["--neurons", "layer3:0,layer3:7", "--validation", "layer3:9"]
    done = run_here(dnr_train, ["--stack", world, *neurons, *settings, "--out", tmp_path / "ppo"], env)
    assert done.returncode == 0, done.stderr
    done = label(str(world), tmp_path / "out", env, "--agent", str(tmp_path / "ppo"), "--neurons", "layer3:0")
    assert done.returncode == 0, done.stderr


@pytest.fixture
def stack(world: Path, server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stack:
    for name, value in environment(tmp_path / "cache", server.url).items():
        monkeypatch.setenv(name, value)
    return fresh(f"{world} probe.limit=28 probe.corruptions=[greyscale,blur]")


def test_a_timm_transformer_through_the_gymnasium(stack: Stack) -> None:
    import gymnasium as gym

    spec = stack.name + " target.network=timm:test_vit target.layers=blocks.1.mlp.fc1 target.pooling=tokens-max"
    models = fresh(spec)
    env = gym.make("DnR/Refine-v0", stack=models, neurons="blocks.1.mlp.fc1:3", budget=10, images_per_measure=2)
    observation, info = env.reset(seed=0)
    assert info["usage"].tolist()[0] > 0
    assert env.observation_space.contains(observation)
    before = info["usage"]
    observation, reward, _, _, info = env.step(dnr_env.Action.MUTATE)
    assert np.isfinite(float(reward))
    assert (info["usage"] > before).all()
    assert [bool(text) for text in info["master"]] == [True] * 4 + [False] * (len(info["master"]) - 4)
    again, _ = env.reset(seed=0)
    assert all(np.isfinite(value).all() for value in again.values())


def test_the_judge_draws_with_another_template_and_looks_at_corruptions(stack: Stack) -> None:
    from dnr_env.evaluation.judge import judge

    assert stack.judge_lab.generator.fingerprint != stack.lab.generator.fingerprint
    (verdict,) = judge(
        stack, neurons=["layer3:0"], labels=["red star"], rules=Rules(score="log_k", images_per_measure=2), images=4
    )
    assert set(verdict.simulations) == {"greyscale", "blur"}
    assert len({*verdict.simulations.values(), verdict.simulation}) == 3


def test_excerpts_are_the_strongest_of_exemplars_and_crops(stack: Stack) -> None:
    (proposal,) = stack.proposer.propose([5], 3)
    exemplars = stack.probe.exemplars[5]
    assert len(proposal.excerpts) == 10
    assert any(excerpt.box for excerpt in proposal.excerpts)
    strength = stack.lab.reader.read(stack.proposer.pictures(5, proposal.excerpts))[0][:, 5]
    assert (np.diff(strength) <= 1e-4 * np.abs(strength).max()).all()
    assert strength[-1] >= stack.probe.raw(exemplars[-1:], np.array([5]))[0, 0] - 1e-4 * np.abs(strength).max()


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("probe.image=x", r"^a setting of the stack must be one of probe\.images, .*\(got 'probe\.image'\)$"),
        ("generator.steps=none", r"^`generator\.steps` is invalid: .*integer.* \(got 'none'\)$"),
        ("target.pooling=median", r"^`target\.pooling` is invalid: .*'tokens-max' \(got 'median'\)$"),
        ("nonsense", r"^a setting of `stack` must be written as key=value, .* \(got 'nonsense'\)$"),
        ("writer=none", r"^`writer` must be a section with settings such as writer\.model or null \(got 'none'\)$"),
        ("target=resnet18", r"^`target` must be a section with settings such as target\.network \(got 'resnet18'\)$"),
        ("judge.generator.model=[3]", r"^`judge\.generator\.model` is invalid: .* \(got \[3\]\)$"),
        ("writer=null target.layers=[a,b] device", r"^a setting of `stack` must be written .* \(got 'device'\)$"),
        ("device=[", r"^`device` must be a value that YAML can read \(got '\['\)$"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named(world: Path, setting: str, said: str) -> None:
    with pytest.raises(DnRError, match=said):
        read_spec(f"{world} {setting}")


def test_a_stack_is_known_by_the_content_of_its_file(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = world.with_name("my stack.yaml")
    config = yaml.safe_load(world.read_text())
    path.write_text(yaml.safe_dump(config))
    first = dnr_env.load_stack(path)
    assert dnr_env.load_stack(path) is first
    assert dnr_env.load_stack(f"'{path}'") is first
    monkeypatch.chdir(path.parent)
    config["target"]["layers"] = ["layer1", "layer2"]
    path.write_text(yaml.safe_dump(config))
    second = dnr_env.load_stack(Path(path.name))
    assert {name.partition(":")[0] for name in second.lab.reader.neurons} == {"layer1", "layer2"}


@pytest.mark.parametrize("stack", [5, None, "", "shapez", "no/such.yaml", "'open"])
def test_what_is_no_stack_is_said_in_a_sentence(stack: Any) -> None:
    with pytest.raises(DnRError, match=r"^`stack` must be "):
        dnr_env.load_stack(stack)


def test_one_name_needs_no_brackets(world: Path) -> None:
    config = config_of(f"{world} probe.corruptions=blur target.layers=layer2")
    assert (config.probe.corruptions, config.target.layers) == (("blur",), ("layer2",))


def test_a_dead_neuron_costs_no_question(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(stack.probe.__dict__, "alive", np.arange(len(stack.neurons)) != 3)
    dead, living = stack.proposer.propose([3, 4], 3)
    assert (dead.usage.calls, len(dead.concepts), dead.excerpts) == (0, 1, [])
    assert living.usage.calls > 3


def test_paths_are_relative_to_the_file_they_stand_in(world: Path) -> None:
    config = read_config(str(world))
    assert Path(config.probe.images or "") == world.parent / "photos"
    assert Path(config.vocabulary) == world.parent / "words.txt"
    assert read_config(str(world), ["probe.images=elsewhere"]).probe.images == "elsewhere"


def test_a_vocabulary_of_which_nothing_can_be_drawn(world: Path, tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("123\n...\n")
    stack = dnr_env.load_stack(f"{world} vocabulary={tmp_path / 'words.txt'}")
    with pytest.raises(
        DnRError, match=r"^`vocabulary` must contain one concept per line that can be drawn, .*words\.txt\)$"
    ):
        _ = stack.vocabulary.concepts


@pytest.mark.parametrize(
    "text", ["[1, 2]", "target: {network: !!python/object/apply:os.system [true]}", "a: [", "\xff"]
)
def test_a_file_that_is_no_configuration(tmp_path: Path, text: str) -> None:
    (tmp_path / "bad.yaml").write_bytes(text.encode("latin-1"))
    with pytest.raises(DnRError, match=r"^`stack` must .*bad\.yaml"):
        read_config(str(tmp_path / "bad.yaml"))


@pytest.mark.parametrize("name", ["turbo", "sd15"])
def test_the_shipped_configurations_are_complete_and_pinned(name: str) -> None:
    config = read_config(name, ["probe.images=photos"])
    for part in (config.generator, config.captioner):
        assert part is not None
        assert part.revision is not None
        assert len(part.revision) == 40
    assert config.writer
    assert config.writer.input_price > 0


def test_plan_says_what_would_be_done_and_loads_nothing(world: Path, server: Any, tmp_path: Path) -> None:
    before = len(server.requests)
    env = environment(tmp_path / "cache", server.url)
    spec = f"{world} generator.model=stabilityai/sd-turbo generator.size=512"
    done = run_here(dnr, ["plan", "--stack", spec, "--neurons", "layer3:0-7", "--agent", "dnd"], env)
    assert done.returncode == 0, done.stderr
    assert "neurons     8" in done.stdout
    assert "640 at most (240 of the search, 400 of the judge)" in done.stdout
    assert "7 s of an H100" in done.stdout  # 640 images x 3.3 TFLOP at 316 TFLOP/s
    assert len(server.requests) == before


def test_a_mutator_that_asks_nobody_costs_no_questions(world: Path) -> None:
    rules = Rules(budget=20)
    asking, other, dnd = (
        plan(str(world), make_agent(a), "layer3:0-7", rules) for a in ("patience:9", "learned", "dnd")
    )
    assert asking.calls - other.calls == 8 * 2 * rules.max_steps  # neurons, questions, mutations
    assert other.calls == dnd.calls > 0
    assert other.search_images == asking.search_images


def mutations_of(stack: Stack, concepts: list[str], kinds: list[Kind | None]) -> MutationBatch:
    """Requests without drawings."""
    b = len(concepts)
    return MutationBatch(
        concepts=concepts,
        tried=[[concept] for concept in concepts],
        embeddings=np.zeros((b, 1, stack.lab.reader.dim), np.float32),
        activations=np.zeros((b, 1), np.float32),
        seen=np.zeros((b, 1), np.bool_),
        rngs=[np.random.default_rng(i) for i in range(b)],
        neurons=np.arange(b) % len(stack.neurons),
        history=lambda i: [],
        score="log_k",
        kinds=kinds,
    )


def test_the_mutators_obey_a_kind(world: Path, server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment(tmp_path / "cache", server.url).items():
        monkeypatch.setenv(name, value)
    stack, before = fresh(str(world)), len(server.requests)
    words = list(stack.vocabulary.concepts)
    for kind in (Kind.NARROW, Kind.BROADEN, Kind.SWAP):
        allowed = [words_of(kind, word, [], stack.vocabulary) for word in words]
        assert any(allowed)
        for name in ("informed", "vocabulary"):
            answers = stack.mutators[name].mutate(mutations_of(stack, words, [kind] * len(words)))
            for word, free, answer in zip(words, allowed, answers, strict=True):
                assert answer.concept in (free or {word})
    assert len(server.requests) == before

    concepts, kinds = ["red star", "blue ring", "red"], [Kind.MODEL, Kind.BROADEN, Kind.MODEL]
    informed = stack.mutators["informed"].mutate(mutations_of(stack, concepts, [None] * 3))
    for name in ("writer", "vocabulary"):
        answers = stack.mutators[name].mutate(mutations_of(stack, concepts, list(kinds)))
        assert [answers[i].concept for i in (0, 2)] == [informed[i].concept for i in (0, 2)]
        assert [answer.origin for answer in answers] == ["model", None, "model"]
        assert [answer.usage.calls > 0 for answer in answers] == [False, name == "writer", False]
    asked = [request["messages"][1]["content"] for request in server.requests[before:]]
    assert asked
    for user in asked:
        assert user.startswith('Concept: <data>\n"blue ring"')
        assert prompts.MOVES[Kind.BROADEN] in user


def test_the_doctor_names_what_is_missing(world: Path, server: Any, tmp_path: Path) -> None:
    env = environment(tmp_path / "cache", server.url)
    server.models = ("other",)

    def doctor(stack: object, *more: str) -> Done:
        return run_here(dnr, ["doctor", "--stack", stack, *more], env)

    done = doctor(world)
    assert done.returncode == 1  # the server has no model of that name
    assert "MISS  writer" in done.stdout
    server.models = ("small",)
    done = doctor(world, "--load")
    assert done.returncode == 0, done.stdout
    assert KEY not in done.stdout
    secret = {**env, "OPENAI_BASE_URL": f"http://bob:{KEY}@127.0.0.1:9/v1?api_key={KEY}"}
    assert KEY not in run_here(dnr, ["doctor", "--stack", world], secret).stdout
    done = doctor(f"{world} probe.images=nowhere generator.model=no/such")
    assert done.returncode == 1
    assert "MISS  probe" in done.stdout
    assert "MISS  generator" in done.stdout
    assert done.stdout.count("MISS") == 2


@pytest.mark.slow
def test_a_network_of_torchvision_without_a_language_model(world: Path, tmp_path: Path) -> None:
    """The captions are the concepts."""
    env = environment(tmp_path / "cache", "http://127.0.0.1:9/v1")
    spec = f"{world} writer=null target.network=torchvision:resnet18 probe.limit=28"
    done = label(spec, tmp_path / "out", env, "--neurons", "layer3:4")
    assert done.returncode == 0, done.stderr
    (record,) = [json.loads(line) for line in (tmp_path / "out" / "labels.jsonl").read_text().splitlines()]
    assert record["calls"] == 0
    assert len(record["concepts"]) > 3


def test_a_loop_may_ask_for_the_mutator_that_knows_real_images(
    labelled: tuple[Path, dict[str, str]], world: Path, tmp_path: Path
) -> None:
    _, env = labelled
    agent = ["--agent", "patience:2@informed", "--neurons", "layer3:7"]
    done = label(str(world), tmp_path / "out", env, *agent)
    assert done.returncode == 0, done.stderr
    (record,) = [json.loads(line) for line in (tmp_path / "out" / "labels.jsonl").read_text().splitlines()]
    words = set((world.parent / "words.txt").read_text().splitlines())
    assert {text for text, *_ in record["concepts"][3:]} <= words


def test_a_policy_of_the_embedded_world_labels_without_change(
    world: Path, server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It chooses kinds of mutation here too, and its masks keep it within the rules of this stack."""
    for name, value in environment(tmp_path / "cache", server.url).items():
        monkeypatch.setenv(name, value)
    stack, agent, kinds = fresh(str(world)), make_agent("learned"), set[Kind | None]()
    mutator = stack.mutators[agent.env_options["mutator"]]
    mutate = mutator.mutate

    def noted(batch: MutationBatch) -> Any:
        kinds.update(batch.kinds)
        return mutate(batch)

    monkeypatch.setattr(mutator, "mutate", noted)
    jobs = [(f"layer3:{i}", 0) for i in (0, 7, 9)]
    episodes = list(rollout(agent, jobs, stack=stack, rules=Rules(budget=20)))
    assert [episode.neuron for episode in episodes] == [neuron for neuron, _ in jobs]
    for episode in episodes:
        assert episode.label in {text for text, *_ in episode.concepts}
        assert 1 <= episode.steps <= Rules().max_steps
        assert episode.images <= 20
    assert agent.env_id == "DnR/RefineEdits-v0"
    assert kinds
    assert kinds <= set(Kind)
