"""The errors that a user of the package can cause. Each message is one sentence that says what would do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class DnRError(ValueError):
    """A value that the caller chose cannot be used."""


class ConceptError(DnRError):
    """A text that is not a concept: empty, or without one word that the generator knows."""


def unknown(option: str, value: object, known: Iterable[str]) -> DnRError:
    """The error for a name that does not exist, with the nearest names that do."""
    names = [str(name) for name in known]
    near = difflib.get_close_matches(str(value), names, n=3) or names[:12]
    more = ", …" if len(near) < len(names) else ""
    return DnRError(f"{option}: {value!r} is not known; known are {', '.join(near)}{more}")
