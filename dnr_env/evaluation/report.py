"""Static HTML reports: no script, nothing loaded from elsewhere, every text escaped."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from dnr_env.evaluation.exemplars import exemplar_pictures
from dnr_env.evaluation.judge import judge_images
from dnr_env.evaluation.labelling import Record
from dnr_env.evaluation.layers import KINDS, LayerRow, layers_of, write_layers
from dnr_env.evaluation.pictures import Album, Picture, strip
from dnr_env.files import write_atomically
from dnr_env.scores import GROUNDED_ALPHA
from dnr_env.seeds import Purpose
from dnr_env.stack import Stack
from dnr_env.types import ImageArray

_SHOWN = 10

_UNSEARCHED: Record = {"images": 0, "steps": 0, "calls": 0, "cost": 0.0, "labels": [], "curve": [(0, 0.0, 0.0)]}
"""What the record of a label that was given lacks: nobody searched for it."""


def write_label_report(
    stack: Stack,
    agent: str | None,
    records: Sequence[Record],
    score: str,
    n_slots: int | None,
    path: Path,
) -> None:
    """One page: every label with its evidence. Labels of several layers are summarised in layers.csv and layers.png.

    Args:
        stack: what labelled.
        agent: who labelled; None for labels that were given.
        records: of `label_neurons`, or of `judge_labels`.
        score: the score of the values.
        n_slots: how many candidates the writer was asked for; None where it was not asked.
        path: of the page.
    """
    album, alive = Album(path.parent), stack.probe.alive
    records = [{**_UNSEARCHED, "alive": alive[stack.neurons.index(row["neuron"])], **row} for row in records]
    shown = [
        {
            **record,
            "exemplars": exemplar_pictures(stack, record["neuron"], album),
            **_origin(stack, record["neuron"], n_slots if record["images"] else None),
            "drawings": drawings(stack, record["label"], record["block"], album),
            "line": _sparkline([(images, score) for images, _, score in record["curve"]]),
        }
        for record in records
    ]
    as_strong = math.log(2)  # log_k of a label whose images excite as the exemplars do
    full = {"log_k": as_strong, "grounded_k": GROUNDED_ALPHA * as_strong + 1 - GROUNDED_ALPHA}.get(score, 1.0)
    layers = _layers(stack, records, path.parent) if agent else []
    values = {
        "title": "Neuron labels",
        "layers": layers,
        "kinds": KINDS,
        "records": shown,
        "stack": stack.name,
        "agent": agent,
        "score": score,
    }
    bill = {name: sum(record[name] for record in records) for name in ("images", "calls", "cost")}
    write_report(path, "label.html", {**values, **bill, "full": full, "judge_images": judge_images(stack)})


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
    """One page: the exemplars of every neuron."""
    album = Album(path.parent)
    shown = [{"neuron": neuron, "exemplars": exemplar_pictures(stack, neuron, album)} for neuron in neurons]
    write_report(path, "exemplars.html", {"title": "Exemplars", "stack": stack.name, "neurons": shown})


def drawings(stack: Stack, label: str, block: int, album: Album) -> list[Picture]:
    """The images of a label that the judge measured first, in a block of seeds; none where it draws nothing."""
    return [album.show(image) for image in drawn(stack, label, block)]


def drawn(stack: Stack, label: str, block: int) -> list[ImageArray]:
    """The same as arrays."""
    if not judge_images(stack):
        return []
    return list(stack.judge_lab.images([label] * _SHOWN, Purpose.JUDGE.seeds(0, _SHOWN, block).tolist()))


def _origin(stack: Stack, neuron: str, count: int | None) -> dict[str, Any]:
    """What a neuron's candidates were made from: `captions`, and `crops` as a data URI or None where there is none."""
    if count is None:
        return {"captions": [], "crops": None}
    index = stack.neurons.index(neuron)
    excerpts = stack.proposer.propose([index], count)[0].excerpts
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
