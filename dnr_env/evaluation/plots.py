"""Plots of a comparison and of a sweep, 900 to 1080 pixels wide."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from dnr_env.evaluation.layers import KINDS, LayerRow
from dnr_env.evaluation.results import Results, correction
from dnr_env.evaluation.statistics import mean_interval, profile
from dnr_env.files import write_atomically

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

_COLOURS = ("#0072b2", "#e69f00", "#009e73", "#d55e00", "#56b4e9", "#cc79a7")
"""Told apart by the colour-blind: Okabe and Ito 2008, without the yellow, which is too light for a line, and without
black, which is the reference's."""
_DASHES: tuple[Any, ...] = ("-", "--", ":", "-.", (0, (6, 1, 1, 1, 1, 1)))
_MARKERS = "os^Dv"
_WIDTH = 7.5  # inches, at _DPI
_DPI = 120
_PROFILES = 6  # agents whose bands can still be told apart


def plot_scores(results: Results, path: Path) -> None:
    """Mean net value and mean judge score of each agent, with their intervals."""
    figure = Figure((9, 0.42 * len(results.agents) + 1.2), layout="constrained")
    ranked = results.ranked()[::-1]
    for axes, key, title in zip(
        figure.subplots(1, 2, sharey=True), ("net", "value"), ("net value", "judge score"), strict=True
    ):
        for place, agent in enumerate(ranked):
            interval = mean_interval(results.table(agent, key))
            axes.plot([interval.low, interval.high], [place, place], color=_COLOURS[0], linewidth=5, alpha=0.35)
            axes.plot([interval.estimate], [place], "o", color=_COLOURS[0])
        axes.set(yticks=range(len(ranked)), yticklabels=ranked, xlabel=f"mean {title}, 95% interval")
        axes.xaxis.set_major_locator(MaxNLocator(4))  # more labels run into each other where the range is small
        axes.grid(axis="x", alpha=0.3)
    _save(figure, path)


def plot_curves(results: Results, path: Path) -> None:
    """Value gained against the limit on images, mean over episodes; a dot is the mean that an agent really draws."""
    figure = Figure((_WIDTH, max(4.2, 0.21 * len(results.agents) + 0.4)), layout="constrained")
    axes = figure.subplots()
    grid = np.arange(1 + max(r["images"] for r in results.cells.values()))
    curves = {agent: results.gain_at(agent, grid).mean(axis=(0, 1, 2)) for agent in results.agents}
    for agent in sorted(curves, key=lambda agent: -curves[agent][-1]):  # the legend from top to bottom, as the lines
        style = _style(results, agent)
        axes.plot(grid, curves[agent], label=agent, drawstyle="steps-post", **style)
        spent = results.mean(agent, "images")
        axes.plot([spent], [curves[agent][-1]], "o", color=style["color"])
    axes.set(xlabel="images drawn, at most", ylabel="value gained (held-out images)")
    _finish(axes)
    _save(figure, path)


def plot_profiles(results: Results, path: Path) -> None:
    """Share of runs whose net value is above a threshold: the reference, with pointwise intervals, and the best."""
    ranked = results.ranked()
    others = [agent for agent in ranked if agent != results.reference][: _PROFILES - 1]
    shown = [agent for agent in ranked if agent in (results.reference, *others)]
    tables = {agent: results.table(agent, "net") for agent in shown}
    thresholds = np.linspace(min(t.min() for t in tables.values()), max(t.max() for t in tables.values()), 100)
    figure = Figure((_WIDTH, 4.2), layout="constrained")
    axes = figure.subplots()
    for agent in shown:
        shares, low, high = profile(tables[agent], thresholds)
        style = _style(results, agent)
        axes.plot(thresholds, shares, label=agent, **style)
        if agent == results.reference:  # six bands would hide each other
            axes.fill_between(thresholds, low, high, color=style["color"], alpha=0.15, linewidth=0)
    axes.set(xlabel="net value", ylabel="share of runs with more, 95% interval", ylim=(-0.02, 1.02))
    _finish(axes)
    _save(figure, path)


