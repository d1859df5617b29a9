"""The axes of a layer's output (images, channels, space, tokens), inferred from its shape."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dnr_env.errors import DnRError

if TYPE_CHECKING:
    import torch

DRY_IMAGES = 3
"""Images in the forward pass from which layouts are inferred."""


@dataclass(frozen=True)
class Layout:
    """The meaning of the axes of a layer's output."""

    images: int
    """The axis of the images."""
    channels: int
    """The axis of the channels."""
    prefix: int
    """Number of tokens before the patch tokens."""
    space: bool
    """Whether the remaining positions lie on a grid over the image."""
    indices: torch.Tensor
    """(wanted,) the channels or features that are neurons, on the device."""

    def positions(self, output: torch.Tensor) -> torch.Tensor:
        """Move the axes to (n, channels), (n, tokens, channels) or (n, h, w, channels)."""
        return output.movedim(self.channels, -1) if output.ndim == 4 else output.movedim(self.images, 0)


def axes(name: str, module: torch.nn.Module, output: torch.Tensor, size: tuple[int, int]) -> tuple[int, int]:
    """Find the axes of images and channels in the output of module `name` for `DRY_IMAGES` inputs of (height, width).

    Raises:
        DnRError: the output consists of neither maps, tokens nor vectors.
    """
    import torch

    shape = tuple(output.shape)
    ndim = len(shape) if 0 not in shape else 0  # an empty output has no neurons
    if ndim == 3 and DRY_IMAGES in shape[:2]:
        return shape[:2].index(DRY_IMAGES), 2
    if ndim == 2 and shape[0] == DRY_IMAGES:
        return 0, 1
    if ndim == 4 and shape[0] == DRY_IMAGES:
        first, last = _is_space(shape[2:], size), _is_space(shape[1:3], size)
        if first and last:  # as many channels as rows: the type of the module decides
            linear = isinstance(module, torch.nn.Linear | torch.nn.LayerNorm)
            return 0, 3 if linear and not type(module).__name__.endswith("2d") else 1
        if first or last:
            return 0, 1 if first else 3
    raise DnRError(
        f"`target.layers` must name modules that return maps, tokens or vectors (got {name!r}, which returns shape "
        f"{shape} for {DRY_IMAGES} images)"
    )


def _is_space(shape: Sequence[int], size: tuple[int, int]) -> bool:
    """Return whether (h, w) has the aspect ratio of the input. Sides are rounded, but those of a square are equal."""
    return abs(shape[0] * size[1] - shape[1] * size[0]) < max(size)


def patch_grid(tokens: int, size: tuple[int, int]) -> tuple[int, int] | None:
    """Return rows and columns of a patch grid over an input of that size, or None if the patches fill no such grid."""
    rows = max(1, round((tokens * size[0] / size[1]) ** 0.5))
    return (rows, tokens // rows) if tokens % rows == 0 and _is_space((rows, tokens // rows), size) else None


def prefix_tokens(tokens: int, size: tuple[int, int], known: int) -> int:
    """Return how many of a layer's tokens are not patch tokens, if the network has `known` such tokens."""
    # A layer before the class token is added has fewer. If no number fits, all tokens count as patch tokens.
    return next((count for count in (known, *range(6)) if tokens > count and patch_grid(tokens - count, size)), 0)
