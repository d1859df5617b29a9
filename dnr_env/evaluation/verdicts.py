"""Labels that anybody has made, and the judge's verdicts on them."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dnr_env.env.rules import Rules
from dnr_env.errors import ConceptError, DnRError
from dnr_env.evaluation.judge import judge
from dnr_env.evaluation.labelling import Record
from dnr_env.files import append_lines, csv_table, read_lines, text_of, write_atomically
from dnr_env.progress import bar
from dnr_env.stack import Stack

COLUMNS = ("neuron", "label", "value", "error", "auc", "mad", "simulation")
_BLOCK = 64  # labels whose rows are committed together

Given = list[tuple[str, str]]
"""Neurons' names, and labels as they are measured."""


def read_labels(labels: Any, stack: Stack) -> Given:
    """Labels as people have them, checked before anything is drawn.

    Args:
        labels: a mapping of neuron to label, pairs of both, or a CSV file with the columns neuron and label.
        stack: whose neurons they are.

    Raises:
        DnRError: a column is missing, a neuron is not the target's, or a label cannot be drawn.
    """
    pairs = _pairs(labels)
    if not pairs:
        raise DnRError("`labels` must hold at least one label (got none)")
    checked = []
    for number, (neuron, text) in enumerate(pairs, 1):
        if neuron not in stack.neurons:
            stack.neurons.index(neuron)  # says which are near
        try:
            checked.append((neuron, stack.language.normalise(text)))
        except ConceptError as error:
            raise DnRError(f"`labels` {number} ({neuron}): {error}") from None
    return list(dict.fromkeys(checked))


def _pairs(labels: Any) -> Given:
    if isinstance(labels, str | Path):
        return _read_csv(Path(labels).expanduser())
    given: Iterable[Any] = labels.items() if isinstance(labels, Mapping) else labels or ()
    pairs = list(given)
    for pair in pairs:
        if not (isinstance(pair, Sequence) and len(pair) == 2 and all(isinstance(part, str) for part in pair)):
            raise DnRError(f"`labels` must be pairs of two texts, neuron and label (got {pair!r})")
    return [(neuron, text) for neuron, text in pairs]


def _read_csv(path: Path) -> Given:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            lacking = [name for name in ("neuron", "label") if name not in (reader.fieldnames or ())]
            if lacking:
                found = ", ".join(reader.fieldnames or ()) or "none"
                raise DnRError(f"`labels` must have the columns neuron and label (got {found} in {path})")
            return [(row["neuron"] or "", text_of(row["label"] or "")) for row in reader]
    except OSError as error:
        raise DnRError(f"`labels` must be a CSV file that can be read (got {path}: {error.strerror})") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise DnRError(f"`labels` must be a CSV file in UTF-8 (got {path}: {error})") from None


def judge_labels(stack: Stack, given: Given, *, rules: Rules, block: int, path: Path | None = None) -> list[Record]:
    """Judge labels, in a JSONL file or in memory alone; those that are in the file already are not judged again."""
    known = read_lines(path, COLUMNS) if path else []
    records = {(record["neuron"], record["label"]): record for record in known}
    left = [pair for pair in given if pair not in records]
    with bar(total=len(given), initial=len(given) - len(left), unit="label", desc="judging", disable=not left) as shown:
        for start in range(0, len(left), _BLOCK):
            part = left[start : start + _BLOCK]
            verdicts = judge(
                stack,
                neurons=[neuron for neuron, _ in part],
                labels=[text for _, text in part],
                rules=rules,
                blocks=[block] * len(part),
            )
            fresh: list[Record] = [
                {"neuron": neuron, "label": text, "block": block, **asdict(verdict)}
                for (neuron, text), verdict in zip(part, verdicts, strict=True)
            ]
            if path:
                append_lines(path, fresh)
            records.update(((record["neuron"], record["label"]), record) for record in fresh)
            shown.update(len(part))
    return [records[pair] for pair in given]


def write_judged(records: Sequence[Record], path: Path) -> None:
    """The verdicts as CSV."""
    write_atomically(path, csv_table(COLUMNS, records))
