"""The settings of the embedded world, and its named presets."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from dnr_env.errors import DnRError, unknown
from dnr_env.shapes.weights import path_of_target


@dataclass(frozen=True)
class ShapesConfig:
    """A variant of the embedded world."""

    neurons: str = "network"
    """The neurons to study: "network" (the target's channels and the planted neurons), "directions" (600 random
    directions of its layers, for training), or "fresh" (66 more planted neurons, reserved for blind tests)."""
    width: int = 16
    """Channels of the target's first layer: 16, or 12, which is a second target."""
    infidelity: float = 0.0
    """Probability that the renderer draws another value for an attribute that the concept names."""
    paired: bool = True
    """Whether image i of every concept has the same jitter."""
    withheld: bool = False
    """Whether nine words are removed from the concepts."""
    target: str = ""
    """The path of a network that `dnr_env.shapes.train_target` has trained, in place of the target. Empty takes the
    shipped one."""


PRESETS: Mapping[str, ShapesConfig] = {
    "shapes": ShapesConfig(),
    "shapes-directions": ShapesConfig(neurons="directions"),
    "shapes-fresh": ShapesConfig(neurons="fresh"),
    "shapes-transfer": ShapesConfig(width=12),
    "shapes-unfaithful": ShapesConfig(infidelity=0.2),
    "shapes-withheld": ShapesConfig(withheld=True),
    "shapes-unpaired": ShapesConfig(paired=False),
}
_CHOICES: Mapping[str, tuple[Any, ...]] = {
    "neurons": ("network", "directions", "fresh"),
    "width": (16, 12),
    "paired": (True, False),
    "withheld": (True, False),
}


def read_settings(name: str, settings: Sequence[str]) -> ShapesConfig:
    """Apply settings of the form key=value to a preset.

    Raises:
        DnRError: a setting is unknown, or its value is not accepted.
    """
    config, known = PRESETS[name], [field.name for field in fields(ShapesConfig)]
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals:
            raise DnRError(f"`stack` settings must have the form infidelity=0.2 (got {setting!r})")
        if key not in known:
            raise unknown(f"a setting of {name}", key, known)
        config = replace(config, **{key: _value(key, text)})
    if config.target and config.width != ShapesConfig.width:
        raise DnRError(f"`width` must be left out where `target` is a network of its own (got {config.width})")
    return config


def name_of(config: ShapesConfig) -> str:
    """The one name of a variant: that of a preset if there is one, otherwise "shapes" with the settings that differ."""
    for name, preset in PRESETS.items():
        if preset == config:
            return name
    usual = asdict(ShapesConfig())
    changed = [shlex.quote(f"{key}={_text(value)}") for key, value in asdict(config).items() if value != usual[key]]
    return " ".join(["shapes", *changed])


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _value(key: str, text: str) -> Any:
    if key == "target":
        return path_of_target(text, "shapes")
    if key in _CHOICES:
        named = {str(choice).lower(): choice for choice in _CHOICES[key]}
        if text.lower() not in named:
            raise DnRError(f"`{key}` must be one of {', '.join(named)} (got {text!r})")
        return named[text.lower()]
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise DnRError(f"`{key}` must be a number from 0 to 1 (got {text!r})")
    return value
