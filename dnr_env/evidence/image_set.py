"""What a set of probe images is: images by their index, of which unusable ones are counted when they are read."""

from __future__ import annotations

import contextlib
import hashlib
import io
from abc import abstractmethod
from collections import Counter
from collections.abc import Iterator
from typing import Protocol

import numpy as np

from dnr_env.errors import DnRError
from dnr_env.evidence.decode import UnusableImage, content_key, read_file
from dnr_env.evidence.store import Store
from dnr_env.types import ImageArray

MINIMUM = 20
"""The fewest usable images of a probe set. The exemplars of fewer images say nothing about a neuron."""
_LOOKED_UP = 512  # images whose contents are sought in the store at once


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

    def source(self, index: int) -> str:
        """Name the file that an image comes from without its folder, so that a set may move; its place if it has none.

        Every form of a set has the same names: a folder, an archive of it, and a list of its files.
        """

    def image(self, index: int) -> ImageArray:
        """Read an image as (height, width, 3) uint8.

        Raises:
            UnusableImage: the image cannot be read.
        """


def check_enough(images: ImageSet, usable: int) -> None:
    """Raise DnRError if there are fewer than MINIMUM usable images."""
    if usable < MINIMUM:
        raise DnRError(
            f"`{images.option}` must have at least {MINIMUM} usable images "
            f"(got {usable} in {images.name}; skipped: {reasons(images) or 'none'})"
        )


def reasons(images: ImageSet) -> str:
    """How many images have been skipped so far, by reason, for people to read."""
    return ", ".join(f"{count} {reason}" for reason, count in sorted(images.skipped.items()))


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

    def source(self, index: int) -> str:
        """See `ImageSet.source`."""
        return self.describe(index)

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


class RememberedImages(IndexedImages):
    """Base class of the sets whose keys take reading every image. The store keeps what the keys are made of.

    Args:
        name: the set's name in messages.
        option: the option that the set was given by.
        store: keeps the contents by the images' places.
    """

    def __init__(self, name: str, option: str, store: Store | None) -> None:
        super().__init__(name, option)
        self._store = store
        self._looked_up: dict[int, tuple[bytes | None, bytes | None]] = {}

    @abstractmethod
    def __len__(self) -> int:
        """The number of images listed."""

    @abstractmethod
    def _place(self, index: int) -> bytes | None:
        """The store's key for the content of an image, which another content at the same place does not have.

        None if the image is not there, or may change in its place without a sign.
        """

    @abstractmethod
    def _content(self, index: int) -> bytes:
        """Read what the key of an image is made of."""

    @abstractmethod
    def _named(self, content: bytes) -> str:
        """The key of an image with this content."""

    def _key(self, index: int) -> str:
        if self._store is None:
            return self._named(self._content(index))
        if index not in self._looked_up:
            places = {i: self._place(i) for i in range(index, min(index + _LOOKED_UP, len(self)))}
            kept = self._store.get_many(place for place in places.values() if place)
            self._looked_up = {i: (place, kept.get(place) if place else None) for i, place in places.items()}
        place, content = self._looked_up.pop(index)
        if content is None:
            content = self._content(index)
            if place:
                self._store.put_many({place: content})
        return self._named(content)


class EncodedImages(RememberedImages):
    """Base class of the sets whose images are the bytes of image files. Their keys are those of the files."""

    @abstractmethod
    def _bytes(self, index: int) -> bytes:
        """Read the bytes of an image file.

        Raises:
            UnusableImage: they cannot be read.
        """

    def _content(self, index: int) -> bytes:
        return hashlib.sha256(self._bytes(index)).digest()

    def _named(self, content: bytes) -> str:
        return content_key(content)

    def _image(self, index: int) -> ImageArray:
        return read_file(io.BytesIO(self._bytes(index)))


def limit_of(option: str) -> str:
    """The option beside another one that limits the number of its images."""
    return f"{option.rpartition('.')[0] or 'probe'}.limit"


def part_of(count: int, limit: int | None, option: str = "probe.limit") -> list[int]:
    """Choose a fixed random subset of `count` images: their places, in ascending order."""
    if limit is not None and limit < MINIMUM:
        raise DnRError(f"`{option}` must be at least {MINIMUM} (got {limit})")
    if limit is None or limit >= count:
        return list(range(count))
    chosen: list[int] = np.sort(np.random.default_rng(0).permutation(count)[:limit]).tolist()
    return chosen
