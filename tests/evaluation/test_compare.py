"""Comparisons: the reference, and the values of the best concepts."""

from __future__ import annotations

from pathlib import Path

from playing import LAYER4, NEURONS

from dnr_env import Rules, load_stack
from dnr_env.evaluation.compare import contestants, optimal_values, play_all
from dnr_env.evaluation.results import Results
from dnr_env.evaluation.statistics import Interval
from dnr_env.stack import Stack


def test_the_reference_is_the_last_agent_named_whatever_was_played_first(tmp_path: Path) -> None:
    def compare(*names: str) -> Results:
        path = tmp_path / "results.jsonl"
        return Results(play_all(load_stack("shapes"), contestants(names), LAYER4[:2], [1], path, Rules()), {})

    assert compare("stop", "patience:1").reference == "patience:1"
    again = compare("random", "patience:1", "stop")  # two of them are in the file already, in another order
    assert again.agents == ["random", "patience:1", "stop"]
    assert again.reference == "stop"


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
