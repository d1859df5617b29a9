"""A network of the user's own in an embedded world: its pictures, words and embedder, without a download."""

from __future__ import annotations

from dnr_env.evidence.image_set import ImageSet
from dnr_env.evidence.probe import Probe
from dnr_env.evidence.store import Store, cache_dir
from dnr_env.interfaces import Reader
from dnr_env.models.config import WorldConfig
from dnr_env.models.stack import calibration_in, make_target, measure_probe, probe_images
from dnr_env.models.target import NetworkTarget
from dnr_env.shapes.stack import shapes_stack
from dnr_env.stack import Stack


def world_stack(
    name: str, config: WorldConfig, target: NetworkTarget | None = None, images: ImageSet | None = None
) -> Stack:
    """Make the stack that a configuration describes.

    Args:
        name: the text from which the registry makes the stack.
        config: the settings.
        target: a network in memory that replaces the configured one.
        images: images in memory that replace the configured ones.
    """
    store = Store(cache_dir() / "store.sqlite")

    def beside(reader: Reader) -> Probe:
        return measure_probe(images or probe_images(config, store), reader, store)

    has_images = images is not None or config.probe.images is not None
    target = target or make_target(config, store)
    return shapes_stack(name, config.world, target, beside if has_images else None, target.heat, calibration_in(config))
