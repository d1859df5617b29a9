"""Captions of images. Each image is captioned once, and its caption is kept in the store unless it failed."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

from dnr_env.errors import DnRError, piecewise, reason_of
from dnr_env.evidence.lab import Lab
from dnr_env.evidence.store import Store, address
from dnr_env.interfaces import Captioner
from dnr_env.types import ImageArray

_CHUNK = 64  # images that are captioned and committed together


class Said(NamedTuple):
    """What a captioner said of one image."""

    text: str
    """The caption; "" if it failed."""
    failure: str = ""
    """Why there is no caption."""


def caption(captioner: Captioner, images: Sequence[ImageArray], store: Store | None) -> list[Said]:
    """Caption images (height, width, 3) uint8. Equal images are captioned once.

    An image on which the captioner fails, or of which it says no word, costs no other image its caption.
    """
    digests = [hashlib.sha256(f"{image.shape}".encode() + image.tobytes()).hexdigest() for image in images]
    keys = {digest: address(kind="caption", captioner=captioner.fingerprint, image=digest) for digest in digests}
    kept = store.get_many(keys.values()) if store else {}
    said = {digest: Said(text) for digest, key in keys.items() if key in kept and _worded(text := kept[key].decode())}
    absent = list({d: image for d, image in zip(digests, images, strict=True) if d not in said}.items())
    for start in range(0, len(absent), _CHUNK):
        part = dict(absent[start : start + _CHUNK])
        fresh = dict(zip(part, _said(captioner, list(part.values())), strict=True))
        if store:
            store.put_many({keys[digest]: one.text.encode() for digest, one in fresh.items() if not one.failure})
        said.update(fresh)
    return [said[digest] for digest in digests]


def caption_drawings(captioner: Captioner, lab: Lab, pairs: Sequence[tuple[str, int]]) -> list[str]:
    """Caption the lab's image of each (concept, seed); "" where the captioner fails."""
    drawn = lab.images([text for text, _ in pairs], [seed for _, seed in pairs])
    return [one.text for one in caption(captioner, list(drawn), lab.store)]


def _said(captioner: Captioner, images: Sequence[ImageArray]) -> list[Said]:
    def work(part: Sequence[ImageArray]) -> list[str]:
        texts = captioner.caption(part)
        if len(texts) != len(part):  # there is no way to tell which are missing
            raise DnRError(f"`captioner` must give one caption for each of {len(part)} images (got {len(texts)})")
        return texts

    return [_checked(text) for text in piecewise(work, images)]


def _checked(text: str | Exception) -> Said:
    if isinstance(text, Exception):
        return Said("", f"the captioner failed: {reason_of(text)}")
    return Said(text) if _worded(text) else Said("", f"the captioner said no word (but {text[:40]!r})")


def _worded(text: str) -> bool:
    return any(map(str.isalpha, text))
