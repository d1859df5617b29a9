"""Calibrating the embedded world: what ships, and `dnr calibrate`."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dnr_env
from dnr_env.cli.main import main
from dnr_env.env.rules import Rules
from dnr_env.errors import DnRError
from dnr_env.evaluation.calibrating import chosen, sample
from dnr_env.evidence.calibrate import DRAWN, PER_MEASURE, Sample
from dnr_env.evidence.calibration import Calibration, read_calibration
from dnr_env.evidence.calibration_check import check
from dnr_env.scores import drawn_part
from dnr_env.seeds import Purpose, place_of
from dnr_env.shapes.calibrated import CALIBRATED, calibration_of
from dnr_env.shapes.config import PRESETS
from dnr_env.stack import Stack

HELD = ("grounded_k", "log_k")
"""The scores that names are chosen by."""


@pytest.mark.parametrize("name", CALIBRATED)
def test_what_ships_holds_on_neurons_that_it_was_not_fitted_to(name: str) -> None:
    """Intervals cover what they say, of all concepts and of incumbents: within five points for the default score."""
    checked = calibration_of(PRESETS[name]).checked
    rows = [row for row in checked["rows"] if row["score"] in HELD]
    assert sorted({row["drawings"] for row in rows}) == [0, 5, 10, 20]
    for row in rows:
        tolerance = 0.05 if row["score"] == "grounded_k" else 0.08
        for percent in (80, 90):
            assert row[f"within_{percent}"] == pytest.approx(percent / 100, abs=tolerance), row
            assert row[f"incumbent_{percent}"] == pytest.approx(percent / 100, abs=tolerance), row
        if row["drawings"]:
            assert row["crps"] < min(row["crps_promise"], row["crps_drawings"]), row


def test_variants_take_the_calibration_of_the_nearest_preset() -> None:
    for name in ("shapes-fresh", "shapes-directions", "shapes-unpaired", "shapes-withheld"):
        assert calibration_of(PRESETS[name]).fingerprint == calibration_of(PRESETS["shapes"]).fingerprint
    stacks = {name: dnr_env.load_stack(name).calibration.fingerprint for name in (*CALIBRATED, "shapes infidelity=0.1")}
    assert len(set(stacks.values())) == len(CALIBRATED)
    assert stacks["shapes infidelity=0.1"] == stacks["shapes"] != Calibration.default().fingerprint
    transfer = dnr_env.load_stack("shapes width=12 infidelity=0.1")
    assert transfer.calibration.fingerprint == stacks["shapes-transfer"]


@pytest.fixture(scope="module", params=["shapes", "shapes-transfer"])
def of_test(request: pytest.FixtureRequest) -> tuple[Calibration, Sample]:
    """The calibration of a target, and concepts of its test neurons, drawn anew."""
    stack = dnr_env.load_stack(request.param)
    return stack.calibration, sample(stack, chosen(stack, stack.neurons.select("test"), len(stack.neurons)))


@pytest.mark.slow
def test_estimates_hold_on_the_test_neurons(of_test: tuple[Calibration, Sample]) -> None:
    """As above, within five points and twice the error that so few neurons leave."""
    _, judged = of_test
    neurons = len(np.unique(judged.neurons))
    assert neurons > 40
    for row in check([of_test], HELD):
        for percent, all_of_them, incumbent in (
            (0.8, row.within_80, row.incumbent_80),
            (0.9, row.within_90, row.incumbent_90),
        ):
            error = (percent * (1 - percent) / neurons) ** 0.5
            assert all_of_them == pytest.approx(percent, abs=0.05 + error), row
            assert incumbent == pytest.approx(percent, abs=0.05 + 2 * error), row
        if row.drawings:
            assert row.crps < row.crps_promise
            assert row.crps < row.crps_drawings + 0.001


@pytest.mark.slow
def test_more_drawings_gain_nothing_on_average(of_test: tuple[Calibration, Sample]) -> None:
    """The posterior mean of the default score changes by zero on average, but for chance, when KEEP draws."""
    calibration, judged = of_test
    score = Rules().score
    nothing, means = np.zeros(len(judged.neurons)), []
    for count in range(0, DRAWN + 1, PER_MEASURE):
        measured, errors = judged.drawn(drawn_part(score), 0, count) if count else (nothing, nothing)
        known = score, judged.excited, judged.simulations, measured, errors
        means.append(calibration.posterior(*known, np.full(len(nothing), count)).mean)
    for before, after in pairwise(means):
        changes = [(after - before)[judged.neurons == neuron].mean() for neuron in np.unique(judged.neurons)]
        assert np.ptp(after - before) > 0.01
        assert abs(np.mean(changes)) < 2.5 * np.std(changes, ddof=1) / len(changes) ** 0.5


@pytest.mark.slow
def test_seeds_are_the_calibrations_own(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    measure = stack.lab.measure

    def noted(**options: Any) -> Any:
        seen.extend(options["seeds"].ravel().tolist())
        return measure(**options)

    monkeypatch.setattr(stack.lab, "measure", noted)
    first = sample(stack, stack.neurons.select("layer4:0"))
    assert {place_of(seed).purpose for seed in seen} == {Purpose.CALIBRATION}
    again = sample(stack, stack.neurons.select("layer4:0"))
    assert all(np.array_equal(one, other) for one, other in zip(first, again, strict=True))


@pytest.mark.slow
def test_the_command_writes_what_a_stack_reads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "new" / "calibration.json"
    main(["calibrate", "--out", str(out), "--neurons", "planted:0-24", "--limit", "20"])
    said = capsys.readouterr().out
    assert f"calibration: {out}" in said
    assert "grounded_k" in said
    found = read_calibration(out)
    assert found.checked["neurons"] == 20
    assert json.loads(out.read_bytes())["seen"] == list(found.seen)


def test_bad_input_is_one_sentence(stack: Stack) -> None:
    with pytest.raises(DnRError, match=r"`limit` must be at least 20 neurons \(got 3\)"):
        chosen(stack, range(100), 3)
    with pytest.raises(DnRError, match=r"`neurons` must name at least 20 neurons that vary .* \(got \d+ of 5\)"):
        chosen(stack, range(5), 100)
    spread = chosen(stack, range(100, 300), 30)
    assert len(spread) == 30
    assert np.diff(spread).max() < 40
