"""Chat with faulty endpoints: retries, messages, stored answers, and the secrecy of the key."""

from __future__ import annotations

import base64
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from fake_openai import FakeOpenAI, Reply, completion, error, phrases

import dnr_env.models
from dnr_env.errors import DnRError
from dnr_env.evidence.store import Store
from dnr_env.interfaces import Usage
from dnr_env.models.asker import Answer, Question
from dnr_env.models.chat import Chat

pytest.importorskip("openai")

MODELS = Path(dnr_env.models.__file__).parent
KEY = "sk-sentinel+/=key%42 of mine"
Q = Question("Be brief.", "What is it?", 0)
SEVERAL = [Question("Be brief.", f"What is {i}?", 0) for i in range(12)]


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("OPENAI_") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.01)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "store.sqlite")
    yield store
    store.close()


def chat_of(server: FakeOpenAI, **options: Any) -> Chat:
    return Chat("m", base_url=server.url, **{"timeout_s": 5, "patience_s": 1, **options})


def echo(body: dict[str, Any]) -> Reply:
    """Answer with a function of the question."""
    return phrases(f"about {body['messages'][1]['content']}")


def test_a_question_goes_out_with_schema_and_sample_and_its_answer_comes_back() -> None:
    with FakeOpenAI() as server:
        chat = chat_of(server)
        assert chat.ask([Q._replace(sample=7)]) == [Answer(["red dog"], Usage(1, 10, 5))]
        body = server.requests[0]
    assert (body["model"], body["seed"], body["temperature"], body["max_tokens"]) == ("m", 7, 0.3, 200)
    assert body["response_format"]["json_schema"]["schema"]["required"] == ["phrases"]
    assert "a list of one string" in body["messages"][0]["content"]  # servers may drop the schema
    assert body["messages"][1]["content"] == Q.user
    assert str(chat.counters).startswith("1 requests made (0 of them repeats)")


def test_equal_questions_are_asked_once_and_samples_apart() -> None:
    with FakeOpenAI() as server:
        chat = chat_of(server)
        chat.ask([Q, Q, Q._replace(sample=1)])
        chat.ask([Q])
        assert len(server.requests) == 2
    assert (chat.counters.made, chat.counters.remembered) == (2, 1)


def test_a_second_process_asks_nothing(store: Store) -> None:
    with FakeOpenAI(answer=echo) as server:
        first = chat_of(server, store=store).ask(SEVERAL)
        other = chat_of(server, store=store)
        assert other.ask(SEVERAL) == first
        assert len(server.requests) == 12
        assert other.counters.remembered == 12
        assert chat_of(server, store=store, temperature=0.5).ask([SEVERAL[0]])  # stored under another fingerprint
        assert len(server.requests) == 13
    assert chat_of(server, store=store).ask(SEVERAL) == first  # the server is not needed either


def test_a_rerun_goes_on_where_only_the_questions_that_fail_are_left(store: Store) -> None:
    refused = [Question("Be brief.", f"What is bad {i}?", 0) for i in range(20)]

    def answer(body: dict[str, Any]) -> Reply:
        return completion("", "content_filter") if "bad" in body["messages"][1]["content"] else echo(body)

    with FakeOpenAI(answer=answer) as server:
        for _ in range(2):
            answers = chat_of(server, store=store).ask([*SEVERAL, *refused])
            assert [bool(one.phrases) for one in answers] == [True] * len(SEVERAL) + [False] * len(refused)
        with pytest.raises(DnRError, match="has not answered one of 16 questions: the server's filter stops"):
            chat_of(server, store=store).ask(refused)


def test_answers_do_not_depend_on_order_or_concurrency() -> None:
    with FakeOpenAI(answer=echo) as server:
        one = dict(zip(SEVERAL, chat_of(server, concurrency=1).ask(SEVERAL), strict=True))
        many = dict(zip(SEVERAL[::-1], chat_of(server).ask(SEVERAL[::-1]), strict=True))
    assert one == many


