"""A layer's labels as a static site: an index to search and sort, and a page with a stable link for each neuron.

It needs no server: its pages load nothing from elsewhere, and open from a file.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined

from dnr_env.errors import DnRError
from dnr_env.evaluation.exemplars import exemplar_images, real_activations
from dnr_env.evaluation.histogram import BINS, HEIGHT, WIDTH, histogram
from dnr_env.evaluation.labelling import Record
from dnr_env.evaluation.pictures import joined
from dnr_env.evaluation.report import drawn
from dnr_env.files import make_folder, write_atomically
from dnr_env.progress import bar
from dnr_env.stack import Stack

HIGH = 80
"""Pixels of the pictures in a strip, at most."""
SHOWN = (
    *("neuron", "label", "value", "error", "auc", "simulation", "activation_rate", "images", "alive", "block"),
    *("origin", "concepts", "failure"),
)
"""What a site shows of a record."""
_SHOWN = 8  # pictures of a strip
_TEMPLATES = Environment(
    loader=PackageLoader("dnr_env.evaluation"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
)


def stem_of(neuron: str) -> str:
    """What the files of a neuron are called, which stays the same whatever else the site holds: "layer4-7"."""
    return re.sub(r"[^\w.-]", "-", neuron)


def write_site(stack: Stack, records: Sequence[Record], score: str, title: str, folder: Path) -> Path:
    """Write a site, and return its index.

    Args:
        stack: what labelled.
        records: of `label_neurons`, at least one.
        score: the score of the values.
        title: what the site is called.
        folder: of the site. It is made if it does not exist; other files in it are left alone.

    Raises:
        DnRError: two neurons would have the same page.
    """
    stems = [stem_of(record["neuron"]) for record in records]
    if len(set(stems)) < len(stems):
        twice = next(stem for stem in stems if stems.count(stem) > 1)
        raise DnRError(f"`results` must hold neurons whose names differ in letters or digits (got two of {twice!r})")
    for name in ("neurons", "pictures"):
        make_folder(folder / name)
    with as_file(files("dnr_env.evaluation") / "static") as static:
        for file in static.iterdir():
            write_atomically(folder / file.name, file.read_bytes())
    about = {"title": title, "score": score}
    page = _TEMPLATES.get_template("site_neuron.html")
    for place, record in enumerate(bar(records, unit="page")):
        shown = _shown(stack, record, folder / "pictures")
        beside = {"before": stems[place - 1], "stem": stems[place], "after": stems[(place + 1) % len(stems)]}
        text = page.render(**about, r=record, **beside, **shown, size=(WIDTH, HEIGHT, BINS))
        write_atomically(folder / "neurons" / f"{stems[place]}.html", text.encode())
    rows = [
        {**record, "stem": stem, "layer": record["neuron"].rpartition(":")[0]}
        for record, stem in zip(records, stems, strict=True)
    ]
    layers = list(dict.fromkeys(row["layer"] for row in rows))
    text = _TEMPLATES.get_template("site_index.html").render(**about, rows=rows, layers=layers, stack=stack.name)
    write_atomically(folder / "index.html", text.encode())
    return folder / "index.html"


def _shown(stack: Stack, record: Record, folder: Path) -> dict[str, Any]:
    """What the page of a neuron shows beside its record. The pictures are written."""
    neuron = record["neuron"]
    found: dict[str, Any] = {"plot": None, "exemplars": 0, "drawings": 0, "others": []}
    if record["failure"]:
        return found
    if record["alive"]:
        real = real_activations(stack, stack.probe, neuron)
        strongest = stack.probe.exemplars[stack.neurons.index(neuron)]
        found["plot"] = histogram(real, {"exemplars": float(np.mean(real[strongest]))})
    for kind, images in (
        ("exemplars", exemplar_images(stack, stack.probe, neuron)),
        ("drawings", drawn(stack, record["label"], record["block"])),
    ):
        if images:
            found[kind] = len(images[:_SHOWN])
            write_atomically(folder / f"{stem_of(neuron)}-{kind}.webp", joined(images[:_SHOWN], HIGH))
    others = [(text, mean, count) for text, mean, count in record["concepts"] if text != record["label"]]
    return {**found, "others": sorted(others, key=lambda one: -math.inf if one[1] is None else -one[1])}
