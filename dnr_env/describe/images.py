"""Where probe images come from: a folder of files, or a data set of torchvision, whatever is in them.

Opening a set lists it and opens no image; one that cannot be used is found when it is asked for, and counted.
"""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import os
import re
from abc import abstractmethod
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image

from dnr_env.describe.decode import READING, Unusable, read_file, to_rgb
from dnr_env.errors import DnRError, unknown
from dnr_env.models.hub import file_digest, needed
from dnr_env.store import Store, address
from dnr_env.types import ImageArray

MINIMUM = 20
"""Usable images of a probe set; exemplars of fewer say nothing."""
_EXTENSIONS = frozenset(
    f".{name}"
    for name in "avif bmp dib gif j2k jfif jp2 jpe jpeg jpg pbm pgm png pnm ppm tif tiff webp".split()  # noqa: SIM905
)
_DATA_SET = re.compile(r"torchvision:(\w+):(.+?)(?::(\w+))?")


class ImageSet(Protocol):
    """Images by their index. Safe to read from several threads at once."""

    name: str
    """For messages."""

    @property
    def skipped(self) -> Counter[str]:
        """How many have been passed over so far, by the reason."""

    def __len__(self) -> int:
        """The images listed, usable or not."""

    def key(self, index: int) -> str:
        """Names the content of an image, which no image before has had.

        Raises:
            Unusable: the image cannot be read, or repeats one asked for before.
        """

    def image(self, index: int) -> ImageArray:
        """The image as (height, width, 3) uint8.

        Raises:
            Unusable: the image cannot be read.
        """


def open_images(spec: str, limit: int | None = None, store: Store | None = None) -> ImageSet:
    """The images that a text names.

    Args:
        spec: a folder, or "torchvision:CIFAR10:FOLDER" or "torchvision:CIFAR10:FOLDER:SPLIT" for a data set that is on
            the disk already. The split is by default the data set's own, or "test" where that is "train".
        limit: how many to use at most, a fixed random part; all by default.
        store: remembers the digests of files.

    Raises:
        DnRError: there is no such folder or data set, or it has too few images.
    """
    if not spec.startswith("torchvision:"):
        return ImageFolder(Path(spec), limit, store)
    parts = _DATA_SET.fullmatch(spec)
    if parts is None:
        raise DnRError(
            f"probe.images: {spec!r} is not of the form torchvision:NAME:FOLDER or torchvision:NAME:FOLDER:SPLIT"
        )
    name, root, split = parts.groups()
    if name == "ImageFolder":  # the same files, read with more care
        return ImageFolder(Path(root) / split if split else Path(root), limit, store)
    return TorchvisionImages(name, Path(root), split, limit)


def check_enough(images: ImageSet, usable: int) -> None:
    """Raise DnRError unless there are MINIMUM usable images."""
    if usable >= MINIMUM:
        return
    reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(images.skipped.items()))
    raise DnRError(
        f"probe.images: {images.name} has {usable} usable images ({reasons or 'none'} skipped); "
        f"{MINIMUM} or more will do"
    )


