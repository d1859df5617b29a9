"""Edits of a concept: an answer is of the kind that was asked for, whichever mutator of the embedded world is asked."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from requests_of_neurons import requests

from dnr_env import load_stack
from dnr_env.interfaces import Kind, MutationBatch, Suggestion
from dnr_env.shapes import edits, lexicon
from dnr_env.shapes.lexicon import ANYTHING, FAMILIES, MAX_NAMED, OPEN, VALUES, WITHHELD
from dnr_env.shapes.parse import values_of
from dnr_env.stack import Stack

EDITS = (Kind.NARROW, Kind.BROADEN, Kind.SWAP)
MUTATORS = ("evidence", "random", "linear", "informed")
LONG = ("small red striped star", "small red striped star on black", "big warm lined round thing on plain")


def shown(text: str) -> list[set[str]]:
    """The words of each family that the images of a concept may show, from the tables as they are written."""
    named = [VALUES[value][1] if value != OPEN else None for value in values_of(text)]
    return [
        set(family.words) if word is None else set(family.hypernyms.get(word, (word,)))
        for family, word in zip(FAMILIES, named, strict=True)
    ]


def is_within(inner: str, outer: str) -> bool:
    """Whether every image of one concept could be one of another."""
    return all(a <= b for a, b in zip(shown(inner), shown(outer), strict=True))


def relation(before: str, after: str) -> Kind:
    """What kind of change leads from a concept to another."""
    assert shown(before) != shown(after)
    if is_within(after, before):
        return Kind.NARROW
    return Kind.BROADEN if is_within(before, after) else Kind.SWAP


def possible(concept: str, kind: Kind, withheld: frozenset[str] = frozenset()) -> set[str]:
    """Every concept of the vocabulary that differs from a concept in one family, in a kind. SWAP keeps the family."""
    values = values_of(concept)
    found = set()
    for family in range(len(FAMILIES)):
        for value in (OPEN, *(v for v, (f, word) in enumerate(VALUES) if f == family and word not in withheld)):
            edited = (*values[:family], value, *values[family + 1 :])
            if edited != values and 1 <= sum(v != OPEN for v in edited) <= MAX_NAMED:
                found.add(lexicon.text_of(edited))
    return {text for text in found if relation(concept, text) == kind}


def batch_of(
    concepts: Sequence[str], tried: Sequence[list[str]], kinds: Sequence[Kind | None], seeds: Sequence[int]
) -> MutationBatch:
    return dataclasses.replace(
        requests(seeds, "red", images=20),
        concepts=list(concepts),
        tried=list(tried),
        kinds=list(kinds),
        neurons=np.array(seeds) % 300,
    )


concepts_to_change = st.sampled_from((*lexicon.vocabulary(), ANYTHING))


def test_every_change_of_a_family_has_the_kind_of_its_images() -> None:
    for family in range(len(FAMILIES)):
        named = [v for v, (f, _) in enumerate(VALUES) if f == family]
        for before in (OPEN, *named):
            for after in (OPEN, *named):
                texts = [
                    lexicon.text_of(tuple(value if f == family else OPEN for f in range(len(FAMILIES))))
                    for value in (before, after)
                ]
                expected = None if before == after else relation(*texts)
                assert edits.kind_of(before, after) == expected


@given(concepts_to_change, st.sampled_from(EDITS))
@settings(deadline=None, max_examples=200)
def test_the_neighbours_of_a_kind_are_all_there_are(concept: str, kind: Kind) -> None:
    found = edits.neighbours(values_of(concept), kind)
    assert len(set(found)) == len(found)
    assert set(found) == possible(concept, kind)


@pytest.mark.parametrize("name", ["shapes", "shapes-withheld"])
@pytest.mark.parametrize("mutator", MUTATORS)
@given(st.lists(st.tuples(concepts_to_change, st.sampled_from(EDITS)), min_size=1, max_size=4), st.integers(0, 1 << 20))
@settings(deadline=None, max_examples=25)
def test_answers_are_of_the_kind_untried_and_nobody_elses_affair(
    mutator: str, name: str, asked: list[tuple[str, Kind]], seed: int
) -> None:
    withheld = WITHHELD if name == "shapes-withheld" else frozenset()
    words = set(lexicon.vocabulary(withheld))
    rng = np.random.default_rng(seed)
    texts, kinds = [text for text, _ in asked], [kind for _, kind in asked]
    sets = [possible(text, kind, withheld) & words for text, kind in asked]
    tried = [[text, *(t for t in sorted(of) if rng.random() < 0.8)] for text, of in zip(texts, sets, strict=True)]
    seeds = [seed + i for i in range(len(asked))]
    ask = load_stack(name).mutators[mutator].mutate
    answers = ask(batch_of(texts, tried, kinds, seeds))
    for text, of, known, answer in zip(texts, sets, tried, answers, strict=True):
        if set(shown_words(text)) & withheld:
            continue  # only a user can name a withheld word
        left = of.difference(known)
        assert answer.concept in left if left else answer.concept == text
    for i in range(len(asked)):
        one = slice(i, i + 1)
        assert ask(batch_of(texts[one], tried[one], kinds[one], seeds[one])) == answers[one]


def shown_words(text: str) -> list[str]:
    return [VALUES[value][1] for value in values_of(text) if value != OPEN]


@pytest.mark.parametrize("mutator", MUTATORS)
@pytest.mark.parametrize("kind", EDITS)
def test_with_all_of_a_kind_tried_the_concept_comes_back(stack: Stack, mutator: str, kind: Kind) -> None:
    for text in ("red star", "warm thing", "tiny red star", "patterned thing on sky"):
        every = sorted(possible(text, kind))
        (answer,) = stack.mutators[mutator].mutate(batch_of([text], [[text, *every]], [kind], [3]))
        assert answer == Suggestion(text)
        for left in every[:3]:
            tried = [text, *(t for t in every if t != left)]
            (answer,) = stack.mutators[mutator].mutate(batch_of([text], [tried], [kind], [3]))
            assert answer == Suggestion(left)


@pytest.mark.parametrize("mutator", MUTATORS)
def test_a_concept_that_is_too_long_only_gets_broader(stack: Stack, mutator: str) -> None:
    for text in LONG:
        for kind in EDITS:
            (answer,) = stack.mutators[mutator].mutate(batch_of([text], [[text]], [kind], [0]))
            named = sum(value != OPEN for value in values_of(answer.concept))
            before = sum(value != OPEN for value in values_of(text))
            if kind != Kind.BROADEN or answer.concept == text:
                assert answer.concept == text
                # Those that answer with words of the vocabulary cannot halve the way.
                assert kind != Kind.BROADEN or (before - 1 > MAX_NAMED and mutator in ("linear", "informed"))
            else:
                assert named == before - 1
                assert relation(text, answer.concept) == kind


@pytest.mark.parametrize("mutator", MUTATORS)
@pytest.mark.parametrize("kind", EDITS)
def test_a_kind_is_the_mutators_own_choice_among_fewer(stack: Stack, mutator: str, kind: Kind) -> None:
    """It answers as it would without a kind if everything of another kind had been tried."""
    texts = ["red star", "warm lined thing", "big thing on sky", "round thing"] * 5
    seeds = list(range(len(texts)))
    every = set(stack.vocabulary.concepts)
    others = [sorted(every - possible(text, kind)) for text in texts]
    asked = stack.mutators[mutator].mutate(batch_of(texts, [[t] for t in texts], [kind] * len(texts), seeds))
    free = stack.mutators[mutator].mutate(batch_of(texts, others, [None] * len(texts), seeds))
    assert asked == free
    assert len({answer.concept for answer in asked}) > 4


@pytest.mark.parametrize("mutator", MUTATORS)
def test_model_is_the_same_whoever_is_asked(stack: Stack, mutator: str) -> None:
    texts, kinds = ["red star", "round thing", "red star"], [Kind.MODEL, Kind.NARROW, Kind.MODEL]
    batch = batch_of(texts, [[text] for text in texts], kinds, [0, 1, 2])
    answers = stack.mutators[mutator].mutate(batch)
    alone = batch_of(texts, [[text] for text in texts], [None] * 3, [0, 1, 2])
    informed = stack.mutators["informed"].mutate(alone)
    assert [answers[i].concept for i in (0, 2)] == [informed[i].concept for i in (0, 2)]
    assert {answers[i].origin or stack.mutators[mutator].origin for i in (0, 2)} == {"model"}
    assert answers[1].concept in possible("round thing", Kind.NARROW)
