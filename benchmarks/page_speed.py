"""How long the page takes, in Chromium: from a typed letter to its score, and from a KEEP to its progress bar.

PYTHONPATH=. python benchmarks/page_speed.py
"""

from __future__ import annotations

import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import uvicorn
from playwright.sync_api import sync_playwright

from dnr_env.agents.human.session import Session
from dnr_env.evidence.lab import Lab
from dnr_env.web.app import make_app
from dnr_env.web.desk import Desk
from dnr_env.web.gallery import Gallery
from dnr_env.web.serve import open_port

TYPED = ("red", "huge striped ring", "small blue star", "yellow or green cross", "dotted thing but not circle")
ROUNDS = 10
NEURONS = ["layer4:3", "layer4:5", "layer3:7"]
WATCH = """selector => { window.seen = null; const one = document.querySelector(selector);
  new MutationObserver(() => { if (window.seen === null && READY) window.seen = performance.now(); })
    .observe(one, {childList: true, subtree: true, characterData: true, attributes: true}); }"""


@contextmanager
def served(stack: str, folder: Path) -> Iterator[str]:
    """The link of a page of a stack."""
    desk = Desk(partial(Session.open, folder / "ann.jsonl", NEURONS, stack, budget=2000, max_steps=200), Gallery())
    listening = open_port(0)
    port = listening.getsockname()[1]
    server = uvicorn.Server(uvicorn.Config(make_app({"ann": desk}, port, {"key": "ann"}), log_level="error"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{port}/?token=key"
    server.should_exit = True
    thread.join(10)


def instant(page: Any) -> list[float]:
    """Milliseconds from the last letter of a concept to its score, for each concept and round."""
    times = []
    for _ in range(ROUNDS):
        for text in TYPED:
            page.locator("#concept").fill("")
            page.wait_for_timeout(150)
            page.evaluate(WATCH.replace("READY", "one.textContent.includes('promises')"), "#instant")
            page.locator("#concept").type(text[:-1], delay=1)
            page.evaluate("window.seen = null; window.start = performance.now()")
            page.locator("#concept").type(text[-1])
            while (passed := page.evaluate("window.seen && window.seen - window.start")) is None:
                time.sleep(0.005)
            times.append(passed)
    return times


def progress(page: Any) -> list[float]:
    """Milliseconds from the key of a KEEP to a visible bar, while drawings take a second."""
    original, times = Lab._draw, []

    def slow(lab: Lab, *arguments: Any) -> Any:
        time.sleep(1)
        return original(lab, *arguments)

    with patch.object(Lab, "_draw", slow):
        for number in range(ROUNDS):
            step = int(page.locator("header").get_attribute("data-step"))
            page.evaluate(WATCH.replace("READY", "!one.hidden"), "#progress")
            page.evaluate("window.start = performance.now()")
            page.keyboard.press(str(1 + number % 3))
            page.keyboard.press("k")
            page.locator(f'header[data-step="{step + 1}"]').wait_for()
            if (passed := page.evaluate("window.seen && window.seen - window.start")) is not None:
                times.append(passed)  # otherwise the store had the drawings
    return times


def main() -> None:
    """Print the medians and the slowest tenth."""
    with sync_playwright() as running:
        chromium = running.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for stack in ("shapes", "scenes"):
            with tempfile.TemporaryDirectory() as folder, served(stack, Path(folder)) as link:
                page = chromium.new_page()
                page.goto(link)
                page.locator("form.card").first.wait_for()
                found = {"instant score": instant(page)}
                page.keyboard.press("Escape")
                found["progress"] = progress(page)
                for name, times in found.items():
                    middle, late = np.quantile(times, [0.5, 0.9])
                    print(f"{stack} {name}: median {middle:.0f} ms, 90% within {late:.0f} ms, of {len(times)}")
        chromium.close()


if __name__ == "__main__":
    main()