class _Listed:
    """What sets have in common: what is passed over, once an index, and the part of all that is used."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._listing: Counter[str] = Counter()
        self._unusable: dict[int, str] = {}
        self._keys: dict[int, str] = {}
        self._first: dict[str, int] = {}

    @property
    def skipped(self) -> Counter[str]:
        """How many have been passed over so far, by the reason."""
        return self._listing + Counter(list(self._unusable.values()))

    def key(self, index: int) -> str:
        """Names the content of an image, which no image before has had; Unusable says why there is none."""
        if index not in self._keys:  # else the whole image may have to be read again
            with self._passing_over(index):
                key = self._key(index)
                if self._first.setdefault(key, index) != index:
                    raise Unusable("duplicate")
                self._keys[index] = key
        return self._keys[index]

    def image(self, index: int) -> ImageArray:
        """(height, width, 3) uint8; Unusable says why there is none."""
        with self._passing_over(index):
            return self._image(index)

    @abstractmethod
    def _key(self, index: int) -> str: ...

    @abstractmethod
    def _image(self, index: int) -> ImageArray: ...

    @contextlib.contextmanager
    def _passing_over(self, index: int) -> Iterator[None]:
        if index in self._unusable:
            raise Unusable(self._unusable[index])
        try:
            yield
        except Unusable as error:
            self._unusable[index] = str(error)
            raise


def _part(count: int, limit: int | None) -> list[int]:
    """The places of a fixed random part of `count`, ascending."""
    if limit is not None and limit < MINIMUM:
        raise DnRError(f"probe.limit: {limit} images are too few; {MINIMUM} or more will do")
    if limit is None or limit >= count:
        return list(range(count))
    chosen: list[int] = np.sort(np.random.default_rng(0).permutation(count)[:limit]).tolist()
    return chosen


class ImageFolder(_Listed):
    """The image files of a folder and the folders in it, at any depth, in the order of their paths.

    Files are known by their extension; hidden ones are not looked at. Links are followed, each folder is entered once.

    Args:
        root: the folder.
        limit: how many files to use at most, a fixed random part; what is skipped of it is not made up for.
        store: remembers the digests of files, by path, size and time of change.

    Raises:
        DnRError: it is not a folder, or has too few images.
    """

    def __init__(self, root: Path, limit: int | None = None, store: Store | None = None) -> None:
        root = root.expanduser()
        super().__init__(str(root))
        self._store = store
        if not root.is_dir():
            raise DnRError(f"probe.images: {root} is not a folder; a folder of images will do")
        files = self._list(root)
        self.paths = [files[place] for place in _part(len(files), limit)]
        check_enough(self, len(self.paths))

    def __len__(self) -> int:
        """The files listed."""
        return len(self.paths)

    def _list(self, root: Path) -> list[Path]:
        found: list[Path] = []
        entered: set[tuple[int, int]] = set()

        def refused(_: OSError) -> None:
            self._listing["unreadable folder"] += 1

        for name, folders, files in os.walk(root, onerror=refused, followlinks=True):
            folder = Path(name)
            status = folder.stat()
            above = folder.is_symlink() and root.resolve().is_relative_to(folder.resolve())
            if above or (status.st_dev, status.st_ino) in entered:  # a link upwards would have no end
                self._listing["link upwards or to a folder already entered"] += 1
                folders.clear()
                continue
            entered.add((status.st_dev, status.st_ino))
            folders[:] = sorted(inner for inner in folders if not inner.startswith("."))
            for file in files:
                if file.startswith(".") or Path(file).suffix.lower() not in _EXTENSIONS:
                    continue
                try:
                    empty = (folder / file).stat().st_size == 0
                except OSError:  # a link to nothing, or to itself
                    self._listing["broken link"] += 1
                    continue
                if empty:
                    self._listing["empty"] += 1
                else:
                    found.append(folder / file)
        return sorted(found, key=lambda path: path.relative_to(root).parts)

    def _key(self, index: int) -> str:
        path = self.paths[index]
        try:
            status = path.stat()
            place = address(kind="file", path=str(path.absolute()), size=status.st_size, changed=status.st_mtime_ns)
            kept = self._store.get_many([place]) if self._store else {}
            digest = kept.get(place) or file_digest(path)
        except OSError:
            raise Unusable("unreadable") from None
        if self._store and not kept:
            self._store.put_many({place: digest})
        return f"file-{READING}:{digest.hex()}"

    def _image(self, index: int) -> ImageArray:
        return read_file(self.paths[index])


class TorchvisionImages(_Listed):
    """The images of a data set of torchvision that is on the disk; nothing is downloaded.

    Args:
        name: the class in torchvision.datasets.
        root: the folder it was downloaded to.
        split: by the data set's own names; "train" or "test" where it has only these. By default the data set's own
            default, or "test" where that is "train".
        limit: how many images to use at most, a fixed random part.

    Raises:
        DnRError: there is no such data set or split, it is not in the folder, or it has too few images.
    """

    def __init__(self, name: str, root: Path, split: str | None = None, limit: int | None = None) -> None:
        super().__init__(f"torchvision:{name}:{root}{f':{split}' if split else ''}")
        self._data = _data_set(name, root.expanduser(), split)
        self._places = _part(len(self._data), limit)
        check_enough(self, len(self._places))

    def __len__(self) -> int:
        """The images listed."""
        return len(self._places)

    def _key(self, index: int) -> str:
        pixels = self._image(index)
        return f"pixels:{pixels.shape[0]}x{pixels.shape[1]}:{hashlib.sha256(pixels.tobytes()).hexdigest()}"

    def _image(self, index: int) -> ImageArray:
        try:
            image = self._data[self._places[index]][0]
        except Exception:  # each data set raises its own kinds
            raise Unusable("broken") from None
        if not isinstance(image, Image.Image):
            raise DnRError(f"probe.images: the items of {self.name} are not images; another data set will do")
        return to_rgb(image)


def _data_set(name: str, root: Path, split: str | None) -> Any:
    with needed():
        from torchvision import datasets
    known = [n for n in datasets.__all__ if inspect.isclass(getattr(datasets, n))]
    if name not in known:
        raise unknown("probe.images", name, [*known, "ImageFolder"])
    make = getattr(datasets, name)
    options = inspect.signature(make).parameters
    arguments: dict[str, Any] = {}
    if "download" in options:
        arguments["download"] = False
    if "split" in options:
        usual = options["split"].default
        arguments["split"] = split or ("test" if usual == "train" else usual)
    elif "train" in options:
        if split not in (None, "train", "test"):
            raise unknown("probe.images", split, ("train", "test"))
        arguments["train"] = split == "train"
    elif split:
        raise DnRError(f"probe.images: torchvision's {name} has no splits; leave :{split} out")
    try:
        return make(root, **arguments)
    except Exception as error:  # each data set raises its own kinds
        hint = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise DnRError(
            f"probe.images: torchvision's {name} cannot be opened in {root} ({hint}); download it there first, "
            "or name a folder of images"
        ) from None
