"""What the Python API returns: sequences that show themselves as tables and save themselves as files."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar, overload

from dnr_env.agents.base import Agent
from dnr_env.env.rules import Rules
from dnr_env.errors import DnRError
from dnr_env.evaluation.exemplars import Exemplar, exemplar_images, exemplars_of, write_exemplars
from dnr_env.evaluation.folder import Settings, settle
from dnr_env.evaluation.labelling import COLUMNS, Record, write_table
from dnr_env.evaluation.pictures import thumbnail
from dnr_env.evaluation.ranking import Row, shown_ranking, write_ranking
from dnr_env.evaluation.report import drawn, write_label_report
from dnr_env.evidence.probe import Probe
from dnr_env.files import append_lines, make_folder, read_lines
from dnr_env.stack import Stack
from dnr_env.types import ImageArray

Item = TypeVar("Item")
_SHOWN = 3
"""Exemplars of a row in a notebook."""


@dataclass(frozen=True, eq=False)
class LabelEvidence:
    """What a label rests on."""

    exemplars: list[Exemplar]
    """The real images that excite the neuron most."""
    exemplar_images: list[ImageArray]
    """The same as (height, width, 3) uint8."""
    drawings: list[ImageArray]
    """The first of the judge's images of the label; none where it draws nothing."""
    concepts: list[tuple[str, float | None, int]]
    """All concepts of the search, with their posterior means and the images drawn of each."""
    choices: list[str]
    """The label and the next best ones."""
    origins: list[str]
    """Where the words of each of the concepts come from."""
    fallback: str
    """Why the search began with captions although the stack has a writer; "" if it did not."""
    bill: Mapping[str, float]
    """Images that the search drew, answers of a language model, and US dollars for these."""


@dataclass(frozen=True, eq=False)
class Label:
    """A neuron's label and its verdict; what needs drawings is None where the judge draws nothing."""

    neuron: str
    text: str
    value: float | None
    """The score on the judge's images."""
    error: float | None
    """Its standard error."""
    auc: float | None
    mad: float | None
    simulation: float | None
    """None if there is no label."""
    origin: str
    """Where the words come from: writer, captions, vocabulary, model, or user for labels that were given."""
    failure: str
    """Why there is no label; "" if there is one."""
    record: Record
    """Everything that is known of it, as in labels.jsonl."""
    stack: Stack

    @classmethod
    def read(cls, record: Record, stack: Stack) -> Label:
        """The label of a row of labels.jsonl or judged.jsonl."""
        return cls(
            record["neuron"],
            record["label"],
            **{name: record[name] for name in _VERDICT},
            origin=record.get("origin", "user"),
            failure=record.get("failure", ""),
            record=record,
            stack=stack,
        )

    @cached_property
    def evidence(self) -> LabelEvidence:
        """What it rests on; images are fetched now."""
        record = self.record
        return LabelEvidence(
            exemplars_of(self.stack, self.stack.probe, [self.neuron]),
            exemplar_images(self.stack, self.stack.probe, self.neuron),
            [] if self.failure else drawn(self.stack, self.text, record["block"]),
            [(text, mean, images) for text, mean, images in record.get("concepts", ())],
            list(record.get("labels", [self.text])),
            list(record.get("origins", ())),
            record.get("fallback", ""),
            {name: record.get(name, 0) for name in ("images", "calls", "cost")},
        )

    def __repr__(self) -> str:
        if self.failure:
            return f"Label({self.neuron!r}, failure={self.failure!r})"
        return f"Label({self.neuron!r}, {self.text!r}, auc={number(self.auc)}, simulation={number(self.simulation, 2)})"


class Rows(Sequence[Item]):
    """Rows of a table.

    Args:
        rows: the rows in their order.
    """

    def __init__(self, rows: Sequence[Item]) -> None:
        self.rows = list(rows)

    @overload
    def __getitem__(self, place: int) -> Item: ...

    @overload
    def __getitem__(self, place: slice) -> list[Item]: ...

    def __getitem__(self, place: int | slice) -> Item | list[Item]:
        """The row at a place, or a list of those of a slice."""
        return self.rows[place]

    def __len__(self) -> int:
        return len(self.rows)


