"""Questions to a language model and its answers. Each answer is stored on arrival, so no question is paid for twice."""

from __future__ import annotations

import hashlib
import json
import threading
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from dnr_env.errors import DnRError
from dnr_env.evidence.store import Store, address
from dnr_env.interfaces import Usage
from dnr_env.models.echoes import without_echoes
from dnr_env.models.phrases import parse_phrases

_FORMAT = (
    "Answer with a JSON object and nothing else. Its one key is phrases, and the value of this key is a list of {}. "
    "Each string is one phrase of plain words."
)
_REMINDER = "\nThe last answer could not be used. Answer briefly, with the JSON object alone, in words of your own."
_FORMAT_DIGEST = hashlib.sha256((_FORMAT + _REMINDER).encode()).hexdigest()[:8]
_SECOND_SAMPLE = 1_000_000  # added to the sample at a second attempt, because the same seed could fail the same way
_REASONS = 3  # the reasons for failures that are named
_HOPELESS = 16  # questions without any text for an answer, from the first on, after which no more are asked


class Question(NamedTuple):
    """A question to a language model."""

    system: str
    user: str
    sample: int
    """Distinguishes repeated samples of one question."""
    most: int = 1
    """The maximum number of phrases in an answer."""

    def with_format(self) -> Question:
        """Add the form of the answer. It contains nothing that could be copied as an answer."""
        count = "one string" if self.most == 1 else f"one to {self.most} strings"
        return self._replace(system=f"{self.system}\n{_FORMAT.format(count)}")


class Answer(NamedTuple):
    """The answer to a question, and the cost of all attempts to get it."""

    phrases: list[str]
    usage: Usage
    failure: str = ""
    """Why there are no phrases; empty if there are some."""
    refused: bool = False
    """Whether the question itself was refused, so that a question with the same text would be too."""


