"""The networks of learned policies. Training and acting use the same modules."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import nn

from dnr_env.agents.learned.features import CHANGED, CONTEXT, COUNT, PER_SLOT, SLOTS
from dnr_env.env.rules import ActionForm
from dnr_env.types import FloatArray

WIDTH = 64
PRESENT = PER_SLOT - 1
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
    """The last layers: logits of KEEP, of STOP and of the changes of each slot, and of what is for no slot.

    Args:
        each: The number of logits of a slot: 1 for KEEP, 1 for STOP, and 1 for MUTATE or for each of its kinds.
        whole: The number of logits of the episode.
    """

    def __init__(self, each: int, whole: int) -> None:
        super().__init__()
        self.each, self.whole = nn.Linear(WIDTH, each), nn.Linear(WIDTH, whole)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (n, (SLOTS + 1) WIDTH) to (n, 2 SLOTS + CHANGED (each - 2) + whole), in the order of `MOVE_SETS`."""
        parts = x.reshape(-1, SLOTS + 1, WIDTH)
        each = self.each(parts[:, :-1]).transpose(1, 2)
        return torch.cat([each[:, :2].flatten(1), each[:, 2:, :CHANGED].flatten(1), self.whole(parts[:, -1])], dim=1)


def set_logits(form: ActionForm) -> SetLogits:
    """Make the last layers of a policy whose actions choose a slot: with ADD and, of a kind, the model's word."""
    return SetLogits(7, 2) if form == "edits" else SetLogits(3, 1)


def hidden_layer(inputs: int) -> nn.Sequential:
    """Make one hidden layer with tanh."""
    return nn.Sequential(nn.Linear(inputs, WIDTH), nn.Tanh())


class SetNetwork(nn.Module):
    """A permutation-equivariant network: it shares its weights between the slots.

    Let s be the features of a slot, c those of the episode, h = tanh(slot(s, c)), and p the mean and maximum of h over
    the slots that are present. The logits are each(h, p) for the moves of a slot, and whole(p) for those of no slot.

    Args:
        last: The last layers.
        pool: The encoder of slots, a new one by default, as the rest.
        each: The hidden layer of a slot's moves.
        whole: The hidden layer of the episode's moves.
    """

    def __init__(
        self,
        last: nn.Module,
        pool: SetPool | None = None,
        each: nn.Module | None = None,
        whole: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.pool = pool or SetPool()
        self.each = each or hidden_layer(3 * WIDTH)
        self.whole = whole or hidden_layer(2 * WIDTH)
        self.last = last

    def latent(self, x: torch.Tensor) -> torch.Tensor:
        """Map (n, COUNT) to (n, (SLOTS + 1) WIDTH): a part for each slot, then one for the episode."""
        hidden, pooled = self.pool(x)
        each = self.each(torch.cat([hidden, pooled[:, None].expand(-1, SLOTS, -1)], dim=2))
        return torch.cat([each.flatten(1), self.whole(pooled)], dim=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (n, COUNT) to (n, moves)."""
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
        network: nn.Module = SetNetwork(SetLogits(*(len(tensors[f"last.{part}.bias"]) for part in ("each", "whole"))))
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
