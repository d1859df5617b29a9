"""Corruptions of images, to test what a neuron still fires for when images are blurred, grey or noisy.

Each corruption is a deterministic function of an image (height, width, 3) uint8 and keeps its shape.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from dnr_env.extras import needed
from dnr_env.types import ImageArray

if TYPE_CHECKING:
    import torch

VERSION = 1
"""A version number. It changes whenever a corruption changes, so that older measurements are not reused."""
_STRENGTH = 1 / 64  # the standard deviation of the blur, as a share of the image's shorter side
_NOISE = 0.15  # the standard deviation of the noise, as a share of the full scale
_QUALITY = 10  # of 100
_CONTRAST = 0.3
_BRIGHTNESS = 0.4
_PIXELS = 32  # blocks on the longer side


def _through(image: ImageArray, change: Callable[[torch.Tensor], torch.Tensor]) -> ImageArray:
    """Apply a change to an image as a tensor (3, height, width) uint8."""
    import torch

    changed: ImageArray = change(torch.from_numpy(np.moveaxis(image, 2, 0).copy())).numpy()
    return np.ascontiguousarray(np.moveaxis(changed, 0, 2))


def _blur(image: ImageArray) -> ImageArray:
    with needed():
        from torchvision.transforms.v2 import functional
    sigma = max(1.0, _STRENGTH * min(image.shape[:2]))
    # The kernel's width comes first. The edge is mirrored, so the kernel must not be larger than the image.
    kernel = [2 * min(round(3 * sigma), side - 1) + 1 for side in (image.shape[1], image.shape[0])]
    return _through(image, lambda pixels: functional.gaussian_blur(pixels, kernel, [sigma, sigma]))


def _noise(image: ImageArray) -> ImageArray:
    rng = np.random.default_rng(zlib.crc32(image.tobytes()))
    noisy = image + rng.normal(0.0, _NOISE * 255, image.shape)
    return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)


def _jpeg(image: ImageArray) -> ImageArray:
    # Pillow encodes, because torchvision's encoder has been deprecated since 0.29.
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image)).save(buffer, "JPEG", quality=_QUALITY)
    with Image.open(buffer, formats=["JPEG"]) as worse:
        pixels: ImageArray = np.array(worse)
    return pixels


def _greyscale(image: ImageArray) -> ImageArray:
    with needed():
        from torchvision.transforms.v2 import functional
    return _through(image, lambda pixels: functional.rgb_to_grayscale(pixels, num_output_channels=3))


def _invert(image: ImageArray) -> ImageArray:
    return 255 - image


def _contrast(image: ImageArray) -> ImageArray:
    with needed():
        from torchvision.transforms.v2 import functional
    return _through(image, lambda pixels: functional.adjust_contrast(pixels, _CONTRAST))


def _dark(image: ImageArray) -> ImageArray:
    with needed():
        from torchvision.transforms.v2 import functional
    return _through(image, lambda pixels: functional.adjust_brightness(pixels, _BRIGHTNESS))


def _pixelate(image: ImageArray) -> ImageArray:
    with needed():
        from torchvision.transforms.v2 import InterpolationMode, functional
    height, width = image.shape[:2]
    scale = min(1.0, _PIXELS / max(height, width))
    coarse = [max(1, round(scale * height)), max(1, round(scale * width))]
    return _through(
        image,
        lambda pixels: functional.resize(
            functional.resize(pixels, coarse, antialias=True), [height, width], InterpolationMode.NEAREST_EXACT
        ),
    )


CORRUPTIONS: dict[str, Callable[[ImageArray], ImageArray]] = {
    "blur": _blur,
    "noise": _noise,
    "jpeg": _jpeg,
    "greyscale": _greyscale,
    "invert": _invert,
    "contrast": _contrast,
    "dark": _dark,
    "pixelate": _pixelate,
}
"""The corruptions by name. They accept images of any size. All but noise, jpeg and invert need torchvision."""
