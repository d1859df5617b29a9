"""A session on a terminal: one key and Enter for each event."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable

from PIL import Image

from agents.human.session import Session
from dnr_env import viewer
from dnr_env.errors import DnRError

_EVENTS = {"k": "keep", "m": "mutate", "a": "add", "s": "stop", "u": "undo"}
_ALWAYS = {"p": "picture", "?": "help", "q": "quit"}
_HELP = """\
  k  keep     measure the first candidate again
  m  mutate   make a new concept from it, and measure that
  a  add      measure a concept that you type
  s  stop     the first candidate is the label; go to the next neuron
  u  undo     take back the last event, also a stop
  p  picture  write the images and scores to a PNG file
  q  quit     pause; everything is saved"""


def plain(text: str) -> str:
    """The text, with every character that a terminal could obey, or that cannot be seen, as a visible escape."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def read_line(prompt: str) -> str:
    """A line from the keyboard; raises EOFError where there is none."""
    if sys.stdin is None:  # a process without a terminal
        raise EOFError
    try:
        return input(prompt)
    except UnicodeDecodeError:
        return "�"


def write_line(text: str) -> None:
    """A line on the terminal; what its encoding lacks is shown as a question mark."""
    encoding = sys.stdout.encoding or "utf-8"
    print(text.encode(encoding, "replace").decode(encoding), flush=True)


def play(session: Session, read: Callable[[str], str] = read_line, write: Callable[[str], None] = write_line) -> bool:
    """Let a person go on with a session until they leave: by q, by the end of the input, or by Ctrl-C.

    Args:
        session: what to go on with; everything is in its log at any moment.
        read: a prompt to the line that the person types.
        write: shows lines.

    Returns:
        Whether every neuron has its label.
    """
    try:
        _show(session, write)
        while (key := read(_prompt(session)).strip()) != "q":
            _obey(key, session, read, write)
    except (EOFError, KeyboardInterrupt):
        write("")
    state = "Finished" if session.finished else "Paused"
    done = f"{len(session.labels())} of {len(session.neurons)} neurons labelled"
    write(f"{state}: {done}, saved in {plain(str(session.path))}. The same command opens it again.")
    return session.finished


def _obey(key: str, session: Session, read: Callable[[str], str], write: Callable[[str], None]) -> None:
    if key == "?":
        write(_HELP)
    elif key == "p":
        write(_save_picture(session))
    elif key in _EVENTS:
        text = read("concept: ") if key == "a" and session.masks["add"] else None
        try:
            session.apply(_EVENTS[key], text)
        except DnRError as error:
            write(f"  ! {plain(str(error))}")
        else:
            _show(session, write)
    else:
        write(f"  ! key: {key[:20]!r} is not known; {', '.join([*_EVENTS, *_ALWAYS])} will do")


def _prompt(session: Session) -> str:
    masks = session.masks
    possible = {key: event for key, event in _EVENTS.items() if masks[event]} | _ALWAYS
    return "  ".join(f"[{key}] {name}" for key, name in possible.items()) + " > "


def _show(session: Session, write: Callable[[str], None]) -> None:
    if session.finished:
        for label in session.labels():
            write(f"{plain(label['neuron'])}  {label['score']:.3f} ± {label['error']:.3f}  {plain(label['label'])}")
        return
    write(f"\n{len(session.labels()) + 1} of {len(session.neurons)}: {viewer.text(_plain_view(session.view))}")
    newest = session.info["master"][-1]
    if newest not in session.info["concepts"]:
        score = session.info["master_scores"][len(session.info["master"]) - 1]
        write(f"  {score:6.3f}  the newest concept, {plain(newest)}, is not among the best")


def _plain_view(view: viewer.View) -> viewer.View:
    """The view with harmless texts: they come from models and users."""
    candidates = [dataclasses.replace(candidate, text=plain(candidate.text)) for candidate in view.candidates]
    return dataclasses.replace(view, neuron=plain(view.neuron), message=plain(view.message), candidates=candidates)


def _save_picture(session: Session) -> str:
    """Draw the present state next to the log, and say where."""
    path = session.path.with_name(f"{session.path.name}.png")
    try:
        Image.fromarray(viewer.picture(_plain_view(session.view))).save(path)
    except OSError as error:
        return f"  ! picture: {plain(str(path))} cannot be written ({error.strerror})"
    return f"  {plain(str(path))}"
