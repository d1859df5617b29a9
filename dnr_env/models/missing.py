"""Placeholders for parts that a stack leaves out. They have a fingerprint, and raise DnRError if they are used."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dnr_env.errors import DnRError
from dnr_env.types import FloatArray, ImageArray, Images


def _refusal(part: str) -> DnRError:
    return DnRError(f"the {part} is needed here, but the stack was configured with `{part}: null`")


class NoGenerator:
    """A generator that draws nothing."""

    fingerprint = "none"
    keeps_images = True

    def generate(self, concepts: Sequence[str], seeds: Sequence[int]) -> ImageArray:
        """Raise DnRError."""
        raise _refusal("generator")


class NoCaptioner:
    """A captioner that writes nothing."""

    fingerprint = "none"

    def caption(self, images: Images) -> list[str]:
        """Raise DnRError."""
        raise _refusal("captioner")


class NoEmbedder:
    """An embedder whose image embeddings have no dimensions."""

    fingerprint = "none"
    dim = 0

    def embed_images(self, images: Images) -> FloatArray:
        """Return embeddings (n, 0)."""
        return np.empty((len(images), 0), np.float32)

    def embed_texts(self, texts: Sequence[str]) -> FloatArray:
        """Raise DnRError."""
        raise _refusal("embedder")
