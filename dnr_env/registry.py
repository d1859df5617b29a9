"""Stacks by name: `load` builds a stack from a name or a YAML file, with or without settings after it."""

from __future__ import annotations

import copyreg
import os
import re
import shlex
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from dnr_env.errors import DnRError, unknown
from dnr_env.scenes import config as scenes
from dnr_env.scenes.config import ScenesConfig
from dnr_env.shapes import config as shapes
from dnr_env.shapes.config import ShapesConfig
from dnr_env.stack import Stack

if TYPE_CHECKING:
    from dnr_env.models.config import StackConfig, WorldConfig

EMBEDDED = (*shapes.PRESETS, *scenes.PRESETS)
"""Stacks that need no download. The `PRESETS` of `dnr_env.shapes.config` and `dnr_env.scenes.config` define them."""
SHIPPED = tuple(sorted(path.stem for path in (Path(__file__).parent / "models" / "configs").glob("*.yaml")))
"""Stacks of real models whose configurations ship with the package."""

_OWN = re.compile(r"(target|probe)\.|(device|calibration)=")
"""Settings of an embedded world that bring a network of the user's own."""


def load(spec: str | os.PathLike[str]) -> Stack:
    """Load a stack. The same configuration gives the same object, so that a process measures each image once.

    Args:
        spec: the name of a stack or of a YAML file, followed by any settings that replace its own, as in
            `"turbo probe.images=photos target.layers=layer3"` or `"shapes infidelity=0.2"`; or the path of a YAML file.
            `"shapes target.network=timm:resnet18 target.layers=layer1"` puts a network into the embedded world.

    Raises:
        DnRError: there is no such stack, or a setting is not accepted.
    """
    spec, config = read_spec(spec)
    if isinstance(config, ShapesConfig | ScenesConfig):
        return _embedded(spec, config)
    return _configured(spec, config)


def read_spec(spec: str | os.PathLike[str]) -> tuple[str, ShapesConfig | ScenesConfig | WorldConfig | StackConfig]:
    """Parse a spec into the stack's name, in one spelling, and its configuration. Nothing is loaded."""
    if isinstance(spec, os.PathLike):
        spec = shlex.quote(os.fspath(spec))
    if not isinstance(spec, str):
        raise DnRError(f"`stack` must be a name such as 'shapes' or the path of a YAML file (got {spec!r})")
    name, *settings = words_of(spec)
    if name in scenes.PRESETS:
        variant = scenes.read_settings(name, settings)
        return scenes.name_of(variant), variant
    if name in shapes.PRESETS:
        own = [setting for setting in settings if _OWN.match(setting)]
        embedded = shapes.read_settings(name, [setting for setting in settings if setting not in own])
        if not own:
            return shapes.name_of(embedded), embedded
        from dnr_env.models.read_config import read_world

        return " ".join([shapes.name_of(embedded), *map(_quoted, own)]), read_world(embedded, own)
    if "." not in spec and name not in SHIPPED:  # before the extra packages for real models are imported
        raise unknown("stack", spec, [*EMBEDDED, *SHIPPED, "a file such as stack.yaml"])
    from dnr_env.models.read_config import read_config

    return " ".join(map(_quoted, [name, *settings])), read_config(name, settings)


def words_of(spec: str) -> list[str]:
    """Split a spec into words. Quotes keep a word together; a backslash is kept, as Windows paths contain it."""
    reader = shlex.shlex(spec, posix=True, punctuation_chars=False)
    reader.whitespace_split, reader.commenters, reader.escape = True, "", ""
    try:
        return list(reader) or [""]
    except ValueError as error:
        raise DnRError(f"`stack` must be a name and then settings such as key=value (got {spec!r}: {error})") from None


def _quoted(word: str) -> str:
    return shlex.quote(word) if not word or re.search(r"[\s'\"]", word) else word


@cache
def _embedded(spec: str, config: ShapesConfig | ScenesConfig) -> Stack:
    if isinstance(config, ScenesConfig):
        from dnr_env.scenes.stack import scenes_stack

        return scenes_stack(spec, config)
    from dnr_env.shapes.stack import shapes_stack

    return shapes_stack(spec, config)


@cache  # the configuration is part of the key, as the file may have changed
def _configured(spec: str, config: WorldConfig | StackConfig) -> Stack:
    from dnr_env.models.config import WorldConfig
    from dnr_env.models.stack import model_stack
    from dnr_env.models.world import world_stack

    return world_stack(spec, config) if isinstance(config, WorldConfig) else model_stack(spec, config)


def _reduce(stack: Stack) -> tuple[Callable[[str], Stack], tuple[str]]:
    """Let a process that unpickles a stack load its own."""
    if stack.in_memory:
        raise DnRError("a stack with a model or images in memory cannot be sent to another process")
    return load, (stack.name,)


copyreg.pickle(Stack, _reduce)
