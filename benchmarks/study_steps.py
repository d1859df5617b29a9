"""The steps of the study: its trainings and its comparisons, as commands."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from study_comparisons import ORACLE, POLICY, PROMISE, Comparison
from study_settings import (
    AS_IT_IS,
    BOTH,
    CLONED,
    ELSEWHERE,
    EVERYWHERE,
    FIXED,
    IN_SHAPES,
    NO_OPTIMUM,
    RECIPE,
    RULES,
    SCORES,
    TRANSFER,
    USERS,
    VARIANTS,
    WORLDS,
    split,
)

from dnr_env.agents.learned.policy import LearnedAgent


@dataclass(frozen=True)
class Options:
    """Run the study. Run the same command again to resume it."""

    out: Path
    """Folder of the whole study."""
    seeds: int = 3
    """Number of training seeds of the policy."""
    steps: int = 60_000
    """Environment steps of each of its trainings."""
    variant_steps: int = 20_000
    """Environment steps of each of their trainings."""
    episodes: int = 8
    """Number of episode seeds on the test neurons, each with its own block of drawings. Other comparisons use half."""
    workers: int = 2
    """Number of parallel processes."""


@dataclass(frozen=True)
class Step:
    """One command of the study."""

    name: str
    script: str
    arguments: tuple[str, ...]
    comparison: Comparison | None = None
    """The comparison that it writes, if it is one."""
    anew: Path | None = None
    """Folder that is deleted first: a training resumed from a checkpoint differs from one that never stopped."""

    def mark(self) -> str:
        """Describe the command and the policies that it uses or trained. A step is done if this has not changed."""
        fingerprints = self.comparison.fingerprints() if self.comparison else []
        if self.anew and (self.anew / "policy.json").exists():
            fingerprints = [LearnedAgent.load(self.anew).fingerprint]
        return "\n".join([shlex.join([self.script, *self.arguments]), *fingerprints, ""])


def compare(out: Path, name: str, agents: Sequence[str], seeds: Sequence[int], *arguments: str) -> Step:
    """Make the step that compares agents in OUT/name."""
    found = Comparison(out / name, tuple(agents), tuple(seeds))
    numbers = map(str, found.seeds)
    said = ("compare", "--agents", *agents, "--seeds", *numbers, "--out", str(found.folder), *arguments)
    return Step(name, "evaluate.py", said, found)


def trainings(options: Options) -> list[Step]:
    """Make the trainings of the policy and then those of the variants, one for each seed."""
    wanted: list[tuple[str, tuple[str, ...], int]] = []
    wanted += [(POLICY, (*BOTH, *CLONED, "--steps", str(options.steps)), seed) for seed in range(options.seeds)]
    steps = ("--steps", str(options.variant_steps))
    wanted += [(name, (*arguments, *steps), 0) for name, arguments in VARIANTS.items()]
    return [
        Step(
            f"train-{name}-{seed}",
            "train.py",
            ("--out", str(options.out / "runs" / name), "--seeds", str(seed), *RECIPE, *arguments),
            anew=options.out / "runs" / name / f"seed-{seed}",
        )
        for name, arguments, seed in wanted
    ]


def simple_rules(options: Options) -> Step:
    """Make the step that tunes the sceptic's rules."""
    said = (
        "--out",
        str(options.out / "sceptic"),
        "--validation",
        split("validation"),
        "--seeds",
        str(options.episodes),
    )
    return Step("sceptic-rules", "benchmarks/sceptic.py", (*said, "--against"))


def read_rules(out: Path) -> list[str]:
    """Read the sceptic's rules, best on the validation neurons first."""
    return [str(rule["agent"]) for rule in json.loads((out / "sceptic" / "rules.json").read_bytes())]


def tunings(options: Options) -> list[Step]:
    """Make the comparisons on the validation neurons of each world, by which constants are chosen."""
    seeds = range(1, options.episodes + 1)
    steps = []
    for world in WORLDS:
        families = {**EVERYWHERE, **(IN_SHAPES if world == "shapes" else {})}
        every = [agent for agents in families.values() for agent in agents]
        where = ("--stack", world, "--neurons", split("validation"))
        steps.append(compare(options.out, f"tuning-{world}", every, seeds, *where))
    return steps


@dataclass(frozen=True)
class Chosen:
    """The agents that were best on the validation neurons."""

    families: dict[str, str]
    """The tuned member of each family."""
    rule: str
    """The rule that is best of all, where both worlds count alike."""
    sceptic: list[str]
    """The sceptic's rules, best first."""


def evaluations(options: Options, chosen: Chosen) -> list[Step]:
    """Make the comparisons that follow once loops are chosen, rules tuned and policies trained."""
    out = options.out
    # Tuning has used the drawings of the seeds 1 to `episodes`.
    many = range(options.episodes + 1, 2 * options.episodes + 1)
    few = many[: -(-options.episodes // 2)]
    policy = str(out / "runs" / POLICY)
    reference, alone = (str(out / "runs" / name) for name in (AS_IT_IS, "without-user"))
    variants = [*(str(out / "runs" / name) for name in VARIANTS if name != AS_IT_IS), reference]
    rules = [chosen.families[family] for family in RULES]
    steps = []
    for world in WORLDS:
        on_test = ("--stack", world, "--neurons", "test")
        tuned = [chosen.families[name] for name in (*EVERYWHERE, *(IN_SHAPES if world == "shapes" else ()))]
        sceptic = chosen.sceptic[:1] if world == "shapes" else []
        steps.append(compare(out, f"test-{world}", (*FIXED[world], *tuned, *sceptic, policy), many, *on_test))
        steps.append(compare(out, f"variants-{world}", variants, few, *on_test))
        for quality in USERS:
            user = () if quality == "none" else ("--user-concepts", f"simulated:{quality}")
            agents = ("stop", chosen.rule, alone, reference)
            steps.append(compare(out, f"user-{world}-{quality}", agents, few, *user, *on_test))
    steps.append(compare(out, "sceptic", (PROMISE, *chosen.sceptic, policy), few, "--neurons", "test"))
    for name, arguments in TRANSFER.items():
        some = [agent for agent in ELSEWHERE if agent != ORACLE or name not in NO_OPTIMUM]
        steps.append(compare(out, f"transfer-{name}", (*some, *rules, policy), few, *arguments))
    known = ("--neurons", "planted:train,planted:validation")
    steps += [compare(out, f"score-{score}", (PROMISE, chosen.rule), few, "--score", score, *known) for score in SCORES]
    return steps
