"""Phrases that a weak model copies out of its question instead of answering it."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

_DATA = re.compile(r"<data>\n(.*?)\n</data>", re.DOTALL)
_LONG = 5  # the most words that a label is asked to have; a short line of data may be the answer
_NAME = re.compile(
    r"(?:(?:a|an|the|one|new|first|second|third|your|short|visual|image|plain) )*"
    r"(?:phrase|concept|caption|answer|candidate|data|json|word)s?(?: \d+)?"
)
"""What a part of the question is called."""
_EMPTY = frozenset(
    [
        "a",
        "an",
        "and",
        "at",
        "by",
        "for",
        "from",
        "in",
        "is",
        "it",
        "its",
        "of",
        "on",
        "or",
        "that",
        "the",
        "this",
        "to",
        "with",
    ]
)
"""Words that name nothing alone."""


def without_echoes(phrases: Sequence[str], instructions: str) -> list[str]:
    """Leave out the phrases that repeat their question, or that have no word that names anything.

    Repeated are two or more words in a row of the instructions, names of parts such as "phrase 1", and any of several
    lines of data that is longer than a label. What is short may be an answer, even if it is also among the data.

    Args:
        phrases: the phrases in one answer.
        instructions: the whole question, with its data between <data> and </data>.
    """
    lines = [line for block in _DATA.findall(instructions) for line in block.splitlines()]
    data = {_words(json.loads(line)) for line in lines}
    long = {text for text in data if len(text.split()) > _LONG} if len(data) > 1 else set()
    said = f" {_words(_DATA.sub(' . ', instructions))} "
    kept = []
    for phrase in phrases:
        words = _words(phrase)
        copied = " " in words and f" {words} " in said
        if not (copied or words in long or _NAME.fullmatch(words) or _EMPTY.issuperset(words.split())):
            kept.append(phrase)
    return kept


def _words(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.lower()))
