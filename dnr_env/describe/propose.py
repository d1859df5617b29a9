"""Steps 1 and 2 of Describe-and-Dissect: a neuron's exemplars, their captions, and the concepts that these share."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

import numpy as np

from dnr_env.store import address

if TYPE_CHECKING:
    from dnr_env.stacks import Stack

_VERSION = 3


def propose(stack: Stack, neuron: int, count: int) -> list[str]:
    """Up to `count` distinct candidate concepts of a neuron; the same at every call, kept in the store.

    Source: Bai et al. 2025, "Describe-and-Dissect", steps 1 and 2 (without attention crops, which a picture of one
    object has no use for).
    """
    key = address(
        kind="proposals", version=_VERSION, stack=stack.name, probe=stack.probe.fingerprint, neuron=neuron, count=count
    )
    if stack.lab.store and (kept := stack.lab.store.get_many([key])):
        return [str(text) for text in json.loads(kept[key])]
    captions = stack.captioner.caption(stack.probe.images(stack.probe.exemplars[neuron]))
    name = stack.lab.reader.neurons[neuron]
    rng = np.random.default_rng(int.from_bytes(hashlib.sha256(f"propose {name}".encode()).digest()[:8], "big"))
    concepts = list(dict.fromkeys(stack.normalise(text) for text in stack.writer.summarise(captions, count, rng)))
    if stack.lab.store:
        stack.lab.store.put_many({key: json.dumps(concepts).encode()})
    return concepts
