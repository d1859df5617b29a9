"""Steps 1 and 2 of Describe-and-Dissect: a neuron's exemplars, their captions, and the concepts the captions share."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from dnr_env.errors import ConceptError, DnRError
from dnr_env.evidence.lab import Lab
from dnr_env.evidence.probe import EXEMPLARS
from dnr_env.evidence.store import address
from dnr_env.evidence.vocabulary import Vocabulary
from dnr_env.interfaces import Captioner, Language, Summary, Usage, Writer
from dnr_env.propose import crops
from dnr_env.propose.caption import caption
from dnr_env.types import ImageArray, Images

_TOGETHER = 16  # neurons whose pictures are in memory at the same time

_Cut = tuple[int, "crops.Box | None", ImageArray]
"""The place among the exemplars, the box, and the picture."""


class Excerpt(NamedTuple):
    """A captioned picture of a neuron: an exemplar, or a part of one."""

    exemplar: int
    """The place among the neuron's exemplars; 0 is the strongest."""
    box: crops.Box | None
    """The part of the exemplar, in pixels; None for the whole image."""
    caption: str


class Proposal(NamedTuple):
    """The candidate concepts of a neuron, and the pictures they come from."""

    concepts: list[str]
    excerpts: list[Excerpt]
    usage: Usage


