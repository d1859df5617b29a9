"""The requests of the page: what there is to see, and the events of the person who sees it."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Mapping
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import (
    HTMLResponse,
    JSONResponse,
    RedirectResponse,
    Response,
    StreamingResponse,
)
from starlette.routing import Route

from dnr_env.agents.human.log import CHOOSING, StaleStepError
from dnr_env.errors import DnRError
from dnr_env.web.answering import OUT_OF_DATE, OthersPageError, body_of, fields_of, shared_routes, templates
from dnr_env.web.desk import BusyError, Desk
from dnr_env.web.guard import Guard
from dnr_env.web.page import WIDTH

_SUGGESTED = 12
_log = logging.getLogger("dnr_env")
_UNBUFFERED = {"Cache-Control": "no-store, no-transform", "X-Accel-Buffering": "no"}
"""For proxies, which may hold an answer back until it ends, or compress it."""
_PULSE = 0.1  # seconds between two looks at a measurement


def make_app(desks: Mapping[str, Desk], port: int, tokens: Mapping[str, str]) -> Guard:
    """The server's application.

    Args:
        desks: the desk of each annotator.
        port: of the server.
        tokens: the annotator of each token.
    """

    def desk_of(request: Request) -> Desk:
        return desks[request.scope["annotator"]]

    def seen(request: Request, message: str = "", status: int = 200, typed: str = "") -> Response:
        """The page, or the part of it that changes if the script asks."""
        part = "x-part" in request.headers
        desk = desk_of(request)
        values = {
            "annotator": request.scope["annotator"],
            "page": desk.page,
            "busy": desk.work.busy,
            "message": message,
            "typed": "" if part else typed,  # the script has it
            "width": WIDTH,
        }
        return HTMLResponse(templates.get_template("main.html" if part else "page.html").render(values), status)

    async def show(request: Request) -> Response:
        return seen(request)

    async def act(request: Request) -> Response:
        chosen: dict[str, Any] = {}
        try:
            step, event, chosen = read_event(await body_of(request), request.scope["annotator"])
            await run_in_threadpool(desk_of(request).apply, step, event, chosen)
        except (StaleStepError, BusyError, OthersPageError) as error:
            message = OUT_OF_DATE if isinstance(error, StaleStepError) else str(error)
            return seen(request, message, 409)
        except DnRError as error:
            return seen(request, str(error), 400, chosen.get("text", ""))
        except Exception as error:  # a model of the stack has failed: the person can try again
            _log.exception("an event of %s failed", request.scope["annotator"])
            return seen(
                request, f"the measurement failed, and nothing was changed ({type(error).__name__}: {error})", 500
            )
        return seen(request) if "x-part" in request.headers else RedirectResponse("/", 303)

    async def back(request: Request) -> Response:
        return RedirectResponse("/", 303)  # as a reload of the page after a form's error asks for it

    async def cancel(request: Request) -> Response:
        desk_of(request).cancel()
        return Response(status_code=204)

    async def promise(request: Request) -> Response:
        try:
            found = await run_in_threadpool(desk_of(request).promise, request.query_params.get("text", ""))
        except DnRError as error:
            return JSONResponse({"error": str(error)})
        if found is None:
            return JSONResponse({"busy": True})
        known = ("concept", "passed_over") if desk_of(request).page.hidden else found._fields
        return JSONResponse({name: getattr(found, name) for name in known})

    async def words(request: Request) -> Response:
        typed = request.query_params.get("text", "").strip().lower()
        concepts = desk_of(request).session.episodes.stack.vocabulary.concepts if typed else []
        first = [text for text in concepts if text.startswith(typed)]
        found = first + [text for text in concepts if f" {typed}" in text and not text.startswith(typed)]
        return JSONResponse(found[:_SUGGESTED])

    async def progress(request: Request) -> Response:
        return StreamingResponse(
            _pulses(request, desk_of(request)), media_type="text/event-stream", headers=_UNBUFFERED
        )

    routes = [
        Route("/", show),
        Route("/event", act, methods=["POST"]),
        Route("/event", back),
        Route("/cancel", cancel, methods=["POST"]),
        Route("/promise", promise),
        Route("/words", words),
        Route("/progress", progress),
        *shared_routes(lambda request: desk_of(request).gallery),
    ]
    return Guard(Starlette(routes=routes), port, tokens)


def read_event(body: bytes, annotator: str) -> tuple[int, str, dict[str, Any]]:
    """Read a form: the step that the person saw, the event, and what it chooses.

    `event` may say more: "mutate broaden" chooses the kind, and "go 3" the neuron.

    Raises:
        OthersPageError: the form is of the page of another than the annotator.
        DnRError: the form lacks something.
    """
    fields = fields_of(body, annotator)
    try:
        event, _, more = fields["event"].partition(" ")
        step = int(fields["step"])
        chosen: dict[str, Any] = {"slot": int(fields["slot"])} if event in CHOOSING else {}
        if event == "go":
            chosen["neuron"] = int(more)
    except (ValueError, KeyError):
        raise DnRError("an event must be a form with `event`, `step` and what the event chooses") from None
    if event == "mutate" and more:
        chosen["kind"] = more
    if event == "add":
        chosen["text"] = fields.get("text", "")
    return step, event, chosen


async def _pulses(request: Request, desk: Desk) -> AsyncIterator[str]:
    """Server-sent events: how far the measurement is, whenever that changes."""
    last = None
    while not await request.is_disconnected():
        if desk.work != last:
            last = desk.work
            yield f"data: {json.dumps(last._asdict())}\n\n"
        await asyncio.sleep(_PULSE)
