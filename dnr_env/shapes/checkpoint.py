"""Checkpoints of a training as one safetensors file, so that a training that was stopped goes on where it was."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file, save
from torch import nn

from dnr_env.files import write_atomically


def save_checkpoint(path: Path, network: nn.Module, optimiser: torch.optim.Optimizer, step: int) -> None:
    """Write what the steps from `step` on depend on, random numbers excepted."""
    tensors = {f"network.{name}": tensor.contiguous() for name, tensor in network.state_dict().items()}
    for number, state in optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{number}.{name}": tensor.contiguous() for name, tensor in state.items()}
    write_atomically(path, save({**tensors, "step": torch.tensor(step)}))


def load_checkpoint(path: Path, network: nn.Module, optimiser: torch.optim.Optimizer) -> int:
    """Read a checkpoint, if there is one, into a network and its optimiser. Returns the step to go on from."""
    if not path.exists():
        return 0
    tensors = load_file(path)
    step = int(tensors.pop("step"))
    state: dict[int, dict[str, torch.Tensor]] = {}
    weights = {}
    for key, tensor in tensors.items():
        kind, _, name = key.partition(".")
        if kind == "network":
            weights[name] = tensor
        else:
            number, _, field = name.partition(".")
            state.setdefault(int(number), {})[field] = tensor
    network.load_state_dict(weights)
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
    return step
