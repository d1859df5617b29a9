"""The confirmation on a tiny run: resumed, and with tables that say what the records say."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import confirm
import confirm_networks
import numpy as np
import pytest
from confirm_networks import NETWORKS

from dnr_env import DnRError
from dnr_env.evaluation import statistics
from dnr_env.evaluation.results import Record
from dnr_env.files import read_lines

AGENTS = ("promise", "rounds:1@informed", "improve:4", "stop")
RULE, LEARNED = AGENTS[1], AGENTS[3]
TINY = tuple(replace(network, steps=2, widths=(3, 6, 12, 24)) for network in NETWORKS[:2])


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a confirmation of two networks, that was run, cut off and resumed."""
    folder = tmp_path_factory.mktemp("a confirmation")
    options = confirm.Options(folder, AGENTS, RULE, workers=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(confirm_networks, "NEURONS", 3)
        patch.setattr(confirm_networks, "PLANTED", 1)
        patch.setattr(statistics, "RESAMPLES", 400)
        confirm.confirm(options, TINY, (9, 10))
        weights = [network.weights(folder).read_bytes() for network in TINY]
        path = folder / TINY[1].name / "results.jsonl"
        lines = path.read_text().splitlines(keepends=True)
        path.write_text("".join(lines[:-5]))
        (folder / "done" / TINY[1].name).unlink()
        confirm.confirm(options, TINY, (9, 10))
        assert path.read_text().splitlines(keepends=True) == lines
        assert [network.weights(folder).read_bytes() for network in TINY] == weights
    return folder


def records(out: Path) -> list[Record]:
    return [record for network in TINY for record in read_lines(out / network.name / "results.jsonl")]


def rows(path: Path) -> list[dict[str, str]]:
    """Read a Markdown table."""
    lines = [line for line in path.read_text().splitlines() if line.startswith("|")]
    heading, _, *body = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [dict(zip(heading, line, strict=True)) for line in body]


def mean(out: Path, agent: str, key: str) -> float:
    return float(np.mean([record[key] for record in records(out) if record["agent"] == agent]))


@pytest.mark.slow
def test_every_agent_plays_every_neuron_and_seed_once(out: Path) -> None:
    cells = [(r["agent"], r["neuron"], r["seed"]) for r in read_lines(out / TINY[0].name / "results.jsonl")]
    assert len(set(cells)) == len(cells) == len(AGENTS) * 3 * 2
    settings = json.loads((out / TINY[0].name / "settings.json").read_bytes())
    assert str(TINY[0].weights(out)) in settings["stack"]


@pytest.mark.slow
def test_tables_say_what_the_records_say(out: Path) -> None:
    report = out / "report"
    table = {row["agent"]: row for row in rows(report / "agents-all-worlds.md")}
    assert table.keys() == {*AGENTS, "hindsight"}
    for agent in AGENTS:
        assert table[agent]["net value"].startswith(f"{mean(out, agent, 'net'):.4f} [")
        assert table[agent]["images drawn"] == f"{mean(out, agent, 'images'):.1f}"
    apart = {row[f"`{LEARNED}` less"]: row for row in rows(report / "differences-all-worlds.md")}
    assert apart.keys() == set(AGENTS) - {LEARNED}
    for agent, row in apart.items():
        assert float(row["net value"].split()[0]) == pytest.approx(
            mean(out, LEARNED, "net") - mean(out, agent, "net"), abs=1e-4
        )
    assert "Holm-corrected for 6 comparisons" in (report / "differences-all-worlds.md").read_text()
    ways = rows(report / "way.md")
    assert [row["worlds"] for row in ways[::2]] == ["all worlds", "shapes"]
    for row in ways[::2]:
        step = mean(out, LEARNED, "net") - mean(out, RULE, "net")
        assert float(row[f"`{LEARNED}` less `{RULE}`"].split()[0]) == pytest.approx(step, abs=1e-4)
        way = float(row[f"`hindsight` less `{RULE}`"].split()[0])
        assert float(row["share of the way"].split()[0]) == pytest.approx(step / way, abs=0.02)
    drawn = [row[f"images of `{RULE}`"] for row in rows(report / "images.md")]
    assert drawn == [f"{mean(out, RULE, 'images'):.1f}"] * 2
    assert (report / "verdict.md").read_text().startswith("Not confirmed: of the 95% intervals, Holm-corrected")


def test_a_rule_must_be_one_of_the_other_agents(tmp_path: Path) -> None:
    for rule in ("improve:8", "learned"):
        with pytest.raises(DnRError, match=r"^`?rule`? must be "):
            confirm.confirm(confirm.Options(tmp_path, ("promise", "learned"), rule))
    assert not list(tmp_path.iterdir())
