"""Labels that anybody has made, and the judge's verdicts on them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dnr_env.env.rules import Rules
from dnr_env.errors import ConceptError, DnRError
from dnr_env.evaluation.judge import agreement, judge
from dnr_env.evaluation.label_files import read_file
from dnr_env.evaluation.labelling import Record, with_simulations
from dnr_env.files import append_lines, read_lines, write_atomically
from dnr_env.progress import bar
from dnr_env.stack import Stack

COLUMNS = (
    "neuron",
    "label",
    "value",
    "error",
    "judge_value",
    "auc",
    "mad",
    "simulation",
    "auc_error",
    "mad_error",
    "activation_rate",
    "activation_rate_error",
    "simulation_error",
    "judge_simulation",
    "judge_simulation_error",
    "precision",
    "recall",
    "parts",
)
_BLOCK = 64  # labels whose rows are committed together

Given = list[tuple[str, str]]
"""Neurons' names, and labels as they are measured."""


@dataclass(frozen=True)
class Source:
    """The labels of one file, or of one mapping."""

    name: str
    """The file's name without its suffix; "labels" for what is no file."""
    labels: Given


def read_sources(
    labels: Any, stack: Stack, layer: str | None = None, only: Collection[str] | None = None
) -> list[Source]:
    """Labels as people have them, checked before anything is drawn.

    Args:
        labels: a mapping of neuron to label, pairs of both, a file as `read_file` reads it, or several files, which are
            to be compared.
        stack: whose neurons they are.
        layer: the layer of files that have indices.
        only: the neurons whose labels are wanted; None for all.

    Raises:
        DnRError: a column is missing, a neuron is not the target's, a label cannot be drawn, no label is left, or
            several files cannot be compared.
    """
    paths = [labels] if isinstance(labels, str | Path) else list(labels or ()) if _are_files(labels) else None
    if paths is None:
        return [Source("labels", _checked("", _pairs(labels), stack, only))]
    files = [Path(path).expanduser() for path in paths]
    if len(set(files)) < len(files):
        raise DnRError(f"`labels` must name each file once (got {', '.join(map(str, files))})")
    names = short_names(files)
    sources = [
        Source(name, _checked(f" of {file.name}", read_file(file, stack.neurons, layer), stack, only))
        for name, file in zip(names, files, strict=True)
    ]
    return comparable(sources) if len(sources) > 1 else sources


def _are_files(labels: Any) -> bool:
    return isinstance(labels, list | tuple) and bool(labels) and all(isinstance(one, str | Path) for one in labels)


def short_names(files: Sequence[Path]) -> list[str]:
    """Name files by their stem; by folder and stem where two have the same; or by their whole path."""
    kinds = ([file.stem for file in files], [f"{file.parent.name}/{file.stem}" for file in files])
    return next((names for names in kinds if len(set(names)) == len(files)), [str(file) for file in files])


def _checked(of: str, pairs: Given, stack: Stack, only: Collection[str] | None) -> Given:
    if not pairs:
        raise DnRError("`labels` must hold at least one label (got none)")
    wanted = pairs if only is None else [pair for pair in pairs if pair[0] in only]
    if not wanted:
        raise DnRError(f"`labels`{of} must have a label of the neurons asked for (got none in {len(pairs):,} rows)")
    checked: dict[tuple[str, str], None] = {}
    rows = {pair: row for row, pair in reversed(list(enumerate(pairs, 1)))}
    for pair in dict.fromkeys(wanted):
        neuron, text = pair
        try:
            if neuron not in stack.neurons:
                stack.neurons.index(neuron)  # says which are near
            checked[neuron, stack.language.normalise(text)] = None
        except ConceptError as error:
            raise DnRError(f"`labels` row {rows[pair]}{of} ({neuron}): {error}") from None
        except DnRError as error:
            raise DnRError(f"`labels` row {rows[pair]}{of}: {error}") from None
    return list(checked)


def _pairs(labels: Any) -> Given:
    given: Iterable[Any] = labels.items() if isinstance(labels, Mapping) else labels or ()
    pairs = list(given)
    for pair in pairs:
        if not (isinstance(pair, Sequence) and len(pair) == 2 and all(isinstance(part, str) for part in pair)):
            raise DnRError(f"`labels` must be pairs of two texts, neuron and label (got {pair!r})")
    return [(neuron, text) for neuron, text in pairs]


def comparable(sources: Sequence[Source]) -> list[Source]:
    """Check that each file has one label per neuron, and that they share some neurons."""
    for source in sources:
        twice = [neuron for neuron, count in Counter(neuron for neuron, _ in source.labels).items() if count > 1]
        if twice:
            raise DnRError(
                f"`labels` must have one label per neuron in each file to be compared (got {len(twice):,} neurons with "
                f"several in {source.name}, such as {twice[0]})"
            )
    if not shared(sources):
        names = ", ".join(source.name for source in sources)
        raise DnRError(f"`labels` must be of the same neurons to be compared (got {names}, which share none)")
    return list(sources)


def shared(sources: Sequence[Source]) -> list[str]:
    """The neurons that every source labels, in the order of the first."""
    others = [{neuron for neuron, _ in source.labels} for source in sources[1:]]
    first = dict.fromkeys(neuron for neuron, _ in sources[0].labels)
    return [neuron for neuron in first if all(neuron in other for other in others)]


def judge_labels(stack: Stack, given: Given, *, rules: Rules, block: int, path: Path | None = None) -> list[Record]:
    """Judge labels, in a JSONL file or in memory alone; those that are in the file already are not judged again."""
    known = read_lines(path, COLUMNS) if path else []
    records = {(record["neuron"], record["label"]): record for record in known}
    left = [pair for pair in dict.fromkeys(given) if pair not in records]
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
                {
                    "neuron": neuron,
                    "label": text,
                    "block": block,
                    **asdict(verdict),
                    **agreement(stack, neuron, text)._asdict(),
                }
                for (neuron, text), verdict in zip(part, verdicts, strict=True)
            ]
            if path:
                append_lines(path, fresh)
            records.update(((record["neuron"], record["label"]), record) for record in fresh)
            shown.update(len(part))
    return [records[pair] for pair in given]


def write_judged(records: Sequence[Record], path: Path) -> None:
    """The verdicts as CSV, each with its source, and with a column for the simulation on each other probe set."""
    write_atomically(path, with_simulations((*COLUMNS, "source"), records))
