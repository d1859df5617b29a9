"""The results of a rating: CSV tables beside the answers, and the same as text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dnr_env.evaluation.judged_report import FEWEST, shown_interval
from dnr_env.evaluation.results import markdown
from dnr_env.files import csv_table, write_atomically
from dnr_env.rating.analysis import (
    Answered,
    Mean,
    Paired,
    Reliability,
    alpha,
    differences,
    means,
    preference,
    rated,
    reliability,
)
from dnr_env.rating.plan import CONTROL, Plan
from dnr_env.rating.study import read

RATINGS = ("annotator", "item", "neuron", "source", "label", "other", "other_label", "rating", "again", "seconds")
MEANS = ("source", "neurons", "ratings", "mean", "low", "high", "equal")
DIFFERENCES = ("source", "other", "neurons", "difference", "low", "high", "p", "adjusted")


def write_results(folder: Path) -> str:
    """Write ratings.csv, means.csv, differences.csv and annotators.csv beside the answers, and return them as text.

    Raises:
        DnRError: the folder holds no rating, a file has answers to another one, or a table cannot be written.
    """
    study, annotators = read(folder)
    plan = study.plan
    answered = {name: study.answers(folder, name).given for name in annotators}
    write_atomically(folder / "ratings.csv", csv_table(RATINGS, _rows(plan, answered)))
    some = {name: answers for name, answers in answered.items() if answers}
    mean, paired, people = means(plan, some), differences(plan, some), reliability(plan, answered)
    equal = dict(plan.equal)  # of pairs, the share of neurons whose two labels are
    ends = [(m.interval.estimate, m.interval.low, m.interval.high, equal.get(m.source)) for m in mean]
    _write(folder / "means.csv", MEANS, [(*m[:3], *end) for m, end in zip(mean, ends, strict=True)])
    _write(folder / "differences.csv", DIFFERENCES, [(*one[:3], *_numbers(one)) for one in paired])
    _write(folder / "annotators.csv", Reliability._fields, people)
    return _shown(plan, mean, paired, people, alpha(plan, some))


def _numbers(one: Paired) -> tuple[float | None, ...]:
    d = one.difference
    return d.estimate, d.low, d.high, *((d.p, d.adjusted) if one.neurons >= FEWEST else (None, None))


def _write(path: Path, columns: Sequence[str], lines: Sequence[Sequence[Any]]) -> None:
    write_atomically(path, csv_table(columns, [dict(zip(columns, line, strict=True)) for line in lines]))


def _rows(plan: Plan, answered: Answered) -> list[dict[str, Any]]:
    """A row for each answer. Of pairs, a positive rating is in favour of `source`."""
    rows = []
    for annotator, answers in answered.items():
        for answer in answers:
            item = plan.items[answer.screen.item]
            label, other = (item.labels[-1], item.labels[0]) if plan.pairs else (item.labels[0], "")
            source = plan.sources[-1] if plan.pairs else "+".join(rated(plan, item))
            rows.append(
                {
                    "annotator": annotator,
                    "item": answer.screen.item,
                    "neuron": item.neuron,
                    "source": source,
                    "label": label,
                    "other": "+".join(rated(plan, item)) if plan.pairs else "",
                    "other_label": other,
                    "rating": preference(plan, answer),
                    "again": answer.screen.again,
                    "seconds": round(answer.seconds, 1),
                }
            )
    return rows


def _shown(
    plan: Plan, mean: Sequence[Mean], paired: Sequence[Paired], people: Sequence[Reliability], agreed: float | None
) -> str:
    """The tables as text, with what limits them."""
    if not mean:
        return "nothing has been rated yet"
    last = plan.sources[-1]
    parts = []
    if plan.pairs:
        equal = {CONTROL: 0.0, **dict(plan.equal)}
        rows = [
            [f"{last} to {m.source}", f"{equal[m.source]:.0%}", str(m.neurons), str(m.ratings), _interval(p), _p(p)]
            for m, p in zip(mean, paired, strict=True)
        ]
        heads = ("preferred, -2 to 2", "equal labels", "neurons rated", "ratings", "mean [interval]", "p (Holm)")
        parts.append(markdown(heads, rows))
    else:
        rows = [[m.source, str(m.neurons), str(m.ratings), shown_interval(m.interval)] for m in mean]
        parts.append(markdown(("labels", "neurons", "ratings", "mean, 1 to 5 [95% interval]"), rows))
        rows = [[f"{last} minus {one.other}", str(one.neurons), _interval(one), _p(one)] for one in paired]
        if rows:
            parts.append(markdown(("paired", "neurons", "difference [interval]", "p (Holm)"), rows))
    about = ("annotator", "ratings", "seconds", "control", "other labels", "repeated", "equal", "apart")
    parts.append(markdown(about, [_cells(one) for one in people]))
    if agreed is not None:
        without = ", without the control" if CONTROL in plan.sources else ""
        parts.append(f"agreement between annotators{without}: Krippendorff's alpha {agreed:.2f} (ordinal)")
    if sum(one.ratings > 0 for one in people) < 2:
        parts.append("One annotator: the intervals say nothing about other people.")
    if min(m.neurons for m in mean) < FEWEST:
        parts.append(f"Intervals from fewer than {FEWEST} neurons understate the variation between neurons.")
    return "\n\n".join(parts)


def _interval(one: Paired) -> str:
    return shown_interval(one.difference)


def _p(one: Paired) -> str:
    """The p-value; none from so few neurons that a bootstrap makes it small whenever all differences have one sign."""
    return f"{one.difference.adjusted:.2g}" if one.neurons >= FEWEST else "–"


def _cells(one: Reliability) -> list[str]:
    def said(value: float | None, form: str = ".2f") -> str:
        return "–" if value is None else format(value, form)

    return [
        one.annotator,
        str(one.ratings),
        f"{one.seconds:.1f}",
        said(one.control),
        said(one.others),
        str(one.repeated),
        said(one.equal, ".0%"),
        said(one.apart),
    ]
