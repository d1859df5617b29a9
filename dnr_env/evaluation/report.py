"""Static HTML reports: no script, nothing loaded from elsewhere, every text escaped."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined

from dnr_env.errors import concerns_item
from dnr_env.evaluation.exemplars import (
    QUANTILES,
    band_pictures,
    beside_pictures,
    exemplar_pictures,
    real_activations,
)
from dnr_env.evaluation.failures import origins, reasons
from dnr_env.evaluation.histogram import BINS, HEIGHT, WIDTH, histogram
from dnr_env.evaluation.judge import judge_images
from dnr_env.evaluation.labelling import Record
from dnr_env.evaluation.layers import KINDS, LayerRow, layers_of, write_layers
from dnr_env.evaluation.pictures import Album, Picture, strip
from dnr_env.files import write_atomically
from dnr_env.scores import GROUNDED_ALPHA, WORD_PRICE
from dnr_env.seeds import Purpose
from dnr_env.stack import Stack
from dnr_env.types import ImageArray

_SHOWN = 10
MOST = 100
"""Neurons on a page of exemplars or of judged labels. The tables have all."""


def write_label_report(
    stack: Stack,
    agent: str,
    records: Sequence[Record],
    score: str,
    n_slots: int | None,
    path: Path,
) -> None:
    """One page: every label with its evidence. Labels of several layers are summarised in layers.csv and layers.png.

    Args:
        stack: what labelled.
        agent: who labelled.
        records: of `label_neurons`.
        score: the score of the values.
        n_slots: how many candidates the writer was asked for; None where it was not asked.
        path: of the page.
    """
    album = Album(path.parent)
    shown = [
        {
            **record,
            "exemplars": _exemplars(stack, record, album),
            "beside": beside_pictures(stack, record["neuron"], album),
            **_pictures_of(stack, record["neuron"], n_slots if record["steps"] else None),
            "drawings": [] if record["failure"] else drawings(stack, record["label"], record["block"], album),
            "line": _sparkline([(images, mean) for images, _, mean in record["curve"]]) if record["images"] else [],
        }
        for record in records
    ]
    as_strong = math.log(2)  # log_k of a label whose images excite as the exemplars do
    full = {"log_k": as_strong, "grounded_k": GROUNDED_ALPHA * as_strong + 1 - GROUNDED_ALPHA}.get(score, 1.0)
    layers = _layers(stack, [record for record in records if not record["failure"]], path.parent)
    failed = [record["failure"] for record in records if record["failure"]]
    values = {
        "title": "Neuron labels",
        "layers": layers,
        "kinds": KINDS,
        "records": shown,
        "stack": stack.name,
        "agent": agent,
        "score": score,
        "word_price": WORD_PRICE,
        "origins": origins(records),
        "failed": len(failed),
        "reasons": reasons(failed),
    }
    bill = {name: sum(record[name] for record in records) for name in ("images", "calls", "cost")}
    write_report(path, "label.html", {**values, **bill, "full": full, "judge_images": judge_images(stack)})


def _exemplars(stack: Stack, record: Record, album: Album) -> list[Picture]:
    """The exemplars; none of a neuron that failed because they cannot be read."""
    try:
        return exemplar_pictures(stack, record["neuron"], album)
    except Exception as error:
        if record["failure"] and concerns_item(error):
            return []
        raise


def _layers(stack: Stack, records: Sequence[Record], folder: Path) -> list[LayerRow]:
    """Summarise the layers in two files; nothing is written or returned for a single layer."""
    rows = layers_of(stack, records)
    if len(rows) < 2:
        return []
    from dnr_env.evaluation.plots import plot_layers  # Matplotlib is slow to import

    write_layers(rows, folder / "layers.csv")
    plot_layers(rows, folder / "layers.png")
    return rows


def write_exemplar_report(stack: Stack, neurons: Sequence[str], path: Path) -> None:
    """One page: the exemplars and the quantile bands of the first MOST neurons."""
    album, shown, probe = Album(path.parent), [], stack.probes.whole
    for neuron in neurons[:MOST]:
        bands, real = band_pictures(stack, probe, neuron, album), real_activations(stack, probe, neuron)
        marks = {band: float(np.quantile(real, quantile)) for band, quantile in QUANTILES.items()}
        maps = any(picture.over for picture in bands["top"])
        alive = probe.alive[stack.neurons.index(neuron)]
        plot = histogram(real, marks) if alive else None
        shown.append({"neuron": neuron, "bands": bands, "maps": maps, "plot": plot})
    values = {"title": "Exemplars", "stack": stack.name, "neurons": shown, "count": len(neurons)}
    write_report(path, "exemplars.html", {**values, "images": len(probe), "size": (WIDTH, HEIGHT, BINS)})


def drawings(stack: Stack, label: str, block: int, album: Album) -> list[Picture]:
    """The images of a label that the judge measured first, in a block of seeds; none where it draws nothing.

    They are of each part in turn.
    """
    return [album.show(image) for image in drawn(stack, label, block)]


def drawn(stack: Stack, label: str, block: int) -> list[ImageArray]:
    """The same as arrays."""
    if not judge_images(stack):
        return []
    parts = stack.language.parts(label).drawn
    seeds = Purpose.JUDGE.seeds(0, _SHOWN, block).tolist()
    turns = [(parts[i % len(parts)], seeds[i // len(parts)]) for i in range(_SHOWN)]
    return list(stack.judge_lab.images([text for text, _ in turns], [seed for _, seed in turns]))


def _pictures_of(stack: Stack, neuron: str, count: int | None) -> dict[str, Any]:
    """What a neuron's candidates were made from: `captions`, and `crops` as a data URI or None where there is none."""
    if count is None:
        return {"captions": [], "crops": None}
    index = stack.neurons.index(neuron)
    excerpts = stack.proposer.described(index, count)
    parts = [excerpt for excerpt in excerpts if excerpt.box]
    captions = list(dict.fromkeys(excerpt.caption for excerpt in excerpts))
    return {"captions": captions, "crops": strip(stack.proposer.pictures(index, parts)) if parts else None}


def _sparkline(points: Sequence[tuple[float, float]], width: int = 150, height: int = 36) -> list[tuple[float, float]]:
    """The points of a line, moved and scaled into a box of width x height with y downwards."""
    xs, ys = zip(*points, strict=True)
    right, low, high = max((*xs, 1.0)), min(ys), max((*ys, min(ys) + 1e-6))
    return [
        (round(2 + (width - 4) * x / right, 1), round(height - 2 - (height - 4) * (y - low) / (high - low), 1))
        for x, y in points
    ]


def write_report(path: Path, template: str, values: Mapping[str, Any]) -> None:
    """Render a template of `dnr_env/evaluation/templates` into a file."""
    environment = Environment(loader=PackageLoader("dnr_env.evaluation"), autoescape=True, undefined=StrictUndefined)
    write_atomically(path, environment.get_template(template).render(values).encode())
