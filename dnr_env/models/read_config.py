"""Reads the settings of a stack of real models: from a YAML file, or from one that comes with the package."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from dnr_env.errors import DnRError, unknown
from dnr_env.extras import needed
from dnr_env.models.config import Section, StackConfig, WorldConfig
from dnr_env.shapes.config import ShapesConfig

with needed():
    import yaml
    from pydantic import ValidationError

_PATHS = {
    ("target", "network"), ("target", "weights"), ("target", "sae"), ("probe", "images"), ("captioner", "model"),
    ("writer", "model"), ("generator", "model"), ("generator", "tiny_vae"), ("embedder", "model"),
    ("embedder", "pretrained"), ("vocabulary",), ("judge", "generator", "model"), ("judge", "generator", "tiny_vae"),
    ("judge", "embedder", "model"), ("judge", "embedder", "pretrained"),
    ("generator", "images"), ("judge", "generator", "images"), ("calibration",),
}  # fmt: skip
"""Settings that may hold a path, which is relative to the configuration file."""
_BEFORE_PATH = re.compile(r"(python|open_clip|hf|hf-dataset|torchvision:\w+):")


def read_config(name: str, settings: Sequence[str] = ()) -> StackConfig:
    """Read the configuration of a name or a file, and apply settings such as `probe.images=photos`.

    Raises:
        DnRError: the file cannot be read, or a setting is unknown or invalid.
    """
    shipped = {path.stem: path for path in (Path(__file__).parent / "configs").glob("*.yaml")}
    path = shipped.get(name, Path(name).expanduser())
    if not path.is_file():
        raise unknown("stack", name, [*shipped, "a file such as stack.yaml"])
    values = _read_file(path)
    _apply(settings, values)
    try:
        return StackConfig.model_validate(values)
    except ValidationError as error:
        raise _readable(error, StackConfig) from None


def read_world(world: ShapesConfig, settings: Sequence[str]) -> WorldConfig:
    """Read the settings of a network on the pictures of an embedded world, such as `target.network=timm:resnet18`.

    Raises:
        DnRError: no network is named, or a setting is unknown or invalid.
    """
    values: dict[str, Any] = {"world": world}
    _apply(settings, values)
    if "network" not in values.get("target", {}):
        raise DnRError(
            f"`target.network` must name a network where an embedded world has settings such as {settings[0]!r} "
            "(got none)"
        )
    check_world(world)
    try:
        return WorldConfig.model_validate(values)
    except ValidationError as error:
        raise _readable(error, WorldConfig) from None


def check_world(world: ShapesConfig) -> None:
    """Raise DnRError if the settings of an embedded world select neurons of its own target, which is replaced."""
    if world.neurons != "network":
        raise DnRError(
            f"`neurons` must be left out where a network is given: it selects neurons of the world's own target (got "
            f"{world.neurons})"
        )


def _apply(settings: Sequence[str], values: dict[str, Any]) -> None:
    """Put settings into nested values, with paths made absolute."""
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals:
            raise DnRError(
                f"a setting of `stack` must be written as key=value, such as probe.images=photos (got {setting!r})"
            )
        _set(values, key, text)
    for place in _PATHS:
        _anchor(values, place, Path.cwd())


def _read_file(path: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise DnRError(f"`stack` must be a readable YAML file (got {path}: {reason})") from None
    except yaml.YAMLError as error:
        raise DnRError(f"`stack` must be plain YAML (got {path}: {' '.join(str(error).split())[:200]})") from None
    if not isinstance(values, dict):
        raise DnRError(f"`stack` must contain sections such as 'target:' and 'probe:' (got {path})")
    for place in _PATHS:
        _anchor(values, place, path.parent.resolve())
    return values


def _anchor(values: dict[str, Any], place: tuple[str, ...], folder: Path) -> None:
    """Make a path that is relative to a folder absolute, if it exists."""
    *above, key = place
    for part in above:
        values = values.get(part) or {}
        if not isinstance(values, dict):
            return
    text = values.get(key)
    if not isinstance(text, str):
        return
    found = _BEFORE_PATH.match(text)
    kind = found.group() if found else ""
    path, colon, end = text.removeprefix(kind), "", ""
    if kind.startswith(("python", "torchvision", "hf-dataset")):  # a function, split or column may follow
        path, colon, end = path.partition(":")
    found_at = folder / Path(path).expanduser()
    if found_at.is_file() or (found_at.is_dir() and place not in (("vocabulary",), ("calibration",))):
        values[key] = f"{kind}{found_at}{colon}{end}"


def _set(values: dict[str, Any], key: str, text: str) -> None:
    *above, last = key.split(".")
    for part in above:
        inner = values.get(part)
        values[part] = dict(inner) if isinstance(inner, dict) else {}
        values = values[part]
    try:
        values[last] = yaml.safe_load(text)
    except yaml.YAMLError:
        raise DnRError(f"`{key}` must be a value that YAML can read (got {text!r})") from None


def _readable(error: ValidationError, whole: type[Section]) -> DnRError:
    """Describe the first fault of a configuration in one sentence."""
    fault = error.errors(include_url=False)[0]
    place = [str(part) for part in fault["loc"]]
    if fault["type"] == "extra_forbidden":
        kind = whole
        for part in place[:-1]:
            kind = _section(kind.model_fields[part].annotation)
        return unknown(
            "a setting of the stack", ".".join(place), [".".join([*place[:-1], name]) for name in kind.model_fields]
        )
    value = fault["input"]
    if fault["type"] == "model_type":
        inside = next(iter(_section(whole.model_fields[place[0]].annotation).model_fields))
        null = " or null" if type(None) in get_args(whole.model_fields[place[0]].annotation) else ""
        return DnRError(
            f"`{'.'.join(place)}` must be a section with settings such as {place[0]}.{inside}{null} (got {value!r})"
        )
    return DnRError(f"`{'.'.join(place)}` is invalid: {fault['msg'][:1].lower()}{fault['msg'][1:]} (got {value!r})")


def _section(annotation: Any) -> type[Section]:
    """Find the section type in an annotation that may also allow null."""
    return next(
        kind for kind in (annotation, *get_args(annotation)) if isinstance(kind, type) and issubclass(kind, Section)
    )
