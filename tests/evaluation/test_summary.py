"""Means, intervals and paired differences of judged files, against brute force and against disjoint drawings."""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path

import numpy as np
import pytest

import dnr_env
from dnr_env.env.rules import Rules
from dnr_env.evaluation.judge import judge
from dnr_env.evaluation.summary import DRAWN, METRICS, tables
from dnr_env.evaluation.verdicts import judge_labels
from dnr_env.evidence.probe_source import ProbeSource
from dnr_env.scores import SCORES
from dnr_env.stack import Stack

GOOD = {
    "layer4:5": "huge striped thing", "layer3:1": "huge star", "planted:0": "red thing", "planted:39": "star on sky",
    "planted:17": "warm thing", "layer4:30": "checkered thing", "layer2:3": "thing on sand", "layer4:7": "cross",
}  # fmt: skip
NEURONS = list(GOOD)
WRONG = dict(zip(NEURONS, [*GOOD.values()][3:] + [*GOOD.values()][:3], strict=True))


@pytest.mark.parametrize("score", SCORES)
def test_the_drawings_contribute_what_the_judge_says(stack: Stack, score: str) -> None:
    """The mean over drawings is the verdict, and the spread over drawings gives its error."""
    records = judge_labels(stack, list(GOOD.items())[:3], rules=Rules(score=score), block=0)
    found = tables(stack, records, Rules(score=score))
    assert list(found) == list(METRICS)
    for name in DRAWN:
        table = found[name][0]
        np.testing.assert_allclose(table.mean(axis=0), [r[name] for r in records], atol=1e-6)
        if name == "activation_rate":  # its error is that of Agresti and Coull
            continue
        is_value = name in ("value", "judge_value")
        errors = [r["error" if is_value else f"{name}_error"] for r in records]
        tolerance = 0.5 if score == "median" and is_value else 0.1
        np.testing.assert_allclose(table.std(axis=0, ddof=1) / np.sqrt(len(table)), errors, rtol=tolerance, atol=1e-3)


def test_errors_are_those_of_a_bootstrap(stack: Stack) -> None:
    """Over drawings for AUC, MAD and the activation rate; over real images for the simulations."""
    rng = np.random.default_rng(0)
    records = judge_labels(stack, list(GOOD.items())[:4], rules=Rules(), block=0)
    found = tables(stack, records, Rules())
    for i, record in enumerate(records):
        for name in ("auc", "mad"):
            column = found[name][0, :, i]
            drawn = column[rng.integers(len(column), size=(4000, len(column)))].mean(axis=1)
            assert record[f"{name}_error"] == pytest.approx(drawn.std(), rel=0.1, abs=1e-4)
        place, held_out = stack.neurons.indices([record["neuron"]]), stack.probes.held_out
        real = held_out.all_raw(place)[:, 0].astype(float)
        assert stack.judge_embedder
        theirs = stack.judge_embedder.embeddings[[int(held_out.describe(i)[1:]) for i in range(len(held_out))]]
        for name, images in (
            ("simulation", held_out.embeddings),
            ("judge_simulation", theirs),
        ):
            alike = images @ stack.embedder.embed_texts([record["label"]])[0]
            chosen = rng.integers(len(real), size=(300, len(real)))
            sampled = [np.corrcoef(alike[rows], real[rows])[0, 1] for rows in chosen]
            assert record[f"{name}_error"] == pytest.approx(np.std(sampled), rel=0.2)


def test_the_error_of_a_share_is_not_zero_at_its_ends(stack: Stack) -> None:
    (none,) = judge(stack, neurons=["planted:0"], labels=["blue thing"], rules=Rules())
    assert none.activation_rate == 0
    assert none.activation_rate_error == pytest.approx(np.sqrt(2 / 54 * 52 / 54 / 54))


def test_the_activation_rate_of_the_real_images_is_one_percent(stack: Stack) -> None:
    which, held_out = np.arange(len(stack.neurons)), stack.probes.held_out
    real = held_out.normalise(held_out.all_raw(which).T, which)
    rates = (real > held_out.strong(which)[:, None]).mean(axis=1)
    assert (rates <= 0.01).all()
    assert np.median(rates) == pytest.approx(0.01, abs=1e-3)


