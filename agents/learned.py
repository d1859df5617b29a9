"""Learned policies without the library that trained them, saved as safetensors and JSON."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from agents.base import Agent, Observation, dice
from agents.features import COUNT, GROUPS, MOVES, SLOTS, features, move_masks
from agents.networks import PolicyNetwork, network_of_kind
from dnr_env.errors import DnRError
from dnr_env.files import write_atomically
from dnr_env.types import BoolArray, FloatArray, IntArray

_SPACE = {"format": 2, "features": COUNT, "slots": SLOTS}
"""What a saved policy must be for."""


class LearnedAgent(Agent):
    """Takes the likeliest action of a policy, or draws one from it."""

    env_id = "DnR/RefineSlots-v0"

    def __init__(
        self, name: str, network: PolicyNetwork, moves: Sequence[tuple[int, int]], card: dict[str, Any]
    ) -> None:
        self.name = name
        self.network = network
        self.state_size = network.state_size
        self.moves = np.array(moves)
        """What its outputs mean, as (action, slot)."""
        self.card = card
        """How it was trained, for people; but `without` and `mutator` are for the agent too."""
        self.without = tuple(card.get("without", ()))
        self.env_options = {"mutator": card["mutator"]} if card.get("mutator") else {}

    @property
    def fingerprint(self) -> str:  # type: ignore[override]
        """A digest of the weights, of what they mean, and of what the policy asks of the environment."""
        arrays = [self.moves, *self.network.tensors().values()]
        asks = json.dumps([self.without, self.env_options]).encode()
        return hashlib.sha256(b"".join(array.tobytes() for array in arrays) + asks).hexdigest()[:12]

    def see(self, observation: Observation) -> FloatArray:
        """(n, inputs) what the network is given.

        Raises:
            DnRError: it was trained on embeddings, and on others than these.
        """
        seen = features(observation, self.without, raw=self.network.kind == "raw")
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
        logits = self.network.logits(self.see(observation), memory[:, :-1])
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
            "network": self.network.kind,
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
        except (ValueError, RecursionError, SafetensorError) as error:
            raise DnRError(f"agent: the policy in {folder} is damaged ({error}); train it again") from None
        other = [f"{key} {card.get(key)}, not {here}" for key, here in _SPACE.items() if card.get(key) != here]
        if other:
            raise DnRError(f"agent: the policy in {folder} is of another version ({'; '.join(other)}); train it again")
        try:
            network = network_of_kind(card["network"], tensors, card["activation"])
            moves = [(int(a), int(s)) for a, s in card["moves"]]
            card["validation_return"] = float(card.get("validation_return", 0.0))
            blank = np.zeros((1, network.inputs + network.state_size), np.float32)
            outputs = network.logits(*np.split(blank, [network.inputs], axis=1))
            fits = outputs.shape == (1, len(moves)) and card["network"] == network.kind
            known = set(moves) <= set(MOVES) and set(card.get("without", ())) <= set(GROUPS)
            if not fits or not known or tensors.keys() != network.tensors().keys():
                raise ValueError("its parts do not fit together")
            if not all(array.dtype == np.float32 and np.isfinite(array).all() for array in tensors.values()):
                raise ValueError("a weight is no number")
            if not np.isfinite(card["validation_return"]) or not isinstance(card.get("mutator"), str | None):
                raise ValueError("policy.json says what it cannot mean")
        except (LookupError, TypeError, ValueError) as error:
            raise DnRError(f"agent: the policy in {folder} is damaged ({error!r}); train it again") from None
        return cls(folder.name, network, moves, card)


def members(folder: Path) -> list[Path]:
    """The policies of a run: its seeds' folders, or the folder itself."""
    return sorted(path.parent for path in folder.glob("seed-*/policy.json")) or [folder]
