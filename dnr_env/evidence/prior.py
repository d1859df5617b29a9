"""What real images say of the value of concepts, before anything is drawn."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from dnr_env.evidence.calibration import Calibration, Estimate, relative
from dnr_env.evidence.vocabulary import Vocabulary
from dnr_env.interfaces import Language, Promises
from dnr_env.scores import drawn_share, price_of_words
from dnr_env.structure import parts_of
from dnr_env.types import FloatArray, IntArray

_LEADING = 64  # the fewest concepts of each neuron that are kept in memory, best first


class Prior:
    """The calibrated value of concepts that nothing was drawn of.

    Args:
        vocabulary: the concepts to choose from, and the real images.
        promises: the model of the real images.
        calibration: turns its predictions into values.
        language: says the concepts.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        promises: Promises,
        calibration: Calibration,
        language: Language,
    ) -> None:
        self.vocabulary = vocabulary
        self.language = language
        self.promises = promises
        self.calibration = calibration
        self._most_excited: dict[int, float] = {}
        self._leading: dict[tuple[int, str], list[tuple[str, float]]] = {}

    def most_excited(self, neurons: IntArray) -> FloatArray:
        """(b,) the highest expected excitement of any concept of the vocabulary, for each neuron."""
        for neuron in set(neurons.tolist()) - self._most_excited.keys():
            self._most_excited[neuron] = float(self._excited(neuron).max())
        return np.array([self._most_excited[neuron] for neuron in neurons.tolist()])

    def relative(self, texts: Sequence[str], neurons: IntArray) -> FloatArray:
        """(b,) the expected excitement of text i for neuron i, relative to the neuron's best concept.

        That of a union is the mean of its parts.
        """
        parts = parts_of(texts, self.language.parts)
        which = neurons[parts.labels]
        return parts.mean(relative(self.promises.excited(parts.texts, which), self.most_excited(which)))

    def values(self, texts: Sequence[str], neurons: IntArray, score: str) -> Estimate:
        """(b,) prior means and deviations of the value of noun phrase i for neuron i."""
        found = self.calibration.value(score, self.relative(texts, neurons), self.vocabulary.simulation(texts, neurons))
        return Estimate(found.mean - price_of_words(score, self._lengths(texts)), found.deviation)

    def of_labels(self, labels: Sequence[str], neuron: int, score: str, simulations: FloatArray) -> FloatArray:
        """(b,) prior means of the values of labels, unions and exceptions too, for one neuron.

        Args:
            labels: texts of `Language.normalise`.
            neuron: its index.
            score: one of `scores.SCORES`.
            simulations: (b,) their simulations on the searched images.
        """
        parts = parts_of(labels, self.language.parts)
        which = np.full(len(parts.texts), neuron)
        excited = relative(self.promises.excited(parts.texts, which), self.most_excited(which))
        drawn = self.calibration.prior(score, excited, self.vocabulary.simulation(parts.texts, which))[0].mean
        real = self.calibration.prior(score, np.zeros(len(labels)), simulations)[1].mean
        share = drawn_share(score)
        return share * parts.mean(drawn) + (1 - share) * real - price_of_words(score, self._lengths(labels))

    def _lengths(self, texts: Sequence[str]) -> FloatArray:
        return np.array([self.language.length(text) for text in texts])

    def ranked(self, neuron: int, score: str) -> FloatArray:
        """(concepts,) prior mean of the value of every concept of the vocabulary, for one neuron."""
        excited = self._excited(neuron)
        most = self._most_excited.setdefault(neuron, float(excited.max()))
        simulations = self.vocabulary.simulations(neuron)
        means = self.calibration.value(score, relative(excited, np.array(most)), simulations).mean
        return means - price_of_words(score, self.vocabulary.lengths)

    def leading(self, neuron: int, score: str, count: int) -> list[tuple[str, float]]:
        """The `count` concepts of the vocabulary with the highest prior means, and these means, best first."""
        words, kept = self.vocabulary.concepts, self._leading.get((neuron, score), [])
        if len(kept) < min(count, len(words)):
            means = self.ranked(neuron, score)
            best = np.argsort(-means, kind="stable")[: max(count, _LEADING)].tolist()
            kept = self._leading[neuron, score] = [(words[i], float(means[i])) for i in best]
        return kept[:count]

    def highest_unlisted(self, neuron: int, score: str, listed: Collection[str]) -> float:
        """The highest prior mean of a concept of the vocabulary that is not listed; -inf if all are."""
        leading = self.leading(neuron, score, len(listed) + 1)
        return next((mean for text, mean in leading if text not in listed), -np.inf)

    def _excited(self, neuron: int) -> FloatArray:
        concepts = self.vocabulary.concepts
        return self.promises.excited(concepts, np.full(len(concepts), neuron))
