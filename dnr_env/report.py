"""Static HTML reports: one file, no script, nothing loaded from elsewhere, every text escaped."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image

from dnr_env.files import write_atomically
from dnr_env.seeds import SeedBlock
from dnr_env.stacks import Stack
from dnr_env.types import ImageArray

_SHOWN = 10
_HEIGHT = 96


def strip(images: ImageArray) -> str:
    """Images (n, height, width, 3) side by side, at most _HEIGHT high, as a data URI."""
    if images.shape[1] > _HEIGHT:
        small = (images.shape[2] * _HEIGHT // images.shape[1], _HEIGHT)
        images = np.stack([np.asarray(Image.fromarray(image).resize(small)) for image in images])
    gap = np.full((images.shape[1], 3, 3), 255, np.uint8)
    joined = np.concatenate([part for image in images for part in (image, gap)], axis=1)
    out = io.BytesIO()
    Image.fromarray(joined).save(out, "WEBP", quality=85)
    return "data:image/webp;base64," + base64.b64encode(out.getvalue()).decode()


def png(path: Path) -> str:
    """A PNG file as a data URI."""
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()


def exemplars(stack: Stack, neuron: str) -> str:
    """The real images that excite a neuron most, as a data URI."""
    index = stack.lab.reader.neurons.index(neuron)
    return strip(stack.probe.images(stack.probe.exemplars[index][:_SHOWN]))


def drawings(stack: Stack, label: str) -> str:
    """The images of a label that the judge measured first, as a data URI."""
    return strip(stack.lab.images([label] * _SHOWN, SeedBlock.JUDGE.seeds(0, _SHOWN).tolist()))


def sparkline(points: Sequence[tuple[float, float]], width: int = 150, height: int = 36) -> list[tuple[float, float]]:
    """The points of a line, moved and scaled into a box of width x height with y downwards."""
    xs, ys = zip(*points, strict=True)
    right, low, high = max((*xs, 1.0)), min(ys), max((*ys, min(ys) + 1e-6))
    return [
        (round(2 + (width - 4) * x / right, 1), round(height - 2 - (height - 4) * (y - low) / (high - low), 1))
        for x, y in points
    ]


def write_report(path: Path, template: str, values: Mapping[str, Any]) -> None:
    """Render a template of `dnr_env/templates` into a file."""
    environment = Environment(loader=PackageLoader("dnr_env"), autoescape=True, undefined=StrictUndefined)
    write_atomically(path, environment.get_template(template).render(values).encode())
