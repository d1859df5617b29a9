"""Stacks of real models, built from their configuration. Nothing is loaded before it is needed."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path

import numpy as np

from dnr_env.errors import DnRError, unknown
from dnr_env.evidence.calibration import Calibration, read_calibration
from dnr_env.evidence.corruptions import CORRUPTIONS
from dnr_env.evidence.image_set import ImageSet, reasons
from dnr_env.evidence.images import open_images
from dnr_env.evidence.lab import Lab
from dnr_env.evidence.measure import measure_images
from dnr_env.evidence.probe import Probe
from dnr_env.evidence.probe_source import ProbeSource
from dnr_env.evidence.second import SecondEmbedder
from dnr_env.evidence.store import Store, cache_dir
from dnr_env.evidence.vocabulary import Vocabulary
from dnr_env.interfaces import Captioner, Language, Mutator, Origin, Reader, Summary, Writer
from dnr_env.models.captioner import HubCaptioner
from dnr_env.models.chat import Chat
from dnr_env.models.config import StackConfig, WorldConfig, WriterConfig
from dnr_env.models.embedder import OpenClipEmbedder
from dnr_env.models.generators import check_generators, judge_generator, make_generators
from dnr_env.models.local_chat import LocalChat
from dnr_env.models.missing import NoCaptioner, NoEmbedder
from dnr_env.models.mutator import LanguageMutator, VocabularyMutator
from dnr_env.models.networks import Network
from dnr_env.models.phrases import clean
from dnr_env.models.reader import ImagesOnly, NetworkReader
from dnr_env.models.target import NetworkTarget
from dnr_env.models.words import read_words
from dnr_env.models.writer import LanguageWriter
from dnr_env.propose.caption import caption_drawings
from dnr_env.propose.informed import InformedMutator
from dnr_env.propose.proposer import Proposer, drawable
from dnr_env.propose.with_model import WithModel
from dnr_env.stack import Bill, Stack

_log = logging.getLogger("dnr_env")
_LANGUAGE = Language(clean)


class CaptionsAsConcepts:
    """The writer of a stack without a language model."""

    fingerprint = "captions"
    origin: Origin = "captions"

    def summarise(
        self, captions: Sequence[Sequence[str]], count: int, rngs: Sequence[np.random.Generator]
    ) -> list[Summary]:
        """Return empty summaries, so that the captions themselves are the candidates."""
        return [Summary([]) for _ in captions]


def make_target(
    config: StackConfig | WorldConfig, store: Store | None = None, network: Network | None = None
) -> NetworkTarget:
    """Make the network under study: the configured one, or one in memory. The store keeps the outcome of its trial."""
    target = config.target
    return NetworkTarget(
        network or target.network,
        target.layers,
        weights=target.weights,
        pooling=target.pooling,
        neurons=target.neurons,
        sae=target.sae,
        device=config.device,
        dtype=target.dtype,
        batch=target.batch,
        channels=target.channels,
        store=store,
    )


def make_embedder(config: StackConfig) -> OpenClipEmbedder | NoEmbedder:
    """Make the embedder of images and texts."""
    settings = config.embedder
    if settings is None:
        return NoEmbedder()
    return OpenClipEmbedder(
        settings.model, settings.pretrained, device=config.device, dtype=settings.dtype, batch=settings.batch
    )


def make_chat(config: WriterConfig, store: Store | None, device: str) -> Chat | LocalChat:
    """Make the language model."""
    names = ("temperature", "max_tokens", "effort", "thinking_tokens")
    common = {"store": store, **{name: getattr(config, name) for name in names}}
    if config.model.startswith("hf:"):
        return LocalChat(config.model[3:], revision=config.revision, device=device, **common)
    return Chat(
        config.model,
        base_url=config.base_url,
        timeout_s=config.timeout_s,
        retries=config.retries,
        patience_s=config.patience_s,
        concurrency=config.concurrency,
        **common,
    )


def probe_images(config: StackConfig | WorldConfig, store: Store | None) -> ImageSet:
    """Open the images of the probe set.

    Raises:
        DnRError: `probe.images` names no images.
    """
    if not config.probe.images:
        raise DnRError("`probe.images` must name a folder of images, as in 'turbo probe.images=photos' (got none)")
    return open_images(config.probe.images, config.probe.limit, store)


def model_stack(
    spec: str, config: StackConfig, target: NetworkTarget | None = None, images: ImageSet | None = None
) -> Stack:
    """Make the stack that a configuration describes.

    Args:
        spec: the text from which the registry makes the stack.
        config: the settings.
        target: a network in memory that replaces the configured one.
        images: probe images in memory that replace the configured ones.

    Raises:
        DnRError: a setting is invalid.
    """
    _check(config)
    check_generators(config)
    store = Store(cache_dir() / "store.sqlite")
    target = target or make_target(config, store)
    embedder = make_embedder(config)
    reader = NetworkReader(target, embedder)
    captioner: Captioner = NoCaptioner()
    if config.captioner:
        captioner = HubCaptioner(**config.captioner.model_dump(), device=config.device)
    the_images = cache(lambda: images or probe_images(config, store))
    generators = make_generators(config, embedder, store, the_images)
    lab, judge_lab = (Lab(generator, reader, store) for generator in generators)
    probes = ProbeSource(
        lambda corruption: measure_probe(the_images(), reader, store, corruption), config.probe.corruptions
    )
    vocabulary = Vocabulary(partial(_concepts, config.vocabulary), embedder, probes)
    calibration = calibration_in(config) or Calibration.default()
    informed = InformedMutator(vocabulary, calibration)
    mutators: dict[str, Mutator] = {
        "informed": informed,
        "vocabulary": WithModel(VocabularyMutator(vocabulary), informed),
    }
    writer: Writer = CaptionsAsConcepts()
    chat = make_chat(config.writer, store, config.device) if config.writer else None
    if chat:
        writer = LanguageWriter(chat)
        look = partial(caption_drawings, captioner, lab)
        mutators = {"writer": WithModel(LanguageMutator(chat, clean, look), informed), **mutators}
    return Stack(
        name=spec,
        lab=lab,
        judge_lab=judge_lab,
        probes=probes,
        embedder=embedder,
        language=_LANGUAGE,
        vocabulary=vocabulary,
        proposer=Proposer(
            lab,
            vocabulary,
            _LANGUAGE,
            captioner,
            writer,
            heat=target.heat if config.probe.crops else None,
            most=config.writer.candidates if config.writer else None,
            preflight=cache(chat.ready)
            if chat
            else lambda: None,  # checked once per process; a failed check is repeated
        ),
        promises=informed,
        calibration=calibration,
        mutators=mutators,
        bill=Bill(
            (config.writer.input_price, config.writer.output_price) if config.writer else (0.0, 0.0),
            lambda: f"language model: {chat.counters}" if chat else "",
        ),
        judge_embedder=_judge_embedder(config, store, the_images),
        heat=target.heat,
        missing=_missing(config),
    )


def calibration_in(config: StackConfig | WorldConfig) -> Calibration | None:
    """Read the calibration that a configuration names, if any.

    Raises:
        DnRError: the file is not a calibration.
    """
    return read_calibration(Path(config.calibration)) if config.calibration else None


def _check(config: StackConfig) -> None:
    """Raise now the errors that would otherwise occur when the first label is judged."""
    for corruption in config.probe.corruptions:
        if corruption not in CORRUPTIONS:
            raise unknown("probe.corruptions", corruption, CORRUPTIONS)
    template = config.judge.template if config.judge else None
    if template is not None and template.count("{}") != 1:
        raise DnRError(
            f"`judge.template` must contain one {{}} for the concept, as in '{{}} outdoors' (got {template!r})"
        )


def _missing(config: StackConfig) -> frozenset[str]:
    """Return the parts that the stack lacks."""
    parts = {
        "generator": config.generator,
        "captioner": config.captioner,
        "writer": config.writer,
        "embedder": config.embedder,
        "judge": judge_generator(config),
    }
    return frozenset(name for name, part in parts.items() if part is None)


def _concepts(spec: str) -> list[str]:
    concepts = drawable(read_words(spec), _LANGUAGE)
    if not concepts:
        raise DnRError(f"`vocabulary` must contain one concept per line that can be drawn, such as dog (got {spec})")
    return concepts


def _judge_embedder(config: StackConfig, store: Store, images: Callable[[], ImageSet]) -> SecondEmbedder | None:
    """Make the embedder of the judge's simulation, if one is set."""
    settings = config.judge.embedder if config.judge else None
    if settings is None:
        return None
    embedder = OpenClipEmbedder(**settings.model_dump(), device=config.device, option="judge.embedder")
    return SecondEmbedder(
        embedder.fingerprint, embedder, lambda: measure_images(images(), ImagesOnly(embedder), store).embeddings
    )


def measure_probe(images: ImageSet, reader: Reader, store: Store, corruption: str | None = None) -> Probe:
    """Measure a set of real images, and say which of them were skipped.

    Raises:
        DnRError: too few images are usable.
    """
    activations, embeddings, usable = measure_images(images, reader, store, corruption)
    if images.skipped and not corruption:
        _log.warning("`probe.images`: %d images are used; skipped: %s", len(usable), reasons(images))
    content = hashlib.sha256("".join(images.key(index) for index in usable).encode()).hexdigest()[:32]
    return Probe(
        f"{content} {corruption} {reader.fingerprint}",
        activations,
        embeddings,
        lambda indices: [images.image(usable[index]) for index in indices.tolist()],
        lambda index: images.describe(usable[index]),
        source=lambda index: images.source(usable[index]),
    )
