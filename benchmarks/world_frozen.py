"""The fingerprint of the world `scenes`: it changes with weights, seeds and settings (docs/explanation/scenes.md)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

import numpy as np
from world_measures import probe_scenes

from dnr_env.scenes import captioner
from dnr_env.scenes.config import PRESETS
from dnr_env.scenes.render import Scenes
from dnr_env.scenes.stack import scenes_stack
from dnr_env.seeds import Purpose

_PRESETS = ("scenes", "scenes-plain", "scenes-residual", "scenes-faithful", "scenes-unfaithful", "scenes-few")
_SETTINGS = ("target", "infidelity", "probe")
"""What there was when the world was frozen. `scenes-sae` studies the same world by other neurons, and came later."""


def frozen() -> dict[str, object]:
    """What the world depends on: weights, seeds and settings. Calibrations and policies come later."""
    presets = {name: PRESETS[name] for name in _PRESETS}
    stacks = {name: scenes_stack(name, config) for name, config in presets.items()}
    return {
        "presets": {
            name: {
                "settings": {key: getattr(presets[name], key) for key in _SETTINGS},
                "generator": stack.lab.generator.fingerprint,
                "reader": stack.lab.reader.fingerprint,
                "captioner": stack.proposer.captioner.fingerprint,
            }
            for name, stack in stacks.items()
        },
        "captioner": [captioner.NOTICED, captioner.MISTAKEN, captioner.SECOND, captioner.SURE],
        "seeds": {purpose.name: purpose.value for purpose in Purpose},
        "probe": _digest_of_codes(probe_scenes()),
    }


def fingerprint(parts: Mapping[str, object]) -> str:
    """The SHA-256 of what `frozen` returns."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _digest_of_codes(scenes: Scenes) -> str:
    codes = np.concatenate([scenes.objects.reshape(len(scenes.objects), -1), scenes.backgrounds[:, None]], axis=1)
    return hashlib.sha256(codes.astype("<i8").tobytes()).hexdigest()
