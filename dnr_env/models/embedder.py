"""Embeddings of images and texts in one space, by a model of open_clip."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from dnr_env.models.device import FixedBatches, device_of, dtype_of
from dnr_env.models.hub import loading, running
from dnr_env.models.openclip import OpenClip
from dnr_env.models.preprocess import Recipe, of_open_clip, prepare
from dnr_env.types import FloatArray, ImageArray, Images

if TYPE_CHECKING:
    import torch

    from dnr_env.models.hub import Source
    from dnr_env.models.snapshot import Selection

_TEXT_BATCH = 16
_TEXTS_KEPT = 1 << 14


@dataclass(frozen=True)
class _Loaded:
    model: Any
    recipe: Recipe
    tokenizer: Callable[[list[str]], torch.Tensor]
    device: torch.device
    dtype: torch.dtype


class OpenClipEmbedder:
    """Computes unit embeddings of images and texts. The model is loaded at the first call.

    Args:
        model: a model name of open_clip, "hf-hub:organisation/name", or a folder with `open_clip_config.json` and
            safetensors.
        pretrained: the tag of the weights, or a file with weights, if the model is a name.
        device: "auto", "cpu", "cuda", "cuda:1", …
        dtype: "float32", "float16", "bfloat16", or "auto".
        batch: images per forward pass.
        option: the section of the configuration that names the model, for error messages.
    """

    def __init__(
        self,
        model: str,
        pretrained: str | None = None,
        *,
        device: str = "auto",
        dtype: str = "float32",
        batch: int = 64,
        option: str = "embedder",
    ) -> None:
        self._option = option
        self._clip = OpenClip(f"{option}.model", model, pretrained)
        self._device = device
        self._dtype = dtype
        self._images = FixedBatches(f"{option}.batch", batch)
        self._texts = FixedBatches(f"{option}.batch", min(batch, _TEXT_BATCH))
        self._kept: OrderedDict[str, FloatArray] = OrderedDict()

    @property
    def files(self) -> tuple[Source, Selection] | None:
        """Where the weights are; see `OpenClip.files`."""
        return self._clip.files

    @cached_property
    def fingerprint(self) -> str:
        """Identifies model, weights and dtype, without loading the weights."""
        dtype = dtype_of(f"{self._option}.dtype", self._dtype, device_of(self._device))
        return f"{self._clip.fingerprint} {dtype}"

    @cached_property
    def dim(self) -> int:
        """The length of an embedding, known without loading the weights."""
        return int(self._clip.config["embed_dim"])

    @cached_property
    def _loaded(self) -> _Loaded:
        device = device_of(self._device)
        dtype = dtype_of(f"{self._option}.dtype", self._dtype, device)
        model: Any = self._clip.build()
        with loading(self._clip.option, self._clip.model):
            model = model.to(device, dtype)
        return _Loaded(model, of_open_clip(model.visual.preprocess_cfg), self._clip.tokenizer(), device, dtype)

    def embed_images(self, images: Images) -> FloatArray:
        """Embed n images (h, w, 3) uint8 as (n, dim) float32 unit vectors. A row does not depend on the other rows."""
        with running(f"`{self._clip.option}` {self._clip.model!r}"):
            return self._stacked(self._images.map(list(images), self._embed_images))

    def embed_texts(self, texts: Sequence[str]) -> FloatArray:
        """Embed n texts as (n, dim) float32 unit vectors. A row does not depend on the other rows."""
        new = [text for text in dict.fromkeys(texts) if text not in self._kept]
        with running(f"`{self._clip.option}` {self._clip.model!r}"):
            self._kept.update(zip(new, self._texts.map(new, self._embed_texts), strict=True))
        rows = [self._kept[text] for text in texts]
        for text in texts:
            self._kept.move_to_end(text)
        while len(self._kept) > _TEXTS_KEPT:
            self._kept.popitem(last=False)
        return self._stacked(rows)

    def _stacked(self, rows: Sequence[FloatArray]) -> FloatArray:
        return np.stack(rows) if rows else np.empty((0, self.dim), np.float32)

    def _embed_images(self, images: list[ImageArray]) -> list[FloatArray]:
        import torch

        net = self._loaded
        with torch.inference_mode():
            pixels = prepare(images, net.recipe, net.device)
            return _unit(net.model.encode_image(pixels.to(net.dtype)))

    def _embed_texts(self, texts: list[str]) -> list[FloatArray]:
        import torch

        net = self._loaded
        with torch.inference_mode():
            return _unit(net.model.encode_text(net.tokenizer(texts).to(net.device)))


def _unit(rows: torch.Tensor) -> list[FloatArray]:
    rows = rows.float()
    return list((rows / rows.norm(dim=-1, keepdim=True)).cpu().numpy())
