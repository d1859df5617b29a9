"""The store: bytes under content addresses, in one SQLite file that many may write and kill -9 cannot tear.

What is stored can always be computed again, so the store is allowed to lose: a damaged file is set aside and started
anew, a damaged row is a miss, and where the disk is full or read-only the work goes on without it, with one warning.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
import sqlite3
import sys
import threading
import time
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path

_SCHEMA = """
PRAGMA page_size = 8192;
PRAGMA journal_mode = WAL;
PRAGMA synchronous = NORMAL;
CREATE TABLE IF NOT EXISTS entries (key BLOB PRIMARY KEY, value BLOB NOT NULL, digest BLOB NOT NULL) WITHOUT ROWID;
"""
_WAIT_S = 60.0  # for another process's write
_VARIABLES = 500  # keys of one query, under SQLite's limit


class StoreWarning(UserWarning):
    """The store cannot be used as asked; the work goes on without it."""


def cache_dir() -> Path:
    """The folder of the store: DNR_CACHE_DIR, or "dnr" in the user's cache folder."""
    if chosen := os.environ.get("DNR_CACHE_DIR"):
        return Path(chosen)
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", "~")).expanduser() / "dnr"
    if sys.platform == "darwin":
        return Path("~/Library/Caches/dnr").expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "dnr"


def address(**fields: object) -> bytes:
    """The 32-byte key of what the fields describe: SHA-256 of their canonical JSON."""
    canonical = json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(canonical.encode()).digest()


def _identity(path: Path) -> tuple[int, int]:
    """Which file a path leads to now; (0, 0) if to none."""
    try:
        status = path.stat()
    except OSError:
        return 0, 0
    return status.st_dev, status.st_ino


def _prepare(connection: sqlite3.Connection) -> None:
    """Make the table. SQLite itself does not wait for the other processes that change a new file to WAL."""
    deadline = time.monotonic() + _WAIT_S
    while True:
        try:
            connection.executescript(_SCHEMA)
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def _digest(key: bytes, value: bytes) -> bytes:
    return hashlib.sha256(key + value).digest()[:8]


class Store:
    """A persistent map from `address` to bytes.

    Args:
        path: the SQLite file; its folder is made when the first entry is written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._owner = -1
        self._file = (0, 0)
        self._writable = True

    def get_many(self, keys: Iterable[bytes]) -> dict[bytes, bytes]:
        """The entries there are among `keys`; a damaged one counts as absent."""
        with self._lock:
            return self._get_many(keys)

    def _get_many(self, keys: Iterable[bytes]) -> dict[bytes, bytes]:
        found: dict[bytes, bytes] = {}
        wanted = iter(keys)
        while part := list(itertools.islice(wanted, _VARIABLES)):
            marks = ",".join("?" * len(part))
            try:
                connection = self._connect()
                if connection is None:
                    return found
                rows = connection.execute(
                    f"SELECT key, value, digest FROM entries WHERE key IN ({marks})", part
                ).fetchall()
            except sqlite3.DatabaseError as error:
                self._recover(error)
                continue
            found.update((key, value) for key, value, digest in rows if digest == _digest(key, value))
        return found

    def put_many(self, entries: Mapping[bytes, bytes]) -> None:
        """Write entries in one transaction: after a crash all of them are there or none."""
        rows = [(key, value, _digest(key, value)) for key, value in entries.items()]
        with self._lock:
            for _ in range(2):  # the second time on the new file, where the first finds a damaged one
                if not self._writable:
                    return
                try:
                    connection = self._connect(create=True)
                    if connection is None:
                        return
                    with connection:
                        connection.executemany("INSERT OR REPLACE INTO entries VALUES (?, ?, ?)", rows)
                    return
                except sqlite3.DatabaseError as error:
                    self._recover(error)

    def close(self) -> None:
        """Close the file; the next call opens it again."""
        with self._lock:
            if self._connection is not None and self._owner == os.getpid():
                self._connection.close()
            self._connection = None

    def _connect(self, create: bool = False) -> sqlite3.Connection | None:
        if self._owner != os.getpid():  # a connection does not survive a fork
            self._connection, self._owner = None, os.getpid()
        if self._connection is not None:
            return self._connection
        if not os.path.exists(self.path):  # Path.exists raises where a folder above may not be entered
            if not create:
                return None
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                self._give_up(error)
                return None
        connection = sqlite3.connect(self.path, timeout=_WAIT_S, check_same_thread=False)
        self._file = _identity(self.path)
        try:
            _prepare(connection)
        except sqlite3.OperationalError as error:
            connection.close()
            connection = self._read_only(error)
        except sqlite3.DatabaseError:
            connection.close()
            raise
        self._connection = connection
        return connection

    def _read_only(self, error: sqlite3.OperationalError) -> sqlite3.Connection:
        """A connection that only reads, for a file or folder that cannot be written."""
        self._give_up(error)
        where = f"{self.path.absolute().as_uri()}?mode=ro&immutable=1"
        return sqlite3.connect(where, uri=True, check_same_thread=False)

    def _recover(self, error: sqlite3.DatabaseError) -> None:
        if isinstance(error, sqlite3.OperationalError):
            self._give_up(error)
            return
        if type(error) is not sqlite3.DatabaseError:  # a wrong call, not a wrong file
            raise error
        # "malformed" or "not a database": set the file aside, with its journal, and start anew.
        self.close()
        if not self._writable or _identity(self.path) != self._file:
            return  # it is not for us to move, or another process has moved it already
        aside = next(
            p for n in itertools.count() if not (p := self.path.with_name(f"{self.path.name}.damaged-{n}")).exists()
        )
        try:
            for suffix in ("", "-wal", "-shm"):
                with contextlib.suppress(FileNotFoundError):
                    self.path.with_name(self.path.name + suffix).replace(aside.with_name(aside.name + suffix))
        except OSError as obstacle:
            self._give_up(obstacle)
            return
        message = f"store: {self.path} is damaged ({error}); it is now {aside.name}, and a new one is begun"
        warnings.warn(message, StoreWarning, 4)

    def _give_up(self, error: Exception) -> None:
        if self._writable:
            self._writable = False
            warnings.warn(
                f"store: {self.path} cannot be written ({error}); measurements are kept in memory alone, so set "
                "DNR_CACHE_DIR to a folder with space that you may write",
                StoreWarning,
                4,
            )

    def __getstate__(self) -> dict[str, object]:
        return {"path": self.path}

    def __setstate__(self, state: dict[str, Path]) -> None:
        self.__init__(state["path"])  # type: ignore[misc]
