"""The requests of the rating page: instructions, screens and answers. Each is a page of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from dnr_env.agents.human.log import StaleStepError
from dnr_env.errors import DnRError
from dnr_env.web.answering import OUT_OF_DATE, OthersPageError, body_of, fields_of, shared_routes, templates
from dnr_env.web.guard import Guard
from dnr_env.web.rating_desk import RatingDesk


def make_rating_app(desks: Mapping[str, RatingDesk], port: int, tokens: Mapping[str, str]) -> Guard:
    """The server's application.

    Args:
        desks: the desk of each annotator.
        port: of the server.
        tokens: the annotator of each token.
    """

    def desk_of(request: Request) -> RatingDesk:
        return desks[request.scope["annotator"]]

    def seen(request: Request, number: int | None, message: str = "", status: int = 200) -> Response:
        """The page of a screen, or the instructions, or the end."""
        desk = desk_of(request)
        values: dict[str, Any] = {"annotator": request.scope["annotator"], "count": desk.count, "message": message}
        if not desk.answers.consented:
            name = "rating_welcome.html"
            paragraphs = [part for part in desk.consent.split("\n\n") if part.strip()]
            values.update(pairs=desk.pairs, paragraphs=paragraphs)
        elif number is None:
            name = "rating_end.html"
        else:
            name = "rating.html"
            values["page"] = desk.page(number)
        return HTMLResponse(templates.get_template(name).render(values), status)

    async def show(request: Request) -> Response:
        desk = desk_of(request)
        asked = request.query_params.get("screen")
        if asked is None:
            return await run_in_threadpool(seen, request, desk.following(0))
        if not (asked.isdecimal() and len(asked) < 10 and 1 <= int(asked) <= desk.count):
            message = f"`screen` must be from 1 to {desk.count} (got {asked[:20]!r})"
            return await run_in_threadpool(seen, request, desk.following(0), message, 404)
        return await run_in_threadpool(seen, request, int(asked))

    async def back(request: Request) -> Response:
        return RedirectResponse("/", 303)  # as a reload of the page after a form's error asks for it

    async def agree(request: Request) -> Response:
        try:
            fields_of(await body_of(request), request.scope["annotator"])
            await run_in_threadpool(desk_of(request).agree)
        except DnRError as error:
            status = 409 if isinstance(error, OthersPageError) else 400
            return await run_in_threadpool(seen, request, desk_of(request).following(0), str(error), status)
        return RedirectResponse("/", 303)

    async def rate(request: Request) -> Response:
        desk, number = desk_of(request), None
        try:
            fields = fields_of(await body_of(request), request.scope["annotator"])
            try:
                step, number, rating = (int(fields[name]) for name in ("step", "screen", "rating"))
            except (ValueError, KeyError):
                raise DnRError("an answer must be a form with `step`, `screen` and `rating`") from None
            await run_in_threadpool(desk.rate, step, number, rating)
        except DnRError as error:
            stale = isinstance(error, StaleStepError)
            message = OUT_OF_DATE if stale else f"your answer was not saved: {error}"
            status = 409 if stale or isinstance(error, OthersPageError) else 400
            there = number if number is not None and 1 <= number <= desk.count and not stale else desk.following(0)
            return await run_in_threadpool(seen, request, there, message, status)
        following = desk.following(number)
        return RedirectResponse("/" if following is None else f"/?screen={following}", 303)

    routes = [
        Route("/", show),
        Route("/agree", agree, methods=["POST"]),
        Route("/rate", rate, methods=["POST"]),
        *(Route(path, back) for path in ("/agree", "/rate")),
        *shared_routes(lambda request: desk_of(request).gallery),
    ]
    return Guard(Starlette(routes=routes), port, tokens)
