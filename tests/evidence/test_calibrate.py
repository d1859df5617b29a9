"""Fitting a calibration to samples whose law is known, and its check."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dnr_env.evidence.calibrate import DRAWN, JUDGED, Sample, fit
from dnr_env.evidence.calibration import KNOTS, Calibration
from dnr_env.evidence.calibration_check import Row, check, cross_validate, table


def made(neurons: int, seed: int = 0, together: float = 0.0) -> Sample:
    """Concepts whose `mean` is normal about 0.1 + 0.8 x + 0.2 s, with deviation 0.1 + 0.1 x and one image's 0.3.

    Its errors and those of the simulation on held-out images, with deviation 0.06, have the correlation `together`.
    """
    rng, n = np.random.default_rng(seed), neurons * 12
    excited, simulations = rng.uniform(0, 1, n), rng.uniform(0, 0.8, n)
    off, other = rng.standard_normal((2, n))
    value = 0.1 + 0.8 * excited + 0.2 * simulations + (0.1 + 0.1 * excited) * off
    real = together * off + (1 - together**2) ** 0.5 * other
    return Sample(
        neurons=np.repeat(np.arange(neurons), 12),
        excited=excited,
        simulations=simulations,
        held_out=0.05 + 0.9 * simulations + 0.06 * real,
        activations=rng.normal(value[:, None], 0.3, (n, DRAWN + JUDGED)).astype(np.float32),
        similarities=rng.uniform(0.2, 0.3, (n, DRAWN + JUDGED)),
        controls=np.sort(rng.normal(0, 0.3, (n, 50)), axis=1),
    )


@pytest.fixture(scope="module")
def sample() -> Sample:
    return made(100)


@pytest.fixture(scope="module")
def fitted(sample: Sample) -> Calibration:
    return fit(sample)


def test_the_law_is_found(fitted: Calibration) -> None:
    found = fitted.drawn["mean"]
    assert found.mean == pytest.approx((0.1, 0.8, 0.2), abs=0.03)
    assert found.deviation == pytest.approx([0.1 + 0.1 * knot for knot in KNOTS], abs=0.03)
    assert fitted.seen == pytest.approx((0.05, 0.9, 0.06), abs=0.015)


@pytest.mark.parametrize("together", [-0.5, 0.0, 0.5])
def test_errors_that_go_together_are_found_to(together: float) -> None:
    """Then the intervals of what is made of both hold. Were they taken as independent, they would not."""
    found = fit(made(100, together=together))
    assert found.together == pytest.approx(together, abs=0.1)
    others = made(200, seed=1, together=together)
    row = check([(found, others)], ("grounded_k",))[0]
    assert [row.within_80, row.within_90] == pytest.approx([0.8, 0.9], abs=0.03)
    if together:
        independent = check([(replace(found, together=0.0), others)], ("grounded_k",))[0]
        assert abs(independent.within_80 - 0.8) > 0.04


def test_a_fit_is_deterministic_and_does_not_depend_on_outliers(sample: Sample, fitted: Calibration) -> None:
    assert fit(sample).fingerprint == fitted.fingerprint
    odd = sample.activations.copy()
    odd[::100] = -10
    found = fit(sample._replace(activations=odd)).drawn["mean"]
    assert found.mean == pytest.approx(fitted.drawn["mean"].mean, abs=0.05)
    assert found.deviation == pytest.approx(fitted.drawn["mean"].deviation, abs=0.04)


def test_a_right_calibration_passes_its_check_and_a_wrong_one_does_not(fitted: Calibration) -> None:
    others = made(200, seed=1)
    for row in check([(fitted, others)], ("mean",)):
        assert [row.within_80, row.incumbent_80] == pytest.approx([0.8, 0.8], abs=0.04)
        assert [row.within_90, row.incumbent_90] == pytest.approx([0.9, 0.9], abs=0.04)
        assert row.crps == row.crps_promise if not row.drawings else row.crps < min(row.crps_promise, row.crps_drawings)
    narrow = replace(fitted.drawn["mean"], deviation=(0.05,) * len(KNOTS))
    wrong = replace(fitted, drawn={**fitted.drawn, "mean": narrow})
    assert max(row.within_80 for row in check([(wrong, others)], ("mean",))[:2]) < 0.72


def test_no_neuron_is_judged_by_a_fit_to_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[set[int]] = []

    def noted(sample: Sample) -> Calibration:
        seen.append(set(sample.neurons.tolist()))
        return Calibration.default()

    judged: list[list[tuple[Calibration, Sample]]] = []

    def no_rows(pairs: list[tuple[Calibration, Sample]]) -> list[Row]:
        judged.append(pairs)
        return []

    monkeypatch.setattr("dnr_env.evidence.calibration_check.fit", noted)
    monkeypatch.setattr("dnr_env.evidence.calibration_check.check", no_rows)
    cross_validate(made(23))
    folds = [set(sample.neurons.tolist()) for _, sample in judged[0]]
    assert set.union(*folds) == set(range(23))
    assert all(not fold & used and fold | used == set(range(23)) for fold, used in zip(folds, seen, strict=True))


def test_the_table_has_a_line_for_each_row(fitted: Calibration, sample: Sample) -> None:
    rows = check([(fitted, sample)], ("log_k", "grounded_k"))
    lines = table(rows).splitlines()
    assert [line.split()[:2] for line in lines[1:]] == [[row.score, str(row.drawings)] for row in rows]
    assert len({len(line) for line in lines}) == 1
