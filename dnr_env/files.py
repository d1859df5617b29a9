"""Files that survive kill -9: whole or as they were before."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from dnr_env.errors import DnRError


def write_atomically(path: Path, data: bytes) -> None:
    """Replace a file by new content; a crash leaves the old or the new one."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink()
        raise cannot_write(path, error) from None


def make_folder(folder: Path) -> None:
    """Make a folder that an option names, if there is none.

    Raises:
        DnRError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DnRError(f"out: the folder {folder} cannot be made ({error.strerror}); another will do") from None


def append_lines(path: Path, records: Iterable[Mapping[str, Any]]) -> None:
    """Append JSON lines and put them on the disk."""
    data = "".join(json.dumps(record, sort_keys=True) + "\n" for record in records).encode()
    try:
        with path.open("ab") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise cannot_write(path, error) from None


def read_lines(path: Path, keys: Collection[str] = ()) -> list[dict[str, Any]]:
    """The records of a JSONL file that `append_lines` wrote.

    What a crash left of a last line, one without its line end, is cut off from the file.

    Args:
        path: the file; none is as good as an empty one.
        keys: what every record has.

    Raises:
        DnRError: another line is no JSON object, or lacks one of the keys; or the file cannot be read.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise DnRError(f"{path} cannot be read ({error.strerror}); another folder will do") from None
    whole = data[: data.rfind(b"\n") + 1]
    if len(whole) < len(data):
        with path.open("rb+") as file:
            file.truncate(len(whole))
    records = []
    for number, line in enumerate(whole.splitlines(), 1):
        try:
            record = json.loads(line)
        except ValueError:
            record = None
        if not isinstance(record, dict):
            raise DnRError(f"{path}: line {number} is no JSON object; repair or remove the file, then run again")
        if missing := [key for key in keys if key not in record]:
            raise DnRError(f"{path}: line {number} has no {missing[0]!r}; repair or remove the file, then run again")
        records.append(record)
    return records


def cannot_write(path: Path, error: OSError) -> DnRError:
    """The error for a file that cannot be written."""
    return DnRError(
        f"{path} cannot be written ({error.strerror}); what was finished is kept: run again with space to write"
    )


def read_settings(path: Path) -> dict[str, Any]:
    """What a settings.json holds; nothing of one that was damaged."""
    try:
        found = json.loads(path.read_bytes())
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