class Labels(Rows[Label]):
    """Labels of neurons, in the order of the target.

    Args:
        records: rows of labels.jsonl.
        stack: what measured them.
        agent: who labelled.
        rules: the rules that the values were computed under.
        settings: what `save` notes and compares.
    """

    def __init__(self, records: Sequence[Record], stack: Stack, agent: Agent, rules: Rules, settings: Settings) -> None:
        self.stack = stack
        self.agent = agent
        self.rules = rules
        self.settings = settings
        self.records = list(records)
        super().__init__([Label.read(record, stack) for record in records])

    def of(self, neuron: str) -> Label:
        """The first label of a neuron.

        Raises:
            DnRError: it has none here.
        """
        found = next((label for label in self if label.neuron == neuron), None)
        if found is None:
            raise DnRError(f"`neuron` must be one that was labelled (got {neuron!r})")
        return found

    def to_pandas(self) -> Any:
        """A `pandas.DataFrame` with one row per label."""
        return frame([{name: record[name] for name in COLUMNS} for record in self.records])

    def save(self, folder: str | Path) -> Path:
        """Write labels.jsonl, labels.csv, exemplars.csv and report.html.

        Returns:
            The path of the report.

        Raises:
            DnRError: the folder holds results of other settings.
        """
        folder = Path(folder).expanduser()
        settle(folder, self.stack, self.settings)
        lines = folder / "labels.jsonl"
        known = {(row["neuron"], row["label"]) for row in read_lines(lines, ("neuron", "label"))}
        named = {neuron for neuron, text in known if text}  # a later line would take the place of the label
        new = [row for row in self.records if (row["neuron"], row["label"]) not in known]
        append_lines(lines, [row for row in new if not (row["failure"] and row["neuron"] in named)])
        neurons = list(dict.fromkeys(label.neuron for label in self))
        write_exemplars(exemplars_of(self.stack, self.stack.probe, neurons), folder / "exemplars.csv")
        write_table(self.records, folder / "labels.csv")
        slots = (
            self.agent.env_options.get("n_slots", self.rules.n_slots) if self.agent.initial_concepts is None else None
        )
        write_label_report(self.stack, self.agent.name, self.records, self.rules.score, slots, folder / "report.html")
        return folder / "report.html"

    def __repr__(self) -> str:
        lines = [
            f"{label.neuron:<14} {label.text or f'({label.failure})':<40} {number(label.auc):>6} "
            f"{number(label.simulation, 2):>6}"
            for label in self
        ]
        return "\n".join([f"{'neuron':<14} {'label':<40} {'AUC':>6} {'sim.':>6}", *lines])

    def _repr_html_(self) -> str:
        rows = [
            (
                label.neuron,
                label.text or f"({label.failure})",
                number(label.auc),
                number(label.simulation, 2),
                thumbnails(self.stack, self.stack.probe, label.neuron),
            )
            for label in self
        ]
        return table(("neuron", "label", "AUC", "simulation", "exemplars"), rows)


_VERDICT = ("value", "error", "auc", "mad", "simulation")


class Ranking(Rows[Row]):
    """Neurons under the six scoring methods, in the order of their combined rank.

    Args:
        rows: of `rank_neurons`.
    """

    def to_pandas(self) -> Any:
        """A `pandas.DataFrame` with one row per neuron."""
        return frame(self.rows)

    def save(self, folder: str | Path) -> Path:
        """Write rank.csv; returns its path."""
        folder = Path(folder).expanduser()
        make_folder(folder)
        write_ranking(self.rows, folder / "rank.csv")
        return folder / "rank.csv"

    def __repr__(self) -> str:
        return shown_ranking(self.rows, len(self.rows))

    def _repr_html_(self) -> str:
        columns = list(self.rows[0])
        return table(columns, [[str(row[name]) for name in columns] for row in self.rows])


class _Markup(str):
    """A cell that is HTML already."""


def thumbnails(stack: Stack, probe: Probe, neuron: str, count: int = _SHOWN) -> _Markup:
    """The first exemplars of a neuron as a cell."""
    images = exemplar_images(stack, probe, neuron)[:count]
    return _Markup("".join(f'<img height="60" alt="exemplar" src="{thumbnail(image)}"> ' for image in images))


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Rows as an HTML table. What is not a cell of this module's own is shown as text."""

    def cell(text: str) -> str:
        return text if isinstance(text, _Markup) else html.escape(text)

    head = "".join(f"<th>{html.escape(name)}</th>" for name in columns)
    body = "".join(f"<tr>{''.join(f'<td>{cell(text)}</td>' for text in row)}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def number(value: float | None, digits: int = 3) -> str:
    """A number to some places, or a dash."""
    return "–" if value is None else f"{value:.{digits}f}"


def frame(rows: Sequence[Mapping[str, Any]]) -> Any:
    """A `pandas.DataFrame` of rows."""
    try:
        import pandas
    except ModuleNotFoundError:
        raise DnRError("to_pandas needs the package pandas: pip install 'dnr-env[pandas]'") from None
    return pandas.DataFrame(list(rows))
