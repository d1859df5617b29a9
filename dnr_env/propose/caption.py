"""Captions of images. Each image is captioned once, and its caption is kept in the store."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from dnr_env.evidence.lab import Lab
from dnr_env.evidence.store import Store, address
from dnr_env.interfaces import Captioner
from dnr_env.types import ImageArray

_CHUNK = 64  # images that are captioned and committed together


def caption(captioner: Captioner, images: Sequence[ImageArray], store: Store | None) -> list[str]:
    """Caption images (height, width, 3) uint8. Equal images are captioned once."""
    digests = [hashlib.sha256(f"{image.shape}".encode() + image.tobytes()).hexdigest() for image in images]
    keys = {digest: address(kind="caption", captioner=captioner.fingerprint, image=digest) for digest in digests}
    kept = store.get_many(keys.values()) if store else {}
    said = {digest: kept[key].decode() for digest, key in keys.items() if key in kept}
    absent = list({d: image for d, image in zip(digests, images, strict=True) if d not in said}.items())
    for start in range(0, len(absent), _CHUNK):
        part = dict(absent[start : start + _CHUNK])
        fresh = dict(zip(part, captioner.caption(list(part.values())), strict=True))
        if store:
            store.put_many({keys[digest]: text.encode() for digest, text in fresh.items()})
        said.update(fresh)
    return [said[digest] for digest in digests]


def caption_drawings(captioner: Captioner, lab: Lab, pairs: Sequence[tuple[str, int]]) -> list[str]:
    """Caption the lab's image of each (concept, seed)."""
    drawn = lab.images([text for text, _ in pairs], [seed for _, seed in pairs])
    return caption(captioner, list(drawn), lab.store)
