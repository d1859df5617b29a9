"""Mutations of the kinds UNITE and EXCEPT, by what the real images show, for any stack with a vocabulary."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from dnr_env.evidence.covers import Covers
from dnr_env.evidence.highest import highest
from dnr_env.evidence.prior import Prior
from dnr_env.evidence.probe import standardised
from dnr_env.evidence.texts import without
from dnr_env.evidence.vocabulary import Vocabulary
from dnr_env.interfaces import Kind, Language, MutationBatch, Mutator, Origin, Suggestion
from dnr_env.scores import correlation, drawn_share, price_of_words
from dnr_env.structure import MOST_PHRASES
from dnr_env.types import FloatArray, IntArray

SHORTLIST = 64
"""The number of words, of all in the vocabulary, whose labels are compared by what they promise."""


class WithUnions:
    """A mutator that answers requests of the kinds UNITE and EXCEPT itself, and leaves the others to another.

    Both kinds look at the search half of the real images. Let e be the neuron's excitement there, from 0 to 1.

    - UNITE, "A or B": shortlisted are the words whose similarity goes most with e, less its mean, on the images that A
      does not cover. They cover what A misses, and little that does not excite.
    - EXCEPT, "A but not B": shortlisted are the words whose similarity goes least with e on the images that A covers.
      Of these, only words that cover some image that A is similar to can be chosen.

    Both shortlists also weigh what a word would add to the price of the label. The answer is the untried label of the
    shortlist that promises most. The other mutator sees the first noun phrase of a label in place of the label, and
    answers with noun phrases.

    Args:
        own: answers the other requests.
        prior: what real images promise of a label; it knows the words and says the labels.
    """

    def __init__(self, own: Mutator, prior: Prior) -> None:
        self.own = own
        self.prior = prior
        self.vocabulary: Vocabulary = prior.vocabulary
        self.language: Language = prior.language
        self.origin: Origin = own.origin
        self._covers = Covers(self.vocabulary, self.language.parts)

    def mutate(self, batch: MutationBatch) -> list[Suggestion]:
        """See `dnr_env.interfaces.Mutator`."""
        answers: dict[int, Suggestion] = {}
        for row, kind in enumerate(batch.kinds):
            if kind in (Kind.UNITE, Kind.EXCEPT):
                answers[row] = self._answer(batch, row, self._united if kind == Kind.UNITE else self._excepted)
        others = [row for row in range(len(batch.kinds)) if row not in answers]
        if others:
            asked = batch.take(others)
            plain = [self.language.parts(concept).drawn[0] for concept in asked.concepts]
            answers.update(zip(others, self.own.mutate(replace(asked, concepts=plain)), strict=True))
        return [answers[row] for row in range(len(batch.kinds))]

    def _answer(self, batch: MutationBatch, row: int, labels: Callable[[str, int, str], Iterator[str]]) -> Suggestion:
        concept, tried = batch.concepts[row], {batch.concepts[row], *batch.tried[row]}
        found = (label for label in labels(concept, int(batch.neurons[row]), batch.score) if label not in tried)
        return Suggestion(next(found, concept), origin="model")

    def _united(self, concept: str, neuron: int, score: str) -> Iterator[str]:
        """Yield unions of a concept with a word, best first."""
        if len(self.language.parts(concept).phrases) > 1:
            return
        excited = self._covers.excited(neuron)
        missed = np.where(self._covers.shown([concept])[0], 0.0, excited - excited.mean())
        places = self._shortlist(concept, missed, score, 1 / MOST_PHRASES)
        own = self._covers.texts.similarity(self.vocabulary.probe, concept)
        united = np.maximum(own, self._similarities(places))
        labels = self._best(f"{concept} or {{}}", places, united, neuron, score)
        yield from (label for label in labels if len(self.language.parts(label).phrases) == MOST_PHRASES)

    def _excepted(self, concept: str, neuron: int, score: str) -> Iterator[str]:
        """Yield exceptions of a word to a concept, best first."""
        if not self.language.parts(concept).plain:
            return
        shown, excited = self._covers.shown([concept])[0], self._covers.excited(neuron)
        usual = excited[shown].sum() / max(1, shown.sum())
        places = self._shortlist(concept, np.where(shown, usual - excited, 0.0), score, 1.0)
        if not len(places):
            return
        own = self._covers.texts.similarity(self.vocabulary.probe, concept)
        left_out = self._covers.shown([self.vocabulary.concepts[place] for place in places])
        some = (left_out & (own > 0)).any(axis=1)
        yield from self._best(f"{concept} but not {{}}", places[some], without(own, left_out[some]), neuron, score)

    def _best(self, form: str, places: IntArray, similarities: FloatArray, neuron: int, score: str) -> Iterator[str]:
        """Yield labels that a form makes of words, by what they promise with the similarities (words, images)."""
        if not len(places):
            return
        real = self.vocabulary.probe.real(np.array([neuron]))
        simulation = correlation(similarities, np.broadcast_to(real, similarities.shape))
        labels = [self.language.normalise(form.format(self.vocabulary.concepts[place])) for place in places.tolist()]
        promised = self.prior.of_labels(labels, neuron, score, simulation)
        yield from (labels[i] for i in np.argsort(-promised, kind="stable").tolist())

    def _shortlist(self, concept: str, weights: FloatArray, score: str, share: float) -> IntArray:
        """(SHORTLIST or fewer,) places of the words whose similarities correlate most with weights, less their price.

        Args:
            concept: the label so far, whose noun phrases are left out.
            weights: (images,) high where a word should be similar to an image.
            score: the score, which values simulation and may price words.
            share: how much of the price of a word is added to that of the label.
        """
        towards = standardised(weights) @ self.vocabulary.probe.embeddings / len(weights)
        said = self.language.parts(concept).drawn
        alike = self.vocabulary.embeddings @ towards / self.vocabulary.spread
        price = share * price_of_words(score, self.vocabulary.lengths)
        rest = 1 - drawn_share(score) or 1.0  # the weight of simulation; without one, words have no price either
        near = highest(alike - price / rest, SHORTLIST + len(said)).tolist()
        return np.array([place for place in near if self.vocabulary.concepts[place] not in said], np.intp)[:SHORTLIST]

    def _similarities(self, places: IntArray) -> FloatArray:
        """(words, images) the standardised similarities of words."""
        embeddings = self.vocabulary.probe.embeddings
        texts = self.vocabulary.embeddings[places].astype(embeddings.dtype)
        return standardised(np.matmul(embeddings, texts[:, :, None])[..., 0])
