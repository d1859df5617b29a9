"""Unions and exceptions that a mutator finds, against brute force on few words, and against planted truths."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from dnr_env.evidence.prior import Prior
from dnr_env.evidence.vocabulary import Vocabulary
from dnr_env.interfaces import Kind, MutationBatch, Origin, Suggestion
from dnr_env.propose.unite import SHORTLIST, WithUnions
from dnr_env.stack import Stack

WORDS = [
    "red thing", "star", "dotted thing", "blue thing", "ring", "thing on grass", "huge thing", "striped star", "cross",
    "red star", "warm thing", "round thing", "tiny ring", "plain thing",
]  # fmt: skip
SILENT = {"thing", "on", "but", "not"}
STARTS = ["red thing", "star", "warm thing", "ring", "star but not red thing"]
NEURONS = ["planted:51", "planted:53", "layer4:5", "planted:63"]


class FirstWord:
    """Answers with the first word that was not tried, and keeps what it is asked."""

    origin: Origin = "vocabulary"

    def __init__(self) -> None:
        self.batches: list[MutationBatch] = []

    def mutate(self, batch: MutationBatch) -> list[Suggestion]:
        self.batches.append(batch)
        return [
            Suggestion(next(word for word in WORDS if word not in {concept, *tried}))
            for concept, tried in zip(batch.concepts, batch.tried, strict=True)
        ]


def request(
    stack: Stack,
    neurons: Sequence[str],
    concepts: Sequence[str],
    kinds: Sequence[Kind | None],
    tried: Sequence[str] = (),
) -> MutationBatch:
    n = len(neurons)
    return MutationBatch(
        list(concepts),
        [[*tried, concept] for concept in concepts],
        np.zeros((n, 1, stack.lab.reader.dim), np.float32),
        np.zeros((n, 1), np.float32),
        np.zeros((n, 1), bool),
        [np.random.default_rng(0) for _ in neurons],
        stack.neurons.indices(neurons),
        lambda i: [],
        "grounded_k",
        list(kinds),
    )


def among(stack: Stack, words: Sequence[str]) -> Prior:
    """What real images promise of a few words."""
    vocabulary = Vocabulary(lambda: words, stack.embedder, stack.probes, stack.vocabulary.length)
    return replace(stack, vocabulary=vocabulary).prior


@pytest.fixture
def small(saying: Stack) -> WithUnions:
    """A mutator whose shortlist is the whole vocabulary."""
    assert len(WORDS) <= SHORTLIST
    return WithUnions(FirstWord(), among(saying, WORDS))


def promised(prior: Prior, stack: Stack, neuron: str, labels: Sequence[str], score: str) -> list[float]:
    """The mean of what real images say of the drawings of the parts, and the simulation, less the words; one by one."""
    which, share, price = stack.neurons.indices([neuron]), *((0.6, 0.04) if score == "grounded_k" else (1.0, 0.0))
    calibration, found = stack.calibration, []
    for label in labels:
        drawn = []
        for noun in stack.language.parts(label).drawn:
            simulation = stack.texts.simulation(stack.probe, [noun], which)
            drawn.append(calibration.prior(score, prior.relative([noun], which), simulation)[0].mean[0])
        constant, slope, _ = calibration.seen
        real = constant + slope * stack.texts.simulation(stack.probe, [label], which)[0]
        words = [len([word for word in said.split() if word not in SILENT]) for said in label.split(" or ")]
        found.append(float(share * np.mean(drawn) + (1 - share) * real - price * np.mean(words)))
    return found


def possible(stack: Stack, concept: str, kind: Kind) -> set[str]:
    """All labels that a kind can make of a concept of one phrase."""
    says, probe = stack.language, stack.probe
    structure = says.parts(concept)
    labels = set()
    for word in WORDS:
        if word in structure.drawn:
            continue
        if kind == Kind.EXCEPT:
            above = stack.texts.similarity(probe, concept) > 0
            if (stack.texts.covered(probe, [word])[0] & above).any() and not says.implied(concept, word):
                labels.add(says.normalise(f"{concept} but not {word}"))
        elif len(says.parts(f"{concept} or {word}").phrases) == 2:
            labels.add(says.normalise(f"{concept} or {word}"))
    return labels


@pytest.mark.parametrize("score", ["grounded_k", "log_k"])
@pytest.mark.parametrize("neuron", NEURONS)
@pytest.mark.parametrize("concept", STARTS)
@pytest.mark.parametrize("kind", [Kind.UNITE, Kind.EXCEPT])
def test_the_answers_are_the_best_by_brute_force_until_none_is_left(
    saying: Stack, small: WithUnions, neuron: str, concept: str, kind: Kind, score: str
) -> None:
    can = kind == Kind.UNITE or saying.language.parts(concept).plain
    expected = possible(saying, concept, kind) if can else set()
    found: list[str] = []
    for _ in range(len(expected)):
        (answer,) = small.mutate(replace(request(saying, [neuron], [concept], [kind], found), score=score))
        assert answer.origin == "model"
        found.append(answer.concept)
    assert set(found) == expected
    assert (np.diff(promised(small.prior, saying, neuron, found, score)) < 1e-6).all()  # equals come in any order
    (last,) = small.mutate(replace(request(saying, [neuron], [concept], [kind], found), score=score))
    assert last.concept == concept


def test_the_order_is_not_that_of_simulation(saying: Stack, small: WithUnions) -> None:
    """A label of more words, or whose parts promise less, comes after one of a lower simulation."""
    found: list[str] = []
    for _ in possible(saying, "red thing", Kind.UNITE):
        found.append(small.mutate(request(saying, ["layer4:5"], ["red thing"], [Kind.UNITE], found))[0].concept)
    which = saying.neurons.indices(["layer4:5"])
    simulations = [saying.texts.simulation(saying.probe, [label], which)[0] for label in found]
    assert (np.diff(simulations) > 0.01).any()


@pytest.mark.parametrize("concept", ["red star", "star", "star but not warm thing"])
def test_a_union_says_more_than_either_of_its_phrases(saying: Stack, small: WithUnions, concept: str) -> None:
    """No word is united with one that implies it, unless that has an exception."""
    found: list[str] = []
    while concept not in found:
        (answer,) = small.mutate(request(saying, ["planted:53"], [concept], [Kind.UNITE], found))
        found.append(answer.concept)
    (noun,) = saying.language.parts(concept).drawn
    others = {word for label in found for word in saying.language.parts(label).drawn} - {noun}
    nested = {"red star": {"red thing", "star", "warm thing"}, "star": {"striped star", "red star"}}
    assert others == {saying.language.normalise(word) for word in WORDS} - nested.get(concept, set()) - {noun}


def test_a_union_is_not_united_again(saying: Stack, small: WithUnions) -> None:
    for kind in (Kind.UNITE, Kind.EXCEPT):
        (answer,) = small.mutate(request(saying, ["planted:51"], ["red thing or star"], [kind]))
        assert answer.concept == "red thing or star"


def test_the_other_kinds_are_of_the_first_noun_phrase(saying: Stack, small: WithUnions) -> None:
    kinds = [Kind.SWAP, Kind.UNITE, None, Kind.EXCEPT, Kind.MODEL]
    concepts = ["ring or star", "red thing", "blue thing but not star", "star", "red thing but not star or ring"]
    batch = request(saying, ["planted:51", "planted:53", "layer4:5", "planted:63", "planted:7"], concepts, kinds)
    answers = small.mutate(batch)
    assert isinstance(small.own, FirstWord)
    (asked,) = small.own.batches
    assert asked.concepts == ["ring", "blue thing", "red thing"]
    assert asked.tried == [batch.tried[i] for i in (0, 2, 4)]
    assert asked.kinds == [Kind.SWAP, None, Kind.MODEL]
    assert [answers[i].concept for i in (0, 2, 4)] == ["red thing", "red thing", "star"]
    assert [answers[i].origin for i in (0, 2, 4)] == [None] * 3
    alone = [small.mutate(batch.take([i]))[0] for i in range(5)]
    assert alone == answers


@pytest.mark.parametrize(
    ("neuron", "concept", "kind", "label"),
    [
        ("planted:51", "red thing", Kind.UNITE, "dotted thing or red thing"),
        ("planted:53", "star", Kind.UNITE, "cross or star"),
        ("planted:54", "blue thing", Kind.UNITE, "blue thing or thing on water"),
        ("planted:63", "round thing", Kind.EXCEPT, "round thing but not solid thing"),
        ("planted:64", "warm thing", Kind.EXCEPT, "warm thing but not red thing"),
        ("planted:70", "pointed thing", Kind.EXCEPT, "pointed thing but not star"),
    ],
)
def test_the_rest_of_a_planted_formula_is_found_in_the_whole_vocabulary(
    saying: Stack, neuron: str, concept: str, kind: Kind, label: str
) -> None:
    for name in ("evidence", "informed"):
        (answer,) = saying.mutators[name].mutate(request(saying, [neuron], [concept], [kind]))
        assert answer.concept == label


def test_a_vocabulary_without_another_word_has_no_answer(saying: Stack) -> None:
    mutator = WithUnions(FirstWord(), among(saying, ["star"]))
    for kind in (Kind.UNITE, Kind.EXCEPT):
        (answer,) = mutator.mutate(request(saying, ["planted:53"], ["star"], [kind]))
        assert answer.concept == "star"


def test_its_origin_is_that_of_the_mutator_itself(saying: Stack) -> None:
    for origin in ("writer", "vocabulary"):
        own = FirstWord()
        own.origin = origin
        assert WithUnions(own, saying.prior).origin == origin
