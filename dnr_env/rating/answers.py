"""What one annotator answered. An answer is on disk before the next screen is shown; the last for a screen counts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NamedTuple

from dnr_env.agents.human.log import ChangedLogError
from dnr_env.agents.human.recorded import MOST_SECONDS
from dnr_env.errors import DnRError
from dnr_env.files import ChangedFileError, append_whole, cannot_write, read_lines
from dnr_env.rating.plan import Screen

STEPS = 5
"""Ratings are from 1 to this."""


class Answer(NamedTuple):
    """An annotator's rating of one screen."""

    screen: Screen
    rating: int
    """As it was given: 1 of a pair is in favour of the label on the left."""
    seconds: float
    """Since the answer before it, or the consent; `MOST_SECONDS` at most."""


class Answers:
    """The answers of an annotator, in a file that the consent creates.

    Args:
        path: the file.
        screens: those of the annotator.

    Raises:
        DnRError: the file cannot be read, or has a line that is not an answer.
    """

    def __init__(self, path: Path, screens: Sequence[Screen]) -> None:
        self.path, self.screens = path, list(screens)
        self._read_file()

    def _read_file(self) -> None:
        self.consented = ""
        """When the annotator agreed to take part; "" before."""
        self.step = 0
        """The number of lines."""
        self._given: dict[int, Answer] = {}
        self._last = ""  # the time of the last line
        for number, line in enumerate(read_lines(self.path, ("time",)), 1):
            if not self._read(line):
                raise DnRError(
                    f"{self.path}: line {number} is not an answer to a screen of {self.path.stem}; set the file aside"
                )
        self._size = self.path.stat().st_size if self.path.exists() else 0

    def __getitem__(self, number: int) -> int | None:
        """The rating of a screen, by its number from 0; None without an answer."""
        found = self._given.get(number)
        return None if found is None else found.rating

    @property
    def given(self) -> list[Answer]:
        """The answers that count, in the order of the screens."""
        return [self._given[number] for number in sorted(self._given)]

    def consent(self) -> None:
        """Note that the annotator has agreed to take part."""
        self._append({"consent": True})

    def rate(self, number: int, rating: int) -> None:
        """Note a rating of a screen, by its number from 0."""
        self._append({**self.screens[number]._asdict(), "rating": rating})

    def _append(self, line: dict[str, Any]) -> None:
        """Write a line.

        Raises:
            ChangedLogError: another process has written to the file, which was read again.
            DnRError: the file cannot be written. It stays as it was.
        """
        line["time"] = datetime.now(timezone.utc).isoformat()
        data = json.dumps(line, sort_keys=True).encode() + b"\n"
        try:
            append_whole(self.path, data, self._size)
        except ChangedFileError as error:
            self._read_file()
            raise ChangedLogError(str(error)) from None
        except OSError as error:
            raise cannot_write(self.path, error) from None
        self._size += len(data)
        self._read(line)

    def _read(self, line: dict[str, Any]) -> bool:
        """Take a line, and return whether it is one."""
        try:
            passed = _seconds(self._last, line["time"])
        except (TypeError, ValueError):
            return False
        if line.get("consent") is True:
            self.consented = self.consented or line["time"]
        else:
            screen = Screen(*(line.get(name) for name in Screen._fields))  # type: ignore[arg-type]
            rating = line.get("rating")
            if screen not in self.screens or type(rating) is not int or not 1 <= rating <= STEPS or not self.consented:
                return False
            self._given[self.screens.index(screen)] = Answer(screen, rating, passed)
        self._last = line["time"]
        self.step += 1
        return True


def _seconds(before: str, now: str) -> float:
    moment = datetime.fromisoformat(now)
    passed = (moment - datetime.fromisoformat(before)).total_seconds() if before else 0.0
    return min(max(passed, 0.0), MOST_SECONDS)
