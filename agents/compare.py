"""Compare agents on the same neurons and seeds: results appended as they come, then tables, plots and a report."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from agents import make_agent
from agents.base import Agent
from agents.learned import members
from agents.results import COLUMNS, DIFFERENCES, Record, Results, correction, differences, markdown, summary, unseen
from agents.rollout import Episode, Job, rollout
from dnr_env.episode import Rules
from dnr_env.errors import DnRError, unknown
from dnr_env.files import append_lines, read_lines, write_atomically
from dnr_env.judge import IMAGES, judge
from dnr_env.report import exemplars, png, write_report
from dnr_env.seeds import block_of
from dnr_env.shapes.planted import precision_recall
from dnr_env.stacks import Stack
from dnr_env.types import FloatArray
from dnr_env.users import Users

_BLOCK = 64  # episodes whose rows are committed together


@dataclass(frozen=True)
class Contestant:
    """One agent, or one of the policies that stand for it (training seeds)."""

    name: str
    member: str
    agent: Agent

    @property
    def key(self) -> tuple[str, str, str]:
        """What its records begin with: agent, member, policy."""
        return self.name, self.member, self.agent.fingerprint


def contestants(specs: Sequence[str]) -> list[Contestant]:
    """The agents that texts name; a run's folder stands for the policies of all its training seeds."""
    if not specs:
        raise DnRError("agents: none was given; stop dnd dnr will do")
    found: list[Contestant] = []
    for spec in specs:
        folders = members(Path(spec)) if Path(spec).is_dir() else []
        name = Path(spec).name if folders else spec
        if name in [c.name for c in found]:
            raise DnRError(
                f"agents: {name!r} is named twice; each name once will do (that of a folder is its last part)"
            )
        if folders:
            found += [Contestant(name, folder.name, make_agent(str(folder))) for folder in folders]
        else:
            found.append(Contestant(name, "", make_agent(spec)))
    return found


def check_mutators(stack: Stack, agents: Sequence[Agent]) -> None:
    """Before anything is drawn: raise DnRError for an agent that asks for a mutator that the stack has not."""
    for agent in agents:
        wanted = agent.env_options.get("mutator")
        if wanted is not None and wanted not in stack.mutators:
            raise unknown(f"agent: the mutator of {agent.name}", wanted, stack.mutators)


def play(
    stack: Stack,
    players: Sequence[Contestant],
    neurons: Sequence[str],
    seeds: Sequence[int],
    path: Path,
    rules: Rules,
    user_concepts: Users = None,
) -> list[Record]:
    """Play and judge agents x neurons x seeds into a JSONL file; what is there already is not played again.

    Returns the records in the order of players, seeds and neurons, whatever their order in the file.
    """
    # A policy that was trained on since is another one: its episodes are played anew.
    records: list[Record] = list(read_lines(path, ("agent", "member", "policy", "neuron", "seed", "value", "net")))
    done = {(r["agent"], r["member"], r["policy"], r["neuron"], r["seed"]) for r in records}
    wanted = [(c, [(n, s) for s in seeds for n in neurons]) for c in players]
    total = sum(len(jobs) for _, jobs in wanted)
    with tqdm(total=total, unit="episode") as bar:
        for player, all_jobs in wanted:
            jobs = [job for job in all_jobs if (*player.key, *job) not in done]
            bar.update(len(all_jobs) - len(jobs))
            for start in range(0, len(jobs), _BLOCK):
                fresh = _play_block(stack, player, jobs[start : start + _BLOCK], rules, user_concepts)
                append_lines(path, fresh)
                records += fresh
                bar.update(len(fresh))
                bar.set_postfix_str(f"{player.name}; {stack.lab.counters}")
    found = {(r["agent"], r["member"], r["policy"], r["neuron"], r["seed"]): r for r in records}
    return [found[(*player.key, *job)] for player, jobs in wanted for job in jobs]


