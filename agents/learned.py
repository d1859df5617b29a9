"""Learned policies without the library that trained them: small networks in NumPy, saved as safetensors and JSON."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from agents.base import Agent, Observation, dice
from agents.features import COUNT, GROUPS, MOVES, PER_SLOT, SLOTS, features, move_masks
from dnr_env.errors import DnRError
from dnr_env.files import write_atomically
from dnr_env.types import BoolArray, FloatArray, IntArray

_SPACE = {"format": 2, "features": COUNT, "slots": SLOTS}
"""What a saved policy must be for."""
_ACTIVATIONS: dict[str, Callable[[FloatArray], FloatArray]] = {"tanh": np.tanh, "relu": lambda x: np.maximum(x, 0)}
PRESENT = 4
"""Column of a slot's features that says whether there is one."""


@dataclass(frozen=True)
class Network:
    """A multi-layer perceptron: (inputs, outputs) weights and (outputs,) biases a layer."""

    layers: tuple[tuple[FloatArray, FloatArray], ...]
    activation: str

    def __call__(self, x: FloatArray) -> FloatArray:
        """(..., inputs) to (..., outputs)."""
        for weights, bias in self.layers[:-1]:
            x = _ACTIVATIONS[self.activation](_rows_times(x, weights) + bias)
        weights, bias = self.layers[-1]
        return _rows_times(x, weights) + bias

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

    inputs = COUNT
    activation = "tanh"

    def __call__(self, x: FloatArray) -> FloatArray:
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
        return {f"{part}.{name}": a for part, network in vars(self).items() for name, a in network.tensors().items()}

    @classmethod
    def of(cls, tensors: Mapping[str, FloatArray]) -> SetNetwork:
        """From what `tensors` gave."""

        def part(name: str) -> Network:
            return Network.of({k.partition(".")[2]: a for k, a in tensors.items() if k.startswith(name)}, "tanh")

        return cls(part("slot"), part("each"), part("whole"))


def _for_each(x: FloatArray) -> FloatArray:
    """(n, size) to (n, SLOTS, size)."""
    return x[:, None].repeat(SLOTS, axis=1)


def _rows_times(x: FloatArray, weights: FloatArray) -> FloatArray:
    """`x @ weights`, row by row: a product of many rows at once may differ from it in the last digit."""
    product: FloatArray = np.matmul(x[..., None, :], weights)[..., 0, :]
    return product


class LearnedAgent(Agent):
    """Takes the likeliest action of a policy, or draws one from it."""

    env_id = "DnR/RefineSlots-v0"

    def __init__(
        self, name: str, network: Network | SetNetwork, moves: Sequence[tuple[int, int]], card: dict[str, Any]
    ) -> None:
        self.name = name
        self.network = network
        self.moves = np.array(moves)
        """What its outputs mean, as (action, slot)."""
        self.card = card
        """How it was trained, for people; but `without` and `mutator` are for the agent too."""
        self.without = tuple(card.get("without", ()))
        self.env_options = {"mutator": card["mutator"]} if card.get("mutator") else {}

    @property
    def fingerprint(self) -> str:  # type: ignore[override]
        """A digest of the weights and of what they mean."""
        arrays = [self.moves, *self.network.tensors().values()]
        blank = " ".join(self.without).encode()
        return hashlib.sha256(b"".join(array.tobytes() for array in arrays) + blank).hexdigest()[:12]

    def see(self, observation: Observation) -> FloatArray:
        """(n, inputs) what the network is given.

        Raises:
            DnRError: it was trained on embeddings, and on others than these.
        """
        raw = self.network.inputs != COUNT
        seen = features(observation, self.without, raw)
        if seen.shape[1] != self.network.inputs:
            ours, theirs = ((length - COUNT) // (SLOTS + 1) for length in (self.network.inputs, seen.shape[1]))
            raise DnRError(
                f"agent: {self.name} was trained on embeddings of {ours} numbers and these have {theirs}; "
                "the stack that it was trained on will do"
            )
        return seen

    def act(
        self, observation: Observation, memory: FloatArray, masks: BoolArray | None, deterministic: bool
    ) -> IntArray:
        """The unmasked move of the largest logit, or one by its probability."""
        logits = self.network(self.see(observation))
        if masks is not None:
            logits = np.where(move_masks(masks, self.moves.tolist()), logits, -np.inf)
        if not deterministic:
            uniform = np.stack([dice(observation, memory, row).random(len(self.moves)) for row in range(len(logits))])
            logits = logits - np.log(-np.log(uniform))  # Gumbel noise: its argmax is a draw from the softmax
        chosen: IntArray = self.moves[logits.argmax(axis=1)]
        return chosen

    def save(self, folder: Path) -> None:
        """Write `policy.safetensors` and `policy.json`."""
        card = {
            **self.card,
            **_SPACE,
            "moves": self.moves.tolist(),  # in place of the training option of this name
            "network": _kind(self.network),
            "activation": self.network.activation,
        }
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / "policy.safetensors", save(self.network.tensors()))
        write_atomically(folder / "policy.json", (json.dumps(card, indent=2) + "\n").encode())

    @classmethod
    def load(cls, folder: Path) -> LearnedAgent:
        """Read a policy that `save` wrote.

        Raises:
            DnRError: there is none, it is damaged, or it is for other features or actions.
        """
        try:
            card = json.loads((folder / "policy.json").read_text(encoding="utf-8"))
            tensors = load_file(folder / "policy.safetensors")
            if not isinstance(card, dict):
                raise ValueError("policy.json holds no object")
        except FileNotFoundError as error:
            missing = Path(error.filename or "policy.safetensors").name
            raise DnRError(f"agent: {folder} holds no {missing}; a folder that train.py wrote will do") from None
        except OSError as error:
            raise DnRError(f"agent: the policy in {folder} cannot be read ({error}); another will do") from None
        except (ValueError, SafetensorError) as error:
            raise DnRError(f"agent: the policy in {folder} is damaged ({error}); train it again") from None
        saved = {key: card.get(key) for key in _SPACE}
        if saved != _SPACE:
            raise DnRError(f"agent: the policy in {folder} is for {saved}; one for {_SPACE} will do")
        try:
            network = SetNetwork.of(tensors) if card["network"] == "set" else Network.of(tensors, card["activation"])
            moves = [(int(a), int(s)) for a, s in card["moves"]]
            card["validation_return"] = float(card.get("validation_return", 0.0))
            outputs = network(np.zeros((1, network.inputs), np.float32))
            fits = outputs.shape == (1, len(moves)) and card["network"] == _kind(network)
            if not fits or not set(moves) <= set(MOVES) or not set(card.get("without", ())) <= set(GROUPS):
                raise ValueError("its parts do not fit together")
        except (LookupError, TypeError, ValueError) as error:
            raise DnRError(f"agent: the policy in {folder} is damaged ({error!r}); train it again") from None
        return cls(folder.name, network, moves, card)


def _kind(network: Network | SetNetwork) -> str:
    """The architecture, as the option `--network` names it."""
    if isinstance(network, SetNetwork):
        return "set"
    return "flat" if network.inputs == COUNT else "raw"


def members(folder: Path) -> list[Path]:
    """The policies of a run: its seeds' folders, or the folder itself."""
    return sorted(path.parent for path in folder.glob("seed-*/policy.json")) or [folder]
