"""The page in a real browser: by keyboard alone, by mouse alone, on small and large screens, and without faults."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from serving import NEURONS, Served, chromium, served

from dnr_env.evidence.lab import Lab

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as one:
        yield one


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Served]:
    with served(tmp_path, budget=30, max_steps=12) as running:
        yield running


class Tab:
    """A tab, with all that it asked for and complained of."""

    def __init__(self, browser: Any, server: Served, width: int = 1280, height: int = 900) -> None:
        self.server = server
        self.context = browser.new_context(viewport={"width": width, "height": height})
        self.page = self.context.new_page()
        self.asked: list[str] = []
        self.complaints: list[str] = []
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.goto(server.link())
        self.page.locator("form.card").first.wait_for()

    @property
    def step(self) -> int:
        return int(self.page.locator("header").get_attribute("data-step"))

    def waits(self, step: int) -> None:
        """Wait until the page is at a step."""
        self.page.locator(f'header[data-step="{step}"]').wait_for()

    def press(self, key: str) -> None:
        """Press the key of an event, and wait until it is taken."""
        step = self.step
        self.page.keyboard.press(key)
        self.waits(step + 1)

    def click(self, selector: str) -> None:
        """Click what is an event, and wait until it is taken."""
        step = self.step
        self.page.locator(selector).first.click()
        self.waits(step + 1)


@pytest.fixture
def tab(browser: Any, server: Served) -> Iterator[Tab]:
    one = Tab(browser, server)
    yield one
    one.context.close()
    assert one.complaints == []
    assert all(url.startswith(f"{server.address}/") for url in one.asked)


def events(server: Served) -> list[str]:
    lines = server.desks["ann"].session.path.read_text().splitlines()[1:]
    return [json.loads(line)["event"] for line in lines]


def labels(server: Served) -> list[str]:
    return [label["neuron"] for label in server.desks["ann"].session.labels()]


def test_five_neurons_are_labelled_by_keyboard_alone(tab: Tab, server: Served) -> None:
    for number in range(len(NEURONS)):
        tab.press("m")
        tab.page.keyboard.press("2")
        tab.press("k")
        tab.press("b")
        tab.page.keyboard.press("a")
        tab.page.keyboard.type("kum blue ring")  # of which k, u and m would be events
        tab.page.keyboard.press("Enter")
        tab.waits(number * 5 + 4)
        tab.page.keyboard.press("Escape")
        tab.press("s")
    assert labels(server) == NEURONS
    assert events(server) == ["mutate", "keep", "mutate", "add", "stop"] * len(NEURONS)
    assert tab.page.locator("text=Every neuron has its label").is_visible()
    tab.press("u")
    assert labels(server) == NEURONS[:-1]
    tab.press("ArrowLeft")
    tab.press("r")
    assert len(labels(server)) == len(NEURONS) - 2


def test_five_neurons_are_labelled_by_mouse_alone(tab: Tab, server: Served) -> None:
    for _ in NEURONS:
        tab.click('form.card[data-slot="2"] >> text=Keep')
        tab.click('form.card[data-slot="1"] >> text=broaden')
        tab.click('form.card[data-slot="3"] >> text=Take as label')
    assert labels(server) == NEURONS
    tab.click("text=Undo")
    tab.click("text=next →")
    assert tab.page.locator("h1").inner_text() == NEURONS[0]


def test_the_log_does_not_tell_how_the_events_came(browser: Any, server: Served, tmp_path: Path) -> None:
    tab = Tab(browser, server)
    for key in ("m", "k", "b", "s"):
        tab.press(key)
    tab.context.close()
    with served(tmp_path / "mouse", budget=30, max_steps=12) as other:
        mouse = Tab(browser, other)
        for label in ("Mutate", "Keep", "broaden", "Take as label"):
            mouse.click(f'form.card[data-slot="1"] >> text={label}')
        mouse.context.close()
        logs = [re.sub(r'"time": "[^"]*"', "", one.desks["ann"].session.path.read_text()) for one in (server, other)]
        assert logs[0] == logs[1]


def test_a_typed_concept_is_scored_before_it_is_added(tab: Tab) -> None:
    tab.page.keyboard.press("a")
    tab.page.keyboard.type("warm striped blorp rings")
    output = tab.page.locator("#instant")
    output.filter(has_text="not understood: blorp").wait_for()
    assert re.search(r"read as “warm striped ring”: promises -?\d\.\d{3}, coverage", output.inner_text())
    assert tab.step == 0
    assert tab.page.locator("#known option").count() == 0  # no word of the vocabulary begins so
    tab.page.locator("#concept").fill("red")
    tab.page.locator("#known option").first.wait_for(state="attached")


def test_reload_second_tab_and_back_find_the_present_state(browser: Any, server: Served, tab: Tab) -> None:
    other = Tab(browser, server)
    tab.press("m")
    other.page.keyboard.press("k")  # of a step that is over
    other.page.locator("#message", has_text="out of date").wait_for()
    assert other.step == 1
    other.press("k")
    tab.page.reload()
    tab.waits(2)
    tab.page.goto("about:blank")
    tab.page.go_back()
    tab.waits(2)
    assert events(server) == ["mutate", "keep"]
    other.context.close()
    assert all("409" in complaint for complaint in other.complaints)


def test_many_tabs_of_one_browser_are_served(tab: Tab, server: Served) -> None:
    for _ in range(8):
        other = tab.context.new_page()
        other.goto(server.address, timeout=20_000)
        other.locator("form.card").first.wait_for()
    tab.press("m")


def test_a_page_that_is_reloaded_during_a_measurement_shows_its_end(tab: Tab, monkeypatch: pytest.MonkeyPatch) -> None:
    go_on, original = threading.Event(), Lab._draw

    def slow(lab: Lab, *arguments: Any) -> Any:
        assert go_on.wait(20)
        return original(lab, *arguments)

    monkeypatch.setattr(Lab, "_draw", slow)
    tab.page.locator("#concept").fill("tiny cyan hatched cross on water")  # no other test draws it
    tab.page.keyboard.press("Enter")
    tab.waits(1)
    tab.page.locator('form.card[aria-label*="tiny cyan"] >> text=Keep').click()
    tab.page.locator("#said", has_text="0 of 5 images").wait_for()
    tab.page.reload()
    tab.page.locator("#said", has_text="0 of 5 images").wait_for()
    assert tab.step == 1
    go_on.set()
    tab.waits(2)
    tab.page.locator("#progress").wait_for(state="hidden")


def test_a_double_click_is_one_event(tab: Tab, server: Served) -> None:
    tab.page.locator('form.card[data-slot="1"] >> text=Mutate').first.dblclick()
    tab.waits(1)
    tab.page.wait_for_timeout(300)
    assert events(server) == ["mutate"]


def test_a_slow_double_click_is_one_event(tab: Tab, server: Served) -> None:
    box = tab.page.locator('form.card[data-slot="1"] >> text=Mutate').first.bounding_box()
    tab.page.mouse.move(box["x"] + 5, box["y"] + 5)
    for click in (1, 2):
        tab.page.mouse.down(click_count=click)
        tab.page.mouse.up(click_count=click)
        tab.waits(1)
    tab.page.wait_for_timeout(300)
    assert events(server) == ["mutate"]
    tab.press("m")


def test_keys_act_with_caps_lock(tab: Tab) -> None:
    tab.press("M")
    tab.page.keyboard.press("A")
    tab.page.keyboard.type("RED ring")
    tab.page.locator("#instant", has_text="red ring").wait_for()


def test_a_refused_concept_can_be_mended(tab: Tab) -> None:
    concept = tab.page.locator("#concept")
    concept.fill("blorp")
    tab.page.keyboard.press("Enter")
    tab.page.locator("#message", has_text="at least one word that can be drawn").wait_for()
    tab.page.keyboard.type(" red")
    assert concept.input_value() == "blorp red"
    assert [complaint for complaint in tab.complaints if "400" not in complaint] == []
    tab.complaints.clear()
    tab.page.keyboard.press("Enter")
    tab.waits(1)
    assert concept.input_value() == ""
    tab.press("k")


def test_the_focus_stays_where_it_was(tab: Tab) -> None:
    focus = "document.activeElement.dataset.key || document.activeElement.className"
    tab.page.locator("header [data-key=ArrowRight]").focus()
    tab.press("Enter")
    assert tab.page.evaluate(focus) == "ArrowRight"
    tab.page.locator('form.card[data-slot="2"] [data-key=m]').focus()
    tab.press("Enter")
    assert tab.page.evaluate(focus) == "card chosen"


def test_a_picture_grows_and_heat_maps_appear(tab: Tab) -> None:
    tab.page.locator("a.picture").first.focus()
    tab.page.keyboard.press("Enter")
    dialog = tab.page.locator("dialog#large")
    dialog.wait_for()
    assert dialog.locator("img").get_attribute("src").endswith(".webp")
    tab.page.keyboard.press("k")  # off while a picture is large
    tab.page.keyboard.press("Escape")
    dialog.wait_for(state="hidden")
    assert tab.step == 0
    assert not tab.page.locator("img.over").first.is_visible()
    tab.page.locator("#maps").check()
    assert tab.page.locator("img.over").first.is_visible()
    tab.press("m")
    assert tab.page.locator("img.over").first.is_visible()


@pytest.mark.parametrize("width", [390, 1280, 2560])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_screen_shows_all_without_faults_of_accessibility(
    browser: Any, server: Served, width: int, scheme: str
) -> None:
    tab = Tab(browser, server, width)
    tab.page.emulate_media(color_scheme=scheme)
    tab.press("m")
    tab.press("k")
    tab.page.locator("summary").first.click()
    assert tab.page.evaluate("document.documentElement.scrollWidth") <= width
    tab.page.evaluate((files("axe_playwright_python") / "axe.min.js").read_text(encoding="utf-8"))
    found = tab.page.evaluate("axe.run()")["violations"]
    serious = [f"{one['id']}: {one['nodes'][0]['html']}" for one in found if one["impact"] in ("serious", "critical")]
    assert serious == []
    tab.context.close()


def test_the_page_works_without_its_script(browser: Any, server: Served) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(server.link())
    page.locator('form.card[data-slot="2"] >> text=Keep').click()
    page.locator('header[data-step="1"]').wait_for()
    page.locator("#concept").fill("red ring")
    page.locator("#adding >> text=Add").click()
    page.locator('header[data-step="2"]').wait_for()
    page.locator("text=next →").click()
    page.locator('header[data-step="3"]').wait_for()
    assert events(server) == ["keep", "add", "go"]
    context.close()


def test_a_server_that_is_gone_is_said(browser: Any, tmp_path: Path) -> None:
    with served(tmp_path) as server:
        tab = Tab(browser, server)
        tab.press("m")
    tab.page.keyboard.press("m")
    tab.page.locator("#message", has_text="The server does not answer").wait_for()
    tab.context.close()


def test_a_page_weighs_little_without_its_pictures(browser: Any, server: Served) -> None:
    tab = Tab(browser, server)
    sizes = []
    tab.page.on(
        "response",
        lambda r: sizes.append(len(r.body())) if "/picture/" not in r.url and "progress" not in r.url else None,
    )
    tab.page.reload()
    tab.page.locator("form.card").first.wait_for()
    assert 0 < sum(sizes) <= 300_000
    tab.context.close()
