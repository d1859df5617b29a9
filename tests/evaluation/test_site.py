"""A site of labels: its links lead somewhere, its texts are text, and its index finds."""

from __future__ import annotations

import re
import shutil
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from dnr_env import DnRError
from dnr_env.agents.registry import make_agent
from dnr_env.cli.main import main
from dnr_env.env.rules import Rules
from dnr_env.evaluation.labelling import Record, label_neurons
from dnr_env.evaluation.site import stem_of, write_site
from dnr_env.stack import Stack

NEURONS = ["layer2:9", "layer4:3", "layer4:12", "planted:5"]
EVIL = '<script>alert("x")</script> & "quoted"'


@pytest.fixture(scope="module")
def records(stack: Stack) -> list[Record]:
    return label_neurons(stack, make_agent("shortlist:3"), neurons=NEURONS, seed=1, rules=Rules())


@pytest.fixture
def site(stack: Stack, records: list[Record], tmp_path: Path) -> Path:
    return write_site(stack, records, "grounded_k", "My layer", tmp_path / "site")


def links(page: Path) -> list[Path]:
    found = re.findall(r'(?:href|src)="([^"#]+)"', page.read_text(encoding="utf-8"))
    return [page.parent / unescape(one) for one in found]


def test_every_link_and_picture_of_every_page_is_in_the_folder(site: Path) -> None:
    pages = [site, *(site.parent / "neurons").iterdir()]
    assert len(pages) == 1 + len(NEURONS)
    for page in pages:
        assert links(page)
        for link in links(page):
            assert link.resolve().is_file(), link
            assert link.resolve().is_relative_to(site.parent.resolve())


def test_a_page_says_what_its_record_says(site: Path, records: list[Record]) -> None:
    index = site.read_text(encoding="utf-8")
    for record in records:
        page = (site.parent / "neurons" / f"{stem_of(record['neuron'])}.html").read_text(encoding="utf-8")
        assert f"<h1>{record['label']}</h1>" in page
        assert f"{record['value']:.3f} ± {record['error']:.3f}" in page
        for text, *_ in record["concepts"]:
            assert f">{text}<" in page
        assert re.search(
            rf">{record['neuron']}</a></td><td>{record['label']}</td><td class=\"n\">{record['value']:.3f}", index
        )


def test_texts_are_never_markup(stack: Stack, records: list[Record], tmp_path: Path) -> None:
    evil = [{**records[0], "concepts": [[EVIL, 0.1, 0], [EVIL, None, 0]]}]
    index = write_site(stack, evil, "grounded_k", EVIL, tmp_path)
    for page in (index, tmp_path / "neurons" / "layer2-9.html"):
        text = page.read_text(encoding="utf-8")
        assert "alert(" in text
        assert "<script>" not in text
        assert "default-src 'none'" in text


def test_a_failed_and_a_dead_neuron_have_pages_too(stack: Stack, records: list[Record], tmp_path: Path) -> None:
    nothing: dict[str, Any] = dict.fromkeys(("value", "error", "auc", "simulation", "activation_rate"))
    failed = {**records[0], **nothing, "failure": "no captions", "label": "", "concepts": []}
    dead = {**records[1], "alive": False}
    index = write_site(stack, [failed, dead], "grounded_k", "x", tmp_path)
    assert "failed: no captions" in (tmp_path / "neurons" / "layer2-9.html").read_text(encoding="utf-8")
    assert "its label means nothing" in (tmp_path / "neurons" / "layer4-3.html").read_text(encoding="utf-8")
    assert all(link.resolve().is_file() for link in links(index))


def test_pages_keep_their_names_and_never_clash_unnoticed(stack: Stack, records: list[Record], tmp_path: Path) -> None:
    assert stem_of("layer4:7") == "layer4-7"
    assert stem_of("../a/b c") == "..-a-b-c"
    assert stem_of("слой4:7") == "слой4-7"
    twice = [{**records[0], "neuron": name} for name in ("layer2:9", "layer2/9")]
    with pytest.raises(DnRError, match=r"`results` must hold neurons whose names differ .* \(got two of 'layer2-9'\)"):
        write_site(stack, twice, "grounded_k", "x", tmp_path)


