"""The estimate of a concept's held-out value: what real images promise, corrected by what was drawn.

The value of a concept is share · D + (1 - share) · S. Drawings decide D: the score itself or, under `grounded_k`, the
`log_k` in it. Real images decide S, the simulation on images that were held out. Both are taken as normal. The promise
gives the prior of D, and drawings its likelihood. S follows from the simulation on the images that were searched, and
from D: a concept that excites more than promised is simulated better too, so their errors correlate. How, is measured
once (`dnr calibrate`) and then fixed: it never depends on what was drawn before.

The price of a label's words (`scores.price_of_words`) is known and not part of this: callers take it off the means.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dnr_env.errors import DnRError
from dnr_env.scores import SCORES, drawn_part, drawn_share
from dnr_env.types import BoolArray, FloatArray, IntArray

PARTS = tuple(name for name in SCORES if name != "grounded_k")
"""What drawings decide of a score: the score, or `log_k` of `grounded_k`."""
KNOTS = (0.0, 0.5, 0.8, 1.0)
"""The relative excitements at which deviations are given. They are interpolated between these, and constant outside."""
_LEAST = 1e-6  # an excitement below this is none


class Estimate(NamedTuple):
    """Means and standard deviations of normal distributions, of any shape."""

    mean: FloatArray
    deviation: FloatArray


@dataclass(frozen=True)
class Drawn:
    """How D follows from the promise, and how much its measurements err."""

    mean: tuple[float, float, float]
    """The prior mean: a constant, and the slopes over relative excitement and over simulation."""
    deviation: tuple[float, ...]
    """The prior deviation at each of KNOTS."""
    variance: tuple[float, ...]
    """The variance of one image, before any is drawn, at each of KNOTS."""
    images: float
    """The number of images that this variance counts for, beside the variance among those drawn."""


@dataclass(frozen=True)
class Calibration:
    """The numbers that turn a promise and drawings into an estimate of the value.

    Excitement is relative throughout: see `relative`. Every function is elementwise and takes arrays of any shape.
    """

    drawn: Mapping[str, Drawn]
    """One entry for each of PARTS."""
    seen: tuple[float, float, float]
    """S: a constant, the slope over simulation, and the deviation."""
    together: float
    """The correlation of the errors of D and S before anything is drawn."""
    checked: Mapping[str, Any] = field(default_factory=dict, compare=False)
    """How well it does on neurons that it was not fitted to. See `dnr_env.evidence.calibrate.check`."""

    @staticmethod
    def default() -> Calibration:
        """The constants of a stack that was not calibrated.

        The means are those of the embedded world, rounded. Deviations and variances are about twice as large as there,
        so that a few drawings outweigh a promise that nobody has checked.
        """
        return Calibration(
            {
                "mean": Drawn((-0.15, 1.0, 0.0), (0.4, 0.4, 0.35, 0.3), (0.1, 0.1, 0.1, 0.1), 5.0),
                "median": Drawn((-0.2, 1.0, 0.0), (0.4, 0.4, 0.35, 0.3), (0.2, 0.2, 0.2, 0.2), 5.0),
                "sq_mean": Drawn((-0.1, 0.9, 0.0), (0.4, 0.4, 0.4, 0.4), (0.2, 0.3, 0.3, 0.3), 5.0),
                "topk_sq_mean": Drawn((0.0, 1.0, 0.0), (0.4, 0.5, 0.5, 0.5), (0.3, 0.6, 0.5, 0.4), 5.0),
                "log_k": Drawn((0.1, 0.55, 0.1), (0.15, 0.2, 0.16, 0.12), (0.1, 0.1, 0.075, 0.05), 5.0),
                "semantic_k": Drawn((0.1, 0.7, 0.0), (0.3, 0.3, 0.25, 0.2), (0.1, 0.1, 0.1, 0.1), 5.0),
                "auc": Drawn((0.5, 0.45, 0.0), (0.3, 0.2, 0.15, 0.1), (0.2, 0.1, 0.075, 0.05), 5.0),
                "mad": Drawn((-0.5, 3.5, 0.0), (1.5, 1.5, 1.75, 2.0), (1.0, 2.0, 2.0, 2.0), 5.0),
            },
            (0.0, 1.0, 0.1),
            0.2,
        )

    @property
    def fingerprint(self) -> str:
        """Identifies the numbers."""
        drawn = {part: asdict(self.drawn[part]) for part in PARTS}
        numbers = {"drawn": drawn, "seen": self.seen, "together": self.together}
        return hashlib.sha256(json.dumps(numbers, sort_keys=True).encode()).hexdigest()[:32]

    def prior(self, score: str, excited: FloatArray, simulation: FloatArray) -> tuple[Estimate, Estimate]:
        """What is expected of D and of S before anything is drawn.

        Args:
            score: one of SCORES.
            excited: (...) relative expected excitement.
            simulation: (...) simulation on the searched images.
        """
        fitted = self.drawn[drawn_part(score)]
        constant, of_excited, of_simulation = fitted.mean
        mean = constant + of_excited * excited + of_simulation * simulation
        seen, slope, stays = self.seen
        of_real = seen + slope * np.asarray(simulation, np.float64)
        return Estimate(mean, np.interp(excited, KNOTS, fitted.deviation)), Estimate(
            of_real, np.full_like(of_real, stays)
        )

    def variance(self, score: str, excited: FloatArray, errors: FloatArray, counts: IntArray) -> FloatArray:
        """(...) the variance of D's measurement by one image; that of n images is a n-th of it.

        Args:
            score: one of SCORES.
            excited: (...) relative expected excitement.
            errors: (...) the standard errors of D by `scores.score`.
            counts: (...) the number of images drawn.
        """
        fitted = self.drawn[drawn_part(score)]
        more = np.maximum(counts - 1, 0)
        known = np.interp(excited, KNOTS, fitted.variance)
        result: FloatArray = (fitted.images * known + more * np.square(errors) * counts) / (fitted.images + more)
        return result

    def drawings(
        self, score: str, excited: FloatArray, simulation: FloatArray, measured: FloatArray, errors: FloatArray,
        counts: IntArray,
    ) -> Estimate:  # fmt: skip
        """D after drawings: the prior, where there are none. The arguments are those of `posterior`."""
        prior = self.prior(score, excited, simulation)[0]
        weight = counts / self.variance(score, excited, errors, counts)
        precision = 1 / np.square(prior.deviation)
        mean = (prior.mean * precision + measured * weight) / (precision + weight)
        return Estimate(mean, np.sqrt(1 / (precision + weight)))

    def posterior(
        self, score: str, excited: FloatArray, simulation: FloatArray, measured: FloatArray, errors: FloatArray,
        counts: IntArray,
    ) -> Estimate:  # fmt: skip
        """The held-out value after drawings.

        Args:
            score: one of SCORES.
            excited: (...) relative expected excitement.
            simulation: (...) simulation on the searched images.
            measured: (...) D as measured, by `scores.score` of `drawn_part`; any number where nothing is drawn.
            errors: (...) its standard errors.
            counts: (...) the number of images drawn, 0 or more.
        """
        rest = 1 - drawn_share(score)
        drawn = self.drawings(score, excited, simulation, measured, errors, counts)
        before, seen = self.prior(score, excited, simulation)
        weight = self._weight(score, before.deviation)
        settled = np.square(rest * seen.deviation) * (1 - self.together**2)
        return Estimate(
            (1 - rest) * before.mean + rest * seen.mean + weight * (drawn.mean - before.mean),
            np.sqrt(np.square(weight * drawn.deviation) + settled),
        )

    def value(self, score: str, excited: FloatArray, simulation: FloatArray) -> Estimate:
        """The held-out value before anything is drawn."""
        nothing = np.zeros(np.shape(excited))
        return self.posterior(score, excited, simulation, nothing, nothing, nothing.astype(np.intp))

    def movement(
        self, score: str, excited: FloatArray, errors: FloatArray, counts: IntArray, images: int
    ) -> tuple[FloatArray, FloatArray]:
        """What drawings can still do to the estimate. The arguments are those of `variance`, and `images`.

        Returns:
            (...) the part of the posterior deviation that drawings can settle, and (...) the standard deviation by
            which the posterior mean will move if `images` more are drawn.
        """
        per_image = self.variance(score, excited, errors, counts)
        deviation = np.interp(excited, KNOTS, self.drawn[drawn_part(score)].deviation)
        weight, precision = self._weight(score, deviation), 1 / np.square(deviation)
        before, after = 1 / (precision + counts / per_image), 1 / (precision + (counts + images) / per_image)
        return weight * np.sqrt(before), weight * np.sqrt(before - after)

    def joined(
        self, score: str, means: FloatArray, unsettled: FloatArray, simulations: FloatArray, held: BoolArray,
        simulation: FloatArray,
    ) -> tuple[Estimate, FloatArray]:  # fmt: skip
        """The held-out value of labels from the estimates of their parts: D is the mean of theirs, S its own.

        The parts' errors are independent. Each moves the label's value by as much as its own, divided by their number
        m. The errors of D and S then have the correlation `together` / √m.

        Args:
            score: one of SCORES.
            means: (b, parts) means of the parts' values, before or after drawings.
            unsettled: (b, parts) the part of their deviations that drawings can settle. See `movement`.
            simulations: (b, parts) simulations of the parts on the searched images.
            held: (b, parts) which entries are parts; the others may be any numbers.
            simulation: (b,) simulations of the labels.

        Returns:
            The value of each label, and (b,) the part of its deviation that drawings can settle.
        """
        rest, (_, slope, stays) = 1 - drawn_share(score), self.seen
        count = held.sum(axis=1)
        from_parts = np.where(held, means - rest * slope * simulations, 0.0).sum(axis=1) / count
        moves = np.sqrt(np.where(held, np.square(unsettled), 0.0).sum(axis=1)) / count
        settled = np.square(rest * stays) * (1 - self.together**2 / count)
        return Estimate(from_parts + rest * slope * simulation, np.sqrt(np.square(moves) + settled)), moves

    def order(self, score: str, excited: FloatArray, simulation: FloatArray) -> FloatArray:
        """(..., concepts) the prior means of the values of a neuron's concepts, but for a constant of the neuron.

        Args:
            score: one of SCORES.
            excited: (..., concepts) expected excitement of the whole vocabulary, by any model of the neuron.
            simulation: (..., concepts) simulation on the searched images.
        """
        share, (_, of_excited, of_simulation) = drawn_share(score), self.drawn[drawn_part(score)].mean
        most = excited.max(axis=-1, keepdims=True)
        # The whole vocabulary is ordered at every mutation: one factor for each row is faster than `relative`.
        factor = np.where(most > _LEAST, share * of_excited / np.maximum(most, _LEAST), 0.0).astype(excited.dtype)
        result: FloatArray = factor * excited
        result += excited.dtype.type(share * of_simulation + (1 - share) * self.seen[1]) * simulation
        return result

    def _weight(self, score: str, deviation: FloatArray) -> FloatArray:
        """(...) how far the value moves with D: by its share, and by what D says of S. `deviation` is D's prior one."""
        share = drawn_share(score)
        result: FloatArray = share + (1 - share) * self.together * self.seen[2] / deviation
        return result

    def write(self) -> bytes:
        """The artefact: canonical JSON."""
        content = {
            "drawn": {part: asdict(self.drawn[part]) for part in PARTS},
            "seen": self.seen,
            "together": self.together,
            "checked": self.checked,
        }
        return (json.dumps(content, indent=1, sort_keys=True) + "\n").encode()


