"""The probe images through the reader, each once: an interrupted run goes on where it was, a second reads nothing."""

from __future__ import annotations

import contextlib
import io
import os
import warnings
import zipfile
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from dnr_env.describe.corruptions import CORRUPTIONS, VERSION
from dnr_env.describe.decode import Unusable
from dnr_env.describe.images import ImageSet, check_enough
from dnr_env.errors import DnRError, unknown
from dnr_env.models import Reader
from dnr_env.rows import pack, unpack
from dnr_env.store import Store, address, cache_dir
from dnr_env.types import FloatArray, ImageArray

_MAPPED_BYTES = 1 << 30  # activations from which on they stay on the disk
_SHOW_PROGRESS = 2000  # images from which on a measurement shows its progress
_THREADS = 4  # that decode files


class Measured(NamedTuple):
    """The usable images of a set, n of them."""

    activations: FloatArray
    """(n, neurons) float32."""
    embeddings: FloatArray
    """(n, dim) float32."""
    indices: list[int]
    """Their indices in the set, ascending."""


class _Row(NamedTuple):
    place: int  # in the list of known images
    activations: FloatArray
    embedding: FloatArray


def measure_images(
    images: ImageSet, reader: Reader, store: Store | None, corruption: str | None = None, batch: int = 64
) -> Measured:
    """What the reader makes of each usable image.

    Images that cannot be read, and repeated ones, are passed over and counted in `images.skipped`. The files of the
    next batch are decoded while this one is measured.

    Args:
        images: the probe images.
        reader: measures them.
        store: keeps each image's row.
        corruption: one of CORRUPTIONS, which every image goes through first.
        batch: images that are read, measured and committed together.

    Returns:
        Arrays, and the indices of their rows. Activations of 1 GiB and more are a read-only memory map of a file in the
        cache folder, which later runs use again.

    Raises:
        DnRError: there is no such corruption, too few images are usable, or the cache folder has no space for the map.
    """
    if corruption is not None and corruption not in CORRUPTIONS:
        raise unknown("corruption", corruption, CORRUPTIONS)
    work = _Work(images, reader, store, corruption, batch)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")  # each odd file has one
        known = work.known()
        check_enough(images, len(known))
        if len(known) * len(reader.neurons) * 4 < _MAPPED_BYTES:
            return _in_memory(work, known)
        return _on_disk(work, known)


def _in_memory(work: _Work, known: list[tuple[int, str]]) -> Measured:
    activations = np.empty((len(known), len(work.reader.neurons)), np.float32)
    embeddings = np.empty((len(known), work.reader.dim), np.float32)
    indices: list[int] = []
    for place, *row in work.rows(known):
        activations[len(indices)], embeddings[len(indices)] = row
        indices.append(known[place][0])
    check_enough(work.images, len(indices))
    return Measured(activations[: len(indices)], embeddings[: len(indices)], indices)


