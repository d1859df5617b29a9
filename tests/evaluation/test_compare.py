"""Comparisons: the reference, and the values of the best concepts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from playing import LAYER4, NEURONS, Drawing

from dnr_env import Rules, load_stack
from dnr_env.agents.registry import make_agent
from dnr_env.evaluation.compare import Contestant, contestants, optimal_values, play_all
from dnr_env.evaluation.outcome import write_outcome
from dnr_env.evaluation.results import Results
from dnr_env.evaluation.statistics import Interval
from dnr_env.stack import Stack


def test_the_reference_is_the_last_agent_named_whatever_was_played_first(tmp_path: Path) -> None:
    def compare(*names: str) -> Results:
        path = tmp_path / "results.jsonl"
        return Results(play_all(load_stack("shapes"), contestants(names), LAYER4[:2], [1], path, Rules()), {})

    assert compare("stop", "promise").reference == "promise"
    again = compare("random", "promise", "stop")  # two of them are in the file already, in another order
    assert again.agents == ["random", "promise", "stop"]
    assert again.reference == "stop"


def test_the_net_value_is_less_the_price_of_all_images(stack: Stack, tmp_path: Path) -> None:
    rules = Rules(image_cost=0.001)
    players = [Contestant("promise", "", make_agent("promise")), Contestant("drawing", "", Drawing())]
    records = play_all(stack, players, LAYER4[:2], [1], tmp_path / "results.jsonl", rules)
    for record, images in zip(records, (0, 0, 40, 40), strict=True):
        assert record["images"] == images
        assert record["net"] == pytest.approx(record["value"] - 0.001 * images)
    results = Results(records, {})
    assert results.gain_at("drawing", np.arange(3)).shape == (1, 1, 2, 3)
    text = write_outcome(results, stack, "layer4:0-1", rules, tmp_path)
    assert "| drawing" in text
    assert "less 0.001 for every image that the search drew." in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_a_comparison_without_drawings_has_no_curve(stack: Stack, tmp_path: Path) -> None:
    records = play_all(stack, contestants(["stop", "promise"]), LAYER4[:2], [1], tmp_path / "r.jsonl", Rules())
    write_outcome(Results(records, {}), stack, "layer4:0-1", Rules(dollar_cost=0.5), tmp_path)
    assert sorted(path.name for path in tmp_path.glob("*.png")) == ["scores.png"]
    assert "and 0.5 for every US dollar that its mutations cost." in (tmp_path / "report.html").read_text("utf-8")


def test_the_oracle_has_all_of_the_optimum_on_every_block(stack: Stack, tmp_path: Path) -> None:
    neurons, seeds, rules = NEURONS[:3], (1, 2), Rules()
    records = play_all(stack, contestants(["stop", "oracle"]), neurons, seeds, tmp_path / "results.jsonl", rules)
    results = Results(records, optimal_values(stack, neurons, seeds, rules))
    assert results.fraction("oracle") == Interval(1.0, 1.0, 1.0)
    backwards = Results(records, optimal_values(stack, neurons, seeds[::-1], rules))  # as `--seeds 2 1` asks
    assert backwards.fraction("oracle") == Interval(1.0, 1.0, 1.0)
    stop = results.fraction("stop")
    assert stop is not None
    assert stop.estimate < 1
