"""The real images that excite each neuron most: nothing is captioned, drawn or asked for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from dnr_env.evaluation.pictures import Album, Picture
from dnr_env.files import csv_table, write_atomically
from dnr_env.stack import Stack
from dnr_env.types import ImageArray

COLUMNS = ("neuron", "rank", "image", "activation", "normalised")


@dataclass(frozen=True)
class Exemplar:
    """One of the real images that excite a neuron most."""

    neuron: str
    rank: int
    """1 for the strongest."""
    image: str
    """The file, or the place in the data set; "" for pictures that have no name."""
    activation: float
    """As the target gives it."""
    normalised: float
    """On the scale on which 0 is a typical image and 1 the mean of the exemplars; 0 for a constant neuron."""


def exemplars_of(stack: Stack, neurons: Sequence[str]) -> list[Exemplar]:
    """The exemplars of some neurons, strongest first."""
    probe, found = stack.probe, []
    for neuron, place in zip(neurons, stack.neurons.indices(neurons).tolist(), strict=True):
        order = probe.exemplars[place]
        raw = np.asarray(probe.activations[order, place])
        scaled = probe.normalise(raw[None], np.array([place]))[0]
        found += [
            Exemplar(neuron, rank, probe.describe(int(index)), float(a), float(b))
            for rank, (index, a, b) in enumerate(zip(order, raw, scaled, strict=True), 1)
        ]
    return found


def exemplar_images(stack: Stack, neuron: str) -> list[ImageArray]:
    """The images of a neuron's exemplars, strongest first."""
    return list(stack.probe.images(stack.probe.exemplars[stack.neurons.index(neuron)]))


def exemplar_pictures(stack: Stack, neuron: str, album: Album) -> list[Picture]:
    """The same as pictures, with their names and activations."""
    rows = exemplars_of(stack, [neuron])
    return [
        album.show(image, f"{Path(row.image).name} {row.activation:.3g}".strip())
        for row, image in zip(rows, exemplar_images(stack, neuron), strict=True)
    ]


def write_exemplars(rows: Sequence[Exemplar], path: Path) -> None:
    """The exemplars as CSV."""
    write_atomically(path, csv_table(COLUMNS, [asdict(row) for row in rows]))
