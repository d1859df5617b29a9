"""The file of a session: a header, then one event a line, appended and fsynced, never rewritten."""

from __future__ import annotations

import contextlib
import json
import os
import reprlib
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NamedTuple

from dnr_env.errors import DnRError

EVENTS = ("keep", "mutate", "add", "stop", "undo")


class StaleStepError(DnRError):
    """An event for a step that is over: a double click, a second tab, another process on the same log."""


class Move(NamedTuple):
    """What a person did."""

    event: str
    """One of EVENTS."""
    text: str | None = None
    """The concept of an "add", as it was typed."""


class Log:
    """The moves of a session, on disk before `append` returns.

    Args:
        path: the file; it is begun, with the folders above it, where there is none.
        header: what the moves depend on; an existing file must have been begun with the same.

    Raises:
        DnRError: the file cannot be used, was begun with another header, or holds a line that is no move. A last line
            without its end, which a killed process leaves, is no error: it is cut off the file.
    """

    def __init__(self, path: Path, header: Mapping[str, Any]) -> None:
        self.path = path
        self.moves: list[Move] = []
        first = _line(header)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            content = path.read_bytes() if path.exists() else b""
            *lines, torn = content.split(b"\n")
            # A process may have been killed in the middle of the header too. Any other text is somebody else's file.
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
        """Where the move of a step is, for messages."""
        return f"{self.path} line {step + 2}"

    def append(self, move: Move) -> None:
        """Write a move down.

        Raises:
            StaleStepError: another process has written to the file.
            DnRError: the file cannot be written; it is as it was.
        """
        record = {"step": len(self.moves), **move._asdict(), "time": datetime.now(timezone.utc).isoformat()}
        try:
            if self.path.stat().st_size != self._size:
                raise StaleStepError(f"log: {self.path} was changed by another process; open the session again")
            self._write(_line(record))
        except OSError as error:
            raise self._unusable(error) from None
        self.moves.append(move)

    def _write(self, line: bytes) -> None:
        try:
            with self.path.open("ab") as file:
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
        except BaseException:
            # Half a line would make one with the next.
            with contextlib.suppress(OSError):
                os.truncate(self.path, self._size)
            raise
        self._size += len(line)

    def _unusable(self, error: OSError) -> DnRError:
        return DnRError(f"log: {self.path} cannot be used ({error.strerror}); a file that you may write will do")

    def _check_header(self, line: bytes, header: dict[str, Any]) -> None:
        found = _parsed(line)
        if found.keys() != header.keys() or not isinstance(found["options"], dict):
            raise DnRError(f"log: {self.path} is not the log of a session; another file will do")
        old, new = ({**settings, **settings["options"], "options": None} for settings in (found, header))
        for key in {**old, **new}:
            if old.get(key) != new.get(key):
                begun, asked = reprlib.repr(old.get(key)), reprlib.repr(new.get(key))
                raise DnRError(
                    f"{key}: {self.path} was begun with {begun}, not {asked}; that value or another log will do"
                )

    def _move(self, line: bytes, step: int) -> Move:
        record = _parsed(line)
        event, text = record.get("event"), record.get("text")
        if record.get("step") != step or event not in EVENTS or isinstance(text, str) != (event == "add"):
            raise DnRError(f"log: {self.line(step)} is no event of step {step}; a whole log or another file will do")
        return Move(event, text)


def _line(record: Mapping[str, Any]) -> bytes:
    return json.dumps(record).encode() + b"\n"


def _parsed(line: bytes) -> dict[str, Any]:
    """The JSON object of a line; an empty one where there is none."""
    try:
        record = json.loads(line)
    except ValueError:
        return {}
    return record if isinstance(record, dict) else {}
