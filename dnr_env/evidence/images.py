"""Sets of probe images by a text: a folder, an archive, a table, a data set on the disk, or a function of the user's.

Opening a set lists its images without reading them. An unusable image is found when it is read; it is then counted.
"""

from __future__ import annotations

import re
from pathlib import Path

from dnr_env.errors import DnRError
from dnr_env.evidence.archive import ZipImages, is_archive
from dnr_env.evidence.columns import TableImages, is_table
from dnr_env.evidence.decode import UnusableImage, content_key, read_file
from dnr_env.evidence.image_set import ImageSet, RememberedImages, check_enough, limit_of, part_of
from dnr_env.evidence.listing import list_folder
from dnr_env.evidence.sequence import images_of
from dnr_env.evidence.store import Store, address
from dnr_env.evidence.vision import TorchvisionImages
from dnr_env.files import file_digest
from dnr_env.types import ImageArray
from dnr_env.usercode import user_imports, user_object

_TORCHVISION = re.compile(r"torchvision:(\w+):(.+?)(?::([\w+-]+))?")


def open_images(
    spec: str, limit: int | None = None, store: Store | None = None, option: str = "probe.images"
) -> ImageSet:
    """Open the images that a text names.

    Args:
        spec: a folder of image files; a zip archive of them; a Parquet or Arrow file, or a folder of such files;
            "hf-dataset:PATH", "hf-dataset:PATH:SPLIT", "hf-dataset:PATH:COLUMN" or "hf-dataset:PATH:SPLIT:COLUMN" for
            the same and for what `save_to_disk` of Hugging Face wrote; "torchvision:NAME:FOLDER" or
            "torchvision:NAME:FOLDER:SPLIT" for a data set that is already on the disk; "python:FILE.py:FUNCTION" for a
            function without arguments that returns a data set or a sequence of images. The default split is the one
            that was held out, or the data set's own default if none was.
        limit: the most images to use, a fixed random subset. None uses all of them.
        store: keeps what tells the images apart, so that a later process reads none of them again.
        option: the option that the text was given by, for messages.

    Raises:
        DnRError: there are no such images, or too few.
    """
    kind = spec.partition(":")[0]
    if kind == "torchvision":
        return _of_torchvision(spec, limit, store, option)
    if kind == "python":
        name = spec.removeprefix("python:")
        _, factory = user_object(option, name)
        with user_imports(option, name):
            return images_of(factory(), limit, option, spec)
    path = Path(spec.removeprefix("hf-dataset:")).expanduser()
    if kind == "hf-dataset" or is_table(path):
        return TableImages(str(path), limit, store, option)
    if is_archive(path):
        return ZipImages(path, limit, store, option)
    return ImageFolder(path, limit, store, option)


def _of_torchvision(spec: str, limit: int | None, store: Store | None, option: str) -> ImageSet:
    parts = _TORCHVISION.fullmatch(spec)
    if parts is None:
        raise DnRError(
            f"`{option}` must have the form torchvision:NAME:FOLDER or torchvision:NAME:FOLDER:SPLIT (got {spec!r})"
        )
    name, root, split = parts.groups()
    if name == "ImageFolder":  # torchvision's own class stops at the first broken file
        return ImageFolder(Path(root) / split if split else Path(root), limit, store, option)
    return TorchvisionImages(name, Path(root), split, limit, store, option)


class ImageFolder(RememberedImages):
    """The image files in a folder and its subfolders, sorted by path.

    Image files are recognised by their suffix; other files are counted, except hidden ones. Links are followed, and
    each folder is entered once.

    Args:
        root: the folder, or a link to it.
        limit: the most files to use, a fixed random subset. Unusable files among them are not replaced by others.
        store: keeps the digests of files, by path, size and modification time.
        option: the option that names the folder.

    Raises:
        DnRError: it is not a folder, or has too few images.
    """

    def __init__(
        self, root: Path, limit: int | None = None, store: Store | None = None, option: str = "probe.images"
    ) -> None:
        self._root = root.expanduser()
        super().__init__(str(self._root), option, store)
        if not self._root.is_dir():
            raise DnRError(
                f"`{option}` must be a folder of images, a zip archive, a table such as train.parquet, or "
                f"torchvision:…, hf-dataset:… or python:… (got {self._root})"
            )
        listing = list_folder(self._root)
        self._listing = listing.passed_over
        self._names = [listing.names[place] for place in part_of(len(listing.names), limit, limit_of(option))]
        check_enough(self, len(self._names))

    @property
    def paths(self) -> list[Path]:
        """The files listed."""
        return [self._root / name for name in self._names]

    def __len__(self) -> int:
        """The number of files listed."""
        return len(self._names)

    def describe(self, index: int) -> str:
        """The file's path."""
        return str(self._root / self._names[index])

    def source(self, index: int) -> str:
        """The file's name."""
        return Path(self._names[index]).name

    def _place(self, index: int) -> bytes | None:
        path = self._root / self._names[index]
        try:
            status = path.stat()
        except OSError:
            return None
        return address(kind="file", path=str(path.absolute()), size=status.st_size, changed=status.st_mtime_ns)

    def _content(self, index: int) -> bytes:
        try:
            return file_digest(self._root / self._names[index])
        except OSError:
            raise UnusableImage("unreadable") from None

    def _named(self, content: bytes) -> str:
        return content_key(content)

    def _image(self, index: int) -> ImageArray:
        return read_file(self._root / self._names[index])
