"""Builds the stacks of the embedded world."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from dnr_env.evidence.calibration import Calibration
from dnr_env.evidence.lab import Lab
from dnr_env.evidence.probe import Probe
from dnr_env.evidence.probe_source import ProbeSource
from dnr_env.evidence.second import SecondEmbedder
from dnr_env.evidence.store import Store, cache_dir
from dnr_env.evidence.vocabulary import Vocabulary
from dnr_env.interfaces import Language, Reader, Target
from dnr_env.propose.crops import HeatOf
from dnr_env.propose.proposer import Proposer
from dnr_env.propose.with_model import WithModel
from dnr_env.seeds import Purpose
from dnr_env.shapes import language, lexicon, parse
from dnr_env.shapes.calibrated import calibration_of
from dnr_env.shapes.config import ShapesConfig
from dnr_env.shapes.directions import DirectionsReader
from dnr_env.shapes.fresh import FreshReader
from dnr_env.shapes.insight import Insight
from dnr_env.shapes.linear import LinearMutator
from dnr_env.shapes.optimum import optimum
from dnr_env.shapes.outside import Outside
from dnr_env.shapes.planted import compare
from dnr_env.shapes.reader import OtherTarget, ShapesReader
from dnr_env.shapes.render import Renderer
from dnr_env.stack import Knowledge, Stack
from dnr_env.types import FloatArray

_PROBE_IMAGES = 2000


def shapes_stack(
    name: str,
    config: ShapesConfig,
    target: Target | None = None,
    beside: Callable[[Reader], Probe] | None = None,
    heat: HeatOf | None = None,
    calibration: Calibration | None = None,
) -> Stack:
    """Build the stack of a variant of the world.

    Args:
        name: the stack's name in the registry.
        config: the settings.
        target: a network to study in place of the world's own. Nothing is known about its neurons.
        beside: measures real images on which the judge repeats the simulation, with such a network.
        heat: returns the activation maps of such a network.
        calibration: turns promises into estimates; None takes that of the world's own target or, with another network,
            `Calibration.default`.
    """
    own = ShapesReader(config.width, config.target)
    reader, known = _reader(own, config, target)
    faithful, drawing = Renderer(), Renderer(config.infidelity, config.paired)
    store = Store(cache_dir() / "store.sqlite")
    lab = Lab(drawing, reader, store)
    withheld = lexicon.WITHHELD if config.withheld else frozenset()
    embedder = language.LexiconEmbedder()
    probes = ProbeSource(lambda _: _probe(faithful, reader, store), beside=partial(beside, reader) if beside else None)
    vocabulary = Vocabulary(partial(lexicon.vocabulary, withheld), embedder, probes, parse.length)
    calibration = calibration or (Calibration.default() if target else calibration_of(config))
    informed = LinearMutator(vocabulary, calibration, informed=True)
    says = Language(parse.normalise, parse.passed_over, length=parse.length, implied=parse.implied)
    return Stack(
        name=name,
        lab=lab,
        judge_lab=lab,
        probes=probes,
        embedder=embedder,
        language=says,
        vocabulary=vocabulary,
        proposer=Proposer(lab, vocabulary, says, own, language.LexiconWriter(withheld)),
        promises=informed,
        calibration=calibration,
        mutators={
            "evidence": WithModel(language.EvidenceMutator(withheld), informed),
            "random": WithModel(language.RandomMutator(withheld), informed),
            "linear": WithModel(LinearMutator(vocabulary, calibration), informed),
            "informed": informed,
        },
        known=known,
        judge_embedder=SecondEmbedder("true attributes", embedder, _true_embeddings),
        heat=own.heat if reader is own else heat,
        insight=Insight(Outside(Lab(faithful, reader, store), lambda: probes.clean, _PROBE_IMAGES), withheld),
    )


def _reader(own: ShapesReader, config: ShapesConfig, target: Target | None) -> tuple[Reader, Knowledge]:
    """The reader of a variant, and what is known about its neurons."""
    if target is not None:
        return OtherTarget(own, target), Knowledge()
    reader: ShapesReader | DirectionsReader | FreshReader = own
    if config.neurons == "directions":
        reader = DirectionsReader(own)
    elif config.neurons == "fresh":
        reader = FreshReader(own)
    return reader, Knowledge(reader.formula, compare, partial(optimum, config))


def _true_embeddings() -> FloatArray:
    """Embed the probe set by the attributes that it was drawn with, in place of those that the detector reads."""
    codes, _ = Renderer().resolve([lexicon.ANYTHING] * _PROBE_IMAGES, Purpose.PROBE.seeds(0, _PROBE_IMAGES).tolist())
    shown = np.concatenate([np.eye(len(f.words))[code] for f, code in zip(lexicon.FAMILIES, codes.T, strict=True)], 1)
    return lexicon.embed_words(shown)


def _probe(faithful: Renderer, reader: Reader, store: Store) -> Probe:
    """Measure the probe set: pictures with random attributes, drawn faithfully."""
    seeds = Purpose.PROBE.seeds(0, _PROBE_IMAGES)
    evidence = Lab(faithful, reader, store).measure(concepts=[lexicon.ANYTHING], seeds=seeds[None])
    return Probe(
        f"{faithful.fingerprint} {reader.fingerprint} {_PROBE_IMAGES}",
        evidence.activations[0],
        evidence.embeddings[0],
        lambda indices: faithful.generate([lexicon.ANYTHING] * len(indices), seeds[indices].tolist()),
        lambda index: f"#{index}",
    )
