"""The errors that a user of the package can cause. Each message is one sentence that says what is accepted."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class DnRError(ValueError):
    """A value that the caller chose cannot be used."""


class ConceptError(DnRError):
    """A text that is not a concept: empty, or without one word that the generator knows."""


class UnknownArgumentError(DnRError, TypeError):
    """An argument that a function does not have. It is also a `TypeError`, in Python's own words.

    Libraries that try optional arguments look for these words; TorchRL does so with `frameskip`.
    """


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
