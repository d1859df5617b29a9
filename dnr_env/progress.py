"""Progress bars, which a caller can turn off."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from tqdm.auto import tqdm

_SHOWN = ContextVar("shown", default=True)


@contextmanager
def bars(shown: bool) -> Iterator[None]:
    """Whether bars are shown inside."""
    before = _SHOWN.set(shown)
    try:
        yield
    finally:
        _SHOWN.reset(before)


def bar(*arguments: Any, disable: bool = False, **options: Any) -> tqdm[Any]:
    """A bar of tqdm, unless bars are turned off."""
    made: tqdm[Any] = tqdm(*arguments, **{**options, "disable": disable or not _SHOWN.get()})
    return made
