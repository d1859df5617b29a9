"""The requests of the page: who may ask, what is answered, and that nothing is lost."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from serving import NEURONS, Served, client, message_of, send, served, step_of

from dnr_env import DnRError, Rules
from dnr_env.agents.human.session import Session
from dnr_env.agents.human.terminal import play
from dnr_env.cli.main import main
from dnr_env.evidence.lab import Lab
from dnr_env.web.answering import MOST_BYTES
from dnr_env.web.app import read_event
from dnr_env.web.desk import CancelledError, Desk
from dnr_env.web.gallery import Gallery
from dnr_env.web.serve import open_port, order_of, serve

EVIL = "<script>alert(1)</script> red"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Served]:
    with served(tmp_path, annotators=("ann", "bob"), budget=20, max_steps=6) as running:
        yield running


@pytest.fixture
def person(server: Served) -> Iterator[httpx.Client]:
    with client(server) as one:
        yield one


def moves(server: Served, annotator: str = "ann") -> list[dict[str, Any]]:
    lines = server.desks[annotator].session.path.read_text().splitlines()[1:]
    return [json.loads(line) for line in lines]


# --- who may ask -----------------------------------------------------------------------------------------------------


def test_a_link_is_a_key_and_then_a_cookie_is(server: Served) -> None:
    with httpx.Client(base_url=server.address) as one:
        assert one.get("/").status_code == 403
        there = one.get(f"/?token={server.tokens['ann']}")
        assert (there.status_code, there.headers["location"]) == (303, "/")
        elsewhere = one.get(f"{server.address}//evil.example/?token={server.tokens['ann']}")
        assert elsewhere.headers["location"] == "/"
        cookie = there.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=strict" in cookie
        page = one.get("/")
        assert page.status_code == 200
        assert server.tokens["ann"] not in page.text


@pytest.mark.parametrize(
    "path", ["/", "/promise?text=red", "/words?text=red", "/progress", "/picture/x.webp", "/static/page.js"]
)
def test_nothing_is_answered_without_a_token(server: Served, path: str) -> None:
    for token in ("", "token-of-ann2", "token-of-"):
        with httpx.Client(base_url=server.address, cookies={f"dnr-{httpx.URL(server.address).port}": token}) as one:
            answer = one.get(path)
            assert answer.status_code == 403
            assert "Open your link, which holds your token" in answer.text


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1", "127.0.0.1:1", "evil.example:80"])
def test_another_name_of_this_machine_is_refused(person: httpx.Client, host: str) -> None:
    assert person.get("/", headers={"Host": host}).status_code == 421


@pytest.mark.parametrize("origin", [None, "null", "http://evil.example", "https://127.0.0.1"])
def test_a_form_of_another_site_does_nothing(server: Served, person: httpx.Client, origin: str | None) -> None:
    headers = {"Origin": origin} if origin else {}
    request = person.build_request("POST", "/event", data={"event": "mutate", "step": 0, "slot": 1}, headers=headers)
    if origin is None:
        del request.headers["Origin"]
    assert person.send(request).status_code == 403
    assert moves(server) == []


def test_a_page_may_load_nothing_from_elsewhere(person: httpx.Client) -> None:
    answer = person.get("/", headers={})
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    assert "http" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    whole = httpx.get(f"{person.base_url}/", cookies=person.cookies).text
    assert not re.search(r"<(script|style)(?![^>]*(src|/static))[^>]*>[^<]", whole)
    assert " style=" not in whole
    assert not re.search(r"\son\w+=", whole)
    urls = re.findall(r'(?:src|href|action)="([^"]+)', whole)
    assert urls
    assert all(url.startswith(("/", "#")) and not url.startswith("//") for url in urls)


@pytest.mark.parametrize("name", ["../me.jsonl", "..%2fme.jsonl", "%2e%2e/%2e%2e/etc/passwd", "no.webp", ""])
def test_only_pictures_that_were_shown_are_found(person: httpx.Client, name: str) -> None:
    assert person.get(f"/picture/{name}").status_code == 404
    assert person.get(f"/static/{name}").status_code == 404


def test_the_pictures_of_one_outlast_what_another_looks_at(
    server: Served, person: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = set(re.findall(r"/picture/[^\"]+", person.get("/").text))
    monkeypatch.setattr("dnr_env.web.gallery._KEPT", 2 * len(names))
    with client(server, "bob") as bob:
        for step, number in enumerate((2, 3, 4)):
            send(bob, f"go {number}", step)
    assert {person.get(name).status_code for name in names} == {200}


def test_the_server_listens_on_this_machine_alone() -> None:
    with open_port(0) as listening:
        assert listening.getsockname()[0] == "127.0.0.1"
        taken = listening.getsockname()[1]
        with pytest.raises(
            DnRError, match=r"`port` must be a free port, or 0 for any \(got \d+: Address already in use"
        ):
            open_port(taken)


@pytest.mark.parametrize("port", [-1, 65536, 99999])
def test_a_port_must_exist(port: int) -> None:
    with pytest.raises(DnRError, match=rf"`port` must be from 0 to 65535 \(got {port}\)"):
        open_port(port)


def test_each_annotator_has_an_order_of_their_own() -> None:
    orders = [order_of(name, NEURONS, shuffle=True, repeats=0) for name in ("ann", "bob", "ann")]
    assert orders[0] == orders[2] != orders[1]
    assert sorted(orders[0]) == sorted(orders[1]) == sorted(NEURONS)


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("repeats", range(6))
def test_repeated_neurons_come_late(shuffle: bool, repeats: int) -> None:
    order = order_of("ann", NEURONS, shuffle, repeats)
    first = list(dict.fromkeys(order))
    assert sorted(order) == sorted([*NEURONS, *first[:repeats]])
    if not shuffle:
        assert order[: max(repeats, 5 - 2 * repeats)] == NEURONS[: max(repeats, 5 - 2 * repeats)]
    with pytest.raises(DnRError, match=r"`repeats` must be from 0 to the number of neurons, 5 \(got 6\)"):
        serve(Path("none"), ["ann"], NEURONS, stack="shapes", repeats=6)


def test_an_annotator_must_be_a_name(tmp_path: Path) -> None:
    for name in ("../ann", "", "a b", "1"):
        with pytest.raises(DnRError, match="`annotator` must be letters"):
            serve(tmp_path, [name], NEURONS, stack="shapes")
    with pytest.raises(DnRError, match="`annotator` must be at least one name"):
        serve(tmp_path, [], NEURONS, stack="shapes", port=0, browser=False)


# --- events ----------------------------------------------------------------------------------------------------------


def test_events_of_a_form_are_those_of_the_session(server: Served, person: httpx.Client) -> None:
    step = step_of(person.get("/"))
    for event, fields in (
        ("mutate", {"slot": 2}), ("mutate broaden", {"slot": 1}), ("keep", {"slot": 3}), ("add", {"text": "red disc"}),
        ("go 3", {}), ("go 1", {}), ("stop", {"slot": 2}), ("undo", {}),
    ):  # fmt: skip
        answer = send(person, event, step, **fields)
        assert answer.status_code == 200, answer.text
        assert step_of(answer) == step + 1
        step += 1
    assert [line["event"] for line in moves(server)] == ["mutate", "mutate", "keep", "add", "go", "go", "stop", "undo"]
    assert moves(server)[1]["kind"] == "broaden"
    assert (moves(server)[3]["text"], moves(server)[4]["neuron"]) == ("red disc", 3)
    assert moves(server, "bob") == []


def test_a_form_without_script_leads_back_to_the_page(server: Served) -> None:
    with client(server) as one:
        del one.headers["X-Part"]
        answer = send(one, "mutate", 0, slot=1)
        assert (answer.status_code, answer.headers["location"]) == (303, "/")
        assert "<!doctype html>" in one.get("/").text


def test_a_second_click_or_tab_does_nothing_twice(server: Served, person: httpx.Client) -> None:
    assert send(person, "mutate", 0, slot=1).status_code == 200
    for _ in range(2):
        answer = send(person, "mutate", 0, slot=1)
        assert answer.status_code == 409
        assert "this page was out of date" in answer.text
        assert step_of(answer) == 1
    assert len(moves(server)) == 1


def test_the_page_of_one_does_nothing_in_the_name_of_another(server: Served, person: httpx.Client) -> None:
    form = {"event": "mutate", "step": 0, "slot": 1, "annotator": "ann"}
    assert person.get("/").text.count('name="annotator" value="ann"') == person.get("/").text.count('name="step"') > 0
    person.get("/", params={"token": server.tokens["bob"]})  # in another tab of the same browser
    refused = person.post("/event", data=form)
    assert refused.status_code == 409
    assert "that was the page of ann, so nothing was done" in refused.text
    assert moves(server, "bob") == moves(server) == []
    assert person.post("/event", data={**form, "annotator": "bob"}).status_code == 200
    assert [len(moves(server, name)) for name in ("ann", "bob")] == [0, 1]


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"event": "explode", "step": 0}, "`event` must be one of keep"),
        ({"event": "keep", "step": "x", "slot": 1}, "an event must be a form"),
        ({"event": "keep", "step": 0}, "an event must be a form"),
        ({"event": "keep", "step": 0, "slot": "first"}, "an event must be a form"),
        ({"event": "keep", "step": 0, "slot": 99}, "`slot` must be from 1 to "),
        ({"event": "mutate grow", "step": 0, "slot": 1}, "`kind` must be one of"),
        ({"event": "go 99", "step": 0}, "`neuron` must be from 1 to 5"),
        ({"event": "go", "step": 0}, "an event must be a form"),
        ({"event": "add", "step": 0, "text": ""}, "must contain at least one word"),
        ({"event": "add", "step": 0, "text": "red " * 2500}, "at most 500 characters"),
        ({"event": "add", "step": 0, "text": "x" * MOST_BYTES}, "at most 16,384 bytes"),
        ({"step": 0}, "an event must be a form"),
        ({}, "an event must be a form"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_sentence(
    server: Served, person: httpx.Client, fields: dict[str, Any], says: str
) -> None:
    answer = person.post("/event", data=fields)
    assert answer.status_code == 400
    message = message_of(answer)
    assert says in message
    assert "\n" not in message
    assert moves(server) == []
    assert send(person, "mutate", 0, slot=1).status_code == 200


def test_text_of_people_and_models_is_never_markup(
    server: Served, person: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = send(person, "add", 0, text=EVIL)
    assert answer.status_code == 200
    assert "<script>" not in answer.text
    assert "&lt;script" in answer.text  # in the message on ignored words
    refused = send(person, "add", 1, text="<img src=x onerror=alert(1)>")
    assert "<img src=x" not in refused.text


def test_a_failing_model_loses_nothing(server: Served, person: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise RuntimeError("CUDA <b>error</b>")

    with monkeypatch.context() as patch:
        patch.setattr(Lab, "measure", fail)
        answer = send(person, "keep", 0, slot=1)
    assert answer.status_code == 500
    assert "the measurement failed, and nothing was changed (RuntimeError: CUDA &lt;b&gt;error" in answer.text
    assert moves(server) == []
    assert send(person, "keep", 0, slot=1).status_code == 200


def test_a_page_that_fails_is_made_by_the_next_event(
    server: Served, person: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise DnRError("dog.png cannot be read")

    with monkeypatch.context() as patch:
        patch.setattr("dnr_env.web.page.histogram", fail)
        answer = send(person, "go 2", 0)
    assert "the event was taken, and the page cannot be shown (DnRError: dog.png cannot be read)" in answer.text
    assert len(moves(server)) == 1
    stale = send(person, "go 3", 0)
    assert (stale.status_code, step_of(stale)) == (409, 1)
    assert f"<h1>{NEURONS[1]}</h1>" in stale.text
    assert send(person, "go 3", 1).status_code == 200


def test_cancelling_ends_what_is_measured_but_not_the_way_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk(partial(Session.open, tmp_path / "ann.jsonl", NEURONS, seed=3), Gallery())
    desk.apply(0, "keep", {"slot": 2})
    original = Lab._draw

    def cancelled(lab: Lab, *arguments: Any) -> Any:
        lab._forget()  # as a lab whose memory is full does: the way back reads the store
        desk.cancel()
        return original(lab, *arguments)

    text = "tiny cyan dotted cross on water"  # no other test draws it
    desk.apply(1, "add", {"text": text})
    slot = next(card.slot for card in desk.page.cards if card.text == text)
    monkeypatch.setattr(Lab, "_draw", cancelled)
    with pytest.raises(CancelledError):
        desk.apply(2, "keep", {"slot": slot})
    monkeypatch.undo()
    assert desk.session.view.spent == desk.page.spent == 5
    desk.apply(2, "keep", {"slot": slot})
    assert desk.page.spent == 10


def test_a_measurement_can_be_watched_and_cancelled_while_the_page_is_read(
    server: Served, person: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawing, go_on = threading.Event(), threading.Event()
    original = Lab._draw

    def slow(lab: Lab, *arguments: Any) -> Any:
        drawing.set()
        assert go_on.wait(20)
        return original(lab, *arguments)

    monkeypatch.setattr(Lab, "_draw", slow)
    answers: list[httpx.Response] = []
    texts = {"event": "add", "step": 0, "text": "tiny cyan checkered cross on water"}  # no other test draws it
    assert person.post("/event", data=texts).status_code == 200
    page = person.get("/").text
    (slot,) = re.findall(r'aria-label="Candidate (\d+): tiny cyan', page)
    thread = threading.Thread(target=lambda: answers.append(send(person, "keep", 1, slot=slot)))
    thread.start()
    assert drawing.wait(20)
    with client(server) as other:
        assert step_of(other.get("/")) == 1
        busy = send(other, "mutate", 1, slot=1)
        assert busy.status_code == 409
        assert "still being measured" in busy.text
        assert other.get("/promise", params={"text": "red"}).json() == {"busy": True}
        with other.stream("GET", "/progress") as stream:
            line = next(line for line in stream.iter_lines() if line)
            assert json.loads(line.removeprefix("data: ")) == {"busy": True, "done": 0, "total": 5}
        assert other.post("/cancel").status_code == 204
    go_on.set()
    thread.join(20)
    assert answers[0].status_code == 400
    assert "cancelled; nothing was changed" in answers[0].text
    assert len(moves(server)) == 1
    assert send(person, "keep", 1, slot=slot).status_code == 200


def test_a_promise_is_that_of_the_listed_concept(server: Served, person: httpx.Client) -> None:
    found = person.get("/promise", params={"text": "warm striped blorp rings"}).json()
    assert found["passed_over"] == ["blorp"]
    send(person, "add", 0, text="warm striped blorp rings")
    session = server.desks["ann"].session
    place = session.info["master"].index(found["concept"])
    assert found["mean"] == pytest.approx(session.info["master_means"][place])
    assert "error" in person.get("/promise", params={"text": "blorp"}).json()


def test_words_are_suggested_from_the_vocabulary(server: Served, person: httpx.Client) -> None:
    known = set(server.desks["ann"].session.episodes.stack.vocabulary.concepts)
    found = person.get("/words", params={"text": "Red"}).json()
    assert 0 < len(found) <= 12
    assert set(found) <= known
    assert found[0].startswith("red")
    assert person.get("/words", params={"text": ""}).json() == []


def test_a_blind_page_shows_no_model_until_the_person_has_answered(tmp_path: Path) -> None:
    with served(tmp_path, blind=True) as server, client(server) as one:
        hidden = one.get("/").text
        session = server.desks["ann"].session
        assert not [text for text in session.info["concepts"] if text and f">{text}<" in hidden]
        assert "hidden until you have added a concept" in hidden
        assert "±" not in hidden
        promised = {"concept": "red ring", "passed_over": ["blorp"]}
        assert one.get("/promise", params={"text": "red blorp ring"}).json() == promised
        for event in ("mutate", "keep", "stop"):
            refused = send(one, event, 0, slot=1)
            assert refused.status_code == 400
            assert "add a concept of your own first" in refused.text
        shown = send(one, "add", 0, text="red ring").text
        assert "mean" in one.get("/promise", params={"text": "red ring"}).json()
        assert all(f"<b>{text}</b>" in shown for text in session.info["concepts"] if text)
        assert "hidden until" in send(one, "go 2", 1).text


def test_undoing_an_answer_does_not_make_a_page_blind_again(tmp_path: Path) -> None:
    with served(tmp_path, blind=True) as server, client(server) as one:
        send(one, "add", 0, text="red ring")
        assert "hidden until" not in send(one, "undo", 1).text
    with served(tmp_path, blind=True) as server, client(server) as one:
        assert "hidden until" not in one.get("/").text
    with pytest.raises(DnRError, match=r"`blind` must be True, with which .* was begun \(got None\)"), served(tmp_path):
        pass


def test_a_log_begun_in_the_terminal_goes_on_on_the_page(tmp_path: Path) -> None:
    lines = iter(["m 2 b", "k 1", "q"])
    play(Session.open(tmp_path / "ann.jsonl", NEURONS, seed=3), lambda prompt: next(lines), lambda text: None)
    with served(tmp_path) as server, client(server) as one:
        assert step_of(one.get("/")) == 2
        send(one, "stop", 2, slot=1)
    again = Session.open(tmp_path / "ann.jsonl", NEURONS, seed=3)
    assert (again.step, len(again.labels())) == (3, 1)


def test_a_log_with_an_order_of_its_own_goes_on_in_the_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rules, lines = Rules(), iter(["s", "q"])
    same: dict[str, Any] = {"score": rules.score, "budget": rules.budget, "image_cost": rules.image_cost}
    order = order_of("ann", NEURONS, shuffle=True, repeats=1)
    with served(tmp_path, order, **same) as server, client(server) as one:
        send(one, "stop", 0, slot=1)
    monkeypatch.setattr("builtins.input", lambda prompt: next(lines))
    main(["play", "--out", str(tmp_path / "ann.jsonl"), "--seed", "3"])
    assert "2 of 6 neurons labelled" in capsys.readouterr().out
    labels = Session.open(tmp_path / "ann.jsonl", order, seed=3, **same).labels()
    assert [label["neuron"] for label in labels] == order[:2]


def test_a_log_that_another_process_writes_to_is_read_again(server: Served, person: httpx.Client) -> None:
    log = server.desks["ann"].session.path
    Session.open(log, NEURONS, seed=3, budget=20, max_steps=6).apply("mutate")
    answer = send(person, "keep", 0, slot=1)
    assert answer.status_code == 409
    assert "this page was out of date; here is the present one" in answer.text
    assert step_of(answer) == 1
    assert send(person, "keep", 1, slot=1).status_code == 200
    assert [line["event"] for line in moves(server)] == ["mutate", "keep"]
    log.write_bytes(log.read_bytes() + b"{}\n")
    damaged = send(person, "mutate", 2, slot=1)
    assert (damaged.status_code, step_of(damaged)) == (400, 2)
    assert "`path` must be an undamaged log" in damaged.text


def test_terminal_page_and_script_leave_the_same_log(tmp_path: Path) -> None:
    moves: list[tuple[str, dict[str, Any], list[str]]] = [
        ("mutate", {"slot": 2, "kind": "broaden"}, ["m 2 b"]),
        ("keep", {"slot": 1}, ["k"]),
        ("undo", {}, ["u"]),
        ("add", {"text": "Red rings"}, ["a", "Red rings"]),
        ("go", {"neuron": 3}, ["g 3"]),
        ("mutate", {"slot": 1}, ["m"]),
        ("stop", {"slot": 3}, ["s 3"]),
        ("go", {"neuron": 3}, ["g 3"]),
        ("reopen", {}, ["r"]),
        ("stop", {"slot": 1}, ["s"]),
    ]
    script = Session.open(tmp_path / "script.jsonl", NEURONS, seed=3)
    for event, chosen, _ in moves:
        script.apply(event, **chosen)
    lines = iter([line for *_, typed in moves for line in typed])
    terminal = Session.open(tmp_path / "terminal.jsonl", NEURONS, seed=3)
    play(terminal, lambda prompt: next(lines, "q"), lambda text: None)
    with served(tmp_path) as server, client(server) as one:
        for step, (event, chosen, _) in enumerate(moves):
            said = " ".join([event, *(str(chosen[key]) for key in ("kind", "neuron") if key in chosen)])
            fields = {key: value for key, value in chosen.items() if key in ("slot", "text")}
            assert send(one, said, step, **fields).status_code == 200
        labels = server.desks["ann"].session.labels()
    logs = [
        re.sub(r'"time": "[^"]*"', "", (tmp_path / f"{name}.jsonl").read_text())
        for name in ("script", "terminal", "ann")
    ]
    assert logs[0] == logs[1] == logs[2]
    assert script.labels() == terminal.labels() == labels
    assert len(labels) == 1


def test_a_form_is_read_or_refused() -> None:
    assert read_event(b"event=mutate+narrow&step=3&slot=2", "ann") == (3, "mutate", {"slot": 2, "kind": "narrow"})
    assert read_event(b"event=add&step=0&text=a%26b%3D%C3%A9", "ann") == (0, "add", {"text": "a&b=é"})
    for body in (b"", b"\xff", b"event=keep", b"event=go+x&step=1", b"[]"):
        with pytest.raises(DnRError, match=r"an event must be a form|the body must be a form in UTF-8"):
            read_event(body, "ann")
