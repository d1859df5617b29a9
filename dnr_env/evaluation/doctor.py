"""Is everything there that a stack needs? Packages, devices, keys, folders, weights; a hint for each that is not."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from dnr_env.errors import DnRError
from dnr_env.evidence.store import cache_dir
from dnr_env.registry import read_spec
from dnr_env.scenes.config import ScenesConfig
from dnr_env.shapes.config import ShapesConfig

if TYPE_CHECKING:
    from dnr_env.models.config import EmbedderConfig, GeneratorConfig, StackConfig, WorldConfig
    from dnr_env.models.origin import Presence
    from dnr_env.models.snapshot import Selection

_PACKAGES = {
    "train": ("stable-baselines3", "sb3-contrib", "tensorboard"),
    "scenes": ("open_clip_torch",),
    "models": ("torchvision", "transformers", "diffusers", "open_clip_torch", "timm", "openai", "pydantic", "pyyaml"),
}
_VARIABLES = ("DNR_CACHE_DIR", "HF_HOME", "HF_HUB_OFFLINE", "OPENAI_BASE_URL")
_SECRETS = ("OPENAI_API_KEY", "HF_TOKEN")


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    name: str
    fine: bool
    text: str
    """What was found, or what is missing."""
    download: int = 0
    """The bytes that loading it would download."""

    def __str__(self) -> str:
        mark = "MISS" if not self.fine else "LOAD" if self.download else "ok  "
        return f"{mark}  {self.name:<12} {self.text}"


Look = Callable[[], "str | Presence"]
"""Looks at one thing. It raises DnRError if that is missing."""


def examine(spec: str, load: bool) -> Iterator[Finding]:
    """What a stack needs, one finding after the other.

    Args:
        spec: the stack, as `dnr_env.load_stack` takes it.
        load: whether models are loaded, which downloads what is not there; otherwise only their presence is checked.
    """
    yield _check("folder", _cache)
    yield Finding("settings", True, _environment())
    yield Finding("[train]", True, _or_absent("train"))
    try:
        _, config = read_spec(spec)
    except DnRError as error:
        yield Finding("stack", False, str(error))
        return
    if isinstance(config, ShapesConfig | ScenesConfig):
        if isinstance(config, ScenesConfig):
            yield _check("[scenes]", lambda: _versions("scenes"))
        yield _check("device", _device)
        yield Finding("stack", True, f"{spec}: its weights come with the package")
        return
    from dnr_env.models.config import StackConfig

    if isinstance(config, StackConfig):  # a network in an embedded world needs its own library alone
        yield _check("[models]", lambda: _versions("models"))
    yield _check("device", _device)
    if not isinstance(config, StackConfig):
        yield Finding("stack", True, "pictures and words come with the package")
    downloads: dict[str, int] = {}  # search and judge may share a model
    for name, look in _parts(config, load) if isinstance(config, StackConfig) else _own_parts(config, load):
        finding = _check(name, look)
        downloads[finding.text] = finding.download
        yield finding
    if total := sum(downloads.values()):
        from dnr_env.models.origin import amount

        yield Finding("downloads", True, f"{amount(total)} at the first use, or now with --load", total)


def _check(name: str, look: Look) -> Finding:
    try:
        found = look()
    except DnRError as error:
        return Finding(name, False, str(error))
    return Finding(name, True, found) if isinstance(found, str) else Finding(name, True, *found)


def _cache() -> str:
    folder = cache_dir()
    above = next((path for path in (folder, *folder.parents) if path.exists()), folder)
    if not os.access(above, os.W_OK):
        raise DnRError(f"{folder} cannot be written; set DNR_CACHE_DIR to a folder that can")
    store = folder / "store.sqlite"
    size = f"{store.stat().st_size / 1e6:,.0f} MB" if store.exists() else "empty"
    return f"measurements are kept in {folder} ({size})"


def _environment() -> str:
    shown = [f"{name}={_address(os.environ[name])}" for name in _VARIABLES if os.environ.get(name)]
    return ", ".join(shown + [f"{name} is {'set' if os.environ.get(name) else 'not set'}" for name in _SECRETS])


def _address(text: str) -> str:
    """An address without password and parameters; any other text as it is."""
    parts = urlsplit(text)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}" if parts.netloc else text


def _versions(extra: str) -> str:
    found = []
    for package in _PACKAGES[extra]:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            raise DnRError(f"{package} is not installed: pip install 'dnr-env[{extra}]'") from None
    return ", ".join(found)


def _or_absent(extra: str) -> str:
    """The versions of an extra that only training needs, or how to get it."""
    try:
        return _versions(extra)
    except DnRError as error:
        return f"not needed unless policies are trained: {error}"


def _device() -> str:
    import torch

    if not torch.cuda.is_available():
        return f"cpu, {torch.get_num_threads()} threads, torch {torch.__version__}; no GPU"
    names = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
    cards = ", ".join(f"cuda:{i} {card.name} {card.total_memory / 2**30:.0f} GiB" for i, card in enumerate(names))
    return f"{cards}, torch {torch.__version__}"


def _own_parts(config: WorldConfig, load: bool) -> Iterator[tuple[str, Look]]:
    if config.probe.images:
        yield "probe", lambda: _probe(config)
    yield "target", lambda: _target(config, load)


def _probe(config: StackConfig | WorldConfig) -> str:
    from dnr_env.models.stack import probe_images

    images = probe_images(config, None)
    return f"{len(images):,} images in {images.name}"


def _target(config: StackConfig | WorldConfig, load: bool) -> str | Presence:
    from dnr_env.models.origin import of_network
    from dnr_env.models.stack import make_target
    from dnr_env.models.weights import FILES

    if not load and config.target.weights != "none" and not config.target.weights.endswith(FILES):
        return of_network(config.target.network, config.target.weights)
    made = make_target(config)
    return f"{config.target.network}: {len(made.neurons):,} neurons of {config.target.layers}"


def _parts(config: StackConfig, load: bool) -> Iterator[tuple[str, Look]]:
    from dnr_env.models import stack as parts
    from dnr_env.models.captioner import HubCaptioner
    from dnr_env.models.embedder import OpenClipEmbedder
    from dnr_env.models.generators import make_generator, retrieved_images
    from dnr_env.models.hub import find
    from dnr_env.models.local_chat import LocalChat
    from dnr_env.models.origin import Presence, of_source
    from dnr_env.models.pipelines import selection_of
    from dnr_env.models.snapshot import CAPTIONER, DECODER, LANGUAGE_MODEL
    from dnr_env.models.words import read_words

    def source(option: str, model: str, revision: str | None, selection: Selection) -> Presence:
        return of_source(find(option, model, revision), selection)

    def captioner() -> str | Presence:
        settings = config.captioner
        if not settings:
            return "null: agents that begin with captions cannot be used"
        if not load:
            return source("captioner.model", settings.model, settings.revision, CAPTIONER)
        import numpy as np

        made = HubCaptioner(**settings.model_dump(), device=config.device)
        said = made.caption([np.full((64, 64, 3), 127, np.uint8)])[0]
        return f"{of_source(made.source, CAPTIONER).text}; it says {said!r} of a grey square"

    def writer() -> str | Presence:
        if not config.writer:
            return "null: concepts are captions"
        made = parts.make_chat(config.writer, None, config.device)
        if isinstance(made, LocalChat):
            if load:
                made.load()
            found = of_source(made.source, LANGUAGE_MODEL)
            return found if found.download else f"{made.check()}, {found.text.rpartition(', ')[2]}"
        return made.check()

    def generator(option: str, settings: GeneratorConfig) -> str | Presence:
        if settings.kind == "retrieval":
            images = retrieved_images(option, settings, None)
            return f"{len(images):,} images in {images.name}, from which the nearest to a text are taken"
        if load:
            make_generator(settings, config.device, option=option).generate(["dog"], [0])
        found = find(f"{option}.model", settings.model, settings.revision)
        decoder = settings.tiny_vae and find(f"{option}.tiny_vae", settings.tiny_vae, settings.tiny_vae_revision)
        there = of_source(found, selection_of(decoder or None))
        there = there.beside(of_source(decoder, DECODER)) if decoder else there
        return f"{there.text}; it draws" if load else there

    def vocabulary() -> str:
        return f"{len(read_words(config.vocabulary)):,} words"

    def embedder(settings: EmbedderConfig | None, option: str) -> str | Presence:
        if not settings:
            return "null: only exemplars can be found"
        made = OpenClipEmbedder(**settings.model_dump(), device=config.device, option=option)
        if load:
            made.embed_texts(["dog"])
        there = of_source(*made.files) if made.files else Presence(f"{settings.model} {settings.pretrained}, a file")
        return there if there.download else f"{there.text}: {made.dim} numbers an image"

    yield "probe", lambda: _probe(config)
    yield "target", lambda: _target(config, load)
    yield "captioner", captioner
    yield "writer", writer
    if search := config.generator:
        yield "generator", lambda: generator("generator", search)
    else:
        yield "generator", lambda: "null: nothing is drawn in a search"
    if config.judge and (judge := config.judge.generator):
        yield "judge", lambda: generator("judge.generator", judge)
    elif not config.judge or not config.generator:
        yield "judge", lambda: "null: labels are not judged on drawings"
    yield "embedder", lambda: embedder(config.embedder, "embedder")
    if config.judge and (second := config.judge.embedder):
        yield "judge's embedder", lambda: embedder(second, "judge.embedder")
    yield "vocabulary", vocabulary
