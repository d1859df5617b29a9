"""The client of HTTP for a language model's server: proxies, certificates, and limits to what it reads."""

from __future__ import annotations

import ipaddress
import os
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from dnr_env.errors import DnRError

if TYPE_CHECKING:
    import httpx2

_MAX_BODY = 4_000_000  # bytes


def http_client(
    url: str, request: Callable[[httpx2.Request], None], response: Callable[[httpx2.Response], None]
) -> httpx2.Client:
    """Make a client. It takes proxies and certificates from the environment, but no proxy to reach this machine.

    Args:
        url: the address of the server.
        request: is called before each request is sent.
        response: is called when the head of each response has come.

    Raises:
        DnRError: the environment names proxies or certificates that cannot be used.
    """
    import httpx2
    import openai

    parts = urlsplit(url)
    hooks: dict[str, list[Callable[..., Any]]] = {"request": [request], "response": [response]}
    try:
        # A client with a transport of its own does not look for proxies.
        transport = (
            httpx2.HTTPTransport(trust_env=parts.scheme == "https") if is_loopback(parts.hostname or "") else None
        )
        return openai.DefaultHttpxClient(event_hooks=hooks, transport=transport)
    except OSError:  # also those of ssl
        names = _set_variables("SSL_CERT_FILE", "SSL_CERT_DIR") or "the system"
        problem = DnRError(f"{names} must name certificates in PEM format, which {url} needs (got none)")
    except (ImportError, ValueError) as error:
        names = proxy_variables(url) or "a proxy variable"
        needs = ", with pip install socksio for SOCKS" if isinstance(error, ImportError) else ""
        problem = DnRError(
            f"{names} must be the address of a proxy, such as http://proxy:3128 or socks5://proxy:1080{needs}; or name "
            f"the host of {url} in NO_PROXY"
        )
    raise problem  # outside the handlers, because the library's error may hold the password of a proxy


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    address = getattr(address, "ipv4_mapped", None) or address
    return address.is_loopback or address.is_unspecified


def proxy_variables(url: str) -> str:
    """Name the environment variables that set a proxy for a URL. Their values may hold passwords."""
    parts = urlsplit(url)
    if is_loopback(parts.hostname or ""):
        return ""
    return _set_variables("ALL_PROXY", f"{parts.scheme.upper()}_PROXY")


def _set_variables(*names: str) -> str:
    return " or ".join(name for name in names if os.environ.get(name) or os.environ.get(name.lower()))


def bounded(stream: Any, timeout_s: float) -> httpx2.SyncByteStream:
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
