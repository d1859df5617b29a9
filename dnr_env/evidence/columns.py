"""The images in a column of Parquet or Arrow files, such as a data set of Hugging Face on the disk.

Rows are read one batch at a time, and Arrow files are mapped, so that the column is never in memory as a whole.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import re
import threading
from bisect import bisect_right
from functools import lru_cache
from pathlib import Path
from typing import Any

from dnr_env.errors import DnRError
from dnr_env.evidence.decode import UnusableImage
from dnr_env.evidence.image_set import EncodedImages, check_enough, limit_of, part_of
from dnr_env.evidence.store import Store, address
from dnr_env.evidence.table_rows import arrow_table, is_parquet, named_files, open_rows
from dnr_env.evidence.vision import held_out
from dnr_env.extras import needed

SUFFIXES = (".parquet", ".arrow")
_SPLITS = ("train", "training", "test", "testing", "val", "valid", "validation", "dev", "eval", "evaluation")
"""The words in a file's path that name its split."""
_USUAL = ("image", "img", "picture", "photo", "jpg", "jpeg", "png", "webp")
"""The columns that are preferred where several hold bytes."""
_FILES = 8  # files that are open


def is_table(path: Path) -> bool:
    """Whether a path is a Parquet or Arrow file, or a folder with such files in it or in its subfolder `data`."""
    if path.is_dir():
        return (path / "dataset_dict.json").is_file() or any(
            file.suffix in SUFFIXES for folder in (path, path / "data") if folder.is_dir() for file in folder.iterdir()
        )
    return path.is_file() and path.suffix.lower() in SUFFIXES


class TableImages(EncodedImages):
    """The images in one column of the tables of one split.

    Args:
        spec: a file, or a folder of files, followed by nothing, ":SPLIT", ":COLUMN" or ":SPLIT:COLUMN". The default
            split is the one that was held out, test or else val, or the first. The default column is the only one that
            holds images.
        limit: the most images to use, a fixed random subset.
        store: keeps the digests of the images, by their rows and the file's path, size and modification time.
        option: the option that names the tables.

    Raises:
        DnRError: there are no tables, they have no such split or column, or too few rows.
    """

    def __init__(
        self, spec: str, limit: int | None = None, store: Store | None = None, option: str = "probe.images"
    ) -> None:
        root, words = _path_and_words(option, spec)
        splits = _splits(option, root)
        named = [word for word in words if word in splits]
        split = named[0] if named else held_out(list(splits)) or next(iter(splits))
        super().__init__(f"{root}:{split}" if split else str(root), option, store)
        self._files = splits[split]
        columns = [word for word in words if word not in named]
        if len(words) == 2 and len(named) != 1:
            known = ", ".join(filter(None, splits)) or "none"
            raise DnRError(f"`{option}` must have the form hf-dataset:PATH:SPLIT:COLUMN (got {spec}; splits: {known})")
        self._column = _column(option, self._files[0], columns[0] if columns else None, splits)
        counts = [_row_count(option, file, self._column) for file in self._files]
        self._starts = [0, *itertools.accumulate(counts)]
        self._rows = part_of(self._starts[-1], limit, limit_of(option))
        self._states = [(file.stat().st_size, file.stat().st_mtime_ns) for file in self._files]
        self._refers = lru_cache(None)(self._names_files)
        self._reading = threading.Lock()
        self._opened = lru_cache(_FILES)(open_rows)
        self._named_files = lru_cache(_FILES)(named_files)
        check_enough(self, len(self._rows))

    def __len__(self) -> int:
        """The number of rows listed."""
        return len(self._rows)

    def describe(self, index: int) -> str:
        """The file's path, and the row in it."""
        file, row = self._at(index)
        return f"{self._files[file]}#{row}"

    def source(self, index: int) -> str:
        """The name of the image file that the row names; the table's name and the row if it names none."""
        file, row = self._at(index)
        named = self._named_files(self._files[file], self._column)[row]
        return Path(named).name if named else f"{self._files[file].name}#{row}"

    def _at(self, index: int) -> tuple[int, int]:
        """The file of an image, and the row in it."""
        row = self._rows[index]
        file = bisect_right(self._starts, row) - 1
        return file, row - self._starts[file]

    def _place(self, index: int) -> bytes | None:
        file, row = self._at(index)
        size, changed = self._states[file]
        path = str(self._files[file].absolute())
        place = address(kind="table", path=path, size=size, changed=changed, column=self._column, row=row)
        return None if self._refers(file) else place

    def _names_files(self, file: int) -> bool:
        """Whether a table names image files, as its first row shows. They may change while the table does not."""
        with contextlib.suppress(Exception):  # what cannot be read is counted later
            return isinstance(cell := self._cell(file, 0), dict) and cell["bytes"] is None
        return False

    def _cell(self, file: int, row: int) -> Any:
        with self._reading:
            return self._opened(self._files[file], self._column).cell(row)

    def _bytes(self, index: int) -> bytes:
        file, row = self._at(index)
        try:
            cell = self._cell(file, row)
            if isinstance(cell, dict):  # of Hugging Face: the content, or where it is
                content = cell["bytes"]
                cell = content if content is not None else (self._files[file].parent / cell["path"]).read_bytes()
        except Exception:  # Arrow raises exceptions of its own types
            raise UnusableImage("broken") from None
        if not cell:
            raise UnusableImage("empty")
        return bytes(cell)


