"""Where a layer's output has images, channels, space and tokens, told from its shape."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dnr_env.errors import DnRError

if TYPE_CHECKING:
    import torch

DRY_IMAGES = 3
"""Images of the pass that layouts are told from."""


@dataclass(frozen=True)
class Layout:
    """Where a layer's output has what."""

    images: int
    channels: int
    prefix: int
    """Tokens before the patches'."""
    space: bool
    """Whether the rest has a place in the image."""
    indices: torch.Tensor
    """(wanted) the channels or features that are neurons, on the device."""

    def positions(self, output: torch.Tensor) -> torch.Tensor:
        """To (n, channels), (n, tokens, channels) or (n, h, w, channels)."""
        return output.movedim(self.channels, -1) if output.ndim == 4 else output.movedim(self.images, 0)


def axes(name: str, module: torch.nn.Module, output: torch.Tensor, size: tuple[int, int]) -> tuple[int, int]:
    """The axes of images and channels in the output of module `name` for `DRY_IMAGES` inputs of a size (height, width).

    Raises:
        DnRError: it is neither maps, tokens nor vectors.
    """
    import torch

    shape = tuple(output.shape)
    if len(shape) == 3 and DRY_IMAGES in shape[:2]:
        return shape[:2].index(DRY_IMAGES), 2
    if len(shape) == 2 and shape[0] == DRY_IMAGES:
        return 0, 1
    if len(shape) == 4 and shape[0] == DRY_IMAGES:
        first, last = _is_space(shape[2:], size), _is_space(shape[1:3], size)
        if first and last:  # as many channels as rows: only the module can tell
            linear = isinstance(module, torch.nn.Linear | torch.nn.LayerNorm)
            return 0, 3 if linear and not type(module).__name__.endswith("2d") else 1
        if first or last:
            return 0, 1 if first else 3
    raise DnRError(
        f"target.layers: the output of {name!r} for {DRY_IMAGES} images is {shape}, which is neither maps, tokens nor "
        "vectors; another layer will do"
    )


def _is_space(shape: Sequence[int], size: tuple[int, int]) -> bool:
    """Whether (h, w) has the shape of the input; sides are rounded, but those of a square are equal."""
    return abs(shape[0] * size[1] - shape[1] * size[0]) < max(size)


def patch_grid(tokens: int, size: tuple[int, int]) -> tuple[int, int] | None:
    """Rows and columns of so many patches of an input of that size; None where they fill no grid of its shape."""
    rows = max(1, round((tokens * size[0] / size[1]) ** 0.5))
    return (rows, tokens // rows) if tokens % rows == 0 and _is_space((rows, tokens // rows), size) else None


def prefix_tokens(tokens: int, size: tuple[int, int], known: int) -> int:
    """How many of a layer's tokens are no patch's, where the network has `known` such tokens."""
    # A layer before the class token is added has fewer than the network. Where nothing fits, all are taken for patches.
    return next((count for count in (known, *range(6)) if tokens > count and patch_grid(tokens - count, size)), 0)
