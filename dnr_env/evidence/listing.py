"""Lists the image files below a folder, and counts what is passed over by its reason. No file is opened."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import NamedTuple

from dnr_env.evidence.decode import HEIC

EXTENSIONS = frozenset(
    f".{name}"
    for name in "avif bmp dib gif j2k jfif jp2 jpe jpeg jpg pbm pgm png pnm ppm tif tiff webp".split()  # noqa: SIM905
)
"""The suffixes of the files that are taken for images."""
_HEIC = (".heic", ".heif", ".hif")
_NAMED = 3  # suffixes of other files that a message names


class Listed(NamedTuple):
    """A file below a folder."""

    name: str
    """Its path relative to the folder."""
    size: int
    """Bytes; -1 if the file is a link to nothing or to itself."""
    changed: int
    """When it was modified last, in ns."""


class Listing:
    """Sorts files into images and what is passed over.

    Hidden files, those whose name begins with a full stop, are neither.
    """

    def __init__(self) -> None:
        self.names: list[str] = []
        """The image files, in the order in which they were offered."""
        self.passed_over: Counter[str] = Counter()
        """How many files were passed over, by reason."""
        self._others: Counter[str] = Counter()

    def offer(self, name: str, size: int) -> None:
        """Take a file for an image, or count it, by its name and its size in bytes."""
        path = PurePath(name)
        suffix = path.suffix.lower()
        if path.name.startswith("."):
            return
        if suffix in _HEIC:
            self.passed_over[HEIC] += 1
        elif suffix not in EXTENSIONS:
            self._others[suffix] += 1
        elif size < 0:
            self.passed_over["broken link"] += 1
        elif size == 0:
            self.passed_over["empty"] += 1
        else:
            self.names.append(name)

    def done(self) -> None:
        """Count the files that are not images under one reason, which names their most frequent suffixes."""
        if bare := self._others.pop("", 0):
            self.passed_over["without suffix"] += bare
        if self._others:
            named = ", ".join(suffix for suffix, _ in self._others.most_common(_NAMED))
            more = ", …" if len(self._others) > _NAMED else ""
            self.passed_over[f"not an image ({named}{more})"] += self._others.total()


def list_folder(root: Path) -> Listing:
    """List a folder and its subfolders, without hidden ones, sorted by path."""
    listing = Listing()
    for file in sorted(walk(root, listing.passed_over), key=lambda file: file.name.split(os.sep)):
        listing.offer(file.name, file.size)
    listing.done()
    return listing


def walk(root: Path, passed_over: Counter[str]) -> Iterator[Listed]:
    """Yield the files below a folder. Links are followed, and each folder is entered once.

    Args:
        root: the folder, or a link to it.
        passed_over: counts the folders that are not entered.
    """
    entered: set[tuple[int, int]] = set()

    def refused(_: OSError) -> None:
        passed_over["unreadable folder"] += 1

    for name, folders, files in os.walk(root, onerror=refused, followlinks=True):
        folder = Path(name)
        status = folder.stat()
        upwards = folder != root and folder.is_symlink() and root.resolve().is_relative_to(folder.resolve())
        if upwards or (status.st_dev, status.st_ino) in entered:  # following a link upwards would never end
            passed_over["link upwards or to a folder already entered"] += 1
            folders.clear()
            continue
        entered.add((status.st_dev, status.st_ino))
        folders[:] = sorted(inner for inner in folders if not inner.startswith("."))
        above = os.path.relpath(name, root)
        for file in files:
            size, changed = _status(os.path.join(name, file))
            yield Listed(file if above == os.curdir else os.path.join(above, file), size, changed)


def _status(path: str) -> tuple[int, int]:
    try:
        status = os.stat(path)
    except OSError:
        return -1, 0
    return status.st_size, status.st_mtime_ns
