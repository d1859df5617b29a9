"""Agents of the environment, all with the same `predict`, and how to name one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any

from agents.bandits import HalvingAgent, LUCBAgent, TopTwoAgent
from agents.base import Agent as Agent
from agents.blend import BlendAgent, ShortlistAgent
from agents.dissect import ClipDissectAgent, LinearAgent, PromiseAgent
from agents.extremes import ConstantAgent, OracleAgent, RandomLabelAgent
from agents.line import LineAgent, RoundsAgent
from agents.lookahead import LookaheadAgent
from agents.loops import AnnealedAgent, DnDAgent, DnRAgent, PatienceAgent, RandomAgent, StopAgent
from agents.until import SIGNALS, UntilAgent
from dnr_env.errors import DnRError, unknown

_SHIPPED = Path(__file__).parent / "policies" / "learned"


def _learned() -> Agent:
    """The policy that comes with the package."""
    from agents.learned import LearnedAgent

    return LearnedAgent.load(_SHIPPED)


def _whole(least: int, most: int = 999_999) -> Callable[[str], int]:
    """Reads a whole number between two others."""

    def read(text: str) -> int:
        if not text.isdecimal() or len(text) > 6 or not least <= int(text) <= most:
            raise ValueError(text)
        return int(text)

    return read


def _real(least: float, most: float) -> Callable[[str], float]:
    """Reads a number between two others."""

    def read(text: str) -> float:
        value = float(text)
        if not least <= value <= most:
            raise ValueError(text)
        return value

    return read


def _signal(text: str) -> str:
    if text not in SIGNALS:
        raise ValueError(text)
    return text


@dataclass(frozen=True)
class _Kind:
    """Agents of one name."""

    make: Callable[..., Agent]
    example: str = ""
    """With numbers after the name, as they are to be written."""
    meaning: str = ""
    """What the numbers are."""
    readers: tuple[Callable[[str], Any], ...] = ()
    """One for each number."""
    bare: bool = True
    """Whether the name may stand alone."""


_KINDS: Mapping[str, _Kind] = {
    "stop": _Kind(StopAgent),
    "random": _Kind(RandomAgent),
    "dnd": _Kind(DnDAgent),
    "dnr": _Kind(DnRAgent),
    "annealed": _Kind(AnnealedAgent),
    "lookahead": _Kind(LookaheadAgent),
    "patience": _Kind(PatienceAgent, "patience:3", "steps without a gain, 1 or more", (_whole(1),), bare=False),
    "rounds": _Kind(RoundsAgent, "rounds:2", "mutations, 1 or more", (_whole(1),), bare=False),
    "line": _Kind(LineAgent, "line:10", "rounds, 1 or more", (_whole(1),), bare=False),
    "until": _Kind(
        UntilAgent,
        "until:score:0.69:1:5",
        f"a signal ({', '.join(SIGNALS)}), the value to stop at, and the least and the most mutations",
        (_signal, _real(-inf, inf), _whole(0), _whole(0)),
        bare=False,
    ),
    "blend": _Kind(
        BlendAgent,
        "blend:2:0.2",
        "mutations, 0 or more, and the score's weight from 0 to 1",
        (_whole(0), _real(0, 1)),
        bare=False,
    ),
    "shortlist": _Kind(
        ShortlistAgent,
        "shortlist:3:0.5",
        "concepts, 1 to 8, and the score's weight from 0 to 1",
        (_whole(1, 8), _real(0, 1)),
        bare=False,
    ),
    "halving": _Kind(HalvingAgent, "halving:50", "images, 1 or more", (_whole(1),)),
    "lucb": _Kind(LUCBAgent, "lucb:0.25", "standard errors, 0 to 100", (_real(0, 100),)),
    "top-two": _Kind(TopTwoAgent, "top-two:0.5", "a probability", (_real(0, 1),)),
    "promise": _Kind(PromiseAgent),
    "clip-dissect": _Kind(
        ClipDissectAgent,
        "clip-dissect:100:10:1",
        "strongest images, 1 or more; a temperature, 0 to 1000; a penalty, 0 to 10",
        (_whole(1), _real(0, 1000), _real(0, 10)),
    ),
    "linear": _Kind(LinearAgent),
    "linear-joined": _Kind(lambda: LinearAgent(joined=True)),
    "constant": _Kind(ConstantAgent),
    "random-label": _Kind(RandomLabelAgent),
    "oracle": _Kind(OracleAgent),
    "learned": _Kind(_learned),
}

NAMES = (
    *(name if kind.bare else kind.example for name, kind in _KINDS.items()),
    "patience:3@informed",
    "a folder that train.py wrote",
)
"""How agents may be named, for people."""


def make_agent(spec: str) -> Agent:
    """The agent that a text names: a loop, `learned`, or a run's folder, whose best policy by validation it is.

    After an @ comes the mutator that a loop asks for in the place of the stack's first, as in `patience:3@informed`.

    Raises:
        DnRError: there is no such agent, or the folder holds no policy.
    """
    loop, at, mutator = spec.rpartition("@")
    if at and not Path(spec).is_dir():
        if not mutator or ("@" in loop and not Path(loop).is_dir()):
            raise DnRError(f"agent: {spec!r} needs one mutator after one @, as {loop.split('@')[0]}@informed has")
        agent = make_agent(loop)
        if not agent.plays:
            raise DnRError(f"agent: {loop!r} plays no episode and mutates nothing; write it without @{mutator}")
        agent.name, agent.env_options = spec, {**agent.env_options, "mutator": mutator}
        return agent
    name, *numbers = spec.split(":")
    if name in _KINDS:
        return _made(spec, _KINDS[name], numbers)
    if Path(spec).is_dir():
        from agents.learned import LearnedAgent, members

        policies = [LearnedAgent.load(folder) for folder in members(Path(spec))]
        return max(policies, key=lambda policy: policy.card["validation_return"])
    raise unknown("agent", spec, NAMES)


def _made(spec: str, kind: _Kind, numbers: list[str]) -> Agent:
    if not numbers and kind.bare:
        return kind.make()
    if not kind.readers:
        raise unknown("agent", spec, NAMES)
    try:
        return kind.make(*(read(number) for read, number in zip(kind.readers, numbers, strict=True)))
    except ValueError:
        raise DnRError(f"agent: {spec!r} must be written as {kind.example} ({kind.meaning})") from None