class Proposer:
    """Turns exemplars into captions and captions into candidate concepts.

    Args:
        lab: provides the reader and the store.
        vocabulary: provides the probe set. Its first concept is the candidate of dead and constant neurons.
        language: decides which concepts can be drawn.
        captioner: describes images in texts.
        writer: summarises captions as concepts.
        heat: returns the activation maps of a neuron on images, for attention crops. Without it, exemplars are
            captioned whole.
        most: the most candidates of a neuron; None leaves the number to the caller.
        preflight: raises DnRError if the language model cannot be used. It is called before any model is loaded.
    """

    def __init__(
        self,
        lab: Lab,
        vocabulary: Vocabulary,
        language: Language,
        captioner: Captioner,
        writer: Writer,
        *,
        heat: Callable[[Images, str], list[crops.Heat] | None] | None = None,
        most: int | None = None,
        preflight: Callable[[], None] = lambda: None,
    ) -> None:
        self.lab = lab
        self.vocabulary = vocabulary
        self.language = language
        self.captioner = captioner
        self.writer = writer
        self.heat = heat
        self.most = most
        self.preflight = preflight
        self._found: dict[tuple[int, int], Proposal] = {}

    def propose(self, neurons: Sequence[int], count: int) -> list[Proposal]:
        """Propose up to `count` distinct concepts for each neuron. They are kept in the store and never change.

        Concepts that cannot be drawn are dropped. If none is left, the captions themselves are the candidates.

        Raises:
            DnRError: a neuron has no candidate that can be drawn, or the language model cannot be used.

        Source: Bai et al. 2025, "Describe-and-Dissect", steps 1 and 2.
        """
        count = min(count, self.most or count)
        absent = [neuron for neuron in dict.fromkeys(neurons) if (neuron, count) not in self._found]
        if absent:
            made = self._propose(absent, count)
            self._found.update(((neuron, count), made[neuron]) for neuron in absent)
        return [self._found[neuron, count] for neuron in neurons]

    def _propose(self, neurons: Sequence[int], count: int) -> dict[int, Proposal]:
        store, probe = self.lab.store, self.vocabulary.probe
        keys = {neuron: self._key(neuron, count) for neuron in neurons}
        kept = store.get_many(keys.values()) if store else {}
        found = {neuron: _read(kept[key]) for neuron, key in keys.items() if key in kept}
        # A neuron that does not respond has no exemplars to describe, so the language model is not asked.
        idle = Proposal(list(self.vocabulary.concepts[:1]), [], Usage())
        found.update((neuron, idle) for neuron in keys if not probe.alive[neuron])
        absent = [neuron for neuron in keys if neuron not in found]
        if absent:
            self.preflight()
            described = self.excerpts(absent)
            captions = [[excerpt.caption for excerpt in part] for part in described]
            summaries = self.writer.summarise(captions, count, [self._rng(neuron) for neuron in absent])
            for neuron, part, summary in zip(absent, described, summaries, strict=True):
                found[neuron] = Proposal(self._concepts(neuron, summary, part)[:count], part, summary.usage)
            if store:
                store.put_many({keys[neuron]: json.dumps(found[neuron]).encode() for neuron in absent})
        return found

    def excerpts(self, neurons: Sequence[int]) -> list[list[Excerpt]]:
        """Caption the excerpts of each neuron, strongest first."""
        found = []
        for start in range(0, len(neurons), _TOGETHER):
            cuts = [self._cuts(neuron) for neuron in neurons[start : start + _TOGETHER]]
            shown = [picture for part in cuts for *_, picture in part]
            texts = iter(caption(self.captioner, shown, self.lab.store))
            found += [[Excerpt(place, box, next(texts)) for place, box, _ in part] for part in cuts]
        return found

    def pictures(self, neuron: int, excerpts: Sequence[Excerpt]) -> list[ImageArray]:
        """The pictures (height, width, 3) of a neuron's excerpts."""
        probe = self.vocabulary.probe
        exemplars = probe.images(probe.exemplars[neuron])
        return [_cut(exemplars[excerpt.exemplar], excerpt.box) for excerpt in excerpts]

    def _key(self, neuron: int, count: int) -> bytes:
        return address(
            kind="proposal",
            captioner=self.captioner.fingerprint,
            writer=self.writer.fingerprint,
            probe=self.vocabulary.probe.fingerprint,
            crops=self.heat is not None,
            neuron=self.lab.reader.neurons[neuron],
            count=count,
        )

    def _rng(self, neuron: int) -> np.random.Generator:
        name = self.lab.reader.neurons[neuron]
        return np.random.default_rng(int.from_bytes(hashlib.sha256(f"propose {name}".encode()).digest()[:8], "big"))

    def _cuts(self, neuron: int) -> list[_Cut]:
        """Choose the strongest of the exemplars and their attention crops; without maps, all exemplars."""
        probe, name = self.vocabulary.probe, self.lab.reader.neurons[neuron]
        order = probe.exemplars[neuron]
        images = list(probe.images(order))
        whole: list[_Cut] = [(place, None, image) for place, image in enumerate(images)]
        maps = (self.heat(images, name) if self.heat else None) or []
        boxed: list[_Cut] = [
            (place, box, _cut(images[place], box))
            for place, heat in enumerate(maps)
            for box in crops.located(heat, images[place].shape[:2])
        ]
        if not boxed:
            return whole
        measured = self.lab.reader.read([picture for *_, picture in boxed])[0][:, neuron]
        strength = np.concatenate([probe.activations[order, neuron], np.nan_to_num(measured, nan=-np.inf)])
        everything = [*whole, *boxed]
        return [everything[i] for i in np.argsort(-strength, kind="stable")[:EXEMPLARS]]

    def _concepts(self, neuron: int, summary: Summary, excerpts: Sequence[Excerpt]) -> list[str]:
        captions = (" ".join(excerpt.caption.split()[:8]) for excerpt in excerpts)
        for texts in (summary.concepts, captions):
            if found := drawable(texts, self.language):
                return found
        name = self.lab.reader.neurons[neuron]
        raise DnRError(
            f"`neuron` must have a candidate that can be drawn (got {name}, which has none); give some in "
            "options['concepts']"
        )


def drawable(texts: Iterable[str], language: Language) -> list[str]:
    """Normalise texts and keep the distinct concepts that can be drawn, in order."""
    found: dict[str, None] = {}
    for text in texts:
        with contextlib.suppress(ConceptError):
            found.setdefault(language.normalise(text))
    return list(found)


def _cut(image: ImageArray, box: crops.Box | None) -> ImageArray:
    return image if box is None else image[box.top : box.bottom, box.left : box.right]


def _read(data: bytes) -> Proposal:
    concepts, excerpts, usage = json.loads(data)
    boxed = [Excerpt(place, crops.Box(*box) if box else None, text) for place, box, text in excerpts]
    return Proposal(concepts, boxed, Usage(*usage))
