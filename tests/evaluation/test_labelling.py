"""Labels with their verdicts."""

from __future__ import annotations

from pathlib import Path

from playing import NEURONS

from dnr_env import Rules
from dnr_env.agents.registry import make_agent
from dnr_env.evaluation.judge import judge
from dnr_env.evaluation.labelling import label_neurons
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
            blocks=[seed] * 2,
        )
        assert [r["value"] for r in records] == [verdict.value for verdict in verdicts]
