"""Learned policies as agents. They are saved as safetensors and JSON, and do not need the library that trained them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import nn

from dnr_env.agents.base import Agent, Observation, dice
from dnr_env.agents.learned.features import (
    COUNT,
    GROUPS,
    SLOTS,
    actions_of,
    features,
    move_masks,
    moves_of,
)
from dnr_env.agents.learned.network import kind_of, logits_of, network_of
from dnr_env.env.rules import ActionForm
from dnr_env.errors import DnRError
from dnr_env.files import write_atomically
from dnr_env.types import BoolArray, FloatArray, IntArray

ENVIRONMENTS: Mapping[ActionForm, str] = {
    "incumbent": "DnR/Refine-v0",
    "slots": "DnR/RefineSlots-v0",
    "edits": "DnR/RefineEdits-v0",
}
"""The environment of each form of action."""
_SPACE = {"format": 4, "features": COUNT, "slots": SLOTS}
"""Entries of `policy.json` that a saved policy must match."""


class LearnedAgent(Agent):
    """Takes the most probable action of a policy, or samples one.

    Args:
        name: The name of the agent.
        network: The network, which maps features (n, COUNT) to logits (n, moves).
        form: What a move consists of. The network's outputs are for `moves_of(form, outputs)`.
        card: How the policy was trained. The agent itself uses the entries `without` and `mutator`.
    """

    def __init__(self, name: str, network: nn.Module, form: ActionForm, card: dict[str, Any]) -> None:
        self.name = name
        self.network = network
        self.form: ActionForm = form
        self.moves = moves_of(form, logits_of(network, np.zeros((1, COUNT), np.float32)).shape[1])
        self.env_id = ENVIRONMENTS[form]
        self.card = card
        self.without = tuple(card.get("without", ()))
        self.env_options = {"mutator": card["mutator"]} if card.get("mutator") else {}

    @property
    def fingerprint(self) -> str:  # type: ignore[override]
        """A digest of the weights, the form of the moves, and the options that change how the policy plays."""
        weights = b"".join(tensor.numpy().tobytes() for tensor in self.network.state_dict().values())
        asks = json.dumps([self.form, self.without, self.env_options]).encode()
        return hashlib.sha256(weights + asks).hexdigest()[:12]

    def see(self, observation: Observation) -> FloatArray:
        """Compute the network's input (n, COUNT)."""
        return features(observation, self.without)

    def act(
        self, observation: Observation, memory: FloatArray, masks: BoolArray | None, deterministic: bool
    ) -> IntArray:
        """Choose the unmasked move with the largest logit, or sample one."""
        logits = logits_of(self.network, self.see(observation))
        if masks is not None:
            logits = np.where(move_masks(masks, self.moves), logits, -np.inf)
        if not deterministic:
            uniform = np.stack([dice(observation, memory, row).random(len(self.moves)) for row in range(len(logits))])
            logits = logits - np.log(-np.log(uniform))  # the argmax with Gumbel noise is a sample of the softmax
        return actions_of(self.moves[logits.argmax(axis=1)])

    def save(self, folder: Path) -> None:
        """Write `policy.safetensors` and `policy.json`."""
        kind, activation = kind_of(self.network)
        card = {
            **self.card,
            **_SPACE,
            "moves": self.form,
            "network": kind,
            "activation": activation,
        }
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {name: tensor.contiguous() for name, tensor in self.network.state_dict().items()}
        write_atomically(folder / "policy.safetensors", save(tensors))
        write_atomically(folder / "policy.json", (json.dumps(card, indent=2) + "\n").encode())

    @classmethod
    def load(cls, folder: Path) -> LearnedAgent:
        """Load a policy that `save` wrote.

        Raises:
            DnRError: There is no policy, it is damaged, or it has other features or actions.
        """
        try:
            card = json.loads((folder / "policy.json").read_text(encoding="utf-8"))
            tensors = load_file(folder / "policy.safetensors")
            if not isinstance(card, dict):
                raise ValueError("policy.json must hold an object")
        except FileNotFoundError as error:
            missing = Path(error.filename or "policy.safetensors").name
            raise DnRError(
                f"`agent` must be a folder that dnr-train wrote (got {folder}, which has no {missing})"
            ) from None
        except OSError as error:
            raise DnRError(f"`agent` must be a folder with a readable policy (got {folder}: {error})") from None
        except (ValueError, RecursionError, SafetensorError) as error:
            raise _damaged(folder, error) from None
        other = [f"{key} {card.get(key)}, not {here}" for key, here in _SPACE.items() if card.get(key) != here]
        if other:
            raise DnRError(
                f"`agent` must be a policy of this version (got {folder} with {'; '.join(other)}); train it again"
            )
        try:
            network = network_of(card["network"], card["activation"], tensors)
            form: ActionForm = card["moves"]
            card["validation_return"] = float(card.get("validation_return", 0.0))
            if not set(card.get("without", ())) <= set(GROUPS):
                raise ValueError("network, moves and options do not match")
            if not all(t.dtype == torch.float32 and bool(t.isfinite().all()) for t in tensors.values()):
                raise ValueError("a weight is not a finite float32 number")
            if not np.isfinite(card["validation_return"]) or not isinstance(card.get("mutator"), str | None):
                raise ValueError("validation_return or mutator is invalid")
            return cls(folder.name, network, form, card)
        except (LookupError, RuntimeError, TypeError, ValueError) as error:
            raise _damaged(folder, error) from None


def _damaged(folder: Path, error: Exception) -> DnRError:
    """Make the error for a policy that cannot be loaded."""
    reason = " ".join(f"{type(error).__name__}: {error}".split())
    return DnRError(f"`agent` must be an undamaged policy (got {folder}: {reason:.200}); train it again")


def members(folder: Path) -> list[Path]:
    """Find the policies of a run: the folders of its seeds, or the folder itself."""
    return sorted(path.parent for path in folder.glob("seed-*/policy.json")) or [folder]
