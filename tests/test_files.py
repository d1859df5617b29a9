"""Files that survive crashes and full disks, and texts that stay texts in tables and reports."""

from __future__ import annotations

import csv
import errno
import os
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from agents.labelling import COLUMNS, write_table
from agents.ranking import write_ranking
from dnr_env import DnRError
from dnr_env.files import append_lines, make_folder, read_lines, write_atomically
from dnr_env.report import write_report

RECORDS: list[dict[str, Any]] = [{"a": 1, "b": [0.1, "x"]}, {"text": "line\nbreak, ü, \u2028, \x1b[31m"}, {}]


def test_lines_come_back_as_they_were(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    assert read_lines(path) == []
    append_lines(path, RECORDS[:1])
    append_lines(path, RECORDS[1:])
    append_lines(path, [])
    assert read_lines(path) == RECORDS
    assert path.read_bytes().count(b"\n") == len(RECORDS)


@pytest.mark.parametrize("torn", [b"{", b'{"a": 1', b'{"a": 1}', b"\xff\xfe"])
def test_a_torn_last_line_is_cut_off(tmp_path: Path, torn: bytes) -> None:
    """Also one that happens to parse: its line end is what says that it is whole."""
    path = tmp_path / "r.jsonl"
    append_lines(path, RECORDS)
    whole = path.read_bytes()
    path.write_bytes(whole + torn)
    assert read_lines(path) == RECORDS
    assert path.read_bytes() == whole
    append_lines(path, [{"next": 1}])
    assert read_lines(path) == [*RECORDS, {"next": 1}]


@pytest.mark.parametrize("broken", [b"{oops}", b"", b"[1]", b"3", b"\xff", b"null"])
def test_a_broken_line_is_named_and_nothing_is_lost(tmp_path: Path, broken: bytes) -> None:
    path = tmp_path / "r.jsonl"
    before = b'{"a": 1}\n' + broken + b'\n{"a": 2}\n'
    path.write_bytes(before)
    with pytest.raises(DnRError, match=r"r\.jsonl: line 2 is no JSON object"):
        read_lines(path)
    assert path.read_bytes() == before


def test_a_record_of_something_else_is_named(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    append_lines(path, [{"neuron": "a", "seed": 1}, {"neuron": "a"}])
    assert len(read_lines(path, ["neuron"])) == 2
    with pytest.raises(DnRError, match=r"r\.jsonl: line 2 has no 'seed'"):
        read_lines(path, ["neuron", "seed"])


def test_what_cannot_be_read_or_made_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(DnRError, match="cannot be read"):
        read_lines(tmp_path)
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(DnRError, match=r"out: .*file.* cannot be made"):
            make_folder(folder)
    make_folder(tmp_path / "a" / "b")
    make_folder(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()


def full(*_: Any) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    path = tmp_path / "table.csv"
    write_atomically(path, b"old")
    with monkeypatch.context() as patch:
        patch.setattr(*((os, "fsync", full) if call == "fsync" else (Path, "replace", full)))
        with pytest.raises(DnRError, match=r"table\.csv cannot be written \(No space left on device\)"):
            write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["table.csv"]  # and no rubbish beside it
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_one_sentence() -> None:
    with pytest.raises(DnRError, match=r"/dev/full cannot be written.*what was finished is kept"):
        append_lines(Path("/dev/full"), RECORDS)
    with pytest.raises(DnRError, match="cannot be written"):
        write_atomically(Path("/dev/full/file"), b"x")


FORMULAS = ("=cmd()", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1")


def row(**values: Any) -> dict[str, Any]:
    return dict.fromkeys(COLUMNS, 0.5) | {"neuron": "layer4:0", "label": "red thing"} | values


def test_no_cell_is_a_formula(tmp_path: Path) -> None:
    write_table([row(label=label) for label in (*FORMULAS, "red, striped")] + [row(value=-1.5)], tmp_path / "t.csv")
    write_ranking([{"neuron": "layer4:0", "label": label, "mean": -1.0} for label in FORMULAS], tmp_path / "r.csv")
    for name in ("t.csv", "r.csv"):
        with (tmp_path / name).open(newline="") as file:
            table = list(csv.DictReader(file))
        assert [r["label"] for r in table[: len(FORMULAS)]] == [f"'{label}" for label in FORMULAS]
    with (tmp_path / "t.csv").open(newline="") as file:
        *_, text, number = csv.DictReader(file)
    assert text["label"] == "red, striped"
    assert number["value"] == "-1.5"  # numbers stay numbers


EVIL = "<img src=x onerror=alert(1)>\x1b[31m\"'{{ 7*7 }}"
PIXEL = "data:image/png;base64,AAAA"


def label_values() -> dict[str, Any]:
    record = {
        "neuron": EVIL, "label": EVIL, "value": 0.5, "error": 0.1, "auc": 0.9, "mad": 2.0, "simulation": 0.3,
        "images": 55, "steps": 3, "alive": False, "exemplars": PIXEL, "drawings": PIXEL, "line": [(2.0, 3.0)],
        "concepts": [(EVIL, 0.5)], "crops": PIXEL, "captions": [EVIL], "labels": [EVIL] * 3, "corrupted": {EVIL: 0.1},
    }  # fmt: skip
    return {
        "title": EVIL, "records": [record], "stack": EVIL, "agent": EVIL, "score": EVIL, "full": 0.7,
        "judge_images": 50, "images": 55, "calls": 12, "cost": 0.01,
    }  # fmt: skip


def compare_values() -> dict[str, Any]:
    neuron = {
        "neuron": EVIL, "truth": EVIL, "optimum": EVIL, "optimum_value": 0.5, "exemplars": PIXEL,
        "labels": [{"agent": EVIL, "label": EVIL, "value": 0.1, "images": 5}],
    }  # fmt: skip
    return {
        "title": EVIL, "stack": EVIL, "which": EVIL, "seeds": "1", "judge_images": 50, "image_cost": 0.0005,
        "columns": [EVIL, "return"], "rows": [[EVIL, "0.1"]], "reference": EVIL, "headings": [EVIL] * 5,
        "differences": [[EVIL] * 5], "corrected": EVIL, "neurons": [neuron], "plots": [PIXEL],
    }  # fmt: skip


class Page(HTMLParser):
    """Tags with their attributes, and the text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.parametrize(("template", "values"), [("label.html", label_values()), ("compare.html", compare_values())])
def test_reports_show_every_text_as_text(tmp_path: Path, template: str, values: dict[str, Any]) -> None:
    write_report(tmp_path / "report.html", template, values)
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    page = Page(html)
    assert page.text.count(EVIL) >= 5  # to the letter, braces unread
    names = {tag for tag, _ in page.tags}
    assert names.isdisjoint({"script", "iframe", "object", "embed", "link", "base", "form"})
    for _, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on")]
        for address in (attributes.get("src"), attributes.get("href")):
            assert address is None or address.startswith(("data:image/", "#"))
    assert not re.search(r"https?:|//[a-z]", html)
    policies = [a["content"] for tag, a in page.tags if tag == "meta" and a.get("http-equiv")]
    assert len(policies) == 1
    assert "default-src 'none'" in str(policies[0])
    assert "script-src" not in str(policies[0])
