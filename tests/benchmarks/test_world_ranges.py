"""The tables of what was measured, and the fingerprint of what was frozen."""

from __future__ import annotations

import pytest
from world_ranges import TARGET_RANGES, WORLD_RANGES, table

_INF = float("inf")
RANGES = {"one": (0.2, 0.8), "two": (3, _INF), "three": (-_INF, 0.6), "four": (-1, 10)}


def test_a_range_is_met_if_every_layer_of_every_target_is_in_it() -> None:
    measured: dict[str, dict[str, list[float]]] = {
        "plain": {"one": [0.2, 0.5], "two": [3], "three": [0.61], "four": [-1.001]},
        "residual": {"one": [0.8], "two": [1e6], "three": [-9], "four": [0]},
    }
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in table(measured, RANGES).splitlines()]
    assert lines[0] == ["statistic", "plain", "residual", "range", ""]
    assert lines[2:] == [
        ["one", "0.200, 0.500", "0.800", "0.20 to 0.80", "met"],
        ["two", "3.000", "1000000.000", "3 or more", "met"],
        ["three", "0.610", "-9.000", "0.60 at most", "**missed**"],
        ["four", "-1.001", "0.000", "-1 to 10", "**missed**"],
    ]


@pytest.mark.parametrize("value", [float("nan"), 0.19, 0.81])
def test_what_is_outside_or_no_number_is_missed(value: float) -> None:
    assert "**missed**" in table({"plain": {"one": [0.5, value]}}, {"one": (0.2, 0.8)})


def test_every_statistic_of_the_page_has_a_range() -> None:
    numbers = [int(name.split()[0]) for name in [*TARGET_RANGES, *WORLD_RANGES]]
    assert sorted(set(numbers)) == list(range(1, 15))
    assert numbers == sorted(numbers)
