"""The rating page: who may ask, what is answered, what is lost, and that nothing tells who gave a label."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

import httpx
import pytest
from serving import Rated, chromium, full, message_of, rating, started, step_of

from dnr_env import DnRError
from dnr_env.cli.main import main
from dnr_env.evidence.probe import Probe
from dnr_env.stack import Stack
from dnr_env.web.rating_desk import SHOWN

EVIL = "<script>alert(1)</script> \"quoted\" & 'more'"
LABELS = {
    "method_a": {f"layer4:{i}": f"red thing {i}" for i in range(1, 7)},
    "method_b": {**{f"layer4:{i}": f"blue thing {i}" for i in range(1, 6)}, "layer4:6": EVIL},
}


@pytest.fixture
def server(stack: Stack, tmp_path: Path) -> Iterator[Rated]:
    with rating(stack, tmp_path, LABELS, annotators=("ann", "bob"), items=14, repeats=2) as running:
        yield running


@contextmanager
def client(server: Rated, annotator: str = "ann", agrees: bool = True) -> Iterator[httpx.Client]:
    """A browser that has followed its link."""
    headers = {"Origin": server.address}
    with httpx.Client(base_url=server.address, headers=headers, timeout=60, follow_redirects=True) as one:
        one.get("/", params={"token": server.tokens[annotator]})
        if agrees:
            one.post("/agree", data={"annotator": annotator})
        yield one


@pytest.fixture
def person(server: Rated) -> Iterator[httpx.Client]:
    with client(server) as one:
        yield one


def screen_of(answer: httpx.Response) -> int:
    found = re.search(r'name="screen" value="(\d+)"', answer.text)
    assert found
    return int(found.group(1))


def rate(one: httpx.Client, answer: httpx.Response, rating: Any = 3, **fields: Any) -> httpx.Response:
    return one.post("/rate", data={"step": step_of(answer), "screen": screen_of(answer), "rating": rating, **fields})


def lines(server: Rated, annotator: str = "ann") -> list[dict[str, Any]]:
    path = server.desks[annotator].answers.path
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_a_person_consents_rates_all_and_is_thanked(server: Rated) -> None:
    with client(server, agrees=False) as one:
        welcome = one.get("/").text
        assert "are written to a file on this machine" in welcome
        assert "data-step" not in welcome
        assert one.post("/rate", data={"step": 0, "screen": 1, "rating": 3}).status_code == 400
        assert lines(server) == []
        answer = one.post("/agree")
        for number in range(1, 15):
            assert f"<h1>{number} of 14</h1>" in answer.text
            answer = rate(one, answer, 1 + number % 5)
        assert "You have answered all 14 screens" in answer.text
        again = one.get("/", params={"screen": 3})
        assert 'value="4" data-key="4" aria-keyshortcuts="4" title="well (4)" aria-pressed="true"' in again.text
        rate(one, again, 1)
    assert [line.get("rating") for line in lines(server)] == [None, *(1 + n % 5 for n in range(1, 15)), 1]
    assert server.desks["ann"].answers[2] == 1
    assert lines(server, "bob") == []


def test_nothing_tells_who_gave_a_label(server: Rated, person: httpx.Client) -> None:
    for number in range(1, 15):
        text = person.get("/", params={"screen": number}).text
        assert not re.search("method_|control|layer4", text)
        assert "item" not in text


def test_a_screen_has_exemplars_and_other_images_mixed(server: Rated, person: httpx.Client) -> None:
    text = person.get("/").text
    framed = re.findall(r'class="picture( framed)?" href="(/picture/[^"]+)', text)
    assert len(framed) == 2 * SHOWN
    assert sum(bool(mark) for mark, _ in framed) == SHOWN
    assert framed != sorted(framed) != sorted(framed, reverse=True)
    assert {person.get(name).status_code for _, name in framed} == {200}
    assert person.get("/picture/..%2frating.json").status_code == 404


def test_texts_of_files_are_never_markup(server: Rated, person: httpx.Client) -> None:
    pages = [person.get("/", params={"screen": number}).text for number in range(1, 15)]
    assert not any("<script>alert" in page for page in pages)
    assert any("&lt;script&gt;alert(1)&lt;/script&gt; &#34;quoted&#34; &amp; &#39;more&#39;" in page for page in pages)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"rating": 0}, "`rating` must be from 1 to 5 (got 0)"),
        ({"rating": 6}, "`rating` must be from 1 to 5 (got 6)"),
        ({"rating": "x"}, "an answer must be a form"),
        ({"screen": 15}, "`screen` must be from 1 to 14 (got 15)"),
        ({"step": ""}, "an answer must be a form"),
        ({"more": "x" * 20_000}, "at most 16,384 bytes"),
    ],
)
def test_what_cannot_be_taken_is_said_and_not_written(
    server: Rated, person: httpx.Client, fields: dict[str, Any], says: str
) -> None:
    answer = rate(person, person.get("/"), **fields)
    assert answer.status_code == 400
    message = message_of(answer)
    assert says in message
    assert len(lines(server)) == 1
    assert rate(person, person.get("/")).status_code == 200


@pytest.mark.parametrize("screen", ["0", "15", "x", "-1", "9" * 30, "00000000199", ""])
def test_a_screen_that_there_is_not_is_said(person: httpx.Client, screen: str) -> None:
    answer = person.get("/", params={"screen": screen})
    assert answer.status_code == 404
    assert "`screen` must be from 1 to 14" in answer.text


def test_a_double_click_or_an_old_tab_rates_nothing_twice(server: Rated, person: httpx.Client) -> None:
    old = person.get("/")
    rate(person, old, 5)
    answer = rate(person, old, 5)
    assert answer.status_code == 409
    assert "this page was out of date" in answer.text
    assert screen_of(answer) == 2
    assert [line.get("rating") for line in lines(server)] == [None, 5]


def test_the_form_of_one_does_nothing_in_the_name_of_another(server: Rated, person: httpx.Client) -> None:
    old = person.get("/")
    person.get("/", params={"token": server.tokens["bob"]})
    for _ in range(2):
        refused = person.post("/agree", data={"annotator": "ann"})
        assert refused.status_code == 409
        assert "that was the page of ann" in refused.text
        assert "Thank you" not in refused.text
        person.post("/agree", data={"annotator": "bob"})
    answer = rate(person, old, 5, annotator="ann")
    assert answer.status_code == 409
    assert "that was the page of ann" in answer.text
    assert [len(lines(server, name)) for name in ("ann", "bob")] == [1, 1]


def test_a_form_of_another_site_or_without_a_token_does_nothing(server: Rated, person: httpx.Client) -> None:
    page = person.get("/")
    for headers in ({"Origin": "http://evil.example"}, {"Host": "evil.example"}):
        answer = person.post(
            "/rate", data={"step": step_of(page), "screen": 1, "rating": 3}, headers=headers, follow_redirects=False
        )
        assert answer.status_code in (403, 421)
    with httpx.Client(base_url=server.address, headers={"Origin": server.address}) as stranger:
        for path in ("/", "/?screen=1", "/static/rating.js", "/picture/x.webp"):
            assert stranger.get(path).status_code == 403
        assert stranger.post("/rate", data={"step": 1, "screen": 1, "rating": 3}).status_code == 403
    assert len(lines(server)) == 1


def test_a_full_disk_is_said_and_loses_nothing(
    server: Rated, person: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = person.get("/")
    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        answer = rate(person, page, 2)
    assert answer.status_code == 400
    assert "cannot be written (No space left on device)" in answer.text
    assert len(lines(server)) == 1
    rate(person, page, 2)
    assert [line.get("rating") for line in lines(server)] == [None, 2]


def test_images_that_cannot_be_read_are_said_and_passed_over(
    server: Rated, person: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> Any:
        raise DnRError("dog.png cannot be read")

    monkeypatch.setattr(Probe, "images", broken)
    server.desks["ann"]._made.clear()  # of the first screen, and of the second one ahead
    answer = person.get("/")
    assert answer.status_code == 200
    assert "the images cannot be shown, so go on with the next screen (DnRError: dog.png cannot be read)" in answer.text
    assert answer.text.count(" disabled") == 5
    monkeypatch.undo()
    assert "cannot be shown" not in rate(person, person.get("/", params={"screen": 2})).text


def test_a_server_goes_on_where_the_last_one_was(stack: Stack, tmp_path: Path) -> None:
    for number in (1, 2):
        with rating(stack, tmp_path, LABELS, items=14, repeats=2) as server, client(server) as one:
            answer = one.get("/")
            assert screen_of(answer) == number
            rate(one, answer)
    assert [line.get("rating") for line in lines(server)] == [None, 3, 3]


def test_the_command_refuses_what_cannot_be_rated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("neuron,label\nlayer4:1,red\nlayer4:2,blue\n")
    for options, says in (
        (["--neurons", "layer4:7"], "`neurons` must name a neuron that varies and that all files label"),
        (["--consent", str(tmp_path / "none.txt")], "`consent` must be a text file in UTF-8 that can be read"),
        (["--annotator", "../x"], "`annotator` must be letters"),
        (["--items", "3"], "`repeats` must be from 0 to less than `items`"),
        (["--pairs", "--no-control"], "must be at least two files"),
    ):
        with pytest.raises(SystemExit) as end:
            main(["rate", str(path), "--out", str(tmp_path / "out"), "--no-browser", "--port", "0", *options])
        assert says in str(end.value)
    assert not (tmp_path / "out").exists()


def test_answers_outlive_a_server_that_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("neuron,label\n" + "".join(f"layer4:{i},red {i}\n" for i in range(20)))
    for given in (1, 2):
        with started("rate", str(path), "--out", str(tmp_path / "out")) as (process, link):
            address = link.partition("/?")[0]
            with httpx.Client(headers={"Origin": address}, follow_redirects=True, timeout=60) as one:
                answer = one.get(link)
                if "I agree" in answer.text:
                    answer = one.post(f"{address}/agree")
                answer = one.post(
                    f"{address}/rate", data={"step": step_of(answer), "screen": screen_of(answer), "rating": 4}
                )
            assert f"<h1>{given + 1} of" in answer.text
            process.kill()
    main(["ratings", str(tmp_path / "out")])
    assert len((tmp_path / "out" / "ratings.csv").read_text().splitlines()) == 3


# --- in a browser ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as one:
        yield one


@pytest.fixture
def tab(browser: Any, server: Rated) -> Iterator[Any]:
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    complaints: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(server.link())
    page.locator("text=I agree").click()
    page.locator("h1", has_text="1 of 14").wait_for()
    yield page
    context.close()
    assert complaints == []
    assert all(url.startswith(f"{server.address}/") for url in asked)


@pytest.mark.slow
def test_all_screens_are_rated_by_keyboard_alone(tab: Any, server: Rated) -> None:
    for number in range(1, 15):
        tab.locator("h1", has_text=f"{number} of 14").wait_for()
        tab.wait_for_timeout(300)
        tab.keyboard.press(str(1 + number % 5))
    tab.locator("h1", has_text="Thank you").wait_for()
    tab.wait_for_timeout(300)
    tab.keyboard.press("ArrowLeft")
    tab.locator("h1", has_text="14 of 14").wait_for()
    assert len(lines(server)) == 15


@pytest.mark.slow
def test_a_second_press_does_not_rate_what_nobody_has_seen(tab: Any, server: Rated) -> None:
    tab.wait_for_timeout(300)
    for _ in range(2):
        tab.keyboard.press("4")
    tab.locator("h1", has_text="2 of 14").wait_for()
    tab.wait_for_timeout(400)
    assert len(lines(server)) == 2
    tab.locator("text=partly").dblclick()
    tab.locator("h1", has_text="3 of 14").wait_for()
    tab.wait_for_timeout(400)
    assert len(lines(server)) == 3


@pytest.mark.slow
def test_keys_of_other_keyboards_answer_and_those_of_a_number_pad_go_where_they_say(tab: Any, server: Rated) -> None:
    def press(key: str, code: str) -> None:
        tab.wait_for_timeout(300)
        tab.evaluate(
            "([key, code]) => document.body.dispatchEvent(new KeyboardEvent('keydown', {key, code, bubbles: true}))",
            [key, code],
        )

    press("'", "Digit4")  # as a French keyboard does without Shift
    tab.locator("h1", has_text="2 of 14").wait_for()
    press("ArrowLeft", "Numpad4")
    tab.locator("h1", has_text="1 of 14").wait_for()
    press("2", "Numpad2")
    tab.locator("h1", has_text="2 of 14").wait_for()
    assert [line.get("rating") for line in lines(server)] == [None, 4, 2]


@pytest.mark.slow
def test_pictures_grow_and_heat_maps_stay_on(tab: Any) -> None:
    tab.locator("a.picture").first.click()
    tab.locator("dialog#large").wait_for()
    tab.keyboard.press("4")  # off while a picture is large
    tab.keyboard.press("Escape")
    tab.locator("#maps").check()
    tab.locator("text=well").last.click()
    tab.locator("h1", has_text="2 of 14").wait_for()
    tab.locator("#maps:checked").wait_for()
    assert tab.locator("img.over").first.is_visible()


@pytest.mark.slow
@pytest.mark.parametrize("width", [390, 1280, 2560])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_screen_is_without_faults_of_accessibility(
    browser: Any, stack: Stack, tmp_path: Path, width: int, scheme: str
) -> None:
    axe = (files("axe_playwright_python") / "axe.min.js").read_text(encoding="utf-8")
    with rating(stack, tmp_path, LABELS, pairs=True) as server:
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        page = context.new_page()
        page.goto(server.link())
        for _ in range(2):
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            page.evaluate(axe)
            found = page.evaluate("axe.run()")["violations"]
            assert [f"{one['id']}: {one['nodes'][0]['html']}" for one in found if one["impact"] != "minor"] == []
            if page.locator("text=I agree").count():
                page.locator("text=I agree").click()
                page.locator("a.picture").first.wait_for()
        context.close()


@pytest.mark.slow
def test_the_rating_page_works_without_its_script(browser: Any, server: Rated) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(server.link())
    page.locator("text=I agree").click()
    page.locator("text=partly").click()
    page.locator("h1", has_text="2 of 14").wait_for()
    assert len(lines(server)) == 2
    context.close()