def test_concurrency_is_used_and_bounded() -> None:
    meeting = threading.Barrier(3, timeout=10)

    def together(body: dict[str, Any]) -> Reply:
        meeting.wait()  # fails unless three requests arrive at the same time
        return echo(body)

    with FakeOpenAI(answer=together) as server:
        chat_of(server, concurrency=3).ask(SEVERAL)
        assert server.most_at_once == 3


def test_rate_limit_waits_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    with FakeOpenAI(error(429, "rate_limit_exceeded", Retry_After="0.05")) as server:
        chat = chat_of(server)
        assert chat.ask([Q])[0] == Answer(["red dog"], Usage(1, 10, 5))
        assert (chat.counters.made, chat.counters.retried) == (2, 1)
    assert "429, and asks to wait 0.05 s" in caplog.text


def test_used_up_quota_stops_at_once_and_keeps_what_came(store: Store) -> None:
    quota = error(429, "insufficient_quota", "You exceeded your current quota")
    with FakeOpenAI(phrases("ant"), phrases("b"), quota, answer=echo) as server:
        with pytest.raises(DnRError, match=r"quota is used up.*2 of 12 answers are in and kept"):
            chat_of(server, store=store, concurrency=1).ask(SEVERAL)
        assert len(server.requests) == 3
        assert chat_of(server, store=store).ask(SEVERAL)[0].phrases == ["ant"]
        assert len(server.requests) == 13


def test_a_long_wait_is_left_to_the_user() -> None:
    with FakeOpenAI(error(429, "rate_limit_exceeded", Retry_After="3600")) as server:
        with pytest.raises(DnRError, match="run again in 3600 s"):
            chat_of(server).ask([Q])
        assert len(server.requests) == 1


@pytest.mark.parametrize("fault", [error(500), Reply(fault="reset")])
def test_passing_failures_are_retried_a_few_times(fault: Reply) -> None:
    with FakeOpenAI(fault, fault) as server:
        assert chat_of(server).ask([Q])[0].phrases == ["red dog"]
    with FakeOpenAI(answer=lambda body: fault) as server:
        with pytest.raises(DnRError, match=r"status 500|cannot be reached"):
            chat_of(server).ask([Q])
        assert len(server.requests) == 4  # the last is another question, which could be answered


@pytest.mark.parametrize("fault", ["hang", "trickle"])
def test_a_hanging_server_ends_in_time(fault: str) -> None:
    reply = phrases("x" * 300)._replace(fault=fault)
    with FakeOpenAI(answer=lambda body: reply) as server:
        start = time.monotonic()
        with pytest.raises(DnRError, match=r"not answered in 2 tries of 0.5 s"):
            chat_of(server, timeout_s=0.5, retries=1).ask([Q])
        assert time.monotonic() - start < 10  # the whole trickle takes 45 s
        assert len(server.requests) == 3


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        (error(401, "invalid_api_key"), "OPENAI_API_KEY"),
        (error(403), "does not allow 'm'"),
        (error(404, "model_not_found"), "no model 'm'"),
        (error(402, message="pay"), "quota"),
        (Reply(200, b"<html>Welcome</html>", "text/html"), "not an OpenAI-compatible endpoint"),
        (Reply(200, b"<html>Welcome</html>"), "not an OpenAI-compatible endpoint"),
        (Reply(200, b'{"\xff'), "not an OpenAI-compatible endpoint"),
        (Reply(200, b"[" * 100_000), "not an OpenAI-compatible endpoint"),
        (Reply(200, b'{"status": "ok"}'), "not an OpenAI-compatible endpoint"),
        (Reply(200, b"[1]"), "not an OpenAI-compatible endpoint"),
    ],
)
def test_what_cannot_get_better_ends_at_once(reply: Reply, says: str) -> None:
    with FakeOpenAI(answer=lambda body: reply) as server:
        with pytest.raises(DnRError, match=says):
            chat_of(server, concurrency=1).ask(SEVERAL)
        assert len(server.requests) == 1


def test_an_absent_server() -> None:
    with FakeOpenAI() as server:
        pass
    with pytest.raises(DnRError, match="cannot be reached"):
        chat_of(server).ask([Q])


