"""Labels of several parts in every table: the judge, the ranking, the summary and the pictures."""

from __future__ import annotations

import numpy as np
import pytest

from dnr_env import Rules
from dnr_env.evaluation.judge import IMAGES, agreement, judge
from dnr_env.evaluation.ranking import rank_neurons
from dnr_env.evaluation.report import drawn
from dnr_env.evaluation.summary import DRAWN, tables
from dnr_env.evaluation.verdicts import judge_labels, read_sources
from dnr_env.scores import GROUNDED_ALPHA, RANKED
from dnr_env.seeds import Purpose
from dnr_env.stack import Stack

UNION, EXCEPTION = "red thing or star", "star but not red thing"
NEURONS = ["planted:51", "planted:53"]


@pytest.mark.parametrize("neuron", NEURONS)
@pytest.mark.parametrize("score", ["grounded_k", "log_k"])
def test_a_verdict_follows_from_those_of_the_parts(saying: Stack, neuron: str, score: str) -> None:
    one, other, union, exception = judge(
        saying,
        neurons=[neuron] * 4,
        labels=["red thing", "star", UNION, EXCEPTION],
        rules=Rules(score=score),
        images=20,
    )
    share, price = (GROUNDED_ALPHA, 0.04) if score == "grounded_k" else (1.0, 0.0)
    for label, verdict, parts, words in ((UNION, union, [one, other], 1), (EXCEPTION, exception, [other], 2)):
        for name in ("auc", "mad", "activation_rate"):
            assert getattr(verdict, name) == pytest.approx(np.mean([getattr(part, name) for part in parts]))
            errors = [getattr(part, f"{name}_error") for part in parts]
            assert getattr(verdict, f"{name}_error") == pytest.approx(np.sqrt(np.sum(np.square(errors))) / len(parts))
        for name, real in (("value", "simulation"), ("judge_value", "judge_simulation")):
            of_drawings = [getattr(part, name) + price - (1 - share) * getattr(part, real) for part in parts]
            expected = np.mean(of_drawings) + (1 - share) * getattr(verdict, real) - price * words
            assert getattr(verdict, name) == pytest.approx(expected)
        which = saying.neurons.indices([neuron])
        assert verdict.simulation == saying.texts.simulation(saying.probes.held_out, [label], which)[0]
        assert verdict.simulation_error == saying.texts.simulation_error(saying.probes.held_out, [label], which)[0]
    assert union.judge_simulation not in (one.judge_simulation, other.judge_simulation, union.simulation)


def test_a_noun_phrase_is_judged_alike_in_both_languages(stack: Stack, saying: Stack) -> None:
    labels = ["red thing", "star"]
    plain, beside = (judge(one, neurons=NEURONS, labels=labels, rules=Rules(), images=10) for one in (stack, saying))
    assert plain == beside
    mixed = judge(saying, neurons=[*NEURONS, "planted:51"], labels=[*labels, UNION], rules=Rules(), images=10)
    assert mixed[:2] == plain


@pytest.mark.parametrize("score", ["grounded_k", "mean"])
def test_the_drawings_contribute_what_the_judge_says(saying: Stack, score: str) -> None:
    labels = [("planted:51", UNION), ("planted:53", "star"), ("planted:53", EXCEPTION)]
    records = judge_labels(saying, labels, rules=Rules(score=score), block=0)
    found = tables(saying, records, Rules(score=score))
    for name in DRAWN:
        assert found[name].shape == (1, IMAGES, 3)
        np.testing.assert_allclose(found[name][0].mean(axis=0), [record[name] for record in records], atol=1e-6)


def test_a_ranking_scores_the_mean_of_the_parts(saying: Stack) -> None:
    def row(label: str) -> dict[str, str | float]:
        (found,) = rank_neurons(saying, neurons=["planted:51"], labels={"planted:51": label}, rules=Rules())
        return found

    for name in RANKED:
        one, other, union = (float(row(label)[name]) for label in ("red thing", "star", UNION))
        assert union == pytest.approx((one + other) / 2, abs=2e-6)


def test_pictures_are_of_each_part_in_turn(saying: Stack) -> None:
    pictures = drawn(saying, UNION, 2)
    seeds = Purpose.JUDGE.seeds(0, len(pictures), 2).tolist()
    for i, picture in enumerate(pictures):
        text = ["red thing", "star"][i % 2]
        assert (picture == saying.judge_lab.images([text], [seeds[i // 2]])[0]).all()


def test_labels_that_people_give_are_read(saying: Stack) -> None:
    (source,) = read_sources({"planted:51": "a star or something red"}, saying)
    assert source.labels == [("planted:51", UNION)]
    assert agreement(saying, "planted:53", UNION).precision is None
    assert agreement(saying, "planted:53", "star").precision == 1