def plot_differences(results: Results, reference: str, others: Sequence[str], path: Path) -> None:
    """Net value of the reference less that of each other agent, paired; the closest rival is on top.

    A dot is filled where the interval leaves out zero.

    Args:
        results: of the comparison. All its agents but the reference are the family that intervals are corrected for.
        reference: whose net value comes first.
        others: the agents to show.
        path: of the PNG.
    """
    family = [agent for agent in results.agents if agent != reference]
    found = results.differences(reference, family, "net")
    ranked = sorted(others, key=lambda agent: -found[agent].estimate)
    figure = Figure((_WIDTH, 0.3 * len(ranked) + 1.0), layout="constrained")
    axes = figure.subplots()
    axes.axvline(0, color="black", linewidth=1)
    for place, agent in enumerate(ranked):
        interval = found[agent]
        sure = interval.low > 0 or interval.high < 0
        axes.plot([interval.low, interval.high], [place, place], color=_COLOURS[0], linewidth=2)
        face = _COLOURS[0] if sure else "white"
        axes.plot([interval.estimate], [place], "o", color=_COLOURS[0], markerfacecolor=face)
        text = f"{interval.estimate:.4f} [{interval.low:.4f}, {interval.high:.4f}]"
        axes.text(1.02, place, text, transform=axes.get_yaxis_transform(), va="center", fontsize=9)
    axes.set(yticks=range(len(ranked)), yticklabels=ranked, ylim=(-0.6, len(ranked) - 0.4))
    axes.set(xlabel=f"net value of {reference} less that of the agent\n{correction(len(family))}")
    axes.grid(axis="x", alpha=0.3)
    _save(figure, path)


def plot_quality(results: Results, path: Path) -> None:
    """Mean judge score of each agent, with its interval, against the images that it draws."""
    figure = Figure((_WIDTH, 4.8), layout="constrained")
    axes = figure.subplots()
    for agent in results.ranked():  # the legend as the table
        interval = mean_interval(results.table(agent, "value"))
        images, colour = results.mean(agent, "images"), _style(results, agent)["color"]
        axes.plot([images, images], [interval.low, interval.high], color=colour, alpha=0.35, linewidth=3)
        marker = _MARKERS[results.agents.index(agent) // len(_COLOURS) % len(_MARKERS)]
        axes.plot([images], [interval.estimate], marker, color=colour, label=agent)
    axes.set(xlabel="images drawn", ylabel="judge score, 95% interval")
    _finish(axes)
    _save(figure, path)


def plot_layers(rows: Sequence[LayerRow], path: Path) -> None:
    """The share of each kind of neuron in each layer; the first layer is on top."""
    figure = Figure((_WIDTH, 0.36 * len(rows) + 1.3), layout="constrained")
    axes = figure.subplots()
    places = range(len(rows))[::-1]
    left = np.zeros(len(rows))
    for kind, colour in zip(KINDS, (*_COLOURS[: len(KINDS) - 1], "#999999"), strict=True):
        shares = np.array([row[kind] / row["neurons"] for row in rows])
        axes.barh(places, shares, left=left, color=colour, label=kind)
        left += shares
    axes.set(yticks=places, yticklabels=[f"{_end(row['layer'])} ({row['neurons']})" for row in rows], xlim=(0, 1))
    axes.set(xlabel="share of the layer's labelled neurons", axisbelow=True)
    _finish(axes)
    _save(figure, path)


def _end(name: str, most: int = 32) -> str:
    """The end of a name, which tells layers apart."""
    return name if len(name) <= most else f"…{name[1 - most :]}"


def _style(results: Results, agent: str) -> dict[str, Any]:
    """An agent's line, the same in each plot: the reference black, the others of a colour and dashes by their place."""
    if agent == results.reference:
        return {"color": "black", "linewidth": 2.5}
    dashes, colour = divmod(results.agents.index(agent), len(_COLOURS))
    return {"color": _COLOURS[colour], "linestyle": _DASHES[dashes % len(_DASHES)]}


def _finish(axes: Axes) -> None:
    """A grid, and a legend beside the lines, where it hides none."""
    axes.grid(alpha=0.3)
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1), borderaxespad=0, fontsize=9, frameon=False)


def _save(figure: Figure, path: Path) -> None:
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=_DPI)
    write_atomically(path, image.getvalue())
