"""The store under faults: concurrent writers, kills, damage, full and read-only disks."""

from __future__ import annotations

import contextlib
import hashlib
import operator
import os
import pickle
import random
import shutil
import sqlite3
import stat
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dnr_env.evidence.store
from dnr_env.evidence.lab import Lab
from dnr_env.evidence.store import Store, StoreWarning, address, cache_dir

ENTRIES = {address(entry=i): f"value {i} ".encode() * 90 for i in range(40)}
MORE = {address(more=i): f"more {i} ".encode() * 90 for i in range(40)}

# Child processes load the module by its path: that takes milliseconds, the package a second.
_CHILD = """
import os, runpy, sys, warnings
warnings.simplefilter("error")
module = runpy.run_path(sys.argv[1])
Store, address, Path = (module[name] for name in ("Store", "address", "Path"))
store = Store(Path(sys.argv[2]))
"""


def child(code: str, path: Path, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    """A process that runs `code` with `store` on `path`; its arguments are sys.argv[3:]."""
    return subprocess.Popen(
        [sys.executable, "-c", _CHILD + code, dnr_env.evidence.store.__file__, str(path), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Callable[..., Store]]:
    """Makes stores, on one path unless another is given, and closes them."""
    stores = []

    def make(path: Path = tmp_path / "folder" / "store.sqlite") -> Store:
        stores.append(Store(path))
        return stores[-1]

    yield make
    for store in stores:
        store.close()


def written(store: Store) -> Path:
    """Write ENTRIES, close, and return the one file there is then, whose header says that it has a WAL."""
    store.put_many(ENTRIES)
    store.close()
    assert [p.name for p in store.path.parent.iterdir()] == [store.path.name]
    assert store.path.read_bytes()[18:20] == b"\2\2"
    return store.path


def assert_lab_works(lab: Lab) -> None:
    """Whatever the store does, a lab measures, and remembers in memory."""
    seeds = np.arange(5)[None]
    first = lab.measure(concepts=["red thing"], seeds=seeds).activations
    np.testing.assert_array_equal(lab.measure(concepts=["red thing"], seeds=seeds).activations, first)
    assert first.shape == (1, 5, 3)


# --- addresses -----------------------------------------------------------------------------------

FIELDS: dict[str, Any] = {"kind": "evidence", "generator": "x 1", "concept": "réd", "seed": 7, "steps": 1.5}


def test_an_address_is_the_digest_of_canonical_json() -> None:
    canonical = '{"concept":"r\\u00e9d","generator":"x 1","kind":"evidence","seed":7,"steps":1.5}'
    assert address(**FIELDS) == hashlib.sha256(canonical.encode()).digest()
    assert address(**dict(reversed(FIELDS.items()))) == address(**FIELDS)


def test_an_address_changes_with_every_field() -> None:
    variants = [{**FIELDS, name: other} for name in FIELDS for other in ("other", 8, None, True, ["réd"])]
    variants += [{k: v for k, v in FIELDS.items() if k != name} for name in FIELDS]
    variants += [FIELDS, {**FIELDS, "more": 1}, {**FIELDS, "seed": "7"}, {**FIELDS, "seed": 7.0}]
    assert len({address(**fields) for fields in variants}) == len(variants)


@given(st.text(), st.text())
@settings(deadline=None)
def test_no_two_texts_share_an_address(one: str, other: str) -> None:
    assert (address(concept=one) == address(concept=other)) == (one == other)
    assert (address(a=one, b=other) == address(a=other, b=one)) == (one == other)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1, 2}, b"bytes"])
def test_what_json_cannot_say_has_no_address(value: object) -> None:
    with pytest.raises((TypeError, ValueError)):
        address(value=value)


def test_an_address_does_not_depend_on_the_hash_seed(tmp_path: Path) -> None:
    code = "print(address(concept='réd', seed=7, tags=['a', 'b'], b=dict(y=1, x=2)).hex())"
    answers = {child(code, tmp_path / "s", PYTHONHASHSEED=seed).communicate()[0].strip() for seed in ("0", "1", "99")}
    assert answers == {address(concept="réd", seed=7, tags=["a", "b"], b={"x": 2, "y": 1}).hex()}


