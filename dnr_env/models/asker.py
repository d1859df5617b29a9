"""Questions to a language model and its answers. Each answer is stored on arrival, so no question is paid for twice."""

from __future__ import annotations

import hashlib
import json
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from dnr_env.evidence.store import Store, address
from dnr_env.interfaces import Usage
from dnr_env.models.phrases import parse_phrases

_FORMAT = 'Answer with a JSON object {"phrases": ["…"]} and nothing else. Each phrase is a string of plain words.'
_REMINDER = "\nThe last answer could not be read. Answer briefly, with the JSON object alone."
SCHEMA = {
    "type": "object",
    "properties": {"phrases": {"type": "array", "items": {"type": "string"}}},
    "required": ["phrases"],
    "additionalProperties": False,
}
"""The JSON schema that an answer must match."""
_FORMAT_DIGEST = hashlib.sha256((_FORMAT + _REMINDER + json.dumps(SCHEMA)).encode()).hexdigest()[:8]
_SECOND_SAMPLE = 1_000_000  # added to the sample at a second attempt, because the same seed could fail the same way


class Question(NamedTuple):
    """A question to a language model."""

    system: str
    user: str
    sample: int
    """Distinguishes repeated samples of one question."""


class Answer(NamedTuple):
    """The answer to a question: its phrases, none if no attempt was usable, and the cost of all attempts."""

    phrases: list[str]
    usage: Usage


class Unusable(Exception):
    """The model sent an answer that cannot be used."""

    def __init__(self, reason: str, usage: Usage, text: str = "") -> None:
        super().__init__(reason)
        self.usage = usage
        self.text = text


class CutShort(Unusable):
    """The answer reached its token limit."""


@dataclass
class Counters:
    """Counts of the requests to a model so far."""

    made: int = 0
    """Requests sent."""
    remembered: int = 0
    """Questions whose answer was already stored."""
    retried: int = 0
    """Requests in `made` that repeat an earlier request."""
    failed: int = 0
    """Questions that received no usable answer."""
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    def add(self, made: int = 0, remembered: int = 0, retried: int = 0, failed: int = 0) -> None:
        """Add to the counts."""
        with self._lock:
            self.made += made
            self.remembered += remembered
            self.retried += retried
            self.failed += failed

    def __str__(self) -> str:
        return (
            f"{self.made} requests made ({self.retried} of them repeats), {self.remembered} answers remembered, "
            f"{self.failed} questions without a usable answer"
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

    def ask(self, questions: Sequence[Question]) -> list[Answer]:
        """Return one answer per question. Equal questions are asked once, and answered ones are not asked again.

        Raises:
            DnRError: the model cannot be reached or does not answer. Answers that arrived earlier are kept.
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
        return [self._answers[keys[question]] for question in questions]

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
        """Get the answer to one question, in at most two attempts, and store it.

        Args:
            question: the question.
            reply: maps a question and a token limit to a text and its cost. It may raise Unusable.
        """
        asked = question._replace(system=f"{question.system}\n{_FORMAT}")
        limit, usage, phrases = self.max_tokens, Usage(), None
        for attempt in range(2):
            if attempt:
                self.counters.add(retried=1)
                asked = asked._replace(system=asked.system + _REMINDER, sample=asked.sample + _SECOND_SAMPLE)
            try:
                text, used = reply(asked, limit)
                phrases = parse_phrases(text)
            except CutShort as cut:
                limit, used = 2 * limit, cut.usage
                phrases = parse_phrases(cut.text) if attempt else None
            except Unusable as problem:
                used = problem.usage
            usage = usage.plus(used)
            if phrases:
                break
        else:
            self.counters.add(failed=1)
        self._keep(question, Answer(phrases or [], usage))

    def _keep(self, question: Question, answer: Answer) -> None:
        key = self._key(question)
        self._answers[key] = answer
        if self.store is not None:
            value = {"phrases": answer.phrases, "usage": list(answer.usage)}
            self.store.put_many({key: json.dumps(value).encode()})


def _decoded(value: bytes) -> Answer | None:
    try:
        record = json.loads(value)
        return Answer([str(phrase) for phrase in record["phrases"]], Usage(*map(int, record["usage"])))
    except (ValueError, TypeError, KeyError):
        return None
