"""Files that survive crashes and full disks, and texts that stay texts in tables and reports."""

from __future__ import annotations

import csv
import errno
import os
import re
import stat
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from dnr_env import DnRError
from dnr_env.evaluation.histogram import Histogram
from dnr_env.evaluation.labelling import COLUMNS, write_table
from dnr_env.evaluation.pictures import Picture
from dnr_env.evaluation.ranking import write_ranking
from dnr_env.evaluation.report import write_report
from dnr_env.files import append_lines, cell, make_folder, read_lines, text_of, write_atomically

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
    with pytest.raises(DnRError, match=r"r\.jsonl: line 2 is not a JSON object"):
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
        with pytest.raises(DnRError, match=rf"^`out` must be a folder that can be created \(got {folder}: .+\)$"):
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


def test_another_write_in_the_middle_of_one_does_not_disturb_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, fsync = tmp_path / "table.csv", os.fsync

    def interrupted(descriptor: int) -> None:
        fsync(descriptor)
        monkeypatch.setattr(os, "fsync", fsync)
        write_atomically(path, b"of another thread")
        assert path.read_bytes() == b"of another thread"

    monkeypatch.setattr(os, "fsync", interrupted)
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["table.csv"]
    (tmp_path / "usual").touch()
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE((tmp_path / "usual").stat().st_mode)


def test_a_torn_line_of_a_read_only_file_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, usual = tmp_path / "r.jsonl", Path.open
    path.write_bytes(b'{"a": 1}\n{"a"')

    def read_only(self: Path, mode: str = "r", *rest: Any, **named: Any) -> Any:
        if mode != "rb":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return usual(self, mode, *rest, **named)

    monkeypatch.setattr(Path, "open", read_only)
    with pytest.raises(DnRError, match=r"r\.jsonl cannot be written \(Permission denied\); finished work is kept"):
        read_lines(path)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_one_sentence() -> None:
    with pytest.raises(DnRError, match=r"/dev/full cannot be written.*finished work is kept, so free some space"):
        append_lines(Path("/dev/full"), RECORDS)
    with pytest.raises(DnRError, match="cannot be written"):
        write_atomically(Path("/dev/full/file"), b"x")


