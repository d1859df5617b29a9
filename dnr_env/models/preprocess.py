"""Preprocessing of images as a network's authors define it, but on tensors and therefore on any device.

Resizing a tensor differs from PIL's resizing in the last bits. All other arithmetic is the same.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dnr_env.errors import DnRError
from dnr_env.extras import needed
from dnr_env.propose.crops import Box
from dnr_env.types import ImageArray

if TYPE_CHECKING:
    import torch

Transform = Callable[["torch.Tensor"], "torch.Tensor"]
"""Maps (n, 3, h, w) uint8 to a network's floating input (n, 3, height, width)."""


def prepare(images: Sequence[ImageArray], transform: Transform, device: torch.device) -> torch.Tensor:
    """Prepare images (h, w, 3) uint8 of any sizes as an input (n, 3, height, width) on the device.

    Images of one size are transformed as one batch, other images one by one.

    Raises:
        DnRError: the transform returns inputs of several sizes.
    """
    import torch

    alike = len({image.shape for image in images}) == 1
    groups = [np.stack(images)] if alike else [np.array(image)[None] for image in images]
    inputs = [transform(torch.from_numpy(group).to(device).permute(0, 3, 1, 2)) for group in groups]
    sizes = sorted({tuple(part.shape[1:]) for part in inputs})
    if len(sizes) > 1:
        raise DnRError(
            f"the transform of `target.network` must resize images to a fixed size (got {sizes[0]} and {sizes[1]})"
        )
    # The memory format selects the convolution kernel, and with it the last bits.
    return torch.cat(inputs).contiguous()


def view_of(transform: Transform, height: int, width: int) -> Box:
    """Return the part of an image (height, width) that the input shows. A border extends it beyond the image.

    It is measured on two ramps, which works for any transform that only resizes, crops, pads and normalises.
    """
    import torch

    rows = (torch.arange(height) + 0.5).mul(256 / height).to(torch.uint8)[:, None].expand(height, width)
    columns = (torch.arange(width) + 0.5).mul(256 / width).to(torch.uint8).expand(height, width)
    black, white = torch.zeros(height, width, dtype=torch.uint8), torch.full((height, width), 255, dtype=torch.uint8)
    shown = transform(torch.stack([part.expand(3, -1, -1) for part in (black, white, rows, columns)])).double()[:, 0]
    low, high = shown[0].median(), shown[1].median()  # inside any border
    down, right = (((part - low) / (high - low)).clamp(0, 1) for part in shown[2:])
    (top, bottom), (left, right_end) = _ends(down.median(dim=1).values), _ends(right.median(dim=0).values)
    return Box(round(top * height), round(left * width), round(bottom * height), round(right_end * width))


def _ends(ramp: torch.Tensor) -> tuple[float, float]:
    """Extrapolate both ends of a ramp over one side from its middle, which no border touches."""
    n = len(ramp)
    first, last = n // 4, n - 1 - n // 4
    step = float(ramp[last] - ramp[first]) / max(last - first, 1)
    begin = float(ramp[first]) - (first + 0.5) * step
    return begin, begin + n * step


@dataclass(frozen=True)
class Recipe:
    """The transform of timm and open_clip: resize, crop at the centre, scale to 0..1, normalise."""

    size: tuple[int, int]
    """Height and width of the network's input."""
    resize: tuple[int, int]
    """Height and width that `how` refers to, before the crop."""
    how: str
    """"shortest": the image covers `resize`; "longest": it fits inside; "squash": it is stretched to `resize`."""
    interpolation: str
    """"nearest", "bilinear" or "bicubic". Tensors support no other mode, so others become "bicubic"."""
    mean: tuple[float, ...]
    std: tuple[float, ...]
    fill: tuple[int, ...] = (0, 0, 0)
    """Colour, 0 to 255, of the padding if the image is smaller than the crop."""

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Map (n, 3, h, w) uint8 to (n, 3, *size) float32."""
        with needed():
            from torchvision.transforms import InterpolationMode
            from torchvision.transforms import functional as tv

        modes = {"nearest": InterpolationMode.NEAREST, "bilinear": InterpolationMode.BILINEAR}
        mode = modes.get(self.interpolation, InterpolationMode.BICUBIC)
        images = tv.resize(images, self._resized(images.shape[-2], images.shape[-1]), mode, antialias=True)
        images = _padded(images, self.size, self.fill)
        images = tv.center_crop(images, list(self.size))
        scaled: torch.Tensor = tv.normalize(images.float() / 255, list(self.mean), list(self.std))
        return scaled

    def _resized(self, height: int, width: int) -> list[int]:
        if self.how == "squash":
            return list(self.resize)
        if self.how == "shortest" and self.resize[0] == self.resize[1]:
            return [self.resize[0]]  # torchvision rounds the longer side down
        ratios = height / self.resize[0], width / self.resize[1]
        ratio = max(ratios) if self.how == "longest" else min(ratios)
        return [max(1, round(height / ratio)), max(1, round(width / ratio))]


IMAGENET = Recipe((224, 224), (256, 256), "shortest", "bilinear", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""The transform of a network that has none of its own."""


