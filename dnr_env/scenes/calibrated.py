"""The calibrations that come with the world `scenes`.

    dnr calibrate --stack scenes --out dnr_env/scenes/data/calibration-scenes.json

makes that of a preset, on its train neurons, in a few minutes.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from dnr_env.evidence.calibration import Calibration, read_calibration
from dnr_env.scenes.config import PRESETS, ScenesConfig

_DATA = Path(__file__).parent / "data"
CALIBRATED = ("scenes", "scenes-plain", "scenes-residual", "scenes-unfaithful", "scenes-few", "scenes-sae")
"""The presets that have a calibration of their own."""


@cache
def calibration_of(config: ScenesConfig) -> Calibration:
    """Read the calibration of a variant. One that has none uses that of the same neurons or, of others, of `scenes`."""
    neurons = (config.target, config.neurons)
    usual = next((name for name in CALIBRATED if (PRESETS[name].target, PRESETS[name].neurons) == neurons), "scenes")
    name = next((name for name in CALIBRATED if PRESETS[name] == config), usual)
    return read_calibration(_DATA / f"calibration-{name}.json")
