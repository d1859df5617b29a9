"""Evaluate agents and label neurons.

    python evaluate.py compare --agents promise rounds:1@informed runs/ppo --neurons test --seeds 1 2 --out results/test
    python evaluate.py label --agent runs/ppo/seed-0 --neurons layer4:0-31 --out results/layer4
    python evaluate.py rank --layer layer4 --out results/rank
    python evaluate.py play --neurons layer4:7 --out results/me.jsonl
    python evaluate.py plan --stack "turbo probe.images=photos" --neurons layer4:0-63
    python evaluate.py doctor --stack "turbo probe.images=photos"

Every command resumes: run it again and it goes on where it was stopped.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from agents import Agent, make_agent
from agents.doctor import examine
from agents.extras import extra
from agents.labelling import label, write_label_report, write_table
from agents.plan import plan
from dnr_env import DnRError, Rules, __version__, load_stack
from dnr_env.files import make_folder, read_settings, write_atomically
from dnr_env.neurons import select
from dnr_env.seeds import BLOCKS, block_of
from dnr_env.stacks import Stack
from dnr_env.users import user_source

with extra("train"):
    import tyro

    from agents.compare import check_mutators, contestants, optimal_values, play, write_outcome
    from agents.ranking import rank, shown_ranking, write_ranking
    from agents.results import Results


@dataclass(frozen=True)
class Common:
    """Options of every command that measures."""

    stack: str = "shapes"
    """Models: shapes, shapes-transfer, shapes-unfaithful, turbo, sd15, or a YAML file; then settings, as in
    "turbo probe.images=photos target.layers=layer3"."""
    score: str = "grounded_k"
    """Score of a concept."""
    budget: int = 100
    """Images after the initial measurement."""
    image_cost: float = 0.0005
    """Price of an image."""


@dataclass(frozen=True, kw_only=True)
class Kept(Common):
    """Options of every command that writes."""

    out: Path
    """Folder of the results (for play: the session's file)."""


@dataclass(frozen=True)
class Compare(Kept):
    """Agents x neurons x seeds: a table with intervals, paired differences, plots and a report."""

    agents: tuple[str, ...] = ("stop", "dnd", "dnr", "rounds:1@informed", "promise", "learned")
    """learned, stop, random, dnd, dnr, annealed, patience:N, rounds:N, line:N, lookahead, until:SIGNAL:X:LEAST:MOST,
    blend:N:WEIGHT, shortlist:N:WEIGHT, halving, lucb, top-two, promise, clip-dissect, linear, linear-joined, constant,
    random-label, oracle, or the folder of a run of train.py, which stands for the policies of all its seeds; a loop
    with another mutator as dnr@informed. The last one is compared with each of the others."""
    neurons: str = "test"
    """A split, a layer, or neurons such as layer4:0-9,planted:test."""
    seeds: tuple[int, ...] = (1, 2)
    """Seeds of the episodes; each has a block of drawings of its own."""
    user_concepts: str | None = None
    """A file of concepts, or simulated:QUALITY."""


@dataclass(frozen=True)
class Labelling(Common):
    """Who labels what."""

    agent: str = "promise"
    """Who labels, as in compare. promise takes the vocabulary's word that fits the real images best and draws nothing;
    dnr draws, and asks the captioner and the language model."""
    neurons: str = "test"
    """A split, a layer, or neurons such as layer4:0-9,planted:test."""
    seed: int = 0
    """Seed of the episodes."""
    user_concepts: str | None = None
    """A file of concepts, or simulated:QUALITY."""


@dataclass(frozen=True)
class Label(Labelling, Kept):
    """Any agent on any neurons: labels.jsonl, labels.csv and report.html."""


@dataclass(frozen=True)
class Rank(Kept):
    """The six scoring methods x every neuron of a layer: score and rank of its label (Table 1 of the DnR report)."""

    layer: str = "layer4"
    """Whose neurons."""
    agent: str = "promise"
    """Who labels them."""
    seed: int = 0
    """Seed of the episodes."""


@dataclass(frozen=True)
class Play(Kept):
    """You are the agent."""

    neurons: str = "layer4:test"
    """Neurons to label, one after the other."""
    seed: int = 0
    """Seed of the episodes."""


@dataclass(frozen=True)
class Plan(Labelling):
    """What `label` with the same options would take at most: captions, calls, images, GPU time, dollars."""


@dataclass(frozen=True)
class Doctor:
    """Is everything there that a stack needs? Exit code 1 if not."""

    stack: str = "shapes"
    """As in the other commands."""
    load: bool = False
    """Load every model, which downloads what is not there."""


def rules_of(options: Common) -> Rules:
    """The environment's rules."""
    return Rules(score=options.score, budget=options.budget, image_cost=options.image_cost)


def named(stack: Stack, neurons: str, option: str = "neurons") -> list[str]:
    """Names of the neurons that a text names."""
    try:
        return [stack.lab.reader.neurons[i] for i in select(stack.lab.reader.neurons, neurons)]
    except DnRError as error:
        raise DnRError(str(error).replace("neurons", option, 1)) from None


def usable(option: str, seeds: Sequence[int]) -> tuple[int, ...]:
    """Seeds of episodes, each once."""
    if not seeds:
        raise DnRError(f"{option}: none was given; 1 2 will do")
    if min(seeds) < 0:
        raise DnRError(f"{option}: {min(seeds)} is no seed; 0 or more will do")
    distinct = tuple(dict.fromkeys(seeds))
    if len({block_of(seed) for seed in distinct}) < len(distinct):
        raise DnRError(f"{option}: two of them draw the same images; seeds must differ modulo {BLOCKS}")
    return distinct


def settle(folder: Path, settings: dict[str, Any]) -> None:
    """Note what a folder's results were made with; refuse to mix them with others."""
    make_folder(folder)
    users = settings.get("user_concepts")
    if users and Path(users).is_file():  # its content counts, not its name
        settings = {**settings, "user_concepts": hashlib.sha256(Path(users).read_bytes()).hexdigest()}
    models = {"version": __version__, **load_stack(settings["stack"]).fingerprints()}
    text = (json.dumps({**settings, **models}, indent=2, default=str) + "\n").encode()
    noted = folder / "settings.json"
    if noted.exists() and noted.read_bytes() != text:
        wanted, found = json.loads(text), read_settings(noted)
        other = [key for key in {**found, **wanted} if found.get(key) != wanted.get(key)]
        raise DnRError(
            f"out: {folder} holds results of other settings (another {', '.join(other[:4])}); another folder will do"
        )
    write_atomically(noted, text)


def label_settings(options: Kept, agent: Agent) -> dict[str, Any]:
    """What labels depend on."""
    return {**{key: value for key, value in asdict(options).items() if key != "out"}, "policy": agent.fingerprint}


def compare_command(options: Compare) -> None:
    """Play, judge, and write the table, plots and report."""
    stack, rules = load_stack(options.stack), rules_of(options)
    neurons, seeds = named(stack, options.neurons), usable("seeds", options.seeds)
    players = contestants(options.agents)
    check_mutators(stack, [player.agent for player in players])
    user_source(options.user_concepts, stack)  # before anything is written
    settle(options.out, {"stack": options.stack, "user_concepts": options.user_concepts, **asdict(rules)})
    path = options.out / "results.jsonl"
    records = play(stack, players, neurons, seeds, path, rules, options.user_concepts)
    results = Results(records, optimal_values(stack, neurons, seeds, rules))
    print(write_outcome(results, stack, options.neurons, rules, options.out))
    print(f"report: {options.out / 'report.html'}")


def label_command(options: Label) -> None:
    """Label neurons, and write the table and the report."""
    stack, rules = load_stack(options.stack), rules_of(options)
    neurons, agent = named(stack, options.neurons), make_agent(options.agent)
    check_mutators(stack, [agent])
    (seed,) = usable("seed", [options.seed])
    user_source(options.user_concepts, stack)  # before anything is written
    settle(options.out, label_settings(options, agent))
    records = label(stack, agent, neurons, seed, options.out / "labels.jsonl", rules, options.user_concepts)
    write_table(records, options.out / "labels.csv")
    slots = agent.env_options.get("n_slots", rules.n_slots) if agent.starts is None else None
    write_label_report(stack, options.agent, records, options.score, slots, options.out / "report.html")
    print(f"{len(records)} labels, mean value {np.mean([r['value'] for r in records]):.3f}; {stack.tally()}")
    print(f"report: {options.out / 'report.html'}")


def rank_command(options: Rank) -> None:
    """Label a layer, and rank its neurons by every method."""
    stack, rules = load_stack(options.stack), rules_of(options)
    neurons, agent = named(stack, options.layer, "layer"), make_agent(options.agent)
    check_mutators(stack, [agent])
    (seed,) = usable("seed", [options.seed])
    settle(options.out, label_settings(options, agent))
    records = label(stack, agent, neurons, seed, options.out / "labels.jsonl", rules)
    labels = {r["neuron"]: r["label"] for r in records}
    table = rank(stack, neurons, labels, rules.images_per_measure, block_of(seed))
    write_ranking(table, options.out / "rank.csv")
    print(shown_ranking(table))
    print(f"all {len(table)} neurons: {options.out / 'rank.csv'}")


def play_command(options: Play) -> None:
    """Open or resume a session on the terminal."""
    from agents.human.session import Session
    from agents.human.terminal import play as play_in_terminal

    neurons = named(load_stack(options.stack), options.neurons)
    rules = {"score": options.score, "budget": options.budget, "image_cost": options.image_cost}
    play_in_terminal(Session.open(options.out, neurons=neurons, stack=options.stack, seed=options.seed, **rules))


def plan_command(options: Plan) -> None:
    """Say what would be done; load the target at most."""
    agent = make_agent(options.agent)
    print("\n".join(plan(options.stack, agent, options.neurons, rules_of(options)).lines()))


def doctor_command(options: Doctor) -> None:
    """Print the findings as they come."""
    fine = True
    for finding in examine(options.stack, options.load):
        print(finding, flush=True)
        fine &= finding.fine
    if not fine:
        sys.exit(1)


def main() -> None:
    """The command line."""
    command = tyro.cli(
        Annotated[Compare, tyro.conf.subcommand("compare")]
        | Annotated[Label, tyro.conf.subcommand("label")]
        | Annotated[Rank, tyro.conf.subcommand("rank")]
        | Annotated[Play, tyro.conf.subcommand("play")]
        | Annotated[Plan, tyro.conf.subcommand("plan")]
        | Annotated[Doctor, tyro.conf.subcommand("doctor")],
        description=__doc__,
    )
    try:
        match command:
            case Compare():
                compare_command(command)
            case Label():
                label_command(command)
            case Rank():
                rank_command(command)
            case Play():
                play_command(command)
            case Plan():
                plan_command(command)
            case Doctor():
                doctor_command(command)
    except DnRError as error:
        sys.exit(f"evaluate.py: {error}")
    except KeyboardInterrupt:
        kept = (
            f"; what was finished is in {command.out}, and the same command goes on" if hasattr(command, "out") else ""
        )
        print(f"\nevaluate.py: stopped{kept}", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