def test_the_folder_is_the_environments_or_the_users(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DNR_CACHE_DIR", str(tmp_path))
    assert cache_dir() == tmp_path
    monkeypatch.setenv("DNR_CACHE_DIR", "")
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_dir() == tmp_path / "xdg" / "dnr"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_dir() == Path.home() / ".cache" / "dnr"


# --- reading and writing -------------------------------------------------------------------------


def test_what_was_put_is_got(opened: Callable[..., Store]) -> None:
    store = opened()
    assert store.get_many(ENTRIES) == {}
    assert not store.path.parent.exists()
    store.put_many(ENTRIES)
    assert store.get_many(ENTRIES | MORE) == ENTRIES
    assert store.get_many([]) == {}
    store.close()
    assert store.get_many(ENTRIES) == opened().get_many(reversed(ENTRIES)) == ENTRIES
    key = next(iter(ENTRIES))
    store.put_many({key: b""})
    assert store.get_many([key]) == {key: b""}


def test_more_keys_than_one_query_holds(opened: Callable[..., Store]) -> None:
    entries = {address(n=n): n.to_bytes(4, "big") for n in range(1203)}
    opened().put_many(entries)
    assert opened().get_many(entries) == entries


def test_a_wrong_call_is_no_damage(opened: Callable[..., Store]) -> None:
    store = opened()
    store.put_many(ENTRIES)
    with pytest.raises(sqlite3.Error):
        store.get_many([object()])  # type: ignore[list-item]
    assert store.get_many(ENTRIES) == ENTRIES
    assert not list(store.path.parent.glob("*damaged*"))


def test_a_pickled_store_is_its_path(opened: Callable[..., Store]) -> None:
    store = opened()
    store.put_many(ENTRIES)
    other = pickle.loads(pickle.dumps(store))
    assert other.get_many(ENTRIES) == ENTRIES
    other.close()


def test_threads_may_share_a_store(opened: Callable[..., Store]) -> None:
    store = opened()

    def work(thread: int) -> bool:
        entries = {address(thread=thread, n=n): bytes([thread, n]) for n in range(30)}
        for key, value in entries.items():
            store.put_many({key: value})
        return store.get_many(entries) == entries

    with ThreadPoolExecutor(4) as threads:
        assert all(threads.map(work, range(4)))
    assert not list(store.path.parent.glob("*damaged*"))


# --- several processes ---------------------------------------------------------------------------

_WRITE = """
print("ready", flush=True)
sys.stdin.readline()
for n in range(25):
    store.put_many({address(writer=int(sys.argv[3]), n=n, part=p): bytes([n, p]) * 300 for p in range(4)})
"""


def test_processes_that_begin_a_file_together_lose_nothing(tmp_path: Path, opened: Callable[..., Store]) -> None:
    path = tmp_path / "new" / "store.sqlite"
    writers = [child(_WRITE, path, str(number)) for number in range(5)]
    for writer in writers:
        assert writer.stdout
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        assert writer.stdin
        writer.stdin.write("\n")
        writer.stdin.flush()
    assert [writer.communicate()[1] for writer in writers] == [""] * 5
    expected = {
        address(writer=w, n=n, part=p): bytes([n, p]) * 300 for w in range(5) for n in range(25) for p in range(4)
    }
    assert opened(path).get_many(expected) == expected


def test_a_file_that_another_process_is_beginning_is_waited_for(opened: Callable[..., Store]) -> None:
    store = opened()
    store.path.parent.mkdir()
    other = sqlite3.connect(store.path, isolation_level=None, check_same_thread=False)
    other.executescript("CREATE TABLE other (x); BEGIN IMMEDIATE;")
    end = threading.Timer(0.2, other.close)
    end.start()
    store.put_many(ENTRIES)
    end.join()
    assert store.get_many(ENTRIES) == ENTRIES


_FORK = """
store.put_many({address(who="before"): b"1"})
sys.stdout.flush()
if pid := os.fork():
    store.put_many({address(who="parent"): b"2"})
    assert os.waitpid(pid, 0)[1] == 0
    assert len(store.get_many(address(who=who) for who in ("before", "parent", "child"))) == 3
    store.put_many({address(who="after"): b"4"})
else:
    assert store.get_many([address(who="before")])
    store.put_many({address(who="child"): b"3"})
    store.close()
    os._exit(0)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_process_opens_the_file_for_itself(tmp_path: Path, opened: Callable[..., Store]) -> None:
    path = tmp_path / "store.sqlite"
    assert child(_FORK, path).communicate() == ("", "")
    keys = [address(who=who) for who in ("before", "parent", "child", "after")]
    assert sorted(opened(path).get_many(keys).values()) == [b"1", b"2", b"3", b"4"]


_ENDLESS = """
import itertools
for n in itertools.count(int(sys.argv[3])):
    store.put_many({address(n=n, part=p): b"%d %d " % (n, p) * 500 for p in range(8)})
    print(n, flush=True)
"""


def test_a_killed_writer_leaves_whole_batches_and_all_that_it_had_finished(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    pause = random.Random(0)
    finished = -1
    for _ in range(6):
        writer = child(_ENDLESS, path, str(finished + 1))
        assert writer.stdout
        writer.stdout.readline()
        time.sleep(pause.uniform(0, 0.03))
        writer.kill()
        output = writer.communicate()[0].split("\n")
        finished = max([finished + 1, *(int(line) for line in output[:-1])])
        store = Store(path)
        expected = {address(n=n, part=p): b"%d %d " % (n, p) * 500 for n in range(finished + 1) for p in range(8)}
        assert store.get_many(expected) == expected
        last = {address(n=finished + 1, part=p): b"%d %d " % (finished + 1, p) * 500 for p in range(8)}
        assert store.get_many(last) in ({}, last)
        store.close()


# --- damage --------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [20, 99, 4000, 9000, 20_000])
def test_a_truncated_file_is_set_aside(opened: Callable[..., Store], size: int) -> None:
    path = written(opened())
    os.truncate(path, size)
    store = opened()
    with pytest.warns(StoreWarning, match=r"store\.sqlite is damaged .*store\.sqlite\.damaged-0, and a new one"):
        found = store.get_many(ENTRIES)
    assert found.items() <= ENTRIES.items()
    store.put_many(ENTRIES)
    assert opened().get_many(ENTRIES) == ENTRIES
    assert path.with_name("store.sqlite.damaged-0").stat().st_size == size


@pytest.mark.parametrize("content", [random.Random(0).randbytes(30_000), b"SQLite format 3\0" + bytes(9000), b"text\n"])
def test_what_is_no_store_is_set_aside_and_the_first_batch_is_kept(
    opened: Callable[..., Store], content: bytes, make_lab: Callable[..., Lab]
) -> None:
    store = opened()
    store.path.parent.mkdir()
    for number in range(2):
        store.path.write_bytes(content)
        with pytest.warns(StoreWarning, match=f"damaged-{number}"):
            store.put_many(ENTRIES)
        store.close()
        assert store.get_many(ENTRIES) == ENTRIES
        assert store.path.with_name(f"store.sqlite.damaged-{number}").read_bytes() == content
        store.close()
    assert_lab_works(make_lab(store))


FOREIGN = {
    "other columns": "CREATE TABLE entries (id INTEGER PRIMARY KEY, title TEXT)",
    "no primary key": "CREATE TABLE entries (key BLOB, value BLOB, digest BLOB)",
    "one more column": "CREATE TABLE entries (key BLOB PRIMARY KEY, value BLOB, digest BLOB, more BLOB NOT NULL)",
    "a view": "CREATE VIEW entries AS SELECT 1 AS key, 2 AS value, 3 AS digest",
    "an index": "CREATE TABLE other (key BLOB); CREATE INDEX entries ON other (key)",
}


@pytest.mark.parametrize("made", FOREIGN.values(), ids=FOREIGN)
@pytest.mark.parametrize("reads_first", [True, False])
def test_the_database_of_another_program_is_set_aside_as_it_is(
    opened: Callable[..., Store], made: str, reads_first: bool, make_lab: Callable[..., Lab]
) -> None:
    store = opened()
    store.path.parent.mkdir()
    with contextlib.closing(sqlite3.connect(store.path)) as connection:
        connection.executescript(made)
    content = store.path.read_bytes()
    says = r"is damaged \(its `entries` are not those of a store\).*damaged-0"
    use: Callable[[Store], object] = operator.methodcaller("get_many" if reads_first else "put_many", ENTRIES)
    with pytest.warns(StoreWarning, match=says) as caught:
        assert not use(store)
    assert len(caught) == 1
    store.put_many(ENTRIES)
    assert opened().get_many(ENTRIES) == ENTRIES
    assert store.path.with_name("store.sqlite.damaged-0").read_bytes() == content
    assert_lab_works(make_lab(store))


def test_the_tables_of_others_beside_the_stores_own_do_not_matter(opened: Callable[..., Store]) -> None:
    path = written(opened())
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript("CREATE TABLE others (id INTEGER PRIMARY KEY)")
    assert opened().get_many(ENTRIES) == ENTRIES
    assert not list(path.parent.glob("*damaged*"))


def test_an_empty_file_is_an_empty_store(opened: Callable[..., Store]) -> None:
    store = opened()
    store.path.parent.mkdir()
    store.path.touch()
    assert store.get_many(ENTRIES) == {}
    store.put_many(ENTRIES)
    assert opened().get_many(ENTRIES) == ENTRIES


def test_a_file_of_another_time_is_left_alone_with_one_warning(opened: Callable[..., Store]) -> None:
    path = written(opened())
    content = bytearray(path.read_bytes())
    content[47] = 9  # the schema's format, of which SQLite knows 1 to 4
    path.write_bytes(content)
    store = opened()
    with pytest.warns(StoreWarning, match="unsupported file format") as caught:
        assert [store.get_many(ENTRIES) for _ in range(3)] == [{}] * 3
    assert len(caught) == 1
    assert path.read_bytes() == content


def test_a_flipped_byte_in_a_value_is_a_miss(opened: Callable[..., Store]) -> None:
    path = written(opened())
    key, value = list(ENTRIES.items())[17]
    content = bytearray(path.read_bytes())
    assert content.count(value) == 1
    content[content.index(value) + 300] ^= 4
    path.write_bytes(content)
    store = opened()
    assert store.get_many(ENTRIES) == {k: v for k, v in ENTRIES.items() if k != key}
    store.put_many({key: value})
    assert opened().get_many(ENTRIES) == ENTRIES


@pytest.mark.parametrize("fault", ["flip", "truncate"])
def test_no_damage_gives_a_wrong_value_or_an_error(opened: Callable[..., Store], fault: str) -> None:
    path = written(opened())
    content = path.read_bytes()
    chance = random.Random(fault)
    for number in range(120):
        damaged = bytearray(content)
        if fault == "flip":
            # Half of them in the header and the schema, where one bit decides over the whole file.
            damaged[chance.randrange(200 if number % 2 else len(content))] ^= 1 << chance.randrange(8)
        else:
            del damaged[chance.randrange(len(content)) :]
        path = path.with_name(f"{fault}-{number}")
        path.write_bytes(damaged)
        store = opened(path)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", StoreWarning)
            assert store.get_many(ENTRIES).items() <= ENTRIES.items()
            store.put_many(MORE)
            assert store.get_many(MORE).items() <= MORE.items()
            store.put_many(MORE)
            gave_up = any("cannot be written" in str(warning.message) for warning in caught)
            # At most one row lies out of order for ever in what is left of an old page.
            assert gave_up or len(store.get_many(MORE)) >= len(MORE) - 1
            store.close()


def test_a_new_file_is_not_set_aside_for_the_damage_of_the_old_one(opened: Callable[..., Store]) -> None:
    """Two processes have a file open; it is damaged, and one of them begins a new one before the other looks."""
    many = {address(n=n): b"%d " % n * 500 for n in range(3000)}
    first, second = opened(), opened()
    first.put_many(many)
    first.close()
    some = list(many)[:1]
    assert first.get_many(some) == second.get_many(some) != {}
    with first.path.open("r+b") as file:
        file.write(bytes(first.path.stat().st_size))
    with pytest.warns(StoreWarning, match="damaged-0"):
        first.get_many(many)
    first.put_many(ENTRIES)
    second.get_many(many)
    assert second.get_many(ENTRIES) == ENTRIES
    assert not first.path.with_name("store.sqlite.damaged-1").exists()


# --- disks that cannot be written ----------------------------------------------------------------


def test_on_a_full_disk_the_work_goes_on(
    opened: Callable[..., Store], monkeypatch: pytest.MonkeyPatch, make_lab: Callable[..., Lab]
) -> None:
    written(opened())
    monkeypatch.setattr(
        dnr_env.evidence.store, "_SCHEMA", dnr_env.evidence.store._SCHEMA + "PRAGMA max_page_count = 12;"
    )
    store = opened()
    big = {address(big=n): bytes(9000) for n in range(50)}
    with pytest.warns(StoreWarning, match=r"full.* kept in memory only\. Set DNR_CACHE_DIR") as caught:
        store.put_many(big)
    assert len(caught) == 1
    store.put_many(big)
    assert store.get_many(big | ENTRIES) == ENTRIES
    assert_lab_works(make_lab(store))


def test_behind_a_lock_that_is_never_released_the_work_goes_on(
    opened: Callable[..., Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    written(opened())
    monkeypatch.setattr(dnr_env.evidence.store, "_WAIT_S", 0.05)
    store = opened()
    blocker = sqlite3.connect(store.path)
    blocker.execute("BEGIN IMMEDIATE")
    with pytest.warns(StoreWarning, match="locked"):
        store.put_many(MORE)
    blocker.close()
    assert store.get_many(ENTRIES | MORE) == ENTRIES


def test_under_a_file_there_is_no_folder(
    tmp_path: Path, opened: Callable[..., Store], make_lab: Callable[..., Lab]
) -> None:
    (tmp_path / "file").touch()
    store = opened(tmp_path / "file" / "sub" / "store.sqlite")
    assert store.get_many(ENTRIES) == {}
    with pytest.warns(StoreWarning, match="DNR_CACHE_DIR"):
        assert_lab_works(make_lab(store))
    assert_lab_works(make_lab(store))


@pytest.fixture
def own_folder(tmp_path: Path) -> Iterator[Path]:
    """A folder whose permissions count: root, who may write everywhere, becomes somebody else for the test.

    `tmp_path`, which is root's, is not used, but other fixtures need it made before.
    """
    if not hasattr(os, "geteuid"):
        pytest.skip("no permissions of this kind on this system")
    root = os.geteuid() == 0
    folder = Path(tempfile.mkdtemp())
    if root:
        os.chown(folder, 65534, 65534)
        os.seteuid(65534)
    try:
        yield folder
    finally:
        if root:
            os.seteuid(0)
        for path in (folder, *folder.rglob("*")):
            path.chmod(path.stat().st_mode | stat.S_IRWXU)
        shutil.rmtree(folder)


@pytest.mark.parametrize("name", ["store.sqlite", "50% of #1?.sqlite"])
@pytest.mark.parametrize("folder_too", [True, False])
def test_a_read_only_store_is_read(
    own_folder: Path, opened: Callable[..., Store], make_lab: Callable[..., Lab], name: str, folder_too: bool
) -> None:
    path = written(opened(own_folder / name))
    path.chmod(0o444)
    if folder_too:
        own_folder.chmod(0o555)
    store = opened(path)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert store.get_many(ENTRIES) == ENTRIES
        store.put_many(MORE)
        assert store.get_many(ENTRIES | MORE) == ENTRIES
        assert_lab_works(make_lab(store))
    assert [warning.category for warning in caught] == [StoreWarning]


def test_in_a_read_only_folder_the_work_goes_on(
    own_folder: Path, opened: Callable[..., Store], make_lab: Callable[..., Lab]
) -> None:
    own_folder.chmod(0o555)
    for path in (own_folder / "store.sqlite", own_folder / "sub" / "store.sqlite"):
        with pytest.warns(StoreWarning, match="cannot be written"):
            assert_lab_works(make_lab(opened(path)))


def test_in_a_closed_folder_the_work_goes_on(
    own_folder: Path, opened: Callable[..., Store], make_lab: Callable[..., Lab]
) -> None:
    inside = own_folder / "sub" / "store.sqlite"
    own_folder.chmod(0)
    with pytest.warns(StoreWarning, match="cannot be written"):
        assert_lab_works(make_lab(opened(inside)))
    own_folder.chmod(0o755)


def test_damage_in_a_read_only_folder_stays_where_it_is(
    own_folder: Path, opened: Callable[..., Store], make_lab: Callable[..., Lab]
) -> None:
    path = own_folder / "store.sqlite"
    path.write_bytes(b"no store " * 2000)
    own_folder.chmod(0o555)
    with pytest.warns(StoreWarning, match="cannot be written"):
        assert_lab_works(make_lab(opened(path)))
    assert [p.name for p in own_folder.iterdir()] == ["store.sqlite"]


# --- no pickle -----------------------------------------------------------------------------------


TRAP = b"cos\nabort\n)R.".ljust(1 + 4 * 7, b"\0")
"""A pickle as long as the evidence of one image. Loading it ends the process."""


def test_planted_pickles_are_bytes_like_any_other(opened: Callable[..., Store], make_lab: Callable[..., Lab]) -> None:
    loading = subprocess.run([sys.executable, "-c", f"import pickle; pickle.loads({TRAP!r})"], capture_output=True)
    assert loading.returncode != 0
    store = opened()
    make_lab(store).measure(concepts=["red thing"], seeds=np.arange(3)[None])
    key = address(kind="evidence-2", generator="noise", reader="fake", concept="red thing", seed=1)
    assert len(store.get_many([key])[key]) == len(TRAP)
    store.put_many({key: TRAP})
    assert opened().get_many([key]) == {key: TRAP}
    activations, embeddings = make_lab(store).measure(concepts=["red thing"], seeds=np.arange(3)[None])
    assert activations.shape[:2] == embeddings.shape[:2] == (1, 3)  # what is no row is measured again
    assert opened().get_many([key])[key] != TRAP
