"""The embedder of `scenes`: a small CLIP of open_clip's own class, trained on pictures and captions of this world.

It errs, as a CLIP does: it has met rare words rarely, and pictures of one to three objects with captions of some of
what they show. `dnr_env.scenes.clip_train` makes its weights and prints how often it is right.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dnr_env.extras import needed
from dnr_env.scenes.clip_tokens import CONTEXT, TOKENS, tokenize
from dnr_env.shapes.pictures import one_thread
from dnr_env.types import FloatArray, ImageArray

if TYPE_CHECKING:
    from torch import Tensor

WEIGHTS = Path(__file__).parent / "data" / "clip.safetensors"
DIM = 64
"""The length of an embedding."""
_VISION = {"layers": (1, 1, 1, 1), "width": 16, "head_width": 32, "image_size": 64}
_TEXT = {"context_length": CONTEXT, "vocab_size": len(TOKENS), "width": 64, "heads": 2, "layers": 2}
_IMAGES, _TEXTS = 32, 64
"""The rows of every forward pass. Rounding depends on the shape of a batch; with one shape, a row does not depend on
the other rows."""


def build() -> Any:
    """Make the model, an `open_clip.model.CLIP` with random weights. Raises DnRError if open_clip is not installed."""
    with needed("scenes"):
        import open_clip
    import torch

    return open_clip.model.CLIP(DIM, _VISION, _TEXT).to(memory_format=torch.channels_last)


def fingerprint(weights: Path | None = None) -> str:
    """Identify everything that the embeddings depend on. None stands for the package's weights."""
    digest = hashlib.sha256((weights or WEIGHTS).read_bytes())
    digest.update(f"{_VISION} {_TEXT} {TOKENS}".encode())
    return f"scenes-clip-1 {digest.hexdigest()[:16]}"


@cache
def _model(weights: Path) -> Any:
    # torch and open_clip are imported when the first row is embedded, as an environment on a warm store needs neither.
    import torch
    from safetensors.torch import load_file

    # Initial weights are drawn and then replaced. They must not advance the random generator of a training run.
    with torch.random.fork_rng(devices=[]):
        model = build()
    model.load_state_dict(load_file(weights))  # stored in half precision, and converted
    return model.eval().requires_grad_(False)


class ClipImages:
    """Embeds pictures.

    Args:
        weights: the model's weights as safetensors; those of the package if None.
    """

    dim = DIM

    def __init__(self, weights: Path | None = None) -> None:
        self._weights = weights or WEIGHTS
        self.fingerprint = fingerprint(weights)

    def embed(self, images: ImageArray) -> FloatArray:
        """Embed pictures (n, 64, 64, 3) uint8 as (n, dim) float32 unit vectors. A row does not depend on the others."""
        import torch

        from dnr_env.shapes.network import to_input

        def encode(batch: ImageArray) -> Tensor:
            pixels = to_input(batch).contiguous(memory_format=torch.channels_last)
            rows: Tensor = _model(self._weights).encode_image(pixels, normalize=True)
            return rows

        return _in_batches(images, _IMAGES, encode)


class ClipTexts:
    """Embeds texts. It remembers every text that it has embedded.

    Args:
        weights: the model's weights as safetensors; those of the package if None.
    """

    dim = DIM

    def __init__(self, weights: Path | None = None) -> None:
        self._weights = weights or WEIGHTS
        self.fingerprint = fingerprint(weights)
        self._known: dict[str, FloatArray] = {}

    def embed_texts(self, texts: Sequence[str]) -> FloatArray:
        """Embed n texts as (n, dim) float32 unit vectors. A row does not depend on the others."""
        import torch

        def encode(batch: np.ndarray[Any, Any]) -> Tensor:
            rows: Tensor = _model(self._weights).encode_text(torch.from_numpy(batch), normalize=True)
            return rows

        if new := [text for text in dict.fromkeys(texts) if text not in self._known]:
            self._known.update(zip(new, _in_batches(tokenize(new), _TEXTS, encode), strict=True))
        return np.array([self._known[text] for text in texts], np.float32).reshape(len(texts), DIM)


def _in_batches(
    inputs: np.ndarray[Any, Any], size: int, encode: Callable[[np.ndarray[Any, Any]], Tensor]
) -> FloatArray:
    """Encode n inputs as (n, DIM), `size` at a time. The last batch is filled up with zeros."""
    import torch

    rows = np.empty((len(inputs), DIM), np.float32)
    batch = np.zeros((size, *inputs.shape[1:]), inputs.dtype)
    for start in range(0, len(inputs), size):
        part = inputs[start : start + size]
        batch[: len(part)] = part
        with torch.inference_mode(), one_thread():
            rows[start : start + len(part)] = encode(batch).numpy()[: len(part)]
    return rows
