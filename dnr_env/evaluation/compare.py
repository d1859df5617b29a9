"""Comparisons of agents on the same neurons and seeds. Results are appended to a file as they are computed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dnr_env.agents.base import Agent
from dnr_env.agents.learned.policy import members
from dnr_env.agents.registry import make_agent
from dnr_env.env.rules import Rules
from dnr_env.env.users import Users
from dnr_env.errors import DnRError
from dnr_env.evaluation.judge import IMAGES, agreement, judge
from dnr_env.evaluation.results import Record
from dnr_env.evaluation.rollout import Episode, Job, price, rollout
from dnr_env.files import append_lines, read_lines
from dnr_env.progress import bar
from dnr_env.seeds import block_of
from dnr_env.stack import Stack
from dnr_env.types import FloatArray

_BLOCK = 64  # episodes that are written together


@dataclass(frozen=True)
class Contestant:
    """An agent, or one of several policies (training seeds) under the same name."""

    name: str
    member: str
    agent: Agent

    @property
    def key(self) -> tuple[str, str, str]:
        """The entries agent, member and policy of its records."""
        return self.name, self.member, self.agent.fingerprint


def contestants(specs: Sequence[str]) -> list[Contestant]:
    """Make agents by their names. The folder of a run stands for the policies of all its training seeds.

    Raises:
        DnRError: There is no name, one occurs twice, or there is no such agent.
    """
    if not specs:
        raise DnRError("`agents` must name at least one agent, such as stop (got none)")
    found: list[Contestant] = []
    for spec in specs:
        folders = members(Path(spec)) if Path(spec).is_dir() else []
        name = Path(spec).name if folders else spec
        if name in [c.name for c in found]:
            raise DnRError(
                f"`agents` must have distinct names, where a folder's name is its last part (got {name!r} twice)"
            )
        if folders:
            found += [Contestant(name, folder.name, make_agent(str(folder))) for folder in folders]
        else:
            found.append(Contestant(name, "", make_agent(spec)))
    return found


def play_all(
    stack: Stack,
    players: Sequence[Contestant],
    neurons: Sequence[str],
    seeds: Sequence[int],
    path: Path,
    rules: Rules,
    user_concepts: Users = None,
) -> list[Record]:
    """Play and judge agents x neurons x seeds, and append to a JSONL file. Episodes in the file are not played again.

    Args:
        stack: The stack.
        players: The agents.
        neurons: Names of the neurons.
        seeds: Seeds of the episodes.
        path: The JSONL file.
        rules: The rules of the environment.
        user_concepts: The source of user concepts.

    Returns:
        The records in the order of players, seeds and neurons, whatever their order in the file.
    """
    # Records have the policy's fingerprint, so that the episodes of a policy are played again after more training.
    records: list[Record] = list(
        read_lines(path, ("agent", "member", "policy", "neuron", "seed", "value", "net", "judge_net", "parts"))
    )
    done = {(r["agent"], r["member"], r["policy"], r["neuron"], r["seed"]) for r in records}
    wanted = [(c, [(n, s) for s in seeds for n in neurons]) for c in players]
    total = sum(len(jobs) for _, jobs in wanted)
    with bar(total=total, unit="episode") as shown:
        for player, all_jobs in wanted:
            jobs = [job for job in all_jobs if (*player.key, *job) not in done]
            shown.update(len(all_jobs) - len(jobs))
            for start in range(0, len(jobs), _BLOCK):
                fresh = _play_block(stack, player, jobs[start : start + _BLOCK], rules, user_concepts)
                append_lines(path, fresh)
                records += fresh
                shown.update(len(fresh))
                shown.set_postfix_str(f"{player.name}; {stack.lab.counters}")
    found = {(r["agent"], r["member"], r["policy"], r["neuron"], r["seed"]): r for r in records}
    return [found[(*player.key, *job)] for player, jobs in wanted for job in jobs]


def _play_block(
    stack: Stack, player: Contestant, jobs: Sequence[Job], rules: Rules, user_concepts: Users
) -> list[Record]:
    episodes = list(rollout(player.agent, jobs, stack=stack, rules=rules, user_concepts=user_concepts))
    return judged(stack, player.key, episodes, rules)


def judged(stack: Stack, key: tuple[str, str, str], episodes: Sequence[Episode], rules: Rules) -> list[Record]:
    """The records of some episodes, with the verdicts on their labels.

    Args:
        stack: The stack.
        key: The agent, its member and its fingerprint.
        episodes: Its episodes.
        rules: The rules of the environment.
    """
    verdicts = judge(
        stack,
        neurons=[e.neuron for e in episodes],
        labels=[e.label for e in episodes],
        rules=rules,
        blocks=[block_of(e.seed) for e in episodes],
    )
    records: list[Record] = []
    for episode, verdict in zip(episodes, verdicts, strict=True):
        assert verdict.value is not None  # a comparison requires a judge that draws
        paid = price(rules, episode)
        records.append(
            {
                **dict(zip(("agent", "member", "policy"), key, strict=True)),
                **_plain(episode),
                **asdict(verdict),
                "net": verdict.value - paid,
                "judge_net": None if verdict.judge_value is None else verdict.judge_value - paid,
                "judge_images": IMAGES * len(stack.language.parts(episode.label).drawn),
                **agreement(stack, episode.neuron, episode.label)._asdict(),
            }
        )
    return records


def _plain(episode: Episode) -> dict[str, Any]:
    values = asdict(episode)
    values["return"] = values.pop("total_reward")
    values["concepts"] = len(values["concepts"])
    return values


def optimal_values(stack: Stack, neurons: Sequence[str], seeds: Sequence[int], rules: Rules) -> dict[str, FloatArray]:
    """Judge each neuron's best concept, if it is known: values (seeds,) in ascending order of seeds."""
    best = stack.known.optimum(rules.score)
    known = [neuron for neuron in neurons if neuron in best]
    cells = [(neuron, block_of(seed)) for neuron in known for seed in sorted(seeds)]
    verdicts = judge(
        stack,
        neurons=[neuron for neuron, _ in cells],
        labels=[best[neuron] for neuron, _ in cells],
        rules=rules,
        blocks=[block for _, block in cells],
    )
    values = np.array([verdict.value for verdict in verdicts]).reshape(len(known), len(seeds))
    return dict(zip(known, values, strict=True))
