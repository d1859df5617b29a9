"""Measures the probe images, each once. An interrupted run is resumed, and a second run reads no image again."""

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

from dnr_env.errors import DnRError, unknown
from dnr_env.evidence.corruptions import CORRUPTIONS, VERSION
from dnr_env.evidence.decode import UnusableImage
from dnr_env.evidence.image_set import ImageSet, check_enough
from dnr_env.evidence.rows import pack, unpack
from dnr_env.evidence.store import Store, address, cache_dir
from dnr_env.interfaces import Reader
from dnr_env.progress import bar
from dnr_env.types import FloatArray, ImageArray

_MAPPED_BYTES = 1 << 30  # activations of this size or more stay on the disk
_SHOW_PROGRESS = 2000  # a measurement of this many images or more shows its progress
_THREADS = 4  # threads that decode files


class Measurement(NamedTuple):
    """The measurements of the n usable images of a set."""

    activations: FloatArray
    """(n, neurons) float32."""
    embeddings: FloatArray
    """(n, dim) float32."""
    indices: list[int]
    """The indices of the images in the set, ascending."""


class _Row(NamedTuple):
    place: int  # in the list of known images
    activations: FloatArray
    embedding: FloatArray


def measure_images(
    images: ImageSet, reader: Reader, store: Store | None, corruption: str | None = None, batch: int = 64
) -> Measurement:
    """Measure each usable image of a set.

    Unreadable and duplicate images are skipped and counted in `images.skipped`. The files of the next batch are decoded
    while the current batch is measured.

    Args:
        images: the probe images.
        reader: measures the images.
        store: keeps the measurements of each image.
        corruption: one of CORRUPTIONS, applied to every image first.
        batch: the number of images that are read, measured and committed together.

    Returns:
        The measurements, and the indices of their images. Activations of 1 GiB or more are a read-only memory map of a
        file in the cache folder, which later runs reuse.

    Raises:
        DnRError: there is no such corruption, too few images are usable, or the cache folder has too little space.
    """
    if corruption is not None and corruption not in CORRUPTIONS:
        raise unknown("corruption", corruption, CORRUPTIONS)
    work = _Work(images, reader, store, corruption, batch)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")  # Pillow warns about every unusual file
        known = work.known()
        check_enough(images, len(known))
        if len(known) * len(reader.neurons) * 4 < _MAPPED_BYTES:
            return _in_memory(work, known)
        return _on_disk(work, known)


def _in_memory(work: _Work, known: list[tuple[int, str]]) -> Measurement:
    activations = np.empty((len(known), len(work.reader.neurons)), np.float32)
    embeddings = np.empty((len(known), work.reader.dim), np.float32)
    indices: list[int] = []
    for place, *row in work.rows(known):
        activations[len(indices)], embeddings[len(indices)] = row
        indices.append(known[place][0])
    check_enough(work.images, len(indices))
    return Measurement(activations[: len(indices)], embeddings[: len(indices)], indices)


@dataclass(frozen=True)
class _Work:
    """What is measured, and with what."""

    images: ImageSet
    reader: Reader
    store: Store | None
    corruption: str | None
    batch: int

    def address(self, kind: str, content: object) -> bytes:
        """The store's key for what is measured on some content."""
        corruption = f"{self.corruption} {VERSION}" if self.corruption else None
        return address(kind=kind, reader=self.reader.fingerprint, image=content, corruption=corruption)

    def known(self) -> list[tuple[int, str]]:
        """The indices and keys of the images that are not duplicates. Decoding may still find them unusable."""
        found = []
        count = len(self.images)
        for index in bar(range(count), "probe images: content", unit="image", disable=count < _SHOW_PROGRESS):
            with contextlib.suppress(UnusableImage):
                found.append((index, self.images.key(index)))
        return found

    def rows(self, known: list[tuple[int, str]]) -> Iterator[_Row]:
        """Yield the rows of the usable images in order, from the store or measured now."""
        with (
            ThreadPoolExecutor(_THREADS) as pool,
            bar(total=len(known), desc="probe images", unit="image", disable=len(known) < _SHOW_PROGRESS) as shown,
        ):
            begun: deque[tuple[dict[int, _Row], dict[int, Future[ImageArray | None]]]] = deque()
            for start in range(0, len(known), self.batch):
                places = range(start, min(start + self.batch, len(known)))
                rows = self._stored(known, places)
                missing = [place for place in places if place not in rows]
                begun.append((rows, {place: pool.submit(self._load, known[place][0]) for place in missing}))
                if len(begun) > 1:
                    yield from self._finished(known, *begun.popleft())
                shown.update(len(places))
            for rows, loading in begun:
                yield from self._finished(known, rows, loading)

    def _load(self, index: int) -> ImageArray | None:
        try:
            image = self.images.image(index)
        except UnusableImage:
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
        """Yield the rows of one batch: `rows` came from the store, and the other images are being loaded."""
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


def _on_disk(work: _Work, known: list[tuple[int, str]]) -> Measurement:
    """Do the same as `_in_memory`, with the activations in a file named after everything they depend on."""
    name = work.address("probe set", [key for _, key in known]).hex()
    path = cache_dir() / "probes" / f"{name}.npy"
    kept = None
    with contextlib.suppress(OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile):  # missing or damaged
        kept = _opened(path)
    try:
        if kept is None:
            _write(work, known, path)
        activations, embeddings, places = kept or _opened(path)
    except OSError as error:
        if error.errno is None:  # raised by a model library, which may use OSError for anything
            raise
        size = len(known) * len(work.reader.neurons) * 4 / (1 << 30)
        raise DnRError(
            f"`DNR_CACHE_DIR` must be a folder with room for {size:.1f} GiB of activations (got {path.parent.parent}: "
            f"{error.strerror or error}); set it to another folder, select fewer neurons or lower `probe.limit`"
        ) from None
    for place in set(range(len(known))) - set(places):
        with contextlib.suppress(UnusableImage):  # reading the image again counts it as skipped
            work.images.image(known[place][0])
    return Measurement(activations, embeddings, [known[place][0] for place in places])


def _rest(path: Path) -> Path:
    """The file of the two smaller arrays. It is written before the file of the activations."""
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
    # The file is written, not mapped: a full disk is an error for a writer, but kills a process that writes to a map.
    with _replacing(path) as file:
        file.write(header(len(known)))
        for row in work.rows(known):
            file.write(row.activations.astype("<f4").tobytes())
            embeddings[len(places)] = row.embedding
            places.append(row.place)
        check_enough(work.images, len(places))
        file.seek(0)
        file.write(header(len(places)))  # the header keeps its length, as numpy pads it for any number of rows
        with _replacing(_rest(path)) as other:
            np.savez(other, embeddings=embeddings[: len(places)], places=np.array(places))


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[io.BufferedWriter]:
    """Open a file to write that replaces `path` once it is complete."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
