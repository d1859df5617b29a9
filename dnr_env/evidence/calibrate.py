"""Fits a calibration to measured concepts."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from dnr_env.evidence.calibration import KNOTS, PARTS, Calibration, Drawn, Estimate
from dnr_env.scores import score
from dnr_env.types import BoolArray, FloatArray, IntArray

DRAWN, JUDGED = 20, 40
"""The images of a concept: those that it is estimated from, and those that its value is measured on."""
COUNTS = (0, 5, 10, 20)
"""The numbers of drawings that are fitted and checked."""
PER_MEASURE = 5
"""The subset size of the scores, which is the default of `Rules.images_per_measure`."""
QUANTILES = {80: 1.2816, 90: 1.6449}
"""The half-widths of central intervals of a normal distribution, in deviations, by their percentages."""
_IMAGES = (4.0, 40.0)  # bounds of Drawn.images: fewer let five equal images stand for certainty
_RANGE = 5.0  # Drawn.variance is within this factor of the mean variance, as are no images that happen to be equal


class Sample(NamedTuple):
    """What real images and drawings say of n concepts, each for one neuron."""

    neurons: IntArray
    """(n,)"""
    excited: FloatArray
    """(n,) relative expected excitement."""
    simulations: FloatArray
    """(n,) on the searched images."""
    held_out: FloatArray
    """(n,) simulation on the images that were held out."""
    activations: FloatArray
    """(n, DRAWN + JUDGED) normalised."""
    similarities: FloatArray
    """(n, DRAWN + JUDGED) cosines with the neuron's exemplars."""
    controls: FloatArray
    """(n, controls) sorted."""

    def some(self, which: BoolArray | IntArray) -> Sample:
        """Some of the concepts."""
        return Sample(self.neurons[which], *(column[which] for column in self[1:]))

    def drawn(self, part: str, start: int, stop: int) -> Estimate:
        """D and its standard error on some of the images."""
        images = slice(start, stop)
        return Estimate(
            *score(
                part,
                activations=self.activations[:, images],
                counts=np.full(len(self.neurons), stop - start),
                m=PER_MEASURE,
                similarities=self.similarities[:, images],
                controls=self.controls,
            )
        )


def fit(sample: Sample) -> Calibration:
    """Fit a calibration.

    The prior mean is a least-squares line without the outliers. Deviations and variances minimise the interval score of
    the 80 and 90% intervals (Gneiting and Raftery 2007, section 6.2), which is least for the true quantiles. Tails are
    heavier than normal, so the likelihood would not give intervals that hold what they say.
    """
    seen, stays, real = _fit_seen(sample)
    drawn = {part: _fit_part(sample, part) for part in PARTS}
    return Calibration(drawn, (*seen, stays), _together(sample, drawn["log_k"], real / stays))


def _fit_seen(sample: Sample) -> tuple[tuple[float, float], float, FloatArray]:
    """Fit S: its line, its deviation, and (n,) the errors of the line."""
    line = _line([np.ones_like(sample.simulations), sample.simulations], sample.held_out)
    rest = sample.held_out - line[0] - line[1] * sample.simulations
    weights = _weights(sample)
    log = _least(lambda x: _interval_score(rest, np.exp(x[0]), weights), [np.log(rest.std() + 1e-6)])[0]
    return (_round(line[0]), _round(line[1])), _round(np.exp(log)), rest


def _together(sample: Sample, fitted: Drawn, real: FloatArray) -> float:
    """The correlation of the errors of D and S, given (n,) those of S in deviations."""
    value, error = sample.drawn("log_k", DRAWN, DRAWN + JUDGED)
    mean = fitted.mean[0] + fitted.mean[1] * sample.excited + fitted.mean[2] * sample.simulations
    deviation = np.interp(sample.excited, KNOTS, fitted.deviation)
    # Far outliers, of neurons whose scale is odd, count as far and not as how far.
    errors = np.clip([(value - mean) / np.hypot(deviation, error), real], -3, 3)
    (of_drawn, both), (_, of_real) = np.cov(errors, aweights=_weights(sample))
    return _round(both / np.sqrt(of_drawn * of_real))


