"""Unions "A or B" and exceptions "A but not C" of noun phrases, as texts.

    label  := phrase [" or " phrase]
    phrase := noun phrase [" but not " noun phrase]

The noun phrases are those of a language that has no such words.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from typing import NamedTuple

from dnr_env.errors import ConceptError
from dnr_env.interfaces import Language
from dnr_env.structure import MOST_PHRASES, Phrase, Structure

_OR = re.compile(r"\bor\b", re.IGNORECASE)
_NOT = re.compile(r"\bbut\s+not\b", re.IGNORECASE)
_WORD = re.compile(r"[^\W_]+")
_KEPT = 1 << 16  # texts


class _Reading(NamedTuple):
    structure: Structure
    passed_over: tuple[str, ...]


def structured(language: Language) -> Language:
    """A language that can also say unions and exceptions of what a language of noun phrases says.

    The canonical text names the phrases in alphabetical order. Of two phrases that draw the same, the first counts,
    and one without an exception comes before one with it. A phrase is dropped if it implies the other one and that has
    no exception. What cannot be read is passed over, as unknown words are: a phrase that cannot be drawn beside one
    that can, an exception that cannot be drawn or that its phrase implies, a second exception, and a third phrase. The
    length of a label is the mean over its phrases of their lengths, each with its exception.
    """
    read = lru_cache(_KEPT)(partial(_read, language))

    def length(text: str) -> float:
        phrases = read(text).structure.phrases
        return sum(language.length(said) for phrase in phrases for said in phrase if said) / len(phrases)

    return replace(
        language,
        normalise=lambda text: text_of(read(text).structure),
        passed_over=lambda text: read(text).passed_over,
        parts=lambda text: read(text).structure,
        length=lru_cache(_KEPT)(length),
        structured=True,
    )


def text_of(structure: Structure) -> str:
    """The text of a label."""
    return " or ".join(
        phrase.drawn if phrase.excluded is None else f"{phrase.drawn} but not {phrase.excluded}"
        for phrase in structure.phrases
    )


def _read(language: Language, text: str) -> _Reading:
    """Read a text.

    Raises:
        ConceptError: none of its phrases can be drawn.
    """
    phrases: list[Phrase] = []
    unread: list[str] = []
    failed: ConceptError | None = None
    for part in _OR.split(text):
        if len(phrases) == MOST_PHRASES:
            unread += _WORD.findall(part)
            continue
        try:
            phrase, words = _read_phrase(language, _NOT.split(part))
        except ConceptError as error:
            failed = failed or error
            unread += _WORD.findall(part)
            continue
        phrases.append(phrase)
        unread += words
    if not phrases:
        raise failed or ConceptError(f"`concept` must name something (got {text[:80]!r})")
    return _Reading(Structure(_ordered(phrases, language.implied)), tuple(unread))


def _read_phrase(language: Language, texts: Sequence[str]) -> tuple[Phrase, list[str]]:
    """Read what is drawn and its exceptions, of which one counts, and return the words that are passed over.

    Raises:
        ConceptError: it cannot be drawn.
    """
    drawn, *exceptions = texts
    noun, unread = language.normalise(drawn), list(language.passed_over(drawn))
    excluded: str | None = None
    for exception in exceptions:
        said = _or_none(language.normalise, exception)
        if excluded is None and said is not None and not language.implied(noun, said):
            excluded = said
            unread += language.passed_over(exception)
        else:
            unread += _WORD.findall(exception)
    return Phrase(noun, excluded), unread


def _or_none(normalise: Callable[[str], str], text: str) -> str | None:
    try:
        return normalise(text)
    except ConceptError:
        return None


def _ordered(phrases: Sequence[Phrase], implied: Callable[[str, str], bool]) -> tuple[Phrase, ...]:
    first: dict[str, Phrase] = {}
    for phrase in sorted(phrases, key=lambda one: (one.drawn, one.excluded or "")):
        first.setdefault(phrase.drawn, phrase)
    whole = [phrase.drawn for phrase in first.values() if phrase.excluded is None]
    return tuple(
        phrase
        for drawn, phrase in first.items()
        if not any(drawn != other and implied(drawn, other) for other in whole)
    )