def _schema(option: str, path: Path) -> Any:
    with needed("parquet"):
        import pyarrow.parquet as parquet
    try:
        return parquet.read_schema(path, memory_map=True) if is_parquet(path) else arrow_table(path).schema
    except Exception as error:  # Arrow raises exceptions of its own types
        raise _unreadable(option, path, error) from None


def _row_count(option: str, path: Path, column: str) -> int:
    names = _schema(option, path).names
    if column not in names:
        raise DnRError(f"`{option}` must have the column {column!r} in every file (got {path} with {', '.join(names)})")
    import pyarrow.parquet as parquet

    return int(parquet.read_metadata(path).num_rows if is_parquet(path) else arrow_table(path).num_rows)


def _unreadable(option: str, path: Path, error: Exception) -> DnRError:
    reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
    return DnRError(f"`{option}` must name Parquet or Arrow files that can be read (got {path}: {reason})")


def _path_and_words(option: str, spec: str) -> tuple[Path, list[str]]:
    """Divide a text into the path, which exists, and up to two words after it."""
    parts = spec.split(":")
    for count in range(len(parts), max(0, len(parts) - 3), -1):
        path = Path(":".join(parts[:count])).expanduser()
        if path.exists():
            return path, parts[count:]
    raise DnRError(
        f"`{option}` must name a folder or a file on the disk, as in hf-dataset:PATH or hf-dataset:PATH:SPLIT "
        f"(got {spec!r})"
    )


def _splits(option: str, root: Path) -> dict[str, list[Path]]:
    """The files of each split. The only split of files that do not say theirs is ""."""
    files = [root] if root.is_file() else _files(option, root)
    if not files:
        raise DnRError(f"`{option}` must have files that end in {' or '.join(SUFFIXES)} (got {root}, which has none)")
    if (root / "dataset_dict.json").is_file():
        words = [file.relative_to(root).parts[0] for file in files]
    else:
        found = [
            re.findall(r"[a-z]+", file.relative_to(root.parent if root.is_file() else root).as_posix().lower())
            for file in files
        ]
        words = [next((word for word in part if word in _SPLITS), "") for part in found]
    if "" in words or root.is_file():
        return {"": files}
    return {split: [f for f, word in zip(files, words, strict=True) if word == split] for split in dict.fromkeys(words)}


def _files(option: str, root: Path) -> list[Path]:
    """The tables below a folder. What `save_to_disk` wrote names its own; caches beside them are left out."""
    found: list[Path] = []
    for file in sorted(root.rglob("*")):
        if file.name == "state.json":
            try:
                listed = json.loads(file.read_bytes())["_data_files"]
                found.extend(file.parent / part["filename"] for part in listed)
            except (OSError, ValueError, KeyError, TypeError) as error:
                raise _unreadable(option, file, error) from None
        elif (
            file.suffix in SUFFIXES
            and not file.name.startswith((".", "cache-", "tmp"))
            and not (file.parent / "state.json").is_file()
        ):
            found.append(file)
    return found


def _column(option: str, path: Path, wanted: str | None, splits: dict[str, list[Path]]) -> str:
    """The column of the images: the wanted one, or the only one that can be."""
    schema = _schema(option, path)
    if wanted is not None:
        if wanted not in schema.names:
            known = ", ".join([*filter(None, splits), *schema.names])
            raise DnRError(f"`{option}` must name a split or a column, one of {known} (got {wanted!r})")
        if not _holds_bytes(schema.field(wanted).type):
            raise DnRError(
                f"`{option}` must name a column of encoded images (got {wanted}, of {schema.field(wanted).type})"
            )
        return wanted
    able = [name for name, kind in zip(schema.names, schema.types, strict=True) if _holds_bytes(kind)]
    told = json.loads((schema.metadata or {}).get(b"huggingface", b"{}")).get("info", {}).get("features", {})
    images = [name for name in able if isinstance(told.get(name), dict) and told[name].get("_type") == "Image"]
    able = images or able
    usual = [name for name in able if name.lower() in _USUAL]
    if len(able) == 1 or len(usual) == 1:
        return str((usual or able)[0])
    if not able:
        raise DnRError(f"`{option}` must have a column of encoded images (got {path} with {', '.join(schema.names)})")
    raise DnRError(
        f"`{option}` must say which column holds the images, as in hf-dataset:PATH:{able[0]} "
        f"(got {path} with {', '.join(able)})"
    )


def _holds_bytes(kind: Any) -> bool:
    """Whether a type is that of encoded images: bytes, or Hugging Face's pair of bytes and a path."""
    import pyarrow.types as types

    if types.is_struct(kind):
        return any(kind.field(i).name == "bytes" for i in range(kind.num_fields))
    return bool(types.is_binary(kind) or types.is_large_binary(kind))
