"""Files of trained targets of the embedded worlds: weights, with what is needed to build their network again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError, safe_open

from dnr_env.errors import DnRError

if TYPE_CHECKING:
    from torch import nn


def save_target(path: Path, network: nn.Module, world: str, **built: str) -> None:
    """Write a trained target.

    Args:
        path: the file, of format safetensors.
        network: the target.
        world: the world whose pictures it was trained on, "shapes" or "scenes".
        built: what it was built with.
    """
    import torch
    from safetensors.torch import save_file

    weights = network.to(memory_format=torch.contiguous_format).state_dict()
    save_file(weights, path, metadata={"world": world, **built})


def path_of_target(text: str, world: str) -> str:
    """The absolute path of a trained target, for stacks of other processes.

    Raises:
        DnRError: the file is not one that `save_target` wrote for this world.
    """
    path = Path(text).expanduser().resolve()
    read_built(path, world)
    return str(path)


def read_built(path: Path, world: str) -> Mapping[str, str]:
    """Read what a target was built with. Nothing else is loaded.

    Raises:
        DnRError: the file is not one that `save_target` wrote for this world.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            built: dict[str, str] = file.metadata() or {}
    except (OSError, SafetensorError):
        built = {}
    if built.get("world") != world:
        raise DnRError(f"`target` must be a file that the training script of {world} has written (got {path})")
    return built
