"""Images made worse on purpose, to see what a neuron still fires for when they are blurred, grey or noisy.

Each is a function of the image alone, (height, width, 3) uint8 to the same shape.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from dnr_env.models.hub import needed
from dnr_env.types import ImageArray

if TYPE_CHECKING:
    import torch

VERSION = 1
"""Changes with what any of them does, so that what was measured before is not taken for it."""
_STRENGTH = 1 / 64  # of the image's shorter side: the standard deviation of the blur
_NOISE = 0.15  # standard deviation, of full scale
_QUALITY = 10  # of 100
_CONTRAST = 0.3
_BRIGHTNESS = 0.4
_PIXELS = 32  # on the longer side


def _through(image: ImageArray, change: Callable[[torch.Tensor], torch.Tensor]) -> ImageArray:
    """The image after a change of the tensor (3, height, width) uint8."""
    import torch

    changed: ImageArray = change(torch.from_numpy(np.moveaxis(image, 2, 0).copy())).numpy()
    return np.ascontiguousarray(np.moveaxis(changed, 0, 2))


def _blur(image: ImageArray) -> ImageArray:
    with needed():
        from torchvision.transforms.v2 import functional
    sigma = max(1.0, _STRENGTH * min(image.shape[:2]))
    # Width first. The edge is mirrored, so the kernel must not reach beyond the image.
    kernel = [2 * min(round(3 * sigma), side - 1) + 1 for side in (image.shape[1], image.shape[0])]
    return _through(image, lambda pixels: functional.gaussian_blur(pixels, kernel, [sigma, sigma]))


def _noise(image: ImageArray) -> ImageArray:
    rng = np.random.default_rng(zlib.crc32(image.tobytes()))
    noisy = image + rng.normal(0.0, _NOISE * 255, image.shape)
    return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)


def _jpeg(image: ImageArray) -> ImageArray:
    # By Pillow: torchvision's encoder is deprecated since 0.29.
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
"""By name; images of any size from one pixel on. torchvision is needed, but for noise, jpeg and invert."""
