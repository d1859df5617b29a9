"""Sets of probe images: the files of a folder, or a data set of torchvision.

Opening a set lists its images without reading them. An unusable image is found when it is read; it is then counted.
"""

from __future__ import annotations

import hashlib
import inspect
import os
import re
from pathlib import Path
from typing import Any

from PIL import Image

from dnr_env.errors import DnRError, unknown
from dnr_env.evidence.decode import READING, UnusableImage, read_file, to_rgb
from dnr_env.evidence.image_set import ImageSet, IndexedImages, check_enough, part_of
from dnr_env.evidence.store import Store, address
from dnr_env.extras import needed
from dnr_env.files import file_digest
from dnr_env.types import ImageArray

_EXTENSIONS = frozenset(
    f".{name}"
    for name in "avif bmp dib gif j2k jfif jp2 jpe jpeg jpg pbm pgm png pnm ppm tif tiff webp".split()  # noqa: SIM905
)
_DATA_SET = re.compile(r"torchvision:(\w+):(.+?)(?::(\w+))?")


def open_images(spec: str, limit: int | None = None, store: Store | None = None) -> ImageSet:
    """Open the images that a text names.

    Args:
        spec: a folder, or "torchvision:CIFAR10:FOLDER" or "torchvision:CIFAR10:FOLDER:SPLIT" for a data set that is
            already on the disk. The default split is the data set's own default, or "test" where that is "train".
        limit: the most images to use, a fixed random subset. None uses all of them.
        store: keeps the digests of files.

    Raises:
        DnRError: there is no such folder or data set, or it has too few images.
    """
    if not spec.startswith("torchvision:"):
        return ImageFolder(Path(spec), limit, store)
    parts = _DATA_SET.fullmatch(spec)
    if parts is None:
        raise DnRError(
            f"`probe.images` must have the form torchvision:NAME:FOLDER or torchvision:NAME:FOLDER:SPLIT (got {spec!r})"
        )
    name, root, split = parts.groups()
    if name == "ImageFolder":  # torchvision's own class stops at the first broken file
        return ImageFolder(Path(root) / split if split else Path(root), limit, store)
    return TorchvisionImages(name, Path(root), split, limit)


class ImageFolder(IndexedImages):
    """The image files in a folder and its subfolders, sorted by path.

    Image files are recognised by their extension. Hidden files are ignored. Links are followed, and each folder is
    entered once.

    Args:
        root: the folder, or a link to it.
        limit: the most files to use, a fixed random subset. UnusableImage files among them are not replaced by others.
        store: keeps the digests of files, by path, size and modification time.

    Raises:
        DnRError: it is not a folder, or has too few images.
    """

    def __init__(self, root: Path, limit: int | None = None, store: Store | None = None) -> None:
        root = root.expanduser()
        super().__init__(str(root))
        self._store = store
        if not root.is_dir():
            raise DnRError(f"`probe.images` must be a folder of images (got {root})")
        files = self._list(root)
        self.paths = [files[place] for place in part_of(len(files), limit)]
        check_enough(self, len(self.paths))

    def __len__(self) -> int:
        """The number of files listed."""
        return len(self.paths)

    def describe(self, index: int) -> str:
        """The file's path."""
        return str(self.paths[index])

    def _list(self, root: Path) -> list[Path]:
        found: list[Path] = []
        entered: set[tuple[int, int]] = set()

        def refused(_: OSError) -> None:
            self._listing["unreadable folder"] += 1

        for name, folders, files in os.walk(root, onerror=refused, followlinks=True):
            folder = Path(name)
            status = folder.stat()
            upwards = folder != root and folder.is_symlink() and root.resolve().is_relative_to(folder.resolve())
            if upwards or (status.st_dev, status.st_ino) in entered:  # following a link upwards would never end
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
                except OSError:  # the file is a link to nothing or to itself
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
            raise UnusableImage("unreadable") from None
        if self._store and not kept:
            self._store.put_many({place: digest})
        return f"file-{READING}:{digest.hex()}"

    def _image(self, index: int) -> ImageArray:
        return read_file(self.paths[index])


class TorchvisionImages(IndexedImages):
    """The images of a torchvision data set that is already on the disk. Nothing is downloaded.

    Args:
        name: the class in torchvision.datasets.
        root: the folder that the data set was downloaded to.
        split: one of the data set's own splits. The default is the data set's own, or "test" where that is "train".
        limit: the most images to use, a fixed random subset.

    Raises:
        DnRError: there is no such data set or split, it is not in the folder, or it has too few images.
    """

    def __init__(self, name: str, root: Path, split: str | None = None, limit: int | None = None) -> None:
        super().__init__(f"torchvision:{name}:{root}{f':{split}' if split else ''}")
        self._data = _data_set(name, root.expanduser(), split)
        self._places = part_of(len(self._data), limit)
        check_enough(self, len(self._places))

    def __len__(self) -> int:
        """The number of images listed."""
        return len(self._places)

    def describe(self, index: int) -> str:
        """The image's place in the data set."""
        return f"#{self._places[index]}"

    def _key(self, index: int) -> str:
        pixels = self._image(index)
        return f"pixels:{pixels.shape[0]}x{pixels.shape[1]}:{hashlib.sha256(pixels.tobytes()).hexdigest()}"

    def _image(self, index: int) -> ImageArray:
        try:
            image = self._data[self._places[index]][0]
        except Exception:  # each data set raises exceptions of its own types
            raise UnusableImage("broken") from None
        if not isinstance(image, Image.Image):
            raise DnRError(
                f"`probe.images` must name a data set of images (got {self.name}, with {type(image).__name__} items)"
            )
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
        raise DnRError(f"`probe.images` must name no split for torchvision's {name}, which has none (got {split!r})")
    try:
        return make(root, **arguments)
    except Exception as error:  # each data set raises exceptions of its own types
        hint = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise DnRError(
            f"`probe.images` must name a folder that torchvision's {name} was downloaded to (got {root}: {hint})"
        ) from None
