"""The log of a session: a header, then one event per line. Lines are appended and fsynced, never rewritten."""

from __future__ import annotations

import json
import os
import reprlib
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NamedTuple

from dnr_env.errors import DnRError
from dnr_env.files import ChangedFileError, append_whole
from dnr_env.interfaces import Kind

EVENTS = ("keep", "mutate", "add", "stop", "go", "reopen", "undo")
CHOOSING = ("keep", "mutate", "stop")
"""Events that are for one of the candidates."""
KINDS = tuple(kind.name.lower() for kind in Kind)


class StaleStepError(DnRError):
    """An event for an earlier step, as a double click, a second tab or another process on the log makes it."""


class ChangedLogError(StaleStepError):
    """Another process has written to the log, so that the session no longer is the replay of it."""


class NotPossibleError(DnRError):
    """An event that `Session.masks` does not allow."""


class Move(NamedTuple):
    """One event of a person."""

    event: str
    """One of EVENTS."""
    text: str | None = None
    """The concept of an "add", as the person typed it."""
    slot: int | None = None
    """The number of the candidate, from 1, of an event in CHOOSING."""
    kind: str | None = None
    """The kind of a "mutate", one of KINDS; None lets the mutator choose."""
    neuron: int | None = None
    """The number of the neuron of the session, from 1, that a "go" goes to."""


class Log:
    """The moves of a session. Each is on disk before `append` returns.

    Args:
        path: the file. It is made, with the folders above it, if it does not exist.
        header: everything that the moves depend on. An existing file must have been begun with the same header.

    Raises:
        DnRError: the file cannot be used, was begun with another header, or holds a line that is not a move. A last
            line without its end, as a killed process leaves it, is not an error. It is removed from the file.
    """

    def __init__(self, path: Path, header: Mapping[str, Any]) -> None:
        self.path = path
        self.moves: list[Move] = []
        first = _line(header)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            content = path.read_bytes() if path.exists() else b""
            *lines, torn = content.split(b"\n")
            # A torn header is rewritten, for a process may have been killed there too. Any other file is refused.
            if lines or not first.startswith(torn):
                self._check_header(content.partition(b"\n")[0], json.loads(first))
            for step, line in enumerate(lines[1:]):
                self.moves.append(self._move(line, step))
            self._size = len(content) - len(torn)
            if torn:
                os.truncate(path, self._size)
            if not lines:
                self._write(first)
        except OSError as error:
            raise self._unusable(error) from None

    def line(self, step: int) -> str:
        """Name the line of a step, for messages."""
        return f"{self.path} line {step + 2}"

    def append(self, move: Move) -> None:
        """Append a move to the file.

        Raises:
            ChangedLogError: another process has written to the file.
            DnRError: the file cannot be written. It stays as it was.
        """
        record = {"step": len(self.moves), **move._asdict(), "time": datetime.now(timezone.utc).isoformat()}
        try:
            self._write(_line(record))
        except ChangedFileError as error:
            raise ChangedLogError(f"{error}; open the session again") from None
        except OSError as error:
            raise self._unusable(error) from None
        self.moves.append(move)

    def _write(self, line: bytes) -> None:
        append_whole(self.path, line, self._size)
        self._size += len(line)

    def _unusable(self, error: OSError) -> DnRError:
        return DnRError(f"`path` must be a file that can be written (got {self.path}: {error.strerror})")

    def _check_header(self, line: bytes, header: dict[str, Any]) -> None:
        found = _parsed(line)
        if found.keys() != header.keys() or not isinstance(found["options"], dict):
            raise DnRError(f"`path` must be the log of a session (got {self.path})")
        old, new = ({**settings, **settings["options"], "options": None} for settings in (found, header))
        for key in {**old, **new}:
            if old.get(key) != new.get(key):
                begun, asked = reprlib.repr(old.get(key)), reprlib.repr(new.get(key))
                raise DnRError(f"`{key}` must be {begun}, with which {self.path} was begun (got {asked})")

    def _move(self, line: bytes, step: int) -> Move:
        record = _parsed(line)
        event, text, slot, kind, neuron = (record.get(name) for name in Move._fields)
        sound = (
            record.get("step") == step
            and event in EVENTS
            and isinstance(text, str) == (event == "add")
            and (type(slot) is int) == (event in CHOOSING)
            and (kind is None or (event == "mutate" and kind in KINDS))
            and (type(neuron) is int) == (event == "go")
        )
        if not sound:
            raise DnRError(
                f"`path` must be an undamaged log (got {self.line(step)}, which is not an event of step {step})"
            )
        return Move(str(event), text, slot, kind, neuron)


def _line(record: Mapping[str, Any]) -> bytes:
    return json.dumps(record).encode() + b"\n"


def _parsed(line: bytes) -> dict[str, Any]:
    """Parse the JSON object of a line. The result is empty if there is none."""
    try:
        record = json.loads(line)
    except ValueError:
        return {}
    return record if isinstance(record, dict) else {}
