"""Plots of a comparison."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from agents.statistics import mean_interval
from dnr_env.files import write_atomically
from dnr_env.types import FloatArray, IntArray

if TYPE_CHECKING:
    from agents.results import Results


def plot_scores(results: Results, path: Path) -> None:
    """Mean return and mean judge score of each agent, with their intervals."""
    figure = Figure((9, 0.42 * len(results.agents) + 1.2), layout="constrained")
    ranked = sorted(results.agents, key=lambda agent: results.table(agent, lambda r: r["return"]).mean())
    for axes, key, title in zip(
        figure.subplots(1, 2, sharey=True), ("return", "value"), ("return", "judge score"), strict=True
    ):
        for place, agent in enumerate(ranked):
            interval = mean_interval(results.table(agent, lambda r, key=key: r[key]))  # type: ignore[misc]
            axes.plot([interval.low, interval.high], [place, place], color="tab:blue", linewidth=5, alpha=0.35)
            axes.plot([interval.estimate], [place], "o", color="tab:blue")
        axes.set(yticks=range(len(ranked)), yticklabels=ranked, xlabel=f"mean {title}, 95% interval")
        axes.grid(axis="x", alpha=0.3)
    _save(figure, path)


def plot_curves(results: Results, path: Path) -> None:
    """Value gained on held-out images against images drawn, mean over episodes; a dot is where an agent ends."""
    figure = Figure((7, 4.2), layout="constrained")
    axes = figure.subplots()
    grid = np.arange(1 + max(r["added_images"] for r in results.cells.values()))
    for agent in results.agents:
        records = [r for key, r in results.cells.items() if key[0] == agent]
        curves = np.array([_held(r["curve"], grid) for r in records])
        (line,) = axes.plot(grid, curves.mean(axis=0), label=agent, drawstyle="steps-post")
        spent = np.mean([r["added_images"] for r in records])
        axes.plot([spent], [curves[:, -1].mean()], "o", color=line.get_color())
    axes.set(xlabel="images drawn after the initial measurement", ylabel="value gained (held-out images)")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    _save(figure, path)


def _save(figure: Figure, path: Path) -> None:
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=120)
    write_atomically(path, image.getvalue())


def _held(curve: list[list[float]], grid: IntArray) -> FloatArray:
    """The value gained at each point of the grid; after its end an episode stays where it was."""
    images, gained, _ = np.array(curve).T
    held: FloatArray = gained[np.searchsorted(images, grid, side="right") - 1]
    return held
