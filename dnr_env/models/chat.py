"""A language model behind the OpenAI protocol."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Any

from dnr_env.errors import DnRError, unknown
from dnr_env.evidence.store import Store
from dnr_env.interfaces import Usage
from dnr_env.models.asker import Asker, CutShort, Question, Unusable, cut_short, spent
from dnr_env.models.dialect import Dialect
from dnr_env.models.endpoint import Endpoint
from dnr_env.models.server_errors import Filtered, NotOffered, Refused, Unanswered
from dnr_env.models.thought import without_thought
from dnr_env.models.threads import spread

if TYPE_CHECKING:
    import openai

_log = logging.getLogger("dnr_env")

_CONTROL = Question("Answer with one word.", "Is the sky blue?", 0)
"""A question that no server has a reason to refuse."""


class Chat(Asker):
    """A model behind an OpenAI-compatible endpoint.

    The key is read from OPENAI_API_KEY when a request is made, and is kept nowhere.

    Args:
        model: the name of the model at the endpoint.
        base_url: the endpoint. None takes OPENAI_BASE_URL or, if that is not set, OpenAI's own endpoint.
        temperature: the sampling temperature.
        max_tokens: the longest answer, in tokens.
        effort: how much a reasoning model thinks: none, minimal, low, medium, high or xhigh. None leaves it to the
            model.
        thinking_tokens: the tokens that a reasoning model may think, in addition to `max_tokens`.
        timeout_s: seconds after which a request fails.
        retries: how often a request is repeated after a failure that may pass.
        patience_s: seconds for which a server that is busy or starts is waited for.
        concurrency: the maximum number of simultaneous requests.
        store: where answers are kept. None keeps them in memory only.

    Raises:
        DnRError: base_url is not an address, or contains a password.
    """

    def __init__(
        self,
        model: str,
        *,
        base_url: str | None = None,
        temperature: float = 0.3,
        max_tokens: int = 200,
        effort: str | None = None,
        thinking_tokens: int = 0,
        timeout_s: float = 60,
        retries: int = 2,
        patience_s: float = 300,
        concurrency: int = 8,
        store: Store | None = None,
    ) -> None:
        thought = f"|effort {effort}" if effort else ""
        super().__init__(f"{model}|temperature {temperature:g}{thought}", max_tokens + thinking_tokens, store)
        self.model = model
        self.concurrency = concurrency
        self.endpoint = Endpoint(
            model, base_url, timeout_s=timeout_s, retries=retries, patience_s=patience_s, counters=self.counters
        )
        self._dialect = Dialect(model, temperature, effort)
        self._proven: Dialect | None = None  # the form of a request that was answered
        self._finding = threading.Lock()

    def __repr__(self) -> str:
        return f"Chat({self.model!r}, base_url={self.endpoint.url!r})"

    def check(self) -> str:
        """Describe endpoint and model in one line. The endpoint is asked for its models, and no model for an answer.

        Raises:
            DnRError: the key is missing or rejected, the endpoint does not exist, or it does not list the model.
        """
        with self.endpoint.client() as client:
            names = self.endpoint.names(client)
        if names and self.model not in names:
            raise unknown("model", self.model, names)
        return f"{self.model} at {self.endpoint.url}" + ("" if names else ", which lists no models: not checked")

    def ready(self) -> None:
        """Check that the model answers questions.

        The list of models is free but not always conclusive: some servers answer to names that they do not list, and
        some keys may ask questions but not list models. Only in these cases a short question is asked.

        Raises:
            DnRError: the key is missing or rejected, or the endpoint or the model does not exist.
        """
        problem: DnRError | None = None
        with self.endpoint.client() as client:
            names = self.endpoint.names(client)
            if self.model not in names:
                try:
                    self._reply(client, _CONTROL, self.max_tokens)
                except Unusable:  # the model exists, because it has answered
                    pass
                except NotOffered as error:
                    problem = unknown("model", self.model, names) if names else error
        if problem:
            raise problem

    def _answer(self, questions: list[Question]) -> None:
        # Each call has a client of its own: no connection is shared by a fork, and no object keeps the key.
        with self.endpoint.client() as client:
            try:
                spread(
                    lambda question: self._settle(question, lambda asked, limit: self._reply(client, asked, limit)),
                    questions,
                    self.concurrency,
                )
            except DnRError as error:
                kept = sum(self._key(question) in self._answers for question in questions)
                if kept and self.store is not None:
                    error.args = (f"{error}; {kept} of {len(questions)} answers are in and kept for the next run",)
                raise

    def _reply(self, client: openai.OpenAI, question: Question, limit: int) -> tuple[str, Usage]:
        """Ask one question. What is wrong with this question alone is raised as Unusable."""
        while True:
            dialect = self._dialect
            problem: DnRError
            try:
                return self._request(client, dialect, question, limit)
            except (Filtered, Refused, Unanswered) as error:
                problem = error
            if isinstance(problem, Refused) and self._adapt(client, dialect, problem):
                continue
            if isinstance(problem, Unanswered) and (question == _CONTROL or not self._answers_another(client, dialect)):
                raise problem
            raise Unusable(str(problem), Usage(1), final=True)

    def _adapt(self, client: openai.OpenAI, dialect: Dialect, refusal: Refused) -> bool:
        """Return whether a refused question is worth asking again, because the form of the requests has changed.

        Raises:
            DnRError: the server refuses every form.
        """
        with self._finding:
            if self._dialect != dialect:  # another thread has changed it
                return True
            if self._proven == dialect:
                return False
            found = dialect.accepted(lambda tried: self._refusal(client, tried))
            if left_out := found.without - dialect.without:
                _log.warning(
                    "%s accepts questions only without %s: %s", self.endpoint.url, ", ".join(sorted(left_out)), refusal
                )
            self._dialect = self._proven = found
            return found != dialect

    def _refusal(self, client: openai.OpenAI, dialect: Dialect) -> Refused | None:
        try:
            self._request(client, dialect, _CONTROL.with_format(), self.max_tokens)
        except Refused as refusal:
            return refusal
        except (Unusable, Filtered):  # the server has accepted the form
            pass
        return None

    def _answers_another(self, client: openai.OpenAI, dialect: Dialect) -> bool:
        try:
            self._refusal(client.with_options(max_retries=0), dialect)
        except Unanswered:
            return False
        return True

    def _request(self, client: openai.OpenAI, dialect: Dialect, question: Question, limit: int) -> tuple[str, Usage]:
        request = dialect.request(question, limit)
        return self._read(self.endpoint.call(client.chat.completions.create, **request), dialect, limit)

    def _read(self, completion: Any, dialect: Dialect, limit: int) -> tuple[str, Usage]:
        if "choices" not in getattr(completion, "model_fields_set", ()):
            del completion  # a page that repeats the key would appear among the locals of a traceback
            raise self.endpoint.incompatible()
        self._proven = dialect
        tokens = completion.usage
        counts = [getattr(tokens, name, None) for name in ("prompt_tokens", "completion_tokens")]
        usage = Usage(1, *(count if isinstance(count, int) else 0 for count in counts))
        try:
            choice = completion.choices[0]
            message, reason = choice.message, choice.finish_reason
            text, declined = _text(message.content), message.refusal
        except (TypeError, IndexError, AttributeError):
            raise Unusable("the server sends no choices", usage) from None
        thought = any(getattr(message, name, None) for name in ("reasoning_content", "reasoning"))
        if reason == "length":
            if (thought or text) and not without_thought(text):
                raise CutShort(spent(limit), usage)
            raise CutShort(cut_short(limit), usage, text)
        if reason == "content_filter":
            raise Unusable("the server's filter stops the answer", usage, text)
        if declined:
            raise Unusable("the model declines to answer", usage, str(declined))
        if not without_thought(text):
            what = "the answer is a thought and nothing else" if thought or text else "the answer is empty"
            raise Unusable(what, usage)
        return text, usage


def _text(content: Any) -> str:
    """Return the text of an answer, which may be a list of parts. Parts that hold a thought are left out."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    texts = []
    for part in parts:
        kind = part.get("type", "text") if isinstance(part, dict) else "text"
        said = part.get("text") if isinstance(part, dict) else part
        if kind in ("text", "output_text") and isinstance(said, str):
            texts.append(said)
    return "".join(texts)