@dataclass(frozen=True)
class _Work:
    """One measurement."""

    images: ImageSet
    reader: Reader
    store: Store | None
    corruption: str | None
    batch: int

    def address(self, kind: str, content: object) -> bytes:
        """The key of what is measured here on some content."""
        corruption = f"{self.corruption} {VERSION}" if self.corruption else None
        return address(kind=kind, reader=self.reader.fingerprint, image=content, corruption=corruption)

    def known(self) -> list[tuple[int, str]]:
        """Index and key of the images whose content is known and new; whether it is an image is seen later."""
        found = []
        count = len(self.images)
        for index in tqdm(range(count), "probe images: content", unit="image", disable=count < _SHOW_PROGRESS):
            with contextlib.suppress(Unusable):
                found.append((index, self.images.key(index)))
        return found

    def rows(self, known: list[tuple[int, str]]) -> Iterator[_Row]:
        """The rows of the usable ones among the known images, in order, from the store or measured."""
        with (
            ThreadPoolExecutor(_THREADS) as pool,
            tqdm(total=len(known), desc="probe images", unit="image", disable=len(known) < _SHOW_PROGRESS) as bar,
        ):
            begun: deque[tuple[dict[int, _Row], dict[int, Future[ImageArray | None]]]] = deque()
            for start in range(0, len(known), self.batch):
                places = range(start, min(start + self.batch, len(known)))
                rows = self._stored(known, places)
                missing = [place for place in places if place not in rows]
                begun.append((rows, {place: pool.submit(self._load, known[place][0]) for place in missing}))
                if len(begun) > 1:
                    yield from self._finished(known, *begun.popleft())
                bar.update(len(places))
            for rows, loading in begun:
                yield from self._finished(known, rows, loading)

    def _load(self, index: int) -> ImageArray | None:
        try:
            image = self.images.image(index)
        except Unusable:
            return None
        return CORRUPTIONS[self.corruption](image) if self.corruption else image

    def _stored(self, known: list[tuple[int, str]], places: Sequence[int]) -> dict[int, _Row]:
        if self.store is None:
            return {}
        keys = {place: self.address("probe", known[place][1]) for place in places}
        kept = self.store.get_many(keys.values())
        rows = {}
        size = 4 * self.reader.dim
        for place, key in keys.items():
            data = kept.get(key, b"")
            activations = unpack(data[size:], len(self.reader.neurons))
            if activations is not None:
                rows[place] = _Row(place, activations, np.frombuffer(data[:size], "<f4").astype(np.float32))
        return rows

    def _finished(
        self, known: list[tuple[int, str]], rows: dict[int, _Row], loading: dict[int, Future[ImageArray | None]]
    ) -> Iterator[_Row]:
        """The rows of one batch: `rows` of it are stored, the other images are being loaded."""
        loaded = {place: image for place, future in loading.items() if (image := future.result()) is not None}
        if loaded:
            read = self.reader.read(list(loaded.values()))
            activations, embeddings = (np.asarray(part, np.float32) for part in read)
            fresh = {place: _Row(place, activations[i], embeddings[i]) for i, place in enumerate(loaded)}
            if self.store is not None:
                self.store.put_many(
                    {
                        self.address("probe", known[place][1]): row.embedding.astype("<f4").tobytes()
                        + pack(row.activations)
                        for place, row in fresh.items()
                    }
                )
            rows = rows | fresh
        yield from (rows[place] for place in sorted(rows))


def _on_disk(work: _Work, known: list[tuple[int, str]]) -> Measured:
    """The same as `_in_memory`, with the activations in a file that is named after all that they depend on."""
    name = work.address("probe set", [key for _, key in known]).hex()
    path = cache_dir() / "probes" / f"{name}.npy"
    kept = None
    with contextlib.suppress(OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile):  # not there, or damaged
        kept = _opened(path)
    try:
        if kept is None:
            _write(work, known, path)
        activations, embeddings, places = kept or _opened(path)
    except OSError as error:
        if error.errno is None:  # the reader's: libraries of models use OSError for what they like
            raise
        size = len(known) * len(work.reader.neurons) * 4 / (1 << 30)
        raise DnRError(
            f"probe: {size:.1f} GiB of activations cannot be kept in {path.parent} ({error.strerror or error}); set "
            "DNR_CACHE_DIR to a folder with space, or name fewer neurons or a lower probe.limit"
        ) from None
    for place in set(range(len(known))) - set(places):
        with contextlib.suppress(Unusable):  # so that it is counted
            work.images.image(known[place][0])
    return Measured(activations, embeddings, [known[place][0] for place in places])


def _rest(path: Path) -> Path:
    """The file of the two smaller arrays, written before that of the activations."""
    return path.with_suffix(".npz")


def _opened(path: Path) -> tuple[FloatArray, FloatArray, list[int]]:
    activations: FloatArray = np.load(path, mmap_mode="r")
    with np.load(_rest(path)) as kept:
        return activations, kept["embeddings"], kept["places"].tolist()


def _write(work: _Work, known: list[tuple[int, str]], path: Path) -> None:
    def header(rows: int) -> bytes:
        buffer = io.BytesIO()
        shape = (rows, len(work.reader.neurons))
        np.lib.format.write_array_header_1_0(buffer, {"descr": "<f4", "fortran_order": False, "shape": shape})
        return buffer.getvalue()

    path.parent.mkdir(parents=True, exist_ok=True)
    places: list[int] = []
    embeddings = np.empty((len(known), work.reader.dim), np.float32)
    # Written, not mapped: a full disk is an error to a writer and death to whoever maps.
    with _replacing(path) as file:
        file.write(header(len(known)))
        for row in work.rows(known):
            file.write(row.activations.astype("<f4").tobytes())
            embeddings[len(places)] = row.embedding
            places.append(row.place)
        check_enough(work.images, len(places))
        file.seek(0)
        file.write(header(len(places)))  # of the same length: numpy leaves room for any number of rows
        with _replacing(_rest(path)) as other:
            np.savez(other, embeddings=embeddings[: len(places)], places=np.array(places))


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[io.BufferedWriter]:
    """A file to write, which takes the place of `path` when it is whole."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
