"""Label neurons with an agent: rows appended as they come, then a table."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from dnr_env.agents.base import Agent
from dnr_env.env.rules import Rules
from dnr_env.env.users import Users
from dnr_env.errors import ItemError, piecewise, reason_of
from dnr_env.evaluation.failures import EARLY, MOST_FAILED, check_labels, check_starts
from dnr_env.evaluation.judge import Verdict, judge
from dnr_env.evaluation.rollout import Episode, rollout
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
    "judge_value",
    "auc",
    "mad",
    "simulation",
    "mean",
    "deviation",
    "images",
    "steps",
    "calls",
    "cost",
    "alive",
    "judge_simulation",
    "activation_rate",
    "origin",
    "failure",
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
    most_failed: float = MOST_FAILED,
) -> list[Record]:
    """Label neurons, in a JSONL file or in memory alone; those that have a label in the file are not done again.

    A neuron that fails has a record with its `failure` and without a label, and the others go on.

    Returns:
        A record of each neuron that is asked for or in the file, in the target's order.

    Raises:
        DnRError: too few neurons have candidates of the writer's, none of the first neurons gets a label, or something
            fails that concerns all neurons.
    """
    known = read_lines(path, ("neuron", *COLUMNS, "concepts", "curve")) if path else []
    records = {record["neuron"]: record for record in known}
    done = {neuron for neuron, record in records.items() if not record["failure"]}
    left = [neuron for neuron in neurons if neuron not in done]
    rules = Rules.of(rules, {"reward": "none"})
    check_starts(stack, agent, left, rules, most_failed, [records[neuron] for neuron in neurons if neuron in done])
    fresh: list[Record] = []
    with bar(total=len(neurons), initial=len(neurons) - len(left), unit="neuron", disable=not left) as shown:
        for start in range(0, len(left), _BLOCK):
            part = left[start : start + _BLOCK]
            made = _label(stack, agent, part, seed, rules, user_concepts)
            # As they would be read from a file, whether there is one or not.
            fresh += (block := json.loads(json.dumps(made)))
            if path:
                append_lines(path, block)
            records.update((record["neuron"], record) for record in block)
            shown.update(len(part))
            shown.set_postfix_str(str(stack.lab.counters))
            if all(record["failure"] for record in fresh) and (len(fresh) >= EARLY or len(fresh) == len(neurons)):
                check_labels(fresh, most_failed)
    return sorted(records.values(), key=lambda record: stack.neurons.index(record["neuron"]))


def _label(
    stack: Stack, agent: Agent, neurons: Sequence[str], seed: int, rules: Rules, user_concepts: Users
) -> list[Record]:
    """Label neurons. If that fails, each half is labelled by itself, so that only those fail that fail alone."""

    def work(part: Sequence[str]) -> list[Record]:
        return _labelled(stack, agent, part, seed, rules, user_concepts)

    broken = [neuron for neuron in neurons if stack.probes.broken(stack.neurons.index(neuron))]
    sound = [neuron for neuron in neurons if neuron not in broken]
    made: dict[str, Record | Exception] = dict(zip(sound, piecewise(work, sound), strict=True))
    found = []
    for neuron in neurons:
        one = made.get(neuron, ItemError("its activations on the real images are not all finite"))
        found.append(_failed(stack, neuron, seed, reason_of(one)) if isinstance(one, Exception) else one)
    return found


def _labelled(
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


def _failed(stack: Stack, neuron: str, seed: int, reason: str) -> Record:
    """The record of a neuron without a label."""
    alive = bool(stack.probe.alive[stack.neurons.index(neuron)])
    nothing = Episode(neuron, seed, "", "", None, None, 0, 0, 0.0, 0, False, [(0, 0.0, None)], failure=reason)
    unknown = dict.fromkeys(field.name for field in fields(Verdict))
    return {**asdict(nothing), **unknown, "simulations": {}, "block": block_of(seed), "cost": 0.0, "alive": alive}


def write_table(records: Sequence[Record], path: Path) -> None:
    """The labels as CSV, with a column for the simulation on each other probe set."""
    write_atomically(path, with_simulations(COLUMNS, records))


def with_simulations(columns: Sequence[str], records: Sequence[Record]) -> bytes:
    """Some columns of records as CSV, and one more for the simulation on each other probe set."""
    others = sorted({name for record in records for name in record["simulations"]})
    nothing = dict.fromkeys(f"simulation_{name}" for name in others)
    rows = [
        {**nothing, **record, **{f"simulation_{name}": value for name, value in record["simulations"].items()}}
        for record in records
    ]
    return csv_table([*columns, *(f"simulation_{name}" for name in others)], rows)
