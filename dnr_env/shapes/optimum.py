"""The best concept of every neuron, found by brute force over the vocabulary. Only evaluation may use it.

`find_optimum.py` makes the tables, which hold concepts and no values. The judge measures the value of a concept on
images that the search never saw; otherwise the optimum itself would suffer from the winner's curse.
"""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path

from dnr_env.shapes.config import PRESETS, ShapesConfig
from dnr_env.shapes.reader import DATA

SCORES = ("grounded_k", "log_k")
"""The scores whose optimum is known."""


def optimum(config: ShapesConfig, score: str) -> dict[str, str]:
    """Read the best concept of each neuron from the shipped table of a variant; empty if there is no table."""
    config = replace(config, paired=True)  # the pairing of seeds does not change the distribution of images
    preset = next((name for name, known in PRESETS.items() if known == config), "")
    return read_table(table_path(DATA, preset), score)


def table_path(folder: Path, preset: str) -> Path:
    """Where a world keeps the table of a preset."""
    return folder / f"optimum-{preset}.json"


@cache
def read_table(path: Path, score: str) -> dict[str, str]:
    """Read the best concept of each neuron from a table; empty if there is no such table."""
    if score not in SCORES or not path.is_file():
        return {}
    table: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))[score]
    return table
