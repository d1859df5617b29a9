"""Draws docs/page.png, the picture of the page of `dnr serve` in the README.

python docs/page.py
"""

import tempfile
import threading
from pathlib import Path

import uvicorn
from PIL import Image
from playwright.sync_api import sync_playwright

from dnr_env.agents.human.session import Session
from dnr_env.web.app import make_app
from dnr_env.web.desk import Desk
from dnr_env.web.gallery import Gallery
from dnr_env.web.serve import open_port

with tempfile.TemporaryDirectory() as folder:
    session = Session.open(Path(folder) / "ann.jsonl", ["layer4:116", "layer4:7"], seed=3, mutator="informed")
    for event in ("mutate", "mutate", "keep"):
        session.apply(event)
    session.apply("keep", slot=2)
    session.apply("add", "huge warm crescent")
    session.apply("keep")
    listening = open_port(0)
    port = listening.getsockname()[1]
    app = make_app({"ann": Desk(lambda: session, Gallery())}, port, {"key": "ann"})
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    out = Path(__file__).parent / "page.png"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1180, "height": 800})
        page.goto(f"http://127.0.0.1:{port}/?token=key")
        page.locator("#maps").check()
        page.keyboard.press("a")
        page.keyboard.type("blue striped rings")
        page.locator("#instant", has_text="promises").wait_for()
        page.screenshot(path=out)
        browser.close()
    server.should_exit = True
    thread.join()
    Image.open(out).convert("RGB").quantize(256).save(out, optimize=True)
