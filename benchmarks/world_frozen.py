"""The fingerprint of the world `scenes`: it changes with weights, seeds and settings (docs/explanation/scenes.md)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict

import numpy as np
from world_measures import probe_scenes

from dnr_env.scenes import captioner
from dnr_env.scenes.config import PRESETS
from dnr_env.scenes.render import Scenes
from dnr_env.scenes.stack import scenes_stack
from dnr_env.seeds import Purpose


def frozen() -> dict[str, object]:
    """What the world depends on: weights, seeds and settings. Calibrations and policies come later."""
    stacks = {name: scenes_stack(name, config) for name, config in PRESETS.items()}
    return {
        "presets": {
            name: {
                "settings": asdict(PRESETS[name]),
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
