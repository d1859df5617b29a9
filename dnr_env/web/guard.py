"""Who may ask, and what a page may do: every request passes here first."""

from __future__ import annotations

import secrets
from collections.abc import Mapping

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

POLICY = (
    "default-src 'none'; img-src 'self'; style-src 'self'; script-src 'self'; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
"""Nothing from elsewhere, no script or style in a page, no frame around it."""
_NO_TOKEN = (
    "Open your link, which holds your token. A server that was restarted has new links; what it had taken is saved."
)
_HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",  # a form without script would name no origin under a stricter one
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Guard:
    """Answers only this machine's browser, and only who has a token.

    A token comes in a link, once; then a cookie holds it. A page of another site can neither ask in the name of the
    person (the host and the origin are checked, and the cookie is not sent) nor learn the address by another name.

    Args:
        app: what answers a request that passes. `scope["annotator"]` says who asks.
        port: of the server.
        tokens: the annotator of each token.
    """

    def __init__(self, app: ASGIApp, port: int, tokens: Mapping[str, str]) -> None:
        self.app = app
        self.tokens = dict(tokens)
        self.hosts = [f"{host}:{port}" for host in ("127.0.0.1", "localhost")]
        self.cookie = f"dnr-{port}"  # a browser does not tell ports apart

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or pass it on."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            return

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers[name] = value
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        refused = self._refused(scope)
        if refused is not None:
            await refused(scope, receive, answer)
        else:
            await self.app(scope, receive, answer)

    def _refused(self, scope: Scope) -> Response | None:
        """The answer to a request that does not pass; None lets it pass, and notes who asks."""
        headers, request = Headers(scope=scope), Request(scope)
        if headers.get("host") not in self.hosts:
            return PlainTextResponse(f"The address must begin with http://{self.hosts[0]}", 421)
        if scope["method"] not in ("GET", "HEAD") and headers.get("origin") not in [f"http://{h}" for h in self.hosts]:
            return PlainTextResponse("This was not sent by the page itself, so nothing was done.", 403)
        asked = request.query_params.get("token")
        annotator = self._annotator(asked or request.cookies.get(self.cookie, ""))
        if annotator is None:
            return PlainTextResponse(_NO_TOKEN, 403)
        scope["annotator"] = annotator
        if asked is None:
            return None
        there = RedirectResponse("/", 303)  # not the path, which may begin with two slashes and so name another site
        there.set_cookie(self.cookie, asked, httponly=True, samesite="strict")
        return there

    def _annotator(self, token: str) -> str | None:
        """Whose token it is, in a time that says nothing about it."""
        found = None
        for known, annotator in self.tokens.items():
            if secrets.compare_digest(known.encode(), token.encode()):
                found = annotator
        return found
