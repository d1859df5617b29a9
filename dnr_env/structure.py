"""What a label is made of: the phrases that it joins, and what each of them leaves out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from dnr_env.types import FloatArray, IntArray

MOST_PHRASES = 2
"""The most phrases of a label, "A or B"."""


class Phrase(NamedTuple):
    """A noun phrase, which a generator draws, and the exception to it, which real images alone decide."""

    drawn: str
    excluded: str | None = None
    """C of "A but not C"; None where nothing is left out."""


class Structure(NamedTuple):
    """The one or two phrases of a label. A union has two, which draw different things."""

    phrases: tuple[Phrase, ...]

    @property
    def drawn(self) -> tuple[str, ...]:
        """The noun phrases that are drawn for the label."""
        return tuple([phrase.drawn for phrase in self.phrases])

    @property
    def plain(self) -> bool:
        """Whether it is one noun phrase, with nothing left out."""
        return len(self.phrases) == 1 and self.phrases[0].excluded is None


@lru_cache(1 << 16)  # texts; every one that is listed, valued or judged is taken apart
def one_phrase(text: str) -> Structure:
    """The structure of a text that is its own only part."""
    return Structure((Phrase(text),))


def words_in(text: str) -> float:
    """The length of a text in words."""
    return float(len(text.split()))


class Parts(NamedTuple):
    """The p noun phrases that are drawn for b labels."""

    texts: list[str]
    """(p) those of the first label, then those of the second, and so on."""
    labels: IntArray
    """(p,) the label of each."""
    counts: IntArray
    """(b,) the number of parts of each label."""

    def mean(self, values: FloatArray) -> FloatArray:
        """(b, ...) the mean over the parts of each label, of values (p, ...)."""
        if len(self.texts) == len(self.counts):
            return values
        sums = np.add.reduceat(values, np.cumsum(self.counts) - self.counts, axis=0)
        result: FloatArray = (sums / self.counts.reshape(-1, *[1] * (values.ndim - 1))).astype(values.dtype)
        return result

    def error(self, errors: FloatArray) -> FloatArray:
        """(b, ...) the standard errors of such means, from independent standard errors (p, ...)."""
        if len(self.texts) == len(self.counts):
            return errors
        return np.sqrt(self.mean(np.square(errors)) / self.counts.reshape(-1, *[1] * (errors.ndim - 1)))


def parts_of(labels: Sequence[str], parts: Callable[[str], Structure]) -> Parts:
    """Take labels apart by the `parts` of their language."""
    if parts is one_phrase:  # quick, as every step takes all that it lists apart
        return Parts(list(labels), np.arange(len(labels)), np.ones(len(labels), np.intp))
    drawn = [parts(label).drawn for label in labels]
    counts = np.array([len(texts) for texts in drawn], np.intp)
    return Parts([text for texts in drawn for text in texts], np.repeat(np.arange(len(drawn)), counts), counts)
