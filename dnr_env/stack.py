"""The stack: everything that an episode needs, as typed fields."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np

from dnr_env.errors import DnRError
from dnr_env.evidence.calibration import Calibration
from dnr_env.evidence.covers import Covers
from dnr_env.evidence.lab import Lab
from dnr_env.evidence.prior import Prior
from dnr_env.evidence.probe import Probe
from dnr_env.evidence.probe_source import ProbeSource
from dnr_env.evidence.second import SecondEmbedder
from dnr_env.evidence.texts import Texts
from dnr_env.evidence.vocabulary import Vocabulary
from dnr_env.interfaces import Embedder, Language, Mutator, Promises, Usage
from dnr_env.neurons import Neurons
from dnr_env.propose.crops import HeatOf
from dnr_env.propose.proposer import Proposer
from dnr_env.structure import Structure


@dataclass(frozen=True)
class Bill:
    """The prices of a language model, and how much it has been used."""

    prices: tuple[float, float] = (0.0, 0.0)
    """US dollars for a million input tokens, and for a million output tokens."""
    asked: Callable[[], str] = lambda: ""
    """Returns a summary of the requests made so far, for people to read; empty without a language model."""

    def cost(self, usage: Usage) -> float:
        """The cost of some usage in US dollars."""
        return (usage.input_tokens * self.prices[0] + usage.output_tokens * self.prices[1]) / 1e6


class Agreement(NamedTuple):
    """Agreement of a label with the formula of a planted neuron, each number from 0 to 1."""

    precision: float | None = None
    """What of the label is in the formula; None for other neurons, and for labels that cannot be compared."""
    recall: float | None = None
    """What of the formula is in the label; None as above."""
    parts: float | None = None
    """The share of the formula's parts that the label names; None as above, and in worlds without formulas of parts."""


@dataclass(frozen=True)
class Knowledge:
    """What an embedded world knows about its neurons. Only evaluation may use it."""

    truth: Callable[[str], str | None] = lambda neuron: None
    """Returns the formula of the planted neuron with a name; None for a neuron that was not planted."""
    compare: Callable[[str, Structure], Agreement] = lambda formula, label: Agreement()
    """Compares the formula of a planted neuron with a label."""
    optimum: Callable[[str], Mapping[str, str]] = lambda score: {}
    """Returns each neuron's best concept under a score, as found by brute force; empty where it is not known."""


@dataclass(frozen=True, eq=False)
class Stack:
    """A named set of models. Load one with `dnr_env.load_stack`."""

    name: str
    """The name that `load_stack` accepts."""
    lab: Lab
    """Draws and measures images for the search and the reward."""
    judge_lab: Lab
    """Draws and measures images for the judge: with the same reader, and with another template or generator if set."""
    probes: ProbeSource
    """The real images."""
    embedder: Embedder
    language: Language
    vocabulary: Vocabulary
    """The concepts to choose from."""
    proposer: Proposer
    promises: Promises
    mutators: Mapping[str, Mutator]
    """The mutators by name. The first is the default."""
    bill: Bill = Bill()
    calibration: Calibration = field(default_factory=Calibration.default)
    """Turns promises and drawings into estimates."""
    known: Knowledge = Knowledge()
    judge_embedder: SecondEmbedder | None = None
    """The embedder of the judge's own simulation; None if there is none but the search's."""
    heat: HeatOf | None = None
    """Where on an image a neuron is active; None if the target has no activation maps."""
    insight: Callable[[int, np.random.Generator], str] | None = None
    """Names a good concept for a neuron by what no mutator knows, for simulated users alone; None if there is nothing
    that mutators do not know."""
    in_memory: bool = False
    """Whether a part is an object of the caller's, which no other process can load."""
    missing: frozenset[str] = frozenset()
    """The parts that were left out, any of `generator`, `captioner`, `writer`, `embedder` and `judge`."""

    @property
    def neurons(self) -> Neurons:
        """The neurons of the target."""
        return self.lab.reader.neurons

    @property
    def probe(self) -> Probe:
        """The half of the probe set that the search sees. It is measured when it is first used."""
        return self.probes.clean

    @cached_property
    def prior(self) -> Prior:
        """What real images say of the value of concepts."""
        return Prior(self.vocabulary, self.promises, self.calibration, self.language)

    @cached_property
    def covers(self) -> Covers:
        """How concepts cover the activity of neurons on the real images."""
        return Covers(self.vocabulary, self.language.parts)

    @cached_property
    def texts(self) -> Texts:
        """Labels in the space of the image embeddings."""
        return Texts(self.embedder, self.language.parts)

    def require(self, who: str, parts: Collection[str]) -> None:
        """Raise DnRError, before anything is loaded, unless the stack has the parts that somebody needs."""
        for part in parts:
            if part in self.missing:
                article = "an" if part[0] in "aeiou" else "a"
                raise DnRError(
                    f"{who} needs {article} {part}, and this stack has none: set `{part}` in its configuration"
                )

    def fingerprints(self) -> dict[str, str]:
        """Identify everything that results depend on, part by part."""
        proposer = self.proposer
        return {
            "generator": self.lab.generator.fingerprint,
            "judge": self.judge_lab.generator.fingerprint,
            "judge's embedder": self.judge_embedder.fingerprint if self.judge_embedder else "none",
            "reader": self.lab.reader.fingerprint,
            "captioner": proposer.captioner.fingerprint,
            "writer": proposer.writer.fingerprint,
            "probe": self.probe.fingerprint,
            "candidates": f"{proposer.most or 'all'}, {'with' if proposer.heat else 'without'} crops",
            "corruptions": ", ".join(self.probes.corruptions) or "none",
            "images beside": self.probes.beside.fingerprint if self.probes.beside else "none",
            "prices": f"${self.bill.prices[0]:g} and ${self.bill.prices[1]:g} a million tokens",
            "calibration": self.calibration.fingerprint,
            "vocabulary": hashlib.sha256("\n".join(self.vocabulary.concepts).encode()).hexdigest()[:32],
        }

    def tally(self) -> str:
        """Summarise what has been drawn, measured and requested so far, for people to read."""
        labs = [str(self.lab.counters)]
        if self.judge_lab is not self.lab:
            labs = [f"search: {self.lab.counters}", f"judge: {self.judge_lab.counters}"]
        return "; ".join(filter(None, [*labs, self.bill.asked()]))
