"""What ratings say: against complete tables, against raters whose taste is known, and with ratings that are missing."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dnr_env import DnRError
from dnr_env.evaluation.statistics import holm_intervals, mean_interval
from dnr_env.rating.analysis import Answered, alpha, differences, means, reliability, tables
from dnr_env.rating.answers import Answer
from dnr_env.rating.plan import CONTROL, Plan, make_plan, screens
from dnr_env.rating.results import write_results
from dnr_env.rating.study import Study, settle

NEURONS = [f"layer1:{i}" for i in range(14)]
FILES = {name: {neuron: f"{name} of {neuron}" for neuron in NEURONS} for name in ("good", "bad")}
ANNOTATORS = ("ann", "bob", "cy")


def plan_of(pairs: bool = False, control: bool = True, files: dict[str, dict[str, str]] = FILES) -> Plan:
    return make_plan(files, NEURONS, items=60, repeats=4, pairs=pairs, control=control, seed=0)


def rated(plan: Plan, taste: dict[str, float], seed: int = 0, noise: float = 0.7) -> dict[str, list[Answer]]:
    """Annotators who like the labels of each source to some degree, beside noise."""
    rng, found = np.random.default_rng(seed), {}
    for annotator in ANNOTATORS:
        answers = []
        for screen in screens(plan, annotator):
            item = plan.items[screen.item]
            worth = [taste[sources[0]] for sources in item.sources]
            if screen.flipped:
                worth.reverse()
            wanted = 3 + (worth[1] - worth[0]) / 2 if plan.pairs else worth[0]
            rating = int(np.clip(np.rint(wanted + noise * rng.normal()), 1, 5))
            answers.append(Answer(screen, rating, 20.0))
        found[annotator] = answers
    return found


TASTE = {"good": 4.0, "bad": 2.5, CONTROL: 1.2}


def test_complete_ratings_give_the_means_and_differences_of_the_complete_table() -> None:
    plan = plan_of()
    answered = rated(plan, TASTE)
    found = tables(plan, answered)
    for mean in means(plan, answered):
        whole = mean_interval(found[mean.source][None])
        assert (mean.neurons, mean.ratings) == (14, 42)
        assert mean.interval.estimate == pytest.approx(whole.estimate)
        assert (mean.interval.low, mean.interval.high) == pytest.approx((whole.low, whole.high))
    families = [holm_intervals([(found["bad"][None], found[other][None])]) for other in (CONTROL, "good")]
    for one, (whole,) in zip(differences(plan, answered), families, strict=True):
        assert one.difference.estimate == pytest.approx(whole.estimate)
        assert (one.difference.low, one.difference.high) == pytest.approx((whole.low, whole.high))
        assert one.difference.p == pytest.approx(whole.p)


@pytest.mark.parametrize("pairs", [False, True])
def test_a_known_taste_is_found_whatever_the_side(pairs: bool) -> None:
    plan = plan_of(pairs)
    found = {one.other: one.difference for one in differences(plan, rated(plan, TASTE, noise=0.4))}
    scale = 0.5 if pairs else 1.0
    assert found["good"].estimate == pytest.approx(scale * (TASTE["bad"] - TASTE["good"]), abs=0.3)
    assert found["good"].high < 0 < found[CONTROL].low
    assert found["good"].adjusted < 0.05


def test_equal_labels_count_for_both_and_are_no_pairs() -> None:
    files = {"good": FILES["good"], "bad": {**FILES["bad"], **{n: FILES["good"][n] for n in NEURONS[:10]}}}
    single = plan_of(files=files)
    (both,) = {len(item.sources[0]) for item in single.items if item.neuron == NEURONS[0] and "good" in item.sources[0]}
    assert both == 2
    found = tables(single, rated(single, TASTE))
    same = [single.neurons.index(neuron) for neuron in NEURONS[:10]]
    assert np.array_equal(found["good"][:, same], found["bad"][:, same])
    plan = plan_of(True, control=False, files=files)
    assert plan.equal == (("good", 10 / 14),)
    (mean,) = means(plan, rated(plan, TASTE, noise=0.0))
    assert (mean.neurons, mean.ratings, mean.interval.estimate) == (4, 12, -1.0)  # 3 - 0.75, rounded


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**16), st.booleans(), st.floats(0.0, 1.0))
def test_missing_ratings_neither_move_means_nor_break_intervals(seed: int, pairs: bool, share: float) -> None:
    plan, rng = plan_of(pairs), np.random.default_rng(seed)
    whole = rated(plan, TASTE, seed)
    answered = {name: [a for a in answers if rng.random() < share] for name, answers in whole.items()}
    for mean in means(plan, answered):
        table = tables(plan, answered)[mean.source]
        assert mean.ratings == np.count_nonzero(~np.isnan(table)) > 0
        assert mean.interval.estimate == pytest.approx(np.nanmean(table))
        assert mean.interval.low <= mean.interval.estimate + 1e-9
        assert mean.interval.estimate <= mean.interval.high + 1e-9
    for one in differences(plan, answered):
        assert np.isfinite([one.difference.low, one.difference.high, one.difference.p]).all()
    for person in reliability(plan, answered):
        assert person.repeated <= plan.repeats
    alpha(plan, answered)


def test_differences_are_of_neurons_that_have_both() -> None:
    plan = plan_of(control=False)
    answered = rated(plan, TASTE, noise=0.0)
    kept = [a for a in answered["ann"] if plan.items[a.screen.item] in plan.items[:9]]
    (one,) = differences(plan, {"ann": kept})
    assert one.difference.estimate == pytest.approx(2.0 - 4.0)


def test_annotators_are_told_apart_by_control_and_repeats() -> None:
    plan = plan_of()
    careful, careless = rated(plan, TASTE, noise=0.0), rated(plan, dict.fromkeys(TASTE, 3.0), noise=3.0)
    one, two = reliability(plan, {"ann": careful["ann"], "bob": careless["bob"]})
    assert (one.ratings, one.repeated, one.equal, one.apart) == (len(plan.items), 4, 1.0, 0.0)
    assert one.control == 1.0
    assert one.others == pytest.approx(3.0)  # 4 and 2, since 2.5 is rounded to even
    assert two.apart is not None
    assert two.apart > 0.5
    assert two.control == pytest.approx(two.others, abs=1.0)


def test_alpha_is_that_of_a_known_example() -> None:
    """Krippendorff 2011, "Computing Krippendorff's alpha-reliability", section C: ordinal 0.815 on these ratings."""
    example = [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, 0, 0, 0],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, 0, 3],
        [0, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, 0],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, 0],
    ]  # 0 where there is none
    files = {"good": {neuron: f"label {neuron}" for neuron in NEURONS[:12]}}
    plan = make_plan(files, NEURONS[:12], items=20, repeats=0, pairs=False, control=False, seed=0)
    answered: dict[str, list[Answer]] = {
        f"p{row}": [
            Answer(screen, ratings[screen.item], 1.0) for screen in screens(plan, f"p{row}") if ratings[screen.item]
        ]
        for row, ratings in enumerate(example)
    }
    assert alpha(plan, answered) == pytest.approx(0.815, abs=5e-4)
    assert alpha(plan, {"p0": answered["p0"]}) is None
    same: Answered = {name: [a._replace(rating=3) for a in answers] for name, answers in answered.items()}
    assert alpha(plan, same) is None


def rows_of(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))


def test_the_results_are_written_and_say_what_limits_them(tmp_path: Path) -> None:
    plan = plan_of()
    study = Study("shapes", "print", "consent", plan)
    settle(tmp_path, study)
    assert write_results(tmp_path) == "nothing has been rated yet"
    answers = study.answers(tmp_path, "ann")
    answers.consent()
    for number, answer in enumerate(rated(plan, TASTE)["ann"]):
        answers.rate(number, answer.rating)
    shown = write_results(tmp_path)
    assert "bad minus good" in shown
    assert "One annotator: the intervals say nothing about other people." in shown
    rows, mean, paired = (rows_of(tmp_path / f"{name}.csv") for name in ("ratings", "means", "differences"))
    assert len(rows) == len(plan.items) + 4
    assert {row["source"] for row in rows} == {"good", "bad", CONTROL}
    assert all(row["label"] for row in rows)
    assert len(mean) == 3
    assert [row["other"] for row in paired] == [CONTROL, "good"]


def test_pairs_are_written_with_their_share_of_equal_labels(tmp_path: Path) -> None:
    files = {"good": FILES["good"], "bad": {**FILES["bad"], **{n: FILES["good"][n] for n in NEURONS[:7]}}}
    plan = plan_of(True, files=files)
    study = Study("shapes", "print", "consent", plan)
    settle(tmp_path, study)
    for name, given_ in rated(plan, TASTE).items():
        answers = study.answers(tmp_path, name)
        answers.consent()
        for number, answer in enumerate(given_):
            answers.rate(number, answer.rating)
    assert re.search(r"\| bad to good +\| 50% +\| 7 +\| 21 ", write_results(tmp_path))
    assert [(row["source"], row["equal"]) for row in rows_of(tmp_path / "means.csv")] == [
        (CONTROL, ""),
        ("good", "0.5"),
    ]
    rows = rows_of(tmp_path / "ratings.csv")
    assert {row["source"] for row in rows} == {"bad"}
    assert {row["other"] for row in rows} == {"good", CONTROL}


def test_a_folder_without_a_rating_is_said(tmp_path: Path) -> None:
    for _ in range(2):
        with pytest.raises(DnRError, match="`folder` must be a folder that `dnr rate` wrote"):
            write_results(tmp_path)
        (tmp_path / "rating.json").write_text('{"stack": 1}')
