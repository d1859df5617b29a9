"""Asks a language model over the OpenAI protocol."""

from __future__ import annotations

import base64
import ipaddress
import logging
import os
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from dnr_env.errors import DnRError, unknown
from dnr_env.models import Usage
from dnr_env.models.asker import SCHEMA, Asker, CutShort, Question, Unusable
from dnr_env.models.hub import needed
from dnr_env.models.phrases import plain
from dnr_env.models.threads import spread
from dnr_env.store import Store

if TYPE_CHECKING:
    import httpx2
    import openai

_log = logging.getLogger("dnr_env")

_NO_KEY = "none"  # the client insists on one, a server on this machine does not
_MAX_BODY = 4_000_000  # bytes


class Chat(Asker):
    """A model behind an OpenAI-compatible endpoint.

    The key is read from OPENAI_API_KEY when a request is made, and is kept nowhere.

    Args:
        model: its name at the endpoint.
        base_url: the endpoint; None for OPENAI_BASE_URL or, without that, OpenAI's own.
        temperature: of sampling.
        max_tokens: the longest answer, in tokens.
        timeout_s: seconds after which a request that hangs has failed.
        retries: how often a request that fails for a passing reason is repeated.
        concurrency: requests under way at a time.
        store: where answers are kept; in memory alone if None.

    Raises:
        DnRError: base_url is not an address, or holds a password.
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
        self.timeout_s = timeout_s
        self.retries = retries
        self.concurrency = concurrency
        self.url = base_url or os.environ.get("OPENAI_BASE_URL") or "https://api.openai.com/v1"
        self._optional = True  # whether the endpoint takes the optional parameters, as far as is known
        self._limit_name = "max_tokens"
        try:
            parts = urlsplit(self.url)
            usable = parts.scheme in ("http", "https") and parts.hostname and (parts.port or True)
        except ValueError:
            usable = False
        if not usable:  # the address is not quoted: it may be a key in the wrong place
            raise DnRError("base_url: this is not an address; http://localhost:11434/v1 is one")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise DnRError("base_url: an address with a password or parameters is logged; set OPENAI_API_KEY instead")
        self._loopback = _is_loopback(parts.hostname or "")

    def __repr__(self) -> str:
        return f"Chat({self.model!r}, base_url={self.url!r})"

    def check(self) -> str:
        """One line about endpoint and model. Asks the endpoint for its models, no model for an answer.

        Raises:
            DnRError: the key is missing or refused, the endpoint is not there, or it does not list the model.
        """
        with self._client() as client:
            names = self._listed(client)
        if names and self.model not in names:
            raise unknown("model", self.model, names)
        return f"{self.model} at {self.url}" + ("" if names else ", which lists no models: not checked")

    def ready(self) -> None:
        """Find out whether questions will be answered.

        The list of models costs nothing and can leave a doubt: some servers answer to names that they do not list, and
        some keys may ask questions but not list models. Only then a short question is asked.

        Raises:
            DnRError: the key is missing or refused, the endpoint is not there, or it does not know the model.
        """
        problem: DnRError | None = None
        with self._client() as client:
            names = self._listed(client)
            if self.model not in names:
                try:
                    self._reply(client, Question("Answer with one word.", "Is the sky blue?", 0), self.max_tokens)
                except Unusable:  # it has answered
                    pass
                except _NotOffered as error:
                    problem = unknown("model", self.model, names) if names else error
        if problem:
            raise problem

    def _listed(self, client: openai.OpenAI) -> list[str]:
        """The models that the endpoint lists, also by the names that people write; none where it lists none."""
        try:
            listed = getattr(self._explained(client.models.list), "data", None)
        except (_NotOffered, _NotAllowed):
            return []
        if not isinstance(listed, list):
            raise self._incompatible()
        names = [plain(_scrubbed(str(getattr(item, "id", "")))) for item in listed]
        return list(dict.fromkeys([*map(_short, names), *names]))

    def _answer(self, questions: list[Question]) -> None:
        with self._client() as client:
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

    def _client(self) -> openai.OpenAI:
        # One client an ask: nothing to close, no connection that a fork would share, no key that an object holds.
        with needed():
            import openai
        if not (_key() or self._loopback):
            raise DnRError(f"OPENAI_API_KEY is not set, and {self.url} is not on this machine; set it to the key")
        if not (_key().isascii() and _key().isprintable()):
            raise DnRError("OPENAI_API_KEY holds characters that no key has; set it to the key alone")
        hooks: dict[str, list[Callable[..., Any]]] = {"request": [self._count], "response": [self._watch]}
        return openai.OpenAI(
            api_key=_key() or _NO_KEY,
            base_url=self.url,
            timeout=self.timeout_s,
            max_retries=self.retries,
            http_client=openai.DefaultHttpxClient(event_hooks=hooks),
        )

    def _count(self, request: httpx2.Request) -> None:
        self.counters.add(made=1, retried=int(request.headers.get("x-stainless-retry-count", "0") != "0"))

    def _watch(self, response: httpx2.Response) -> None:
        """Bounds what is read, shows what delays, and keeps the client from retrying what cannot get better."""
        response.stream = _bounded(response.stream, self.timeout_s)
        if response.status_code == 429:
            response.read()
            if "insufficient_quota" in response.text:
                response.headers["x-should-retry"] = "false"
                return
        if response.status_code == 429 or response.status_code >= 500:
            wait = _seconds(response)
            after = f", and asks to wait {wait:g} s" if wait else ""
            _log.warning("%s answers %d%s", self.url, response.status_code, after)

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
                return self._read(
                    self._explained(client.chat.completions.create, model=self.model, messages=messages, **parameters)
                )
            except _Filtered:
                raise Unusable("filtered", Usage(1)) from None
            except _Refused as refusal:
                # Newer models take another name for the limit, some servers none of the optional parameters.
                if "max_completion_tokens" in str(refusal) and limit_name == "max_tokens":
                    self._limit_name = "max_completion_tokens"
                elif optional:
                    self._optional = False
                    _log.warning(
                        "%s refuses a request; from now on it goes without schema, seed and temperature", self.url
                    )
                else:
                    raise

    def _read(self, completion: Any) -> tuple[str, Usage]:
        if "choices" not in getattr(completion, "model_fields_set", ()):
            del completion  # a page that repeats the key would show among the locals of a traceback
            raise self._incompatible()
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

    def _explained(self, call: Callable[..., Any], **arguments: Any) -> Any:
        """The result of a call of the client; its errors, which may hold the key, become our own."""
        import openai

        try:
            return call(**arguments)
        except openai.APIStatusError as error:
            problem = self._status_problem(error)
        except openai.APITimeoutError:
            tries = f"{self.retries + 1} tries of {self.timeout_s:g} s"
            problem = DnRError(f"{self.url} has not answered in {tries}; raise the time-out, or try later")
        except openai.APIConnectionError:
            problem = DnRError(f"{self.url} cannot be reached; check base_url, the network, and that the server runs")
        except (openai.APIError, ValueError, TypeError, AttributeError, RecursionError):  # it reads without checking
            problem = self._incompatible()
        raise problem  # out of the handler: an error raised in it would carry the other one along

    def _status_problem(self, error: openai.APIStatusError) -> DnRError:
        status, body = error.status_code, error.body
        said = plain(_scrubbed(str(body.get("message", body) if isinstance(body, dict) else body)))
        if status == 402 or "insufficient_quota" in str(body):
            return DnRError(f"{self.url} says that the account's quota is used up; top it up, then run again")
        if status == 401 and "Missing scopes" not in said:  # which is what OpenAI says of a key with fewer rights
            return DnRError(f"{self.url} refuses the key; set OPENAI_API_KEY to one that it knows")
        if status in (401, 403):
            return _NotAllowed(
                f"{self.url} does not allow {self.model!r} to the key in OPENAI_API_KEY; name another model"
            )
        if status in (404, 405):
            return _NotOffered(f"{self.url} has no model {self.model!r}, or is not an address that ends in /v1")
        if status == 429:
            wait = _seconds(error.response)
            later = f"in {wait:g} s" if wait else "later"
            return DnRError(f"{self.url} limits the rate of requests; run again {later}, or lower concurrency")
        if status in (400, 422):
            kind = _Filtered if error.code == "content_filter" else _Refused
            return kind(f"{self.url} refuses the request: {said}")
        return DnRError(f"{self.url} fails with status {status} again and again; try later")

    def _incompatible(self) -> DnRError:
        return DnRError(f"{self.url} is not an OpenAI-compatible endpoint; its address may lack /v1")


class _NotOffered(DnRError):
    """The address or the model is not there."""


class _NotAllowed(DnRError):
    """The key is known, but not for this."""


class _Refused(DnRError):
    """The request has parameters that the endpoint does not take, or is otherwise wrong."""


class _Filtered(_Refused):
    """A filter stands before the model, which has not seen the question (Azure OpenAI)."""


def _key() -> str:
    return os.environ.get("OPENAI_API_KEY", "").strip()


def _scrubbed(text: str) -> str:
    """Without the key in any form in which a server may repeat it."""
    if key := _key():
        encoded = base64.b64encode(key.encode()).decode().rstrip("=")
        for form in (key, encoded, quote(key), quote(key, safe="")):
            text = text.replace(form, "[key]")
    return text


def _short(name: str) -> str:
    """A listed model's name as people write it."""
    return name.removeprefix("models/").removesuffix(":latest")


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _seconds(response: httpx2.Response) -> float:
    """What a Retry-After header asks for; 0 where there is none in seconds."""
    try:
        return max(0.0, float(response.headers.get("retry-after", 0)))
    except ValueError:
        return 0.0


def _bounded(stream: Any, timeout_s: float) -> httpx2.SyncByteStream:
    """A body that ends in time: the client's own time-out starts anew with every byte."""
    import httpx2

    class Bounded(httpx2.SyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            deadline, size = time.monotonic() + timeout_s, 0
            for part in stream:
                size += len(part)
                if time.monotonic() > deadline or size > _MAX_BODY:
                    raise httpx2.ReadTimeout("too slow or too long")
                yield part

        def close(self) -> None:
            stream.close()

    return Bounded()
