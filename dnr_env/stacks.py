"""Stacks: named sets of models that serve one environment."""

from __future__ import annotations

import hashlib
import os
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from dnr_env.describe.caption import caption
from dnr_env.describe.crops import Heat
from dnr_env.describe.probe import Probe
from dnr_env.describe.propose import Proposal, propose
from dnr_env.describe.vocabulary import Vocabulary
from dnr_env.errors import DnRError, unknown
from dnr_env.lab import Lab
from dnr_env.models import Captioner, Embedder, Mutator, Usage, Writer
from dnr_env.types import FloatArray, Images, IntArray

if TYPE_CHECKING:
    from dnr_env.config import StackConfig


class Seen(NamedTuple):
    """What one neuron each makes of b concepts' s images."""

    activations: FloatArray
    """(b, s) normalised activations of the concept's neuron."""
    similarities: FloatArray
    """(b, s) cosines of the images with that neuron's exemplars."""
    embeddings: FloatArray
    """(b, s, dim) unit embeddings of the images."""


@dataclass(frozen=True, eq=False)
class Stack:
    """Everything that an episode needs of models. Get one by its name from `load`."""

    name: str
    """What `load` makes it from."""
    lab: Lab
    """Search and reward."""
    judge_lab: Lab
    """The judge: the same reader, where there is a choice on another template or generator."""
    captioner: Captioner
    writer: Writer
    embedder: Embedder
    mutators: dict[str, Mutator]
    """By name; the first is the default."""
    normalise: Callable[[str], str]
    """Any phrase to the text that is measured; raises ConceptError for one that cannot be drawn."""
    vocabulary: Callable[[], Sequence[str]]
    """The concepts there are to choose from, for brute force and for simulated users."""
    measure_probe: Callable[[Lab, str | None], Probe]
    """The probe set as it is, or under a corruption."""
    foretell: Callable[[Sequence[str], IntArray, str], FloatArray]
    """(b) concepts, (b,) neurons and a score to (b,) promises: the score that a linear model of the real images expects
    of each concept before anything is drawn. Promises of one neuron can be compared; nothing random is in them."""
    passed_over: Callable[[str], tuple[str, ...]] = lambda text: ()
    """The words of a phrase that `normalise` does not read: unknown ones and those that contradict earlier ones."""
    heat: Callable[[Images, str], list[Heat] | None] | None = None
    """Maps of a neuron on images, for attention crops; None where exemplars are captioned whole."""
    corruptions: tuple[str, ...] = ()
    """Names of the probe's corruptions that the judge looks at."""
    most_candidates: int | None = None
    """Concepts that a neuron begins with at most."""
    prices: tuple[float, float] = (0.0, 0.0)
    """US dollars for a million tokens that a language model reads, and writes."""
    preflight: Callable[[], None] = lambda: None
    """Raises DnRError where the language model cannot be used; called before models are loaded to ask it something."""
    asked: Callable[[], str] = lambda: ""
    """What has been asked of a language model so far, for people to read; empty where there is none."""
    truth: Callable[[str], str | None] = lambda neuron: None
    """The formula of a planted neuron, by its name; for evaluation alone."""
    optimum: Callable[[str], dict[str, str]] = lambda score: {}
    """Score to each neuron's best concept under it, as far as brute force has found it; for evaluation alone."""

    @cached_property
    def probe(self) -> Probe:
        """The probe set, measured at its first use."""
        return self.measure_probe(self.lab, None)

    @cached_property
    def _corrupted(self) -> dict[str, Probe]:
        return {}

    def corrupted(self, corruption: str) -> Probe:
        """The probe set under a corruption, measured at its first use."""
        if corruption not in self._corrupted:
            self._corrupted[corruption] = self.measure_probe(self.lab, corruption)
        return self._corrupted[corruption]

    @cached_property
    def _proposals(self) -> dict[tuple[int, int], Proposal]:
        return {}

    def measure(self, concepts: Sequence[str], neurons: IntArray, seeds: IntArray, lab: Lab | None = None) -> Seen:
        """Show `seeds[i]` (s of them) of `concepts[i]` to neuron `neurons[i]`, drawn by the search's lab or another."""
        evidence = (lab or self.lab).measure(concepts, seeds, neurons)
        exemplars = self.probe.exemplar_embeddings[neurons]
        similarities = (evidence.embeddings * exemplars[:, None]).sum(axis=2)
        return Seen(self.probe.normalise(evidence.activations, neurons), similarities, evidence.embeddings)

    def simulation(self, concepts: Sequence[str], neurons: IntArray) -> FloatArray:
        """(b,) how well concept i foretells neuron i on the real images: `Probe.simulation`."""
        return self.probe.simulation(self.embedder.embed_texts(concepts), neurons)

    @cached_property
    def words(self) -> Vocabulary:
        """The vocabulary with its embeddings and simulations; embedded when these are first needed."""
        return Vocabulary(self.vocabulary(), self.embedder, self.probe)

    def propose(self, neurons: Sequence[int], count: int) -> list[Proposal]:
        """Up to `count` candidate concepts of each neuron, the same at every call."""
        count = min(count, self.most_candidates or count)
        absent = [neuron for neuron in dict.fromkeys(neurons) if (neuron, count) not in self._proposals]
        if absent:
            made = propose(self, absent, count)
            self._proposals.update(((neuron, count), one) for neuron, one in zip(absent, made, strict=True))
        return [self._proposals[neuron, count] for neuron in neurons]

    def caption_drawings(self, pairs: Sequence[tuple[str, int]]) -> list[str]:
        """What the captioner says of the image of each (concept, seed)."""
        drawn = self.lab.images([text for text, _ in pairs], [seed for _, seed in pairs])
        return caption(self.captioner, list(drawn), self.lab.store)

    def fingerprints(self) -> dict[str, str]:
        """What results depend on, by the part it belongs to."""
        return {
            "generator": self.lab.generator.fingerprint,
            "judge": self.judge_lab.generator.fingerprint,
            "reader": self.lab.reader.fingerprint,
            "captioner": self.captioner.fingerprint,
            "writer": self.writer.fingerprint,
            "probe": self.probe.fingerprint,
            "candidates": f"{self.most_candidates or 'all'}, {'with' if self.heat else 'without'} crops",
            "corruptions": ", ".join(self.corruptions) or "none",
            "prices": f"${self.prices[0]:g} and ${self.prices[1]:g} a million tokens",
            "vocabulary": hashlib.sha256("\n".join(self.vocabulary()).encode()).hexdigest()[:32],
        }

    def tally(self) -> str:
        """What has been drawn, measured and asked so far, for people to read."""
        labs = [str(self.lab.counters)]
        if self.judge_lab is not self.lab:
            labs = [f"search: {self.lab.counters}", f"judge: {self.judge_lab.counters}"]
        return "; ".join(filter(None, [*labs, self.asked()]))

    def cost(self, usage: Usage) -> float:
        """US dollars for what was asked of a language model."""
        return (usage.input_tokens * self.prices[0] + usage.output_tokens * self.prices[1]) / 1e6

    def __reduce__(self) -> tuple[Any, ...]:
        # A process that unpickles a stack loads its own.
        return load, (self.name,)


