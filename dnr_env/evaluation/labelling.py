"""Label neurons with an agent: rows appended as they come, then a table."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dnr_env.agents.base import Agent
from dnr_env.env.rules import Rules
from dnr_env.env.users import Users
from dnr_env.evaluation.judge import judge
from dnr_env.evaluation.rollout import rollout
from dnr_env.files import append_lines, csv_table, read_lines, write_atomically
from dnr_env.interfaces import Usage
from dnr_env.progress import bar
from dnr_env.seeds import block_of
from dnr_env.stack import Stack

_BLOCK = 16  # neurons whose rows are committed together
Record = dict[str, Any]
"""A line of labels.jsonl: one episode with its verdict."""
COLUMNS = (
    "neuron",
    "label",
    "value",
    "error",
    "auc",
    "mad",
    "simulation",
    "score",
    "images",
    "added_images",
    "steps",
    "calls",
    "cost",
    "alive",
)


def label_neurons(
    stack: Stack,
    agent: Agent,
    *,
    neurons: Sequence[str],
    seed: int,
    rules: Rules,
    user_concepts: Users = None,
    path: Path | None = None,
) -> list[Record]:
    """Label neurons, in a JSONL file or in memory alone; those that are in the file already are not done again.

    Returns:
        A record of each neuron that is asked for or in the file, in the target's order.
    """
    known = read_lines(path, ("neuron", *COLUMNS, "concepts", "curve")) if path else []
    records = {record["neuron"]: record for record in known}
    left = [neuron for neuron in neurons if neuron not in records]
    rules = Rules.of(rules, {"reward": "none"})
    with bar(total=len(neurons), initial=len(neurons) - len(left), unit="neuron", disable=not left) as shown:
        for start in range(0, len(left), _BLOCK):
            part = left[start : start + _BLOCK]
            # As they would be read from a file, whether there is one or not.
            fresh = json.loads(json.dumps(_label(stack, agent, part, seed, rules, user_concepts)))
            if path:
                append_lines(path, fresh)
            records.update((record["neuron"], record) for record in fresh)
            shown.update(len(part))
            shown.set_postfix_str(str(stack.lab.counters))
    return sorted(records.values(), key=lambda record: stack.neurons.index(record["neuron"]))


def _label(
    stack: Stack, agent: Agent, neurons: Sequence[str], seed: int, rules: Rules, user_concepts: Users
) -> list[Record]:
    jobs = [(neuron, seed) for neuron in neurons]
    episodes = list(rollout(agent, jobs, stack=stack, rules=rules, user_concepts=user_concepts))
    verdicts = judge(
        stack,
        neurons=neurons,
        labels=[episode.label for episode in episodes],
        rules=rules,
        blocks=[block_of(seed)] * len(neurons),
    )
    return [
        {
            **asdict(episode),
            **asdict(verdict),
            "block": block_of(seed),
            "cost": stack.bill.cost(Usage(episode.calls, episode.input_tokens, episode.output_tokens)),
            "alive": bool(stack.probe.alive[stack.neurons.index(episode.neuron)]),
        }
        for episode, verdict in zip(episodes, verdicts, strict=True)
    ]


def write_table(records: Sequence[Record], path: Path) -> None:
    """The labels as CSV, with a column for the simulation on each other probe set."""
    others = sorted({name for record in records for name in record["simulations"]})
    rows = [
        {**record, **{f"simulation_{name}": value for name, value in record["simulations"].items()}}
        for record in records
    ]
    write_atomically(path, csv_table([*COLUMNS, *(f"simulation_{name}" for name in others)], rows))
