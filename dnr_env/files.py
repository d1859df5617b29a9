"""Files that survive kill -9: a write either completes or leaves the file as it was."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import json
import os
import secrets
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from dnr_env.errors import DnRError

_FORMULAS = ("=", "+", "-", "@", "\t", "\r")  # a spreadsheet reads a text that begins with one of these as a formula


def write_atomically(path: Path, data: bytes) -> None:
    """Replace the content of a file. After a crash, the file holds either the old content or the new."""
    part = path.with_name(f".{path.name}.{secrets.token_hex(8)}.part")  # another writer has a file of its own
    try:
        with part.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        raise cannot_write(path, error) from None
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def make_folder(folder: Path) -> None:
    """Create the folder of the option `out` if it does not exist.

    Raises:
        DnRError: the folder cannot be created.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DnRError(f"`out` must be a folder that can be created (got {folder}: {error.strerror})") from None


def append_lines(path: Path, records: Iterable[Mapping[str, Any]]) -> None:
    """Append records to a file as JSON lines, and flush them to the disk."""
    data = "".join(json.dumps(record, sort_keys=True) + "\n" for record in records).encode()
    try:
        with path.open("ab") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise cannot_write(path, error) from None


class ChangedFileError(DnRError):
    """A file that another process has written to."""


def append_whole(path: Path, data: bytes, expected: int) -> None:
    """Append to a file, and flush it to the disk. After any error, also Ctrl-C, the file is as it was.

    Args:
        path: the file.
        data: what is appended.
        expected: the size that the file should have, in bytes; 0 also for one that does not exist.

    Raises:
        ChangedFileError: it has another size. Where the system has locks, no other process can write in between.
        OSError: the file cannot be written.
    """
    with path.open("r+b" if expected else "ab") as file:  # one that was removed does not begin anew
        _lock(file)
        size = file.seek(0, os.SEEK_END)
        if size != expected:
            raise ChangedFileError(f"{path} was changed by another process")
        try:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        except BaseException:
            with contextlib.suppress(OSError):  # half a line would merge with the next one
                os.truncate(path, size)
            raise


def _lock(file: IO[bytes]) -> None:
    """Wait for other processes to close the file, where the system can."""
    with contextlib.suppress(ImportError):  # as on Windows
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX)


def read_lines(path: Path, keys: Collection[str] = ()) -> list[dict[str, Any]]:
    """Read the records of a JSONL file that `append_lines` wrote.

    If a crash left an incomplete last line, without its newline, the line is removed from the file.

    Args:
        path: the file. A file that does not exist has no records.
        keys: the keys that every record must have.

    Raises:
        DnRError: the file cannot be read or repaired, or a complete line is not a JSON object with all of the keys.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise DnRError(f"{path} cannot be read ({error.strerror}); choose another folder") from None
    whole = data[: data.rfind(b"\n") + 1]
    if len(whole) < len(data):
        try:
            with path.open("rb+") as file:
                file.truncate(len(whole))
        except OSError as error:
            raise cannot_write(path, error) from None
    records = []
    for number, line in enumerate(whole.splitlines(), 1):
        try:
            record = json.loads(line)
        except ValueError:
            record = None
        if not isinstance(record, dict):
            raise DnRError(f"{path}: line {number} is not a JSON object; repair or remove the file, then run again")
        if missing := [key for key in keys if key not in record]:
            raise DnRError(f"{path}: line {number} has no {missing[0]!r}; repair or remove the file, then run again")
        records.append(record)
    return records


def cannot_write(path: Path, error: OSError) -> DnRError:
    """Make the error for a file that cannot be written."""
    return DnRError(
        f"{path} cannot be written ({error.strerror}); finished work is kept, so free some space and run again"
    )


def read_settings(path: Path) -> dict[str, Any]:
    """Read a settings.json. A damaged file has no settings."""
    try:
        found = json.loads(path.read_bytes())
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def read_text(path: Path, option: str) -> str:
    """The text of the file that an option names.

    Raises:
        DnRError: the file cannot be read, or is not in UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise DnRError(f"`{option}` must be a text file in UTF-8 that can be read (got {path}: {why})") from None


def file_digest(path: Path) -> bytes:
    """The SHA-256 of a file's content."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.digest()


def cell(value: Any) -> Any:
    """Prepare a value for a table. A text that a spreadsheet would read as a formula is quoted."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULAS) else value


def text_of(quoted: str) -> str:
    """The text of a cell that `cell` may have quoted. Any other apostrophe is part of the text."""
    return quoted[1:] if quoted.startswith("'") and quoted[1:].startswith(_FORMULAS) else quoted


def csv_table(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> bytes:
    """Encode rows as CSV for a spreadsheet. None becomes an empty cell."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(columns)
    writer.writerows([cell(row[name]) for name in columns] for row in rows)
    return out.getvalue().encode()