EMBEDDED = (
    "shapes", "shapes-directions", "shapes-fresh", "shapes-transfer", "shapes-unfaithful", "shapes-withheld",
    "shapes-unpaired",
)  # fmt: skip
"""Stacks that need no download. `shapes-directions` has more neurons to train on; `shapes-fresh` has planted neurons
kept for blind tests; `shapes-transfer` is another target; `shapes-unfaithful` draws one attribute in five otherwise;
`shapes-withheld` does without nine words; `shapes-unpaired` draws image i of each concept with another seed."""
SHIPPED = tuple(sorted(path.stem for path in (Path(__file__).parent / "configs").glob("*.yaml")))
"""Stacks of real models whose configurations come with the package."""


def load(spec: str | os.PathLike[str]) -> Stack:
    """The stack that a text names; one object in a process, so that everybody in it shares what was measured.

    Args:
        spec: the name of a stack or a YAML file, and after it settings that replace those of the file, as in
            `"turbo probe.images=photos target.layers=layer3"`; or the path of a YAML file.

    Raises:
        DnRError: there is no such stack, or a setting cannot be used.
    """
    if isinstance(spec, os.PathLike):
        spec = shlex.quote(os.fspath(spec))
    if not isinstance(spec, str):
        raise DnRError(f"stack: {spec!r} is no stack; a name such as 'shapes', or a YAML file, will do")
    if spec in EMBEDDED:
        return _embedded(spec)
    name = spec.split(maxsplit=1)[0] if spec.strip() else ""
    if name in EMBEDDED:
        raise DnRError(f"stack: {name!r} takes no settings; {name} alone will do")
    if "." not in spec and name not in SHIPPED:  # before packages are asked for that it may not need
        raise unknown("stack", spec, [*EMBEDDED, *SHIPPED, "a file such as stack.yaml"])
    from dnr_env.config import read_config

    return _configured(spec, read_config(spec))


@cache
def _embedded(name: str) -> Stack:
    from dnr_env.shapes.stack import shapes_stack

    return shapes_stack(name)


@cache  # by the content: a file may have changed
def _configured(spec: str, config: StackConfig) -> Stack:
    from dnr_env.models.stack import model_stack

    return model_stack(spec, config)
