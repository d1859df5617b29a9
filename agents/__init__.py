"""Agents of the environment, all with the same `predict`, and how to name one."""

from __future__ import annotations

from pathlib import Path

from agents.base import Agent as Agent
from agents.dissect import ClipDissectAgent, LinearAgent
from agents.loops import AnnealedAgent, DnDAgent, DnRAgent, PatienceAgent, RandomAgent, StopAgent
from dnr_env.errors import DnRError, unknown

NAMES = (
    "stop",
    "random",
    "dnd",
    "dnr",
    "patience:3",
    "annealed",
    "clip-dissect",
    "linear",
    "a folder that train.py wrote",
)


def make_agent(spec: str) -> Agent:
    """The agent that a text names: one of the loops, or a run's folder, whose best policy by validation it is.

    Raises:
        DnRError: there is no such agent, or the folder holds no policy.
    """
    name, _, argument = spec.partition(":")
    fixed: dict[str, type[Agent]] = {
        "stop": StopAgent,
        "random": RandomAgent,
        "dnd": DnDAgent,
        "dnr": DnRAgent,
        "annealed": AnnealedAgent,
        "clip-dissect": ClipDissectAgent,
        "linear": LinearAgent,
    }
    if spec in fixed:
        return fixed[spec]()
    if name == "patience":
        if not argument.isdecimal() or int(argument) < 1:
            raise DnRError(f"agent: {spec!r} needs a number of steps of 1 or more; patience:3 will do")
        return PatienceAgent(int(argument))
    if Path(spec).is_dir():
        from agents.learned import LearnedAgent, members

        policies = [LearnedAgent.load(folder) for folder in members(Path(spec))]
        return max(policies, key=lambda policy: policy.card.get("validation_return", 0.0))
    raise unknown("agent", spec, NAMES)
