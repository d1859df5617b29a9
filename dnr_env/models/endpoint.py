"""An OpenAI-compatible endpoint: its address, its client, and its failures as errors of this package."""

from __future__ import annotations

import logging
import os
import random
import threading
import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from dnr_env.errors import DnRError
from dnr_env.extras import needed
from dnr_env.models.api_key import api_key, scrubbed
from dnr_env.models.asker import Counters
from dnr_env.models.http_client import bounded, http_client, is_loopback, proxy_variables
from dnr_env.models.phrases import plain
from dnr_env.models.server_errors import (
    BUSY,
    Busy,
    Filtered,
    NotAllowed,
    NotOffered,
    Refused,
    Unanswered,
    carried_status,
    is_filter,
    is_template,
)

if TYPE_CHECKING:
    import httpx2
    import openai

_log = logging.getLogger("dnr_env")

_NO_KEY = "none"  # the client requires a key, and a server on this machine does not
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.5, 30.0  # between two requests to a busy server that does not say how long to wait
_LOG_EVERY_S = 10.0


class Endpoint:
    """Makes clients of an endpoint, and turns their errors, which may contain the key, into errors of this package.

    Args:
        model: the name of the model, for error messages.
        base_url: the address. None takes OPENAI_BASE_URL or, if that is not set, OpenAI's own address.
        timeout_s: seconds after which a request fails.
        retries: how often a request is repeated after a failure that may pass.
        patience_s: seconds for which a busy server is waited for.
        counters: count the requests that are sent.

    Raises:
        DnRError: base_url is not an address, or contains a password.
    """

    def __init__(
        self,
        model: str,
        base_url: str | None,
        *,
        timeout_s: float,
        retries: int,
        patience_s: float,
        counters: Counters,
    ) -> None:
        self.model = model
        self.url = base_url or os.environ.get("OPENAI_BASE_URL") or "https://api.openai.com/v1"
        self.timeout_s = timeout_s
        self.retries = retries
        self.patience_s = patience_s
        self.counters = counters
        self._waiting = 0
        self._next_log = 0.0
        self._lock = threading.Lock()
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
        self._loopback = is_loopback(parts.hostname or "")

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
        return openai.OpenAI(
            api_key=api_key() or _NO_KEY,
            base_url=self.url,
            timeout=self.timeout_s,
            max_retries=self.retries,
            http_client=http_client(self.url, request=self._count, response=self._watch),
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
        """Call a function of the client and return its result. A busy server is waited for.

        Raises:
            DnRError: the call failed. `server_errors` has the kinds.
        """
        waited, wait = 0.0, _FIRST_WAIT_S
        while True:
            try:
                return self._call(function, **arguments)
            except Busy as busy:
                pause, problem = busy.wait_s or wait * random.uniform(0.75, 1), busy
            if waited + pause > self.patience_s:
                raise problem
            self._wait(pause, self.patience_s - waited, problem)
            waited, wait = waited + pause, min(2 * wait, _LONGEST_WAIT_S)
            self.counters.add(retried=1)

    def _wait(self, seconds: float, left_s: float, busy: Busy) -> None:
        """Wait, and say now and then how many questions are waiting."""
        with self._lock:
            self._waiting += 1
            waiting, due = self._waiting, time.monotonic() >= self._next_log
            if due:
                self._next_log = time.monotonic() + _LOG_EVERY_S
        if due:
            asks = f", and asks to wait {busy.wait_s:g} s" if busy.wait_s else ""
            said = "%s answers %d%s; questions that wait: %d, for up to %.0f s more"
            _log.warning(said, self.url, busy.status, asks, waiting, left_s)
        time.sleep(seconds)
        with self._lock:
            self._waiting -= 1

    def _call(self, function: Callable[..., Any], **arguments: Any) -> Any:
        import openai

        try:
            return function(**arguments)
        except openai.APIStatusError as error:
            problem = self._status_problem(error)
        except openai.APITimeoutError:
            tries = f"{self.retries + 1} tries of {self.timeout_s:g} s"
            problem = Unanswered(f"{self.url} has not answered in {tries}; raise `timeout_s`, or try again later")
        except openai.APIConnectionError as error:
            problem = self._connection_problem(str(error.__cause__))
        except (openai.APIError, ValueError, TypeError, AttributeError, RecursionError):  # it reads without checking
            problem = self.incompatible()
        raise problem  # outside the handlers: an error raised in one would keep the client's error as its context

    def incompatible(self) -> DnRError:
        """Make the error for an answer that does not follow the protocol."""
        return DnRError(f"{self.url} is not an OpenAI-compatible endpoint; check whether its address must end in /v1")

    def _connection_problem(self, said: str) -> DnRError:
        if "CERTIFICATE_VERIFY_FAILED" in said:
            return DnRError(
                f"{self.url} has a certificate that cannot be verified; set SSL_CERT_FILE to the certificate of its "
                "authority"
            )
        if "WRONG_VERSION_NUMBER" in said or "RECORD_LAYER_FAILURE" in said:
            return DnRError(f"{self.url} does not speak https; check whether its address begins with http://")
        proxies = proxy_variables(self.url)
        through = f" through the proxy of {proxies}" if proxies else ""
        return Unanswered(
            f"{self.url} cannot be reached{through}; check `base_url` and the network, and that the server runs"
        )

    def _status_problem(self, error: openai.APIStatusError) -> DnRError:
        status, body = error.status_code, error.body
        said = plain(scrubbed(str(body.get("message", body) if isinstance(body, dict) else body)))
        if status in (400, 403, 422, 451) and is_filter(str(body)):
            return Filtered(f"{self.url} filters the question: {said}")
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
        if status in BUSY:
            wait = _seconds(error.response)
            does, later = "has too much to do", f"in {wait:g} s" if wait else "later"
            if status == 429:
                does = "limits the rate of requests"
            return Busy(f"{self.url} {does} ({status}); run again {later}, or lower `concurrency`", status, wait)
        if status in (400, 422) or is_template(said):
            return Refused(f"{self.url} refuses the request: {said}")
        return Unanswered(f"{self.url} fails with status {status}: {said}")

    def _count(self, request: httpx2.Request) -> None:
        self.counters.add(made=1, retried=int(request.headers.get("x-stainless-retry-count", "0") != "0"))

    def _watch(self, response: httpx2.Response) -> None:
        """Limit what is read, find errors inside successes, and stop the client from repeating what is not its task."""
        response.stream = bounded(response.stream, self.timeout_s)
        if response.status_code == 200 or response.status_code >= 429:
            response.read()
        if response.status_code == 200:
            response.status_code = carried_status(response.content) or 200
        if response.status_code in BUSY or (response.status_code >= 500 and is_template(response.text)):
            response.headers["x-should-retry"] = "false"


def _short(name: str) -> str:
    """Return the part of a listed name that people write."""
    return name.removeprefix("models/").removesuffix(":latest")


def _seconds(response: httpx2.Response) -> float:
    """Return the seconds in a Retry-After header, which may be a date, or 0 if it has none."""
    said = response.headers.get("retry-after", "0")
    try:
        return max(0.0, float(said))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(said).timestamp() - time.time())
    except ValueError:
        return 0.0
