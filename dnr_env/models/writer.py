"""Concepts from captions by a language model, as in Describe-and-Dissect (Bai et al., arXiv 2403.13771)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from dnr_env.errors import ConceptError
from dnr_env.interfaces import Origin, Summary, Usage
from dnr_env.models import prompts
from dnr_env.models.asker import Answer, Asker, Question
from dnr_env.models.phrases import clean, plain

_NOTHING = "the language model gave no answer that names a concept"


class LanguageWriter:
    """Simplifies each caption, summarises the captions several times in random order, and condenses lists.

    Each step asks its questions about all neurons at once.

    Args:
        chat: the language model.
        captions_limit: the number of distinct captions per neuron that are used, from the first.
    """

    origin: Origin = "writer"

    def __init__(self, chat: Asker, captions_limit: int = 30) -> None:
        self.chat = chat
        self.captions_limit = captions_limit
        self.fingerprint = f"language-writer|{prompts.VERSION}|captions {captions_limit}|{chat.fingerprint}"

    def summarise(
        self, captions: Sequence[Sequence[str]], count: int, rngs: Sequence[np.random.Generator]
    ) -> list[Summary]:
        """Return up to `count` distinct clean concepts for each of b neurons, with the cost of all their questions.

        A summary without a concept says why. A caption that cannot be shortened is shown whole, unless the server has
        refused it. A question that several neurons share counts for each of them.

        Raises:
            DnRError: the language model cannot be used.
        """
        given = [self._distinct(texts) for texts in captions]
        simplified = self._ask(prompts.simplify(text) for texts in given for text in texts)

        drawn: list[list[Question]] = []
        for texts, rng in zip(given, rngs, strict=True):
            said = [(simplified[prompts.simplify(text)], text) for text in texts]
            short = [answer.phrases[0] if answer.phrases else text for answer, text in said if not answer.refused]
            orders = [rng.permutation(len(short)) for _ in range(count)]
            drawn.append([prompts.summarise([short[i] for i in order], k) for k, order in enumerate(orders) if short])
        summaries = self._ask(question for questions in drawn for question in questions)

        long = {q: prompts.condense(things, q.sample) for q, a in summaries.items() if len(things := _things(a)) > 1}
        condensed = self._ask(long.values())

        results = []
        for texts, questions in zip(given, drawn, strict=True):
            second = [long[question] for question in questions if question in long]
            last = [condensed[long[q]] if q in long and condensed[long[q]].phrases else summaries[q] for q in questions]
            answers = [simplified[prompts.simplify(text)] for text in texts]
            answers += [summaries[q] for q in dict.fromkeys(questions)]
            answers += [condensed[q] for q in dict.fromkeys(second)]
            concepts = _concepts(last)
            failure = "" if concepts else _failure(last or answers)
            results.append(Summary(concepts, _total(answer.usage for answer in answers), failure))
        return results

    def _distinct(self, captions: Sequence[str]) -> list[str]:
        kept = dict.fromkeys(plain(caption) for caption in captions)
        kept.pop("", None)
        return list(kept)[: self.captions_limit]

    def _ask(self, questions: Iterable[Question]) -> dict[Question, Answer]:
        distinct = list(dict.fromkeys(questions))
        return dict(zip(distinct, self.chat.ask(distinct), strict=True)) if distinct else {}


def _failure(answers: Sequence[Answer]) -> str:
    """Say why no answer is a concept: the most frequent reason."""
    if not answers:
        return "no caption has any text"
    reasons = Counter(answer.failure or "the answer is no concept of one to eight words" for answer in answers)
    return reasons.most_common(1)[0][0]


def _things(answer: Answer) -> list[str]:
    """Split an answer into the things that it names."""
    return [part.strip() for phrase in answer.phrases for part in phrase.split(",") if part.strip()]


def _concepts(answers: Sequence[Answer]) -> list[str]:
    """Return the distinct concepts. If an answer still lists several things, the first one is taken."""
    kept: dict[str, None] = {}
    for answer in answers:
        for thing in _things(answer):
            try:
                kept.setdefault(clean(thing))
                break
            except ConceptError:
                continue
    return list(kept)


def _total(usages: Iterable[Usage]) -> Usage:
    total = Usage()
    for usage in usages:
        total = total.plus(usage)
    return total
