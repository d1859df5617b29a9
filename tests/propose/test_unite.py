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


def ranked(stack: Stack, neuron: str, concept: str, kind: Kind) -> list[str]:
    """All labels that a kind can make of a concept, by simulation on the search half."""
    says, probe, which = stack.language, stack.probe, stack.neurons.indices([neuron])
    structure = says.parts(concept)
    labels = set()
    for word in WORDS:
        if word in structure.drawn:
            continue
        if kind == Kind.EXCEPT:
            above = stack.texts.similarity(probe, concept) > 0
            if (stack.texts.covered(probe, [word])[0] & above).any():
                labels.add(says.normalise(f"{concept} but not {word}"))
        else:
            labels.add(says.normalise(f"{concept} or {word}"))
    return sorted(labels, key=lambda label: -float(stack.texts.simulation(probe, [label], which)[0]))


@pytest.mark.parametrize("neuron", NEURONS)
@pytest.mark.parametrize("concept", STARTS)
@pytest.mark.parametrize("kind", [Kind.UNITE, Kind.EXCEPT])
def test_the_answers_are_the_best_by_brute_force_until_none_is_left(
    saying: Stack, small: WithUnions, neuron: str, concept: str, kind: Kind
) -> None:
    possible = kind == Kind.UNITE or saying.language.parts(concept).plain
    expected = ranked(saying, neuron, concept, kind) if possible else []
    found: list[str] = []
    for _ in range(len(expected)):
        (answer,) = small.mutate(request(saying, [neuron], [concept], [kind], found))
        assert answer.origin == "model"
        found.append(answer.concept)
    values = [saying.texts.simulation(saying.probe, [text], saying.neurons.indices([neuron]))[0] for text in found]
    assert set(found) == set(expected)
    assert (np.diff(values) < 1e-6).all()  # equal ones may come in any order
    (last,) = small.mutate(request(saying, [neuron], [concept], [kind], found))
    assert last.concept == concept


def test_a_union_is_not_united_again(saying: Stack, small: WithUnions) -> None:
    for kind in (Kind.UNITE, Kind.EXCEPT):
        (answer,) = small.mutate(request(saying, ["planted:51"], ["red thing or star"], [kind]))
        assert answer.concept == "red thing or star"


def test_the_other_kinds_are_of_the_first_noun_phrase(saying: Stack, small: WithUnions) -> None:
    kinds = [Kind.SWAP, Kind.UNITE, None, Kind.EXCEPT, Kind.MODEL]
    concepts = ["ring or star", "red thing", "blue thing but not star", "star", "red thing but not star or warm thing"]
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
