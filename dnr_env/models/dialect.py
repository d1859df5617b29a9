"""What a server accepts in a request. Servers differ in the optional parts of the OpenAI protocol."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from dnr_env.models.asker import Question
from dnr_env.models.server_errors import Refused

PARTS = {
    "max_tokens": "max_(?:completion_)?tokens",
    "temperature": "temperature",
    "seed": r"\bseed\b",
    "the schema": "response_format|schema|structured|grammar|guided",
    "the number of phrases in the schema": "minItems|maxItems",
    "the system role": "system|role|template|jinja|alternat",
}
"""The parts of a request that a server may refuse, and the words by which it then names them. A part of a part follows
it."""


@dataclass(frozen=True)
class Dialect:
    """The form of the requests to a server.

    Args:
        model: the name of the model.
        temperature: the sampling temperature.
        effort: how much a reasoning model thinks; None leaves it to the model.
        without: the parts of `PARTS` that the server does not accept.
    """

    model: str
    temperature: float
    effort: str | None = None
    without: frozenset[str] = frozenset()

    def request(self, question: Question, limit: int) -> dict[str, Any]:
        """Make the arguments of a request with a limit in tokens."""
        limit_name = "max_completion_tokens" if "max_tokens" in self.without else "max_tokens"
        request: dict[str, Any] = {"model": self.model, "messages": self._messages(question), limit_name: limit}
        if "temperature" not in self.without:
            request["temperature"] = self.temperature
        if "seed" not in self.without:
            request["seed"] = question.sample
        if self.effort:
            request["reasoning_effort"] = self.effort
        if "the schema" not in self.without:
            counted = "the number of phrases in the schema" not in self.without
            schema = {"name": "phrases", "strict": True, "schema": _schema(question.most if counted else None)}
            request["response_format"] = {"type": "json_schema", "json_schema": schema}
        return request

    def _messages(self, question: Question) -> list[dict[str, str]]:
        if "the system role" in self.without:
            return [{"role": "user", "content": f"{question.system}\n\n{question.user}"}]
        return [{"role": "system", "content": question.system}, {"role": "user", "content": question.user}]

    def accepted(self, refusal: Callable[[Dialect], Refused | None]) -> Dialect:
        """Find a form that the server accepts, with as many parts as possible.

        A part is left out only if a question is answered without it and refused with it.

        Args:
            refusal: asks a question that no server has a reason to refuse, and returns the server's refusal.

        Raises:
            Refused: the server accepts no form.
        """
        tried = self
        while problem := refusal(tried):
            named = [part for part, words in PARTS.items() if re.search(words, str(problem), re.I)]
            more = frozenset(named) - tried.without or frozenset(PARTS) - tried.without
            if not more:
                raise problem
            tried = replace(tried, without=tried.without | more)
        found = tried.without - self.without
        for part in PARTS if len(found) > 1 else ():
            if part in found and not refusal(less := replace(tried, without=tried.without - {part})):
                tried = less
        return tried


def _schema(most: int | None) -> dict[str, Any]:
    """Make the JSON schema of an answer with one to `most` phrases, or with any number."""
    phrases: dict[str, Any] = {"type": "array", "items": {"type": "string"}}
    if most:
        phrases.update(minItems=1, maxItems=most)
    return {
        "type": "object",
        "properties": {"phrases": phrases},
        "required": ["phrases"],
        "additionalProperties": False,
    }
