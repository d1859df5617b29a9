"""Probe images of the Python API: in memory, or named by a text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dnr_env.evidence.image_set import ImageSet
from dnr_env.evidence.images import open_images
from dnr_env.evidence.sequence import images_of
from dnr_env.evidence.store import Store


def images_given(images: Any, limit: int | None = None, store: Store | None = None) -> ImageSet:
    """Open probe images in any of the forms that people have them in.

    Args:
        images: the path of a folder, or another text that `open_images` accepts; a list of paths, PIL images or arrays
            (height, width) or (height, width, 3); a torch `Dataset` or `DataLoader` whose items are images or tuples
            that begin with one; or a Hugging Face `Dataset` with an image column.
        limit: the most images to use, a fixed random subset. None uses all of them.
        store: keeps the digests of files.

    Raises:
        DnRError: the images have another form, or there are too few.
    """
    if isinstance(images, str | Path):
        return open_images(str(images), limit, store)
    return images_of(images, limit)
