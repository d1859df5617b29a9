"""The calibrations that come with the world `scenes`.

    dnr calibrate --stack scenes --out dnr_env/scenes/data/calibration-scenes.json

makes that of a preset, on its train neurons, in a few minutes.
"""

from __future__ import annotations

from functools import cache

from dnr_env.evidence.calibration import Calibration, read_calibration
from dnr_env.scenes.config import PRESETS, ScenesConfig
from dnr_env.scenes.networks import DATA

CALIBRATED = ("scenes", "scenes-plain", "scenes-residual", "scenes-unfaithful", "scenes-few")
"""The presets that have a calibration of their own."""


@cache
def calibration_of(config: ScenesConfig) -> Calibration:
    """Read the calibration of a variant of the world: of the same target, or of `scenes`, where it has none of its own."""
    usual = next((name for name in CALIBRATED if PRESETS[name].target == config.target), "scenes")
    name = next((name for name in CALIBRATED if PRESETS[name] == config), usual)
    return read_calibration(DATA / f"calibration-{name}.json")
