"""Agents of the environment, all with the same `predict`, and how to name one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from agents.bandits import HalvingAgent, LUCBAgent, TopTwoAgent
from agents.base import Agent as Agent
from agents.dissect import ClipDissectAgent, LinearAgent
from agents.extremes import ConstantAgent, OracleAgent, RandomLabelAgent
from agents.lookahead import LineAgent, LookaheadAgent
from agents.loops import AnnealedAgent, DnDAgent, DnRAgent, PatienceAgent, RandomAgent, StopAgent
from dnr_env.errors import DnRError, unknown

NAMES = (
    "stop",
    "random",
    "dnd",
    "dnr",
    "patience:3",
    "patience:3@informed",
    "annealed",
    "lookahead",
    "line:10",
    "halving",
    "lucb",
    "top-two",
    "clip-dissect",
    "linear",
    "constant",
    "random-label",
    "oracle",
    "learned",
    "a folder that train.py wrote",
)

_SHIPPED = Path(__file__).parent / "policies" / "learned"


def _learned() -> Agent:
    """The policy that comes with the package."""
    from agents.learned import LearnedAgent

    return LearnedAgent.load(_SHIPPED)


_PLAIN: Mapping[str, Callable[[], Agent]] = {
    "stop": StopAgent,
    "random": RandomAgent,
    "dnd": DnDAgent,
    "dnr": DnRAgent,
    "annealed": AnnealedAgent,
    "lookahead": LookaheadAgent,
    "halving": HalvingAgent,
    "lucb": LUCBAgent,
    "top-two": TopTwoAgent,
    "clip-dissect": ClipDissectAgent,
    "linear": LinearAgent,
    "constant": ConstantAgent,
    "random-label": RandomLabelAgent,
    "oracle": OracleAgent,
    "learned": _learned,
}
_COUNTED: Mapping[str, tuple[Callable[[int], Agent], str]] = {
    "patience": (PatienceAgent, "steps of 1 or more; patience:3"),
    "line": (LineAgent, "rounds of 1 or more; line:10"),
    "halving": (HalvingAgent, "images of 1 or more; halving:50"),
}
_MEASURED: Mapping[str, tuple[Callable[[float], Agent], float, str]] = {
    "lucb": (LUCBAgent, 100, "a number of standard errors from 0 to 100; lucb:0.25"),
    "top-two": (TopTwoAgent, 1, "a probability from 0 to 1; top-two:0.5"),
}


def make_agent(spec: str) -> Agent:
    """The agent that a text names: a loop, `learned`, or a run's folder, whose best policy by validation it is.

    After an @ comes the mutator that a loop asks for in the place of the stack's first, as in `patience:3@informed`.

    Raises:
        DnRError: there is no such agent, or the folder holds no policy.
    """
    loop, at, mutator = spec.rpartition("@")
    if at and not Path(spec).is_dir():
        if not mutator or ("@" in loop and not Path(loop).is_dir()):
            raise DnRError(f"agent: {spec!r} needs one mutator after one @; {loop.split('@')[0]}@informed will do")
        agent = make_agent(loop)
        if not agent.plays:
            raise DnRError(f"agent: {loop!r} plays no episode and mutates nothing; without @{mutator} it will do")
        agent.name, agent.env_options = spec, {"mutator": mutator}
        return agent
    name, _, argument = spec.partition(":")
    if spec in _PLAIN:
        return _PLAIN[spec]()
    if name in _COUNTED:
        counted, what = _COUNTED[name]
        if not argument.isdecimal() or int(argument) < 1:
            raise DnRError(f"agent: {spec!r} needs a number of {what} will do")
        return counted(int(argument))
    if name in _MEASURED:
        measured, most, what = _MEASURED[name]
        value = _number(argument)
        if not 0 <= value <= most:
            raise DnRError(f"agent: {spec!r} needs {what} will do")
        return measured(value)
    if Path(spec).is_dir():
        from agents.learned import LearnedAgent, members

        policies = [LearnedAgent.load(folder) for folder in members(Path(spec))]
        return max(policies, key=lambda policy: policy.card["validation_return"])
    raise unknown("agent", spec, NAMES)


def _number(text: str) -> float:
    """NaN for a text that is no number."""
    try:
        return float(text)
    except ValueError:
        return float("nan")
