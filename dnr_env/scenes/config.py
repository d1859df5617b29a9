"""The settings of the world `scenes`, and its named presets."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from dnr_env.errors import DnRError, unknown
from dnr_env.shapes.weights import path_of_target

INFIDELITY = (0.3, 0.15, 0.25, 0.08, 0.06)
"""How often the generator draws another size, colour, texture, shape and background than the one that is named."""
_CHOICES: Mapping[str, tuple[Any, ...]] = {
    "target": ("depthwise", "plain", "residual"),
    "infidelity": (1, 0, 2),
    "probe": (600, 200),
    "neurons": ("channels", "sae"),
}


@dataclass(frozen=True)
class ScenesConfig:
    """A variant of the world."""

    target: str = "depthwise"
    """The network under study: "depthwise", "plain" or "residual", of this architecture, or the path of one that
    `dnr_env.scenes.target_train` has trained."""
    infidelity: int = 1
    """The generator's errors, as a multiple of INFIDELITY: 1, 0 or 2."""
    probe: int = 600
    """The number of real images: 600 or 200."""
    neurons: str = "channels"
    """The neurons to study: "channels" (of the target, and the planted neurons), or "sae" (features of a sparse
    autoencoder on one layer of "depthwise")."""


PRESETS: Mapping[str, ScenesConfig] = {
    "scenes": ScenesConfig(),
    "scenes-plain": ScenesConfig(target="plain"),
    "scenes-residual": ScenesConfig(target="residual"),
    "scenes-sae": ScenesConfig(neurons="sae"),
    "scenes-faithful": ScenesConfig(infidelity=0),
    "scenes-unfaithful": ScenesConfig(infidelity=2),
    "scenes-few": ScenesConfig(probe=200),
}


def read_settings(name: str, settings: Sequence[str]) -> ScenesConfig:
    """Apply settings of the form key=value to a preset.

    Raises:
        DnRError: a setting is unknown, or its value is not accepted.
    """
    config, known = PRESETS[name], [field.name for field in fields(ScenesConfig)]
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals:
            raise DnRError(f"`stack` settings must have the form target=residual (got {setting!r})")
        if key not in known:
            raise unknown(f"a setting of {name}", key, known)
        named = {str(choice): choice for choice in _CHOICES[key]}
        if key == "target" and Path(text).expanduser().is_file():
            named[text] = path_of_target(text, "scenes")
        if text not in named:
            file = " or a file that dnr_env.scenes.target_train has written" if key == "target" else ""
            raise DnRError(f"`{key}` must be one of {', '.join(named)}{file} (got {text!r})")
        config = replace(config, **{key: named[text]})
    if config.neurons == "sae" and config.target != ScenesConfig.target:
        raise DnRError(f"`target` must be {ScenesConfig.target} where `neurons` is sae (got {config.target!r})")
    return config


def name_of(config: ScenesConfig) -> str:
    """The one name of a variant: that of a preset if there is one, otherwise "scenes" with the settings that differ."""
    for name, preset in PRESETS.items():
        if preset == config:
            return name
    usual = asdict(ScenesConfig())
    changed = [shlex.quote(f"{key}={value}") for key, value in asdict(config).items() if value != usual[key]]
    return " ".join(["scenes", *changed])
