"""What goes wrong around the page: disks, files, processes, proxies and clients. It is said, and nothing is lost."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import socketserver
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from serving import NEURONS, Served, chromium, client, full, send, served, started

from dnr_env import DnRError, Rules
from dnr_env.agents.human.said import promise
from dnr_env.agents.human.session import Session
from dnr_env.evidence.lab import Lab


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Served]:
    with served(tmp_path, annotators=("ann", "bob", "cy", "di", "eve"), budget=30, max_steps=8) as running:
        yield running


def events(path: Path) -> list[str]:
    return [json.loads(line)["event"] for line in path.read_text().splitlines()[1:]]


def test_a_full_disk_is_said_and_the_event_can_be_sent_again(server: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    path = server.desks["ann"].session.path
    before = path.read_bytes()
    with client(server) as one:
        with monkeypatch.context() as patch:
            patch.setattr("os.fsync", full)
            answer = send(one, "mutate", 0, slot=1)
        assert answer.status_code == 400
        assert "must be a file that can be written (got " in answer.text
        assert "No space left on device" in answer.text
        assert path.read_bytes() == before
        assert send(one, "mutate", 0, slot=1).status_code == 200
    assert events(path) == ["mutate"]


def test_exemplars_that_cannot_be_read_are_said_and_the_rest_is_shown(
    server: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> Any:
        raise DnRError("dog.png cannot be read")

    with client(server) as one:
        send(one, "go 2", 0)  # its captions are in the store now
        send(one, "go 1", 1)
        monkeypatch.setattr("dnr_env.evidence.probe.Probe.images", broken)
        answer = send(one, "go 2", 2)
        assert answer.status_code == 200
        assert "the exemplars cannot be shown (DnRError: dog.png cannot be read)" in answer.text
        assert 'class="card chosen"' in answer.text
        assert send(one, "mutate", 3, slot=1).status_code == 200


def test_the_tree_shows_what_each_concept_was_made_from(server: Served) -> None:
    with client(server) as one:
        assert "How the candidates came to be" not in one.get("/").text
        send(one, "add", 0, text="red ring")
        session = server.desks["ann"].session
        slot = next(i for i, c in enumerate(session.view.candidates, 1) if c.text == "red ring")
        text = send(one, "mutate broaden", 1, slot=slot).text
    (made,) = [t for t in session.info["master"] if t and session.origin(t)[1] == "red ring"]
    tree = text[text.index('class="tree"') :]
    parent, child = (f'<span class="pale">{how}:</span> ' for how in ("add", "mutate broaden"))
    assert re.search(rf"{parent}red ring\s*<ul><li>{child}{made}</li></ul>", tree)


def test_a_concept_that_is_not_among_the_best_is_said_to_be_listed(tmp_path: Path) -> None:
    with served(tmp_path, n_slots=3) as server, client(server) as one:
        session = server.desks["ann"].session
        bad = min(session.episodes.stack.vocabulary.concepts, key=lambda text: promise(session.episodes, text).mean)
        answer = send(one, "add", 0, text=bad)
        assert f"<b>{bad}</b>" not in answer.text
        assert re.search(rf'role="alert">{bad} is listed, but -?0\.\d{{3}} is too little for a card', answer.text)
        assert "is listed, but" not in send(one, "keep", 1, slot=1).text


def test_a_refused_concept_is_still_there_without_the_script(server: Served) -> None:
    with client(server) as one:
        del one.headers["X-Part"]
        answer = send(one, "add", 0, text='blorp "x" <b>')
        assert answer.status_code == 400
        assert 'name="text" value="blorp &#34;x&#34; &lt;b&gt;"' in answer.text


def test_five_clients_at_once_each_have_all_of_their_events(server: Served) -> None:
    failures: list[str] = []

    def label(annotator: str) -> None:
        with client(server, annotator) as one:
            step = 0
            for _ in NEURONS:
                for event in ("mutate", "keep", "stop"):
                    answer = send(one, event, step, slot=1)
                    step += 1
                    if answer.status_code != 200:
                        failures.append(f"{annotator} {step}: {answer.status_code}")

    threads = [threading.Thread(target=label, args=(name,)) for name in server.desks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert failures == []
    labels = [desk.session.labels() for desk in server.desks.values()]
    assert [len(one) for one in labels] == [5] * 5
    assert all(one == labels[0] for one in labels)
    for desk in server.desks.values():
        assert events(desk.session.path) == ["mutate", "keep", "stop"] * 5


def test_events_of_one_person_at_the_same_time_are_one_event(server: Served) -> None:
    codes: list[int] = []

    def mutate() -> None:
        with client(server) as one:
            codes.append(send(one, "mutate", 0, slot=1).status_code)

    threads = [threading.Thread(target=mutate) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(codes) == [200] + [409] * 5
    assert events(server.desks["ann"].session.path) == ["mutate"]


def test_a_slow_client_keeps_nobody_waiting(server: Served) -> None:
    host, port = server.address.removeprefix("http://").split(":")
    body = b"event=mutate&step=0&slot=1"
    head = (
        f"POST /event HTTP/1.1\r\nHost: {host}:{port}\r\nOrigin: {server.address}\r\nContent-Length: {len(body)}\r\n"
        f"Content-Type: application/x-www-form-urlencoded\r\nCookie: dnr-{port}={server.tokens['ann']}\r\n\r\n"
    )
    with socket.create_connection((host, int(port))) as slow:
        slow.sendall(head.encode() + body[:10])
        with client(server) as one:
            assert one.get("/").status_code == 200
            assert send(one, "mutate", 0, slot=2).status_code == 200
        slow.sendall(body[10:])
        assert slow.recv(100).startswith(b"HTTP/1.1 409")
    assert events(server.desks["ann"].session.path) == ["mutate"]


def test_ten_thousand_neurons_are_one_page(tmp_path: Path) -> None:
    with served(tmp_path, [f"layer4:{i % 64}" for i in range(10_000)]) as server, client(server) as one:
        page = one.get("/").text
        assert "1 of 10000, 0 labelled" in page
        for step, event in enumerate(("mutate", "stop", "go 10000", "stop", "go 1", "reopen", "undo")):
            answer = send(one, event, step, slot=1)
            assert answer.status_code == 200, answer.text
            assert len(answer.text) < 100_000
        assert "1 of 10000, 2 labelled" in answer.text


def test_a_session_of_a_killed_server_goes_on_in_the_next(tmp_path: Path) -> None:
    out = tmp_path / "people"
    step = 0
    for sent in (3, 2):
        with started("serve", "--neurons", "layer4:3-5", "--out", str(out)) as (process, link):
            address = link.partition("/?")[0]
            with httpx.Client(headers={"Origin": address}, follow_redirects=True, timeout=60) as one:
                assert f'data-step="{step}"' in one.get(link).text
                for event in ("mutate", "keep", "stop")[:sent]:
                    fields = {"event": event, "step": step, "slot": 1}
                    answer = one.post(f"{address}/event", data=fields)
                    step += 1
                    assert f'data-step="{step}"' in answer.text
            process.kill()
    assert events(out / "me.jsonl") == ["mutate", "keep", "stop", "mutate", "keep"]
    neurons, rules = ["layer4:3", "layer4:4", "layer4:5"], Rules()
    session = Session.open(
        out / "me.jsonl", neurons, score=rules.score, budget=rules.budget, image_cost=rules.image_cost
    )
    assert (session.step, session.present, len(session.labels())) == (5, 2, 1)


def test_a_stopped_server_ends_quietly_with_a_page_open(tmp_path: Path) -> None:
    command = ["serve", "--neurons", "layer4:3", "--out", str(tmp_path)]
    with started(*command, stderr=subprocess.PIPE) as (process, link):
        assert process.stderr
        with httpx.Client(follow_redirects=True, timeout=60) as one:
            one.get(link)
            with one.stream("GET", f"{link.partition('/?')[0]}/progress") as stream:
                next(stream.iter_lines())
                process.send_signal(2)
                said = process.stderr.read()
                code = process.wait(30)
    assert re.fullmatch(r"(\ndnr: stopped; what was finished is kept in \S+, and the same command goes on .*\n)?", said)
    assert code in (0, 130)


# --- a proxy that buffers --------------------------------------------------------------------------------------------


@contextmanager
def buffering(upstream: str) -> Iterator[str]:
    """A proxy that passes an answer on when all of it is there, as some virus scanners do; a stream never is."""
    there = int(upstream.rpartition(":")[2])
    opened: list[socket.socket] = []

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            lines = list(iter(self.rfile.readline, b"\r\n"))
            head = b"".join(line for line in lines if not line.lower().startswith(b"connection:"))
            length = re.search(rb"(?i)content-length: (\d+)", head)
            body = self.rfile.read(int(length[1])) if length else b""
            here = f":{self.connection.getsockname()[1]}".encode()
            head = head.replace(here, f":{there}".encode())  # in Host, Origin and Referer
            with socket.create_connection(("127.0.0.1", there)) as back:
                opened.append(back)
                back.sendall(head + b"Connection: close\r\n\r\n" + body)
                answer = b"".join(iter(partial(back.recv, 65536), b""))
            with contextlib.suppress(OSError):  # the browser may have left
                self.wfile.write(answer)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as proxy:
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{proxy.server_address[1]}"
        proxy.shutdown()
        for one in opened:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)


@pytest.mark.slow
def test_a_page_behind_a_proxy_that_buffers_finds_the_end_of_a_measurement(
    server: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on, original = threading.Event(), Lab._draw

    def slow(lab: Lab, *arguments: Any) -> Any:
        assert go_on.wait(30)
        return original(lab, *arguments)

    monkeypatch.setattr(Lab, "_draw", slow)
    with buffering(server.address) as proxy, chromium() as browser:
        page = browser.new_page()
        page.goto(server.link().replace(server.address, proxy))
        page.locator("#concept").fill("tiny cyan spotted cross on water")  # no other test draws it
        page.keyboard.press("Enter")
        page.locator('header[data-step="1"]').wait_for()
        page.locator('form.card[aria-label*="tiny cyan"] >> text=Keep').click()
        page.wait_for_timeout(500)
        page.reload()
        page.locator('header[data-step="1"][data-busy="1"]').wait_for()
        go_on.set()
        page.locator('header[data-step="2"]').wait_for()


@pytest.mark.slow
def test_a_full_disk_and_a_failing_generator_are_said_on_the_page(
    server: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise RuntimeError("CUDA out of memory")

    with chromium() as browser:
        page = browser.new_page()
        page.goto(server.link())
        message = page.locator("#message")
        for target, broken, says in (
            ("os.fsync", full, "No space left on device"),
            ("dnr_env.evidence.lab.Lab.measure", fail, "nothing was changed (RuntimeError: CUDA out of memory)"),
        ):
            with monkeypatch.context() as patch:
                patch.setattr(target, broken)
                page.keyboard.press("k")
                message.filter(has_text=says).wait_for()
            assert page.locator("header").get_attribute("data-step") == "0"
        page.keyboard.press("k")
        page.locator('header[data-step="1"]').wait_for()
