"""Unions and exceptions as texts: what is read, in which order it is said, and what is passed over."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnr_env.algebra import structured, text_of
from dnr_env.errors import ConceptError
from dnr_env.interfaces import Language
from dnr_env.shapes.parse import normalise, passed_over
from dnr_env.structure import Phrase, Structure, one_phrase, parts_of

SAYS = structured(Language(normalise, passed_over))
NOUNS = st.sampled_from(["red thing", "star", "striped thing", "blue star", "thing on grass"])
PHRASES = st.builds(Phrase, NOUNS, st.none() | NOUNS)


def said(phrase: Phrase) -> str:
    return text_of(Structure((phrase,)))


@given(PHRASES, PHRASES)
def test_a_canonical_text_is_read_as_itself_in_any_order(one: Phrase, other: Phrase) -> None:
    text = SAYS.normalise(f"{said(one)} or {said(other)}")
    assert text == SAYS.normalise(f"{said(other)} or {said(one)}") == SAYS.normalise(text)
    assert text == text_of(SAYS.parts(text))
    assert SAYS.passed_over(text) == ()
    structure = SAYS.parts(text)
    assert set(structure.drawn) == {one.drawn, other.drawn}  # what is drawn is drawn once
    assert {phrase.excluded for phrase in structure.phrases} <= {one.excluded, other.excluded, None}
    assert all(phrase.excluded != phrase.drawn for phrase in structure.phrases)


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
