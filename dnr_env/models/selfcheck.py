"""What a network must do before its activations mean anything, measured on a few forward passes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from dnr_env.errors import DnRError
from dnr_env.models.layout import DRY_IMAGES, Layout
from dnr_env.types import ImageArray

if TYPE_CHECKING:
    import torch

Use = Callable[[str, "torch.Tensor", tuple[int, int]], "torch.Tensor"]
"""Makes something of a layer's name, its output, and the height and width of the input."""
Run = Callable[["torch.Tensor", Use], dict[str, "torch.Tensor"]]
"""Runs a forward pass on an input (n, 3, height, width), and returns what was made of each layer."""

_POSITIONS = 64
"""Positions of a map that are compared. What differs at random or with the batch differs in all places."""
_CELLS = 4
"""The image is divided into 4 by 4 cells, or as many as the map has rows. Fewer cells can agree by accident."""
_NEAR = 0.88
"""The least mean rank of the right cell. The last stage of ResNet-152 with random weights has 0.92, and others 0.97 to
1; shuffled tokens have 0.4 to 0.8, and a mirrored, transposed or rolled map has up to 0.85."""
_CHUNK = 8
_TRIED = 5
"""The most tensors that an error names."""


def check_images() -> list[ImageArray]:
    """Make `DRY_IMAGES` fixed pictures with structure at several scales: (224, 224, 3) uint8."""
    from PIL import Image

    rng, pictures = np.random.default_rng(0), []
    for _ in range(DRY_IMAGES):
        layers = [Image.fromarray(rng.integers(0, 256, (k, k, 3), np.uint8)).resize((224, 224)) for k in (4, 16, 56)]
        mixed = np.mean([np.asarray(layer, np.float32) for layer in layers], axis=0)
        pictures.append(np.clip(2 * (mixed - 127) + 127, 0, 255).astype(np.uint8))
    return pictures


