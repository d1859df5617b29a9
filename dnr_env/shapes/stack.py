"""The stacks of the embedded world."""

from __future__ import annotations

from dnr_env.describe.probe import Probe
from dnr_env.lab import Lab
from dnr_env.seeds import SeedBlock
from dnr_env.shapes import language, lexicon
from dnr_env.shapes.directions import DirectionsReader
from dnr_env.shapes.fresh import FreshReader
from dnr_env.shapes.linear import LinearMutator
from dnr_env.shapes.optimum import optimum
from dnr_env.shapes.parse import normalise, passed_over
from dnr_env.shapes.reader import ShapesReader
from dnr_env.shapes.render import Renderer
from dnr_env.stacks import Stack
from dnr_env.store import Store, cache_dir

_PROBE_IMAGES = 2000


def shapes_stack(name: str) -> Stack:
    """The stack of that name, one of `dnr_env.stacks.EMBEDDED`."""
    target = ShapesReader(12 if name == "shapes-transfer" else 16)
    reader: ShapesReader | DirectionsReader | FreshReader = target
    if name == "shapes-directions":
        reader = DirectionsReader(target)
    elif name == "shapes-fresh":
        reader = FreshReader(target)
    faithful = Renderer()
    drawing = Renderer(0.2 if name == "shapes-unfaithful" else 0.0, paired=name != "shapes-unpaired")
    lab = Lab(drawing, reader, Store(cache_dir() / "store.sqlite"))
    informed = LinearMutator(lambda: stack.words, informed=True)
    withheld = lexicon.WITHHELD if name == "shapes-withheld" else frozenset()

    def measure_probe(lab: Lab, corruption: str | None) -> Probe:
        seeds = SeedBlock.PROBE.seeds(0, _PROBE_IMAGES)
        evidence = Lab(faithful, reader, lab.store).measure([lexicon.ANYTHING], seeds[None])
        fingerprint = f"{faithful.fingerprint} {reader.fingerprint} {_PROBE_IMAGES}"
        return Probe(
            fingerprint,
            evidence.activations[0],
            evidence.embeddings[0],
            lambda indices: faithful.generate([lexicon.ANYTHING] * len(indices), seeds[indices].tolist()),
        )

    stack = Stack(
        name=name,
        lab=lab,
        judge_lab=lab,
        captioner=target,
        writer=language.LexiconWriter(withheld),
        embedder=language.LexiconEmbedder(),
        mutators={
            "evidence": language.EvidenceMutator(withheld),
            "random": language.RandomMutator(withheld),
            "linear": LinearMutator(lambda: stack.words),
            "informed": informed,
        },
        normalise=normalise,
        passed_over=passed_over,
        vocabulary=lambda: lexicon.vocabulary(withheld),
        measure_probe=measure_probe,
        foretell=informed.foretell,
        truth=reader.formula,
        optimum=lambda score: optimum(name, score),
    )
    return stack
