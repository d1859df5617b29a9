"""The script for a GPU, run on small checkpoints of the same classes."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

for package in ("diffusers", "transformers", "open_clip", "torchvision", "openai"):
    pytest.importorskip(package)

import real  # noqa: E402
from small_world import language_model, small_world  # noqa: E402

from dnr_env import DnRError  # noqa: E402

KEY = "sk-sentinel-0123456789abcdef"
TOKEN = "hf_sentinel0123456789"
NEURONS = ["layer3:0", "layer3:7"]
AGENTS = ("dnd", "dnr", "learned", "promise")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home of a user, which holds checkpoints and images."""
    folder = tmp_path_factory.mktemp("home")
    small_world(folder / "my things")
    return folder


@pytest.fixture
def server(home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    with language_model() as running:
        monkeypatch.setenv("HOME", str(home))
        monkeypatch.setenv("DNR_CACHE_DIR", str(home / "cache"))
        monkeypatch.setenv("OPENAI_BASE_URL", running.url)
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        yield running


@pytest.mark.slow
def test_one_file_holds_what_is_to_be_shared_and_nothing_private(home: Path, server: Any) -> None:
    spec = f"'{home / 'my things' / 'stack.yaml'}'"
    options = real.Options(spec, home / "out", ",".join(NEURONS), AGENTS, budget=10)
    share = real.run(options)
    with zipfile.ZipFile(share) as file:
        content = {name: file.read(name) for name in file.namelist()}
    texts = {
        "results.jsonl", "summary.md", "summary.csv", "report.html", "settings.json", "versions.json", "times.jsonl",
        "plan.txt",
    }  # fmt: skip
    assert texts | {"scores.png", "images.png"} == {name for name in content if not name.startswith("pictures/")}
    assert len([name for name in content if name.startswith("pictures/")]) > 6
    for name, data in content.items():
        for secret in (KEY, TOKEN, str(home), str(Path.cwd())):
            assert secret.encode() not in data, name
    records = [json.loads(line) for line in content["results.jsonl"].splitlines()]
    assert [(record["agent"], record["neuron"]) for record in records] == [(a, n) for a in AGENTS for n in NEURONS]
    assert [record["images"] for record in records][-2:] == [0, 0]  # promise draws nothing
    assert all(record["images"] > 0 for record in records[:-2])
    times = [json.loads(line) for line in content["times.jsonl"].splitlines()]
    assert [(row["agent"], row["episodes"]) for row in times] == [(agent, 2) for agent in AGENTS]
    assert all(row["seconds"] > 0 for row in times)
    settings = json.loads(content["settings.json"])
    assert settings["stack"] == "'~/my things/stack.yaml'"
    assert settings["budget"] == 10
    assert json.loads(content["versions.json"]).keys() >= {"dnr-env", "torch", "diffusers", "python", "gpu"}

    before, asked = share.read_bytes(), len(server.requests)
    assert real.run(options).read_bytes() == before
    lines = (home / "out" / "results.jsonl").read_text().splitlines(keepends=True)
    (home / "out" / "results.jsonl").write_text("".join(lines[:-3]))  # as if it had been killed
    real.run(options)
    assert (home / "out" / "results.jsonl").read_text().splitlines(keepends=True) == lines
    assert len(server.requests) == asked
    times = [json.loads(line) for line in (home / "out" / "times.jsonl").read_text().splitlines()]
    assert [(row["agent"], row["episodes"]) for row in times][4:] == [("learned", 1), ("promise", 2)]


def test_a_key_in_a_result_is_not_shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    (tmp_path / "results.jsonl").write_text(f'{{"label": "{KEY}"}}\n')
    with pytest.raises(DnRError, match=r"^nothing is shared, because .*results.jsonl holds a key$"):
        real.bundle(tmp_path, {})
    assert not (tmp_path / "share.zip").exists()


@pytest.mark.parametrize("suffix", [".json", ".html", ".csv", ".md", ".txt", ".jsonl"])
def test_paths_are_replaced_however_they_are_written(tmp_path: Path, suffix: str) -> None:
    place = "C:\\Users\\a&b"
    forms = (place, json.dumps(place)[1:-1], "C:\\Users\\a&amp;b")
    (tmp_path / f"x{suffix}").write_text(" ".join(f"{form}\\photos" for form in forms))
    with zipfile.ZipFile(real.bundle(tmp_path, {f"{place}\\photos": "IMAGES", place: "~"})) as file:
        text = file.read(f"x{suffix}").decode()
    assert "Users" not in text
    assert text.startswith("IMAGES ")


def test_a_place_that_is_the_root_is_in_every_text_and_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/")
    monkeypatch.chdir("/")
    assert real.private(real.Options("shapes", tmp_path)) == {str(tmp_path.resolve()): "OUT"}


def test_nothing_is_begun_where_something_is_missing(home: Path, server: Any, tmp_path: Path) -> None:
    spec = f"'{home / 'my things' / 'stack.yaml'}' generator.model=no/such"
    with pytest.raises(DnRError, match=r"^`stack` must name models .* \(got .*, which lacks generator\)$"):
        real.run(real.Options(spec, tmp_path / "out"))
    assert not (tmp_path / "out").exists()
