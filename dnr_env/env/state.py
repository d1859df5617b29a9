"""The state of n parallel episodes as arrays: what is listed and measured, what follows from it, and their ranking.

Only noun phrases are drawn. A union or an exception refers to the listed noun phrases that are its parts: their images
are its images, and its estimate follows from theirs.
"""

from __future__ import annotations

from collections import Counter

import numpy as np

from dnr_env.env.arrays import Arrays
from dnr_env.env.rules import Action
from dnr_env.interfaces import Kind
from dnr_env.scores import drawn_part, price_of_words
from dnr_env.scores import score as score_of
from dnr_env.types import BoolArray, FloatArray, IntArray


class State(Arrays):
    """What happens to n parallel episodes, and what follows from it."""

    @property
    def incumbent(self) -> IntArray:
        """(n,) the place in the master list of the concept with the highest posterior mean."""
        return self.order[:, 0].copy()

    @property
    def hopeful(self) -> IntArray:
        """(n,) the place of the candidate with the highest upper bound: posterior mean + deviation."""
        row, slot = np.arange(len(self.steps))[:, None], self.order[:, : self.rules.n_slots]
        best = (self.means[row, slot] + self.deviations[row, slot]).argmax(axis=1)
        places: IntArray = slot[row[:, 0], best]
        return places

    def join(
        self,
        rows: IntArray,
        embeddings: FloatArray,
        simulations: FloatArray,
        excited: FloatArray,
        lengths: FloatArray,
        cover: FloatArray,
        parts: IntArray | None = None,
    ) -> IntArray:
        """Append concepts to master lists, undrawn, and rank them.

        Args:
            rows: (b,) episodes. One that occurs more than once gets its concepts in their order.
            embeddings: (b, dim).
            simulations: (b,).
            excited: (b,) expected excitement, relative to that of the neuron's best concept.
            lengths: (b,) in words.
            cover: (b, 4) coverage, its error, precision, its error.
            parts: (b, MOST_PHRASES) the places of what is drawn for each, which are listed before it or join with it;
                -1 for none, as of a noun phrase. By default all are noun phrases.

        Returns:
            (b,) places of the concepts in the master lists.
        """
        places = self.size[rows] + occurrence(rows)
        self.concepts[rows, places] = embeddings
        self.simulations[rows, places] = simulations
        self.excited[rows, places] = excited
        self.prices[rows, places] = price_of_words(self.rules.score, lengths)
        self.cover[rows, places] = cover
        self.born[rows, places] = self.steps[rows]
        made = np.zeros(len(rows), bool)
        if parts is not None:
            self.parts[rows, places] = parts
            made = parts[:, 0] >= 0
        np.add.at(self.size, rows, 1)
        drawn_alone = rows[~made], places[~made]
        self._estimate(*drawn_alone)
        self.promises[drawn_alone] = self.means[drawn_alone]
        self._combine(rows[made], places[made])
        self._rank(rows)
        return places

    def record(
        self,
        rows: IntArray,
        places: IntArray,
        activations: FloatArray,
        embeddings: FloatArray,
        similarities: FloatArray,
    ) -> None:
        """Record s new images of b noun phrases, then score and rank them again, and every label that they are part of.

        Args:
            rows: (b,) distinct episodes.
            places: (b,) places in their master lists.
            activations: (b, s) normalised activations.
            embeddings: (b, s, dim) image embeddings.
            similarities: (b, s) cosine similarities with the exemplars of the row.
        """
        s = activations.shape[1]
        new = np.arange(s)
        row, place = rows[:, None], places[:, None]
        at = self.counts[row, place] + new
        self.activations[row, place, at] = activations
        self.similarities[row, place, at] = similarities
        self.counts[rows, places] += s
        self.drawn[rows, places] += embeddings.sum(axis=1)
        seen = self.image_count[row] + new
        self.image_embeddings[row, seen] = embeddings
        self.image_activations[row, seen] = activations
        self.image_count[rows] += s
        self.scores[rows, places], self.errors[rows, places] = score_of(
            drawn_part(self.rules.score),
            activations=self.activations[rows, places],
            counts=self.counts[rows, places],
            m=self.rules.images_per_measure,
            similarities=self.similarities[rows, places],
            controls=self.controls[rows],
        )
        self._estimate(rows, places)
        if self.structured:
            which, labels = np.nonzero((self.parts[rows] == places[:, None, None]).any(axis=2))
            self._combine(rows[which], labels)
        self._rank(rows)

    def _estimate(self, rows: IntArray, places: IntArray) -> None:
        """Compute the posteriors of b noun phrases."""
        score, counts = self.rules.score, self.counts[rows, places]
        excited, errors = self.excited[rows, places], self.errors[rows, places]
        found = self.calibration.posterior(
            score, excited, self.simulations[rows, places], self.scores[rows, places], errors, counts
        )
        self.means[rows, places] = found.mean - self.prices[rows, places]
        self.deviations[rows, places] = found.deviation
        self.unsettled[rows, places], self.reaches[rows, places] = self.calibration.movement(
            score, excited, errors, counts, self.rules.images_per_measure
        )

    def _combine(self, rows: IntArray, places: IntArray) -> None:
        """Compute what follows for b labels from their parts: images, scores and posteriors.

        The score of the drawings is the mean over the parts that are drawn.
        """
        if not len(rows):
            return
        row, parts = rows[:, None], self.parts[rows, places]
        held = parts >= 0
        for one, place in zip(rows.tolist(), places.tolist(), strict=True):
            of, image = self.images_of(one, place).T
            self.activations[one, place, : len(of)] = self.activations[one, of, image]
            self.similarities[one, place, : len(of)] = self.similarities[one, of, image]
        self.counts[rows, places] = np.where(held, self.counts[row, parts], 0).sum(axis=1)
        self.drawn[rows, places] = np.where(held[..., None], self.drawn[row, parts], 0).sum(axis=1)
        seen = held & (self.counts[row, parts] > 0)
        number = np.maximum(seen.sum(axis=1), 1)
        self.scores[rows, places] = np.where(seen, self.scores[row, parts], 0).sum(axis=1) / number
        squares = np.where(seen, np.square(self.errors[row, parts]), 0).sum(axis=1)
        self.errors[rows, places] = np.sqrt(squares) / number

        def joined(means: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
            unsettled, simulations = self.unsettled[row, parts], self.simulations[row, parts]
            of_parts, real = means[row, parts] + self.prices[row, parts], self.simulations[rows, places]
            (mean, deviation), moves = self.calibration.joined(
                self.rules.score, of_parts, unsettled, simulations, held, real
            )
            return mean - self.prices[rows, places], deviation, moves

        self.means[rows, places], self.deviations[rows, places], self.unsettled[rows, places] = joined(self.means)
        self.promises[rows, places] = joined(self.promises)[0]
        self.reaches[rows, places] = self.reaches[rows, self.next_drawn(rows, places)] / held.sum(axis=1)

    def _rank(self, rows: IntArray) -> None:
        """Rank the master lists of some episodes."""
        changed = np.unique(rows)
        # Equal means are common where a neuron saturates; the simulation on real images breaks the ties.
        self.order[changed] = np.lexsort((-self.simulations[changed], -self.means[changed]))

    def images_of(self, row: int, place: int) -> IntArray:
        """(images, 2) the images of a concept: the place of what was drawn, and which of its images, in turn."""
        parts = [part for part in self.parts[row, place].tolist() if part >= 0] or [place]
        drawn = [(image, turn) for turn, part in enumerate(parts) for image in range(self.counts[row, part])]
        return np.array([(parts[turn], image) for image, turn in sorted(drawn)], np.intp).reshape(-1, 2)

    def next_drawn(self, rows: IntArray, places: IntArray) -> IntArray:
        """(b,) the places of what a KEEP of b concepts draws: itself, or the part of a label with the fewest images."""
        parts = self.parts[rows, places]
        counts = np.where(parts >= 0, self.counts[rows[:, None], parts], np.iinfo(np.intp).max)
        fewest = parts[np.arange(len(rows)), counts.argmin(axis=1)]
        return np.where(fewest >= 0, fewest, places)

    def kinds(self, places: IntArray) -> BoolArray:
        """(n, kinds) which kinds of mutation can change the concepts at (n,) places.

        UNITE needs a label of one phrase, and EXCEPT one of a phrase without an exception. Both need a language that
        says such labels.
        """
        parts = self.parts[np.arange(len(places)), places]
        allowed = np.ones((len(places), len(Kind)), bool)
        allowed[:, Kind.UNITE] = self.structured & (parts[:, 1] < 0)
        allowed[:, Kind.EXCEPT] = self.structured & (parts[:, 0] < 0)
        return allowed

    def masks(self, slots: bool, kinds: bool) -> BoolArray:
        """(n, 4) which actions have an effect; with `slots` also which slots hold one; with `kinds` which kinds.

        STOP and MUTATE always have one. The kinds are those that can change the incumbent.
        """
        n = len(self.steps)
        actions = np.ones((n, len(Action)), bool)
        actions[:, Action.KEEP] = self.rules.budget - self.image_count >= self.rules.images_per_measure
        actions[:, Action.ADD] = self.user_left > 0
        parts = [actions]
        if slots:
            parts.append(np.arange(self.rules.n_slots) < self.size[:, None])
        if kinds:
            parts.append(self.kinds(self.incumbent))
        return np.concatenate(parts, axis=1)

    def note_gain(self, rows: IntArray, before: FloatArray) -> None:
        """Close a step of b rows. Their incumbents had the posterior means `before` when the step began."""
        gain = self.means[rows, self.incumbent[rows]] - before
        self.gains[rows, 1:] = self.gains[rows, :-1]
        self.gains[rows, 0] = gain
        self.since_gain[rows] = np.where(gain > 0, 0, self.since_gain[rows] + 1)
        self.steps[rows] += 1


def occurrence(rows: IntArray) -> IntArray:
    """(b,) how often each element occurred earlier in the array."""
    counter: Counter[int] = Counter()
    out = np.empty(len(rows), np.intp)
    for i, row in enumerate(rows.tolist()):
        out[i] = counter[row]
        counter[row] += 1
    return out
