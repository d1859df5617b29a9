"""The ranges that docs/explanation/scenes.md fixed before the world was built, and tables of what was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dnr_env.evaluation.results import markdown

_INF = float("inf")
TARGET_RANGES: Mapping[str, tuple[float, float]] = {
    "1 polysemantic units of the layer with most": (0.20, 0.80),
    "1 polysemantic units of all": (0.10, _INF),
    "2 outputs / channels of the narrowest layer": (3, _INF),
    "3 linear R² of embeddings, by layer": (0.15, 0.60),
    "4 additive R², by layer": (-_INF, 0.60),
    "5 above half, by layer": (0.02, 0.25),
    "6 excess kurtosis, by layer": (-1, 10),
}
"""The least and the greatest value of what is measured of every target."""
WORLD_RANGES: Mapping[str, tuple[float, float]] = {
    "7 right word of two: size": (0.52, 0.85),
    "7 right word of two: colour": (0.70, 0.97),
    "7 right word of two: texture": (0.60, 0.93),
    "7 right word of two: shape": (0.70, 0.97),
    "7 right word of two: background": (0.65, 0.97),
    "7 right word of two: mean": (0.65, 0.90),
    "8 binding": (0.50, 0.75),
    "9 recall@10": (0.40, 0.92),
    "10 captioner: wrong words": (0.04, 0.20),
    "10 captioner: captions with a wrong word": (0.07, 0.50),
    "11 captioner: objects missed": (0.20, 0.60),
    "12 generator's errors: size": (0.15, 0.50),
    "12 generator's errors: colour": (0.10, 0.30),
    "12 generator's errors: texture": (0.15, 0.50),
    "12 generator's errors: shape": (0.02, 0.15),
    "12 generator's errors: background": (0.03, 0.25),
    "13 objects in a picture": (1.6, 2.4),
    "13 pictures with one object": (0.20, 0.55),
    "14 pairs that ten pictures show": (0.15, 0.50),
    "14 triples that none shows": (0.35, 0.80),
    "14 commonest / rarest colour": (3, _INF),
    "14 commonest / rarest texture": (3, _INF),
    "14 commonest / rarest shape": (3, _INF),
}
"""The same of the parts that all targets share."""


def table(measured: Mapping[str, Mapping[str, Sequence[float]]], ranges: Mapping[str, tuple[float, float]]) -> str:
    """A Markdown table of statistics, with a column for each of what they were measured of.

    Args:
        measured: numbers by column and statistic.
        ranges: the least and the greatest value by statistic.
    """
    rows = []
    for name, (low, high) in ranges.items():
        values = [column[name] for column in measured.values()]
        met = all(low <= value <= high for numbers in values for value in numbers)
        cells = [", ".join(f"{value:.3f}" for value in numbers) for numbers in values]
        rows.append([name, *cells, _range(low, high), "met" if met else "**missed**"])
    return markdown(("statistic", *measured, "range", ""), rows)


def _range(low: float, high: float) -> str:
    if high == _INF:
        return f"{_number(low)} or more"
    return f"{_number(high)} at most" if low == -_INF else f"{_number(low)} to {_number(high)}"


def _number(value: float) -> str:
    return f"{value:.0f}" if value == int(value) else f"{value:.2f}"
