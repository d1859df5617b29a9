"""An OpenAI-compatible endpoint: its address, its client, and its failures as errors of this package."""

from __future__ import annotations

import ipaddress
import logging
import os
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from dnr_env.errors import DnRError
from dnr_env.extras import needed
from dnr_env.models.api_key import api_key, scrubbed
from dnr_env.models.asker import Counters
from dnr_env.models.phrases import plain

if TYPE_CHECKING:
    import httpx2
    import openai

_log = logging.getLogger("dnr_env")

_NO_KEY = "none"  # the client requires a key, and a server on this machine does not
_MAX_BODY = 4_000_000  # bytes


class NotOffered(DnRError):
    """The address or the model does not exist."""


class NotAllowed(DnRError):
    """The key is valid, but does not permit the request."""


class Refused(DnRError):
    """The endpoint rejects the request, for example because of a parameter that it does not support."""


class Filtered(Refused):
    """A filter in front of the model rejected the question (Azure OpenAI)."""


class Endpoint:
    """Makes clients of an endpoint, and turns their errors, which may contain the key, into errors of this package.

    Args:
        model: the name of the model, for error messages.
        base_url: the address. None takes OPENAI_BASE_URL or, if that is not set, OpenAI's own address.
        timeout_s: seconds after which a request fails.
        retries: how often a request is repeated after a temporary failure.
        counters: count the requests that are sent.

    Raises:
        DnRError: base_url is not an address, or contains a password.
    """

    def __init__(self, model: str, base_url: str | None, timeout_s: float, retries: int, counters: Counters) -> None:
        self.model = model
        self.url = base_url or os.environ.get("OPENAI_BASE_URL") or "https://api.openai.com/v1"
        self.timeout_s = timeout_s
        self.retries = retries
        self.counters = counters
        try:
            parts = urlsplit(self.url)
            usable = parts.scheme in ("http", "https") and parts.hostname and (parts.port or True)
        except ValueError:
            usable = False
        if not usable:  # the address is not quoted: it may be a key in the wrong place
            raise DnRError("`base_url` must be an address such as http://localhost:11434/v1")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise DnRError(
                "`base_url` must not contain a password or parameters, because it is logged; set OPENAI_API_KEY instead"
            )
        self._loopback = _is_loopback(parts.hostname or "")

    def client(self) -> openai.OpenAI:
        """Make a client, which the caller closes.

        Raises:
            DnRError: the key is missing or malformed.
        """
        with needed():
            import openai
        if not (api_key() or self._loopback):
            raise DnRError(f"OPENAI_API_KEY is not set, and {self.url} is not on this machine; set it to your key")
        if not (api_key().isascii() and api_key().isprintable()):
            raise DnRError("OPENAI_API_KEY contains characters that no key has; set it to the key alone")
        hooks: dict[str, list[Callable[..., Any]]] = {"request": [self._count], "response": [self._watch]}
        return openai.OpenAI(
            api_key=api_key() or _NO_KEY,
            base_url=self.url,
            timeout=self.timeout_s,
            max_retries=self.retries,
            http_client=openai.DefaultHttpxClient(event_hooks=hooks),
        )

    def names(self, client: openai.OpenAI) -> list[str]:
        """List the endpoint's models, also by their short names. The list is empty if the endpoint has none to show."""
        try:
            listed = getattr(self.call(client.models.list), "data", None)
        except (NotOffered, NotAllowed):
            return []
        if not isinstance(listed, list):
            raise self.incompatible()
        names = [plain(scrubbed(str(getattr(item, "id", "")))) for item in listed]
        return list(dict.fromkeys([*map(_short, names), *names]))

    def call(self, function: Callable[..., Any], **arguments: Any) -> Any:
        """Call a function of the client and return its result.

        Raises:
            DnRError: the call failed.
        """
        import openai

        try:
            return function(**arguments)
        except openai.APIStatusError as error:
            problem = self._status_problem(error)
        except openai.APITimeoutError:
            tries = f"{self.retries + 1} tries of {self.timeout_s:g} s"
            problem = DnRError(f"{self.url} has not answered in {tries}; raise `timeout_s`, or try again later")
        except openai.APIConnectionError:
            problem = DnRError(
                f"{self.url} cannot be reached; check `base_url` and the network, and that the server runs"
            )
        except (openai.APIError, ValueError, TypeError, AttributeError, RecursionError):  # it reads without checking
            problem = self.incompatible()
        raise problem  # outside the handlers: an error raised in one would keep the client's error as its context

    def incompatible(self) -> DnRError:
        """Make the error for an answer that does not follow the protocol."""
        return DnRError(f"{self.url} is not an OpenAI-compatible endpoint; check whether its address must end in /v1")

    def _status_problem(self, error: openai.APIStatusError) -> DnRError:
        status, body = error.status_code, error.body
        said = plain(scrubbed(str(body.get("message", body) if isinstance(body, dict) else body)))
        if status == 402 or "insufficient_quota" in str(body):
            return DnRError(f"{self.url} reports that the account's quota is used up; top it up, then run again")
        if status == 401 and "Missing scopes" not in said:  # OpenAI's words for a valid key with fewer rights
            return DnRError(f"{self.url} refuses the key; set OPENAI_API_KEY to a valid one")
        if status in (401, 403):
            return NotAllowed(
                f"{self.url} does not allow {self.model!r} for the key in OPENAI_API_KEY; name another model"
            )
        if status in (404, 405):
            return NotOffered(f"{self.url} has no model {self.model!r}, or is not an address that ends in /v1")
        if status == 429:
            wait = _seconds(error.response)
            later = f"in {wait:g} s" if wait else "later"
            return DnRError(f"{self.url} limits the rate of requests; run again {later}, or lower `concurrency`")
        if status in (400, 422):
            kind = Filtered if error.code == "content_filter" else Refused
            return kind(f"{self.url} refuses the request: {said}")
        return DnRError(f"{self.url} fails with status {status}; try again later")

    def _count(self, request: httpx2.Request) -> None:
        self.counters.add(made=1, retried=int(request.headers.get("x-stainless-retry-count", "0") != "0"))

    def _watch(self, response: httpx2.Response) -> None:
        """Limit what is read, log what delays, and stop the client from retrying a permanent failure."""
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


def _short(name: str) -> str:
    """Return the part of a listed name that people write."""
    return name.removeprefix("models/").removesuffix(":latest")


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _seconds(response: httpx2.Response) -> float:
    """Return the seconds in a Retry-After header, or 0 if it has none."""
    try:
        return max(0.0, float(response.headers.get("retry-after", 0)))
    except ValueError:
        return 0.0


def _bounded(stream: Any, timeout_s: float) -> httpx2.SyncByteStream:
    """Limit a body in time and size, because the client's own time-out restarts with every byte."""
    import httpx2

    class BoundedStream(httpx2.SyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            deadline, size = time.monotonic() + timeout_s, 0
            for part in stream:
                size += len(part)
                if time.monotonic() > deadline or size > _MAX_BODY:
                    raise httpx2.ReadTimeout("too slow or too long")
                yield part

        def close(self) -> None:
            stream.close()

    return BoundedStream()
