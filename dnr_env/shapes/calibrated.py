"""The calibrations that come with the embedded world.

    dnr calibrate --stack shapes --out dnr_env/shapes/data/calibration-shapes.json

makes that of a preset, on its train neurons, in two to four minutes.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache

from dnr_env.evidence.calibration import Calibration, read_calibration
from dnr_env.shapes.config import PRESETS, ShapesConfig
from dnr_env.shapes.reader import DATA

CALIBRATED = ("shapes", "shapes-transfer", "shapes-unfaithful")
"""The presets that have a calibration of their own."""


@cache
def calibration_of(config: ShapesConfig) -> Calibration:
    """Read the calibration of a variant of the world.

    Neurons of other kinds, random directions or further planted ones, use that of the same variant's own neurons. The
    pairing of seeds does not change the distribution of images, and withheld words change no image. Any other variant
    uses that of the same target without further settings.
    """
    config = replace(config, neurons="network", paired=True, withheld=False)
    usual = "shapes" if config.width == PRESETS["shapes"].width else "shapes-transfer"
    name = next((name for name in CALIBRATED if PRESETS[name] == config), usual)
    return read_calibration(DATA / f"calibration-{name}.json")
