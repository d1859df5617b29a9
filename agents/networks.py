"""The networks of learned policies, in NumPy: in a row, as a set of slots, or with a memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from agents.features import COUNT, PER_SLOT, SLOTS
from dnr_env.types import FloatArray

PRESENT = 4
"""Column of a slot's features that says whether there is one."""
_ACTIVATIONS: dict[str, Callable[[FloatArray], FloatArray]] = {"tanh": np.tanh, "relu": lambda x: np.maximum(x, 0)}


class PolicyNetwork(Protocol):
    """Features to logits."""

    @property
    def kind(self) -> str:
        """As the option `--network` names it."""

    @property
    def inputs(self) -> int:
        """Length of what it sees."""

    @property
    def activation(self) -> str:
        """Of its hidden layers."""

    @property
    def state_size(self) -> int:
        """Numbers that it remembers of each episode."""

    def logits(self, x: FloatArray, memory: FloatArray) -> FloatArray:
        """(n, inputs) to (n, moves); `memory` (n, state_size), zero where an episode begins, is changed in place."""

    def tensors(self) -> dict[str, FloatArray]:
        """Its arrays by name."""


@dataclass(frozen=True)
class Network:
    """A multi-layer perceptron: (inputs, outputs) weights and (outputs,) biases a layer."""

    layers: tuple[tuple[FloatArray, FloatArray], ...]
    activation: str

    state_size = 0

    def __call__(self, x: FloatArray) -> FloatArray:
        """(..., inputs) to (..., outputs)."""
        for weights, bias in self.layers[:-1]:
            x = _ACTIVATIONS[self.activation](_rows_times(x, weights) + bias)
        weights, bias = self.layers[-1]
        return _rows_times(x, weights) + bias

    def logits(self, x: FloatArray, memory: FloatArray) -> FloatArray:
        """As of `PolicyNetwork`."""
        return self(x)

    @property
    def kind(self) -> str:
        """With embeddings after the features, or without."""
        return "flat" if self.inputs == COUNT else "raw"

    @property
    def inputs(self) -> int:
        """Length of its input."""
        return len(self.layers[0][0])

    def tensors(self) -> dict[str, FloatArray]:
        """Its arrays by name."""
        return {f"{i}.{part}": a for i, layer in enumerate(self.layers) for part, a in zip("wb", layer, strict=True)}

    @classmethod
    def of(cls, tensors: Mapping[str, FloatArray], activation: str) -> Network:
        """From what `tensors` gave."""
        return cls(tuple((tensors[f"{i}.w"], tensors[f"{i}.b"]) for i in range(len(tensors) // 2)), activation)


@dataclass(frozen=True)
class SetNetwork:
    """Moves from a set of slots: the same weights for each, so that their order does not matter.

    With s a slot's features, c those of the episode, h = tanh(slot(s, c)) and p the mean and the maximum of h over the
    slots that are present: the logits are each(h, p), KEEP and MUTATE of a slot, and whole(p), ADD and STOP.
    """

    slot: Network
    each: Network
    whole: Network

    kind, inputs, activation, state_size = "set", COUNT, "tanh", 0

    def logits(self, x: FloatArray, memory: FloatArray) -> FloatArray:
        """(n, COUNT) to (n, len(MOVES))."""
        slots, context = np.split(x, [SLOTS * PER_SLOT], axis=1)
        slots = slots.reshape(len(x), SLOTS, PER_SLOT)
        present = slots[:, :, PRESENT, None] > 0
        hidden = np.tanh(self.slot(np.concatenate([slots, _for_each(context)], axis=2)))
        mean = np.where(present, hidden, 0).sum(axis=1) / np.maximum(present.sum(axis=1), 1).astype(x.dtype)
        pooled = np.concatenate([mean, np.where(present, hidden, -1).max(axis=1)], axis=1)
        moves = self.each(np.concatenate([hidden, _for_each(pooled)], axis=2))
        return np.concatenate([moves[:, :, 0], moves[:, :, 1], self.whole(pooled)], axis=1)

    def tensors(self) -> dict[str, FloatArray]:
        """Its arrays by name."""
        return {f"{part}.{name}": a for part in _SET_PARTS for name, a in getattr(self, part).tensors().items()}

    @classmethod
    def of(cls, tensors: Mapping[str, FloatArray]) -> SetNetwork:
        """From what `tensors` gave."""
        return cls(*(Network.of(_part(tensors, part), "tanh") for part in _SET_PARTS))


_SET_PARTS = ("slot", "each", "whole")


@dataclass(frozen=True)
class RecurrentNetwork:
    """A long short-term memory, and a perceptron on what it gives (Hochreiter and Schmidhuber 1997).

    `gates` has (inputs + size, 4 size) weights of what is seen and of the last output, to the gates in, forget, cell
    and out, in this order.
    """

    gates: tuple[FloatArray, FloatArray]
    head: Network

    kind, activation = "recurrent", "tanh"

    def logits(self, x: FloatArray, memory: FloatArray) -> FloatArray:
        """(n, inputs) to (n, moves); `memory` is the last output and the cell."""
        output, cell = np.split(memory.astype(x.dtype), 2, axis=1)
        weights, bias = self.gates
        gates = _rows_times(np.concatenate([x, output], axis=1), weights) + bias
        enter, forget, new, leave = np.split(gates, 4, axis=1)
        cell = _sigmoid(forget) * cell + _sigmoid(enter) * np.tanh(new)
        output = _sigmoid(leave) * np.tanh(cell)
        memory[:] = np.concatenate([output, cell], axis=1)
        return self.head(output)

    @property
    def inputs(self) -> int:
        """Length of what it sees."""
        return len(self.gates[0]) - self.state_size // 2

    @property
    def state_size(self) -> int:
        """Output and cell."""
        return len(self.gates[1]) // 2

    def tensors(self) -> dict[str, FloatArray]:
        """Its arrays by name."""
        weights, bias = self.gates
        head = {f"head.{name}": array for name, array in self.head.tensors().items()}
        return {"gates.w": weights, "gates.b": bias, **head}

    @classmethod
    def of(cls, tensors: Mapping[str, FloatArray]) -> RecurrentNetwork:
        """From what `tensors` gave."""
        return cls((tensors["gates.w"], tensors["gates.b"]), Network.of(_part(tensors, "head"), "tanh"))


def network_of_kind(kind: str, tensors: Mapping[str, FloatArray], activation: str) -> PolicyNetwork:
    """A saved network."""
    match kind:
        case "set":
            return SetNetwork.of(tensors)
        case "recurrent":
            return RecurrentNetwork.of(tensors)
        case _:
            return Network.of(tensors, activation)


def _part(tensors: Mapping[str, FloatArray], name: str) -> dict[str, FloatArray]:
    """The arrays of one part."""
    return {key.removeprefix(f"{name}."): a for key, a in tensors.items() if key.startswith(f"{name}.")}


def _for_each(x: FloatArray) -> FloatArray:
    """(n, size) to (n, SLOTS, size)."""
    return x[:, None].repeat(SLOTS, axis=1)


def _sigmoid(x: FloatArray) -> FloatArray:
    """1 / (1 + exp(-x)), where exp(-x) may be too large for a number."""
    half: FloatArray = (1 + np.tanh(x / 2)) / 2
    return half


def _rows_times(x: FloatArray, weights: FloatArray) -> FloatArray:
    """`x @ weights`, row by row: a product of many rows at once may differ from it in the last digit."""
    product: FloatArray = np.matmul(x[..., None, :], weights)[..., 0, :]
    return product
