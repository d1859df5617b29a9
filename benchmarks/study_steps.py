"""The steps of the study: its trainings and its comparisons, as commands."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from study_comparisons import POLICY, PROMISE, Comparison

from dnr_env.agents.learned.policy import LearnedAgent

LAYERS = ("layer1", "layer2", "layer3", "layer4")


def split(name: str) -> str:
    """Name a split of the target's own neurons, without the planted ones."""
    return ",".join(f"{layer}:{name}" for layer in LAYERS)


RULES: dict[str, tuple[str, ...]] = {
    "shortlist": (*(f"shortlist:{n}" for n in (2, 3, 5, 8)), *(f"shortlist:{n}:2" for n in (2, 3, 5))),
    "improve": tuple(f"improve:{n}" for n in (4, 8, 12)),
    "gradient": tuple(f"gradient:{n}:4:{spread}:8" for n in (4, 8, 12) for spread in (1, 1.5, 2.5)),
    "kinds": tuple(f"kinds:{n}:4" for n in (8, 12, 14)),
    "cover": tuple(f"cover:{n}:{coverage}:0.5:4" for n in (8, 12, 14) for coverage in (0.05, 0.1, 0.2)),
}
"""Families of rules that list what is free and draw while it pays."""
TUNED: dict[str, tuple[str, ...]] = {
    **RULES,
    "rounds@informed": tuple(f"rounds:{n}@informed" for n in (1, 2, 3, 5)),
    "patience@informed": tuple(f"patience:{n}@informed" for n in (1, 2, 3)),
    "line@informed": tuple(f"line:{n}@informed" for n in (1, 3, 10)),
    "line": tuple(f"line:{n}" for n in (3, 10)),
    "patience@linear": tuple(f"patience:{n}@linear" for n in (2, 4, 8)),
    "patience": tuple(f"patience:{n}" for n in (1, 2, 4, 8)),
    "clip-dissect": (
        "clip-dissect",
        *(f"clip-dissect:{top}:{t}:{penalty}" for top in (50, 100, 200) for t in (1, 2, 5) for penalty in (0.5, 1, 2)),
    ),
    "halving": ("halving:10", "halving:20", "halving:40"),
    "lucb": ("lucb:0.1", "lucb:0.25", "lucb:0.5"),
    "top-two": ("top-two:0.1", "top-two:0.3", "top-two:0.5"),
}
"""Families of agents. The member with the best mean net value on the validation neurons enters the comparisons."""
FIXED = (
    "stop", "random", "dnd", "dnr", "dnr@informed", "annealed@informed", "lookahead@informed", "promise", "linear",
    "linear-joined", "constant", "random-label", "oracle",
)  # fmt: skip
TRANSFER: dict[str, tuple[str, ...]] = {
    "second-target": ("--stack", "shapes-transfer", "--neurons", ",".join(LAYERS)),
    "planted": ("--neurons", "planted"),
    "unfaithful": ("--stack", "shapes-unfaithful", "--neurons", "test"),
    "withheld-words": ("--stack", "shapes-withheld", "--neurons", "test"),
    "activation-alone": ("--score", "log_k", "--neurons", "test"),
    "cheap": ("--image-cost", "0.00001", "--neurons", "test"),
    "dear": ("--image-cost", "0.0002", "--neurons", "test"),
    "no-budget": ("--budget", "0", "--neurons", "test"),
}
"""Settings in which the policy is evaluated without further training."""
ELSEWHERE = ("stop", "dnd", "dnr@informed", "promise", "linear-joined", "oracle")
"""Agents of these settings, beside the tuned rules and the policy."""
RECIPE = ("--mutator", "informed", "--neurons", split("train"), "--validation", split("validation"))
AS_IT_IS = "as-it-is"
CLONED = ("--clone", "improve:8", "--learning-rate", "0.0003", "--entropy", "0.002")
"""How the policy is trained: it first imitates a rule, then learns by its own calibrated estimate."""
VARIANTS: dict[str, tuple[str, ...]] = {
    AS_IT_IS: CLONED,
    "from-nothing": (),
    "held-out-reward": (*CLONED, "--reward", "held_out"),
    "slots": ("--moves", "slots"),
    "four-actions": ("--network", "flat", "--moves", "incumbent"),
    "without-directions": (*CLONED, "--stack", "shapes"),
    "without-errors": (*CLONED, "--without", "errors"),
    "without-cover": (*CLONED, "--without", "cover"),
    "without-simulation": (*CLONED, "--without", "simulation"),
    "without-worth": (*CLONED, "--without", "worth"),
    "without-user": (*CLONED, "--user-concepts", "none"),
}
"""Ablations: each changes one part of the policy's training. `AS_IT_IS` changes nothing but the number of steps."""
USERS = ("none", "0.5", "1")
"""How often a simulated user's concept is a good one."""


@dataclass(frozen=True)
class Options:
    """Run the study. Run the same command again to resume it."""

    out: Path
    """Folder of the whole study."""
    seeds: int = 5
    """Number of training seeds of the policy."""
    steps: int = 60_000
    """Environment steps of each of its trainings."""
    variant_seeds: int = 2
    """Number of training seeds of each variant."""
    variant_steps: int = 30_000
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
    """Make the trainings of the policy and then those of the variants, one step per seed."""
    wanted: list[tuple[str, tuple[str, ...], int]] = []
    wanted += [(POLICY, (*CLONED, "--steps", str(options.steps)), seed) for seed in range(options.seeds)]
    steps = ("--steps", str(options.variant_steps))
    for name, arguments in VARIANTS.items():
        wanted += [(name, (*arguments, *steps), seed) for seed in range(options.variant_seeds)]
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


def evaluations(options: Options, chosen: Sequence[str], rules: Sequence[str], best: str) -> list[Step]:
    """Make the comparisons that follow once loops are chosen, rules tuned and policies trained.

    Args:
        options: The study's options.
        chosen: The tuned member of each family.
        rules: The sceptic's rules, best first.
        best: The rule that is best of all on the validation neurons.
    """
    out = options.out
    # Tuning has used the drawings of the seeds 1 to `episodes`.
    many = range(options.episodes + 1, 2 * options.episodes + 1)
    few = many[: -(-options.episodes // 2)]
    policy = str(out / "runs" / POLICY)
    everybody = (*FIXED, *chosen, rules[0], policy)
    some = (*ELSEWHERE, *dict.fromkeys((*chosen[: len(RULES)], best)), policy)
    reference, alone = (str(out / "runs" / name) for name in (AS_IT_IS, "without-user"))
    variants = [*(str(out / "runs" / name) for name in VARIANTS if name != AS_IT_IS), reference]
    test = ("--neurons", "test")
    steps = [compare(out, "test", everybody, many, *test)]
    steps.append(compare(out, "sceptic", (PROMISE, *rules, policy), few, *test))
    steps += [compare(out, f"transfer-{name}", some, few, *arguments) for name, arguments in TRANSFER.items()]
    steps.append(compare(out, "variants", variants, few, *test))
    for quality in USERS:
        user = () if quality == "none" else ("--user-concepts", f"simulated:{quality}")
        steps.append(compare(out, f"user-{quality}", ("stop", best, alone, reference), few, *user, *test))
    known = ("--neurons", "planted:train,planted:validation")
    scores = ("log_k", "grounded_k", "semantic_k", "mean", "topk_sq_mean", "auc", "mad")
    steps += [compare(out, f"score-{score}", (PROMISE, best), few, "--score", score, *known) for score in scores]
    return steps
