"""Checkpoints of a Stable-Baselines3 model as one safetensors file: nothing is pickled, a crash leaves a whole one."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from stable_baselines3.common.base_class import BaseAlgorithm
from torch import nn

from agents.networks import Network, PolicyNetwork, RecurrentNetwork, SetNetwork
from agents.sb3 import SetPolicy, seed_episodes
from dnr_env.errors import DnRError
from dnr_env.files import write_atomically
from dnr_env.types import FloatArray

CURVE = ("steps", "validation_return", "validation_images")
"""Numbers of a point of the learning curve."""


def network_of(model: BaseAlgorithm) -> PolicyNetwork:
    """The part of a model's policy that chooses actions."""
    policy = model.policy
    if isinstance(policy, SetPolicy):
        body, last = policy.mlp_extractor, policy.action_net
        return SetNetwork(_dense(body.actor.slot), _dense([*body.each, last.each]), _dense([*body.whole, last.whole]))
    if hasattr(policy, "quantile_net"):
        return _means(_dense(policy.quantile_net.quantile_net), policy.quantile_net.n_quantiles)
    if hasattr(policy, "q_net"):
        return _dense(policy.q_net.q_net)
    network = _dense([*policy.mlp_extractor.policy_net, policy.action_net])
    return RecurrentNetwork(_gates(policy.lstm_actor), network) if hasattr(policy, "lstm_actor") else network


def _dense(modules: Iterable[nn.Module]) -> Network:
    """Linear layers with an activation between them, in NumPy."""
    modules = list(modules)
    layers = tuple(
        (module.weight.detach().numpy().T.copy(), module.bias.detach().numpy().copy())
        for module in modules
        if isinstance(module, nn.Linear)
    )
    return Network(layers, "tanh" if any(isinstance(module, nn.Tanh) for module in modules) else "relu")


def _gates(lstm: nn.LSTM) -> tuple[FloatArray, FloatArray]:
    """Weights of what is seen and of the last output, and biases, in NumPy."""
    part = lstm.state_dict()
    weights = torch.cat([part["weight_ih_l0"], part["weight_hh_l0"]], dim=1)
    return weights.numpy().T.copy(), (part["bias_ih_l0"] + part["bias_hh_l0"]).numpy()


def _means(network: Network, quantiles: int) -> Network:
    """One output an action for its (quantiles, actions)."""
    *hidden, (weights, bias) = network.layers
    last = weights.reshape(len(weights), quantiles, -1).mean(axis=1), bias.reshape(quantiles, -1).mean(axis=0)
    return Network((*hidden, last), network.activation)


def save_checkpoint(model: BaseAlgorithm, path: Path, curve: list[dict[str, float]]) -> None:
    """Write parameters, the optimiser's state, steps done and the learning curve."""
    tensors = {f"policy.{name}": tensor.contiguous() for name, tensor in model.policy.state_dict().items()}
    for number, state in model.policy.optimizer.state_dict()["state"].items():
        tensors.update({f"optimizer.{number}.{name}": torch.as_tensor(value) for name, value in state.items()})
    metadata = {"num_timesteps": str(model.num_timesteps), "curve": json.dumps(curve)}
    write_atomically(path, save(tensors, metadata))


def load_checkpoint(model: BaseAlgorithm, path: Path) -> list[dict[str, float]]:
    """Bring a model to a checkpoint, if there is one; returns the learning curve so far.

    The environments and, for DQN, the replay buffer begin anew: training goes on, but not bit for bit as if it had not
    been stopped.

    Raises:
        DnRError: it is damaged.
    """
    if not path.exists():
        return []
    try:
        return _load_checkpoint(model, path)
    except (SafetensorError, LookupError, RuntimeError, TypeError, ValueError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise DnRError(f"out: {path} is damaged ({reason}); without it, training begins anew") from None


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
        raise ValueError("its learning curve holds no numbers")
    return curve
