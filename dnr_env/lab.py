"""The lab: (concept, seeds) to evidence. Every image is drawn and measured once, for all neurons and everybody."""

from __future__ import annotations

import io
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from PIL import Image
from tqdm import tqdm

from dnr_env.errors import DnRError
from dnr_env.models import Generator, Reader
from dnr_env.rows import pack, unpack
from dnr_env.store import Store, address
from dnr_env.types import FloatArray, ImageArray, IntArray

_CHUNK = 256  # images drawn, read and committed together
_DEAR_CHUNK = 32  # the same, where an image costs so much that the store keeps it
_SHOWN_CHUNKS = 8  # chunks from which on a measurement shows its progress
_FRONT_BYTES = 1 << 30

Request = tuple[str, int]
"""One image: (concept, seed)."""


class Evidence(NamedTuple):
    """What was measured on b concepts with s seeds each."""

    activations: FloatArray
    """(b, s, neurons) float32, as the target gives them; (b, s) where each concept was measured for one neuron."""
    embeddings: FloatArray
    """(b, s, dim) float32 of length one."""


@dataclass
class Counters:
    """Where a lab's images and measurements came from."""

    drawn: int = 0
    """Images generated now, to be measured or to be shown."""
    measured: int = 0
    """Measurements made now."""
    stored: int = 0
    """Measurements read from the store."""
    remembered: int = 0
    """Measurements found in memory."""

    def __str__(self) -> str:
        total = self.measured + self.stored + self.remembered
        share = f", {1 - self.measured / total:.1%} of {total:,} measurements from the cache" if total else ""
        return f"{self.drawn:,} images drawn{share}"


