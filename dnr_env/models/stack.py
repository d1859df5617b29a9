"""A stack of real models, from its configuration. Nothing is loaded before it is needed."""

from __future__ import annotations

import contextlib
import hashlib
import logging
from collections.abc import Sequence
from functools import cache

import numpy as np

from dnr_env.config import GeneratorConfig, StackConfig, WriterConfig
from dnr_env.describe.corruptions import CORRUPTIONS
from dnr_env.describe.images import ImageSet, open_images
from dnr_env.describe.measure import measure_images
from dnr_env.describe.probe import Probe
from dnr_env.describe.words import read_words
from dnr_env.errors import ConceptError, DnRError, unknown
from dnr_env.lab import Lab
from dnr_env.models import Mutator, Summary, Writer
from dnr_env.models.captioner import HubCaptioner
from dnr_env.models.chat import Chat
from dnr_env.models.embedder import OpenClipEmbedder
from dnr_env.models.generator import DiffusionGenerator
from dnr_env.models.informed import InformedMutator
from dnr_env.models.local_chat import LocalChat
from dnr_env.models.mutator import LanguageMutator, VocabularyMutator
from dnr_env.models.phrases import normalise_phrase
from dnr_env.models.reader import NetworkReader
from dnr_env.models.target import Target
from dnr_env.models.writer import LanguageWriter
from dnr_env.stacks import Stack
from dnr_env.store import Store, cache_dir

_log = logging.getLogger("dnr_env")


class CaptionsAsConcepts:
    """The writer of a stack that has no language model."""

    fingerprint = "captions"

    def summarise(
        self, captions: Sequence[Sequence[str]], count: int, rngs: Sequence[np.random.Generator]
    ) -> list[Summary]:
        """Nothing, so that the captions themselves are the candidates."""
        return [Summary([]) for _ in captions]


def make_target(config: StackConfig) -> Target:
    """The network under study."""
    target = config.target
    return Target(
        target.network,
        target.layers,
        weights=target.weights,
        pooling=target.pooling,
        neurons=target.neurons,
        sae=target.sae,
        device=config.device,
        dtype=target.dtype,
        batch=target.batch,
    )


def make_embedder(config: StackConfig) -> OpenClipEmbedder:
    """Images and texts in one space."""
    settings = config.embedder
    return OpenClipEmbedder(
        settings.model, settings.pretrained, device=config.device, dtype=settings.dtype, batch=settings.batch
    )


def make_generator(config: GeneratorConfig, device: str, template: str | None = None) -> DiffusionGenerator:
    """A generator, with its own template or another."""
    settings = config.model_dump()
    return DiffusionGenerator(**{**settings, "template": template or config.template, "device": device})


def make_chat(config: WriterConfig, store: Store | None, device: str) -> Chat | LocalChat:
    """The language model."""
    common = {"temperature": config.temperature, "max_tokens": config.max_tokens, "store": store}
    if config.model.startswith("hf:"):
        return LocalChat(config.model[3:], revision=config.revision, device=device, **common)  # type: ignore[arg-type]
    return Chat(
        config.model,
        base_url=config.base_url,
        timeout_s=config.timeout_s,
        retries=config.retries,
        concurrency=config.concurrency,
        **common,  # type: ignore[arg-type]
    )


def probe_images(config: StackConfig, store: Store | None) -> ImageSet:
    """The images of the probe set."""
    if not config.probe.images:
        raise DnRError("probe.images: none was given; a folder of images will do, as in 'turbo probe.images=photos'")
    return open_images(config.probe.images, config.probe.limit, store)


def model_stack(spec: str, config: StackConfig) -> Stack:
    """The stack that a configuration describes; `spec` is what `load` makes it from."""
    for corruption in config.probe.corruptions:
        if corruption not in CORRUPTIONS:  # now, not when the first label is judged
            raise unknown("probe.corruptions", corruption, CORRUPTIONS)
    if config.judge.template is not None and config.judge.template.count("{}") != 1:
        raise DnRError(
            f"judge.template: {config.judge.template!r} needs one {{}} for the concept; '{{}} outdoors' will do"
        )
    store = Store(cache_dir() / "store.sqlite")
    target = make_target(config)
    embedder = make_embedder(config)
    reader = NetworkReader(target, embedder)
    captioner = HubCaptioner(**config.captioner.model_dump(), device=config.device)
    generator = make_generator(config.generator, config.device)
    judging = make_generator(config.judge.generator or config.generator, config.device, config.judge.template)

    @cache
    def vocabulary() -> list[str]:
        words: dict[str, None] = {}
        for word in read_words(config.vocabulary):
            with contextlib.suppress(ConceptError):
                words.setdefault(normalise_phrase(word))
        if not words:
            raise DnRError(f"vocabulary: {config.vocabulary} has no concept that can be drawn; 'dog' on a line will do")
        return list(words)

    @cache
    def the_images() -> ImageSet:
        return probe_images(config, store)

    def measure_probe(lab: Lab, corruption: str | None) -> Probe:
        images = the_images()
        activations, embeddings, usable = measure_images(images, reader, store, corruption)
        if images.skipped and not corruption:
            reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(images.skipped.items()))
            _log.warning("probe.images: %d images are used; skipped: %s", len(usable), reasons)
        content = hashlib.sha256("".join(images.key(index) for index in usable).encode()).hexdigest()[:32]
        return Probe(
            f"{content} {corruption} {reader.fingerprint}",
            activations,
            embeddings,
            lambda indices: [images.image(usable[index]) for index in indices.tolist()],
        )

    @cache  # once in a process; an error is not kept
    def preflight() -> None:
        if chat:
            chat.ready()

    writer: Writer = CaptionsAsConcepts()
    informed = InformedMutator(lambda: stack.words)
    mutators: dict[str, Mutator] = {
        "informed": informed,
        "vocabulary": VocabularyMutator(vocabulary, embedder),
    }
    chat = make_chat(config.writer, store, config.device) if config.writer else None
    if chat:
        writer = LanguageWriter(chat)
        mutators = {
            "writer": LanguageMutator(chat, normalise_phrase, lambda pairs: stack.caption_drawings(pairs)),
            **mutators,
        }
    stack = Stack(
        name=spec,
        lab=Lab(generator, reader, store),
        judge_lab=Lab(judging, reader, store),
        captioner=captioner,
        writer=writer,
        embedder=embedder,
        mutators=mutators,
        normalise=normalise_phrase,
        vocabulary=vocabulary,
        measure_probe=measure_probe,
        foretell=informed.foretell,
        preflight=preflight,
        heat=target.heat if config.probe.crops else None,
        corruptions=config.probe.corruptions,
        asked=lambda: f"language model: {chat.counters}" if chat else "",
        most_candidates=config.writer.candidates if config.writer else None,
        prices=(config.writer.input_price, config.writer.output_price) if config.writer else (0.0, 0.0),
    )
    return stack