@pytest.mark.parametrize(
    "useless",
    [
        completion(None),
        completion(""),
        completion("I'm sorry, I can't help with that."),
        completion(None, refusal="I will not"),
        completion('{"phrases": ["half'),
        completion('{"phrases": ["ant"]}', "content_filter"),
        completion('{"phrases": []}'),
        completion("word " * 500),
        completion("", choices=[]),
        completion("", choices=None),
    ],
)
def test_an_unusable_answer_is_asked_for_once_more(useless: Reply, store: Store) -> None:
    with FakeOpenAI(useless) as server:
        chat = chat_of(server)
        assert chat.ask([Q]) == [Answer(["red dog"], Usage(2, 20, 10))]
        assert (chat.counters.retried, chat.counters.failed) == (1, 0)
        assert server.requests[0]["seed"] != server.requests[1]["seed"]
    with FakeOpenAI(answer=lambda body: useless) as server:
        chat = chat_of(server, store=store)
        (answer,) = chat.ask([Q])
        assert (answer.phrases, answer.usage) == ([], Usage(2, 20, 10))
        assert answer.failure
        assert chat.counters.failures == {answer.failure: 1}
        assert (chat.counters.retried, len(server.requests)) == (1, 2)
        server.answer = lambda body: phrases("red dog")
        assert chat.ask([Q])[0].phrases == ["red dog"]  # a failure is kept neither in memory
        server.answer = lambda body: useless
        other = Q._replace(sample=9)
        assert chat.ask([other])[0].failure
        server.answer = lambda body: phrases("red dog")
        assert chat_of(server, store=store).ask([other])[0].phrases == ["red dog"]  # nor in the store


def test_a_cut_answer_gets_more_room_and_then_what_is_whole_counts() -> None:
    cut = completion('{"phrases": ["red dog", "blue c', "length")
    with FakeOpenAI(cut) as server:
        assert chat_of(server).ask([Q])[0].phrases == ["red dog"]
        assert [body["max_tokens"] for body in server.requests] == [200, 400]
    with FakeOpenAI(cut, cut) as server:
        assert chat_of(server).ask([Q])[0] == Answer(["red dog"], Usage(2, 20, 10))


def test_missing_usage_is_nothing() -> None:
    with FakeOpenAI(completion('["ant"]', usage=None)) as server:
        assert chat_of(server).ask([Q]) == [Answer(["ant"], Usage(1, 0, 0))]


@pytest.mark.parametrize("status", [400, 422])
def test_a_server_without_the_optional_parameters(status: int, caplog: pytest.LogCaptureFixture) -> None:
    def picky(body: dict[str, Any]) -> Reply:
        return error(status, message="unknown field seed") if "seed" in body else phrases("ant")

    with FakeOpenAI(answer=picky) as server:
        chat = chat_of(server, concurrency=1)
        assert all(answer.phrases == ["ant"] for answer in chat.ask(SEVERAL))
        assert len(server.requests) == 15  # one refusal, and two of another question
        assert "seed" not in server.requests[-1]
        assert {"temperature", "response_format"} < set(server.requests[-1])
    assert caplog.text.count("only without seed") == 1


def test_a_model_with_another_name_for_the_limit() -> None:
    def newer(body: dict[str, Any]) -> Reply:
        return error(400, message="use max_completion_tokens") if "max_tokens" in body else phrases("ant")

    with FakeOpenAI(answer=newer) as server:
        assert chat_of(server).ask([Q])[0].phrases == ["ant"]
        assert server.requests[-1]["max_completion_tokens"] == 200
        assert "seed" in server.requests[-1]


def test_a_wrong_request_is_not_repeated_forever() -> None:
    with FakeOpenAI(answer=lambda body: error(400, message="context length exceeded")) as server:
        with pytest.raises(DnRError, match="context length exceeded"):
            chat_of(server).ask([Q])
        assert len(server.requests) == 3