def relative(excited: FloatArray, most: FloatArray) -> FloatArray:
    """(...) expected excitement relative to that of the neuron's best concept in the vocabulary; 0 if none excites it.

    Neurons differ in how much a linear model explains of them. The best concepts of all of them excite about equally.
    """
    result: FloatArray = np.divide(excited, most, out=np.zeros(np.shape(excited)), where=most > _LEAST)
    return result


def read_calibration(path: Path, option: str = "calibration") -> Calibration:
    """Read the artefact that `dnr calibrate` wrote.

    Raises:
        DnRError: the file is not such an artefact.
    """
    try:
        found = json.loads(path.expanduser().read_bytes())
        drawn = {part: _drawn(found["drawn"][part]) for part in PARTS}
        constant, slope, stays = _three(found["seen"])
        together, checked = _number(found["together"]), found["checked"]
        if stays <= 0 or abs(together) >= 1 or not isinstance(checked, dict):
            raise ValueError
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is none"
        raise DnRError(f"`{option}` must be a file that `dnr calibrate` wrote (got {path}: {reason})") from None
    return Calibration(drawn, (constant, slope, stays), together, checked)


def _drawn(entry: Mapping[str, Any]) -> Drawn:
    fitted = Drawn(
        _three(entry["mean"]),
        tuple(_number(value) for value in entry["deviation"]),
        tuple(_number(value) for value in entry["variance"]),
        _number(entry["images"]),
    )
    lengths = {len(fitted.deviation), len(fitted.variance)}
    if lengths != {len(KNOTS)} or min(*fitted.deviation, *fitted.variance, fitted.images) <= 0:
        raise ValueError
    return fitted


def _three(values: Any) -> tuple[float, float, float]:
    first, second, third = (_number(value) for value in values)
    return first, second, third


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError
    return float(value)
