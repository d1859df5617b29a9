"""The exemplars of neurons, as the Python API returns them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dnr_env.evaluation.exemplars import (
    TOP,
    Exemplar,
    exemplar_images,
    exemplar_overlays,
    real_activations,
    write_exemplars,
)
from dnr_env.evaluation.histogram import counted
from dnr_env.evaluation.report import write_exemplar_report
from dnr_env.files import make_folder
from dnr_env.stack import Stack
from dnr_env.tables import Rows, frame, table, thumbnails
from dnr_env.types import FloatArray, ImageArray, IntArray


class ExemplarTable(Rows[Exemplar]):
    """The exemplars of neurons, strongest first, and after those the images of their quantile bands.

    Args:
        rows: the images of each neuron; `band` says which are the exemplars.
        stack: where the images come from.
    """

    def __init__(self, rows: Sequence[Exemplar], stack: Stack) -> None:
        super().__init__(rows)
        self.stack = stack

    @property
    def neurons(self) -> list[str]:
        """Their names."""
        return list(dict.fromkeys(row.neuron for row in self.rows))

    def images(self, neuron: str, band: str = TOP) -> list[ImageArray]:
        """The images (height, width, 3) uint8 of one neuron in one band: "top", "99%", "90%" or "median"."""
        return exemplar_images(self.stack, self.stack.probes.whole, neuron, band)

    def overlays(self, neuron: str, band: str = TOP) -> list[ImageArray] | None:
        """The same with heat maps, enlarged to 160 pixels where they are smaller; None without positions."""
        return exemplar_overlays(self.stack, self.stack.probes.whole, neuron, band)

    def histogram(self, neuron: str) -> tuple[IntArray, FloatArray]:
        """Counts (48,) of the neuron's activations on all real images, and the edges (49,) of their bins."""
        return counted(real_activations(self.stack, self.stack.probes.whole, neuron))

    def to_pandas(self) -> Any:
        """A `pandas.DataFrame` with one row per image."""
        return frame([asdict(row) for row in self.rows])

    def save(self, folder: str | Path) -> Path:
        """Write exemplars.csv, exemplars.html and the pictures; returns the page."""
        folder = Path(folder).expanduser()
        make_folder(folder)
        write_exemplars(self.rows, folder / "exemplars.csv")
        write_exemplar_report(self.stack, self.neurons, folder / "exemplars.html")
        return folder / "exemplars.html"

    def __repr__(self) -> str:
        lines = [f"{r.neuron:<14} {r.band:<7} {r.rank:>6} {r.activation:10.4g}  {r.image}" for r in self.rows]
        return "\n".join([f"{'neuron':<14} {'band':<7} {'rank':>6} {'activation':>10}  image", *lines])

    def _repr_html_(self) -> str:
        probe = self.stack.probes.whole
        cells = [(neuron, thumbnails(self.stack, probe, neuron, 10)) for neuron in self.neurons]
        return table(("neuron", "exemplars"), cells)
