"""The outputs of modules in a forward pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from dnr_env.errors import DnRError

if TYPE_CHECKING:
    import torch


def tensor_of(name: str, output: object) -> torch.Tensor:
    """Return the tensor in the output of module `name`: the output itself, or the first tensor in a collection.

    Raises:
        DnRError: the output contains no tensor.
    """
    import torch

    if isinstance(output, torch.Tensor):
        return output
    parts = list(output.values()) if isinstance(output, Mapping) else output
    for part in parts if isinstance(parts, list | tuple) else ():
        if isinstance(part, torch.Tensor):
            return part
    raise DnRError(
        f"`target.layers` must name modules that return tensors (got {name!r}, which returns {type(output).__name__})"
    )


@contextmanager
def hooks(modules: Mapping[str, torch.nn.Module], see: Callable[[str, object], None]) -> Iterator[None]:
    """Call `see` with the name and the output of each module that runs, without changing the outputs."""

    def hook(name: str) -> Callable[[torch.nn.Module, object, object], None]:
        return lambda module, given, output: see(name, output)

    handles = [module.register_forward_hook(hook(name)) for name, module in modules.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
