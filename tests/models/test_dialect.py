"""Servers that refuse a part of a request: only this part is left out, and only if a second question shows it."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Mapping
from itertools import combinations
from typing import Any

import pytest
from fake_openai import FakeOpenAI, Reply, completion, error, phrases

from dnr_env.models.asker import Question
from dnr_env.models.chat import Chat
from dnr_env.models.dialect import PARTS, Dialect
from dnr_env.models.server_errors import Refused

pytest.importorskip("openai")

Q = Question("Be brief.", "What is it?", 0, most=3)
SEVERAL = [Q._replace(user=f"What is {i}?") for i in range(12)]


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("OPENAI_") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.01)


def chat_of(server: FakeOpenAI, **options: Any) -> Chat:
    return Chat("m", base_url=server.url, **{"timeout_s": 5, "patience_s": 1, "concurrency": 4, **options})


def has(request: Mapping[str, Any]) -> set[str]:
    """Name the parts of `PARTS` that a request has."""
    form = request.get("response_format")
    found = {"max_tokens", "temperature", "seed"} & set(request)
    if form:
        found.add("the schema")
        if "maxItems" in json.dumps(form):
            found.add("the number of phrases in the schema")
    if request["messages"][0]["role"] == "system":
        found.add("the system role")
    return found


def test_a_request_has_every_part() -> None:
    request = Dialect("m", 0.3, "low").request(Q.with_format(), 50)
    assert has(request) == set(PARTS)
    items = request["response_format"]["json_schema"]["schema"]["properties"]["phrases"]
    assert (items["minItems"], items["maxItems"]) == (1, 3)
    assert (request["reasoning_effort"], request["max_tokens"], request["seed"]) == ("low", 50, 0)
    assert "one to 3 strings" in request["messages"][0]["content"]
    assert "reasoning_effort" not in Dialect("m", 0.3).request(Q, 50)


@pytest.mark.parametrize("part", PARTS)
def test_a_request_without_a_part(part: str) -> None:
    request = Dialect("m", 0.3, without=frozenset({part})).request(Q.with_format(), 50)
    missing = {part, "the number of phrases in the schema"} if part == "the schema" else {part}
    assert has(request) == set(PARTS) - missing
    assert request.get("max_tokens", request.get("max_completion_tokens")) == 50
    said = "\n".join(message["content"] for message in request["messages"])
    assert all(text in said for text in ("Be brief.", "What is it?", "JSON object"))


WORDS = {
    "max_tokens": "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.",
    "temperature": "Unsupported value: 'temperature' does not support 0.3 with this model.",
    "seed": "Extra inputs are not permitted: seed",
    "the number of phrases in the schema": "In context=('properties', 'phrases'), 'minItems' is not permitted.",
    "the schema": "This response_format type is unavailable now",
    "the system role": "System role not supported",
}


@pytest.mark.parametrize("words", [True, False])
@pytest.mark.parametrize("refused", [*combinations(PARTS, 1), *combinations(PARTS, 2), tuple(PARTS)])
def test_the_largest_form_is_found(refused: tuple[str, ...], words: bool) -> None:
    asked: list[Dialect] = []

    def refusal(dialect: Dialect) -> Refused | None:
        asked.append(dialect)
        wrong = [part for part in refused if part in has(dialect.request(Q, 50))]
        return Refused(WORDS[wrong[0]] if words else "Bad Request") if wrong else None

    found = Dialect("m", 0.3).accepted(refusal)
    gone = {*refused, "the number of phrases in the schema"} if "the schema" in refused else set(refused)
    assert has(found.request(Q, 50)) == set(PARTS) - gone
    assert len(asked) <= 2 + 2 * len(PARTS)


def test_a_server_that_accepts_nothing() -> None:
    with pytest.raises(Refused, match="closed"):
        Dialect("m", 0.3).accepted(lambda dialect: Refused("closed"))


@pytest.mark.parametrize("status", [400, 422, 500])
@pytest.mark.parametrize("part", PARTS)
def test_a_server_that_refuses_a_part(part: str, status: int, caplog: pytest.LogCaptureFixture) -> None:
    if status == 500 and part != "the system role":
        return  # only templates fail with this status

    def picky(body: dict[str, Any]) -> Reply:
        return error(status, message=WORDS[part]) if part in has(body) else phrases("a dog")

    with FakeOpenAI(answer=picky) as server:
        assert all(answer.phrases == ["a dog"] for answer in chat_of(server).ask(SEVERAL))
        first = len(server.requests)
        assert first <= 12 + 4 + 3  # those refused at once, and the search
        assert part not in has(server.requests[-1])
    assert [f"accepts questions only without {part}:" in record.getMessage() for record in caplog.records] == [True]


def refusing(bad: Callable[[dict[str, Any]], bool], reply: Reply) -> Callable[[dict[str, Any]], Reply]:
    return lambda body: reply if bad(body) else phrases("a dog")


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (error(400, message="temperature is for one in a hundred"), "refuses the request"),
        (error(400, message="maximum context length is 4096 tokens, reduce max_tokens"), "context length"),
        (error(422, message="invalid surrogate"), "surrogate"),
        (error(400, "content_filter"), "filters the question"),
        (error(403, "403", "Your input was flagged for: violence"), "filters the question"),
        (error(500, message="grammar stack is empty"), "status 500"),
        (Reply(fault="reset"), "cannot be reached"),
        (Reply(200, b'{"error": {"code": 400, "message": "cannot be tokenized"}}'), "tokenized"),
    ],
)
@pytest.mark.parametrize("place", [0, 5])
def test_a_question_that_is_refused_is_its_own_failure(
    reply: Reply, reason: str, place: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    with FakeOpenAI(answer=refusing(lambda body: f"What is {place}?" in str(body), reply)) as server:
        chat = chat_of(server, retries=1, concurrency=1)
        answers = chat.ask(SEVERAL)
        assert [bool(answer.phrases) for answer in answers] == [i != place for i in range(12)]
        assert reason in answers[place].failure
        assert answers[place].refused
        assert chat.counters.failed == 1
        assert reason in str(chat.counters)
        assert has(server.requests[-1]) == set(PARTS)  # nothing is left out for the others
    assert "accepts questions only" not in caplog.text


def test_questions_that_time_out_are_failures_and_a_dead_server_is_an_error() -> None:
    with FakeOpenAI(answer=refusing(lambda body: "What is 3?" in str(body), Reply(fault="hang"))) as server:
        answers = chat_of(server, timeout_s=0.3, retries=0).ask(SEVERAL[:5])
        assert [bool(answer.phrases) for answer in answers] == [True, True, True, False, True]
        assert "has not answered in 1 tries" in answers[3].failure


def test_an_effort_that_the_server_does_not_know_is_an_error() -> None:
    def picky(body: dict[str, Any]) -> Reply:
        bad = "reasoning_effort" in body
        return error(400, message="reasoning_effort must be low or high") if bad else phrases("a dog")

    with FakeOpenAI(answer=picky) as server:
        chat = chat_of(server, effort="minimal")
        with pytest.raises(Refused, match="reasoning_effort must be low or high"):
            chat.ask([Q])
        assert chat_of(server).ask([Q])[0].phrases


CUT = "the answer is cut short at 300 tokens"
SPENT = "all 300 tokens were spent on thought; raise `writer.thinking_tokens`"


@pytest.mark.parametrize(
    ("content", "more", "reason"),
    [
        (None, {"reasoning_content": "Let me think"}, SPENT),
        ("", {"reasoning": "Let me think"}, SPENT),
        ("<think>Let me think", {}, SPENT),
        ('[THINK]It is {"phrases": ["no"]}', {}, SPENT),
        ("<|channel|>analysis<|message|>We", {}, SPENT),
        ('Let me think. {"phrases": ["no"]}', {}, CUT),
        (None, {}, CUT),
    ],
)
def test_a_spent_budget_is_the_reason(content: str | None, more: dict[str, Any], reason: str) -> None:
    message = {"role": "assistant", "content": content, **more}
    choices = [{"index": 0, "finish_reason": "length", "message": message}]
    with FakeOpenAI(answer=lambda body: completion("", choices=choices)) as server:
        chat = chat_of(server, max_tokens=50, thinking_tokens=100)
        assert reason in chat.ask([Q])[0].failure
        assert [body["max_tokens"] for body in server.requests] == [150, 300]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ([{"type": "text", "text": '{"phrases": ["red dog"]}'}], ["red dog"]),
        ([{"type": "text", "text": '{"phrases": '}, {"type": "text", "text": '["red dog"]}'}], ["red dog"]),
        (
            [
                {"type": "thinking", "thinking": [{"type": "text", "text": '{"phrases": ["no"]}'}]},
                {"type": "text", "text": '["red dog"]'},
            ],
            ["red dog"],
        ),
        (
            [{"type": "reasoning", "text": '{"phrases": ["no"]}'}, {"type": "output_text", "text": "red dog"}],
            ["red dog"],
        ),
        (["red dog"], ["red dog"]),
        ([{"text": "red dog"}], ["red dog"]),
        ([{"type": "thinking", "thinking": "x", "text": "no"}], []),
        ([None, 3, {"type": "text", "text": None}], []),
        ({"text": "red dog"}, []),
        ([], []),
    ],
)
def test_content_in_parts(content: Any, expected: list[str]) -> None:
    choices = [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": content}}]
    with FakeOpenAI(answer=lambda body: completion("", choices=choices)) as server:
        assert chat_of(server).ask([Q])[0].phrases == expected


@pytest.mark.parametrize("more", [{"reasoning_content": '{"phrases": ["no"]}'}, {"reasoning": "red dog"}])
def test_a_thought_beside_the_answer_is_not_read(more: dict[str, str]) -> None:
    def reply(content: str | None) -> Reply:
        message = {"role": "assistant", "content": content, **more}
        return completion("", choices=[{"index": 0, "finish_reason": "stop", "message": message}])

    with FakeOpenAI(answer=lambda body: reply('{"phrases": ["red dog"]}')) as server:
        assert chat_of(server).ask([Q])[0].phrases == ["red dog"]
        server.answer = lambda body: reply(None)
        assert chat_of(server).ask([Q])[0].failure == "the answer is a thought and nothing else"


@pytest.mark.parametrize("reply", [completion(""), completion("", "length"), error(400, "content_filter"), None])
def test_a_model_that_never_answers_ends_the_run(reply: Reply | None) -> None:
    reply = reply or Reply(200, b'{"choices": []}')
    with FakeOpenAI(answer=lambda body: reply) as server:
        with pytest.raises(Exception, match="has not answered one of 16 questions: "):
            chat_of(server, concurrency=1).ask([Q._replace(sample=i) for i in range(100)])
        assert len(server.requests) <= 32


def test_effort_and_budget_are_part_of_the_fingerprint() -> None:
    chats = [Chat("m"), Chat("m", effort="low"), Chat("m", effort="high"), Chat("m", thinking_tokens=100)]
    assert len({chat.fingerprint for chat in chats}) == 4
