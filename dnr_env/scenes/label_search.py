"""Searches the labels of the algebra, "A or B" and "A but not C", for the best ones of a neuron under `grounded_k`.

What drawings say of every noun phrase is given. What real images say of a label is exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache, partial
from itertools import islice

import numpy as np

from dnr_env.algebra import text_of
from dnr_env.evidence.highest import highest
from dnr_env.evidence.probe import Probe, standardised
from dnr_env.evidence.texts import Texts, without
from dnr_env.interfaces import Embedder, Language
from dnr_env.scores import WORD_PRICE
from dnr_env.shapes.weighing import weighed
from dnr_env.structure import MOST_PHRASES, Phrase, Structure, parts_of
from dnr_env.types import FloatArray

_BASES = 50
"""The best noun phrases, to each of which every other one is joined."""
_EXCEPTED = 0.2
"""The best phrases with an exception are bases too: this many, as a share of the number of bases."""
_KEPT = 256  # arrays (v,) of simulations
_BLOCK = 512  # labels whose similarities are compared together, so that these stay in the processor's cache


class LabelSearch:
    """Finds labels made of the noun phrases of a vocabulary.

    Args:
        nouns: the v noun phrases.
        embedder: embeds them.
        language: says the labels.
        probe: the real images.
        bases: how many of the best noun phrases every other one is joined to.
    """

    def __init__(
        self, nouns: Sequence[str], embedder: Embedder, language: Language, probe: Probe, bases: int = _BASES
    ) -> None:
        self._nouns, self._language, self._probe, self._bases = nouns, language, probe, bases
        self._texts = texts = Texts(embedder, language.parts)
        self._lengths = self._lengths_of(nouns)
        self._place = {noun: place for place, noun in enumerate(nouns)}
        embedder.embed_texts(nouns)  # all together, which it remembers, as one by one takes far longer
        self._similarities = np.stack([texts.similarity(probe, noun).astype(np.float32) for noun in nouns])
        self._covered = texts.covered(probe, nouns).astype(np.float32)
        # A search at another price asks for most of these again.
        self._joined = lru_cache(_KEPT)(self._join)
        self._exceptions = lru_cache(_KEPT)(self._except)

    def values(
        self, goal: str, labels: Sequence[str], neuron: int, drawn: FloatArray, word_price: float = WORD_PRICE
    ) -> FloatArray:
        """(b,) the values of labels for a neuron under a score, from what drawings say of each noun phrase (v,)."""
        parts = parts_of(labels, self._texts.parts)
        of_parts = drawn[[self._place[text] for text in parts.texts]]
        simulation = self._texts.simulation(self._probe, labels, np.full(len(labels), neuron))
        return weighed(goal, parts.mean(of_parts), simulation, self._lengths_of(labels), word_price)

    def _lengths_of(self, labels: Sequence[str]) -> FloatArray:
        return np.array([self._language.length(label) for label in labels])

    def best(self, neuron: int, drawn: FloatArray, count: int, word_price: float = WORD_PRICE) -> list[str]:
        """The `count` best labels of a neuron, of which no two draw the same, best first.

        Every noun phrase is joined to each of the best ones, which may have the exception that suits them best. The
        best unions are then given the exceptions that suit them best.

        Args:
            neuron: its index.
            drawn: (v,) what drawings say of each noun phrase.
            count: the number of labels.
            word_price: what a word of a label costs.
        """
        simulation = _correlations(self._similarities, self._real(neuron))
        alone = weighed("grounded_k", drawn, simulation, self._lengths, word_price)
        plain = [Structure((Phrase(self._nouns[place]),)) for place in highest(alone, self._bases)]
        excepted = [self._excepted(label, neuron, word_price) for label in plain]
        with_exception = self._leading(excepted, neuron, drawn, self._bases, word_price)
        bases = list(dict.fromkeys([*plain, *with_exception[: round(_EXCEPTED * self._bases)]]))
        unions = _distinct([union for base in bases for union in self._unions(base, neuron, drawn, count, word_price)])
        unions = [self._excepted(union, neuron, word_price) for union in unions[: 2 * count]]
        return [text_of(label) for label in self._leading([*with_exception, *unions], neuron, drawn, count, word_price)]

    def _real(self, neuron: int) -> FloatArray:
        """(images,) float32 standardised activations."""
        return standardised(self._probe.real(np.array([neuron]))[0]).astype(np.float32)

    def _leading(
        self, labels: Sequence[Structure], neuron: int, drawn: FloatArray, count: int, word_price: float
    ) -> list[Structure]:
        """The best labels, of which no two draw the same."""
        values = self.values("grounded_k", [text_of(label) for label in labels], neuron, drawn, word_price)
        return _distinct(list(zip(values.tolist(), labels, strict=True)))[:count]

    def _unions(
        self, base: Structure, neuron: int, drawn: FloatArray, count: int, word_price: float
    ) -> list[tuple[float, Structure]]:
        """The best unions of one phrase with a noun phrase, and their values."""
        (phrase,) = base.phrases
        place = self._place[phrase.drawn]
        lengths = (self._language.length(text_of(base)) + self._lengths) / MOST_PHRASES
        together = (drawn[place] + drawn) / MOST_PHRASES
        values = weighed("grounded_k", together, self._joined(base, neuron), lengths, word_price)
        best = (other for other in highest(values, len(values)) if self._apart(phrase.drawn, self._nouns[other]))
        return [
            (float(values[other]), Structure((phrase, Phrase(self._nouns[other])))) for other in islice(best, count)
        ]

    def _apart(self, one: str, other: str) -> bool:
        """Whether neither noun phrase is true of all that the other draws."""
        return not (self._language.implied(one, other) or self._language.implied(other, one))

    def _join(self, base: Structure, neuron: int) -> FloatArray:
        """(v,) the simulations of the unions of one phrase with each noun phrase."""
        own, real = self._similarity(base.phrases), self._real(neuron)
        blocks = range(0, len(self._nouns), _BLOCK)
        return np.concatenate(
            [_correlations(np.maximum(own, self._similarities[start : start + _BLOCK]), real) for start in blocks]
        )

    def _excepted(self, label: Structure, neuron: int, word_price: float) -> Structure:
        """Give a label the exceptions that raise its value, one for each phrase at most, the best one first."""
        own = self._similarity(label.phrases)[None]
        best = float(_worth(_correlations(own, self._real(neuron)), np.zeros(1), word_price)[0])
        better: Structure | None = None
        for number, phrase in enumerate(label.phrases):
            if phrase.excluded is None:
                longer = self._lengths / len(label.phrases)
                worth = _worth(self._exceptions(label, number, neuron), longer, word_price)
                implied = partial(self._language.implied, phrase.drawn)
                place = next((at for at in highest(worth, len(worth)) if not implied(self._nouns[at])), None)
                if place is not None and worth[place] > best:
                    best = float(worth[place])
                    phrases = list(label.phrases)
                    phrases[number] = Phrase(phrase.drawn, self._nouns[place])
                    better = Structure(tuple(phrases))
        return label if better is None else self._excepted(better, neuron, word_price)

    def _except(self, label: Structure, number: int, neuron: int) -> FloatArray:
        """(v,) the simulations with each noun phrase as exception to one phrase; -inf where that changes nothing."""
        phrase, others = label.phrases[number], label.phrases[:number] + label.phrases[number + 1 :]
        own, real = self._similarity([phrase]), self._real(neuron)
        with_it, without_it = own, without(own, np.ones(len(own), bool))
        if others:
            with_it, without_it = (np.maximum(self._similarity(others), each) for each in (with_it, without_it))
        # Sums over the images change only where an exception covers them.
        less, less_square = without_it - with_it, np.square(without_it) - np.square(with_it)
        changes = self._covered @ np.stack([less * real, less, less_square], axis=1)
        towards = with_it @ real + changes[:, 0]
        total, squares = with_it.sum() + changes[:, 1], np.square(with_it).sum() + changes[:, 2]
        simulation = _scaled(towards, total, squares, len(real))
        simulation[changes[:, 1] == 0] = -np.inf
        return simulation

    def _similarity(self, phrases: Sequence[Phrase]) -> FloatArray:
        """(images,) float32 similarity of a label."""
        return self._texts.similarity(self._probe, text_of(Structure(tuple(phrases)))).astype(np.float32)


def _worth(simulation: FloatArray, longer: FloatArray, word_price: float) -> FloatArray:
    """What simulation adds to a value, less the price of the words by which a label is longer."""
    return weighed("grounded_k", np.zeros(1), simulation, longer, word_price)


def _correlations(similarities: FloatArray, real: FloatArray) -> FloatArray:
    """What `scores.correlation` gives of similarities (b, images) and standardised activations (images,), fast."""
    squares = np.einsum("ij,ij->i", similarities, similarities)
    return _scaled(similarities @ real, similarities.sum(axis=1), squares, len(real))


def _scaled(towards: FloatArray, total: FloatArray, squares: FloatArray, images: int) -> FloatArray:
    variance = squares / images - np.square(total / images)
    return np.divide(
        towards / images, np.sqrt(np.maximum(variance, 0)), out=np.zeros_like(towards), where=variance > 1e-6
    )


def _distinct(valued: Sequence[tuple[float, Structure]]) -> list[Structure]:
    """The labels, best first, without those that draw the same as a better one."""
    found: dict[frozenset[str], Structure] = {}
    for _, label in sorted(valued, key=lambda each: -each[0]):
        found.setdefault(frozenset(label.drawn), label)
    return list(found.values())
