"""A generator that retrieves: the image of a concept is a real one, near to the concept in the embedder's space."""

from __future__ import annotations

import hashlib
import json
import logging
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from PIL import Image, ImageOps

from dnr_env.errors import DnRError
from dnr_env.evidence.decode import UnusableImage
from dnr_env.evidence.image_set import ImageSet, reasons
from dnr_env.evidence.measure import measure_images
from dnr_env.evidence.store import Store
from dnr_env.models.embedder import OpenClipEmbedder
from dnr_env.models.missing import NoEmbedder
from dnr_env.neurons import Neurons
from dnr_env.seeds import Purpose, place_of
from dnr_env.types import FloatArray, ImageArray, Images, IntArray

_log = logging.getLogger("dnr_env")
_WORDS = 8
"""Numbers of 16 bits that identify the pixels of an image."""
_PARTS = {Purpose.SEARCH: "the search", Purpose.REWARD: "the reward", Purpose.JUDGE: "the judge"}
_RANKS = 4096  # ranks of a text in memory
_TEXTS = 1024  # texts whose ranks are in memory
_THREADS = 4  # threads that decode files


class ContentReader:
    """Reads what tells images apart, by their pixels, and their embeddings.

    Args:
        embedder: embeds the images.
    """

    neurons = Neurons(f"pixels:{i}" for i in range(_WORDS))

    def __init__(self, embedder: OpenClipEmbedder | NoEmbedder) -> None:
        self._embedder = embedder
        self.fingerprint = f"pixels; {embedder.fingerprint}"
        self.dim = embedder.dim

    def read(self, images: Images) -> tuple[FloatArray, FloatArray]:
        """Map n images (h, w, 3) uint8 to digests (n, 8), 16 bits in each number, and embeddings (n, dim), float32."""
        return np.stack([_digest(image) for image in images]), self._embedder.embed_images(images)


def _digest(image: ImageArray) -> FloatArray:
    content = hashlib.sha256(repr(image.shape).encode() + image.tobytes()).digest()
    return np.frombuffer(content, "<u2")[:_WORDS].astype(np.float32)


@dataclass(frozen=True)
class _Part:
    """The images for one purpose, sorted by their pixels' digests."""

    indices: IntArray
    """(n,) in the set."""
    embeddings: FloatArray
    """(n, dim) unit vectors."""


@dataclass(frozen=True)
class _Pool:
    """The images that may be retrieved."""

    content: str
    parts: dict[Purpose, _Part]
    left_out: int
    """How many images are also in the probe set."""


