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

from dnr_env.describe.propose import pictures
from dnr_env.files import write_atomically
from dnr_env.seeds import SeedBlock
from dnr_env.stacks import Stack
from dnr_env.types import ImageArray, Images

_SHOWN = 10
_HEIGHT = 96


def strip(images: Images) -> str:
    """Images (height, width, 3) side by side, as high as the highest but at most _HEIGHT, as a data URI."""
    height = min(_HEIGHT, max(len(image) for image in images))
    gap = np.full((height, 3, 3), 255, np.uint8)
    joined = np.concatenate([part for image in images for part in (_scaled(image, height), gap)], axis=1)
    out = io.BytesIO()
    Image.fromarray(joined).save(out, "WEBP", quality=85)
    return "data:image/webp;base64," + base64.b64encode(out.getvalue()).decode()


def _scaled(image: ImageArray, height: int) -> ImageArray:
    if len(image) == height:
        return image
    return np.asarray(Image.fromarray(image).resize((max(1, image.shape[1] * height // len(image)), height)))


def png(path: Path) -> str:
    """A PNG file as a data URI."""
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()


def exemplars(stack: Stack, neuron: str) -> str:
    """The real images that excite a neuron most, as a data URI."""
    index = stack.lab.reader.neurons.index(neuron)
    return strip(stack.probe.images(stack.probe.exemplars[index][:_SHOWN]))


def origin(stack: Stack, neuron: str, count: int) -> dict[str, Any]:
    """What a neuron's candidates were made from: `captions`, and `crops` as a data URI or None where there is none."""
    index = stack.lab.reader.neurons.index(neuron)
    excerpts = stack.propose([index], count)[0].excerpts
    parts = [excerpt for excerpt in excerpts if excerpt.box]
    captions = list(dict.fromkeys(excerpt.caption for excerpt in excerpts))
    return {"captions": captions, "crops": strip(pictures(stack, index, parts)) if parts else None}


def drawings(stack: Stack, label: str, block: int) -> str:
    """The images of a label that the judge measured first, in a block of seeds, as a data URI."""
    return strip(stack.judge_lab.images([label] * _SHOWN, SeedBlock.JUDGE.seeds(0, _SHOWN, block).tolist()))


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
