"""Builds the stacks of the world `scenes`."""

from __future__ import annotations

from functools import partial

import numpy as np

from dnr_env.algebra import structured
from dnr_env.evidence.lab import Lab
from dnr_env.evidence.prior import Prior
from dnr_env.evidence.probe import Probe
from dnr_env.evidence.probe_source import ProbeSource
from dnr_env.evidence.second import SecondEmbedder
from dnr_env.evidence.store import Store, cache_dir
from dnr_env.evidence.vocabulary import Vocabulary
from dnr_env.interfaces import Language
from dnr_env.propose.informed import InformedMutator
from dnr_env.propose.proposer import Proposer
from dnr_env.propose.unite import WithUnions
from dnr_env.propose.with_model import WithModel
from dnr_env.scenes import planted
from dnr_env.scenes.calibrated import calibration_of
from dnr_env.scenes.captioner import SEES, SceneCaptioner
from dnr_env.scenes.clip import ClipImages, ClipTexts
from dnr_env.scenes.config import INFIDELITY, ScenesConfig
from dnr_env.scenes.insight import Insight
from dnr_env.scenes.networks import Network
from dnr_env.scenes.optimum import optimum
from dnr_env.scenes.reader import SceneReader
from dnr_env.scenes.render import SceneRenderer
from dnr_env.scenes.sae import SaeReader
from dnr_env.scenes.truth import TrueEmbedder, true_embeddings
from dnr_env.seeds import Purpose
from dnr_env.shapes import language, lexicon, parse
from dnr_env.shapes.outside import Outside
from dnr_env.stack import Knowledge, Stack
from dnr_env.types import FloatArray, IntArray


def scenes_stack(name: str, config: ScenesConfig) -> Stack:
    """Build the stack of a variant of the world.

    Args:
        name: the stack's name in the registry.
        config: the settings.
    """
    channels = SceneReader(Network(config.target), ClipImages())
    reader = SaeReader(channels) if config.neurons == "sae" else channels
    faithful = SceneRenderer()
    drawing = SceneRenderer([config.infidelity * probability for probability in INFIDELITY])
    store = Store(cache_dir() / "store.sqlite")
    lab = Lab(drawing, reader, store)
    embedder = ClipTexts()
    probes = ProbeSource(lambda _: real_images(Lab(faithful, reader, store), Purpose.PROBE.seeds(0, config.probe)))
    vocabulary = Vocabulary(lexicon.vocabulary, embedder, probes, parse.length)
    says = structured(Language(parse.normalise, parse.passed_over, length=parse.length, implied=parse.implied))
    calibration = calibration_of(config)
    informed = InformedMutator(vocabulary, calibration)
    prior = Prior(vocabulary, informed, calibration, says)
    random = WithModel(language.RandomMutator(), informed)
    captioner = SceneCaptioner(Network(SEES))
    return Stack(
        name=name,
        lab=lab,
        judge_lab=lab,
        probes=probes,
        embedder=embedder,
        language=says,
        vocabulary=vocabulary,
        proposer=Proposer(lab, vocabulary, says, captioner, language.LexiconWriter(), heat=reader.heat),
        promises=informed,
        calibration=calibration,
        mutators={
            "informed": WithUnions(informed, prior),
            "random": WithUnions(random, prior),
        },
        known=Knowledge(reader.formula, planted.compare, partial(optimum, config)),
        judge_embedder=SecondEmbedder("true attributes", TrueEmbedder(), partial(_true_embeddings, config.probe)),
        heat=reader.heat,
        insight=Insight(Outside(Lab(faithful, reader, store), lambda: probes.clean, config.probe), says),
    )


def _true_embeddings(images: int) -> FloatArray:
    return true_embeddings(
        SceneRenderer().resolve([lexicon.ANYTHING] * images, Purpose.PROBE.seeds(0, images).tolist())
    )


def real_images(lab: Lab, seeds: IntArray) -> Probe:
    """Measure pictures with random objects, as those of the probe set are. The lab must draw faithfully."""
    anything = [lexicon.ANYTHING]
    evidence = lab.measure(concepts=anything, seeds=seeds[None])
    return Probe(
        f"{lab.generator.fingerprint} {lab.reader.fingerprint} {seeds[0]} {len(seeds)}",
        evidence.activations[0],
        evidence.embeddings[0],
        lambda indices: lab.generator.generate(anything * len(indices), seeds[np.asarray(indices)].tolist()),
        lambda index: f"#{index}",
    )
