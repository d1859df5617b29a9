"""Concepts to new concepts: by a language model that sees the evidence, or from a vocabulary without one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np

from dnr_env.errors import ConceptError
from dnr_env.models import Embedder, MutationBatch, Suggestion, Trial, prompts
from dnr_env.models.asker import Answer, Asker, Question
from dnr_env.types import FloatArray

Look = Callable[[Sequence[tuple[str, int]]], list[str]]
"""(concept, seed) pairs to captions of the images, one each."""

_BEST, _WORST, _IMAGES, _TRIED = 5, 3, 4, 100
_SAMPLES = 4  # answers to one question among which the episodes draw


class LanguageMutator:
    """Shows a language model the scores and the captions of extreme images, and asks for a move.

    Args:
        chat: the language model.
        normalise: text to concept; raises ConceptError where there is none.
        look: captions the images that a question speaks of; called once a batch, with distinct images.
    """

    def __init__(self, chat: Asker, normalise: Callable[[str], str], look: Look) -> None:
        self.chat = chat
        self.normalise = normalise
        self.look = look

    def mutate(self, batch: MutationBatch) -> list[Suggestion]:
        """(b) concepts, none of them tried, or the concept itself where all phrases of two answers were.

        Raises:
            DnRError: the language model cannot be used.
        """
        histories = [batch.history(i) for i in range(len(batch.concepts))]
        extremes = [_extremes(history) for history in histories]
        images = list(dict.fromkeys(pair for both in extremes for pairs in both for pair in pairs))
        captions = dict(zip(images, self.look(images), strict=True)) if images else {}

        questions = []
        for i, (history, pairs, rng) in enumerate(zip(histories, extremes, batch.rngs, strict=True)):
            move = list(prompts.MOVES)[int(rng.integers(len(prompts.MOVES)))]
            sample = 2 * int(rng.integers(_SAMPLES))  # the odd ones are for asking again
            exciting, dull = ([captions[pair] for pair in part] for part in pairs)
            order = sorted((trial for trial in history if np.isfinite(trial.score)), key=lambda trial: trial.score)
            scored = [prompts.Scored(trial.concept, trial.score, trial.error) for trial in order]
            worst = scored[: min(_WORST, len(scored) // 2)]
            questions.append(
                prompts.mutate(
                    batch.concepts[i],
                    move,
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
        again = [questions[i]._replace(sample=questions[i].sample + 1) for i in empty]
        for i, answer in zip(empty, self.chat.ask(again) if again else [], strict=True):
            found[i] = self._untried(answer, batch, i)
            usages[i] = usages[i].plus(answer.usage)
        chosen = [concept or same for concept, same in zip(found, batch.concepts, strict=True)]
        return [Suggestion(*pair) for pair in zip(chosen, usages, strict=True)]

    def _untried(self, answer: Answer, batch: MutationBatch, i: int) -> str | None:
        """The first phrase that is a concept, and a new one."""
        for phrase in answer.phrases:
            try:
                concept = self.normalise(phrase)
            except ConceptError:
                continue
            if concept != batch.concepts[i] and concept not in batch.tried[i]:
                return concept
        return None


def _extremes(history: Sequence[Trial]) -> tuple[list[tuple[str, int]], list[tuple[str, int]]]:
    """The most and the least exciting images, most extreme first, as (concept, seed)."""
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
    """Draws an untried concept of a vocabulary, likelier the nearer it is in embedding space. Needs no language model.

    Args:
        vocabulary: gives the concepts, normalised; called once, when first needed.
        embedder: texts to vectors of length one.
        temperature: of the softmax over cosines; small values keep to the nearest.
    """

    def __init__(self, vocabulary: Callable[[], Sequence[str]], embedder: Embedder, temperature: float = 0.05) -> None:
        self.vocabulary = vocabulary
        self.embedder = embedder
        self.temperature = temperature

    @cached_property
    def _known(self) -> tuple[list[str], FloatArray]:
        words = list(dict.fromkeys(self.vocabulary()))
        return words, self.embedder.embed_texts(words) if words else np.zeros((0, 1), np.float32)

    def mutate(self, batch: MutationBatch) -> list[Suggestion]:
        """(b) concepts of the vocabulary, none of them tried, or the concept itself where all were."""
        words, vectors = self._known
        asked = self.embedder.embed_texts(batch.concepts)
        suggestions = []
        for concept, vector, tried, rng in zip(batch.concepts, asked, batch.tried, batch.rngs, strict=True):
            noise = rng.gumbel(size=len(words))  # with it, the largest is a draw from the softmax
            taken = {concept, *tried}
            free = np.array([word not in taken for word in words], bool)
            choice = concept
            if free.any():
                utility = vectors @ vector / self.temperature + noise
                choice = words[int(np.argmax(np.where(free, utility, -np.inf)))]
            suggestions.append(Suggestion(choice))
        return suggestions
