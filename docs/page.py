"""Draws the pictures of the pages: docs/page.png of `dnr serve`, and docs/rating.png of `dnr rate`.

python docs/page.py
"""

import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import uvicorn
from PIL import Image
from playwright.sync_api import sync_playwright

from dnr_env.agents.human.session import Session
from dnr_env.agents.registry import make_agent
from dnr_env.env.rules import Rules
from dnr_env.evaluation.labelling import label_neurons
from dnr_env.rating.plan import make_plan
from dnr_env.rating.study import CONSENT, Study
from dnr_env.registry import load
from dnr_env.web.app import make_app
from dnr_env.web.desk import Desk
from dnr_env.web.gallery import Gallery
from dnr_env.web.rating_app import make_rating_app
from dnr_env.web.rating_desk import RatingDesk
from dnr_env.web.serve import open_port


@contextmanager
def served(make: Any, desks: Mapping[str, Any], width: int, height: int) -> Iterator[Any]:
    """A browser's page of a server with one annotator."""
    listening = open_port(0)
    port = listening.getsockname()[1]
    app = make(desks, port, {"key": "ann"})
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": width, "height": height})
        page.goto(f"http://127.0.0.1:{port}/?token=key")
        yield page
        browser.close()
    server.should_exit = True
    thread.join()


def shot(page: Any, name: str) -> None:
    """Write what the page shows, with few colours."""
    out = Path(__file__).parent / name
    page.screenshot(path=out)
    Image.open(out).convert("RGB").quantize(256).save(out, optimize=True)


with tempfile.TemporaryDirectory() as folder:
    opened = partial(Session.open, Path(folder) / "ann.jsonl", ["layer4:116", "layer4:7"], seed=3, mutator="informed")
    session = opened()
    for event in ("mutate", "mutate", "keep"):
        session.apply(event)
    session.apply("keep", slot=2)
    session.apply("add", "huge warm crescent")
    session.apply("keep")
    with served(make_app, {"ann": Desk(opened, Gallery())}, 1180, 800) as page:
        page.locator("#maps").check()
        page.keyboard.press("a")
        page.keyboard.type("blue striped rings")
        page.locator("#instant", has_text="promises").wait_for()
        shot(page, "page.png")

    stack = load("shapes")
    names = [f"layer4:{i}" for i in range(100, 110)]
    labels = {
        agent: {
            record["neuron"]: record["label"]
            for record in label_neurons(stack, make_agent(agent), neurons=names, seed=0, rules=Rules())
        }
        for agent in ("dnd", "promise")
    }
    plan = make_plan(labels, names, items=20, repeats=0, pairs=True, control=False, seed=0)
    study = Study(stack.name, "", CONSENT, plan)
    desk = RatingDesk(study.answers(Path(folder), "bob"), plan, stack, study.consent, Gallery())
    with served(make_rating_app, {"ann": desk}, 1180, 500) as page:
        page.locator("text=I agree").click()
        page.keyboard.press("ArrowRight")
        page.locator("h1", has_text="of").wait_for()
        page.wait_for_timeout(500)
        shot(page, "rating.png")
