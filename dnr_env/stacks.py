"""Stacks: named sets of models that serve one environment."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any, NamedTuple

import numpy as np

from dnr_env.describe.probe import Probe
from dnr_env.describe.propose import propose
from dnr_env.errors import unknown
from dnr_env.lab import Lab
from dnr_env.models import Captioner, Embedder, Mutator, Writer
from dnr_env.seeds import SeedBlock
from dnr_env.store import Store, cache_dir
from dnr_env.types import FloatArray, IntArray


class Seen(NamedTuple):
    """What one neuron each makes of b concepts' s images."""

    activations: FloatArray
    """(b, s) normalised activations of the concept's neuron."""
    similarities: FloatArray
    """(b, s) cosines of the images with that neuron's exemplars."""
    embeddings: FloatArray
    """(b, s, dim) unit embeddings of the images."""


@dataclass(frozen=True)
class Stack:
    """Everything that an episode needs of models. Get one by its name from `load`."""

    name: str
    lab: Lab
    captioner: Captioner
    writer: Writer
    embedder: Embedder
    mutators: dict[str, Mutator]
    """By name; the first is the default."""
    normalise: Callable[[str], str]
    """Any phrase to the text that is measured; raises ConceptError for one that cannot be drawn."""
    passed_over: Callable[[str], tuple[str, ...]]
    """The words of a phrase that `normalise` does not read: unknown ones and those that contradict earlier ones."""
    vocabulary: Callable[[], Sequence[str]]
    """The concepts there are to choose from, for brute force and for simulated users."""
    measure_probe: Callable[[Lab], Probe]
    truth: Callable[[str], str | None]
    """The formula of a planted neuron, by its name; for evaluation alone."""
    optimum: Callable[[str], dict[str, str]]
    """Score to each neuron's best concept under it, as far as brute force has found it; for evaluation alone."""

    @cached_property
    def probe(self) -> Probe:
        """The probe set, measured at its first use."""
        return self.measure_probe(self.lab)

    @cached_property
    def _proposals(self) -> dict[tuple[int, int], list[str]]:
        return {}

    def measure(self, concepts: Sequence[str], neurons: IntArray, seeds: IntArray) -> Seen:
        """Show `seeds[i]` (s of them) of `concepts[i]` to neuron `neurons[i]`."""
        evidence = self.lab.measure(concepts, seeds)
        raw = evidence.activations[np.arange(len(neurons)), :, neurons]
        exemplars = self.probe.exemplar_embeddings[neurons]
        similarities = (evidence.embeddings * exemplars[:, None]).sum(axis=2)
        return Seen(self.probe.normalise(raw, neurons), similarities, evidence.embeddings)

    def propose(self, neuron: int, count: int) -> list[str]:
        """Up to `count` candidate concepts of a neuron, the same at every call."""
        if (neuron, count) not in self._proposals:
            self._proposals[neuron, count] = propose(self, neuron, count)
        return self._proposals[neuron, count]

    def __reduce__(self) -> tuple[Any, ...]:
        # A process that unpickles a stack loads its own.
        return load, (self.name,)


_PROBE_IMAGES = 2000


def _shapes(name: str, width: int, infidelity: float = 0.0) -> Stack:
    from dnr_env.shapes import language, lexicon
    from dnr_env.shapes.optimum import optimum
    from dnr_env.shapes.parse import normalise, passed_over
    from dnr_env.shapes.reader import ShapesReader
    from dnr_env.shapes.render import Renderer

    reader = ShapesReader(width)
    faithful = Renderer()

    def measure_probe(lab: Lab) -> Probe:
        seeds = SeedBlock.PROBE.seeds(0, _PROBE_IMAGES)
        evidence = Lab(faithful, reader, lab.store).measure([lexicon.ANYTHING], seeds[None])
        fingerprint = f"{faithful.fingerprint} {reader.fingerprint} {_PROBE_IMAGES}"
        return Probe(
            fingerprint,
            evidence.activations[0],
            evidence.embeddings[0],
            lambda indices: faithful.generate([lexicon.ANYTHING] * len(indices), seeds[indices].tolist()),
        )

    return Stack(
        name=name,
        lab=Lab(Renderer(infidelity), reader, Store(cache_dir() / "store.sqlite")),
        captioner=reader,
        writer=language.LexiconWriter(),
        embedder=language.LexiconEmbedder(),
        mutators={"evidence": language.EvidenceMutator(), "random": language.RandomMutator()},
        normalise=normalise,
        passed_over=passed_over,
        vocabulary=lexicon.vocabulary,
        measure_probe=measure_probe,
        truth=reader.formula,
        optimum=lambda score: optimum(name, score),
    )


STACKS: dict[str, Callable[[str], Stack]] = {
    "shapes": lambda name: _shapes(name, width=16),
    "shapes-transfer": lambda name: _shapes(name, width=12),
    "shapes-unfaithful": lambda name: _shapes(name, width=16, infidelity=0.2),
}
"""Each name's maker. `shapes-transfer` is another target; `shapes-unfaithful` draws one attribute in five otherwise."""


@cache
def load(name: str) -> Stack:
    """The stack of that name; one object in a process, so that everybody in it shares what was measured."""
    if name not in STACKS:
        raise unknown("stack", name, STACKS)
    return STACKS[name](name)
