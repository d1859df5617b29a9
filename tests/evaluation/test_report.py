"""The page of labels: those that were drawn, those that were not, and those of agents that do not play."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playing import NEURONS, Drawing

from dnr_env import Rules
from dnr_env.agents.base import Agent
from dnr_env.agents.registry import make_agent
from dnr_env.evaluation.labelling import Record, label_neurons
from dnr_env.evaluation.report import write_label_report
from dnr_env.stack import Stack


def page(stack: Stack, agent: Agent, folder: Path) -> tuple[list[Record], str]:
    """Some records, and their page without line breaks."""
    records = label_neurons(stack, agent, neurons=NEURONS[:2], seed=1, rules=Rules())
    write_label_report(stack, agent.name, records, "grounded_k", 8, folder / "report.html")
    return records, re.sub(r"\s+", " ", (folder / "report.html").read_text(encoding="utf-8"))


def test_concepts_are_shown_with_their_estimates_and_drawings(stack: Stack, tmp_path: Path) -> None:
    records, shown = page(stack, Drawing(), tmp_path)
    assert "with a simulation of 1 and before 0.04 is taken off for each word of the label." in shown
    assert shown.count("<polyline") == len(records)
    for record in records:
        assert f"its own estimate of the value is {record['mean']:.3f} ± {record['deviation']:.3f}" in shown
        assert 0 in {images for *_, images in record["concepts"]}
        for text, mean, images in record["concepts"]:
            assert f"{text} ({mean:.2f}, {f'{images} images' if images else 'not drawn'})" in shown


@pytest.mark.parametrize("name", ["stop", "promise"])
def test_what_was_not_drawn_is_no_zero_and_has_no_plot(stack: Stack, tmp_path: Path, name: str) -> None:
    records, shown = page(stack, make_agent(name), tmp_path)
    assert "<polyline" not in shown
    assert "0.000 ± 0.000" not in shown
    assert shown.count("the search drew 0 images") == len(records)
    assert ("not drawn" in shown) == (name == "stop")
    assert ("captions: " in shown) == (name == "stop")
