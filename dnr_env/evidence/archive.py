"""The image files of a zip archive, read in place: nothing is unpacked to the disk."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path, PurePosixPath

from dnr_env.errors import DnRError
from dnr_env.evidence.decode import UnusableImage
from dnr_env.evidence.image_set import EncodedImages, check_enough, limit_of, part_of
from dnr_env.evidence.listing import Listing
from dnr_env.evidence.store import Store, address

_LARGEST = 1 << 28
"""The most bytes of an unpacked file. Larger ones are bombs or no pictures."""
_LOCKED = 1  # the flag of a file with a password


def is_archive(path: Path) -> bool:
    """Whether a path is a zip archive, or a file that is called one."""
    return path.is_file() and (path.suffix.lower() == ".zip" or zipfile.is_zipfile(path))


class ZipImages(EncodedImages):
    """The image files of a zip archive, sorted by their paths in it.

    Args:
        path: the archive.
        limit: the most files to use, a fixed random subset.
        store: keeps the digests of files, by their places in the archive and its path, size and modification time.
        option: the option that names the archive.

    Raises:
        DnRError: it is not a zip archive, has a password, or has too few images.
    """

    def __init__(
        self, path: Path, limit: int | None = None, store: Store | None = None, option: str = "probe.images"
    ) -> None:
        super().__init__(str(path), option, store)
        self._path = path.absolute()
        try:
            self._archive = zipfile.ZipFile(path)
            status = path.stat()
        except (OSError, zipfile.BadZipFile, NotImplementedError, ValueError) as error:
            raise DnRError(f"`{option}` must be a whole zip archive that can be read (got {path}: {error})") from None
        self._state = status.st_size, status.st_mtime_ns
        files = {file.filename: file for file in self._archive.infolist() if not file.is_dir()}
        if any(file.flag_bits & _LOCKED for file in files.values()):
            raise DnRError(f"`{option}` must be a zip archive without a password (got {path}, which has one)")
        listing = Listing()
        for name in sorted(files, key=lambda name: name.split("/")):
            if not any(_is_hidden(part) for part in name.split("/")):
                listing.offer(name, files[name].file_size)
        listing.done()
        self._listing = listing.passed_over
        names = [name for name in listing.names if files[name].file_size <= _LARGEST]
        self._listing["too large"] += len(listing.names) - len(names)
        self._files = [files[names[place]] for place in part_of(len(names), limit, limit_of(option))]
        check_enough(self, len(self._files))

    def __len__(self) -> int:
        """The number of image files listed."""
        return len(self._files)

    def describe(self, index: int) -> str:
        """The archive's path, and the file's path in it."""
        return f"{self.name}/{self._files[index].filename}"

    def source(self, index: int) -> str:
        """The file's name."""
        return PurePosixPath(self._files[index].filename).name

    def _place(self, index: int) -> bytes:
        size, changed = self._state
        offset = self._files[index].header_offset
        return address(kind="zip", path=str(self._path), size=size, changed=changed, offset=offset)

    def _bytes(self, index: int) -> bytes:
        try:
            return self._archive.read(self._files[index])  # at most the size that was checked
        except (OSError, EOFError, RuntimeError, ValueError, zipfile.BadZipFile, zlib.error):
            raise UnusableImage("broken") from None


def _is_hidden(part: str) -> bool:
    """Whether a folder or file is hidden, or holds what macOS adds to an archive."""
    return part == "__MACOSX" or (part.startswith(".") and part != "..")