def check_steady(network: str, run: Run, layouts: Mapping[str, Layout], inputs: torch.Tensor) -> None:
    """Check that an image has one output: in two passes, and whatever else is in its batch.

    Args:
        network: the name of the network, for messages.
        run: a forward pass.
        layouts: the layers.
        inputs: (`DRY_IMAGES`, 3, height, width).

    Raises:
        DnRError: the output of a layer differs.
    """
    import torch

    def sketch(name: str, output: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
        return _sketch(layouts[name], output)

    tolerance = _tolerance(inputs)
    # A network that draws random numbers must not change the caller's.
    with torch.random.fork_rng([inputs.device] if inputs.device.type == "cuda" else []):
        first, again = run(inputs, sketch), run(inputs, sketch)
        for name in layouts:
            if (change := _difference(first[name], again[name])) > tolerance:
                raise DnRError(
                    f"`target.network` must give the same output for the same image (got {network!r}, whose {name!r} "
                    f"changes by {change:.0%} from one pass to the next, as a network does that masks, drops or adds "
                    "noise at random, or keeps a state)"
                )
        alone = run(inputs[1:2].expand(DRY_IMAGES, -1, -1, -1).contiguous(), sketch)
    for name in layouts:
        if (change := _difference(first[name][1:2].expand_as(alone[name]), alone[name])) > tolerance:
            raise DnRError(
                f"`target.network` must give an image the same output in every batch (got {network!r}, whose {name!r} "
                f"changes by {change:.0%} with the other images, as a network does that uses statistics of the batch)"
            )


def misplaced(
    run: Run, layouts: Mapping[str, Layout], inputs: torch.Tensor, batch: int
) -> dict[str, tuple[float, float]]:
    """Find the layers whose maps do not show where in the image something is.

    One cell of an image after the other is replaced, and the change of the map is averaged over each cell of the map.
    Where the map has the order of the image, the cell that was replaced changes most, compared with what other
    replacements change there; however large the receptive field is.

    Returns:
        Of each such layer, the mean rank of the right cell among all, from 0 to 1, and the least that is accepted.
    """
    import torch

    height, width = inputs.shape[2:]
    ranks = {}
    grids = {name: layout for name, layout in layouts.items() if layout.space}
    sides: dict[str, int] = {}

    def measure(name: str, output: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
        found = grids[name].grid(output, size) if name in grids else None
        sides[name] = 0 if found is None else min(_CELLS, *found.shape[1:3])
        return output.new_zeros(()) if found is None else found[:1, :1, :1].float()

    run(inputs, measure)
    for side in sorted({side for side in sides.values() if side > 1}):
        names = [name for name in grids if sides[name] == side]
        rows, columns = _cells(height, side), _cells(width, side)
        changed = []
        for cell in range(side * side):
            inside = (rows == cell // side)[:, None] & (columns == cell % side)[None]
            changed.append(torch.where(inside.to(inputs.device), inputs[1], inputs[0]))

        def energy(name: str, output: torch.Tensor, size: tuple[int, int], side: int = side) -> torch.Tensor:
            grid = grids[name].grid(output, size) if sides[name] == side else None
            return output.new_zeros(()) if grid is None else _energy(grid.float(), side)

        step = max(2, min(_CHUNK, batch)) - 1
        starts = range(0, len(changed), step)
        parts = [run(torch.stack([inputs[0], *changed[start : start + step]]), energy) for start in starts]
        for name in names:
            ranks[name] = _rank(torch.cat([part[name] for part in parts]).double().cpu())
    return {name: (rank, _NEAR) for name, rank in ranks.items() if rank < _NEAR}


def dependent(
    run: Run, module: torch.nn.Module, lacking: Sequence[str], layouts: Mapping[str, Layout], inputs: torch.Tensor
) -> tuple[str, list[str]] | None:
    """Find a layer whose output depends on tensors without weights, and some of those tensors; None if none does.

    The tensors are filled with other numbers and with NaN. Where nothing changes, in any bit, nothing depends on them.
    """
    import torch

    def sketch(name: str, output: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
        return _sketch(layouts[name], output)

    state = module.state_dict()
    tensors = {name: state[name] for name in lacking if state[name].is_floating_point()}
    first = run(inputs, sketch)

    def touched(names: Sequence[str]) -> list[str]:
        found: set[str] = set()
        for value in (torch.nan, 1.0):
            with _filled([tensors[name] for name in names], value):
                other = run(inputs, sketch)
            found.update(name for name in layouts if not _same(first[name], other[name]))
        return [name for name in layouts if name in found]

    layers = touched(list(tensors))
    if not layers:
        return None
    causes: list[str] = []
    for name in tensors:
        if len(causes) < _TRIED and layers[0] in touched([name]):
            causes.append(name)
    return layers[0], causes or list(tensors)[:_TRIED]


@contextmanager
def _filled(tensors: Sequence[torch.Tensor], value: float) -> Iterator[None]:
    import torch

    kept = [tensor.clone() for tensor in tensors]
    with torch.no_grad():
        for tensor in tensors:
            tensor.fill_(value)
        try:
            yield
        finally:
            for tensor, before in zip(tensors, kept, strict=True):
                tensor.copy_(before)


def _same(first: torch.Tensor, other: torch.Tensor) -> bool:
    import torch

    return first.shape == other.shape and torch.allclose(first, other, rtol=0, atol=0, equal_nan=True)


def _sketch(layout: Layout, output: torch.Tensor) -> torch.Tensor:
    """Take some positions of a layer's output: (n, positions, channels) float32."""
    import torch

    found = layout.positions(output)
    found = found[:, None] if found.ndim == 2 else found.flatten(1, -2)
    count = found.shape[1]
    places = torch.linspace(0, count - 1, min(count, _POSITIONS), device=found.device).round().long()
    return found[:, places].to(torch.float32, copy=True)  # the next module may change the output in place


def _tolerance(inputs: torch.Tensor) -> float:
    """The largest difference that rounding can make, as `_difference` measures it."""
    import torch

    if inputs.dtype in (torch.float16, torch.bfloat16):
        return 0.2
    return 1e-3 if inputs.device.type == "cpu" else 1e-2


def _difference(first: torch.Tensor, other: torch.Tensor) -> float:
    """Return the largest difference of a channel (…, channels), in units of its root mean square."""
    import torch

    if first.shape != other.shape or not torch.equal(first.isfinite(), other.isfinite()):
        return 1.0
    first, other = (tensor.nan_to_num(0, 0, 0).double() for tensor in (first, other))
    scale = first.square().mean((0, 1)).sqrt()
    change = (first - other).square().mean((0, 1)).sqrt()
    # A channel that is nearly always 0 is measured by the others, or its rounding would count.
    return float((change / (scale + 0.1 * scale.square().mean().sqrt()).clamp_min(1e-30)).max())


def _cells(count: int, side: int) -> torch.Tensor:
    """(count,) the cell, of `side` in a row, in which the middle of each pixel lies."""
    import torch

    return ((torch.arange(count) + 0.5) * side / count).long()


def _energy(grid: torch.Tensor, side: int) -> torch.Tensor:
    """Return how much the maps of images 1 to n differ from that of image 0 in each cell: (n, side * side)."""
    import torch

    grid = grid.nan_to_num(0, 0, 0)
    spread = grid[:1].std((1, 2), keepdim=True)
    spread = spread + 0.1 * spread.square().mean().sqrt()
    change = grid[1:] - grid[:1]
    # What changes everywhere alike, as under global attention, says nothing of places.
    change = (change - change.mean((1, 2), keepdim=True)) / spread.clamp_min(1e-30)
    means = change.square().mean(-1)
    for axis in (1, 2):
        belongs = torch.nn.functional.one_hot(_cells(means.shape[axis], side), side).to(means)
        means = torch.movedim(torch.movedim(means, axis, -1) @ (belongs / belongs.sum(0)), -1, axis)
    return means.flatten(1)


def _rank(energy: torch.Tensor) -> float:
    """Return the mean rank of the diagonal in a matrix (replaced cell, cell of the map): 1 where it is largest."""
    import torch

    change = energy.sqrt()
    seen = change.sum(1) > 0
    if seen.float().mean() < 0.5:
        return 1.0  # the map hardly responds to anything, and has no regions to cut out
    change = change + 1e-12 * change.max()
    for _ in range(20):  # some cells change more under every replacement, and some replacements change everything more
        change = change / change.sum(1, keepdim=True)
        change = change / change.sum(0, keepdim=True)
    own = change.diag()[:, None]
    ranks = ((change < own).double().sum(1) + 0.5 * ((change == own).double().sum(1) - 1)) / (len(change) - 1)
    return float(ranks[seen].mean()) if torch.isfinite(ranks).all() else 0.0
