"""Mutators: a language model that sees the evidence, or random draws from a vocabulary."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np

from dnr_env.errors import ConceptError
from dnr_env.evidence.vocabulary import Vocabulary
from dnr_env.interfaces import MutationBatch, Origin, Suggestion, Trial
from dnr_env.models import prompts
from dnr_env.models.asker import Answer, Asker, Question
from dnr_env.propose.kinds import words_of
from dnr_env.types import FloatArray

Look = Callable[[Sequence[tuple[str, int]]], list[str]]
"""Maps (concept, seed) pairs to one caption per image."""

_BEST, _WORST, _IMAGES, _TRIED = 5, 3, 4, 100
_STALE = "the answers contain nothing that has not been tried"
_SAMPLES = 4  # number of answers to one question; each episode draws one of them


class LanguageMutator:
    """Shows a language model the scores and the captions of extreme images, and asks it for new concepts of a kind.

    Whether an answer is of that kind is not checked. Kinds without a question (`prompts.MOVES`) are left to others.

    Args:
        chat: the language model.
        normalise: maps a text to a concept. It raises ConceptError if the text is none.
        look: captions the images in the questions. It is called once per batch, with distinct images. An image whose
            caption is "" is left out.
    """

    origin: Origin = "writer"

    def __init__(self, chat: Asker, normalise: Callable[[str], str], look: Look) -> None:
        self.chat = chat
        self.normalise = normalise
        self.look = look

    def mutate(self, batch: MutationBatch) -> list[Suggestion]:
        """Return (b) untried concepts, or the concept itself and the reason if two answers contain no untried one.

        Raises:
            DnRError: the language model cannot be used.
        """
        histories = [batch.history(i) for i in range(len(batch.concepts))]
        extremes = [_extremes(history) for history in histories]
        images = list(dict.fromkeys(pair for both in extremes for pairs in both for pair in pairs))
        captions = dict(zip(images, self.look(images), strict=True)) if images else {}

        questions = []
        for i, (history, pairs, rng) in enumerate(zip(histories, extremes, batch.rngs, strict=True)):
            kind = batch.kinds[i]
            if kind is None:
                kind = list(prompts.MOVES)[int(rng.integers(len(prompts.MOVES)))]
            sample = 2 * int(rng.integers(_SAMPLES))  # odd samples are for second questions
            exciting, dull = ([captions[pair] for pair in part if captions[pair]] for part in pairs)
            order = sorted((trial for trial in history if np.isfinite(trial.score)), key=lambda trial: trial.score)
            scored = [prompts.Scored(trial.concept, trial.score, trial.error) for trial in order]
            worst = scored[: min(_WORST, len(scored) // 2)]
            questions.append(
                prompts.mutate(
                    batch.concepts[i],
                    kind,
                    best=scored[len(worst) :][::-1][:_BEST],
                    worst=worst,
                    tried=batch.tried[i][-_TRIED:],
                    exciting=exciting,
                    dull=dull,
                    sample=sample,
                )
            )
        return self._suggestions(batch, questions)

    def _suggestions(self, batch: MutationBatch, questions: list[Question]) -> list[Suggestion]:
        answers = self.chat.ask(questions)
        found = [self._untried(answer, batch, i) for i, answer in enumerate(answers)]
        empty = [i for i, concept in enumerate(found) if concept is None]
        usages = [answer.usage for answer in answers]
        failures = [""] * len(questions)
        again = [questions[i]._replace(sample=questions[i].sample + 1) for i in empty]
        for i, answer in zip(empty, self.chat.ask(again) if again else [], strict=True):
            found[i] = self._untried(answer, batch, i)
            usages[i] = usages[i].plus(answer.usage)
            if found[i] is None:
                failures[i] = answer.failure or _STALE
        if stale := failures.count(_STALE):
            self.chat.counters.add(stale=stale)
        chosen = [concept or same for concept, same in zip(found, batch.concepts, strict=True)]
        return [Suggestion(*row) for row in zip(chosen, usages, failures, strict=True)]

    def _untried(self, answer: Answer, batch: MutationBatch, i: int) -> str | None:
        """Return the first phrase that is a new concept."""
        for phrase in answer.phrases:
            try:
                concept = self.normalise(phrase)
            except ConceptError:
                continue
            if concept != batch.concepts[i] and concept not in batch.tried[i]:
                return concept
        return None


def _extremes(history: Sequence[Trial]) -> tuple[list[tuple[str, int]], list[tuple[str, int]]]:
    """Return the most and the least exciting images as (concept, seed), most extreme first."""
    images = [
        (float(activation), trial.concept, seed)
        for trial in history
        for activation, seed in zip(trial.activations, trial.seeds.tolist(), strict=True)
        if np.isfinite(activation)
    ]
    images.sort(key=lambda image: image[0])
    few = min(_IMAGES, len(images) // 2)
    pairs = [(concept, seed) for _, concept, seed in images]
    return pairs[len(pairs) - few :][::-1], pairs[:few]


class VocabularyMutator:
    """Draws an untried concept from a vocabulary. Concepts that are near in embedding space are more likely.

    If a kind of change is asked for, the concept is one of `kinds.words_of`.

    Args:
        vocabulary: the concepts and their embedder.
        temperature: the temperature of the softmax over cosines. Small values prefer the nearest concepts.
    """

    origin: Origin = "vocabulary"

    def __init__(self, vocabulary: Vocabulary, temperature: float = 0.05) -> None:
        self.vocabulary = vocabulary
        self.temperature = temperature

    @cached_property
    def _known(self) -> tuple[list[str], FloatArray]:
        words = list(dict.fromkeys(self.vocabulary.concepts))
        return words, self.vocabulary.embedder.embed_texts(words) if words else np.zeros((0, 1), np.float32)

    def mutate(self, batch: MutationBatch) -> list[Suggestion]:
        """Return (b) untried concepts of the vocabulary, or the concept itself if all of the kind were tried."""
        words, vectors = self._known
        asked = self.vocabulary.embedder.embed_texts(batch.concepts)
        suggestions = []
        for row, (concept, vector, rng) in enumerate(zip(batch.concepts, asked, batch.rngs, strict=True)):
            noise = rng.gumbel(size=len(words))  # the maximum after adding Gumbel noise is a draw from the softmax
            allowed = words_of(batch.kinds[row], concept, batch.tried[row], self.vocabulary)
            free = np.array([word in allowed for word in words], bool)
            choice = concept  # nobody was asked, so it is no failure if none is left
            if free.any():
                utility = vectors @ vector / self.temperature + noise
                choice = words[int(np.argmax(np.where(free, utility, -np.inf)))]
            suggestions.append(Suggestion(choice))
        return suggestions