FORMULAS = ("=cmd()", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1")


def row(**values: Any) -> dict[str, Any]:
    return dict.fromkeys(COLUMNS, 0.5) | {"neuron": "layer4:0", "label": "red thing", "simulations": {}} | values


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


@pytest.mark.parametrize("text", [*FORMULAS, "'round thing'", "'", "''", "", "red", "'=1"])
def test_a_text_comes_back_out_of_its_cell(text: str) -> None:
    if text != "'=1":  # which cannot be told apart from what quoting makes
        assert text_of(cell(text)) == text
    assert text_of(f"'{text}") == (text if text in FORMULAS else f"'{text}")


def test_a_ranking_is_plain_csv(tmp_path: Path) -> None:
    write_ranking([{"neuron": "a:1", "label": "-red, thin", "mean": -0.5, "mean_rank": 1}], tmp_path / "r.csv")
    assert (tmp_path / "r.csv").read_bytes() == b'neuron,label,mean,mean_rank\r\na:1,"\'-red, thin",-0.5,1\r\n'


EVIL = "<img src=x onerror=alert(1)>\x1b[31m\"'{{ 7*7 }}"
PIXEL = "data:image/png;base64,AAAA"
SHOWN = [Picture(PIXEL, "pictures/a.png", EVIL), Picture(PIXEL, "", EVIL)]


def label_values() -> dict[str, Any]:
    record = {
        "neuron": EVIL, "label": EVIL, "value": 0.5, "error": 0.1, "auc": 0.9, "mad": 2.0, "simulation": 0.3,
        "judge_simulation": 0.2, "judge_value": 0.4, "activation_rate": 0.4,
        "images": 55, "steps": 3, "alive": False, "exemplars": SHOWN, "beside": SHOWN, "drawings": SHOWN[1:],
        "line": [(2.0, 3.0)], "mean": 0.4, "deviation": 0.05,
        "concepts": [(EVIL, 0.5, 5)], "crops": PIXEL, "captions": [EVIL], "labels": [EVIL] * 3,
        "simulations": {EVIL: 0.1},
        "origin": "captions", "fallback": EVIL, "failure": "",
    }  # fmt: skip
    return {
        "title": EVIL, "records": [record, {**record, "label": "", "failure": EVIL}], "origins": EVIL, "failed": 1,
        "layers": [], "kinds": [],
        "reasons": EVIL, "stack": EVIL, "agent": EVIL, "score": EVIL, "full": 0.7,
        "judge_images": 50, "images": 55, "calls": 12, "cost": 0.01,
    }  # fmt: skip


def compare_values() -> dict[str, Any]:
    neuron = {
        "neuron": EVIL, "truth": EVIL, "optimum": EVIL, "optimum_value": 0.5, "exemplars": SHOWN,
        "labels": [{"agent": EVIL, "label": EVIL, "value": 0.1, "images": 5}],
    }  # fmt: skip
    return {
        "title": EVIL, "stack": EVIL, "which": EVIL, "seeds": "1", "first_seed": 1, "judge_images": 50,
        "price": EVIL, "leading": [EVIL, "images"], "leading_rows": [[EVIL, "5"]],
        "others": [EVIL, "return"], "other_rows": [[EVIL, "0.1"]], "reference": EVIL, "headings": [EVIL] * 5,
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


def exemplar_values() -> dict[str, Any]:
    over = [Picture(PIXEL, "pictures/a.png", EVIL, PIXEL)]
    plot = Histogram([(0.0, 9.0)], [(3.0, EVIL)], 0.0, 1.0, 5)
    neuron = {"neuron": EVIL, "bands": {"top": SHOWN + over, EVIL: []}, "maps": True, "plot": plot}
    return {
        "title": EVIL, "stack": EVIL, "neurons": [neuron, {**neuron, "maps": False, "plot": None}], "count": 3,
        "images": 24, "size": (480, 90, 48),
    }  # fmt: skip


def judged_values() -> dict[str, Any]:
    numbers = (
        "auc", "mad", "activation_rate", "simulation", "judge_simulation", "value", "judge_value",
        "precision", "recall",
    )  # fmt: skip
    label = {
        "label": EVIL, "source": EVIL, "drawings": SHOWN, "error": 0.1, "simulations": {EVIL: 0.1},
        **dict.fromkeys(numbers, 0.5), **{f"{name}_error": 0.1 for name in numbers},
    }  # fmt: skip
    card = {"neuron": EVIL, "truth": EVIL, "alive": False, "exemplars": SHOWN, "labels": [label] * 2}
    return {
        "title": EVIL, "stack": EVIL, "score": EVIL, "sources": [EVIL, "b"], "labels": 2, "neurons": 1,
        "judge_images": 50, "headings": [EVIL], "means": [[EVIL, "2", "0.1 [0.0, 0.2]"]],
        "differences": [[EVIL, EVIL, "1", "0.1 [0.0, 0.2]", "0.5"]], "cards": [card],
        "warning": EVIL, "more": True,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("template", "values"),
    [
        ("label.html", label_values()),
        ("compare.html", compare_values()),
        ("exemplars.html", exemplar_values()),
        ("judged.html", judged_values()),
    ],
)
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
            assert address is None or address.startswith(("data:image/", "#", "pictures/"))
    assert not re.search(r"https?:|//[a-z]", html)
    policies = [a["content"] for tag, a in page.tags if tag == "meta" and a.get("http-equiv")]
    assert len(policies) == 1
    assert "default-src 'none'" in str(policies[0])
    assert "script-src" not in str(policies[0])


def test_processes_that_append_at_once_leave_whole_lines_and_no_stale_one(tmp_path: Path) -> None:
    """Each of two processes appends only where the file is as it has last seen it."""
    path = tmp_path / "log"
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "from dnr_env.files import ChangedFileError, append_whole\n"
        "path, size, done = Path(sys.argv[1]), 0, 0\n"
        "while done < 100:\n"
        "    line = f'{sys.argv[2]} {done} {size}\\n'.encode()\n"
        "    try:\n"
        "        append_whole(path, line, size)\n"
        "        size, done = size + len(line), done + 1\n"
        "    except ChangedFileError:\n"
        "        size = path.stat().st_size\n"
    )
    writers = [subprocess.Popen([sys.executable, "-c", script, str(path), name]) for name in ("a", "b")]
    assert [writer.wait(120) for writer in writers] == [0, 0]
    lines = path.read_text().splitlines(keepends=True)
    assert len(lines) == 200
    size = 0
    for line in lines:
        assert int(line.split()[2]) == size
        size += len(line)
