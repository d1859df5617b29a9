"""Learned policies without the library that trained them: a small network in NumPy, saved as safetensors and JSON."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from agents.base import Agent, Observation, dice
from agents.features import COUNT, MOVES, SLOTS, features, move_masks
from dnr_env.errors import DnRError
from dnr_env.files import write_atomically
from dnr_env.types import BoolArray, FloatArray, IntArray

_SPACE = {"format": 1, "features": COUNT, "slots": SLOTS}
"""What a saved policy must be for."""
_ACTIVATIONS: dict[str, Callable[[FloatArray], FloatArray]] = {"tanh": np.tanh, "relu": lambda x: np.maximum(x, 0)}


@dataclass(frozen=True)
class Network:
    """A multi-layer perceptron: (inputs, outputs) weights and (outputs,) biases a layer."""

    layers: tuple[tuple[FloatArray, FloatArray], ...]
    activation: str

    def __call__(self, x: FloatArray) -> FloatArray:
        """(n, inputs) to (n, outputs)."""
        for weights, bias in self.layers[:-1]:
            x = _ACTIVATIONS[self.activation](_rows_times(x, weights) + bias)
        weights, bias = self.layers[-1]
        return _rows_times(x, weights) + bias


def _rows_times(x: FloatArray, weights: FloatArray) -> FloatArray:
    """`x @ weights`, row by row: a product of many rows at once may differ from it in the last digit."""
    product: FloatArray = np.matmul(x[:, None], weights)[:, 0]
    return product


class LearnedAgent(Agent):
    """Takes the likeliest action of a policy, or draws one from it."""

    env_id = "DnR/RefineSlots-v0"

    def __init__(self, name: str, network: Network, moves: Sequence[tuple[int, int]], card: dict[str, Any]) -> None:
        self.name = name
        self.network = network
        self.moves = np.array(moves)
        """What its outputs mean, as (action, slot)."""
        self.card = card
        """How it was trained, for people."""
        self.env_options = {"mutator": card["mutator"]} if card.get("mutator") else {}

    @property
    def fingerprint(self) -> str:  # type: ignore[override]
        """A digest of the weights."""
        arrays = [self.moves, *(array for layer in self.network.layers for array in layer)]
        return hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest()[:12]

    def act(
        self, observation: Observation, memory: FloatArray, masks: BoolArray | None, deterministic: bool
    ) -> IntArray:
        """The unmasked move of the largest logit, or one by its probability."""
        logits = self.network(features(observation))
        if masks is not None:
            logits = np.where(move_masks(masks, self.moves.tolist()), logits, -np.inf)
        if not deterministic:
            uniform = np.stack([dice(observation, memory, row).random(len(self.moves)) for row in range(len(logits))])
            logits = logits - np.log(-np.log(uniform))  # Gumbel noise: its argmax is a draw from the softmax
        chosen: IntArray = self.moves[logits.argmax(axis=1)]
        return chosen

    def save(self, folder: Path) -> None:
        """Write `policy.safetensors` and `policy.json`."""
        tensors = {
            f"{i}.{part}": array
            for i, layer in enumerate(self.network.layers)
            for part, array in zip("wb", layer, strict=True)
        }
        card = {
            **self.card,
            **_SPACE,
            "moves": self.moves.tolist(),  # in place of the training option of this name
            "activation": self.network.activation,
        }
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / "policy.safetensors", save(tensors))
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
            layers = tuple((tensors[f"{i}.w"], tensors[f"{i}.b"]) for i in range(len(tensors) // 2))
            network, moves = Network(layers, card["activation"]), [(int(a), int(s)) for a, s in card["moves"]]
            card["validation_return"] = float(card.get("validation_return", 0.0))
            if not set(moves) <= set(MOVES) or network(np.zeros((1, COUNT), np.float32)).shape != (1, len(moves)):
                raise ValueError("its parts do not fit together")
        except (LookupError, TypeError, ValueError) as error:
            raise DnRError(f"agent: the policy in {folder} is damaged ({error!r}); train it again") from None
        return cls(folder.name, network, moves, card)


def members(folder: Path) -> list[Path]:
    """The policies of a run: its seeds' folders, or the folder itself."""
    return sorted(path.parent for path in folder.glob("seed-*/policy.json")) or [folder]
