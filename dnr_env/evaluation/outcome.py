"""The outcome of a comparison as files: summary.md, summary.csv, plots and a page."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from dnr_env.env.rules import Rules
from dnr_env.evaluation.exemplars import exemplar_pictures
from dnr_env.evaluation.judge import IMAGES
from dnr_env.evaluation.pictures import Album, png
from dnr_env.evaluation.plots import plot_curves, plot_scores
from dnr_env.evaluation.report import write_report
from dnr_env.evaluation.results import (
    COLUMNS,
    DIFFERENCES,
    Results,
    correction,
    differences,
    markdown,
    summary,
    unseen,
)
from dnr_env.files import cell, write_atomically
from dnr_env.stack import Stack

_LEADING = ("agent", "net value", "judge net", "judge score", "AUC", "simulation", "images")
"""Columns of the summary that a page shows at once; the others are one click away."""


def write_outcome(results: Results, stack: Stack, which: str, rules: Rules, folder: Path) -> str:
    """Write all files; returns the text of summary.md."""
    rows, apart = summary(results), differences(results)
    headings, corrected = (f"{results.reference} less", *DIFFERENCES), correction(len(apart)) + unseen(results)
    text = (
        f"{markdown(COLUMNS, rows)}\n\nPaired differences, {corrected} in each column:\n\n{markdown(headings, apart)}\n"
    )
    write_atomically(folder / "summary.md", text.encode())
    out = io.StringIO()
    csv.writer(out).writerows([COLUMNS, *([cell(row[0]), *row[1:]] for row in rows)])
    write_atomically(folder / "summary.csv", out.getvalue().encode())
    plots = [folder / "scores.png"]
    plot_scores(results, plots[0])
    if any(record["images"] for record in results.cells.values()):  # or there is no curve to see
        plots.append(folder / "images.png")
        plot_curves(results, plots[1])
    album, first = Album(folder), results.seeds[0]
    neurons = [
        {
            "neuron": neuron,
            "truth": stack.known.truth(neuron),
            "optimum": stack.known.optimum(rules.score).get(neuron),
            "optimum_value": float(results.optima[neuron][0]) if neuron in results.optima else 0.0,
            "exemplars": exemplar_pictures(stack, neuron, album),
            "labels": [results.cells[a, results.members[a][0], neuron, first] for a in results.agents],
        }
        for neuron in results.neurons
    ]
    others = [COLUMNS[0], *(name for name in COLUMNS if name not in _LEADING)]
    values = {
        "title": "Comparison of agents",
        "stack": stack.name,
        "which": which,
        "seeds": ", ".join(map(str, results.seeds)),
        "first_seed": first,
        "judge_images": IMAGES,
        "price": price_said(rules),
        "leading": _LEADING,
        "leading_rows": _columns(rows, _LEADING),
        "others": others,
        "other_rows": _columns(rows, others),
        "reference": results.reference,
        "headings": headings,
        "differences": apart,
        "corrected": corrected,
        "neurons": neurons,
        "plots": [png(path) for path in plots],
    }
    write_report(folder / "report.html", "compare.html", values)
    return text


def price_said(rules: Rules) -> str:
    """What the net value subtracts, in words."""
    dollars = f", and {rules.dollar_cost:g} for every US dollar that its mutations cost" if rules.dollar_cost else ""
    return f"{rules.image_cost:g} for every image that the search drew{dollars}"


def _columns(rows: Sequence[Sequence[str]], names: Sequence[str]) -> list[list[str]]:
    """Some columns of the summary."""
    places = [COLUMNS.index(name) for name in names]
    return [[row[place] for place in places] for row in rows]
