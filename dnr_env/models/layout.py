"""The axes of a layer's output (images, channels, space, tokens): from the kinds of modules, or from its shape."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dnr_env.errors import DnRError

if TYPE_CHECKING:
    import torch

DRY_IMAGES = 3
"""Images in the forward pass from which layouts are inferred."""
_FIRST = {"conv", "batchnorm", "instancenorm", "pooling", "pixelshuffle", "upsampling"}
"""The files of torch.nn.modules whose modules have their channels on axis 1."""


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
        return output.movedim((self.images, self.channels), (0, -1))

    def grid(self, output: torch.Tensor, size: tuple[int, int]) -> torch.Tensor | None:
        """Return (n, rows, columns, channels) for an input of that size, or None for a layer without positions."""
        found = self.positions(output)
        if found.ndim == 3:
            found = found[:, self.prefix :]
            cells = patch_grid(found.shape[1], size)
            return found.reshape(len(found), *cells, -1) if cells else None
        return found if found.ndim == 4 else None


def channels_of(module: torch.nn.Module) -> int | None:
    """Return the axis of the channels in what a module of this kind returns: 1, -1, or None if the kind has none."""
    import torch

    kinds = {kind.__module__.removeprefix("torch.nn.modules.") for kind in type(module).__mro__}
    if kinds & _FIRST or isinstance(module, torch.nn.GroupNorm) or type(module).__name__.endswith("2d"):
        return 1
    last = (torch.nn.Linear, torch.nn.LayerNorm, torch.nn.RMSNorm, torch.nn.Embedding, torch.nn.MultiheadAttention)
    return -1 if isinstance(module, last) else None


def axes(
    name: str,
    module: torch.nn.Module,
    output: torch.Tensor,
    size: tuple[int, int],
    *,
    setting: int | None = None,
    before: int | None = None,
    prefix: int = 0,
) -> tuple[int, int]:
    """Find the axes of images and channels in the output of module `name` for `DRY_IMAGES` inputs of (height, width).

    The kind of the module decides: convolutions have their channels on axis 1, linear layers on the last. For other
    modules, the kind of the last module that returned the same shape and the shape itself are the evidence.

    Args:
        name: the path of the module.
        module: the module.
        output: what it returned.
        size: height and width of the input.
        setting: `target.channels`, which overrules the rest.
        before: the axis of the channels, 1 or -1, of the last module that decides by its kind and returned this shape.
        prefix: how many of the network's tokens are not patch tokens.

    Raises:
        DnRError: the output consists of neither maps, tokens nor vectors, or the axis of the channels is unclear.
    """
    shape = tuple(output.shape)
    ndim = len(shape) if 0 not in shape else 0  # an empty output has no neurons
    if ndim == 2 and shape[0] == DRY_IMAGES:
        return 0, 1
    if ndim == 3 and shape[0] != DRY_IMAGES == shape[1]:
        return 1, 2
    if ndim not in (3, 4) or shape[0] != DRY_IMAGES:
        raise DnRError(
            f"`target.layers` must name modules that return maps, tokens or vectors (got {name!r}, which returns shape "
            f"{shape} for {DRY_IMAGES} images)"
        )
    if setting is not None:
        if setting % ndim == 0:
            raise DnRError(f"`target.channels` must be an axis after the images' (got {setting} for the shape {shape})")
        return 0, setting % ndim
    kind = channels_of(module)
    if kind is not None:
        return 0, kind % ndim
    if ndim == 3:
        first, last = (_may_be_patches(count, size, prefix) for count in (shape[2], shape[1]))
    else:
        first, last = _is_space(shape[2:], size), _is_space(shape[1:3], size)
    shown = (1 if first else ndim - 1) if first != last else None
    seen = None if before is None else before % ndim
    if shown is None or (ndim == 3 and seen not in (None, shown)):
        shown = seen if shown is None else None
    if shown is None:
        raise DnRError(
            f"`target.channels` must say which axis of {name!r} holds the neurons, 1 or {ndim - 1} (got none, and its "
            f"shape {shape} for {DRY_IMAGES} images leaves it open)"
        )
    return 0, shown


def _may_be_patches(tokens: int, size: tuple[int, int], known: int) -> bool:
    return any(tokens > count and patch_grid(tokens - count, size) for count in {known, *range(6)})


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
