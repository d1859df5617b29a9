"""Steps 1 and 2 of Describe-and-Dissect: a neuron's exemplars, their captions, and the concepts that these share."""

from __future__ import annotations

import contextlib
import hashlib
import json
from typing import TYPE_CHECKING

import numpy as np

from dnr_env.errors import ConceptError, DnRError
from dnr_env.store import address

if TYPE_CHECKING:
    from dnr_env.stacks import Stack


def propose(stack: Stack, neuron: int, count: int) -> list[str]:
    """Up to `count` distinct candidate concepts of a neuron; the same at every call, kept in the store.

    Answers that cannot be drawn are passed over.

    Raises:
        DnRError: none is left.

    Source: Bai et al. 2025, "Describe-and-Dissect", steps 1 and 2 (without attention crops, which a picture of one
    object has no use for).
    """
    key = address(
        kind="proposals",
        captioner=stack.captioner.fingerprint,
        writer=stack.writer.fingerprint,
        probe=stack.probe.fingerprint,
        neuron=stack.lab.reader.neurons[neuron],
        count=count,
    )
    if stack.lab.store and (kept := stack.lab.store.get_many([key])):
        return [str(text) for text in json.loads(kept[key])]
    captions = stack.captioner.caption(stack.probe.images(stack.probe.exemplars[neuron]))
    name = stack.lab.reader.neurons[neuron]
    rng = np.random.default_rng(int.from_bytes(hashlib.sha256(f"propose {name}".encode()).digest()[:8], "big"))
    concepts: list[str] = []
    for text in stack.writer.summarise(captions, count, rng):
        with contextlib.suppress(ConceptError):
            concepts.append(stack.normalise(text))
    concepts = list(dict.fromkeys(concepts))
    if not concepts:
        raise DnRError(f"neuron: {name} has no candidate that can be drawn; give some with options['concepts']")
    if stack.lab.store:
        stack.lab.store.put_many({key: json.dumps(concepts).encode()})
    return concepts
