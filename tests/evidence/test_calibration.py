"""The estimate of a value from promise and drawings, against integrals by brute force."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnr_env.errors import DnRError
from dnr_env.evidence.calibration import KNOTS, PARTS, Calibration, read_calibration, relative
from dnr_env.scores import GROUNDED_ALPHA, SCORES

CALIBRATION = Calibration.default()
NUMBERS = st.floats(-0.5, 1.5)


@given(st.sampled_from(SCORES), NUMBERS, st.floats(-0.5, 0.9), NUMBERS, st.floats(0, 0.3), st.integers(1, 30))
def test_the_posterior_is_the_normalised_product_of_prior_and_likelihood(
    score: str, excited: float, simulation: float, measured: float, error: float, count: int
) -> None:
    fitted = CALIBRATION.drawn["log_k" if score == "grounded_k" else score]
    centre = fitted.mean[0] + fitted.mean[1] * excited + fitted.mean[2] * simulation
    place = min(max(excited, KNOTS[0]), KNOTS[-1])
    low = max(i for i, knot in enumerate(KNOTS[:-1]) if knot <= place)
    part = (place - KNOTS[low]) / (KNOTS[low + 1] - KNOTS[low])
    deviation, one = ((1 - part) * knots[low] + part * knots[low + 1] for knots in (fitted.deviation, fitted.variance))
    sample = error**2 * count
    noise = (fitted.images * one + (count - 1) * sample) / (fitted.images + count - 1) / count
    width = 12 * max(deviation, noise**0.5)
    grid = np.linspace(min(centre, measured) - width, max(centre, measured) + width, 200_001)
    logs = -((grid - centre) ** 2) / deviation**2 / 2 - (grid - measured) ** 2 / noise / 2
    weights = np.exp(logs - logs.max())
    weights /= weights.sum()
    mean = float(weights @ grid)
    variance = float(weights @ (grid - mean) ** 2)
    share = GROUNDED_ALPHA if score == "grounded_k" else 1.0
    real, slope, stays = CALIBRATION.seen
    found = CALIBRATION.posterior(score, *(np.array(x) for x in (excited, simulation, measured, error, count)))
    # S given D is normal too: its mean is a line through D, and what D leaves open stays.
    line = CALIBRATION.together * stays / deviation
    given_d = real + slope * simulation + line * (mean - centre)
    left = stays**2 * (1 - CALIBRATION.together**2)
    assert found.mean == pytest.approx(share * mean + (1 - share) * given_d, abs=1e-4)
    expected = (share + (1 - share) * line) ** 2 * variance + (1 - share) ** 2 * left
    assert found.deviation == pytest.approx(expected**0.5, rel=1e-3)


@given(st.sampled_from(SCORES), st.integers(0, 2**32 - 1))
def test_every_estimate_is_elementwise(score: str, seed: int) -> None:
    """Together and alone, the bits are the same."""
    rng = np.random.default_rng(seed)
    excited, simulation, measured, errors = rng.normal(size=(4, 3, 7))
    counts = rng.integers(0, 20, (3, 7))
    together = CALIBRATION.posterior(score, excited, simulation, measured, np.abs(errors), counts)
    moved = CALIBRATION.movement(score, excited, np.abs(errors), counts, 5)
    assert min(part.min() for part in moved) > 0
    for i, j in np.ndindex(3, 7):
        one = (slice(i, i + 1), slice(j, j + 1))
        alone = CALIBRATION.posterior(
            score, excited[one], simulation[one], measured[one], np.abs(errors)[one], counts[one]
        )
        assert alone.mean[0, 0] == together.mean[i, j]
        assert alone.deviation[0, 0] == together.deviation[i, j]
        parts = CALIBRATION.movement(score, excited[one], np.abs(errors)[one], counts[one], 5)
        assert [part[0, 0] for part in parts] == [part[i, j] for part in moved]


@pytest.mark.parametrize("score", SCORES)
def test_without_drawings_the_estimate_is_the_prior(score: str) -> None:
    excited, simulation = np.random.default_rng(0).uniform(-0.2, 1.1, (2, 50))
    junk = np.full(50, 9.0)
    value = CALIBRATION.value(score, excited, simulation)
    found = CALIBRATION.posterior(score, excited, simulation, junk, junk, np.zeros(50, int))
    assert np.array_equal(value.mean, found.mean)
    assert np.array_equal(value.deviation, found.deviation)
    excited[0] = 1.0  # the best concept, to which excitement is relative
    excited = np.minimum(excited, 1.0)
    promised = CALIBRATION.value(score, excited, simulation).mean
    order = CALIBRATION.order(score, excited, simulation)
    assert promised - order == pytest.approx(np.full(50, promised[0] - order[0]), abs=1e-12)


def test_the_posterior_moves_as_foretold() -> None:
    """Over what the next drawings may show, the posterior mean stays on average, and spreads as foretold."""
    rng, n = np.random.default_rng(1), 200_000
    fitted = CALIBRATION.drawn["log_k"]
    fixed = replace(CALIBRATION, drawn={**CALIBRATION.drawn, "log_k": replace(fitted, images=1e9)})
    excited, simulation, zero = np.full(n, 0.5), np.full(n, 0.3), np.zeros(n)
    prior = fixed.prior("log_k", excited, simulation)[0]
    truth = rng.normal(prior.mean, prior.deviation)
    measured = rng.normal(truth, (fitted.variance[1] / 5) ** 0.5)
    for score in ("log_k", "grounded_k"):
        before = fixed.value(score, excited, simulation).mean
        after = fixed.posterior(score, excited, simulation, measured, zero, np.full(n, 5)).mean
        foretold = fixed.movement(score, excited[:1], zero[:1], np.zeros(1, int), 5)[1][0]
        assert (after - before).mean() == pytest.approx(0, abs=4 * foretold / n**0.5)
        assert after.std() == pytest.approx(foretold, rel=0.01)


def test_excitement_is_relative_to_the_best() -> None:
    assert relative(np.array([0.2, 0.4, 0.1, -1.0]), np.array([0.4, 0.4, 0.0, -2.0])).tolist() == [0.5, 1.0, 0.0, 0.0]


def test_an_artefact_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "calibration.json"
    path.write_bytes(replace(CALIBRATION, checked={"neurons": 3}).write())
    found = read_calibration(path)
    assert found == CALIBRATION
    assert found.checked == {"neurons": 3}
    assert found.fingerprint == CALIBRATION.fingerprint
    for other in (replace(CALIBRATION, seen=(0.0, 1.0, 0.11)), replace(CALIBRATION, together=0.3)):
        assert other.fingerprint != CALIBRATION.fingerprint


def content() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(CALIBRATION.write())
    return found


@pytest.mark.parametrize(
    "harm",
    [
        lambda x: x.pop("seen"),
        lambda x: x["seen"].append(1),
        lambda x: x["seen"].__setitem__(2, 0),
        lambda x: x.pop("together"),
        lambda x: x.__setitem__("together", 1),
        lambda x: x["drawn"].pop(PARTS[-1]),
        lambda x: x["drawn"]["log_k"].__setitem__("mean", 3),
        lambda x: x["drawn"]["log_k"]["mean"].__setitem__(0, "3"),
        lambda x: x["drawn"]["log_k"]["mean"].__setitem__(0, True),
        lambda x: x["drawn"]["log_k"]["mean"].__setitem__(0, float("nan")),
        lambda x: x["drawn"]["log_k"]["deviation"].__setitem__(1, -0.1),
        lambda x: x["drawn"]["log_k"]["variance"].__setitem__(1, 0),
        lambda x: x["drawn"]["log_k"]["variance"].append(0.1),
        lambda x: x["drawn"]["log_k"].__setitem__("images", None),
        lambda x: x.__setitem__("checked", []),
        lambda x: x.__setitem__("drawn", [1]),
    ],
)
def test_a_file_that_is_no_calibration_is_refused(harm: Any, tmp_path: Path) -> None:
    path = tmp_path / "calibration.json"
    found = content()
    harm(found)
    path.write_text(json.dumps(found))
    with pytest.raises(
        DnRError, match=r"`calibration` must be a file that `dnr calibrate` wrote \(got .*: it is none\)"
    ):
        read_calibration(path)


@pytest.mark.parametrize("data", [b"", b"[]", b"\xff\xfe", b"[" * 100_000, b"PK\x03\x04"])
def test_a_file_of_another_kind_is_refused(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "calibration.json"
    path.write_bytes(data)
    with pytest.raises(DnRError, match="`calibration` must be a file that `dnr calibrate` wrote"):
        read_calibration(path)
    with pytest.raises(DnRError, match=r"\(got .*: No such file or directory\)"):
        read_calibration(tmp_path / "none.json")
