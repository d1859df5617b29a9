"""The best label of every neuron, found by a structured search. Only evaluation may use it.

`find_optimum.py` makes the tables. See `dnr_env.shapes.optimum`.
"""

from __future__ import annotations

from dnr_env.scenes import networks
from dnr_env.scenes.config import PRESETS, ScenesConfig
from dnr_env.shapes.optimum import read_table, table_path


def optimum(config: ScenesConfig, score: str) -> dict[str, str]:
    """Read the best label of each neuron from the shipped table of a variant; empty if there is no table."""
    preset = next((name for name, known in PRESETS.items() if known == config), "")
    return read_table(table_path(networks.DATA, preset), score)
