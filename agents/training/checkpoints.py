"""Checkpoints of a Stable-Baselines3 model: one safetensors file without pickles, which is replaced atomically."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from stable_baselines3.common.base_class import BaseAlgorithm

from dnr_env.agents.training.vec_env import seed_episodes
from dnr_env.errors import DnRError
from dnr_env.files import write_atomically

CURVE = ("steps", "validation_return", "validation_images")
"""Values of a point of the learning curve."""


def save_checkpoint(model: BaseAlgorithm, path: Path, curve: list[dict[str, float]]) -> None:
    """Save the parameters, the optimiser's state, the number of steps and the learning curve."""
    tensors = {f"policy.{name}": tensor.contiguous() for name, tensor in model.policy.state_dict().items()}
    for number, state in model.policy.optimizer.state_dict()["state"].items():
        tensors.update({f"optimizer.{number}.{name}": torch.as_tensor(value) for name, value in state.items()})
    metadata = {"num_timesteps": str(model.num_timesteps), "curve": json.dumps(curve)}
    write_atomically(path, save(tensors, metadata))


def load_checkpoint(model: BaseAlgorithm, path: Path) -> list[dict[str, float]]:
    """Load a checkpoint into a model, if there is one, and return the learning curve so far.

    The environments and the replay buffer of DQN are not saved. Therefore resuming does not give exactly the policy of
    an uninterrupted training.

    Raises:
        DnRError: The checkpoint is damaged.
    """
    if not path.exists():
        return []
    try:
        return _load_checkpoint(model, path)
    except (SafetensorError, LookupError, RuntimeError, TypeError, ValueError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise DnRError(
            f"`out` must hold undamaged checkpoints (got {path}: {reason}); delete it to train from the beginning"
        ) from None


def _load_checkpoint(model: BaseAlgorithm, path: Path) -> list[dict[str, float]]:
    parameters: dict[str, torch.Tensor] = {}
    states: dict[int, dict[str, Any]] = {}
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
        for key in file.keys():  # noqa: SIM118 (not a mapping)
            kind, rest = key.split(".", 1)
            if kind == "policy":
                parameters[rest] = file.get_tensor(key)
            else:
                number, name = rest.split(".")
                states.setdefault(int(number), {})[name] = file.get_tensor(key)
    model.policy.load_state_dict(parameters)
    optimizer = model.policy.optimizer.state_dict()
    model.policy.optimizer.load_state_dict({"state": states, "param_groups": optimizer["param_groups"]})
    model.num_timesteps = int(metadata["num_timesteps"])
    seed_episodes(model)
    curve: list[dict[str, float]] = [{key: row[key] for key in CURVE} for row in json.loads(metadata["curve"])]
    if not all(isinstance(value, int | float) for row in curve for value in row.values()):
        raise ValueError("the learning curve must hold numbers")
    return curve
