"""The generators that a configuration asks for: of the search and of the judge, each drawing or retrieving."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from dnr_env.errors import DnRError
from dnr_env.evidence.image_set import ImageSet
from dnr_env.evidence.images import open_images
from dnr_env.evidence.store import Store
from dnr_env.interfaces import Generator
from dnr_env.models.config import GeneratorConfig, StackConfig
from dnr_env.models.embedder import OpenClipEmbedder
from dnr_env.models.generator import DiffusionGenerator
from dnr_env.models.missing import NoEmbedder, NoGenerator
from dnr_env.models.retrieval import RetrievalGenerator

_RETRIEVAL_ONLY = {"kind", "images", "limit", "sets"}


def check_generators(config: StackConfig) -> None:
    """Raise DnRError if the settings of a generator do not go together. Nothing is opened."""
    sections = {"generator": config.generator, "judge.generator": config.judge and config.judge.generator}
    for section, settings in sections.items():
        if not settings:
            continue
        if settings.kind == "diffusion" and (settings.images or settings.limit):
            raise DnRError(
                f"`{section}.kind` must be retrieval where `{section}.images` or `{section}.limit` is set "
                "(got diffusion)"
            )
        if settings.kind == "retrieval" and not settings.images:
            raise DnRError(f"`{section}.images` must name the images to retrieve, such as a folder (got none)")
        if settings.kind == "retrieval" and not config.embedder:
            raise DnRError(f"`embedder` must be a section where `{section}.kind` is retrieval (got null)")


def judge_generator(config: StackConfig) -> GeneratorConfig | None:
    """Return what the judge draws with, or None if there is no judge or nothing to draw with."""
    return (config.judge.generator or config.generator) if config.judge else None


def make_generators(
    config: StackConfig,
    embedder: OpenClipEmbedder | NoEmbedder,
    store: Store,
    open_probe: Callable[[], ImageSet],
) -> tuple[Generator, Generator]:
    """Make the generators of the search and of the judge.

    Args:
        config: the settings.
        embedder: finds the images that are retrieved.
        store: keeps the embeddings of these images.
        open_probe: opens the probe set, whose images are not retrieved.
    """

    def make(section: str, settings: GeneratorConfig, template: str | None) -> Generator:
        if settings.kind == "diffusion":
            return make_generator(settings, config.device, template, section)
        return RetrievalGenerator(
            partial(retrieved_images, section, settings, store),
            open_probe,
            embedder,
            store,
            option=f"{section}.images",
            template=template or settings.template,
            size=settings.size,
            sets=settings.sets,
        )

    search = make("generator", config.generator, None) if config.generator else NoGenerator()
    judging = judge_generator(config)
    if not config.judge or not judging:
        return search, NoGenerator()
    section = "judge.generator" if config.judge.generator else "generator"
    return search, make(section, judging, config.judge.template)


def make_generator(
    config: GeneratorConfig, device: str, template: str | None = None, option: str = "generator"
) -> DiffusionGenerator:
    """Make a generator that draws, with its own template or another one. The option is the section of its settings."""
    settings = {**config.model_dump(exclude=_RETRIEVAL_ONLY), "template": template or config.template}
    return DiffusionGenerator(**settings, device=device, option=option)


def retrieved_images(section: str, settings: GeneratorConfig, store: Store | None) -> ImageSet:
    """Open the images that the generator of a section retrieves.

    Raises:
        DnRError: the setting names no images.
    """
    return open_images(settings.images or "", settings.limit, store, f"{section}.images")
