"""What a watched agent did and saw."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from behaviour import MOVES, Options, Watched, hidden_table, moves_table, seen_table, watched

from dnr_env import Rules
from dnr_env.agents.gradient import ImproveAgent
from dnr_env.agents.learned.features import GROUPS
from dnr_env.agents.registry import make_agent
from dnr_env.evaluation.rollout import rollout

JOBS = [("layer4:5", 1), ("layer2:3", 2)]


def test_a_watched_agent_plays_as_it_does_unwatched_and_agrees_with_itself() -> None:
    rule, rules = ImproveAgent(3), Rules(budget=20)
    watching = Watched(ImproveAgent(3), rule)
    played = list(rollout(watching, JOBS, rules=rules, mutator="informed"))
    assert played == list(rollout(rule, JOBS, rules=rules, mutator="informed"))
    assert len(watching.moves) == len(watching.seen) == sum(one.steps for one in played)
    assert all(watching.alike)
    counts = np.bincount(watching.moves, minlength=len(MOVES))
    assert 5 * (counts[0] + counts[1]) == sum(one.images for one in played)
    assert counts[MOVES.index("MODEL")] == 3 * len(JOBS)
    assert counts[MOVES.index("STOP")] == sum(not one.ran_out for one in played)
    cells = moves_table({"shapes": [watching]}).splitlines()[-1].split("|")
    assert [cell.strip() for cell in cells[1:3]] == ["shapes", "improve:3"]
    assert float(cells[3 + MOVES.index("MODEL")]) == 3


def test_shares_of_each_bin_sum_to_one_and_bins_hold_all_decisions(tmp_path: Path) -> None:
    options = Options(out=tmp_path, neurons="layer4:5,layer2:3", seeds=(9,), prices=(0.00002, 0.0005))
    one = watched(make_agent("learned"), ImproveAgent(3), "shapes", options)
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in seen_table(one).splitlines()[2:]]
    for name in dict.fromkeys(row[0] for row in rows):
        assert sum(int(row[2]) for row in rows if row[0] == name) == len(one.moves)
    for row in rows:
        assert sum(int(cell.rstrip("%")) for cell in row[3:]) == pytest.approx(100, abs=4)
    assert {row[1] for row in rows if row[0].startswith("price")} == {"below 0.9", "1.1 or more"}
    assert all(len(changed) == len(one.moves) for changed in one.changed.values())
    assert any(any(changed) for changed in one.changed.values())
    assert len(hidden_table({"shapes": one}).splitlines()[-1].split("|")) == 4 + len(GROUPS)
