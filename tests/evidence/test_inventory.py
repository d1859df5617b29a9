"""The store by kind and model, and the answers of a model forgotten while the images stay."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from dnr_env.cli.main import main as dnr
from dnr_env.errors import DnRError
from dnr_env.evidence.inventory import forget, holdings, lines
from dnr_env.evidence.store import Store, address

BLIP = 'captioner-1 {"model": "Salesforce/blip@0123", "prompt": null}'
WRITERS = {name: f"{name}|temperature 0.3|max_tokens 200|format ab" for name in ("gemma3", "gemma3-big", "a/b@0123")}
CHATS = {name: address(kind="chat", fingerprint=text, user="?", sample=0) for name, text in WRITERS.items()}
PROPOSALS = {
    name: address(
        kind="proposal", writer=f"language-writer|2|captions 30|{text}", captioner=BLIP, neuron="a:0", count=3
    )
    for name, text in WRITERS.items()
}
CAPTION = address(kind="caption", captioner=BLIP, image="00")
IMAGE = address(kind="image", generator="gemma3", concept="gemma3", seed=0)
ALL = {*CHATS.values(), *PROPOSALS.values(), CAPTION, IMAGE}


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DNR_CACHE_DIR", str(tmp_path))
    store = Store(tmp_path / "store.sqlite")
    store.put_many(dict.fromkeys(ALL, b"1234"))
    store.close()
    return tmp_path / "store.sqlite"


def left(path: Path) -> set[bytes]:
    return set(Store(path).get_many(ALL))


@pytest.mark.parametrize("name", ["gemma3", "gemma3-big", "a/b", "a/b@0123"])
def test_the_answers_of_one_writer_are_forgotten(path: Path, name: str) -> None:
    forget(Store(path), "writer", name)
    full = name if name in WRITERS else "a/b@0123"
    assert left(path) == ALL - {CHATS[full], PROPOSALS[full]}


def test_the_captions_of_a_captioner_are_forgotten_with_what_was_made_of_them(path: Path) -> None:
    forget(Store(path), "captioner", "Salesforce/blip")
    assert left(path) == ALL - {CAPTION, *PROPOSALS.values()}
    Store(path).put_many({CAPTION: b"new"})
    assert Store(path).get_many([CAPTION]) == {CAPTION: b"new"}


@pytest.mark.parametrize("name", ["gemma", "gemma3-", "b", "temperature", "", "%"])
def test_a_model_that_is_not_there_is_named_with_those_that_are(path: Path, name: str) -> None:
    with pytest.raises(DnRError, match=r"^`writer` must be one of .*gemma3"):
        forget(Store(path), "writer", name)
    assert left(path) == ALL


def test_entries_are_counted_by_kind(path: Path) -> None:
    assert sum(one.entries for one in holdings(Store(path))) == len(ALL)
    assert {one.kind for one in holdings(Store(path))} == {"chat", "proposal", "caption", "image"}
    shown = "\n".join(lines(holdings(Store(path))))
    for text in ("answers", "gemma3-big", "captions", "Salesforce/blip@0123", "drawings"):
        assert text in shown
    assert holdings(Store(path.with_name("other"))) == []


def test_entries_of_an_earlier_version_stay_valid_and_are_never_forgotten(path: Path) -> None:
    with sqlite3.connect(path) as connection:  # as it was before kinds were noted
        connection.execute("UPDATE entries SET digest = substr(digest, 1, 8)")
        connection.execute("DROP TABLE kinds")
    connection.close()
    assert left(path) == ALL
    assert [(one.kind, one.entries) for one in holdings(Store(path))] == [("", len(ALL))]
    with pytest.raises(DnRError, match="holds no answers of a writer"):
        forget(Store(path), "writer", "gemma3")
    Store(path).put_many({CHATS["gemma3"]: b"5"})
    forget(Store(path), "writer", "gemma3")
    assert left(path) == ALL - {CHATS["gemma3"]}


def test_the_command_shows_and_forgets(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dnr(["store"])
    assert "answers" in capsys.readouterr().out
    dnr(["store", "forget", "--writer", "gemma3", "--captioner", "Salesforce/blip"])
    assert "forgotten of writer gemma3" in capsys.readouterr().out
    assert left(path) == ALL - {CHATS["gemma3"], CAPTION, *PROPOSALS.values()}
    for wrong in (["forget"], ["show", "--writer", "gemma3"], ["forget", "--writer", "nobody"]):
        with pytest.raises(SystemExit) as end:
            dnr(["store", *wrong])
        assert str(end.value).startswith("dnr: ")
