"""Agents by name."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any

from dnr_env.agents.bandits import HalvingAgent, LUCBAgent, TopTwoAgent
from dnr_env.agents.base import Agent as Agent
from dnr_env.agents.by_kind import CoverAgent, KindsAgent, ListAgent, TurnsAgent
from dnr_env.agents.extremes import ConstantAgent, OracleAgent, RandomLabelAgent
from dnr_env.agents.gradient import GradientAgent, ImproveAgent
from dnr_env.agents.labellers import ClipDissectAgent, LinearAgent, PromiseAgent
from dnr_env.agents.line import LineAgent, RoundsAgent
from dnr_env.agents.lookahead import LookaheadAgent
from dnr_env.agents.loops import AnnealedAgent, DnDAgent, DnRAgent, PatienceAgent, RandomAgent, StopAgent
from dnr_env.agents.shortlist import ShortlistAgent
from dnr_env.agents.until import SIGNALS, UntilAgent
from dnr_env.errors import DnRError, unknown
from dnr_env.stack import Stack
from dnr_env.usercode import code_digest, source_of, user_object

_SHIPPED = Path(__file__).parent / "learned" / "shipped"


def _learned() -> Agent:
    """Load the policy that comes with the package."""
    from dnr_env.agents.learned.policy import LearnedAgent

    agent = LearnedAgent.load(_SHIPPED)
    agent.name = "learned"
    return agent


def _whole(least: int, most: int = 999_999) -> Callable[[str], int]:
    """Make a reader of whole numbers within bounds."""

    def read(text: str) -> int:
        if not text.isdecimal() or len(text) > 6 or not least <= int(text) <= most:
            raise ValueError(text)
        return int(text)

    return read


def _real(least: float, most: float) -> Callable[[str], float]:
    """Make a reader of numbers within bounds."""

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
    """How to make the agents of one name."""

    make: Callable[..., Agent]
    example: str = ""
    """An example of the name with its numbers."""
    meaning: str = ""
    """The meaning of the numbers."""
    readers: tuple[Callable[[str], Any], ...] = ()
    """A reader for each number."""
    bare: bool = True
    """Whether the numbers can be omitted."""
    optional: int = 0
    """How many of the last numbers can be omitted even if others are given."""


_AHEAD = (_whole(0), _whole(1))


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
        "until:futility:-0.001:0:5",
        f"a signal ({', '.join(SIGNALS)}), the value to stop at, and the least and the most measurements",
        (_signal, _real(-inf, inf), _whole(0), _whole(0)),
        bare=False,
    ),
    "shortlist": _Kind(
        ShortlistAgent,
        "shortlist:3:2",
        "concepts, 1 to 8, and measurements of each, 1 or more, or 1 if omitted",
        (_whole(1, 8), _whole(1)),
        optional=1,
        bare=False,
    ),
    "improve": _Kind(ImproveAgent, "improve:8", "mutations, 0 or more", (_whole(0),)),
    "list": _Kind(ListAgent, "list:18", "mutations, 0 or more", (_whole(0),)),
    "turns": _Kind(TurnsAgent, "turns:9", "mutations, 0 or more", (_whole(0),)),
    "gradient": _Kind(
        GradientAgent,
        "gradient:8:4:1.5:8",
        "mutations, 0 or more; measurements to look ahead, 1 or more; how much promises err apart, 0 to 100; "
        "and the degrees of freedom of the scale of errors, 0.1 or more",
        (*_AHEAD, _real(0, 100), _real(0.1, 1e9)),
        optional=3,
    ),
    "kinds": _Kind(
        KindsAgent, "kinds:12:4", "mutations, 0 or more, and measurements to look ahead, 1 or more", _AHEAD, optional=1
    ),
    "cover": _Kind(
        CoverAgent,
        "cover:12:0.1:0.5:4",
        "mutations, 0 or more; the bounds of low coverage and low precision, 0 to 1; and measurements to look ahead, "
        "1 or more",
        (_whole(0), _real(0, 1), _real(0, 1), _whole(1)),
        optional=3,
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
    "python:mine.py:MyAgent",
    "a folder that dnr-train wrote",
)
"""Examples of all accepted names, for error messages."""


def make_agent(spec: str) -> Agent:
    """Make an agent by its name.

    The name is that of a built-in agent, a class of your own ("python:mine.py:MyAgent"), or a folder that `dnr-train`
    wrote, which stands for its policy with the best validation return.

    An agent that mutates can name its mutator after an @, as in `patience:3@informed`. The default is the first mutator
    of the stack.

    Raises:
        DnRError: There is no such agent, or the folder holds no policy.
    """
    loop, at, mutator = spec.rpartition("@")
    if at and not Path(spec).is_dir():
        if not mutator or ("@" in loop and not Path(loop).is_dir()):
            raise DnRError(
                f"`agent` must name one mutator after one @, such as {loop.split('@')[0]}@informed (got {spec!r})"
            )
        agent = make_agent(loop)
        if not agent.plays:
            raise DnRError(f"`agent` must be an agent that plays episodes if it names a mutator (got {spec!r})")
        agent.name, agent.env_options = spec, {**agent.env_options, "mutator": mutator}
        return agent
    name, *numbers = spec.split(":")
    if name == "python":
        return _own(spec.partition(":")[2])
    if Path(spec).suffix == ".zip":
        raise DnRError(
            "`agent` must not be a pickle, which can run code; save the policy with LearnedAgent(name, "
            f"acting_network(model), form, {{}}).save(folder) and pass that folder (got {spec!r})"
        )
    if name in _KINDS:
        return _made(spec, _KINDS[name], numbers)
    if spec and Path(spec).is_dir():  # Path("") is the current folder
        from dnr_env.agents.learned.policy import LearnedAgent, members

        policies = [LearnedAgent.load(folder) for folder in members(Path(spec))]
        best = max(policies, key=lambda policy: policy.card["validation_return"])
        best.name = Path(spec).name
        return best
    raise unknown("agent", spec, NAMES)


def _own(spec: str) -> Agent:
    """Make an agent of a user's class. Its fingerprint changes with its code."""
    module, kind = user_object("agent", spec)
    agent = kind()
    if not isinstance(agent, Agent):
        raise DnRError(
            f"`agent` must be a subclass of dnr_env.agents.base.Agent (got 'python:{spec}', which is {kind!r})"
        )
    if not agent.fingerprint:
        agent.fingerprint = code_digest(module, [type(agent)])[:12]
    if agent.name == Agent.name:
        agent.name = type(agent).__name__
    return agent


