"""The readout of a layer: pooling over space or tokens, with or without a sparse autoencoder."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dnr_env.errors import DnRError
from dnr_env.models.layout import Layout
from dnr_env.models.sae import SparseAutoencoder

if TYPE_CHECKING:
    import torch

POOLINGS = ("mean", "max", "cls", "tokens-max")
_SAE_NUMBERS = 1 << 24
"""Numbers that a sparse autoencoder computes at a time: 64 MiB."""

Ranges = tuple[tuple[int, int | None], ...]
"""The first and the last index of each range. None stands for the last index of the layer."""


@dataclass(frozen=True)
class Readout:
    """Reduces the output of a layer to neurons."""

    pooling: str
    """One of POOLINGS. Vectors are not pooled."""
    sae: SparseAutoencoder | None

    def pooled(self, layout: Layout, output: torch.Tensor) -> torch.Tensor:
        """Pool the output of a layer: (n, wanted) float32."""
        import torch

        found = layout.positions(output)
        if found.ndim == 3 and self.pooling == "cls":
            found = found[:, 0]
        elif found.ndim == 3 and self.pooling != "tokens-max":
            found = found[:, layout.prefix :]
        if self.sae is None:
            return self._over_space(found)[:, layout.indices]
        mean = self.pooling == "mean"
        parts = [part.sum(1) if mean else part.amax(1) for part in _encoded(self.sae, found, layout.indices)]
        if mean:
            return torch.stack(parts).sum(0) / found[0, ..., 0].numel()
        return torch.stack(parts).amax(0)

    def mapped(self, layout: Layout, output: torch.Tensor, size: tuple[int, int], neuron: str) -> torch.Tensor:
        """Return the maps of one neuron in the output of a layer: (n, rows, columns) float32.

        Args:
            layout: the layout of the layer.
            output: the output of the layer.
            size: height and width of the network's input.
            neuron: the name, which ends in the neuron's index.

        Raises:
            DnRError: the layer has no spatial positions.
        """
        import torch

        index = int(neuron.rpartition(":")[2])
        found = layout.grid(output, size)
        if found is None:
            raise DnRError(
                f"`neuron` must belong to a map or to patch tokens, which have places in the image (got {neuron})"
            )
        if self.sae:
            parts = _encoded(self.sae, found, torch.tensor([index], device=found.device))
            return torch.cat(list(parts), dim=1).reshape(found.shape[:-1])
        return found[..., index].to(torch.float32, copy=True)  # the next module may change the output in place

    def _over_space(self, found: torch.Tensor) -> torch.Tensor:
        import torch

        space = tuple(range(1, found.ndim - 1))
        if not space:
            return found.float()
        return found.mean(space, dtype=torch.float32) if self.pooling == "mean" else found.amax(space).float()


def _encoded(sae: SparseAutoencoder, found: torch.Tensor, features: torch.Tensor) -> Iterator[torch.Tensor]:
    """Encode (n, ..., channels) in blocks (n, positions, len(features)). A vector has one position."""
    import torch

    flat = found.float().reshape(len(found), -1, found.shape[-1])
    numbers = len(flat) * sae.computed(len(features))
    for block in torch.split(flat, max(1, _SAE_NUMBERS // max(1, numbers)), dim=1):
        yield sae.encode(block, features)


def read_ranges(neurons: str) -> Ranges:
    """Read indices that are written as "all", "0-511" or "3,7,10-20".

    Raises:
        DnRError: the text names no indices.
    """
    if neurons == "all":
        return ((0, None),)
    try:
        pairs = [part.partition("-") for part in neurons.split(",")]
        ranges = tuple((int(low), int(high) if dash else int(low)) for low, dash, high in pairs)
    except ValueError:
        ranges = ()
    if not ranges or any(low > high for low, high in ranges):
        raise DnRError(f"`target.neurons` must be all or indices such as 0-511 or 3,7,10-20 (got {neurons!r})")
    return ranges


def wanted_indices(layer: str, ranges: Ranges, count: int, fewer: bool = False) -> list[int]:
    """Return the indices in some ranges, in a layer of `count` neurons.

    Args:
        layer: the layer's path, for messages.
        ranges: the ranges.
        count: how many neurons the layer has.
        fewer: whether indices that it does not have are left out, as in a sweep over layers of several widths.

    Raises:
        DnRError: an index is out of range; or all are, where some may be.
    """
    found = sorted({i for low, high in ranges for i in range(low, count if high is None else min(high + 1, count))})
    for low, high in ranges:
        if high is not None and high >= count and not (fewer and found):
            raise DnRError(
                f"`target.neurons` must lie between 0 and {count - 1} in {layer!r} (got {max(low, count)} to {high})"
            )
    return found
