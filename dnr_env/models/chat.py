"""A language model behind the OpenAI protocol."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from dnr_env.errors import DnRError, unknown
from dnr_env.evidence.store import Store
from dnr_env.interfaces import Usage
from dnr_env.models.asker import SCHEMA, Asker, CutShort, Question, Unusable
from dnr_env.models.endpoint import Endpoint, Filtered, NotOffered, Refused
from dnr_env.models.threads import spread

if TYPE_CHECKING:
    import openai

_log = logging.getLogger("dnr_env")


class Chat(Asker):
    """A model behind an OpenAI-compatible endpoint.

    The key is read from OPENAI_API_KEY when a request is made, and is kept nowhere.

    Args:
        model: the name of the model at the endpoint.
        base_url: the endpoint. None takes OPENAI_BASE_URL or, if that is not set, OpenAI's own endpoint.
        temperature: the sampling temperature.
        max_tokens: the longest answer, in tokens.
        timeout_s: seconds after which a request fails.
        retries: how often a request is repeated after a temporary failure.
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
        timeout_s: float = 60,
        retries: int = 2,
        concurrency: int = 8,
        store: Store | None = None,
    ) -> None:
        super().__init__(f"{model}|temperature {temperature:g}", max_tokens, store)
        self.model = model
        self.temperature = temperature
        self.concurrency = concurrency
        self.endpoint = Endpoint(model, base_url, timeout_s, retries, self.counters)
        self._optional = True  # whether the endpoint accepts the optional parameters, as far as is known
        self._limit_name = "max_tokens"

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
                    self._reply(client, Question("Answer with one word.", "Is the sky blue?", 0), self.max_tokens)
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
        while True:
            optional, limit_name = self._optional, self._limit_name
            parameters: dict[str, Any] = {limit_name: limit}
            if optional:
                schema = {"name": "phrases", "strict": True, "schema": SCHEMA}
                parameters["response_format"] = {"type": "json_schema", "json_schema": schema}
                parameters.update(seed=question.sample, temperature=self.temperature)
            messages = [{"role": "system", "content": question.system}, {"role": "user", "content": question.user}]
            try:
                create = client.chat.completions.create
                return self._read(self.endpoint.call(create, model=self.model, messages=messages, **parameters))
            except Filtered:
                raise Unusable("filtered", Usage(1)) from None
            except Refused as refusal:
                # Newer models call the limit by another name, and some servers accept no optional parameter.
                if "max_completion_tokens" in str(refusal) and limit_name == "max_tokens":
                    self._limit_name = "max_completion_tokens"
                elif optional:
                    self._optional = False
                    _log.warning(
                        "%s rejects a request; further requests are sent without schema, seed and temperature",
                        self.endpoint.url,
                    )
                else:
                    raise

    def _read(self, completion: Any) -> tuple[str, Usage]:
        if "choices" not in getattr(completion, "model_fields_set", ()):
            del completion  # a page that repeats the key would appear among the locals of a traceback
            raise self.endpoint.incompatible()
        tokens = completion.usage
        counts = [getattr(tokens, name, None) for name in ("prompt_tokens", "completion_tokens")]
        usage = Usage(1, *(count if isinstance(count, int) else 0 for count in counts))
        try:
            choice = completion.choices[0]
            text, refusal, reason = choice.message.content, choice.message.refusal, choice.finish_reason
        except (TypeError, IndexError, AttributeError):
            raise Unusable("no choices", usage) from None
        text = text if isinstance(text, str) else ""
        if reason == "length":
            raise CutShort("length", usage, text)
        if reason == "content_filter" or refusal or not text:
            raise Unusable("refused or empty", usage)
        return text, usage