@pytest.fixture(scope="module")
def compared(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> tuple[dnr_env.Judged, Path]:
    folder = tmp_path_factory.mktemp("compared")
    for name, labels in (("wrong", WRONG), ("good", GOOD)):
        rows = [f"{neuron},{label}\n" for neuron, label in labels.items()]
        (folder / f"{name}.csv").write_text("neuron,label\n" + "".join(rows))
    judged = dnr_env.judge(
        labels=[folder / "wrong.csv", folder / "good.csv"], stack=stack, out=folder / "out", progress=False
    )
    return judged, folder / "out"


def test_good_labels_are_ahead_of_wrong_ones_by_every_metric(compared: tuple[dnr_env.Judged, Path]) -> None:
    judged, _ = compared
    assert [(d.source, d.other) for d in judged.differences] == [("good", "wrong")] * len(METRICS)
    for one in judged.differences:
        assert one.difference.low > 0, one
        by_source = {m.source: m.interval for m in judged.means if m.metric == one.metric}
        apart = by_source["good"].estimate - by_source["wrong"].estimate
        assert one.difference.estimate == pytest.approx(apart)
        assert by_source["good"].low <= by_source["good"].estimate <= by_source["good"].high


def test_the_files_and_the_page_of_a_comparison(compared: tuple[dnr_env.Judged, Path]) -> None:
    judged, out = compared
    page = judged.save(out).read_text(encoding="utf-8")
    assert "good less wrong" in page
    assert "planted: star &amp; sky" in page
    assert page.count('class="card"') == len(NEURONS)
    read = {
        name: list(csv.DictReader((out / f"{name}.csv").read_text().splitlines()))
        for name in ("judged", "means", "differences")
    }
    assert [len(rows) for rows in read.values()] == [2 * len(NEURONS), 2 * len(METRICS), len(METRICS)]
    first = next(row for row in read["judged"] if (row["neuron"], row["source"]) == ("planted:0", "good"))
    assert (first["precision"], first["recall"]) == ("1.0", "1.0")
    assert judged.of("planted:0", "wrong").text == WRONG["planted:0"]
    # A second judgement reads everything from the folder, also after a file is left out.
    again = dnr_env.judge(labels=GOOD, stack=judged.stack, out=out, progress=False)
    assert [label.record["auc"] for label in again] == [judged.of(neuron, "good").auc for neuron in GOOD]
    assert again.differences == []
    again.save(out)
    assert not (out / "differences.csv").exists()


def test_what_a_few_neurons_cannot_say_is_said(stack: Stack, tmp_path: Path) -> None:
    said = "Intervals and p-values from fewer than 6 neurons understate the variation between neurons."
    labels = {f"layer4:{i}": "red star" for i in range(6)}
    few = dnr_env.judge(labels={neuron: labels[neuron] for neuron in [*labels][:5]}, stack=stack, progress=False)
    enough = dnr_env.judge(labels=labels, stack=stack, progress=False)
    assert (said in repr(few), said in repr(enough)) == (True, False)
    pages = [judged.save(tmp_path / name).read_text() for judged, name in ((few, "few"), (enough, "enough"))]
    assert [said in page for page in pages] == [True, False]


def test_the_simulation_on_further_images_is_in_the_table_and_on_the_page(stack: Stack, tmp_path: Path) -> None:
    probes = ProbeSource(lambda _: stack.probes.whole, beside=lambda: stack.probes.held_out)
    ours = dataclasses.replace(stack, probes=probes)
    judged = dnr_env.judge(labels={"layer4:0": "red star"}, stack=ours, progress=False)
    page = judged.save(tmp_path).read_text()
    (row,) = csv.DictReader((tmp_path / "judged.csv").read_text().splitlines())
    assert row["simulation_images"] == row["simulation"]
    assert f"simulation on images {float(row['simulation']):.2f}" in page


def test_intervals_cover_ten_disjoint_sets_of_drawings(stack: Stack) -> None:
    """An interval from one set covers the mean of the other nine, and the drawings' error is that of repetition."""
    rules, blocks = Rules(), range(10)
    for labels in (GOOD, WRONG):
        found = [tables(stack, judge_labels(stack, [*labels.items()], rules=rules, block=b), rules) for b in blocks]
        for name in DRAWN:
            drawn = np.array([table[name][0].mean(axis=1) for table in found])  # (blocks, drawings)
            means = drawn.mean(axis=1)
            # With the neurons fixed, the mean over neurons of each drawing is one observation.
            errors = np.sqrt(drawn.var(axis=1, ddof=1) / drawn.shape[1])
            assert means.std(ddof=1) <= 1.8 * np.sqrt(np.square(errors).mean()), name
            rest = (means.sum() - means) / (len(means) - 1)
            assert (np.abs(means - rest) <= 1.96 * errors * np.sqrt(1 + 1 / 9)).sum() >= 8, name
