"""A session in the terminal. Each event is a key, or its word, and Enter; a candidate's number may follow."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

from PIL import Image

from dnr_env.agents.human.log import CHOOSING, KINDS, ChangedLogError
from dnr_env.agents.human.said import SessionLabel
from dnr_env.agents.human.session import Session
from dnr_env.env import viewer
from dnr_env.errors import DnRError

_EVENTS = {"k": "keep", "m": "mutate", "a": "add", "s": "stop", "g": "go", "r": "reopen", "u": "undo"}
_ALWAYS = {"p": "picture", "?": "help", "q": "quit"}
_KEYS = {word: key for key, word in {**_EVENTS, **_ALWAYS}.items()}
_HELP = """\
  k  keep     draw images of a candidate, its first or more, and measure them
  m  mutate   make a new concept from a candidate, and list it; nothing is drawn
  a  add      list a concept that you type; nothing is drawn
  s  stop     take a candidate as the label, and go to the next neuron without one
  g  go       go to another neuron, the next or that with a number: g 3
  r  reopen   take the label of this neuron back, and go on with it
  u  undo     take back the last event, even a stop
  p  picture  write the images and estimates to a PNG file
  q  quit     pause; everything is saved
Type the key or the word. After k, m and s you may name a candidate by its number; without one, it is the first: k 2.
After m you may also say how: n narrow, b broaden, s swap, m model (what a model of the neuron promises most) and, in a
language that has them, u unite (A or B) and e except (A but not C); without it, the mutator chooses: m 2 b.
A candidate's estimate is of its value on images that nobody has seen. The bar shows it with its deviation. Promise is
the estimate before anything was drawn. Coverage is how much of the neuron's activity on real images the concept
accounts for, and precision how much the real images that it fits excite the neuron."""
_KINDS = {kind[0]: kind for kind in KINDS}


class _Typed(NamedTuple):
    """A line that a person typed."""

    key: str
    slot: int | None = None
    """The number behind the key: of a candidate or, after "g", of a neuron."""
    kind: str | None = None
    rest: str = ""
    """What cannot be read."""


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


def play(
    session: Session,
    read: Callable[[str], str] = read_line,
    write: Callable[[str], None] = write_line,
    reopen: Callable[[], Session] | None = None,
) -> bool:
    """Let a person go on with a session until they leave with q, the end of the input, or Ctrl-C.

    Args:
        session: the session, whose log holds every event at any moment.
        read: shows a prompt and returns the line that the person types.
        write: shows lines.
        reopen: opens the session again, as it is after another process has written to its log; None cannot.

    Returns:
        Whether every neuron has its label.
    """
    try:
        _show(session, write, begins=True)
        while (typed := _read(read(_prompt(session)))) != _Typed("q"):
            try:
                _obey(typed, session, read, write)
            except ChangedLogError as error:
                if reopen:
                    session = reopen()
                    write("  ! another process has written to the log; this is where it is now")
                    _show(session, write, begins=True)
                else:
                    write(f"  ! {plain(str(error))}")
    except (EOFError, KeyboardInterrupt):
        write("")
    state = "Finished" if session.finished else "Paused"
    done = f"{len(session.labels())} of {len(session.neurons)} neurons labelled"
    write(f"{state}: {done}, saved in {plain(str(session.path))}. The same command opens it again.")
    return session.finished


def _read(line: str) -> _Typed:
    """Read a typed line: a key or its word, and where it chooses, a number and a kind, all in any case."""
    words = line.lower().split()
    key = _KEYS.get(words[0], words[0]) if words else ""
    if key not in _KEYS.values():
        return _Typed(line.strip())
    words, slot, kind = words[1:], None, None
    if _EVENTS.get(key) in (*CHOOSING, "go") and words and words[0].isdecimal() and len(words[0]) < 6:
        slot = int(words.pop(0))
    if key == "m" and words and _KINDS.get(words[0], words[0]) in KINDS:
        kind = _KINDS.get(words[0], words[0])
        words.pop(0)
    return _Typed(key, slot, kind, " ".join(words))


def _obey(typed: _Typed, session: Session, read: Callable[[str], str], write: Callable[[str], None]) -> None:
    key = typed.key
    if typed.rest:
        write(
            f"  ! after k, m, s or g must come a number or nothing, and after m a kind (got {key} {typed.rest[:20]!r})"
        )
    elif key == "?":
        write(_HELP)
    elif key == "p":
        write(_save_picture(session))
    elif key in _EVENTS:
        text = read("concept: ") if key == "a" and session.masks["add"] else None
        before = session.present
        chosen: dict[str, Any] = {"kind": typed.kind, **({} if typed.slot is None else {"slot": typed.slot})}
        if key == "g":
            following = session.present % len(session.neurons) + 1
            chosen = {"neuron": following if typed.slot is None else typed.slot}
        try:
            session.apply(_EVENTS[key], text, **chosen)
        except ChangedLogError:
            raise
        except DnRError as error:
            write(f"  ! {plain(str(error))}")
            return
        if key == "s":
            write(_judged(session, before))
        _show(session, write, begins=session.present != before)
    else:
        write(f"  ! the key must be one of {', '.join([*_EVENTS, *_ALWAYS])} (got {key[:20]!r})")


def _judged(session: Session, number: int) -> str:
    """Describe the label of a neuron, by its number, with the judge's verdict."""
    (label,) = (label for label in session.labels() if label["number"] == number)
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
    labels = session.labels()
    if session.finished:
        for label in labels:
            write(_line(label))
        return
    write(f"\n{session.present} of {len(session.neurons)}: {viewer.text(_plain_view(session.view))}")
    for label in labels:
        if label["number"] == session.present:
            write(f"its label: {_line(label)}")
    if begins and (captions := session.captions):
        write("captions of its exemplars: " + plain("; ".join(captions)))
    master = [text for text in session.info["master"] if text]
    newest = master[-1]
    if newest not in session.info["concepts"]:
        mean = session.info["master_means"][len(master) - 1]
        write(f"  {mean:6.3f}  the newest concept, {plain(newest)}, is not among the best")


def _line(label: SessionLabel) -> str:
    return f"{plain(label['neuron'])}  {label['mean']:.3f} ± {label['deviation']:.3f}  {plain(label['label'])}"


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
