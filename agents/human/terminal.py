"""A session in the terminal. Each event is a key, or its word, and Enter."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable

from PIL import Image

from dnr_env.agents.human.session import Session
from dnr_env.env import viewer
from dnr_env.errors import DnRError

_EVENTS = {"k": "keep", "m": "mutate", "a": "add", "s": "stop", "u": "undo"}
_ALWAYS = {"p": "picture", "?": "help", "q": "quit"}
_KEYS = {word: key for key, word in {**_EVENTS, **_ALWAYS}.items()}
_HELP = """\
  k  keep     measure the first candidate again
  m  mutate   make a new concept from the first candidate, and measure it
  a  add      measure a concept that you type
  s  stop     take the first candidate as the label, and go to the next neuron
  u  undo     take back the last event, even a stop
  p  picture  write the images and scores to a PNG file
  q  quit     pause; everything is saved
Type the key or the word. Candidates with equal scores are ordered by their simulation."""


def plain(text: str) -> str:
    """Escape every character of a text that is invisible, or that could control the terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def read_line(prompt: str) -> str:
    """Read a line from the keyboard; raise EOFError if there is none."""
    if sys.stdin is None:  # a process without a terminal
        raise EOFError
    try:
        return input(prompt)
    except UnicodeDecodeError:
        return "�"


def write_line(text: str) -> None:
    """Write a line to the terminal. Characters that its encoding lacks become question marks."""
    encoding = sys.stdout.encoding or "utf-8"
    print(text.encode(encoding, "replace").decode(encoding), flush=True)


def play(session: Session, read: Callable[[str], str] = read_line, write: Callable[[str], None] = write_line) -> bool:
    """Let a person go on with a session until they leave with q, the end of the input, or Ctrl-C.

    Args:
        session: the session, whose log holds every event at any moment.
        read: shows a prompt and returns the line that the person types.
        write: shows lines.

    Returns:
        Whether every neuron has its label.
    """
    try:
        _show(session, write, begins=True)
        while (key := _key(read(_prompt(session)))) != "q":
            _obey(key, session, read, write)
    except (EOFError, KeyboardInterrupt):
        write("")
    state = "Finished" if session.finished else "Paused"
    done = f"{len(session.labels())} of {len(session.neurons)} neurons labelled"
    write(f"{state}: {done}, saved in {plain(str(session.path))}. The same command opens it again.")
    return session.finished


def _key(line: str) -> str:
    """Return the key of a typed line, which may hold the key or its word in any case."""
    typed = line.strip()
    return _KEYS.get(typed.lower(), typed.lower() if typed.lower() in _KEYS.values() else typed)


def _obey(key: str, session: Session, read: Callable[[str], str], write: Callable[[str], None]) -> None:
    if key == "?":
        write(_HELP)
    elif key == "p":
        write(_save_picture(session))
    elif key in _EVENTS:
        text = read("concept: ") if key == "a" and session.masks["add"] else None
        labelled = len(session.labels())
        try:
            session.apply(_EVENTS[key], text)
        except DnRError as error:
            write(f"  ! {plain(str(error))}")
            return
        if len(session.labels()) > labelled:
            write(_judged(session))
        _show(session, write, begins=len(session.labels()) != labelled)
    else:
        write(f"  ! the key must be one of {', '.join([*_EVENTS, *_ALWAYS])} (got {key[:20]!r})")


def _judged(session: Session) -> str:
    """Describe the latest label with the judge's verdict."""
    label = session.labels()[-1]
    try:
        verdict = session.verdict(label)
    except DnRError as error:
        return f"  ! {plain(str(error))}"
    auc = "not judged" if verdict.auc is None else f"{verdict.auc:.3f}"
    return f"  {plain(label['neuron'])} is {plain(label['label'])}   AUC {auc}   simulation {verdict.simulation:.3f}"


def _prompt(session: Session) -> str:
    masks = session.masks
    possible = {key: event for key, event in _EVENTS.items() if masks[event]} | _ALWAYS
    return "  ".join(f"[{key}] {name}" for key, name in possible.items()) + " > "


def _show(session: Session, write: Callable[[str], None], begins: bool) -> None:
    """Show the neuron to label, with the captions of its exemplars if it was not shown before."""
    if session.finished:
        for label in session.labels():
            write(f"{plain(label['neuron'])}  {label['score']:.3f} ± {label['error']:.3f}  {plain(label['label'])}")
        return
    write(f"\n{len(session.labels()) + 1} of {len(session.neurons)}: {viewer.text(_plain_view(session.view))}")
    if begins and (captions := session.captions):
        write("captions of its exemplars: " + plain("; ".join(captions)))
    master = [text for text in session.info["master"] if text]
    newest = master[-1]
    if newest not in session.info["concepts"]:
        score = session.info["master_scores"][len(master) - 1]
        write(f"  {score:6.3f}  the newest concept, {plain(newest)}, is not among the best")


def _plain_view(view: viewer.View) -> viewer.View:
    """Make the texts of a view harmless, for they come from models and users."""
    candidates = [dataclasses.replace(candidate, text=plain(candidate.text)) for candidate in view.candidates]
    return dataclasses.replace(view, neuron=plain(view.neuron), message=plain(view.message), candidates=candidates)


def _save_picture(session: Session) -> str:
    """Write the picture of the present state next to the log, and describe the outcome."""
    path = session.path.with_name(f"{session.path.name}.png")
    try:
        Image.fromarray(viewer.picture(_plain_view(session.view))).save(path)
    except OSError as error:
        return f"  ! picture: {plain(str(path))} cannot be written ({error.strerror})"
    return f"  {plain(str(path))}"
