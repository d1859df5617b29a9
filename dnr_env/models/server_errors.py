"""The failures of a language model's server, as errors of this package, and the errors that come with status 200."""

from __future__ import annotations

import json
import re
from typing import Any

from dnr_env.errors import DnRError


class NotOffered(DnRError):
    """The address or the model does not exist."""


class NotAllowed(DnRError):
    """The key is valid, but does not permit the request."""


class Refused(DnRError):
    """The server rejects the request: for its question, or for a parameter that it does not support."""


class Filtered(DnRError):
    """A filter in front of the model rejects the question."""


class Unanswered(DnRError):
    """Every attempt has failed: time has run out, the connection has ended, or the server has failed."""


class Busy(DnRError):
    """The server has too much to do, or is starting. It is worth waiting.

    Args:
        message: the error.
        status: the status that the server sent.
        wait_s: the seconds that the server asks to wait; 0 if it does not say.
    """

    def __init__(self, message: str, status: int, wait_s: float) -> None:
        super().__init__(message)
        self.status = status
        self.wait_s = wait_s


BUSY = frozenset({429, 502, 503, 504, 529})
"""The statuses of a server that may answer later."""

_STATUS_OF = [
    (402, "insufficient_quota|billing|payment|credits"),
    (429, "rate.?limit|too many|resource.?exhausted|throttl"),
    (503, "overload|unavailable|capacity|loading|busy"),
    (504, "time.?out|timed out"),
    (401, "authenti|api.?key|unauthori[sz]ed"),
    (403, "permission|forbidden"),
    (404, "not.?found|does not exist"),
    (400, "invalid|bad.?request|unsupported|filter|polic|context"),
]
"""Words of an error that has no number, and the status that they stand for."""
_FILTER = re.compile(
    "content.?filter|content.?polic|content management|prohibited.?content|data.?inspection|moderation|flagged|safety"
    ".(?:system|filter|polic)|blocked",
    re.I,
)
_TEMPLATE = re.compile(r"jinja|chat.?template|raise_exception|system role|roles? must|role.*not supported", re.I)


def carried_status(body: bytes) -> int:
    """Return the status of an error in the body of an answer with status 200, or 0 if the body holds none."""
    try:
        record = json.loads(body)
    except (ValueError, RecursionError):
        return 0
    if isinstance(record, list) and len(record) == 1:
        record = record[0]
    if not isinstance(record, dict):
        return 0
    error = record if record.get("object") == "error" else record.get("error")
    choices = record.get("choices")
    if not error and isinstance(choices, list) and choices and isinstance(choices[0], dict):
        error = choices[0].get("error")
    elif choices:
        return 0
    return _status(error) if error else 0


def _status(error: Any) -> int:
    """Return the status that an error names by number, also a longer one such as 40303, or by words."""
    fields = error if isinstance(error, dict) else {"message": error}
    for name in ("code", "status", "status_code"):
        number = str(fields.get(name, ""))[:3]
        if number.isdecimal() and 400 <= int(number) <= 599:
            return int(number)
    said = " ".join(str(fields.get(name, "")) for name in ("code", "type", "status", "message"))
    return next((status for status, words in _STATUS_OF if re.search(words, said, re.I)), 500)


def is_filter(said: str) -> bool:
    """Return whether an error is the refusal of a content filter."""
    return bool(_FILTER.search(said))


def is_template(said: str) -> bool:
    """Return whether an error comes from a chat template, for example of a model without a system role."""
    return bool(_TEMPLATE.search(said))
