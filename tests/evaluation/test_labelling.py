"""Labels with their verdicts."""

from __future__ import annotations

import csv
from pathlib import Path

from playing import NEURONS, Drawing

from dnr_env import Rules
from dnr_env.agents.registry import make_agent
from dnr_env.evaluation.judge import judge
from dnr_env.evaluation.labelling import label_neurons, write_table
from dnr_env.seeds import block_of
from dnr_env.stack import Stack


def test_a_label_is_judged_on_the_block_of_its_seed(stack: Stack, tmp_path: Path) -> None:
    rules = Rules()
    for seed in (0, 3):
        records = label_neurons(
            stack, make_agent("promise"), neurons=NEURONS[:2], seed=seed, rules=rules, path=tmp_path / f"{seed}.jsonl"
        )
        assert [r["neuron"] for r in records] == ["layer2:9", "layer4:3"]  # in the target's order
        verdicts = judge(
            stack,
            neurons=["layer2:9", "layer4:3"],
            labels=[r["label"] for r in records],
            rules=rules,
            blocks=[block_of(seed)] * 2,
        )
        assert [r["value"] for r in records] == [verdict.value for verdict in verdicts]


def test_a_table_tells_an_estimate_from_none(stack: Stack, tmp_path: Path) -> None:
    """A label of an agent that does not play has no estimate, and one that was not drawn has its promise."""
    for agent, images in ((make_agent("promise"), 0), (make_agent("stop"), 0), (Drawing(), 40)):
        records = label_neurons(stack, agent, neurons=NEURONS[:2], seed=1, rules=Rules())
        write_table(records, tmp_path / "labels.csv")
        with (tmp_path / "labels.csv").open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        for row, record in zip(rows, records, strict=True):
            assert int(row["images"]) == record["images"] == images
            if agent.plays:
                assert float(row["mean"]) == record["mean"] != 0
                assert float(row["deviation"]) == record["deviation"] > 0
            else:
                assert (row["mean"], row["deviation"]) == ("", "")
