"""One person's session, as the requests of a server share it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from dnr_env.agents.human.log import CHOOSING, ChangedLogError, NotPossibleError
from dnr_env.agents.human.said import Promise, promise
from dnr_env.agents.human.session import Session
from dnr_env.errors import DnRError
from dnr_env.progress import watched
from dnr_env.web.gallery import Gallery
from dnr_env.web.page import Page, page


class BusyError(DnRError):
    """An event while another one is being measured."""


class CancelledError(DnRError):
    """The person has cancelled a measurement. Nothing was logged; what was measured is in the store."""


class UnseenError(DnRError):
    """The page cannot be shown."""


class Work(NamedTuple):
    """How far a measurement is."""

    busy: bool
    done: int = 0
    total: int = 0


class Desk:
    """One event at a time, while the page can still be read.

    Args:
        reopen: opens the session, now and when another process has written to its log.
        gallery: keeps the pictures of the page.
    """

    def __init__(self, reopen: Callable[[], Session], gallery: Gallery) -> None:
        self._open, self.gallery = reopen, gallery
        self.session = reopen()
        self.work = Work(busy=False)
        self._acting, self._reading = threading.Lock(), threading.Lock()
        self._cancelled = False
        self.page: Page = page(self.session, gallery)
        """The page after the last event."""

    def apply(self, step: int, event: str, chosen: Mapping[str, Any]) -> None:
        """Take one event of the step that the person saw. After any error but the last all is as it was.

        Raises:
            BusyError: another event is being measured.
            CancelledError: `cancel` was called.
            ChangedLogError: another process has written to the log. The session is now that of the log.
            DnRError: see `Session.apply`.
            UnseenError: a picture or caption of the page failed. The message says whether the event was taken, and the
                next one tries again.
        """
        if not self._acting.acquire(blocking=False):
            raise BusyError("the last event is still being measured; wait for it or cancel it")
        try:
            self._cancelled = False
            self.work = Work(busy=True)
            with self._reading, watched(self._watch):
                if self.page.step != self.session.step:
                    self._look("nothing was done")
                if self.page.hidden and event in CHOOSING:
                    raise NotPossibleError("add a concept of your own first: the candidates are hidden until then")
                try:
                    self.session.apply(event, step=step, **chosen)
                except ChangedLogError:
                    self.session = self._open()
                    self._look("nothing was done")
                    raise
                self._look("the event was taken")
        finally:
            self.work = Work(busy=False)
            self._acting.release()

    def cancel(self) -> None:
        """End the measurement that is going on, as soon as its images in work are done."""
        self._cancelled = True

    def promise(self, text: str) -> Promise | None:
        """See `said.promise`; None while a measurement has the session."""
        if not self._reading.acquire(timeout=0.05):
            return None
        try:
            return promise(self.session.episodes, text)
        finally:
            self._reading.release()

    def _look(self, done: str) -> None:
        try:
            self.page = page(self.session, self.gallery)
        except Exception as error:
            raise UnseenError(f"{done}, and the page cannot be shown ({type(error).__name__}: {error})") from error

    def _watch(self, done: int, total: int) -> None:
        self.work = Work(busy=True, done=done, total=total)
        if self._cancelled:
            self._cancelled = False  # what takes the session back to where it was must not be cancelled, too
            raise CancelledError("cancelled; nothing was changed")
