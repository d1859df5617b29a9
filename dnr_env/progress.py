"""Progress bars, which a caller can turn off or watch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from tqdm.auto import tqdm

Watch = Callable[[int, int], None]
"""Is told how many of how many are done. What it raises ends the work."""
_SHOWN = ContextVar("shown", default=True)
_WATCH: ContextVar[Watch | None] = ContextVar("watch", default=None)


@contextmanager
def bars(shown: bool) -> Iterator[None]:
    """Whether bars are shown inside."""
    before = _SHOWN.set(shown)
    try:
        yield
    finally:
        _SHOWN.reset(before)


@contextmanager
def watched(watch: Watch) -> Iterator[None]:
    """Tell `watch` of every step of the bars that are made inside, in place of showing them."""
    before = _WATCH.set(watch)
    try:
        yield
    finally:
        _WATCH.reset(before)


class _Watched(tqdm):  # type: ignore[type-arg]
    """A bar that is not shown, and tells of its steps."""

    def __init__(self, watch: Watch, *arguments: Any, total: float | None = None, **options: Any) -> None:
        super().__init__(*arguments, **{**options, "total": total, "disable": True})
        self._watch, self._done, self._total = watch, 0, int(total or 0)
        watch(0, self._total)

    def update(self, n: float | None = 1) -> bool | None:
        """Tell of n more."""
        self._done += int(n or 0)
        self._watch(self._done, self._total)
        return None


def bar(*arguments: Any, disable: bool = False, **options: Any) -> tqdm[Any]:
    """A bar of tqdm, unless bars are turned off or watched."""
    watch = _WATCH.get()
    if watch is not None:
        return _Watched(watch, *arguments, **options)
    made: tqdm[Any] = tqdm(*arguments, **{**options, "disable": disable or not _SHOWN.get()})
    return made