def _made(spec: str, kind: _Kind, numbers: list[str]) -> Agent:
    if not numbers and kind.bare:
        return kind.make()
    if not kind.readers:
        raise unknown("agent", spec, NAMES)
    readers = kind.readers
    if len(numbers) >= len(readers) - kind.optional:
        readers = readers[: len(numbers)]
    try:
        return kind.make(*(read(number) for read, number in zip(readers, numbers, strict=True)))
    except ValueError:
        raise DnRError(f"`agent` must have the form {kind.example}: {kind.meaning} (got {spec!r})") from None


def identity(agent: Agent) -> str:
    """Describe all that an agent's actions depend on, besides what it sees: its name, options, weights and code."""
    kind = type(agent)
    code = "" if kind.__module__.startswith("dnr_env.") else hashlib.sha256(source_of(kind).encode()).hexdigest()[:12]
    parts = (kind.__qualname__, agent.name, dict(sorted(agent.env_options.items())), agent.fingerprint, code)
    return " ".join(str(part) for part in parts if part)


def check_agents(stack: Stack, agents: Sequence[Agent]) -> None:
    """Check that a stack has the parts and mutators that the agents require.

    Raises:
        DnRError: A part or a mutator is missing.
    """
    for agent in agents:
        stack.require(f"agent {agent.name}", agent.needs)
        wanted = agent.env_options.get("mutator")
        if wanted is not None and wanted not in stack.mutators:
            raise unknown(f"the mutator of {agent.name}", wanted, stack.mutators)
