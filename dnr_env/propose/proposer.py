"""Steps 1 and 2 of Describe-and-Dissect: a neuron's exemplars, their captions, and the concepts the captions share."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from dnr_env.errors import ConceptError, ItemError, piecewise, reason_of
from dnr_env.evidence.lab import Lab
from dnr_env.evidence.probe import EXEMPLARS
from dnr_env.evidence.store import address
from dnr_env.evidence.vocabulary import Vocabulary
from dnr_env.interfaces import Captioner, Language, Origin, Summary, Usage, Writer
from dnr_env.propose import crops
from dnr_env.propose.caption import caption
from dnr_env.types import ImageArray

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
    """None if there is no candidate that can be drawn."""
    excerpts: list[Excerpt]
    usage: Usage
    origin: Origin
    failure: str = ""
    """Why the candidates are not the writer's; "" if they are, or if the stack has no writer on purpose."""


_KEPT = 3  # fields of a proposal that are stored; the others are the same for all that are


class _Described(NamedTuple):
    """The captioned pictures of a neuron, and why the others have no caption."""

    excerpts: list[Excerpt]
    failures: list[str]


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
        heat: crops.HeatOf | None = None,
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
        """Propose up to `count` distinct concepts for each neuron, as `attempt` does.

        Raises:
            ItemError: a neuron has no candidate that can be drawn.
            DnRError: the language model cannot be used.
        """
        proposals = self.attempt(neurons, count)
        for neuron, proposal in zip(neurons, proposals, strict=True):
            if not proposal.concepts:
                raise ItemError(
                    f"`neuron` must have a candidate that can be drawn (got {self.lab.reader.neurons[neuron]}, which "
                    f"has none: {proposal.failure}); give some in options['concepts']"
                )
        return proposals

    def attempt(self, neurons: Sequence[int], count: int) -> list[Proposal]:
        """Propose up to `count` distinct concepts for each neuron. They are kept in the store and never change.

        Concepts that cannot be drawn are dropped. If none is left, the captions themselves are the candidates, and the
        proposal says why. Such a proposal is kept in memory only, until `retry`.

        Raises:
            DnRError: the language model cannot be used.

        Source: Bai et al. 2025, "Describe-and-Dissect", steps 1 and 2.
        """
        count = min(count, self.most or count)
        absent = [neuron for neuron in dict.fromkeys(neurons) if (neuron, count) not in self._found]
        if absent:
            made = self._propose(absent, count)
            self._found.update(((neuron, count), made[neuron]) for neuron in absent)
        return [self._found[neuron, count] for neuron in neurons]

    def retry(self) -> None:
        """Forget the proposals that failed, so that they are attempted again."""
        self._found = {key: proposal for key, proposal in self._found.items() if not proposal.failure}

    def _propose(self, neurons: Sequence[int], count: int) -> dict[int, Proposal]:
        keys = {neuron: self._key(neuron, count) for neuron in neurons}
        found = self._kept(keys)
        # A neuron that does not respond has no exemplars to describe, so the language model is not asked.
        idle = [neuron for neuron in neurons if not self.vocabulary.probe.alive[neuron]]
        found.update(
            (neuron, Proposal(list(self.vocabulary.concepts[:1]), [], Usage(), "vocabulary")) for neuron in idle
        )
        absent = [neuron for neuron in neurons if neuron not in found]
        if absent:
            self.preflight()
            described = dict(zip(absent, self._described(absent), strict=True))
            made = self._summarised(described, count)
            found.update(made)
            whole = [n for n, proposal in made.items() if not (proposal.failure or described[n].failures)]
            if self.lab.store:
                self.lab.store.put_many({keys[n]: json.dumps(made[n][:_KEPT]).encode() for n in whole})
        return found

    def _summarised(self, described: Mapping[int, _Described], count: int) -> dict[int, Proposal]:
        """Make the proposals of neurons from their captions."""

        def summarise(neurons: Sequence[int]) -> list[Summary]:
            captions = [[excerpt.caption for excerpt in described[neuron].excerpts] for neuron in neurons]
            return self.writer.summarise(captions, count, [self._rng(neuron) for neuron in neurons])

        captioned = [neuron for neuron, one in described.items() if one.excerpts]
        answers = dict(zip(captioned, piecewise(summarise, captioned), strict=True))
        made = {}
        for neuron, one in described.items():
            if neuron in answers:
                answer = answers[neuron]
                summary = Summary([], Usage(), reason_of(answer)) if isinstance(answer, Exception) else answer
                made[neuron] = self._proposal(one.excerpts, summary, count)
            else:
                ((reason, _),) = Counter(one.failures).most_common(1)
                made[neuron] = Proposal([], [], Usage(), "captions", reason)
        return made

    def described(self, neuron: int, count: int) -> list[Excerpt]:
        """The excerpts of a neuron's proposal, which are made again if it is not kept. The writer is not asked."""
        count = min(count, self.most or count)
        if (neuron, count) in self._found:
            return self._found[neuron, count].excerpts
        if not self.vocabulary.probe.alive[neuron]:
            return []  # nothing was described
        kept = self._kept({neuron: self._key(neuron, count)})
        return kept[neuron].excerpts if kept else self.excerpts([neuron])[0]

    def excerpts(self, neurons: Sequence[int]) -> list[list[Excerpt]]:
        """Caption the excerpts of each neuron, strongest first. Those without a caption are left out."""
        return [one.excerpts for one in self._described(neurons)]

    def _described(self, neurons: Sequence[int]) -> list[_Described]:
        found = []
        for start in range(0, len(neurons), _TOGETHER):
            part = neurons[start : start + _TOGETHER]
            cuts = piecewise(lambda some: [self._cuts(neuron) for neuron in some], part)
            shown = [picture for one in cuts if not isinstance(one, Exception) for *_, picture in one]
            said = iter(caption(self.captioner, shown, self.lab.store))
            for one in cuts:
                if isinstance(one, Exception):
                    found.append(_Described([], [f"its real images cannot be read: {reason_of(one)}"]))
                    continue
                ours = [(place, box, next(said)) for place, box, _ in one]
                excerpts = [Excerpt(place, box, spoken.text) for place, box, spoken in ours if not spoken.failure]
                found.append(_Described(excerpts, [spoken.failure for *_, spoken in ours if spoken.failure]))
        return found

    def _kept(self, keys: Mapping[int, bytes]) -> dict[int, Proposal]:
        kept = self.lab.store.get_many(keys.values()) if self.lab.store else {}
        return {neuron: _read(kept[key], self.writer.origin) for neuron, key in keys.items() if key in kept}

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
        strength = np.concatenate([probe.raw(order, np.array([neuron]))[:, 0], np.nan_to_num(measured, nan=-np.inf)])
        everything = [*whole, *boxed]
        return [everything[i] for i in np.argsort(-strength, kind="stable")[:EXEMPLARS]]

    def _proposal(self, excerpts: list[Excerpt], summary: Summary, count: int) -> Proposal:
        """Take the writer's concepts or, if none can be drawn, the captions."""
        if found := drawable(summary.concepts, self.language):
            return Proposal(found[:count], excerpts, summary.usage, self.writer.origin)
        found = drawable((" ".join(excerpt.caption.split()[:8]) for excerpt in excerpts), self.language)
        failure = ""
        if self.writer.origin != "captions":
            failure = summary.failure or "no concept of the writer's can be drawn"
        elif not found:
            failure = "no caption can be drawn"
        return Proposal(found[:count], excerpts, summary.usage, "captions", failure)


def drawable(texts: Iterable[str], language: Language) -> list[str]:
    """Normalise texts and keep the distinct concepts that can be drawn, in order."""
    found: dict[str, None] = {}
    for text in texts:
        with contextlib.suppress(ConceptError):
            found.setdefault(language.normalise(text))
    return list(found)


def _cut(image: ImageArray, box: crops.Box | None) -> ImageArray:
    return image if box is None else image[box.top : box.bottom, box.left : box.right]


def _read(data: bytes, origin: Origin) -> Proposal:
    concepts, excerpts, usage = json.loads(data)
    boxed = [Excerpt(place, crops.Box(*box) if box else None, text) for place, box, text in excerpts]
    return Proposal(concepts, boxed, Usage(*usage), origin)
