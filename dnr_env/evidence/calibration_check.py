"""Checks a calibration on neurons that it was not fitted to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from dnr_env.evidence.calibrate import COUNTS, DRAWN, JUDGED, QUANTILES, Sample, fit
from dnr_env.evidence.calibration import Calibration, Estimate
from dnr_env.scores import SCORES, drawn_part, drawn_share
from dnr_env.types import FloatArray, IntArray

FOLDS = 5
LISTED = 8
"""The number of candidates among which the incumbent is found."""
_LISTS = 5  # lists of candidates for each neuron


class Row(NamedTuple):
    """How well the estimates of one score hold after some drawings."""

    score: str
    drawings: int
    within_80: float
    """The share of values inside the 80% interval."""
    within_90: float
    incumbent_80: float
    """The same for the incumbent: of LISTED concepts, the one with the highest posterior mean."""
    incumbent_90: float
    crps: float
    """The mean continuous ranked probability score of the posterior. Less is better."""
    crps_promise: float
    """That of the prior alone."""
    crps_drawings: float
    """That of the drawings alone; 0 without any."""


class _Judged(NamedTuple):
    """The estimates of n concepts after some drawings, judged by their values."""

    off: FloatArray
    """(n,) the value less the posterior mean, in deviations."""
    incumbents: IntArray
    """(lists,) places of the concepts that are best in a list."""
    crps: FloatArray
    crps_promise: FloatArray
    crps_drawings: FloatArray


def cross_validate(sample: Sample) -> list[Row]:
    """Fit to all neurons but a fold and judge the estimates on that fold, for each fold."""
    neurons = np.unique(sample.neurons)
    fold = np.searchsorted(neurons, sample.neurons) % FOLDS
    return check([(fit(sample.some(fold != k)), sample.some(fold == k)) for k in range(FOLDS)])


def check(pairs: Sequence[tuple[Calibration, Sample]], scores: Sequence[str] = SCORES) -> list[Row]:
    """Judge calibrations by samples of other neurons, by score and by the number of drawings."""
    found = []
    for name in scores:
        for count in COUNTS:
            judged = [_judged(calibration, sample, name, count) for calibration, sample in pairs]
            everybody = np.abs(np.concatenate([one.off for one in judged]))
            incumbents = np.abs(np.concatenate([one.off[one.incumbents] for one in judged]))
            within = [(off < q).mean() for off in (everybody, incumbents) for q in QUANTILES.values()]
            crps = [np.concatenate(column).mean() for column in zip(*(one[2:] for one in judged), strict=True)]
            found.append(Row(name, count, *(round(float(value), 4) for value in (*within, *crps))))
    return found


def table(rows: Sequence[Row]) -> str:
    """The rows for people to read."""
    lines = ["score         drawn   80%   90%   incumbent 80%   90%     CRPS   promise  drawings"]
    lines += [
        f"{row.score:13} {row.drawings:5} {row.within_80:5.0%} {row.within_90:5.0%} {row.incumbent_80:15.0%} "
        f"{row.incumbent_90:5.0%} {row.crps:8.4f} {row.crps_promise:9.4f} {row.crps_drawings:9.4f}"
        for row in rows
    ]
    return "\n".join(lines)


def _judged(calibration: Calibration, sample: Sample, name: str, count: int) -> _Judged:
    share, part = drawn_share(name), drawn_part(name)
    value, value_error = sample.drawn(part, DRAWN, DRAWN + JUDGED)
    truth, noise = share * value + (1 - share) * sample.held_out, share * value_error
    nothing = np.zeros(len(truth))
    measured, errors = sample.drawn(part, 0, count) if count else (nothing, nothing)
    counts = np.full(len(truth), count)
    promise = (name, sample.excited, sample.simulations)
    posterior = calibration.posterior(*promise, measured, errors, counts)
    real = calibration.prior(*promise)[1]
    alone: FloatArray = nothing
    if count:
        deviation = np.sqrt(calibration.variance(name, sample.excited, errors, counts) / count)
        drawn = Estimate(
            share * measured + (1 - share) * real.mean, np.hypot(share * deviation, (1 - share) * real.deviation)
        )
        alone = _crps(truth, drawn, noise)
    off = (truth - posterior.mean) / np.hypot(posterior.deviation, noise)
    crps = _crps(truth, posterior, noise)
    return _Judged(
        off, _incumbents(sample.neurons, posterior.mean), crps, _crps(truth, calibration.value(*promise), noise), alone
    )


def _incumbents(neurons: IntArray, means: FloatArray) -> IntArray:
    """The places of the concepts that are best in random lists of their neurons' concepts."""
    rng, best = np.random.default_rng(0), []
    for neuron in np.unique(neurons):
        places = np.flatnonzero(neurons == neuron)
        for _ in range(_LISTS):
            listed = rng.permutation(places)[:LISTED]
            best.append(listed[means[listed].argmax()])
    return np.array(best)


def _crps(truth: FloatArray, estimate: Estimate, noise: FloatArray) -> FloatArray:
    """(n,) the score of a normal distribution whose answer is measured with noise (Gneiting and Raftery 2007)."""
    from scipy.special import ndtr  # slow to import

    deviation = np.hypot(estimate.deviation, noise)
    z = (truth - estimate.mean) / deviation
    result: FloatArray = deviation * (
        z * (2 * ndtr(z) - 1) + 2 * np.exp(-np.square(z) / 2) / np.sqrt(2 * np.pi) - 1 / np.sqrt(np.pi)
    )
    return result
