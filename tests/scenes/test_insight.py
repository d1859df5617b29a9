"""The simulated user of `scenes`, with random weights."""

from __future__ import annotations

import numpy as np
import pytest

from dnr_env.scenes.config import ScenesConfig
from dnr_env.scenes.insight import Insight
from dnr_env.scenes.outputs import presence
from dnr_env.scenes.planted import FORMULAS, Formula, activations, compare
from dnr_env.scenes.render import SceneRenderer
from dnr_env.scenes.stack import scenes_stack
from dnr_env.shapes.lexicon import ANYTHING
from dnr_env.shapes.outside import PICTURES
from dnr_env.stack import Stack


@pytest.fixture(scope="module")
def scenes(scene_weights: None) -> Stack:
    return scenes_stack("scenes", ScenesConfig())


class Told:
    """Pictures that excite neurons by what they truly show. A neuron has one of the planted formulas."""

    def __init__(self, *formulas: str) -> None:
        self.seeds = np.arange(PICTURES) + (1 << 50)
        scenes = SceneRenderer().resolve([ANYTHING] * PICTURES, self.seeds.tolist())
        read = [Formula.read(formula) for formula in formulas]
        self.excited = activations(presence(scenes).astype(np.float64), read).T


def test_the_user_names_what_truly_excites(scenes: Stack) -> None:
    says = Insight(Told("red circle", "white square | 0.8 blue circle"), scenes.language)  # type: ignore[arg-type]
    for neuron, label in enumerate(("red circle", "blue circle or white square")):
        assert label in {says(neuron, np.random.default_rng(seed)) for seed in range(5)}


def test_the_user_knows_planted_formulas_better_than_random_phrases_do(scenes: Stack) -> None:
    says = Insight(Told(*FORMULAS), scenes.language)  # type: ignore[arg-type]
    rng = np.random.default_rng(0)

    def f1(formula: str, label: str) -> float:
        agreement = compare(formula, scenes.language.parts(label))
        assert agreement.precision is not None
        assert agreement.recall is not None
        return 2 * agreement.precision * agreement.recall / max(agreement.precision + agreement.recall, 1e-9)

    random = rng.choice(scenes.vocabulary.concepts, size=len(FORMULAS)).tolist()
    said = [says(neuron, rng) for neuron in range(len(FORMULAS))]
    ours, theirs = ([f1(*pair) for pair in zip(FORMULAS, texts, strict=True)] for texts in (said, random))
    assert np.mean(ours) > np.mean(theirs) + 0.5


def test_answers_can_be_said_differ_and_follow_from_the_generator(scenes: Stack) -> None:
    assert scenes.insight is not None
    differ = []
    for neuron in scenes.neurons.indices(scenes.neurons.named("layer4:0-9")):
        answers = [scenes.insight(neuron, np.random.default_rng(seed)) for seed in range(6)]
        assert answers[0] == scenes.insight(neuron, np.random.default_rng(0))
        assert [scenes.language.normalise(answer) for answer in answers] == answers
        differ.append(len(set(answers)) > 1)
    assert np.mean(differ) > 0.5
