"""The errors that a user of the package can cause. Each message is one sentence that says what is accepted."""

from __future__ import annotations

import difflib
import errno
import traceback
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class DnRError(ValueError):
    """A value that the caller chose cannot be used."""


class ItemError(DnRError):
    """One item failed, such as a neuron, an image or a concept. Others may succeed."""


class ConceptError(ItemError):
    """A text that is not a concept: empty, or without one word that the generator knows."""


class UnknownArgumentError(DnRError, TypeError):
    """An argument that a function does not have. It is also a `TypeError`, in Python's own words.

    Libraries that try optional arguments look for these words; TorchRL does so with `frameskip`.
    """


def concerns_item(error: Exception) -> bool:
    """Whether an error concerns what was being worked on, so that other items may succeed.

    Model libraries raise errors of any kind, so everything does except other errors of this package, which say what to
    change for all items, missing packages, and a full disk or a closed pipe.
    """
    if isinstance(error, DnRError):
        return isinstance(error, ItemError)
    if isinstance(error, OSError):
        return error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EPIPE)
    return not isinstance(error, ModuleNotFoundError)


def reason_of(error: Exception) -> str:
    """One line for people: the message of an error of this package, or else the kind, the place and the first line."""
    lines = str(error).splitlines() or [""]
    if isinstance(error, DnRError):
        return lines[0]
    where = [f"{Path(frame.filename).name}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__)[-1:]]
    return f"{type(error).__name__} in {', '.join(where)}: {lines[0][:200]}"


def piecewise(work: Callable[[Sequence[Item]], Sequence[Result]], items: Sequence[Item]) -> list[Result | Exception]:
    """Work on items together; where that fails, on each half by itself, down to the items that fail alone.

    Args:
        work: returns one result per item, which does not depend on the other items.
        items: the items.

    Returns:
        The result of each item, or its error.

    Raises:
        Exception: an error that does not concern single items, by `concerns_item`.
    """
    if not items:
        return []
    try:
        return list(work(items))
    except Exception as error:
        if not concerns_item(error):
            raise
        if len(items) == 1:
            return [error]
    half = len(items) // 2
    return [*piecewise(work, items[:half]), *piecewise(work, items[half:])]


def unknown(option: str, value: object, known: Iterable[str]) -> DnRError:
    """The error for a name that does not exist, with the nearest names that do.

    Args:
        option: an argument's or a setting's name; or words, such as "the mutator of dnr".
        value: what was given.
        known: the names that exist.
    """
    said = f"`{option}`" if " " not in option else option
    return DnRError(f"{said} must be one of {_nearest(value, known)} (got {value!r})")


def unknown_argument(name: str, known: Iterable[str]) -> UnknownArgumentError:
    """The error for an argument that a function does not have, with the nearest ones that it has."""
    return UnknownArgumentError(
        f"got an unexpected keyword argument {name!r}; it must be one of {_nearest(name, known)}"
    )


def _nearest(value: object, known: Iterable[str]) -> str:
    names = [str(name) for name in known]
    near = difflib.get_close_matches(str(value), names, n=3) or names[:12]
    return ", ".join(near) + (", …" if len(near) < len(names) else "")
