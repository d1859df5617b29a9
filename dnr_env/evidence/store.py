"""The store: bytes under content addresses, in one SQLite file that many processes may write and kill -9 cannot tear.

Everything stored can be computed again, so the store may lose entries. A damaged file is renamed, and a new one is
started; a damaged row counts as absent. On a full or read-only disk, the work continues without the store after one
warning.
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
import weakref
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TypeVar

from dnr_env.errors import DnRError

Result = TypeVar("Result")
_SCHEMA = """
PRAGMA page_size = 8192;
PRAGMA journal_mode = WAL;
PRAGMA synchronous = NORMAL;
CREATE TABLE IF NOT EXISTS entries (key BLOB PRIMARY KEY, value BLOB NOT NULL, digest BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS kinds (
    number INTEGER PRIMARY KEY, kind TEXT NOT NULL, models TEXT NOT NULL, UNIQUE (kind, models)
);
"""
CHECKSUM = 8
"""Bytes of `digest` that check the entry. Four more hold the number of its kind in `kinds`, if it has a kind."""
_MODELS = ("captioner", "writer", "fingerprint", "generator", "reader")
"""The fields of an address that name models."""
_COLUMNS = [("key", 1), ("value", 0), ("digest", 0)]
"""Each column of `entries`, and its place in the primary key."""
_WAIT_S = 60.0  # how long to wait for another process's write
_VARIABLES = 500  # keys in one query, below SQLite's limit


class StoreWarning(UserWarning):
    """The store cannot be used. The work continues without it."""


def cache_dir() -> Path:
    """The folder of the store: DNR_CACHE_DIR, or "dnr" in the user's cache folder."""
    if chosen := os.environ.get("DNR_CACHE_DIR"):
        return Path(chosen).expanduser()
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", "~")).expanduser() / "dnr"
    if sys.platform == "darwin":
        return Path("~/Library/Caches/dnr").expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "dnr"


class Key(bytes):
    """The 32-byte key of an entry. It remembers what the entry is, so that a model's entries can be found later."""

    kind: str
    models: str
    """The fields that name models, as JSON."""


def address(**fields: object) -> bytes:
    """The `Key` of an entry: the SHA-256 of its fields as canonical JSON. The field `kind` says what it is."""
    canonical = json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    key = Key(hashlib.sha256(canonical.encode()).digest())
    key.kind = str(fields.get("kind", ""))
    key.models = json.dumps({name: fields[name] for name in _MODELS if name in fields})
    return key


def _identity(path: Path) -> tuple[int, int]:
    """The device and inode of the file at a path; (0, 0) if there is none."""
    try:
        status = path.stat()
    except OSError:
        return 0, 0
    return status.st_dev, status.st_ino


def _prepare(connection: sqlite3.Connection) -> None:
    """Create the table. SQLite itself does not wait for another process that switches a new file to WAL.

    Raises:
        sqlite3.DatabaseError: the file is damaged, or belongs to another program.
    """
    deadline = time.monotonic() + _WAIT_S
    while True:
        try:
            kinds = connection.execute("SELECT type FROM sqlite_master WHERE name = 'entries'").fetchall()
            if kinds:
                columns = [(row[1], row[5]) for row in connection.execute("PRAGMA table_info(entries)")]
                if kinds != [("table",)] or columns != _COLUMNS:
                    raise sqlite3.DatabaseError("its `entries` are not those of a store")
            connection.executescript(_SCHEMA)
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def _close(connection: sqlite3.Connection, owner: int) -> None:
    """Close a connection in the process that opened it: in a fork, closing would drop the parent's locks."""
    if owner == os.getpid():
        connection.close()


def _digest(key: bytes, value: bytes) -> bytes:
    return hashlib.sha256(key + value).digest()[:CHECKSUM]


def _kind(key: bytes) -> tuple[str, str]:
    return (key.kind, key.models) if isinstance(key, Key) else ("", "")


class Store:
    """A persistent map from `address` to bytes.

    Args:
        path: the SQLite file. Its folder is created when the first entry is written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._owner = -1
        self._file = (0, 0)
        self._writable = True
        self._numbers: dict[tuple[str, str], bytes] = {}  # of the kinds in the present file, four bytes each

    def get_many(self, keys: Iterable[bytes]) -> dict[bytes, bytes]:
        """Read the entries among `keys` that exist. A damaged entry counts as absent."""
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
            found.update((key, value) for key, value, digest in rows if digest[:CHECKSUM] == _digest(key, value))
        return found

    def put_many(self, entries: Mapping[bytes, bytes]) -> None:
        """Write entries in one transaction: after a crash, either all of them exist or none."""
        with self._lock:
            for _ in range(2):  # if the file is damaged, the second attempt writes to a new one
                if not self._writable:
                    return
                try:
                    connection = self._connect(create=True)
                    if connection is None:
                        return
                    with connection:
                        numbers = self._numbered(connection, entries)
                        connection.executemany(
                            "INSERT OR REPLACE INTO entries VALUES (?, ?, ?)",
                            ((k, v, _digest(k, v) + numbers.get(_kind(k), b"")) for k, v in entries.items()),
                        )
                    self._numbers = numbers  # only now are they in the file
                    return
                except sqlite3.DatabaseError as error:
                    self._recover(error)

    def _numbered(self, connection: sqlite3.Connection, keys: Iterable[bytes]) -> dict[tuple[str, str], bytes]:
        """Give each kind among the keys a number in the file."""
        numbers = dict(self._numbers)
        for kind in {_kind(key) for key in keys if isinstance(key, Key)} - numbers.keys():
            connection.execute("INSERT OR IGNORE INTO kinds (kind, models) VALUES (?, ?)", kind)
            query = "SELECT number FROM kinds WHERE kind = ? AND models = ?"
            ((number,),) = connection.execute(query, kind).fetchall()
            numbers[kind] = int(number).to_bytes(4, "big")
        return numbers

    def run(self, work: Callable[[sqlite3.Connection], Result], absent: Result) -> Result:
        """Work on the file in one transaction; `absent` is the result if there is no file.

        Raises:
            DnRError: the file cannot be read or written.
        """
        with self._lock:
            try:
                connection = self._connect()
                if connection is None:
                    return absent
                with connection:
                    return work(connection)
            except sqlite3.DatabaseError as error:
                raise DnRError(f"the store {self.path} cannot be used ({error})") from None

    def close(self) -> None:
        """Close the file. The next call opens it again."""
        with self._lock:
            if self._connection is not None and self._owner == os.getpid():
                self._connection.close()
            self._connection = None

    def _connect(self, create: bool = False) -> sqlite3.Connection | None:
        if self._owner != os.getpid():  # a connection does not survive a fork
            self._connection, self._owner = None, os.getpid()
        if self._connection is not None:
            return self._connection
        if not os.path.exists(self.path):  # Path.exists raises if a parent folder may not be entered
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
        self._connection, self._numbers = connection, {}
        weakref.finalize(self, _close, connection, os.getpid())
        return connection

    def _read_only(self, error: sqlite3.OperationalError) -> sqlite3.Connection:
        """Open a file that cannot be written, for reading only."""
        self._give_up(error)
        where = f"{self.path.absolute().as_uri()}?mode=ro&immutable=1"
        return sqlite3.connect(where, uri=True, check_same_thread=False)

    def _recover(self, error: sqlite3.DatabaseError) -> None:
        if isinstance(error, sqlite3.OperationalError):
            self._give_up(error)
            return
        if type(error) is not sqlite3.DatabaseError:  # the caller is at fault, not the file
            raise error
        # The file is malformed or not a store: rename it, with its journal, and start a new one.
        self.close()
        if not self._writable or _identity(self.path) != self._file:
            return  # the folder is read-only, or another process has already renamed the file
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
        message = f"The store {self.path} is damaged ({error}). It was renamed to {aside.name}, and a new one started."
        warnings.warn(message, StoreWarning, 4)

    def _give_up(self, error: Exception) -> None:
        if self._writable:
            self._writable = False
            warnings.warn(
                f"The store {self.path} cannot be written ({error}). Measurements are kept in memory only. Set "
                "DNR_CACHE_DIR to a writable folder with free space.",
                StoreWarning,
                4,
            )

    def __getstate__(self) -> dict[str, object]:
        return {"path": self.path}

    def __setstate__(self, state: dict[str, Path]) -> None:
        self.__init__(state["path"])  # type: ignore[misc]
