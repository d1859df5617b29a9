"""Servers that are busy, errors inside successes, and what the user is told of proxies and certificates."""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
from fake_openai import FakeOpenAI, Reply, error, phrases

from dnr_env.errors import DnRError
from dnr_env.models.asker import Question
from dnr_env.models.chat import Chat
from dnr_env.models.http_client import is_loopback

pytest.importorskip("openai")

Q = Question("Be brief.", "What is it?", 0)
SEVERAL = [Q._replace(user=f"What is {i}?") for i in range(6)]


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("OPENAI_", "SSL_")) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.01)
    monkeypatch.setattr("dnr_env.models.endpoint._FIRST_WAIT_S", 0.01)


def chat_of(server: FakeOpenAI, **options: Any) -> Chat:
    return Chat("m", base_url=server.url, **{"timeout_s": 5, "patience_s": 5, "concurrency": 3, **options})


def inside(status: object, message: str = "no") -> Reply:
    """An error in the body of a success."""
    return Reply(200, json.dumps({"error": {"code": status, "message": message}}).encode())


OVERLOADED = Reply(200, b'{"error": {"type": "overloaded_error", "message": "Overloaded"}}')
LOADING = error(503, "unavailable_error", "Loading model")


@pytest.mark.parametrize(
    "busy", [error(503), error(529, "overloaded_error"), error(502), error(429), LOADING, OVERLOADED, inside(429)]
)
def test_a_busy_server_is_waited_for(busy: Reply, caplog: pytest.LogCaptureFixture) -> None:
    with FakeOpenAI(*[busy] * 15) as server:
        chat = chat_of(server, retries=0)  # these are not attempts
        assert all(answer.phrases == ["red dog"] for answer in chat.ask(SEVERAL))
        assert (chat.counters.made, chat.counters.retried) == (21, 15)
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 1  # one line for all questions
    assert "questions that wait: 1, for up to 5 s more" in lines[0]


def test_waiting_is_counted_again_and_again(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dnr_env.models.endpoint._LOG_EVERY_S", 0.0)
    meeting = threading.Barrier(3, timeout=10)

    def busy(body: dict[str, Any]) -> Reply:
        if len(server.requests) <= 3:
            meeting.wait()
        return error(503, Retry_After="0.2") if len(server.requests) <= 3 else phrases("a dog")

    with FakeOpenAI(answer=busy) as server:
        chat_of(server).ask(SEVERAL[:3])
    said = [record.getMessage() for record in caplog.records]
    assert {line.split("wait: ")[1][0] for line in said} == {"1", "2", "3"}
    assert all("asks to wait 0.2 s" in line for line in said)


@pytest.mark.parametrize("busy", [error(503), error(529), OVERLOADED, error(429)])
def test_patience_ends(busy: Reply) -> None:
    with FakeOpenAI(answer=lambda body: busy) as server:
        with pytest.raises(DnRError, match=r"(has too much to do|limits the rate).*run again later"):
            chat_of(server, patience_s=0.3).ask([Q])
        assert 3 < len(server.requests) < 30
        server.requests.clear()
        with pytest.raises(DnRError):
            chat_of(server, patience_s=0).ask([Q])
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    "after", ["3600", formatdate(time.time() + 3600, usegmt=True), "inf"], ids=["s", "date", "inf"]
)
def test_a_wait_beyond_patience_is_left_to_the_user(after: str) -> None:
    with FakeOpenAI(error(503, Retry_After=after)) as server:
        with pytest.raises(DnRError, match=r"run again in (3\d\d\d[.\d]*|inf) s"):
            chat_of(server).ask([Q])
        assert len(server.requests) == 1


