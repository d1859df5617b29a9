"""The images of an object: a list of paths, PIL images or arrays, or a data set of torch or Hugging Face."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from dnr_env.errors import DnRError
from dnr_env.evidence.decode import UnusableImage, pixels_key, read_file, to_rgb
from dnr_env.evidence.image_set import IndexedImages, check_enough, limit_of, part_of
from dnr_env.types import ImageArray

_COLUMNS = ("image", "img", "pixels", "jpg", "png")
_ACCEPTED = (
    "a folder, a list of paths, PIL images or arrays, a torch Dataset, or a Hugging Face Dataset with an image column"
)


def images_of(images: Any, limit: int | None = None, option: str = "images", name: str = "") -> GivenImages:
    """Take the images of a list, or of a data set of torch or Hugging Face.

    Args:
        images: any form that `images_given` accepts, except a text.
        limit: the most images to use, a fixed random subset. None uses all of them.
        option: the option that gave them, for messages.
        name: their name in messages; "" is the type's.

    Raises:
        DnRError: the images have another form, or there are too few.
    """
    if hasattr(images, "dataset") and hasattr(images, "batch_size"):  # a DataLoader may shuffle and drop images
        images = images.dataset
    # A mapping has splits or columns, and no images by index.
    indexed = hasattr(images, "__getitem__") and hasattr(images, "__len__")
    if isinstance(images, Mapping | str) or not indexed:
        raise DnRError(f"`{option}` must be {_ACCEPTED} (got {type(images).__name__})")
    return GivenImages(images, limit, option, name)


class GivenImages(IndexedImages):
    """The images of a sequence, in its order. One thread at a time takes an item from it.

    Args:
        items: any form that `images_of` accepts, except a DataLoader.
        limit: the most images to use, a fixed random subset.
        option: the option that gave them.
        name: their name in messages; "" is the type's.
    """

    def __init__(self, items: Any, limit: int | None = None, option: str = "images", name: str = "") -> None:
        super().__init__(name or f"the {type(items).__name__}", option)
        self._items = items
        self._taking = threading.Lock()  # data sets are often not made for several threads
        self._places = part_of(len(items), limit, limit_of(option))
        check_enough(self, len(self._places))

    def __len__(self) -> int:
        """The number of images listed."""
        return len(self._places)

    def describe(self, index: int) -> str:
        """The image's path, or its place in the sequence."""
        return str(self._path(index) or f"#{self._places[index]}")

    def source(self, index: int) -> str:
        """The name of the image's file, or the image's place in the sequence."""
        path = self._path(index)
        return path.name if path else f"#{self._places[index]}"

    def _path(self, index: int) -> Path | None:
        if not isinstance(self._items, list | tuple):
            return None
        item = self._items[self._places[index]]
        return Path(item) if isinstance(item, str | Path) else None

    def _key(self, index: int) -> str:
        return pixels_key(self._read(index))

    def _image(self, index: int) -> ImageArray:
        pixels = self._read(index)
        # What is measured is kept under the key, so another picture must not pass for the one that the key was made of.
        if index in self._keys and pixels_key(pixels) != self._keys[index]:
            raise DnRError(f"`{self.option}` must give the same picture each time; remove random transforms")
        return pixels

    def _read(self, index: int) -> ImageArray:
        place = self._places[index]
        try:
            with self._taking:
                item = self._items[place]
        except Exception:  # each data set raises exceptions of its own types
            raise UnusableImage("broken") from None
        return _pixels(item, place, self.option)


def _pixels(item: Any, place: int, option: str) -> ImageArray:
    """Turn an item of a data set into (height, width, 3) uint8."""
    if isinstance(item, Mapping):
        column = next((name for name in _COLUMNS if name in item), None)
        if column is None:
            raise DnRError(f"`{option}` must have a column named image (got {', '.join(map(str, item))})")
        item = item[column]
    if isinstance(item, tuple | list) and len(item):
        item = item[0]
    if isinstance(item, str | Path):
        return read_file(Path(item).expanduser())
    if isinstance(item, Image.Image):
        return to_rgb(item)
    if hasattr(item, "detach"):  # a tensor, channels first
        item = item.detach().cpu()
        item = (item.float() if item.is_floating_point() else item).numpy()  # numpy has no bfloat16
        item = np.moveaxis(item, 0, -1) if item.ndim == 3 and item.shape[0] in (1, 3, 4) else item
    if isinstance(item, np.ndarray):
        return to_rgb(Image.fromarray(_bytes(item, place, option)))
    raise DnRError(f"`{option}` must be {_ACCEPTED} (got {type(item).__name__} as item {place})")


def _bytes(values: np.ndarray[Any, Any], place: int, option: str) -> ImageArray:
    """Convert an array (height, width) or (height, width, channels) of uint8, or of floats from 0 to 1, to uint8."""
    if values.ndim == 3 and values.shape[2] == 1:
        values = values[..., 0]
    if not values.size or values.ndim not in (2, 3) or (values.ndim == 3 and values.shape[2] not in (3, 4)):
        raise DnRError(
            f"`{option}` must have the shape (height, width, 3) or (height, width) (got {values.shape} as item {place})"
        )
    if values.dtype == np.uint8:
        return values
    if not np.issubdtype(values.dtype, np.floating):
        raise DnRError(f"`{option}` must hold uint8 values, or floats from 0 to 1 (got {values.dtype} as item {place})")
    low, high = float(values.min()), float(values.max())
    if not 0 <= low <= high <= 1:
        raise DnRError(
            f"`{option}` must hold uint8 values, or floats from 0 to 1 (got floats from {low:.3g} to {high:.3g} as "
            f"item {place}); leave the normalisation out of the data set's transform"
        )
    scaled: ImageArray = np.rint(255 * values).astype(np.uint8)
    return scaled
