"""`dnr label` beside a language model that misbehaves: no label without its true origin, and no quiet success."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fake_openai import FakeOpenAI, Reply, completion, phrases
from in_process import Done, run_here
from small_world import answer, language_model, small_world

from dnr_env.cli.main import main as dnr

WORDS = {"red star", "striped thing", "blue ring", "dotted cross", "yellow heart", "green square", "black dog"}
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),  # of diffusers with numpy 2
]


def label(world: str, out: Path, server: FakeOpenAI, *more: str) -> Done:
    """Label three neurons with the cache beside the folder of results."""
    command = ["label", "--stack", world, "--neurons", "layer3:0,layer3:7,layer3:9", "--out", str(out), *more]
    return run_here(dnr, command, {"DNR_CACHE_DIR": str(out.parent / "cache"), "OPENAI_BASE_URL": server.url})


def records(out: Path) -> list[dict[str, Any]]:
    path = out / "labels.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = small_world(tmp_path_factory.mktemp("world"))
    return f"{path} probe.crops=false writer.retries=0"


REFUSALS: list[Reply] = [
    completion(None, refusal="I will not"),
    completion("", finish="content_filter"),
    completion("Let me think about what these captions may have in common with each other. " * 9),
    phrases("12", "3.4"),
]


def test_a_model_without_an_answer_draws_nothing_names_nothing_and_is_asked_again(world: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with language_model() as server:
        replies = iter(REFUSALS * 10_000)
        server.answer = lambda body: next(replies)
        done = label(world, out, server, "--agent", "stop")
        assert done.returncode == 1
        assert "3 of 3 neurons have no candidates of the writer's, and nothing was drawn" in done.stderr
        assert records(out) == []

        done = label(world, tmp_path / "all", server, "--agent", "stop", "--most-failed", "1")
        assert done.returncode == 1
        assert "the writer answered none of its questions" in done.stderr
        assert "origins: 3 captions" in done.stdout
        for record in records(tmp_path / "all"):
            assert (record["origin"], record["label"] in WORDS, bool(record["fallback"])) == ("captions", False, True)
        assert "began with captions" in (tmp_path / "all" / "report.html").read_text(encoding="utf-8")

        server.answer = answer
        done = label(world, out, server, "--agent", "stop")
        assert done.returncode == 0, done.stderr
        assert "origins: 3 writer" in done.stdout
        assert all(record["label"] in WORDS and record["origin"] == "writer" for record in records(out))


def test_mutations_that_are_never_answered_are_no_success(world: str, tmp_path: Path) -> None:
    with language_model() as server:
        server.answer = lambda body: completion(None, refusal="no")
        done = label(world, tmp_path / "out", server, "--agent", "line:1", "--budget", "10")
    assert done.returncode == 1
    assert "the writer answered none of its questions" in done.stderr
    assert {record["origin"] for record in records(tmp_path / "out")} == {"captions"}
    assert all(len(record["unanswered"]) == 2 and not record["fallback"] for record in records(tmp_path / "out"))
