"""A stack around a model that is in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dnr_env.errors import DnRError
from dnr_env.registry import load, read_spec
from dnr_env.scenes.config import ScenesConfig
from dnr_env.shapes.config import ShapesConfig
from dnr_env.stack import Stack

if TYPE_CHECKING:
    from dnr_env.models.config import StackConfig, WorldConfig
    from dnr_env.models.target import NetworkTarget


def assemble(
    model: Any,
    layer: str | Sequence[str] | None,
    images: Any,
    stack: str | Path | Stack | None,
    preprocess: Callable[[Any], Any] | None,
    pooling: str | None,
) -> Stack:
    """Assemble the stack that the arguments of `dnr_env.label` describe. Nothing is loaded that is not needed yet.

    Args:
        model: takes the place of the stack's target; None keeps that.
        layer: the layer of the model, or several.
        images: take the place of the stack's images; None keeps those.
        stack: the other parts. None means none of them, or "shapes" without images.
        preprocess: the transform of a model in memory.
        pooling: the pooling of the model's layer; None is the stack's, by default "mean".

    Raises:
        DnRError: an argument cannot be used, or two do not go together.
    """
    if model is None and (preprocess is not None or pooling is not None):
        raise DnRError("`preprocess` and `pooling` must be left out without a `model`: a stack has its own")
    if isinstance(stack, Stack):
        if model is not None or images is not None:
            raise DnRError("`stack` must be a name where `model` or `images` are given (got a Stack)")
        return stack
    if model is not None and layer is None:
        raise DnRError("`layer` must name a module of the model (got None)")
    if stack is None and images is not None:
        return _configured("images", _bare(), model, layer, images, preprocess, pooling)
    spec, config = read_spec("shapes" if stack is None else stack)
    if model is None and images is None:
        return load(spec)
    if isinstance(config, ScenesConfig):
        raise DnRError(
            f"`stack` must be one that takes a network or images, such as 'shapes', where `model` or `images` is "
            f"given (got {spec!r}, which has its own)"
        )
    if isinstance(config, ShapesConfig) and model is None:
        raise DnRError(f"`images` must be left out without a `model`: stack {spec!r} has pictures of its own")
    return _configured(spec, config, model, layer, images, preprocess, pooling)


def _configured(
    spec: str,
    config: ShapesConfig | WorldConfig | StackConfig,
    model: Any,
    layer: str | Sequence[str] | None,
    images: Any,
    preprocess: Callable[[Any], Any] | None,
    pooling: str | None,
) -> Stack:
    from dnr_env.evidence.given import images_given
    from dnr_env.evidence.store import Store, cache_dir
    from dnr_env.models.config import WorldConfig
    from dnr_env.models.read_config import check_world
    from dnr_env.models.stack import model_stack
    from dnr_env.models.world import world_stack

    if isinstance(config, ShapesConfig):
        check_world(config)
        config = WorldConfig(world=config)
    target = None if model is None else _target(model, layer, preprocess, pooling, config)
    limit, store = config.probe.limit, Store(cache_dir() / "store.sqlite")
    given, name = None if images is None else images_given(images, limit, store), _named(spec, model)
    if isinstance(config, WorldConfig):
        return replace(world_stack(name, config, target, given), in_memory=True)
    return replace(model_stack(name, config, target, given), in_memory=True)


def _named(spec: str, model: Any) -> str:
    return spec if model is None else f"{spec} with {model if isinstance(model, str) else type(model).__name__}"


def _bare() -> StackConfig:
    """A target and images, and nothing else."""
    from dnr_env.models.config import StackConfig

    return StackConfig(captioner=None, writer=None, generator=None, judge=None, embedder=None)


def _target(
    model: Any,
    layer: str | Sequence[str] | None,
    preprocess: Callable[[Any], Any] | None,
    pooling: str | None,
    config: StackConfig | WorldConfig,
) -> NetworkTarget:
    from dnr_env.evidence.store import Store, cache_dir
    from dnr_env.models.memory import network_in_memory
    from dnr_env.models.stack import make_target

    layers = (layer,) if isinstance(layer, str) else tuple(layer or ())
    store = Store(cache_dir() / "store.sqlite")
    changes: dict[str, Any] = {"layers": layers, **({"pooling": pooling} if pooling else {})}
    network = None
    if not isinstance(model, str):
        network = network_in_memory(model, preprocess)
    elif preprocess is not None:
        raise DnRError(f"`preprocess` must be left out if `model` is a name, which brings its own (got {model!r})")
    else:
        changes["network"] = model
    target = config.target.model_copy(update=changes)
    return make_target(config.model_copy(update={"target": target}), store, network)