class Unusable(Exception):
    """The model sent an answer that cannot be used, or none to this question.

    Args:
        reason: completes the sentence "this question has no usable answer:".
        usage: the cost.
        text: what was sent.
        final: whether the question itself was refused, so that it is not repeated.
    """

    def __init__(self, reason: str, usage: Usage, text: str = "", final: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.usage = usage
        self.text = text
        self.final = final


class CutShort(Unusable):
    """The answer reached its token limit."""


def cut_short(limit: int) -> str:
    """Give the reason of an answer that ends at its limit in tokens."""
    return (
        f"the answer is cut short at {limit} tokens; raise `writer.max_tokens`, or `writer.thinking_tokens` if the "
        "model thinks before it answers"
    )


def spent(limit: int) -> str:
    """Give the reason of a thought that ends at the limit in tokens."""
    return f"all {limit} tokens were spent on thought; raise `writer.thinking_tokens`, or lower `writer.effort`"


@dataclass
class Counters:
    """Counts of the requests to a model so far."""

    made: int = 0
    """Requests sent."""
    remembered: int = 0
    """Questions whose answer was already stored."""
    retried: int = 0
    """Requests in `made` that repeat an earlier request."""
    answered: int = 0
    """Questions that received a usable answer."""
    stale: int = 0
    """Mutations that brought nothing new."""
    failures: Counter[str] = field(default_factory=Counter)
    """The questions that received no usable answer, by the reason."""
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    @property
    def failed(self) -> int:
        """Questions that received no usable answer."""
        return self.failures.total()

    def add(self, made: int = 0, remembered: int = 0, retried: int = 0, answered: int = 0, stale: int = 0) -> None:
        """Add to the counts."""
        with self._lock:
            self.made += made
            self.remembered += remembered
            self.retried += retried
            self.answered += answered
            self.stale += stale

    def fail(self, reason: str) -> None:
        """Count a question without a usable answer."""
        with self._lock:
            self.failures[reason] += 1

    def __str__(self) -> str:
        reasons = "; ".join(f"{count} because {reason}" for reason, count in self.failures.most_common(_REASONS))
        return (
            f"{self.made} requests made ({self.retried} of them repeats), {self.remembered} answers remembered, "
            f"{self.failed} questions without a usable answer"
            + (f" ({reasons})" if reasons else "")
            + (f", {self.stale} mutations that brought nothing new" if self.stale else "")
        )


class Asker(ABC):
    """Stores answers and repeats a question once if its answer is unusable. Subclasses connect to the model.

    Args:
        fingerprint: identifies everything but the question that an answer depends on.
        max_tokens: the longest answer, in tokens. A truncated answer is requested again with twice this limit.
        store: where answers are kept. None keeps them in memory only.
    """

    def __init__(self, fingerprint: str, max_tokens: int, store: Store | None) -> None:
        self.fingerprint = f"{fingerprint}|max_tokens {max_tokens}|format {_FORMAT_DIGEST}"
        self.max_tokens = max_tokens
        self.store = store
        self.counters = Counters()
        self._answers: dict[bytes, Answer] = {}
        self._failed: dict[bytes, Answer] = {}
        self._silent = 0
        self._lock = threading.Lock()

    def ask(self, questions: Sequence[Question]) -> list[Answer]:
        """Return one answer per question. Equal questions are asked once, and answered ones are not asked again.

        A question that gets no usable answer has an answer with a failure. It is not kept: the next call asks again.

        Raises:
            DnRError: the model cannot be reached, or has answered none of the first questions, now or in an earlier
                run. Answers that arrived earlier are kept.
        """
        keys = {question: self._key(question) for question in questions}
        unread = [key for key in keys.values() if key not in self._answers]
        if self.store is not None:
            for key, value in self.store.get_many(unread).items():
                if (answer := _decoded(value)) is not None:
                    self._answers[key] = answer
        missing = [question for question, key in keys.items() if key not in self._answers]
        self.counters.add(remembered=len(keys) - len(missing))
        if missing:
            self._answer(missing)
        return [self._answers.get(keys[question]) or self._failed[keys[question]] for question in questions]

    @abstractmethod
    def check(self) -> str:
        """Describe the model in one line, without loading it.

        Raises:
            DnRError: the model cannot be used.
        """

    def ready(self) -> None:
        """Check, before anything else is loaded, that the model answers questions.

        Raises:
            DnRError: it does not.
        """
        self.check()

    @abstractmethod
    def _answer(self, questions: list[Question]) -> None:
        """Call `_settle` for each of these distinct questions."""

    def _key(self, question: Question) -> bytes:
        return address(kind="chat", fingerprint=self.fingerprint, **question._asdict())

    def _settle(self, question: Question, reply: Callable[[Question, int], tuple[str, Usage]]) -> None:
        """Get the answer to one question, in at most two attempts, and store it if it is usable.

        Args:
            question: the question.
            reply: maps a question and a token limit to a text and its cost. It may raise Unusable.

        Raises:
            DnRError: the model has sent no text to any of the first questions.
        """
        asked = question.with_format()
        limit, usage, heard = self.max_tokens, Usage(), False
        for attempt in range(2):
            if attempt:
                self.counters.add(retried=1)
                asked = asked._replace(system=asked.system + _REMINDER, sample=asked.sample + _SECOND_SAMPLE)
            phrases: list[str] | None = None
            final = False
            try:
                text, used = reply(asked, limit)
                phrases = parse_phrases(text)
                failure = "the answer contains no phrase"
            except Unusable as problem:
                text, used, failure, final = problem.text, problem.usage, problem.reason, problem.final
                if isinstance(problem, CutShort):
                    limit *= 2
                    phrases = parse_phrases(text, cut=True) if attempt else None
            usage, heard = usage.plus(used), heard or bool(text)
            if phrases and not (phrases := without_echoes(phrases, f"{asked.system}\n{asked.user}")):
                failure = "the answer only repeats the question"
            if phrases:
                self.counters.add(answered=1)
                self._keep(self._key(question), Answer(phrases, usage))
                return
            if final:
                break
        self._failed[self._key(question)] = Answer([], usage, failure, final)
        self.counters.fail(failure)
        with self._lock:
            self._silent = 0 if heard else self._silent + 1
            hopeless = self._silent >= _HOPELESS and not (self.counters.answered or self.counters.remembered)
        if hopeless:
            raise DnRError(f"the language model has not answered one of {self._silent} questions: {failure}")

    def _keep(self, key: bytes, answer: Answer) -> None:
        self._answers[key] = answer
        if self.store is not None and answer.phrases:  # a question that failed is asked again by another run
            value = {"phrases": answer.phrases, "usage": list(answer.usage)}
            self.store.put_many({key: json.dumps(value).encode()})


def _decoded(value: bytes) -> Answer | None:
    try:
        record = json.loads(value)
        phrases = [str(phrase) for phrase in record["phrases"]]
        return Answer(phrases, Usage(*map(int, record["usage"]))) if phrases else None
    except (ValueError, TypeError, KeyError):
        return None
