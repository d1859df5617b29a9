"""What a language model is asked and answers. Every answer is kept as it arrives, so no question is paid twice."""

from __future__ import annotations

import hashlib
import json
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from dnr_env.models import Usage
from dnr_env.models.phrases import parse_phrases
from dnr_env.store import Store, address

_FORMAT = 'Answer with a JSON object {"phrases": ["…"]} and nothing else. Each phrase is a string of plain words.'
_REMINDER = "\nThe last answer could not be read. Answer briefly, with the JSON object alone."
SCHEMA = {
    "type": "object",
    "properties": {"phrases": {"type": "array", "items": {"type": "string"}}},
    "required": ["phrases"],
    "additionalProperties": False,
}
"""Of an answer."""
_FORMAT_DIGEST = hashlib.sha256((_FORMAT + _REMINDER + json.dumps(SCHEMA)).encode()).hexdigest()[:8]
_SECOND_SAMPLE = 1_000_000  # what a second try adds to the sample: the same seed could fail the same way


class Question(NamedTuple):
    """What a language model is asked."""

    system: str
    user: str
    sample: int
    """Tells apart repeated draws of one question."""


class Answer(NamedTuple):
    """What it answered: no phrases where nothing usable came, and the cost of all tries."""

    phrases: list[str]
    usage: Usage


class Unusable(Exception):
    """The model has answered, but not the question."""

    def __init__(self, reason: str, usage: Usage, text: str = "") -> None:
        super().__init__(reason)
        self.usage = usage
        self.text = text


class CutShort(Unusable):
    """The answer has run into the limit on its tokens."""


@dataclass
class Counters:
    """What has been asked of a model so far."""

    made: int = 0
    """Requests sent."""
    remembered: int = 0
    """Questions whose answer was there already."""
    retried: int = 0
    """Requests among `made` that repeat one."""
    failed: int = 0
    """Questions that no usable answer came to."""
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    def add(self, made: int = 0, remembered: int = 0, retried: int = 0, failed: int = 0) -> None:
        """Count further."""
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
    """Remembers answers, asks once more where one is unusable; how a model is reached is for the subclass.

    Args:
        fingerprint: names all that an answer depends on, besides the question.
        max_tokens: the longest answer, in tokens; one that is cut off is asked for again with twice as many.
        store: where answers are kept; in memory alone if None.
    """

    def __init__(self, fingerprint: str, max_tokens: int, store: Store | None) -> None:
        self.fingerprint = f"{fingerprint}|max_tokens {max_tokens}|format {_FORMAT_DIGEST}"
        self.max_tokens = max_tokens
        self.store = store
        self.counters = Counters()
        self._answers: dict[bytes, Answer] = {}

    def ask(self, questions: Sequence[Question]) -> list[Answer]:
        """One answer a question. Equal questions are asked once, and those ever answered not at all.

        Raises:
            DnRError: the model cannot be reached or will not answer; the answers that came before are kept.
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
        """One line about the model, found without loading it.

        Raises:
            DnRError: it cannot be used.
        """

    def ready(self) -> None:
        """Find out, before anything else is loaded, whether questions will be answered.

        Raises:
            DnRError: they will not.
        """
        self.check()

    @abstractmethod
    def _answer(self, questions: list[Question]) -> None:
        """Call `_settle` on each of these distinct questions."""

    def _key(self, question: Question) -> bytes:
        return address(kind="chat", fingerprint=self.fingerprint, **question._asdict())

    def _settle(self, question: Question, reply: Callable[[Question, int], tuple[str, Usage]]) -> None:
        """Get the answer to one question, with a second try, and keep it.

        Args:
            question: what is asked.
            reply: question and token limit to text and cost; may raise Unusable.
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
