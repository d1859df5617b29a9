"""The networks of learned policies. Training and acting use the same modules."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import nn

from dnr_env.agents.learned.features import CONTEXT, COUNT, PER_SLOT, SLOTS
from dnr_env.types import FloatArray

WIDTH = 64
PRESENT = 4
"""Column of a slot's features that says whether the slot is present."""
_ROWS = 64
"""Rows of every forward pass: the last digits depend on its shape, and an episode must not depend on its batch."""


class SetPool(nn.Module):
    """Encodes each slot as h, and pools the mean and maximum of h over the slots that are present."""

    def __init__(self) -> None:
        super().__init__()
        self.slot = nn.Sequential(nn.Linear(PER_SLOT + CONTEXT, WIDTH), nn.Tanh(), nn.Linear(WIDTH, WIDTH))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Map (n, COUNT) to (n, SLOTS, WIDTH) and (n, 2 WIDTH)."""
        slots, context = x[:, : SLOTS * PER_SLOT].reshape(-1, SLOTS, PER_SLOT), x[:, SLOTS * PER_SLOT :]
        present = slots[:, :, PRESENT, None] > 0
        hidden = self.slot(torch.cat([slots, context[:, None].expand(-1, SLOTS, -1)], dim=2)).tanh()
        mean = hidden.where(present, 0.0).sum(dim=1) / present.sum(dim=1).clamp(min=1)
        return hidden, torch.cat([mean, hidden.where(present, -1.0).amax(dim=1)], dim=1)


class SetLogits(nn.Module):
    """The last layers: logits of KEEP and MUTATE for each slot, and of ADD and STOP for the episode."""

    def __init__(self) -> None:
        super().__init__()
        self.each, self.whole = nn.Linear(WIDTH, 2), nn.Linear(WIDTH, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (n, (SLOTS + 1) WIDTH) to (n, len(MOVES))."""
        parts = x.reshape(-1, SLOTS + 1, WIDTH)
        return torch.cat([self.each(parts[:, :-1]).transpose(1, 2).flatten(1), self.whole(parts[:, -1])], dim=1)


def hidden_layer(inputs: int) -> nn.Sequential:
    """Make one hidden layer with tanh."""
    return nn.Sequential(nn.Linear(inputs, WIDTH), nn.Tanh())


class SetNetwork(nn.Module):
    """A permutation-equivariant network: it shares its weights between the slots.

    Let s be the features of a slot, c those of the episode, h = tanh(slot(s, c)), and p the mean and maximum of h over
    the slots that are present. The logits are each(h, p) for KEEP and MUTATE of a slot, and whole(p) for ADD and STOP.

    Args:
        pool: The encoder of slots, a new one by default, as the rest.
        each: The hidden layer of a slot's moves.
        whole: The hidden layer of the episode's moves.
        last: The last layers.
    """

    def __init__(
        self,
        pool: SetPool | None = None,
        each: nn.Module | None = None,
        whole: nn.Module | None = None,
        last: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.pool = pool or SetPool()
        self.each = each or hidden_layer(3 * WIDTH)
        self.whole = whole or hidden_layer(2 * WIDTH)
        self.last = last or SetLogits()

    def latent(self, x: torch.Tensor) -> torch.Tensor:
        """Map (n, COUNT) to (n, (SLOTS + 1) WIDTH): a part for each slot, then one for the episode."""
        hidden, pooled = self.pool(x)
        each = self.each(torch.cat([hidden, pooled[:, None].expand(-1, SLOTS, -1)], dim=2))
        return torch.cat([each.flatten(1), self.whole(pooled)], dim=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (n, COUNT) to (n, len(MOVES))."""
        logits: torch.Tensor = self.last(self.latent(x))
        return logits


_ACTIVATIONS: Mapping[str, type[nn.Module]] = {"tanh": nn.Tanh, "relu": nn.ReLU}


def kind_of(network: nn.Module) -> tuple[str, str]:
    """Return the arguments of `network_of` for a network: its kind, and the activation of its hidden layers."""
    kinds = {type(module) for module in network.modules()}
    activation = next(name for name, kind in _ACTIVATIONS.items() if kind in kinds)
    return ("set" if isinstance(network, SetNetwork) else "flat"), activation


def network_of(kind: str, activation: str, tensors: Mapping[str, torch.Tensor]) -> nn.Module:
    """Rebuild a saved network.

    Args:
        kind: "set" or "flat".
        activation: The activation of its hidden layers, "tanh" or "relu".
        tensors: Its parameters by name.

    Raises:
        KeyError, RuntimeError, ValueError: The tensors do not belong to such a network.
    """
    if kind == "set":
        network: nn.Module = SetNetwork()
    elif kind == "flat":
        weights = [tensors[f"{2 * i}.weight"] for i in range(len(tensors) // 2)]
        layers: list[nn.Module] = []
        for weight in weights:
            layers += [nn.Linear(weight.shape[1], weight.shape[0]), _ACTIVATIONS[activation]()]
        network = nn.Sequential(*layers[:-1])
    else:
        raise ValueError(f"`network` must be set or flat (got {kind!r})")
    network.load_state_dict(dict(tensors))
    return network.eval()


def logits_of(network: nn.Module, seen: FloatArray) -> FloatArray:
    """Map features (n, COUNT) to logits (n, moves). A row does not depend on the other rows."""
    blocks = np.zeros((-(-len(seen) // _ROWS), _ROWS, COUNT), np.float32)
    blocks.reshape(-1, COUNT)[: len(seen)] = seen
    with torch.inference_mode():
        made = [network(torch.from_numpy(block)).numpy() for block in blocks]
    logits: FloatArray = np.concatenate(made)[: len(seen)]
    return logits
