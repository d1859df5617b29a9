"""What modules give in a forward pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from dnr_env.errors import DnRError

if TYPE_CHECKING:
    import torch


def tensor_of(name: str, output: object) -> torch.Tensor:
    """The output of module `name`: a tensor, or the first one of a tuple, a list or a mapping.

    Raises:
        DnRError: there is none in it.
    """
    import torch

    if isinstance(output, torch.Tensor):
        return output
    parts = list(output.values()) if isinstance(output, Mapping) else output
    for part in parts if isinstance(parts, list | tuple) else ():
        if isinstance(part, torch.Tensor):
            return part
    raise DnRError(f"target.layers: {name!r} gives no tensor but {type(output).__name__}; a layer inside it will do")


@contextmanager
def hooks(modules: Mapping[str, torch.nn.Module], see: Callable[[str, object], None]) -> Iterator[None]:
    """`see` gets the name and the output of each module that runs; outputs stay as they are."""

    def hook(name: str) -> Callable[[torch.nn.Module, object, object], None]:
        return lambda module, given, output: see(name, output)

    handles = [module.register_forward_hook(hook(name)) for name, module in modules.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
