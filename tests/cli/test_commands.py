"""The commands as people run them: their files, how they resume and end, and bad input."""

from __future__ import annotations

import csv
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from in_process import Done, run_here
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from dnr_env import Rules
from dnr_env.agents.learned.policy import LearnedAgent
from dnr_env.agents.training import options as options_module
from dnr_env.agents.training import train
from dnr_env.agents.training.set_policy import acting_network
from dnr_env.cli.ends import ending
from dnr_env.cli.main import COMMANDS
from dnr_env.cli.main import main as dnr
from dnr_env.cli.options import Compare, Judge, Plan
from dnr_env.cli.train import main as dnr_train
from dnr_env.errors import DnRError
from dnr_env.scores import RANKED

ROOT = Path(__file__).parents[2]
SMALL = (
    "--seeds", "0", "--envs", "16", "--neurons", "planted:0-5", "--validation", "planted:0-3", "--stack", "shapes",
    "--score", "log_k", "--user-concepts", "none", "--image-cost", "0.0005", "--budget", "100",
)  # fmt: skip
TRAIN = (*SMALL, "--steps", "1024", "--checkpoint-every", "512")
MAINS: dict[str, Callable[[Sequence[str]], None]] = {"evaluate.py": dnr, "train.py": dnr_train}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def start(cache: Path, script: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, script, *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "DNR_CACHE_DIR": str(cache), "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a background job begins with it ignored
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Exit code, stdout, stderr."""
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


def done(cache: Path, script: str, *arguments: object) -> str:
    code, out, err = finish(start(cache, script, *arguments))
    assert code == 0, err
    return out


def here(script: str, *arguments: object) -> Done:
    """Run what the script runs."""
    return run_here(MAINS[script], arguments, {})


def done_here(script: str, *arguments: object) -> str:
    code, out, err = here(script, *arguments)
    assert code == 0, err
    return out


def interrupt(process: subprocess.Popen[str], when: Callable[[], bool], number: int) -> tuple[int, str, str]:
    """Send a signal as soon as something is so."""
    while not when():
        assert process.poll() is None, f"it ended before its time: {process.communicate()}"
        time.sleep(0.005)
    process.send_signal(number)
    return finish(process)


def resuming(out: Path) -> str:
    """What a command says of its files where it is stopped."""
    return f"; what was finished is kept in {out}, and the same command goes on from there"


def rows(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def is_png(path: Path) -> bool:
    with Image.open(path) as image:
        image.load()
        return (
            image.format == "PNG" and min(image.size) > 100 and len(image.convert("RGB").getcolors(1 << 20) or []) > 9
        )


def assert_page(path: Path, *texts: str) -> None:
    html = path.read_text(encoding="utf-8")
    assert html.startswith("<!doctype html>")
    assert "<script" not in html
    assert not re.search(r"https?:", html)
    for text in texts:
        assert text in html


# --- dnr-train --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one seed, in whose folder somebody has left a pickle."""
    out = tmp_path_factory.mktemp("runs") / "tiny"
    (out / "seed-0").mkdir(parents=True)
    (out / "seed-0" / "policy.zip").write_bytes(b"cos\nsystem\n(S'exit 1'\ntR.")
    said = done(cache, "train.py", "--out", out, *TRAIN)
    assert str(out) in said
    assert (out / "seed-0" / "policy.zip").read_bytes().startswith(b"cos\nsystem")
    (out / "seed-0" / "policy.zip").unlink()
    return out


@pytest.mark.slow
def test_training_writes_its_files(trained: Path) -> None:
    folder = trained / "seed-0"
    card = json.loads((folder / "policy.json").read_text(encoding="utf-8"))
    curve = rows(folder / "curve.csv")
    assert [int(row["steps"]) for row in curve] == [512, 1024]
    assert card["validation_return"] == max(float(row["validation_return"]) for row in curve)
    assert card["neurons"] == "planted:0-5"
    assert LearnedAgent.load(folder).card["trained_steps"] in (512, 1024)
    assert is_png(folder / "curve.png")
    logged = rows(folder / "logs" / "progress.csv")
    assert [float(row["validation/return"]) for row in logged if row["validation/return"]] == [
        pytest.approx(float(row["validation_return"])) for row in curve
    ]
    events = EventAccumulator(str(folder / "logs")).Reload()
    assert [event.step for event in events.Scalars("validation/return")] == [512, 1024]
    assert json.loads((folder / "options.json").read_text(encoding="utf-8"))["steps"] == 1024


def test_a_run_holds_no_pickle(trained: Path) -> None:
    files = contents(trained)
    assert {Path(name).name for name in files if "/logs/" not in name} == {
        "checkpoint.safetensors", "curve.csv", "curve.png", "options.json", "policy.json", "policy.safetensors"
    }  # fmt: skip
    for name, data in files.items():
        assert data[:2] not in (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"), name


def test_training_again_does_nothing_more(trained: Path) -> None:
    before = contents(trained)
    done_here("train.py", "--out", trained, *TRAIN)
    assert contents(trained) == before


def test_other_options_are_refused(trained: Path) -> None:
    before = contents(trained)
    code, _, err = here("train.py", "--out", trained, *TRAIN, "--gamma", "0.9")
    assert code == 1
    assert re.fullmatch(r"dnr-train: .*seed-0.*gamma.*\n", err)
    assert contents(trained) == before


CHECKPOINTS = 20
"""So many that a run is far from its end when it is stopped after three of them, however late the signal comes."""


@pytest.mark.slow
def test_training_goes_on_after_a_kill_and_after_ctrl_c(cache: Path, tmp_path: Path) -> None:
    folder, curve = tmp_path / "run" / "seed-0", tmp_path / "run" / "seed-0" / "curve.csv"
    small = (*SMALL, "--envs", "4", "--steps", str(128 * CHECKPOINTS), "--checkpoint-every", "128")
    command = ("train.py", "--out", tmp_path / "run", *small)

    code, *_ = interrupt(start(cache, *command), lambda: len(rows(curve)) >= 2, signal.SIGKILL)
    assert code == -signal.SIGKILL
    first, logged = rows(curve), rows(folder / "logs" / "progress.csv")
    assert not (folder / "policy.json").exists() or LearnedAgent.load(folder)

    code, _, err = interrupt(start(cache, *command), lambda: len(rows(curve)) > len(first), signal.SIGINT)
    assert code == 130
    assert "Traceback" not in err
    assert err.endswith(f"\ndnr-train: stopped{resuming(tmp_path / 'run')}\n")
    second = rows(curve)
    assert second[: len(first)] == first

    done(cache, *command)
    last = rows(curve)
    assert last[: len(second)] == second
    steps = [int(row["steps"]) for row in last]
    assert steps == sorted(set(steps))
    assert steps[-1] == 128 * CHECKPOINTS
    assert len(steps) == CHECKPOINTS
    assert rows(folder / "logs" / "progress.csv")[: len(logged)] == logged  # what was logged before is kept
    best = max(float(row["validation_return"]) for row in last)
    assert json.loads((folder / "policy.json").read_text(encoding="utf-8"))["validation_return"] == best


# --- dnr compare ---------------------------------------------------------------------------------------------

COMPARE = ("--neurons", "planted:0-4,layer3:0-3", "--seeds", "1", "2")


def compare(out: Path, trained: Path) -> tuple[str, ...]:
    agents = ("stop", "dnr", "patience:2", str(trained))
    return ("evaluate.py", "compare", "--agents", *agents, *COMPARE, "--out", str(out))


@pytest.fixture(scope="module")
def compared(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("results") / "compared"
    said = done_here(*compare(out, trained))
    assert (out / "summary.md").read_text(encoding="utf-8") in said
    return out


def test_a_comparison_writes_its_files(compared: Path) -> None:
    records = lines(compared / "results.jsonl")
    agents = ["stop", "dnr", "patience:2", "tiny"]
    neurons = [*(f"layer3:{i}" for i in range(4)), *(f"planted:{i}" for i in range(5))]
    keys = [(r["agent"], r["neuron"], r["seed"]) for r in records]
    assert keys == [(a, n, s) for a in agents for s in (1, 2) for n in neurons]
    for record in records:
        assert record.keys() >= {"label", "value", "return", "images", "error", "auc", "mad", "simulation", "steps"}
        assert (record["precision"] is None) == record["neuron"].startswith("layer")
        assert all(np.isfinite(value) for value in record.values() if isinstance(value, float))
    table = rows(compared / "summary.csv")
    assert sorted(row["agent"] for row in table) == sorted(agents)
    for row in table:
        ours = [r for r in records if r["agent"] == row["agent"]]
        assert float(row["judge score"].split()[0]) == pytest.approx(np.mean([r["value"] for r in ours]), abs=6e-4)
        for heading, key in (
            ("images", "images"),
            ("reward images", "reward_images"),
            ("judge images", "judge_images"),
        ):
            assert float(row[heading]) == pytest.approx(np.mean([r[key] for r in ours]), abs=0.06)
        low, high = (float(number) for number in re.findall(r"[-\d.]+", row["net value"])[1:])
        assert low <= np.mean([r["net"] for r in ours]) + 1e-4
        assert high >= np.mean([r["net"] for r in ours]) - 1e-4
    nets = [float(row["net value"].split()[0]) for row in table]
    assert nets == sorted(nets, reverse=True)
    corrected = "95% intervals, Holm-corrected for 3 comparisons"
    _, found, apart = (compared / "summary.md").read_text(encoding="utf-8").partition(corrected)
    assert found
    assert re.findall(r"^\| (.+?) *\|", apart, re.MULTILINE) == ["tiny less", *agents[:-1]]
    assert is_png(compared / "scores.png")
    assert is_png(compared / "images.png")
    assert_page(
        compared / "report.html",
        "planted:3",
        "layer3:0",
        "patience:2",
        corrected,
        *{r["label"] for r in records if r["seed"] == 1},
    )


def test_comparing_again_plays_nothing_again(trained: Path, compared: Path) -> None:
    before = contents(compared)
    done_here(*compare(compared, trained))
    assert contents(compared) == before


def test_a_comparison_goes_on_after_a_kill_and_after_ctrl_c(trained: Path, compared: Path, tmp_path: Path) -> None:
    out, results = tmp_path / "again", tmp_path / "again" / "results.jsonl"
    command = compare(out, trained)
    slow = tmp_path / "cold"  # so that there is time to stop it
    code, *_ = interrupt(start(slow, *command), lambda: size(results) > 0, signal.SIGKILL)
    assert code == -signal.SIGKILL
    kept = results.read_bytes()
    assert 0 < kept.count(b"\n") < 72
    results.write_bytes(kept[:-30])  # as if killed while a line was being written
    code, _, err = interrupt(start(slow, *command), lambda: size(results) > len(kept), signal.SIGINT)
    assert code == 130
    assert "Traceback" not in err
    assert err.endswith(f"\ndnr: stopped{resuming(out)}\n")
    assert results.read_bytes().startswith(kept)
    done(slow, *command)
    assert contents(out) == contents(compared)


def test_a_policy_that_was_trained_on_is_played_anew(tmp_path: Path) -> None:
    run, out = tmp_path / "policy", tmp_path / "out"

    def policy(seed: int) -> LearnedAgent:
        options = options_module.Options(out=run, envs=16, neurons="planted:0")
        return LearnedAgent("policy", acting_network(train.make_model(options, seed)), options.moves, {})

    command = ("compare", "--agents", "stop", run, "--neurons", "planted:0-2", "--seeds", "1", "--out", out)
    for seed in (0, 1, 0):
        policy(seed).save(run)
        dnr([*map(str, command)])
    records = lines(out / "results.jsonl")
    fingerprints = [policy(seed).fingerprint for seed in (0, 1)]
    assert [r["policy"] for r in records] == [""] * 3 + [fingerprints[0]] * 3 + [fingerprints[1]] * 3
    (row,) = (row for row in rows(out / "summary.csv") if row["agent"] == "policy")
    now = [r["value"] for r in records if r["policy"] == fingerprints[0]]
    assert float(row["judge score"].split()[0]) == pytest.approx(np.mean(now), abs=6e-4)
    labels = ("label", "--agent", run, "--neurons", "planted:0", "--out", tmp_path / "labels")
    dnr([*map(str, labels)])
    policy(1).save(run)
    with pytest.raises(SystemExit, match="`out` must be an empty folder or one that was made with the same settings"):
        dnr([*map(str, labels)])


# --- dnr label and dnr rank --------------------------------------------------------------------------------------

LABELLED = 40


def label(out: Path, count: int = LABELLED) -> tuple[str, ...]:
    return ("evaluate.py", "label", "--agent", "dnr", "--neurons", f"layer4:0-{count - 1}", "--out", str(out))


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("results") / "labels"
    done_here(*label(out))
    return out


def test_labels_are_in_three_files(labelled: Path) -> None:
    records = lines(labelled / "labels.jsonl")
    assert [r["neuron"] for r in records] == [f"layer4:{i}" for i in range(LABELLED)]
    assert all(r["alive"] and r["images"] == sum(images for *_, images in r["concepts"]) for r in records)
    assert all(r["total_reward"] == pytest.approx(-0.00005 * r["images"]) for r in records)  # no reward images
    table = rows(labelled / "labels.csv")
    for record, row in zip(records, table, strict=True):
        assert row["label"] == record["label"]
        assert float(row["value"]) == record["value"]
        assert (float(row["mean"]), float(row["deviation"])) == (record["mean"], record["deviation"])
    assert_page(labelled / "report.html", *(f"layer4:{i}" for i in range(LABELLED)), *(r["label"] for r in records))


def test_labels_are_the_same_however_often_it_is_killed(labelled: Path, tmp_path: Path) -> None:
    """Killed at random moments and with files half written, and with a cold cache of its own."""
    out, cold, dice = tmp_path / "labels", tmp_path / "cold", random.Random(5)
    command, found = label(out), out / "labels.jsonl"
    killed = 0
    for seconds in (0.8, 2.0, 3.0, 60.0, 60.0):  # the last two: right after the next rows have been written
        before, end = size(found), time.monotonic() + seconds * dice.uniform(0.8, 1.4)
        process = start(cold, *command)
        while process.poll() is None and time.monotonic() < end and (seconds < 60 or size(found) <= before):
            time.sleep(0.005)
        process.kill()
        killed += finish(process)[0] == -signal.SIGKILL
        if size(found):
            found.write_bytes(found.read_bytes()[: -dice.randrange(1, 400)])
    assert killed >= 2
    assert size(found) > 0
    done(cold, *command)
    ours, theirs = contents(out), contents(labelled)
    assert {"labels.jsonl", "labels.csv", "report.html"} <= theirs.keys()
    for name in theirs:
        assert ours[name] == theirs[name], name
    rubbish = ours.keys() - theirs.keys()
    assert all(name.endswith(".part") for name in rubbish)


def test_ctrl_c_keeps_the_labels(tmp_path: Path) -> None:
    out = tmp_path / "labels"
    found = out / "labels.jsonl"
    code, _, err = interrupt(start(tmp_path / "cold", *label(out, 128)), lambda: size(found) > 0, signal.SIGINT)
    assert code == 130
    assert "Traceback" not in err
    assert err.endswith(f"\ndnr: stopped{resuming(out)}\n")
    assert len(lines(found)) in range(16, 128, 16)


def test_a_ranking_is_one_table(tmp_path: Path) -> None:
    out = tmp_path / "rank"
    said = done_here("evaluate.py", "rank", "--layer", "layer1", "--agent", "patience:1", "--out", out)
    table = rows(out / "rank.csv")
    assert sorted(row["neuron"] for row in table) == sorted(f"layer1:{i}" for i in range(16))
    labels = {r["neuron"]: r["label"] for r in lines(out / "labels.jsonl")}
    assert {row["neuron"]: row["label"] for row in table} == labels
    for name in RANKED:
        scores, ranks = [float(row[name]) for row in table], [int(row[f"{name}_rank"]) for row in table]
        for score, rank in zip(scores, ranks, strict=True):
            assert sum(other > score for other in scores) <= rank - 1 == sum(other < rank for other in ranks)
        assert len(set(ranks)) > 8
    combined = [float(row["combined_rank"]) for row in table]
    assert combined == sorted(combined)
    assert combined == [(int(row["log_k_rank"]) + int(row["semantic_k_rank"])) / 2 for row in table]
    assert table[0]["neuron"] in said
    before = contents(out)
    done_here("evaluate.py", "rank", "--layer", "layer1", "--agent", "patience:1", "--out", out)
    assert contents(out) == before


def test_help(cache: Path) -> None:
    assert "compare" in done(cache, "evaluate.py", "--help")
    said = done_here("evaluate.py", "compare", "--help")
    assert all(option in said for option in ("--agents", "--neurons", "--seeds", "--out"))
    assert "--steps" in done_here("train.py", "--help")


def test_a_command_has_no_option_that_does_nothing() -> None:
    assert {field.name for field in fields(Judge)} == {
        "stack", "labels", "layer", "neurons", "out", "score", "seed",
    }  # fmt: skip
    assert {field.name for field in fields(Plan)} == {"stack", "agent", "neurons", "score", "budget", "image_cost"}
    assert Compare(out=Path("out"), dollar_cost=0.5, budget=5).rules == Rules(dollar_cost=0.5, budget=5)
    assert Judge(labels=(Path("mine.csv"),), out=Path("out"), score="log_k").rules.score == "log_k"


# --- ends ------------------------------------------------------------------------------------------------------------


def shell(cache: Path, line: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", f'set -o pipefail; dnr() {{ {sys.executable} evaluate.py "$@"; }}; {line}'],
        cwd=ROOT,
        env={**os.environ, "DNR_CACHE_DIR": str(cache), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_a_reader_that_leaves_ends_a_command_quietly(cache: Path) -> None:
    for line, shown in (("dnr doctor | head -1", 1), ("dnr doctor | true", 0)):
        run = shell(cache, line)
        assert (run.returncode, run.stderr, run.stdout.count("\n")) == (0, "", shown)


@pytest.mark.parametrize("closed", ["2>&-", ">&-", "<&-", ">&- 2>&- <&-"])
def test_labels_are_written_with_streams_closed(cache: Path, labelled: Path, tmp_path: Path, closed: str) -> None:
    out = tmp_path / "labels"
    run = shell(cache, f"dnr label --agent stop --neurons planted:0-2 --out {out} {closed}")
    assert (run.returncode, "Traceback" in run.stderr) == (0, False)
    assert [record["neuron"] for record in lines(out / "labels.jsonl")] == [f"planted:{i}" for i in range(3)]
    assert {path.name for path in out.iterdir()} == {path.name for path in labelled.iterdir()}


def test_a_full_disk_is_one_sentence(cache: Path) -> None:
    run = shell(cache, "dnr doctor > /dev/full")
    assert (run.returncode, run.stderr) == (1, "dnr: the output cannot be written (No space left on device)\n")


def test_other_errors_of_the_system_are_not_hidden() -> None:
    with pytest.raises(FileNotFoundError), ending("dnr"):
        raise FileNotFoundError(2, "No such file", "weights")


def test_ctrl_c_says_what_is_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "there").mkdir()
    for out, said in (
        (None, ""),
        (tmp_path / "nothing", "; nothing was written yet"),
        (tmp_path / "there", resuming(tmp_path / "there")),
    ):
        with pytest.raises(SystemExit, match="130"), ending("dnr", out):
            raise KeyboardInterrupt
        assert capsys.readouterr().err == f"\ndnr: stopped{said}\n"


@pytest.mark.parametrize(
    ("command", "resumes"),
    [
        (("label",), True), (("compare",), True), (("rank",), True), (("judge", "mine.csv"), True),
        (("play",), True), (("exemplars",), False),
    ],
)  # fmt: skip
def test_only_commands_that_resume_promise_it(
    command: tuple[str, ...],
    resumes: bool,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def stopped(options: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setitem(COMMANDS, command[0], (COMMANDS[command[0]][0], stopped))
    with pytest.raises(SystemExit, match="130"):
        dnr([*command, "--out", str(tmp_path)])
    assert capsys.readouterr().err == f"\ndnr: stopped{resuming(tmp_path) if resumes else ''}\n"


def test_an_error_that_a_user_can_mend_is_one_sentence() -> None:
    with pytest.raises(SystemExit, match=r"^dnr: `budget` must be 3$"), ending("dnr"):
        raise DnRError("`budget` must be 3")


# --- bad input -------------------------------------------------------------------------------------------------------

FILES: dict[str, bytes] = {
    "empty.txt": b"",
    "comments.txt": b"# nothing\n\n",
    "binary.txt": bytes(range(256)) * 8,
    "large.txt": b"red star\n" * (10 << 20 >> 3),
    "unknown.txt": b"zork\nblurp\n",
    "blank.txt": b"red star\nthe thing\n",
}

USERS = [
    (["--user-concepts", name], f"`user_concepts`.*{said}")
    for name, said in (
        ("missing.txt", "missing.txt: No such file"),
        ("empty.txt", "empty.txt, which holds none"),
        ("comments.txt", "comments.txt, which holds none"),
        ("binary.txt", "UTF-8 .*binary.txt"),
        ("large.txt", "large.txt, 11"),
        ("unknown.txt", "zork"),
        ("blank.txt", "the thing"),
        ("simulated:2", "simulated:2"),
        ("simulated:x", "simulated:x"),
    )
]
BAD_RULES = [
    (["--stack", "shape"], "`stack` must be one of shapes.*'shape'"),
    (["--score", "log"], "`score` must be one of log_k.*'log'"),
    (["--budget", "-5"], "`budget` must be .*-5"),
    (["--image-cost", "-1"], "`image_cost` must be .*-1"),
    (["--image-cost", "nan"], "`image_cost` must be .*nan"),
]
NEURONS = [
    (["--neurons", "layer9"], "`neurons` must be one of .*'layer9'"),
    (["--neurons", "layer4:128"], "`neurons` must .*0 to 127.*'layer4:128'"),
    (["--neurons", "layer4:5-2"], "`neurons` must .*'layer4:5-2'"),
    (["--neurons", "layer4:x"], "`neurons` must .*'layer4:x'"),
    (["--neurons", "tset"], "`neurons` must be one of test.*'tset'"),
    (["--neurons", "layer4:tset"], "`neurons` must .*'layer4:tset'"),
    (["--neurons", ""], "`neurons` must .*''"),
]
AGENT = [
    (["--agent", "dmr"], "agent.*'dmr'"),
    (["--agent", "patience:0"], "agent.*'patience:0'"),
    (["--agent", "patience:x"], "agent.*'patience:x'"),
    (["--agent", "dnd@llm"], "the mutator of dnd@llm.*'llm'"),
    (["--seed", "-1"], "`seed` must .*-1"),
]
BAD: dict[str, tuple[Callable[[Sequence[str]], None], list[str], list[tuple[list[str], str]]]] = {
    "compare": (
        dnr,
        ["compare", "--agents", "stop", "--neurons", "planted:0", "--seeds", "1"],
        [
            *BAD_RULES, *NEURONS, *USERS,
            (["--agents", "stop", "dmr"], "agent.*'dmr'"),
            (["--agents", "stop", "dnd@llm"], "the mutator of dnd@llm.*'llm'"),
            (["--agents", "patience:0"], "agent.*'patience:0'"),
            (["--agents", "stop", "stop"], "agents.*'stop'"),
            (["--agents"], "agents"),
            (["--seeds"], "seeds"),
            (["--seeds", "1", "-1"], "seeds.*-1"),
            (["--seeds", "1", "17"], "`seeds` must differ modulo 16, or two draw alike"),
            (["--dollar-cost", "-1"], "`dollar_cost` must be .*-1"),
        ],
    ),
    "label": (
        dnr,
        ["label", "--agent", "stop", "--neurons", "planted:0"],
        [*BAD_RULES, *NEURONS, *USERS, *AGENT],
    ),
    "rank": (
        dnr,
        ["rank", "--agent", "stop", "--layer", "layer1"],
        [
            *BAD_RULES, *AGENT,
            (["--layer", "layer9"], "`layer` must be one of .*'layer9'"),
            (["--layer", ""], "`layer` must .*''"),
        ],
    ),
    "train": (
        dnr_train,
        list(TRAIN),
        [
            *BAD_RULES, *NEURONS, *USERS,
            (["--validation", "layer9"], "`validation` must be one of .*'layer9'"),
            (["--validation", "planted:99"], "`validation` must .*'planted:99'"),
            (["--steps", "0"], "steps.*0"),
            (["--envs", "0"], "envs.*0"),
            (["--checkpoint-every", "0"], "checkpoint_every.*0"),
            (["--seeds"], "seeds"),
            (["--seeds", "-1"], "seeds.*-1"),
            (["--seeds", str(2**32)], "seeds.*4294967296"),
            (["--learning-rate", "-1"], "learning_rate.*-1.0"),
            (["--learning-rate", "nan"], "learning_rate.*nan"),
            (["--gamma", "1.5"], "gamma.*1.5"),
            (["--entropy", "-1"], "entropy.*-1.0"),
        ],
    ),
}  # fmt: skip
CASES = [
    pytest.param(name, extra, said, id=" ".join([name, *extra]))
    for name, (_, _, cases) in BAD.items()
    for extra, said in cases
]


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with all kinds of files."""
    for name, data in FILES.items():
        (tmp_path / name).write_bytes(data)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refused(capfd: pytest.CaptureFixture[str], main: Callable[[Sequence[str]], None], command: Sequence[str]) -> str:
    """The one line that a command ends with; Python writes it to stderr, and exits with 1."""
    with pytest.raises(SystemExit) as caught:
        main(command)
    assert isinstance(caught.value.code, str)
    assert "\n" not in caught.value.code
    assert capfd.readouterr() == ("", "")  # nothing else is said
    return caught.value.code


@pytest.mark.parametrize(("name", "extra", "said"), CASES)
def test_bad_input_is_one_sentence(
    name: str,
    extra: list[str],
    said: str,
    elsewhere: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    main, good, _ = BAD[name]
    line = refused(capfd, main, [*good, *extra, "--out", "out"])
    assert line.startswith("dnr-train: " if name == "train" else "dnr: ")
    assert re.search(said, line), line
    assert contents(elsewhere).keys() == FILES.keys()  # the corrected command may use the same folder


@pytest.mark.parametrize("name", BAD)
def test_a_folder_that_cannot_be_made_is_one_sentence(
    name: str, elsewhere: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    main, good, _ = BAD[name]
    for out in ("empty.txt", "empty.txt/below"):
        line = refused(capfd, main, [*good, "--out", out])
        assert re.search(f"out.*{out}", line), line


def test_results_of_other_settings_are_refused(
    compared: Path, labelled: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for folder, command in (
        (compared, ["compare", "--agents", "stop", *COMPARE, "--budget", "50"]),
        (labelled, ["label", "--agent", "dnr", "--neurons", "layer4:0-3", "--budget", "50"]),
        (labelled, ["rank", "--layer", "layer1"]),
        (labelled, ["compare", "--agents", "stop"]),
    ):
        before = contents(folder)
        line = refused(capfd, dnr, [*command, "--out", str(folder)])
        assert re.fullmatch(
            rf"dnr: `out` must be an empty folder .* \(got {folder}, which was made with another .*\)", line
        )
        assert contents(folder) == before


@pytest.mark.parametrize(
    ("broken", "said"),
    [(b"{oops\n", "is not a JSON object"), (b'{"a": 1}\n', "has no '"), (b"\xff\xfe\n", "is not a JSON object")],
)
def test_a_broken_line_is_named(compared: Path, labelled: Path, tmp_path: Path, broken: bytes, said: str) -> None:
    for source, name, command in (
        (compared, "results.jsonl", ("compare", "--agents", "stop", *COMPARE)),
        (labelled, "labels.jsonl", label(tmp_path)[1:-2]),
    ):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "settings.json").write_bytes((source / "settings.json").read_bytes())
        first, second, *rest = (source / name).read_bytes().splitlines(keepends=True)
        (folder / name).write_bytes(b"".join([first, second, broken, *rest]))
        before = contents(folder)
        code, out, err = here("evaluate.py", *command, "--out", folder)
        assert (code, out) == (1, "")
        assert re.fullmatch(rf"dnr: .*{name}.* line 3 {said}.*\n", err)
        assert contents(folder) == before
