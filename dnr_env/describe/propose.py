"""Steps 1 and 2 of Describe-and-Dissect: a neuron's exemplars, their captions, and the concepts that these share."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from dnr_env.describe import crops
from dnr_env.describe.caption import caption
from dnr_env.describe.probe import EXEMPLARS
from dnr_env.errors import ConceptError, DnRError
from dnr_env.models import Summary, Usage
from dnr_env.store import address
from dnr_env.types import ImageArray

if TYPE_CHECKING:
    from dnr_env.stacks import Stack


_TOGETHER = 16  # neurons whose pictures are in memory at a time

_Cut = tuple[int, "crops.Box | None", ImageArray]
"""Place among the exemplars, box, picture."""


class Excerpt(NamedTuple):
    """One picture that a neuron is described by: an exemplar, or a part of one."""

    exemplar: int
    """Place among the neuron's exemplars, 0 the strongest."""
    box: crops.Box | None
    """Where, in pixels; None for the whole image."""
    caption: str


class Proposal(NamedTuple):
    """The candidates of a neuron, and where they come from."""

    concepts: list[str]
    excerpts: list[Excerpt]
    usage: Usage


def propose(stack: Stack, neurons: Sequence[int], count: int) -> list[Proposal]:
    """Up to `count` distinct candidate concepts of each neuron; the same at every call, kept in the store.

    A dead or constant neuron has the vocabulary's first concept. Answers that cannot be drawn are passed over; where
    none is left, the captions themselves stand for them.

    Raises:
        DnRError: a neuron is left with none, or the language model cannot be used.

    Source: Bai et al. 2025, "Describe-and-Dissect", steps 1 and 2.
    """
    keys = {neuron: _key(stack, neuron, count) for neuron in neurons}
    kept = stack.lab.store.get_many(keys.values()) if stack.lab.store else {}
    found = {neuron: _read(kept[key]) for neuron, key in keys.items() if key in kept}
    # A neuron that does nothing has nothing to be described by, and is not worth a question.
    idle = Proposal(list(stack.vocabulary()[:1]), [], Usage())
    found.update((neuron, idle) for neuron in keys if not stack.probe.alive[neuron])
    absent = [neuron for neuron in keys if neuron not in found]
    if absent:
        stack.preflight()
        described = excerpts(stack, absent)
        captions = [[excerpt.caption for excerpt in part] for part in described]
        summaries = stack.writer.summarise(captions, count, [_rng(stack, neuron) for neuron in absent])
        for neuron, part, summary in zip(absent, described, summaries, strict=True):
            found[neuron] = Proposal(_concepts(stack, neuron, summary, part)[:count], part, summary.usage)
        if stack.lab.store:
            stack.lab.store.put_many({keys[neuron]: json.dumps(found[neuron]).encode() for neuron in absent})
    return [found[neuron] for neuron in neurons]


def pictures(stack: Stack, neuron: int, excerpts: Sequence[Excerpt]) -> list[ImageArray]:
    """The pictures (height, width, 3) of a neuron's excerpts."""
    exemplars = stack.probe.images(stack.probe.exemplars[neuron])
    return [_cut(exemplars[excerpt.exemplar], excerpt.box) for excerpt in excerpts]


def _cut(image: ImageArray, box: crops.Box | None) -> ImageArray:
    return image if box is None else image[box.top : box.bottom, box.left : box.right]


def _key(stack: Stack, neuron: int, count: int) -> bytes:
    return address(
        kind="proposal",
        captioner=stack.captioner.fingerprint,
        writer=stack.writer.fingerprint,
        probe=stack.probe.fingerprint,
        crops=stack.heat is not None,
        neuron=stack.lab.reader.neurons[neuron],
        count=count,
    )


def _read(data: bytes) -> Proposal:
    concepts, excerpts, usage = json.loads(data)
    boxed = [Excerpt(place, crops.Box(*box) if box else None, text) for place, box, text in excerpts]
    return Proposal(concepts, boxed, Usage(*usage))


def _rng(stack: Stack, neuron: int) -> np.random.Generator:
    name = stack.lab.reader.neurons[neuron]
    return np.random.default_rng(int.from_bytes(hashlib.sha256(f"propose {name}".encode()).digest()[:8], "big"))


def excerpts(stack: Stack, neurons: Sequence[int]) -> list[list[Excerpt]]:
    """The excerpts of each neuron, strongest first, captioned in batches."""
    found = []
    for start in range(0, len(neurons), _TOGETHER):
        cuts = [_cuts(stack, neuron) for neuron in neurons[start : start + _TOGETHER]]
        shown = [picture for part in cuts for *_, picture in part]
        texts = iter(caption(stack.captioner, shown, stack.lab.store))
        found += [[Excerpt(place, box, next(texts)) for place, box, _ in part] for part in cuts]
    return found


def _cuts(stack: Stack, neuron: int) -> list[_Cut]:
    """The EXEMPLARS strongest among the exemplars and their attention crops; the exemplars where there are no maps."""
    order = stack.probe.exemplars[neuron]
    images = list(stack.probe.images(order))
    whole: list[_Cut] = [(place, None, image) for place, image in enumerate(images)]
    maps = (stack.heat(images, stack.lab.reader.neurons[neuron]) if stack.heat else None) or []
    boxed: list[_Cut] = [
        (place, box, _cut(images[place], box))
        for place, heat in enumerate(maps)
        for box in crops.located(heat, images[place].shape[:2])
    ]
    if not boxed:
        return whole
    measured = stack.lab.reader.read([picture for *_, picture in boxed])[0][:, neuron]
    strength = np.concatenate([stack.probe.activations[order, neuron], np.nan_to_num(measured, nan=-np.inf)])
    everything = [*whole, *boxed]
    return [everything[i] for i in np.argsort(-strength, kind="stable")[:EXEMPLARS]]


def _concepts(stack: Stack, neuron: int, summary: Summary, excerpts: Sequence[Excerpt]) -> list[str]:
    captions = (" ".join(excerpt.caption.split()[:8]) for excerpt in excerpts)
    for texts in (summary.concepts, captions):
        found: dict[str, None] = {}
        for text in texts:
            with contextlib.suppress(ConceptError):
                found.setdefault(stack.normalise(text))
        if found:
            return list(found)
    name = stack.lab.reader.neurons[neuron]
    raise DnRError(f"neuron: {name} has no candidate that can be drawn; give some with options['concepts']")