def _fit_part(sample: Sample, part: str) -> Drawn:
    value, value_error = sample.drawn(part, DRAWN, DRAWN + JUDGED)
    excited, simulations = sample.excited, sample.simulations
    line = _line([np.ones_like(excited), excited, simulations], value)
    mean = line[0] + line[1] * excited + line[2] * simulations
    low, high = np.quantile(value - mean, [0.16, 0.84])
    unit = max((high - low) / 2, 1e-6)
    # Far outliers, of neurons whose scale is odd, count as far and not as how far.
    rest = np.clip(value - mean, -4 * unit, 4 * unit)
    about, weights = np.hypot(value_error, 0.05 * unit), _weights(sample)

    def of_prior(x: FloatArray) -> float:
        return _interval_score(rest, np.hypot(np.interp(excited, KNOTS, np.exp(x)), about), weights)

    deviation = np.exp(_least(of_prior, [np.log(unit)] * len(KNOTS)))
    precision = 1 / np.square(np.interp(excited, KNOTS, deviation))
    taken = [(n, sample.drawn(part, 0, n)) for n in COUNTS if n]

    def of_noise(x: FloatArray) -> float:
        known, images, total = np.interp(excited, KNOTS, np.exp(x[:-1])), np.exp(x[-1]), 0.0
        for n, (measured, error) in taken:
            weight = n * (images + n - 1) / (images * known + (n - 1) * n * np.square(error))
            off = rest - (measured - mean) * weight / (precision + weight)
            off = np.clip(off, -4 * unit, 4 * unit)
            total += _interval_score(off, np.sqrt(1 / (precision + weight) + np.square(about)), weights)
        return total

    _, error = sample.drawn(part, 0, DRAWN)
    usual = np.log(np.square(error).mean() * DRAWN + 1e-12)
    bounds = [(usual - np.log(_RANGE), usual + np.log(_RANGE))] * len(KNOTS) + [
        (np.log(_IMAGES[0]), np.log(_IMAGES[1]))
    ]
    found = np.exp(_least(of_noise, [usual] * len(KNOTS) + [np.log(5)], bounds))
    constant, of_excited, of_simulation = _rounded(line)
    return Drawn((constant, of_excited, of_simulation), _rounded(deviation), _rounded(found[:-1]), _round(found[-1]))


def _weights(sample: Sample) -> FloatArray:
    """(n,) 1 / the rank of a concept among those of its neuron: the most promising are what is chosen in the end."""
    promise = sample.excited + sample.simulations
    weights = np.empty(len(promise))
    for neuron in np.unique(sample.neurons):
        places = np.flatnonzero(sample.neurons == neuron)
        weights[places[np.argsort(-promise[places], kind="stable")]] = 1 / np.arange(1, len(places) + 1)
    return weights


def _interval_score(off: FloatArray, deviation: FloatArray, weights: FloatArray) -> float:
    """The weighted mean interval score of normal distributions. `off` is the truth less the mean."""
    total = np.zeros(np.shape(off))
    for percent, deviations in QUANTILES.items():
        half = deviations * deviation
        total += 2 * half + 200 / (100 - percent) * np.maximum(np.abs(off) - half, 0)
    return float((total * weights).sum() / weights.sum())


def _line(columns: list[FloatArray], values: FloatArray) -> FloatArray:
    """Least squares with Huber's weights: a value weighs less, the further it is off beyond 1.5 usual errors."""
    inputs, weights = np.stack(columns, axis=1), np.ones(len(values))
    for _ in range(20):
        scaled = inputs * weights[:, None]
        line: FloatArray = np.linalg.solve(inputs.T @ scaled + 1e-9 * np.eye(inputs.shape[1]), scaled.T @ values)
        off = np.abs(values - inputs @ line)
        usual = 1.5 * 1.4826 * np.median(off) + 1e-9
        weights = np.minimum(1, usual / np.maximum(off, 1e-12))
    return line


def _least(
    goal: Callable[[FloatArray], float],
    start: list[float],
    bounds: list[tuple[float | None, float | None]] | None = None,
) -> FloatArray:
    from scipy.optimize import minimize  # slow to import

    found: FloatArray = minimize(
        goal,
        np.array(start),
        method="Nelder-Mead",
        bounds=bounds,
        options={"xatol": 1e-3, "fatol": 1e-6, "maxiter": 2000},
    ).x
    return found


def _rounded(values: FloatArray) -> tuple[float, ...]:
    return tuple(_round(value) for value in values.tolist())


def _round(value: float) -> float:
    return float(f"{value:.4g}")
