"""Labels that were given, with the judge's verdicts, as the Python API returns them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from dnr_env.env.rules import Rules
from dnr_env.errors import DnRError
from dnr_env.evaluation.exemplars import exemplars_of, write_exemplars
from dnr_env.evaluation.folder import Settings, settle
from dnr_env.evaluation.judged_report import counted, shown_interval, warning, write_judged_report
from dnr_env.evaluation.labelling import Record
from dnr_env.evaluation.summary import Mean, Paired, differences, means, tables, write_differences, write_means
from dnr_env.evaluation.verdicts import COLUMNS, Source, shared, write_judged
from dnr_env.files import append_lines, read_lines
from dnr_env.stack import Stack
from dnr_env.tables import Label, Rows, frame, number, table


class Judged(Rows[Label]):
    """Labels of one or several files with their verdicts, file by file.

    Args:
        sources: the files and their labels.
        records: rows of judged.jsonl, for every label of every file.
        stack: what measured them.
        rules: the rules that the values were computed under.
        settings: what `save` notes and compares.
    """

    def __init__(
        self, sources: Sequence[Source], records: Sequence[Record], stack: Stack, rules: Rules, settings: Settings
    ) -> None:
        found = {(record["neuron"], record["label"]): record for record in records}
        self.stack = stack
        self.rules = rules
        self.settings = settings
        self.sources = list(sources)
        self.records = [{**found[pair], "source": source.name} for source in sources for pair in source.labels]
        super().__init__([Label.read(record, stack) for record in self.records])

    def of(self, neuron: str, source: str | None = None) -> Label:
        """The first label of a neuron, or that of one source.

        Raises:
            DnRError: it has none here.
        """
        of_source = (label for label in self if source in (None, label.record["source"]))
        found = next((label for label in of_source if label.neuron == neuron), None)
        if found is None:
            raise DnRError(f"`neuron` must be one that was judged (got {neuron!r})")
        return found

    @cached_property
    def means(self) -> list[Mean]:
        """The mean of every metric over each source's labels, with 95% intervals over neurons and drawings."""
        return [
            mean
            for source in self.sources
            for mean in means(source.name, tables(self.stack, self._records(source), self.rules))
        ]

    @cached_property
    def differences(self) -> list[Paired]:
        """The last source less each of the others, paired on the neurons that all of them label."""
        if len(self.sources) < 2:
            return []
        neurons = shared(self.sources)
        aligned = []
        for source in self.sources:
            by_neuron = {record["neuron"]: record for record in self._records(source)}
            aligned.append((source.name, [by_neuron[neuron] for neuron in neurons]))
        return differences(self.stack, aligned, self.rules)

    def _records(self, source: Source) -> list[Record]:
        return [record for record in self.records if record["source"] == source.name]

    def to_pandas(self) -> Any:
        """A `pandas.DataFrame` with one row per label."""
        return frame([{name: record[name] for name in (*COLUMNS, "source")} for record in self.records])

    def save(self, folder: str | Path) -> Path:
        """Write judged.jsonl, judged.csv, means.csv, exemplars.csv, report.html, and differences.csv of several files.

        Returns:
            The path of the report.

        Raises:
            DnRError: the folder holds results of other settings.
        """
        folder = Path(folder).expanduser()
        settle(folder, self.stack, self.settings)
        lines = folder / "judged.jsonl"
        known = {(row["neuron"], row["label"]) for row in read_lines(lines, ("neuron", "label"))}
        plain = {(row["neuron"], row["label"]): row for row in self.records}
        append_lines(
            lines,
            [{k: v for k, v in row.items() if k != "source"} for pair, row in plain.items() if pair not in known],
        )
        write_judged(self.records, folder / "judged.csv")
        write_means(self.means, folder / "means.csv")
        if self.differences:
            write_differences(self.differences, folder / "differences.csv")
        else:
            (folder / "differences.csv").unlink(missing_ok=True)  # of files that were judged here earlier
        neurons = list(dict.fromkeys(label.neuron for label in self))
        write_exemplars(exemplars_of(self.stack, self.stack.probe, neurons), folder / "exemplars.csv")
        write_judged_report(
            self.stack, self.records, self.means, self.differences, self.rules.score, folder / "report.html"
        )
        return folder / "report.html"

    def __repr__(self) -> str:
        lines = [f"{m.source:<20} {m.metric:<18} {m.labels:>7,}  {shown_interval(m.interval)}" for m in self.means]
        lines += [
            f"{d.source} - {d.other}: {d.metric} {shown_interval(d.difference)} on {counted(d.neurons, 'neuron')}"
            for d in self.differences
        ]
        if alone := warning(self.means, self.differences):
            lines.append(alone)
        return "\n".join([f"{'labels':<20} {'metric':<18} {'number':>7}  mean [95% interval]", *lines])

    def _repr_html_(self) -> str:
        rows = [
            (
                label.record["source"],
                label.neuron,
                label.text,
                number(label.auc),
                number(label.record["activation_rate"]),
                number(label.simulation),
            )
            for label in self
        ]
        return table(("source", "neuron", "label", "AUC", "activation rate", "simulation"), rows)
