"""What a set of probe images is: images by their index, of which unusable ones are counted when they are read."""

from __future__ import annotations

import contextlib
from abc import abstractmethod
from collections import Counter
from collections.abc import Iterator
from typing import Protocol

import numpy as np

from dnr_env.errors import DnRError
from dnr_env.evidence.decode import UnusableImage
from dnr_env.types import ImageArray

MINIMUM = 20
"""The fewest usable images of a probe set. The exemplars of fewer images say nothing about a neuron."""


class ImageSet(Protocol):
    """Images by index. Several threads may read at once."""

    name: str
    """The set's name in messages."""
    option: str
    """The option that the set was given by, for messages."""

    @property
    def skipped(self) -> Counter[str]:
        """How many images have been skipped so far, by reason."""

    def __len__(self) -> int:
        """The number of images listed, usable or not."""

    def key(self, index: int) -> str:
        """Identify the content of an image. No two images of a set have the same key.

        Raises:
            UnusableImage: the image cannot be read, or repeats one whose key was asked for before.
        """

    def describe(self, index: int) -> str:
        """Name an image for people, for instance by its file."""

    def image(self, index: int) -> ImageArray:
        """Read an image as (height, width, 3) uint8.

        Raises:
            UnusableImage: the image cannot be read.
        """


def check_enough(images: ImageSet, usable: int) -> None:
    """Raise DnRError if there are fewer than MINIMUM usable images."""
    if usable >= MINIMUM:
        return
    reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(images.skipped.items()))
    raise DnRError(
        f"`{images.option}` must have at least {MINIMUM} usable images "
        f"(got {usable} in {images.name}; skipped: {reasons or 'none'})"
    )


class IndexedImages:
    """Base class of the image sets. It counts each image that is skipped once, and finds duplicates."""

    def __init__(self, name: str, option: str = "probe.images") -> None:
        self.name = name
        self.option = option
        self._listing: Counter[str] = Counter()
        self._unusable: dict[int, str] = {}
        self._keys: dict[int, str] = {}
        self._first: dict[str, int] = {}

    @property
    def skipped(self) -> Counter[str]:
        """How many images have been skipped so far, by reason."""
        return self._listing + Counter(list(self._unusable.values()))

    def key(self, index: int) -> str:
        """See `ImageSet.key`."""
        if index not in self._keys:  # finding a key may take reading the whole image
            with self._passing_over(index):
                key = self._key(index)
                if self._first.setdefault(key, index) != index:
                    raise UnusableImage("duplicate")
                self._keys[index] = key
        return self._keys[index]

    def image(self, index: int) -> ImageArray:
        """See `ImageSet.image`."""
        with self._passing_over(index):
            return self._image(index)

    @abstractmethod
    def describe(self, index: int) -> str:
        """See `ImageSet.describe`."""

    @abstractmethod
    def _key(self, index: int) -> str: ...

    @abstractmethod
    def _image(self, index: int) -> ImageArray: ...

    @contextlib.contextmanager
    def _passing_over(self, index: int) -> Iterator[None]:
        if index in self._unusable:
            raise UnusableImage(self._unusable[index])
        try:
            yield
        except UnusableImage as error:
            self._unusable[index] = str(error)
            raise


def part_of(count: int, limit: int | None) -> list[int]:
    """Choose a fixed random subset of `count` images: their places, in ascending order."""
    if limit is not None and limit < MINIMUM:
        raise DnRError(f"`probe.limit` must be at least {MINIMUM} (got {limit})")
    if limit is None or limit >= count:
        return list(range(count))
    chosen: list[int] = np.sort(np.random.default_rng(0).permutation(count)[:limit]).tolist()
    return chosen