def _play_block(
    stack: Stack, player: Contestant, jobs: Sequence[Job], rules: Rules, user_concepts: Users
) -> list[Record]:
    episodes = list(rollout(player.agent, jobs, stack=stack, user_concepts=user_concepts, **asdict(rules)))
    verdicts = judge(
        stack,
        [e.neuron for e in episodes],
        [e.label for e in episodes],
        rules.score,
        rules.images_per_measure,
        blocks=[block_of(e.seed) for e in episodes],
    )
    return [
        {
            "agent": player.name,
            "member": player.member,
            "policy": player.agent.fingerprint,
            **_plain(episode),
            **asdict(verdict),
            "net": verdict.value - rules.image_cost * episode.images,
            "judge_images": IMAGES,
            **_planted(stack, episode),
        }
        for episode, verdict in zip(episodes, verdicts, strict=True)
    ]


def _plain(episode: Episode) -> dict[str, Any]:
    values = asdict(episode)
    values["return"] = values.pop("total_reward")
    values["concepts"] = len(values["concepts"])
    return values


def _planted(stack: Stack, episode: Episode) -> dict[str, float | None]:
    formula = stack.truth(episode.neuron)
    precision, recall = precision_recall(formula, episode.label) if formula else (None, None)
    return {"precision": precision, "recall": recall}


def optimal_values(stack: Stack, neurons: Sequence[str], seeds: Sequence[int], rules: Rules) -> dict[str, FloatArray]:
    """The judge's values of each neuron's best concept, where it is known: (seeds,), in ascending order of seeds."""
    best = stack.optimum(rules.score)
    known = [neuron for neuron in neurons if neuron in best]
    cells = [(neuron, block_of(seed)) for neuron in known for seed in sorted(seeds)]
    verdicts = judge(
        stack,
        [neuron for neuron, _ in cells],
        [best[neuron] for neuron, _ in cells],
        rules.score,
        rules.images_per_measure,
        blocks=[block for _, block in cells],
    )
    values = np.array([verdict.value for verdict in verdicts]).reshape(len(known), len(seeds))
    return dict(zip(known, values, strict=True))


def write_outcome(results: Results, stack: Stack, which: str, rules: Rules, folder: Path) -> str:
    """Write summary.md, summary.csv, the plots and report.html; returns the text of summary.md."""
    from agents.plots import plot_curves, plot_scores

    rows, apart = summary(results), differences(results)
    headings, corrected = (f"{results.reference} less", *DIFFERENCES), correction(len(apart)) + unseen(results)
    text = (
        f"{markdown(COLUMNS, rows)}\n\nPaired differences, {corrected} in each column:\n\n{markdown(headings, apart)}\n"
    )
    write_atomically(folder / "summary.md", text.encode())
    out = io.StringIO()
    csv.writer(out).writerows([COLUMNS, *rows])
    write_atomically(folder / "summary.csv", out.getvalue().encode())
    plot_scores(results, folder / "scores.png")
    plot_curves(results, folder / "images.png")
    first = results.seeds[0]
    neurons = [
        {
            "neuron": neuron,
            "truth": stack.truth(neuron),
            "optimum": stack.optimum(rules.score).get(neuron),
            "optimum_value": float(results.optima[neuron][0]) if neuron in results.optima else 0.0,
            "exemplars": exemplars(stack, neuron),
            "labels": [results.cells[a, results.members[a][0], neuron, first] for a in results.agents],
        }
        for neuron in results.neurons
    ]
    values = {
        "title": "Comparison of agents", "stack": stack.name, "which": which,
        "seeds": ", ".join(map(str, results.seeds)),
        "judge_images": IMAGES, "image_cost": rules.image_cost, "columns": COLUMNS, "rows": rows,
        "reference": results.reference, "headings": headings, "differences": apart, "corrected": corrected,
        "neurons": neurons,
        "plots": [png(folder / "scores.png"), png(folder / "images.png")],
    }  # fmt: skip
    write_report(folder / "report.html", "compare.html", values)
    return text