def test_the_command_reads_what_label_wrote(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["label", "--neurons", "layer2:9", "--agent", "promise", "--out", str(tmp_path / "labels")])
    main(["site", str(tmp_path / "labels"), "--out", str(tmp_path / "site")])
    assert f"site: {tmp_path / 'site' / 'index.html'}" in capsys.readouterr().out
    with pytest.raises(SystemExit) as ended:
        main(["site", str(tmp_path), "--out", str(tmp_path / "other")])
    assert "`results` must be a folder that `dnr label` wrote" in f"{ended.value}{capsys.readouterr().err}"
    assert not (tmp_path / "other").exists()


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as ended:
        main(["site", *arguments])
    return f"{ended.value}{capsys.readouterr().err}"


def test_results_of_another_stack_or_damaged_ones_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results, out = tmp_path / "labels", str(tmp_path / "site")
    main(["label", "--neurons", "layer2:9", "--agent", "promise", "--out", str(results)])
    said = refused([str(results), "--out", out, "--stack", "scenes"], capsys)  # which has a neuron of this name, too
    assert "`stack` must be the one that labelled: its reader was 'shapes-reader" in said
    labels = results / "labels.jsonl"
    whole = labels.read_text()
    labels.write_text(whole.replace('"alive": true, ', ""))
    assert "labels.jsonl" in refused([str(results), "--out", out], capsys)
    labels.write_text(whole)
    (results / "settings.json").write_text('{"score": "grounded_k"}')
    assert "`results` must be a folder that `dnr label` wrote" in refused([str(results), "--out", out], capsys)
    assert not (tmp_path / "site").exists()


def test_a_style_sheet_that_cannot_be_written_is_said(stack: Stack, records: list[Record], tmp_path: Path) -> None:
    (tmp_path / "site.css").mkdir()
    with pytest.raises(DnRError, match=r"site\.css cannot be written"):
        write_site(stack, records, "grounded_k", "x", tmp_path)


def test_a_neuron_takes_little_space(site: Path) -> None:
    size = sum(path.stat().st_size for path in site.parent.rglob("*") if path.is_file())
    assert size / len(NEURONS) < 30_000 + 8_000  # the style sheet and the script are shared


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("chromium") is None, reason="the index is tested in Chromium, which is not installed")
def test_the_index_searches_sorts_and_links(site: Path, records: list[Record]) -> None:
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page()
        complaints: list[str] = []
        page.on("console", lambda message: complaints.append(message.text))
        page.goto(site.as_uri())
        page.locator("#words").fill("layer4")
        page.locator("#count", has_text="2 shown").wait_for()
        assert page.locator("tbody tr:visible").count() == 2
        assert page.url.endswith("#words=layer4")
        page.reload()
        page.locator("#count", has_text="2 shown").wait_for()
        page.goto(f"{site.as_uri()}#words=planted")  # a link to another search, in the same tab
        page.locator("#count", has_text="1 shown").wait_for()
        page.locator("#words").fill("")
        page.locator("text=value").last.click()
        page.locator("th button", has_text="value").click()
        shown = [float(text) for text in page.locator("tbody tr td:nth-child(3)").all_inner_texts()]
        assert shown in (sorted(shown), sorted(shown, reverse=True))
        assert sorted(shown) == sorted(round(record["value"], 3) for record in records)
        page.locator("#layer").select_option("planted")
        page.locator("tbody tr:visible a").click()
        assert page.url.endswith("neurons/planted-5.html")
        page.locator("text=next").click()
        assert page.url.endswith("neurons/layer2-9.html")
        assert complaints == []
        browser.close()
