"""How the embedded worlds show pictures to their networks."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np
from PIL import Image, ImageOps

from dnr_env.shapes.paint import SIDE
from dnr_env.types import ImageArray


def square(image: ImageArray) -> ImageArray:
    """The central square of an image, at the size of the world's pictures."""
    if image.shape == (SIDE, SIDE, 3):
        return image
    picture = ImageOps.fit(Image.fromarray(image), (SIDE, SIDE), Image.Resampling.BICUBIC)
    return np.asarray(picture)


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Run torch on one thread. A small batch gains little from a second, and loses much if the machine is busy."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
