"""One temporary cache and one thread for the whole session, set before anything of the package is imported."""

from __future__ import annotations

import atexit
import hashlib
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence

_CACHE = tempfile.mkdtemp(prefix="dnr-tests-")
atexit.register(shutil.rmtree, _CACHE, ignore_errors=True)
os.environ["DNR_CACHE_DIR"] = _CACHE
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np  # noqa: E402
import pytest  # noqa: E402

import dnr_env  # noqa: E402
from dnr_env.lab import Lab  # noqa: E402
from dnr_env.stacks import Stack  # noqa: E402
from dnr_env.store import Store  # noqa: E402
from dnr_env.types import FloatArray, ImageArray  # noqa: E402


@pytest.fixture(scope="session")
def stack() -> Stack:
    """The embedded world, on a store of the session's own."""
    return dnr_env.load_stack("shapes")


class CountingGenerator:
    """Noise that is a function of concept and seed; `drawn` counts each image it was asked for."""

    fingerprint = "noise"

    def __init__(self, keeps_images: bool = False) -> None:
        self.keeps_images = keeps_images
        self.drawn: Counter[tuple[str, int]] = Counter()

    def generate(self, concepts: Sequence[str], seeds: Sequence[int]) -> ImageArray:
        self.drawn.update(zip(concepts, seeds, strict=True))
        pairs = zip(concepts, seeds, strict=True)
        digests = [hashlib.sha512(f"{concept} {seed}".encode()).digest() for concept, seed in pairs]
        return np.stack([np.frombuffer(digest[:48], np.uint8).reshape(4, 4, 3) for digest in digests])


class FakeReader:
    """Three neurons, the first of which is NaN on every other image, and embeddings of length one."""

    neurons = ("a:0", "a:1", "b:0")
    dim = 4

    def __init__(self, fingerprint: str = "fake") -> None:
        self.fingerprint = fingerprint

    def read(self, images: ImageArray) -> tuple[FloatArray, FloatArray]:
        pixels = images.reshape(len(images), -1).astype(np.float32)
        activations = pixels[:, :3] / 7
        activations[pixels[:, 3] % 2 == 0, 0] = np.nan
        embeddings = pixels[:, 4:8] + 1
        return activations, embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)


LabMaker = Callable[..., Lab]


@pytest.fixture
def make_lab() -> LabMaker:
    """A lab of the two above; `make_lab(store)`, `make_lab(store, keeps_images=True, reader="another")`."""

    def make(store: Store | None = None, keeps_images: bool = False, reader: str = "fake") -> Lab:
        return Lab(CountingGenerator(keeps_images), FakeReader(reader), store)

    return make
