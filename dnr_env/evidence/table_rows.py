"""The rows of one column of a Parquet or Arrow file, one at a time and in a bounded part of memory."""

from __future__ import annotations

import itertools
from bisect import bisect_right
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

_ROWS = 32  # in a batch of Parquet
_BATCHES = 4  # batches of a file in memory


class Rows(Protocol):
    """The column of one file."""

    def cell(self, row: int) -> Any:
        """Read one row."""


class _ArrowRows:
    """The column of a mapped Arrow file."""

    def __init__(self, path: Path, column: str) -> None:
        self._values = arrow_table(path)[column]

    def cell(self, row: int) -> Any:
        return self._values[row].as_py()


class _ParquetRows:
    """The column of a Parquet file, read forwards. A step back starts again from the beginning of its row group."""

    def __init__(self, path: Path, column: str) -> None:
        import pyarrow.parquet as parquet

        self._file = parquet.ParquetFile(path, memory_map=True, pre_buffer=False)
        self._column = column
        sizes = [self._file.metadata.row_group(i).num_rows for i in range(self._file.metadata.num_row_groups)]
        self._starts = [0, *itertools.accumulate(sizes)]
        self._batches: Iterator[Any] = iter(())
        self._kept: deque[tuple[int, Any]] = deque(maxlen=_BATCHES)  # the first row of a batch, and its values
        self._next = 0
        self._end = 0

    def cell(self, row: int) -> Any:
        if not self._kept or row < self._kept[0][0] or row >= self._end:
            group = bisect_right(self._starts, row) - 1
            self._next, self._end = self._starts[group], self._starts[group + 1]
            self._kept.clear()
            self._batches = self._file.iter_batches(_ROWS, row_groups=[group], columns=[self._column])
        while row >= self._next:
            values = next(self._batches).column(0)
            self._kept.append((self._next, values))
            self._next += len(values)
        return next(values[row - first].as_py() for first, values in reversed(self._kept) if row >= first)


def open_rows(path: Path, column: str) -> Rows:
    """Open the column of one file."""
    return _ParquetRows(path, column) if is_parquet(path) else _ArrowRows(path, column)


def is_parquet(path: Path) -> bool:
    """Whether a table is a Parquet file, and not an Arrow file."""
    return path.suffix.lower() == ".parquet"


def arrow_table(path: Path) -> Any:
    """Map an Arrow file, of either of its two formats."""
    import pyarrow

    source = pyarrow.memory_map(str(path))
    if source.read(6) == b"ARROW1":
        return pyarrow.ipc.open_file(source).read_all()
    source.seek(0)
    return pyarrow.ipc.open_stream(source).read_all()


def named_files(path: Path, column: str) -> list[str | None]:
    """The image file that each row names, as those of Hugging Face do beside its bytes; None where it names none."""
    import pyarrow.compute as compute
    import pyarrow.parquet as parquet
    import pyarrow.types as types

    if is_parquet(path):
        file = parquet.ParquetFile(path, memory_map=True)
        names = [name for name in (part.path for part in file.schema) if name == f"{column}.path"]
        if not names:
            return [None] * int(file.metadata.num_rows)
        values = file.read(columns=names)[column]
    else:
        values = arrow_table(path)[column]
        if not types.is_struct(values.type) or values.type.get_field_index("path") < 0:
            return [None] * len(values)
    found: list[str | None] = compute.struct_field(values, "path").to_pylist()
    return found
