"""Errors that servers send with status 200, and those of filters and chat templates."""

from __future__ import annotations

import json
from typing import Any

import pytest

from dnr_env.models.server_errors import carried_status, is_filter, is_template

DEEP = b'{"error": ' + b"[" * 100_000


@pytest.mark.parametrize(
    ("record", "status"),
    [
        ({"error": {"code": 502, "message": "Provider returned error"}}, 502),
        ({"error": {"code": "429", "message": "slow"}}, 429),
        ({"error": {"message": "The engine is currently overloaded", "type": "overloaded_error"}}, 503),
        ({"error": {"type": "rate_limit_error", "message": "no"}}, 429),
        ({"error": {"code": "insufficient_quota", "message": "You exceeded your current quota"}}, 402),
        ({"error": "model 'm' not found, try pulling it first"}, 404),
        ({"error": {"status": "RESOURCE_EXHAUSTED", "message": "no"}}, 429),
        ([{"error": {"code": 503, "status": "UNAVAILABLE"}}], 503),
        ({"object": "error", "message": "too long", "type": "BadRequestError", "code": 400}, 400),
        ({"object": "error", "message": "Only 4096 allowed in context", "code": 40303}, 403),
        ({"error": {"message": "Incorrect API key provided"}}, 401),
        ({"error": {"message": "Loading model", "code": "unavailable_error"}}, 503),
        ({"error": {"message": "something"}, "choices": []}, 500),
        ({"error": "something", "choices": None}, 500),
        ({"choices": [{"error": {"code": 502, "message": "no"}, "finish_reason": "error"}]}, 502),
        ({"error": {"code": 1234}}, 500),
        ({"error": {"code": True, "message": None}}, 500),
        ({"error": ["a", 1]}, 500),
        ({"choices": [{"message": {"content": "an error"}}]}, 0),
        ({"choices": [{"message": {"content": "x"}}], "error": None}, 0),
        ({"choices": [{"message": {"content": "x"}}], "error": {"code": 500}}, 0),
        ({"choices": [None]}, 0),
        ({"object": "list", "data": []}, 0),
        ([1], 0),
        (3, 0),
    ],
)
def test_the_status_that_a_body_carries(record: Any, status: int) -> None:
    assert carried_status(json.dumps(record).encode()) == status


@pytest.mark.parametrize("body", [b"", b"<html>error</html>", b'{"error": {"code": 5', b"\xff\xfe", DEEP])
def test_what_is_no_json_carries_no_status(body: bytes) -> None:
    assert carried_status(body) == 0


@pytest.mark.parametrize(
    "said",
    [
        "content_filter: the prompt triggered Azure's content management policy",
        "content_policy_violation",
        "Your input was flagged for: violence",
        "PROHIBITED_CONTENT",
        "data_inspection_failed",
        "Your request was rejected as a result of our safety system",
    ],
)
def test_filters_are_known_by_their_words(said: str) -> None:
    assert is_filter(said)
    assert not is_filter("Unknown parameter: seed. Allowed are model and messages.")


@pytest.mark.parametrize(
    "said",
    [
        "Jinja Exception: System role not supported",
        "System role not supported",
        "Conversation roles must alternate user/assistant/user/assistant/...",
        "default chat template is no longer allowed",
    ],
)
def test_chat_templates_are_known_by_their_words(said: str) -> None:
    assert is_template(said)
    assert not is_template("out of memory")
