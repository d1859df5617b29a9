"""The pictures of a page, under names that say what they hold."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from typing import NamedTuple

from dnr_env.evaluation.pictures import encoded, small
from dnr_env.types import ImageArray

_KEPT = 4000


class Picture(NamedTuple):
    """A picture as a page shows it."""

    small: str
    """The name of the picture that is small enough for a page."""
    whole: str
    """The name of the whole picture."""


class Gallery:
    """The last few thousand pictures that one annotator was shown. Threads may share it."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, bytes] = OrderedDict()
        self._lock = threading.Lock()

    def show(self, image: ImageArray) -> Picture:
        """Keep a picture (height, width, 3), small and whole."""
        name = hashlib.sha256(f"{image.shape}".encode() + image.tobytes()).hexdigest()[:24]
        names = Picture(f"{name}-small.webp", f"{name}.webp")
        with self._lock:
            if names.small not in self._kept or names.whole not in self._kept:
                self._kept[names.whole] = encoded(image, "WEBP")
                self._kept[names.small] = encoded(small(image), "WEBP")
            for one in names:
                self._kept.move_to_end(one)
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        return names

    def find(self, name: str) -> bytes | None:
        """The WebP file of a name; None of one that was not shown, or too long ago."""
        with self._lock:
            return self._kept.get(name)
