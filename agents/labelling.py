"""Label neurons with an agent: rows appended as they come, then a table and a report."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tqdm import tqdm

from agents.base import Agent
from agents.rollout import rollout
from dnr_env.episode import Rules
from dnr_env.files import append_lines, read_lines, write_atomically
from dnr_env.judge import IMAGES, judge
from dnr_env.models import Usage
from dnr_env.report import drawings, exemplars, origin, sparkline, write_report
from dnr_env.scores import GROUNDED_ALPHA
from dnr_env.seeds import block_of
from dnr_env.stacks import Stack
from dnr_env.users import Users

_BLOCK = 16  # neurons whose rows are committed together
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


def label(
    stack: Stack, agent: Agent, neurons: Sequence[str], seed: int, path: Path, rules: Rules, user_concepts: Users = None
) -> list[dict[str, Any]]:
    """Label neurons into a JSONL file, one line each in the order given; those already there are not done again."""
    env = {**asdict(rules), "reward": "none", "user_concepts": user_concepts}
    records = read_lines(path, ("neuron", *COLUMNS, "concepts", "curve"))
    records = list({record["neuron"]: record for record in records}.values())  # two processes may have written one
    done = {record["neuron"] for record in records}
    left = [neuron for neuron in neurons if neuron not in done]
    with tqdm(total=len(neurons), initial=len(neurons) - len(left), unit="neuron", disable=not left) as bar:
        for start in range(0, len(left), _BLOCK):
            part = left[start : start + _BLOCK]
            jobs = [(neuron, seed) for neuron in part]
            episodes = list(rollout(agent, jobs, stack=stack, **env))
            verdicts = judge(
                stack,
                part,
                [e.label for e in episodes],
                rules.score,
                rules.images_per_measure,
                blocks=[block_of(seed)] * len(part),
            )
            fresh = [
                {
                    **asdict(episode),
                    **asdict(verdict),
                    "cost": stack.cost(Usage(episode.calls, episode.input_tokens, episode.output_tokens)),
                    "alive": bool(stack.probe.alive[stack.lab.reader.neurons.index(episode.neuron)]),
                }
                for episode, verdict in zip(episodes, verdicts, strict=True)
            ]
            append_lines(path, fresh)
            records += fresh
            bar.update(len(part))
            bar.set_postfix_str(str(stack.lab.counters))
    return records


def write_table(records: Sequence[dict[str, Any]], path: Path) -> None:
    """The labels as CSV, for a spreadsheet."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(COLUMNS)
    writer.writerows([cell(record[name]) for name in COLUMNS] for record in records)
    write_atomically(path, out.getvalue().encode())


def cell(value: Any) -> Any:
    """A text that a spreadsheet would take for a formula is quoted."""
    return f"'{value}" if isinstance(value, str) and value[:1] in "=+-@\t\r" else value


def write_label_report(
    stack: Stack, agent: str, records: Sequence[dict[str, Any]], score: str, n_slots: int | None, path: Path
) -> None:
    """One static page: every label with its evidence.

    Args:
        stack: what labelled.
        agent: who labelled.
        records: of `label`.
        score: the score of the values.
        n_slots: how many candidates the writer was asked for; None where it was not asked.
        path: of the page.
    """
    shown = [
        {
            **record,
            "exemplars": exemplars(stack, record["neuron"]),
            **(
                origin(stack, record["neuron"], n_slots)
                if record["images"] and n_slots is not None
                else {"captions": [], "crops": None}
            ),
            "drawings": drawings(stack, record["label"], block_of(record["seed"])),
            "line": sparkline([(images, score) for images, _, score in record["curve"]]),
        }
        for record in records
    ]
    as_strong = math.log(2)  # log_k of a label whose images excite as the exemplars do
    full = {"log_k": as_strong, "grounded_k": GROUNDED_ALPHA * as_strong + 1 - GROUNDED_ALPHA}.get(score, 1.0)
    values = {"title": "Neuron labels", "records": shown, "stack": stack.name, "agent": agent, "score": score}
    bill = {name: sum(record[name] for record in records) for name in ("images", "calls", "cost")}
    write_report(path, "label.html", {**values, **bill, "full": full, "judge_images": IMAGES})