class Lab:
    """Generator, reader and store behind one idempotent `measure`.

    Args:
        generator: draws the images.
        reader: measures them.
        store: keeps the measurements between processes; without one they are kept in memory alone.
    """

    def __init__(self, generator: Generator, reader: Reader, store: Store | None = None) -> None:
        self.generator = generator
        self.reader = reader
        self.store = store
        self.counters = Counters()
        self._forget()

    def measure(self, concepts: Sequence[str], seeds: IntArray, neurons: IntArray | None = None) -> Evidence:
        """Measure `seeds[i]` of `concepts[i]`, each distinct image once.

        Args:
            concepts: b texts, as `Stack.normalise` returns them.
            seeds: (b, s) image seeds.
            neurons: (b,) the neuron that concept i is measured for; all neurons for None.
        """
        requests = [(text, seed) for text, row in zip(concepts, seeds.tolist(), strict=True) for seed in row]
        rows = [self._rows.get(request, -1) for request in requests]
        if -1 in rows:
            missing = list(dict.fromkeys(r for r, row in zip(requests, rows, strict=True) if row < 0))
            if len(self._rows) + len(missing) > self._limit:
                self._forget()
                missing = list(dict.fromkeys(requests))
            self._fetch(missing)
            rows = [self._rows[request] for request in requests]
            self.counters.remembered -= len(missing)
        self.counters.remembered += len(requests)
        place = np.array(rows, np.intp).reshape(seeds.shape)
        columns = slice(None) if neurons is None else neurons[:, None]
        return Evidence(self._activations[place, columns], self._embeddings[place])

    def images(self, concepts: Sequence[str], seeds: Sequence[int]) -> ImageArray:
        """Image `seeds[i]` of `concepts[i]`, from the store where it is kept: (n, height, width, 3) uint8."""
        if self.store is None or not self.generator.keeps_images:
            return self._draw(concepts, seeds)
        keys = [
            address(kind="image", generator=self.generator.fingerprint, concept=text, seed=int(seed))
            for text, seed in zip(concepts, seeds, strict=True)
        ]
        kept = self.store.get_many(keys)
        absent = [i for i, key in enumerate(keys) if key not in kept]
        fresh: dict[int, ImageArray] = {}
        if absent:
            drawn = self._draw([concepts[i] for i in absent], [int(seeds[i]) for i in absent])
            with ThreadPoolExecutor() as pool:  # encoding one after the other would keep a GPU waiting
                encoded = list(pool.map(_to_png, drawn))
            self.store.put_many(dict(zip([keys[i] for i in absent], encoded, strict=True)))
            fresh = dict(zip(absent, drawn, strict=True))
        return np.stack([fresh[i] if i in fresh else _from_png(kept[key]) for i, key in enumerate(keys)])

    def _draw(self, concepts: Sequence[str], seeds: Sequence[int]) -> ImageArray:
        images = self.generator.generate(concepts, seeds)
        if len(images) != len(concepts):  # which are missing, nobody can tell
            raise DnRError(
                f"generator: {len(images)} images came where {len(concepts)} were asked for; another will do"
            )
        self.counters.drawn += len(images)
        return images

    def _forget(self) -> None:
        width = len(self.reader.neurons) + self.reader.dim
        self._limit = _FRONT_BYTES // (4 * width)
        self._rows: dict[Request, int] = {}
        self._activations = np.empty((0, len(self.reader.neurons)), np.float32)
        self._embeddings = np.empty((0, self.reader.dim), np.float32)

    def _fetch(self, missing: list[Request]) -> None:
        """Bring images into memory, from the store or else by drawing and reading them."""
        keys = {request: self._key(request) for request in missing} if self.store else {}
        found = self.store.get_many(keys.values()) if self.store else {}
        width = len(self.reader.neurons) + self.reader.dim
        kept = {
            request: row
            for request, key in keys.items()
            if key in found and (row := unpack(found[key], width)) is not None
        }
        self.counters.stored += len(kept)
        self._remember(kept)
        absent = [request for request in missing if request not in kept]
        chunk = _DEAR_CHUNK if self.generator.keeps_images else _CHUNK
        shown = len(absent) >= chunk * (1 if self.generator.keeps_images else _SHOWN_CHUNKS)
        with tqdm(total=len(absent), unit="image", desc="measuring", leave=False, disable=not shown) as bar:
            for start in range(0, len(absent), chunk):
                part = absent[start : start + chunk]
                activations, embeddings = self.reader.read(
                    self.images([text for text, _ in part], [seed for _, seed in part])
                )
                rows = dict(zip(part, np.concatenate([activations, embeddings], axis=1), strict=True))
                if self.store:
                    self.store.put_many({keys[request]: pack(row) for request, row in rows.items()})
                self.counters.measured += len(part)
                self._remember(rows)
                bar.update(len(part))

    def _key(self, request: Request) -> bytes:
        return address(
            kind="evidence-2",
            generator=self.generator.fingerprint,
            reader=self.reader.fingerprint,
            concept=request[0],
            seed=request[1],
        )

    def _remember(self, rows: dict[Request, FloatArray]) -> None:
        first, needed = len(self._rows), len(self._rows) + len(rows)
        if needed > len(self._activations):
            space = max(needed, min(2 * len(self._activations), self._limit), 1024)
            self._activations = _resized(self._activations, space)
            self._embeddings = _resized(self._embeddings, space)
        if rows:
            self._activations[first:needed], self._embeddings[first:needed] = np.split(
                np.stack(list(rows.values())), [len(self.reader.neurons)], axis=1
            )
        self._rows.update((request, first + i) for i, request in enumerate(rows))


def _resized(array: FloatArray, rows: int) -> FloatArray:
    larger = np.empty((rows, array.shape[1]), array.dtype)
    larger[: len(array)] = array
    return larger


def _to_png(image: ImageArray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(image).save(out, "PNG", compress_level=1)  # a tenth larger than by default, in 0.6 of the time
    return out.getvalue()


def _from_png(data: bytes) -> ImageArray:
    with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
        return np.asarray(image.convert("RGB"))
