"""The real images that excite a neuron most, and those of its usual activations. Nothing is captioned, drawn or asked.

Besides the exemplars there are three quantile bands: images whose activation is at the 99% and 90% quantile and at the
median of the neuron's activations on all real images. A neuron whose exemplars share something that its 99% band lacks
is narrower than it looks, or has several meanings.

The functions take the part of the real images to look at: the search half beside labels, which rest on it, and all of
them where nothing is named.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import numpy as np

from dnr_env.evaluation.heat import overlay, span
from dnr_env.evaluation.pictures import Album, Picture
from dnr_env.evidence.probe import Probe
from dnr_env.files import csv_table, write_atomically
from dnr_env.propose.crops import Misplaced
from dnr_env.stack import Stack
from dnr_env.types import FloatArray, ImageArray

_log = logging.getLogger("dnr_env")

TOP = "top"
"""The band of the exemplars."""
QUANTILES = {"99%": 0.99, "90%": 0.9, "median": 0.5}
"""The other bands."""
BANDS = (TOP, *QUANTILES)
BAND_IMAGES = 5
COLUMNS = ("neuron", "rank", "image", "activation", "normalised", "band")


@dataclass(frozen=True)
class Exemplar:
    """A real image of one band of a neuron."""

    neuron: str
    rank: int
    """Its place among the real images: 1 for the one that excites the neuron most."""
    image: str
    """The file, or the place in the data set; "" for pictures that have no name."""
    activation: float
    """As the target gives it."""
    normalised: float
    """On the scale on which 0 is a typical image and 1 the mean of the exemplars; 0 for a constant neuron."""
    band: str = TOP
    """"top", or the quantile at which the image lies: "99%", "90%" or "median"."""


Places = dict[str, list[tuple[int, int]]]
"""The ranks and indices of images, by band."""


def places_of(stack: Stack, probe: Probe, neuron: str, bands: Sequence[str]) -> Places:
    """The ranks and indices of the images of some bands of a neuron.

    A quantile band has the images that are nearest to the quantile in rank, in descending order, without those of the
    bands before it; with few images it may have none. Images of equal activation are ranked in a fixed random order,
    as their order in the folder would show one subfolder only.
    """
    place = stack.neurons.index(neuron)
    top = probe.exemplars[place].tolist()
    found = {TOP: list(enumerate(top, 1))}
    if any(band != TOP for band in bands):
        real = probe.real(np.array([place]))[0]
        chance = np.random.default_rng(0).permutation(len(real))
        rest = np.setdiff1d(np.arange(len(real)), top)
        order = [*top, *rest[np.lexsort((chance[rest], -real[rest]))].tolist()]
        taken = len(top)
        for band, quantile in QUANTILES.items():
            middle = round((1 - quantile) * (len(order) - 1))
            ranks = range(max(taken, middle - BAND_IMAGES // 2), min(len(order), middle + BAND_IMAGES // 2 + 1))
            found[band] = [(rank + 1, order[rank]) for rank in ranks]
            taken = max(taken, ranks.stop)
    return {band: found[band] for band in bands}


def exemplars_of(stack: Stack, probe: Probe, neurons: Sequence[str], bands: Sequence[str] = (TOP,)) -> list[Exemplar]:
    """The images of some bands of some neurons, strongest first."""
    return [row for neuron in neurons for row in _rows(stack, probe, neuron, places_of(stack, probe, neuron, bands))]


def exemplar_images(stack: Stack, probe: Probe, neuron: str, band: str = TOP) -> list[ImageArray]:
    """The images of one band of a neuron, strongest first."""
    return _images(probe, places_of(stack, probe, neuron, [band]))[band]


def exemplar_overlays(stack: Stack, probe: Probe, neuron: str, band: str = TOP) -> list[ImageArray] | None:
    """The same with the neuron's heat maps over them; None if its layer has no positions that follow the image.

    All bands of a neuron are on one scale, from an inactive position to the strongest one of its exemplars and this
    band.
    """
    places = places_of(stack, probe, neuron, list(dict.fromkeys((TOP, band))))
    maps = _overlays(stack, neuron, _images(probe, places))
    return None if maps is None else maps[band]


def real_activations(stack: Stack, probe: Probe, neuron: str) -> FloatArray:
    """(images,) the activations of a neuron on the real images, as the target gives them; 0 if any is not finite."""
    activations: FloatArray = probe.real(np.array([stack.neurons.index(neuron)]))[0]
    return activations


def exemplar_pictures(stack: Stack, neuron: str, album: Album) -> list[Picture]:
    """The exemplars that the search sees as pictures, with their names and activations."""
    return band_pictures(stack, stack.probe, neuron, album, (TOP,), maps=False)[TOP]


def beside_pictures(stack: Stack, neuron: str, album: Album) -> list[Picture]:
    """The images beside the probe set that excite a neuron most, with their names; none if there are none."""
    probe = stack.probes.beside
    if probe is None:
        return []
    order = probe.exemplars[stack.neurons.index(neuron)][:BAND_IMAGES]
    names = [Path(probe.describe(index)).name for index in order.tolist()]
    return [album.show(image, name) for image, name in zip(probe.images(order), names, strict=True)]


def band_pictures(
    stack: Stack, probe: Probe, neuron: str, album: Album, bands: Sequence[str] = BANDS, maps: bool = True
) -> dict[str, list[Picture]]:
    """The images of some bands of a neuron as pictures, with their heat maps where the layer has positions."""
    places = places_of(stack, probe, neuron, bands)
    images = _images(probe, places)
    overlays = _overlays(stack, neuron, images) if maps else None
    captions = {
        (row.band, row.rank): f"{Path(row.image).name} {row.activation:.3g}".strip()
        for row in _rows(stack, probe, neuron, places)
    }
    return {
        band: [
            album.show(image, captions[band, rank], overlays[band][i] if overlays else None)
            for i, ((rank, _), image) in enumerate(zip(chosen, images[band], strict=True))
        ]
        for band, chosen in places.items()
    }


def _rows(stack: Stack, probe: Probe, neuron: str, places: Places) -> list[Exemplar]:
    place, found = stack.neurons.index(neuron), []
    for band, chosen in places.items():
        raw = probe.raw(np.array([index for _, index in chosen], np.intp), np.array([place]))[:, 0]
        scaled = probe.normalise(raw[None], np.array([place]))[0]
        found += [
            Exemplar(neuron, rank, probe.describe(index), float(a), float(b), band)
            for (rank, index), a, b in zip(chosen, raw, scaled, strict=True)
        ]
    return found


def _images(probe: Probe, places: Places) -> dict[str, list[ImageArray]]:
    each = iter(probe.images(np.array([index for part in places.values() for _, index in part], np.intp)))
    return {band: [next(each) for _ in part] for band, part in places.items()}


def overlays_of(stack: Stack, neuron: str, images: Sequence[ImageArray]) -> list[ImageArray] | None:
    """Images with a neuron's heat maps over them, on one scale; None if its layer has no positions that follow them."""
    try:
        maps = stack.heat(list(images), neuron) if stack.heat else None
    except Misplaced:
        _warn(neuron.rpartition(":")[0])
        maps = None
    if maps is None:
        return None
    low, high = span(maps)
    return [overlay(image, one, low, high) for image, one in zip(images, maps, strict=True)]


def _overlays(stack: Stack, neuron: str, images: dict[str, list[ImageArray]]) -> dict[str, list[ImageArray]] | None:
    maps = overlays_of(stack, neuron, [image for part in images.values() for image in part])
    each = iter(maps or ())
    return None if maps is None else {band: [next(each) for _ in part] for band, part in images.items()}


@cache
def _warn(layer: str) -> None:
    _log.warning("no heat maps are shown of %s, whose maps do not follow the image", layer)


def write_exemplars(rows: Sequence[Exemplar], path: Path) -> None:
    """The rows as CSV."""
    write_atomically(path, csv_table(COLUMNS, [asdict(row) for row in rows]))