class RetrievalGenerator:
    """Returns images of a set, nearest first, in the place of drawings.

    Images that are also in the probe set are left out. The rest is divided by the digests of the pixels: a quarter is
    for the search, a quarter for the reward and half for the judge. No image of one purpose serves another, whichever
    sets and files hold it.

    Seed i of block b takes the image of rank `i * sets + k` of its purpose's part, where k is the place of b modulo
    `sets` in a permutation that i determines. So the rank depends on the seed alone; blocks with different remainders
    share no image of a concept, and blocks with the same remainder share all of them.

    The set is embedded once, at the first use. The store keeps the embeddings.

    Args:
        images: opens the set.
        probe: opens the probe set.
        embedder: embeds images and texts.
        store: keeps the embeddings.
        option: the option that names the set, for messages.
        template: the text that is compared with the images, in which the concept replaces the one {}.
        size: height and width in pixels: images are scaled to it, and cropped at the centre to a square.
        sets: how many disjoint sets of images there are for a concept.

    Raises:
        DnRError: the template is invalid.
    """

    keeps_images = False

    def __init__(
        self,
        images: Callable[[], ImageSet],
        probe: Callable[[], ImageSet],
        embedder: OpenClipEmbedder | NoEmbedder,
        store: Store | None = None,
        *,
        option: str = "generator.images",
        template: str = "a photo of {}",
        size: int = 512,
        sets: int = 2,
    ) -> None:
        if template.count("{}") != 1:
            raise DnRError(
                f"`{option.rpartition('.')[0]}.template` must contain one {{}} for the concept, like 'a photo of {{}}' "
                f"(got {template!r})"
            )
        self._open, self._open_probe = images, probe
        self._embedder, self._store = embedder, store
        self._option = option
        self.template, self.size, self.sets = template, size, sets
        self._orders: OrderedDict[tuple[Purpose, str], IntArray] = OrderedDict()

    @cached_property
    def fingerprint(self) -> str:
        """Identifies the images that may be retrieved, the embedder and the settings. Computing it embeds the set."""
        return "retrieval-1 " + json.dumps(
            {
                "images": self._pool.content,
                "embedder": self._embedder.fingerprint,
                "template": self.template,
                "size": self.size,
                "sets": self.sets,
            }
        )

    def generate(self, concepts: Sequence[str], seeds: Sequence[int]) -> ImageArray:
        """Retrieve image `seeds[i]` of `concepts[i]`, for each i: (n, size, size, 3) uint8.

        Raises:
            DnRError: the set has too few images, or an image of it is no longer there.
        """
        texts = [self.template.replace("{}", concept) for concept in concepts]
        found = [self._index(text, int(seed)) for text, seed in zip(texts, seeds, strict=True)]
        with ThreadPoolExecutor(_THREADS) as pool:
            pictures = list(pool.map(self._read, found))
        return np.stack(pictures) if pictures else np.empty((0, self.size, self.size, 3), np.uint8)

    def _index(self, text: str, seed: int) -> int:
        """The index in the set of one image of a text."""
        purpose, block, position = place_of(seed)
        within = np.random.default_rng([position, self.sets]).permutation(self.sets)[block % self.sets]
        rank = position * self.sets + int(within)
        part = self._pool.parts[purpose]
        if rank >= len(part.indices):
            needed = (position + 1) * self.sets
            raise DnRError(
                f"`{self._option}` must have at least {needed:,} images for {_PARTS[purpose]}, its part of the set "
                f"(got {len(part.indices):,} in {self._images.name}; {self._pool.left_out:,} of the set were left out "
                "because they are in the probe set)"
            )
        return int(part.indices[self._nearest(text, purpose, rank + 1)[rank]])

    def _nearest(self, text: str, purpose: Purpose, count: int) -> IntArray:
        """The places in a part of the images nearest to a text, `count` of them or more, nearest first."""
        kept = self._orders.pop((purpose, text), None)
        if kept is None or len(kept) < count:
            similarities = self._pool.parts[purpose].embeddings @ self._embedder.embed_texts([text])[0]
            kept = np.argsort(-similarities, kind="stable")[: max(count, _RANKS)].copy()
        self._orders[purpose, text] = kept
        if len(self._orders) > _TEXTS:
            self._orders.popitem(last=False)
        return kept

    def _read(self, index: int) -> ImageArray:
        try:
            image = self._images.image(index)
        except UnusableImage as error:
            raise DnRError(
                f"`{self._option}` must still have the images that were embedded (got {self._images.describe(index)}, "
                f"which is {error}); run again"
            ) from None
        return np.asarray(ImageOps.fit(Image.fromarray(image), (self.size, self.size), Image.Resampling.BICUBIC))

    @cached_property
    def _images(self) -> ImageSet:
        return self._open()

    @cached_property
    def _pool(self) -> _Pool:
        words, embeddings, usable = measure_images(self._images, ContentReader(self._embedder), self._store)
        if self._images.skipped:
            _log.warning("`%s`: %d images are used; skipped: %s", self._option, len(usable), reasons(self._images))
        probed = measure_images(self._open_probe(), ContentReader(NoEmbedder()), self._store).activations
        known = {row.tobytes() for row in probed}
        first = {row.tobytes(): place for place, row in reversed(list(enumerate(words)))}  # two files may look the same
        contents = sorted(first.keys() - known)
        places = np.array([first[content] for content in contents], np.intp)
        quarter = words[places, 0] % 4
        chosen = {Purpose.SEARCH: quarter == 0, Purpose.REWARD: quarter == 1, Purpose.JUDGE: quarter >= 2}
        indices = np.array(usable, np.intp)
        return _Pool(
            hashlib.sha256(b"".join(contents)).hexdigest()[:32],
            {purpose: _Part(indices[places[which]], embeddings[places[which]]) for purpose, which in chosen.items()},
            len(first.keys() & known),
        )