@pytest.mark.parametrize("after", ["soon", "", "-5", "nan", "Thu, 01 Jan 1970 00:00:00 GMT"])
def test_a_wait_that_is_none(after: str) -> None:
    with FakeOpenAI(error(503, Retry_After=after)) as server:
        assert chat_of(server).ask([Q])[0].phrases == ["red dog"]


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        (inside(401), "refuses the key"),
        (inside(402, "top up"), "quota is used up"),
        (inside("insufficient_quota"), "quota is used up"),
        (Reply(200, b'{"error": "model \'m\' not found"}'), "no model 'm'"),
        (inside(404), "no model 'm'"),
        (inside(400, "bad words"), "refuses the request: bad words"),
        (inside(500, "worker died"), "status 500: worker died"),
        (inside(None, "worker died"), "status 500: worker died"),
    ],
)
def test_an_error_inside_a_success(reply: Reply, says: str) -> None:
    with FakeOpenAI(answer=lambda body: reply) as server, pytest.raises(DnRError, match=says):
        chat_of(server, retries=0, concurrency=1).ask(SEVERAL)


def test_a_passing_error_inside_a_success_is_repeated() -> None:
    with FakeOpenAI(inside(500), inside(520)) as server:
        assert chat_of(server).ask([Q])[0].phrases == ["red dog"]
        assert len(server.requests) == 3


@pytest.mark.parametrize("name", ["ALL_PROXY", "all_proxy", "HTTP_PROXY", "http_proxy"])
@pytest.mark.parametrize(
    "value", ["socks://u:secret@127.0.0.1:9", "http://u:secret@127.0.0.1:9", "ftp://h", "http://["]
)
def test_a_server_on_this_machine_is_reached_without_a_proxy(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere.pem")
    with FakeOpenAI() as server:
        assert chat_of(server).ask([Q])[0].phrases == ["red dog"]
        assert chat_of(server).check()


@pytest.mark.parametrize("name", ["ALL_PROXY", "HTTPS_PROXY"])
@pytest.mark.parametrize("value", ["socks://u:secret@h:1", "ftp://u:secret@h", "socks4://u:secret@h:1"])
def test_a_proxy_that_cannot_be_used_is_a_sentence(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    chat = Chat("m", base_url="https://example.invalid/v1", retries=0)
    for act in (lambda: chat.ask([Q]), chat.check, chat.ready):
        with pytest.raises(DnRError, match=rf"^{name} must be the address of a proxy") as caught:
            act()
        assert "secret" not in str(caught.value)
        assert caught.value.__context__ is None


def test_a_proxy_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://u:secret@127.0.0.1:9")
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    with pytest.raises(DnRError, match="cannot be reached through the proxy of HTTP_PROXY") as caught:
        Chat("m", base_url="http://example.invalid/v1", retries=0).ask([Q])
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("content", [None, b"", b"no certificate", b"-----BEGIN CERTIFICATE-----\nAA\n"])
def test_certificates_that_cannot_be_read_are_a_sentence(
    content: bytes | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "mine.pem"
    if content is not None:
        path.write_bytes(content)
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    with pytest.raises(DnRError, match=r"^SSL_CERT_FILE must name certificates in PEM format"):
        Chat("m", base_url="https://example.invalid/v1").ask([Q])


def test_a_server_that_speaks_no_https_is_a_sentence() -> None:
    with FakeOpenAI() as server, pytest.raises(DnRError, match="does not speak https"):
        Chat("m", base_url=server.url.replace("http:", "https:"), retries=0).ask([Q])


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        *((host, True) for host in ("localhost", "a.localhost", "127.0.0.1", "127.1.2.3", "::1", "0.0.0.0")),
        ("::ffff:127.0.0.1", True),
        *((host, False) for host in ("10.0.0.1", "example.org", "", "localhost.example.org", "127.0.0.1.example.org")),
    ],
)
def test_hosts_of_this_machine(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


def test_each_failure_is_counted_by_its_reason(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    with FakeOpenAI(error(400, "content_filter"), answer=lambda body: phrases("...")) as server:
        chat = chat_of(server, concurrency=1)
        chat.ask(SEVERAL[:3])
        assert sorted(chat.counters.failures.values()) == [1, 2]
        assert "3 questions without a usable answer (2 because the answer contains no phrase; 1 because" in str(
            chat.counters
        )