def test_keys_are_needed_where_they_are() -> None:
    with FakeOpenAI() as server:
        chat_of(server).ask([Q])
        assert server.headers[0]["authorization"] == "Bearer none"
    for url in (None, "https://example.org/v1"):
        with pytest.raises(DnRError, match="OPENAI_API_KEY is not set"):
            Chat("m", base_url=url).ask([Q])
        with pytest.raises(DnRError, match="OPENAI_API_KEY is not set"):
            Chat("m", base_url=url).check()


def test_the_environment_names_endpoint_and_key(monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeOpenAI() as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        monkeypatch.setenv("OPENAI_API_KEY", "sk-1\n")
        Chat("m").ask([Q])
        assert server.headers[0]["authorization"] == "Bearer sk-1"
    monkeypatch.setenv("OPENAI_API_KEY", "schlüssel")
    with pytest.raises(DnRError, match="characters that no key has") as caught:
        Chat("m").ask([Q])
    assert "schl" not in str(caught.value)


@pytest.mark.parametrize("url", ["localhost:1234", "sk-secret", "file:///etc", "http://", "http://h:99999999/v1"])
def test_addresses_that_are_none(url: str) -> None:
    with pytest.raises(DnRError, match=r"^`base_url` must be an address") as caught:
        Chat("m", base_url=url)
    assert "secret" not in str(caught.value)


def test_the_fingerprint_is_the_models_not_the_servers() -> None:
    assert Chat("m", base_url="http://localhost:1/v1").fingerprint == Chat("m").fingerprint
    assert len({Chat("m").fingerprint, Chat("n").fingerprint, Chat("m", temperature=0).fingerprint}) == 3


def test_check() -> None:
    with FakeOpenAI() as server:
        assert chat_of(server).check() == f"m at {server.url}"
        server.models = ("models/m", "other")
        assert chat_of(server).check() == f"m at {server.url}"
        server.models = ("mm", "other")
        with pytest.raises(DnRError, match=r"^`model` must be one of mm, … \(got 'm'\)$"):
            chat_of(server).check()
        server.models = error(404)
        assert "not checked" in chat_of(server).check()
        server.models = error(401)
        with pytest.raises(DnRError, match="OPENAI_API_KEY"):
            chat_of(server).check()
        server.models = Reply(200, b"<html>", "text/html")
        with pytest.raises(DnRError, match="not an OpenAI-compatible"):
            chat_of(server).check()
        assert server.requests == []


def test_ready_asks_a_question_only_in_doubt() -> None:
    denied = error(401, "missing_scope", "You have insufficient permissions. Missing scopes: api.model.read")
    unknown = error(404, "model_not_found")
    cases: list[tuple[tuple[str, ...] | Reply, Reply | None, int, str]] = [
        (("m", "other"), None, 0, ""),
        (("mm", "other"), None, 1, ""),  # a server may answer to names that it does not list
        ((), None, 1, ""),
        (error(404), None, 1, ""),
        (error(403), None, 1, ""),
        (denied, None, 1, ""),
        (("mm", "other"), completion(None, refusal="no"), 1, ""),  # a refusal is an answer
        (("mm", "other"), unknown, 1, r"^`model` must be one of mm, … \(got 'm'\)$"),
        (error(404), unknown, 1, "has no model 'm'"),
        (error(403), error(403), 1, "does not allow 'm'"),
        (denied, denied, 1, "does not allow 'm'"),
        (error(403), error(429, "insufficient_quota"), 1, "quota is used up"),
        (error(401), None, 0, "OPENAI_API_KEY"),
        (Reply(200, b"<html>", "text/html"), None, 0, "not an OpenAI-compatible"),
        (Reply(fault="reset"), None, 0, "cannot be reached"),
    ]
    for models, reply, questions, problem in cases:
        with FakeOpenAI(*[reply] if reply else []) as server:
            server.models = models
            chat = chat_of(server)
            if problem:
                with pytest.raises(DnRError, match=problem):
                    chat.ready()
            else:
                chat.ready()
            assert len(server.requests) == questions, models
    with pytest.raises(DnRError, match="OPENAI_API_KEY is not set"):
        Chat("m", base_url="https://example.org/v1").ready()


def test_no_failure_lets_the_key_out(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    forms = [KEY, base64.b64encode(KEY.encode()).decode(), quote(KEY, safe=""), quote(KEY), "sentinel"]
    said = f"bad key {' '.join(forms[:4])}"
    replies = [error(status, "c", said) for status in (400, 401, 403, 404, 422, 429, 500)]
    replies += [error(429, "insufficient_quota", said), Reply(fault="reset"), Reply(fault="hang")]
    replies += [Reply(200, said.encode(), kind) for kind in ("text/html", "application/json")]
    replies += [error(400, "c", "x" * 290 + said), completion(None, refusal="no")]
    texts = []
    for name in ("openai", "httpx2", "httpcore2", "dnr_env"):
        caplog.set_level(logging.DEBUG, logger=name)
    for i, reply in enumerate(replies):
        with FakeOpenAI(*[reply] * 9) as server:
            server.models = reply
            chat = chat_of(server, store=store, timeout_s=0.3, retries=1)
            for act in (partial(chat.ask, [Q._replace(sample=i)]), chat.check, chat.ready):
                try:
                    texts.append(repr(act()))
                except DnRError as problem:
                    assert problem.__context__ is None  # noqa: PT017
                    with_locals = traceback.TracebackException.from_exception(problem, capture_locals=True)
                    texts += [str(problem), repr(problem)]
                    ours = [frame for frame in with_locals.stack if Path(frame.filename).parent == MODELS]
                    texts += ["".join(with_locals.format_exception_only()), *(str(frame.locals) for frame in ours)]
            texts += [repr(chat), str(vars(chat)), str(vars(chat.endpoint))]
    for url in (f"https://u:{quote(KEY, safe='')}@h/v1", f"https://h/v1?key={quote(KEY)}", KEY):
        with pytest.raises(DnRError, match="base_url") as caught:
            Chat("m", base_url=url)
        texts.append(str(caught.value))
    store.close()
    texts.append(caplog.text)
    texts += [path.read_bytes().decode("latin-1") for path in tmp_path.iterdir()]
    assert caplog.text
    for text in texts:
        for form in forms:
            assert form not in text


_CHILD = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell in the background lets children ignore it
from pathlib import Path
from dnr_env.models.asker import Question
from dnr_env.models.chat import Chat
from dnr_env.evidence.store import Store
questions = [Question("Be brief.", f"What is {i}?", 0) for i in range(12)]
chat = Chat("m", base_url=sys.argv[1], concurrency=2, store=Store(Path(sys.argv[2])))
chat.ask(questions)
"""


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGINT])
def test_a_run_that_is_stopped_keeps_its_answers(store: Store, sign: signal.Signals) -> None:
    stuck = threading.Event()

    def slow(body: dict[str, Any]) -> Reply:
        if len(server.requests) > 7:  # six are answered, and two are pending
            stuck.set()
        return echo(body) if len(server.requests) <= 6 else Reply(fault="hang")

    with FakeOpenAI(answer=slow) as server:
        run = subprocess.Popen([sys.executable, "-c", _CHILD, server.url, str(store.path)], stderr=subprocess.DEVNULL)
        try:
            assert stuck.wait(60)
            run.send_signal(sign)
            assert run.wait(90) != 0  # the pending requests would take up to 180 s
        finally:
            run.kill()
            run.wait()
        server.released.set()
        server.requests.clear()
        server.answer = echo
        answers = chat_of(server, store=store).ask(SEVERAL)
        assert [answer.phrases for answer in answers] == [[f"about {question.user}"] for question in SEVERAL]
        assert len(server.requests) == 6


def test_a_damaged_record_is_a_miss(store: Store) -> None:
    with FakeOpenAI() as server:
        chat = chat_of(server)
        for value in (b"[]", b"{", json.dumps({"phrases": 3, "usage": [1, 2, 3, 4]}).encode()):
            store.put_many({chat._key(Q): value})
            assert chat_of(server, store=store).ask([Q])[0].phrases == ["red dog"]
        assert len(server.requests) == 3