def _padded(images: torch.Tensor, size: tuple[int, int], fill: tuple[int, ...]) -> torch.Tensor:
    import torch

    height, width = max(size[0], images.shape[-2]), max(size[1], images.shape[-1])
    top, left = (height - images.shape[-2]) // 2, (width - images.shape[-1]) // 2
    if not (height - images.shape[-2] or width - images.shape[-1]):
        return images
    colour = torch.tensor(fill, dtype=images.dtype, device=images.device)
    padded = colour[:, None, None].repeat(len(images), 1, height, width)
    padded[..., top : top + images.shape[-2], left : left + images.shape[-1]] = images
    return padded


def of_timm(config: Mapping[str, Any]) -> Recipe:
    """Make the recipe of a data config that `timm.data.resolve_model_data_config` returns."""
    size = tuple(config["input_size"][-2:])
    how = {"squash": "squash", "border": "longest"}.get(config["crop_mode"], "shortest")
    mean, std = tuple(config["mean"]), tuple(config["std"])
    fill = tuple(round(255 * value) for value in mean) if how == "longest" else (0, 0, 0)
    resize = (math.floor(size[0] / config["crop_pct"]), math.floor(size[1] / config["crop_pct"]))
    return Recipe((size[0], size[1]), resize, how, config["interpolation"], mean, std, fill)


def of_open_clip(config: Mapping[str, Any]) -> Recipe:
    """Make the recipe of the preprocessing config that an open_clip model carries."""
    size = (config["size"], config["size"]) if isinstance(config["size"], int) else tuple(config["size"])
    mean, std = (
        (value,) * 3 if isinstance(value, float) else tuple(value) for value in (config["mean"], config["std"])
    )
    fill = (config["fill_color"],) * 3
    return Recipe(size, size, config["resize_mode"], config["interpolation"], mean, std, fill)


class ProcessorTransform:
    """The image processor of a transformers model. A processor that does not support tensors runs on the CPU."""

    def __init__(self, processor: Any) -> None:
        self._processor = processor

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Map (n, 3, h, w) uint8 to (n, 3, height, width) float32."""
        on_tensors = getattr(self._processor, "backend", "") == "torchvision"
        given = list(images) if on_tensors else list(images.cpu().numpy())
        made = self._processor(images=given, return_tensors="pt", input_data_format="channels_first")
        values: torch.Tensor = made["pixel_values"]
        return values.to(images.device)

    def __repr__(self) -> str:
        return str(self._processor.to_json_string())


class UserTransform:
    """A user's transform, which takes (n, 3, h, w) uint8 tensors or one PIL image at a time."""

    def __init__(self, transform: Callable[[Any], Any]) -> None:
        self._transform = transform
        self._takes_tensors: bool | None = None

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Map (n, 3, h, w) uint8 to (n, 3, height, width).

        Raises:
            DnRError: the transform accepts neither tensors nor PIL images.
        """
        import torch

        if self._takes_tensors is None:
            self._takes_tensors = self._try(images)
        if self._takes_tensors:
            whole: torch.Tensor = self._transform(images)
            return whole
        return torch.stack([self._one(image) for image in images.permute(0, 2, 3, 1).cpu().numpy()]).to(images.device)

    def _try(self, images: torch.Tensor) -> bool:
        import torch

        try:
            made = self._transform(images)
        except Exception:  # a transform of PIL images may raise any error for a tensor
            return False
        return isinstance(made, torch.Tensor) and made.is_floating_point() and made.shape[:1] == images.shape[:1]

    def _one(self, image: ImageArray) -> torch.Tensor:
        import torch
        from PIL import Image

        try:
            made = self._transform(Image.fromarray(image))
        except Exception as error:
            reason = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        else:
            if isinstance(made, torch.Tensor) and made.ndim == 3:
                return made
            reason = f"{type(made).__name__} from a PIL image"
        raise DnRError(
            "the transform of `target.network` must map (n, 3, h, w) uint8 tensors, or a PIL image, to floating "
            f"tensors (got {reason})"
        ) from None

    def __repr__(self) -> str:
        return without_addresses(repr(self._transform))


def without_addresses(text: str) -> str:
    """Remove the addresses from the representation of an object, because they differ from process to process."""
    return re.sub(r" at 0x[0-9a-fA-F]+", "", text)
