"""What the labelling page and the rating page share: templates, forms, pictures and static files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qs

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from dnr_env.errors import DnRError
from dnr_env.web.gallery import Gallery

MOST_BYTES = 16_384
"""Of the body of a request."""
OUT_OF_DATE = "this page was out of date; here is the present one"
templates = Environment(
    loader=PackageLoader("dnr_env.web"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


class OthersPageError(DnRError):
    """A form of the page of another annotator, whose link the same browser has opened before."""


async def body_of(request: Request) -> bytes:
    """The body of a request.

    Raises:
        DnRError: it is too long.
    """
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MOST_BYTES:
            raise DnRError(f"a form must have at most {MOST_BYTES:,} bytes")
    return bytes(body)


def fields_of(body: bytes, annotator: str) -> dict[str, str]:
    """The fields of a form of an annotator's page.

    Raises:
        OthersPageError: the form is of another's page.
        DnRError: it is no form.
    """
    try:
        fields = {name: values[-1] for name, values in parse_qs(body.decode(), keep_blank_values=True).items()}
    except ValueError:
        raise DnRError("the body must be a form in UTF-8") from None
    if (whose := fields.get("annotator", annotator)) != annotator:
        raise OthersPageError(f"that was the page of {whose}, so nothing was done: this browser is now {annotator}'s")
    return fields


def shared_routes(gallery_of: Callable[[Request], Gallery]) -> list[BaseRoute]:
    """The routes of pictures and static files.

    Args:
        gallery_of: the gallery of the annotator who asks.
    """

    async def picture(request: Request) -> Response:
        found = gallery_of(request).find(request.path_params["name"])
        if found is None:
            return PlainTextResponse("This picture is not shown any more; reload the page.", 404)
        headers = {"Cache-Control": "private, max-age=31536000, immutable"}
        return Response(found, media_type="image/webp", headers=headers)

    return [
        Route("/picture/{name}", picture),
        Mount("/static", StaticFiles(directory=Path(__file__).parent / "static")),
    ]
