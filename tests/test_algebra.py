"""Unions and exceptions as texts: what is read, in which order it is said, and what is passed over."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from dnr_env.algebra import structured, text_of
from dnr_env.errors import ConceptError
from dnr_env.interfaces import Language
from dnr_env.shapes.lexicon import FAMILIES, OPEN, VALUES, Values
from dnr_env.shapes.lexicon import text_of as noun_of
from dnr_env.shapes.parse import implied, length, normalise, passed_over
from dnr_env.structure import Phrase, Structure, one_phrase, parts_of
from dnr_env.types import BoolArray

SAYS = structured(Language(normalise, passed_over, length=length, implied=implied))
NOUNS = st.sampled_from(["red thing", "star", "striped thing", "blue star", "thing on grass"])
PHRASES = st.builds(Phrase, NOUNS, st.none() | NOUNS)


VALUES_OF = [[OPEN, *(v for v, (of, _) in enumerate(VALUES) if of == family)] for family in range(len(FAMILIES))]
CONCEPTS = st.tuples(*map(st.sampled_from, VALUES_OF)).filter(lambda values: set(values) != {OPEN})


@st.composite
def concepts_and_near_ones(draw: st.DrawFn) -> tuple[Values, Values]:
    """Two concepts. Half of the values of the second are those of the first or words above them, or are open."""
    first = draw(CONCEPTS)
    second = []
    for family, value in enumerate(first):
        above = [
            v for v in VALUES_OF[family][1:] if VALUES[value][1] in FAMILIES[family].hypernyms.get(VALUES[v][1], ())
        ]
        second.append(draw(st.sampled_from([OPEN, value, *above]) | st.sampled_from(VALUES_OF[family])))
    assume(set(second) != {OPEN})
    return first, tuple(second)


def showing(values: Values) -> BoolArray:
    """Which of all pictures show a concept: an array with one axis for the words of each family."""
    shows = np.ones([len(family.words) for family in FAMILIES], bool)
    for axis, (family, value) in enumerate(zip(FAMILIES, values, strict=True)):
        if value != OPEN:
            named = VALUES[value][1]
            allowed = np.array([word in family.hypernyms.get(named, (named,)) for word in family.words])
            shows &= allowed.reshape([-1 if other == axis else 1 for other in range(len(FAMILIES))])
    return shows


def said(phrase: Phrase) -> str:
    return text_of(Structure((phrase,)))


@given(PHRASES, PHRASES)
def test_a_canonical_text_is_read_as_itself_in_any_order(one: Phrase, other: Phrase) -> None:
    text = SAYS.normalise(f"{said(one)} or {said(other)}")
    assert text == SAYS.normalise(f"{said(other)} or {said(one)}") == SAYS.normalise(text)
    assert text == text_of(SAYS.parts(text))
    assert SAYS.passed_over(text) == ()
    structure = SAYS.parts(text)
    both = (one, other)
    whole = [p.drawn for p in both if p.excluded is None or implied(p.drawn, p.excluded)]  # with nothing left out
    said_already = {
        phrase.drawn for phrase in both if any(phrase.drawn != all_ and implied(phrase.drawn, all_) for all_ in whole)
    }
    assert set(structure.drawn) == {one.drawn, other.drawn} - said_already  # what is drawn is drawn once
    assert {phrase.excluded for phrase in structure.phrases} <= {one.excluded, other.excluded, None}
    assert not any(phrase.excluded and implied(phrase.drawn, phrase.excluded) for phrase in structure.phrases)


@given(NOUNS)
def test_a_noun_phrase_is_its_own_only_part(noun: str) -> None:
    assert SAYS.normalise(noun) == normalise(noun)
    assert SAYS.parts(noun) == one_phrase(noun) == Structure((Phrase(noun),))
    assert SAYS.parts(noun).plain
    assert not SAYS.parts(f"{noun} but not ring").plain


@pytest.mark.parametrize(
    ("text", "canonical", "ignored"),
    [
        ("A RED disc OR some star", "red circle or star", ()),
        ("star or red", "red thing or star", ()),
        ("star or star", "star", ()),
        ("star but  not  red or ring", "ring or star but not red thing", ()),
        ("star but not red or star", "star", ()),
        ("star but not star", "star", ("star",)),
        ("star but not pointed", "star", ("pointed",)),
        ("star but not red star", "star but not red star", ()),
        ("huge striped cross but not striped cross", "huge striped cross", ("striped", "cross")),
        ("red star but not warm but not big", "red star but not big thing", ("warm",)),
        ("red star but not star or ring but not red", "red star or ring but not red thing", ("star",)),
        ("star but not happy", "star", ("happy",)),
        ("happy or star", "star", ("happy",)),
        ("happy star or ring", "ring or star", ("happy",)),
        ("star but not red but not blue", "star but not red thing", ("blue",)),
        ("star but not happy but not blue", "star but not blue thing", ("happy",)),
        ("star or ring or red cross", "ring or star", ("red", "cross")),
        ("orange star", "orange star", ()),  # no union: the word only begins with "or"
    ],
)
def test_what_is_read_and_what_is_passed_over(text: str, canonical: str, ignored: tuple[str, ...]) -> None:
    assert SAYS.normalise(text) == canonical
    assert SAYS.passed_over(text) == ignored


@given(concepts_and_near_ones())
@settings(deadline=None, max_examples=300)
def test_an_exception_is_kept_if_and_only_if_some_picture_of_the_phrase_lacks_it(both: tuple[Values, Values]) -> None:
    """By brute force over every word of every family."""
    one, other = (noun_of(values) for values in both)
    always = bool((showing(both[1]) | ~showing(both[0])).all())
    assert implied(one, other) == always
    label = f"{one} but not {other}"
    assert SAYS.normalise(label) == (one if always else label)
    assert SAYS.parts(label) == Structure((Phrase(one, None if always else other),))
    assert bool(SAYS.passed_over(label)) == always


def test_a_language_that_knows_nothing_passes_only_the_phrase_itself_over() -> None:
    says = structured(Language(normalise, passed_over))
    assert says.normalise("red star but not star") == "red star but not star"
    assert says.normalise("red star but not red star") == "red star"


# --- length --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("star", 1),
        ("thing on grass", 1),
        ("small red pointed thing on grass", 4),
        ("star but not red striped thing", 3),
        ("red star but not star", 2),
        ("red star or thing on grass", 1.5),
        ("red star but not big striped thing or thing on grass but not red thing", 3),
        ("red star but not warm thing or thing on grass but not red thing", 2),
    ],
)
def test_the_length_of_a_label_is_the_mean_of_its_phrases_with_their_exceptions(text: str, words: float) -> None:
    assert SAYS.length(SAYS.normalise(text)) == words


@given(PHRASES, PHRASES)
def test_a_union_is_as_long_as_its_phrases_on_average(one: Phrase, other: Phrase) -> None:
    union = SAYS.parts(f"{said(one)} or {said(other)}")
    lengths = [SAYS.length(said(phrase)) for phrase in union.phrases]
    assert SAYS.length(text_of(union)) == pytest.approx(np.mean(lengths))
    assert all(words >= SAYS.length(phrase.drawn) for words, phrase in zip(lengths, union.phrases, strict=True))


def test_where_nothing_else_is_said_words_are_counted() -> None:
    plain = Language(str.lower)
    assert plain.length("a big dog") == 3
    says = structured(plain)
    assert says.length("a big dog or cat but not black cat") == (3 + 3) / 2


# --- what cannot be read -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", "happy or glad", "but not red", "or", "x" * 600 + " or y"])
def test_a_text_without_a_phrase_that_can_be_drawn_is_no_concept(text: str) -> None:
    for ask in (SAYS.normalise, SAYS.passed_over, SAYS.parts):
        with pytest.raises(ConceptError, match="`concept` must"):
            ask(text)


def test_a_language_without_unions_stays_as_it_is() -> None:
    plain = Language(normalise, passed_over)
    assert not plain.structured
    assert SAYS.structured
    assert plain.parts("red thing or star") == one_phrase("red thing or star")


def test_means_and_errors_over_parts() -> None:
    parts = parts_of(["star", "red thing or ring", "ring but not red thing"], SAYS.parts)
    assert parts.texts == ["star", "red thing", "ring", "ring"]
    assert parts.labels.tolist() == [0, 1, 1, 2]
    assert parts.mean(np.array([1.0, 2.0, 4.0, 8.0])).tolist() == [1, 3, 8]
    assert parts.mean(np.array([[1.0, 0], [2, 1], [4, 2], [8, 3]])).tolist() == [[1, 0], [3, 1.5], [8, 3]]
    assert parts.error(np.array([1.0, 3.0, 4.0, 8.0])).tolist() == [1, 2.5, 8]
