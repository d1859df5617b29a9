"""The study of docs/results.md: tune the loops, train policies, compare them on unseen neurons, transfer, ablate.

    make study

Every step is a command of train.py or evaluate.py in a process of its own, two at a time, each with a log. Run it again
to go on where it was stopped: a step that is done is not repeated, a comparison that was cut off resumes, a training
that was begins anew, so that the tables are the same. At the end the tables (Markdown) and plots are in OUT/report.
"""

from __future__ import annotations

import fcntl
import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import tyro
from study_report import POLICY, Comparison, graded, write_report
from tqdm import tqdm

from agents.learned import LearnedAgent, members
from dnr_env.errors import DnRError
from dnr_env.files import make_folder, read_settings, write_atomically

ROOT = Path(__file__).parents[1]
LAYERS = ("layer1", "layer2", "layer3", "layer4")


def split(name: str) -> str:
    """A split of the target's own neurons, without the planted ones."""
    return ",".join(f"{layer}:{name}" for layer in LAYERS)


TUNED: dict[str, tuple[str, ...]] = {
    "rounds@informed": tuple(f"rounds:{n}@informed" for n in (1, 2, 3, 5, 8)),
    "patience@informed": tuple(f"patience:{n}@informed" for n in (1, 2, 3, 4)),
    "blend@informed": tuple(f"blend:{n}:{weight}@informed" for n in (1, 2, 3, 5) for weight in (0.1, 0.2, 0.5)),
    "shortlist": tuple(f"shortlist:{n}:{weight}" for n in (2, 3, 5, 8) for weight in (0.1, 0.2, 0.5)),
    "line@informed": tuple(f"line:{n}@informed" for n in (1, 2, 3, 5, 10)),
    "line": tuple(f"line:{n}" for n in (3, 5, 10, 15)),
    "patience@linear": tuple(f"patience:{n}@linear" for n in (2, 4, 8, 12)),
    "patience": tuple(f"patience:{n}" for n in (1, 2, 4, 8, 12)),
    "clip-dissect": (
        "clip-dissect",
        *(f"clip-dissect:{top}:{t}:{penalty}" for top in (50, 100, 200) for t in (1, 2, 5) for penalty in (0.5, 1, 2)),
    ),
    "halving": ("halving:10", "halving:20", "halving:40"),
    "lucb": ("lucb:0.1", "lucb:0.25", "lucb:0.5"),
    "top-two": ("top-two:0.1", "top-two:0.3", "top-two:0.5"),
}
"""Of each family, the member with the best mean net value on the validation neurons plays on the others."""
FIXED = (
    "stop", "random", "dnd", "dnr", "dnr@informed", "annealed@informed", "lookahead", "lookahead@informed",
    "promise", "linear", "linear-joined", "constant", "random-label", "oracle",
)  # fmt: skip
TRANSFER: dict[str, tuple[str, ...]] = {
    "second-target": ("--stack", "shapes-transfer", "--neurons", ",".join(LAYERS)),
    "planted": ("--neurons", "planted"),
    "unfaithful": ("--stack", "shapes-unfaithful", "--neurons", "test"),
    "withheld-words": ("--stack", "shapes-withheld", "--neurons", "test"),
    "activation-alone": ("--score", "log_k", "--neurons", "test"),
    "free": ("--image-cost", "0", "--neurons", "test"),
    "dear": ("--image-cost", "0.002", "--neurons", "test"),
}
"""Where else the policy is evaluated as it is."""
RECIPE = ("--mutator", "informed", "--neurons", split("train"), "--validation", split("validation"))
AS_IT_IS = "as-it-is"
VARIANTS: dict[str, tuple[str, ...]] = {
    AS_IT_IS: (),
    "flat": ("--network", "flat"),
    "four-actions": ("--network", "flat", "--moves", "incumbent"),
    "without-keep": ("--network", "flat", "--moves", "no-keep"),
    "without-directions": ("--stack", "shapes"),
    "without-errors": ("--without", "errors"),
    "without-exemplars": ("--without", "exemplars"),
    "without-simulation": ("--without", "simulation"),
    "without-user": ("--user-concepts", "none"),
    "observed-reward": ("--reward", "observed"),
    "default-price-alone": (
        "--image-cost", "0.0005", "--budget", "100", "--user-concepts", "none", "--score", "grounded_k"
    ),
}  # fmt: skip
"""Training otherwise, or the same with as many steps; everything else is as for the policy."""


@dataclass(frozen=True)
class Options:
    """Repeat the study; the same command goes on where it was stopped."""

    out: Path
    """Folder of everything."""
    seeds: int = 10
    """Training seeds of the policy."""
    steps: int = 60_000
    """Steps of each of its trainings."""
    variant_seeds: int = 3
    """Training seeds of each variant."""
    variant_steps: int = 30_000
    """Steps of each of their trainings."""
    episodes: int = 10
    """Seeds of the episodes on the test neurons, each with a block of drawings of its own; elsewhere half of them."""
    workers: int = 2
    """Processes side by side."""


@dataclass(frozen=True)
class Step:
    """One command."""

    name: str
    script: str
    arguments: tuple[str, ...]
    comparison: Comparison | None = None
    """Where its records are, for a comparison."""
    anew: Path | None = None
    """What it begins without: a training that goes on from a checkpoint ends otherwise than one that never stopped."""

    def mark(self) -> str:
        """What it did and with which policies, or the one that it trained: when done, that it is."""
        fingerprints = self.comparison.fingerprints() if self.comparison else []
        if self.anew and (self.anew / "policy.json").exists():
            fingerprints = [LearnedAgent.load(self.anew).fingerprint]
        return "\n".join([shlex.join([self.script, *self.arguments]), *fingerprints, ""])


def compare(out: Path, name: str, agents: Sequence[str], seeds: Sequence[int], *arguments: str) -> Step:
    """A comparison of agents, in OUT/name."""
    found = Comparison(out / name, tuple(agents), tuple(seeds))
    numbers = map(str, found.seeds)
    said = ("compare", "--agents", *agents, "--seeds", *numbers, "--out", str(found.folder), *arguments)
    return Step(name, "evaluate.py", said, found)


def trainings(options: Options) -> list[Step]:
    """The policy's seeds, then those of the variants."""
    wanted: list[tuple[str, tuple[str, ...], int]] = []
    wanted += [(POLICY, ("--steps", str(options.steps)), seed) for seed in range(options.seeds)]
    steps = ("--steps", str(options.variant_steps))
    for name, extra in VARIANTS.items():
        wanted += [(name, (*steps, *extra), seed) for seed in range(options.variant_seeds)]
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
    """The tuning of the sceptic's rules."""
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
    """The sceptic's rules, best on the validation neurons first."""
    return [str(rule["agent"]) for rule in json.loads((out / "sceptic" / "rules.json").read_bytes())]


def evaluations(options: Options, chosen: Sequence[str], rules: Sequence[str]) -> list[Step]:
    """Everything that is compared once loops are chosen, rules tuned and policies trained."""
    out = options.out
    # Tuning has seen the drawings of the seeds up to here.
    many = range(options.episodes + 1, 2 * options.episodes + 1)
    few = many[: -(-options.episodes // 2)]
    policy = str(out / "runs" / POLICY)
    # Two constants on the score are the rule to beat; with the best of all rules it stands in every table.
    plain = next(rule for rule in rules if rule.startswith("until:score:"))
    everybody = (*FIXED, *chosen, *dict.fromkeys((plain, rules[0])), policy)
    reference = str(out / "runs" / AS_IT_IS)
    variants = [*(str(out / "runs" / name) for name in VARIANTS if name != AS_IT_IS), reference]
    best = chosen[0]
    steps = [compare(out, "test", everybody, many, "--neurons", "test")]
    steps.append(compare(out, "sceptic", ("promise", *rules, policy), many, "--neurons", "test"))
    steps += [compare(out, f"transfer-{name}", everybody, few, *arguments) for name, arguments in TRANSFER.items()]
    steps.append(compare(out, "variants", variants, few, "--neurons", "test"))
    with_user = ("--user-concepts", "simulated:0.5", "--neurons", "test")
    steps.append(
        compare(out, "with-user", ("stop", best, str(out / "runs" / "without-user"), reference), few, *with_user)
    )
    known = ("--neurons", "planted:train,planted:validation")
    scores = ("log_k", "grounded_k", "semantic_k", "mean", "topk_sq_mean", "auc", "mad")
    steps += [compare(out, f"score-{score}", ("rounds:10", best), few, "--score", score, *known) for score in scores]
    return steps


def run(options: Options, step: Step, lock: int) -> None:
    """Run one step unless it is done; its process holds the study's lock too.

    Raises:
        DnRError: it failed.
    """
    done, log = options.out / "done" / step.name, options.out / "logs" / f"{step.name}.log"
    command = [sys.executable, step.script, *step.arguments]
    if done.exists() and done.read_text() == step.mark():
        return
    if step.anew:
        shutil.rmtree(step.anew, ignore_errors=True)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TQDM_MININTERVAL": "30"}
    with log.open("a") as file:
        failed = subprocess.run(
            command, cwd=ROOT, env=environment, stdout=file, stderr=subprocess.STDOUT, pass_fds=[lock]
        ).returncode
    if failed:
        raise DnRError(f"study: step {step.name} failed; {log} says why")
    write_atomically(done, step.mark().encode())


def run_all(options: Options, steps: Sequence[Step], what: str, lock: int) -> None:
    """Run steps, as many at a time as there are workers."""
    with ThreadPoolExecutor(options.workers) as pool, tqdm(total=len(steps), unit="step", desc=what) as bar:
        running = [pool.submit(run, options, step, lock) for step in steps]
        try:
            for one in as_completed(running):
                one.result()
                bar.update()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def take_lock(folder: Path) -> int:
    """A lock on the folder that lasts as long as this process or one of its steps.

    Raises:
        DnRError: somebody has it.
    """
    lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise DnRError(
            f"out: a study, or a step of one that was killed, is at work in {folder}; stop it first"
        ) from None
    return lock


def check(options: Options) -> None:
    """Raise DnRError for options that make no study."""
    for name, value in asdict(options).items():
        if name != "out" and value < 1:
            raise DnRError(f"{name}: {value} is too few; 1 or more will do")


def settle(options: Options) -> None:
    """Note what the study is; its folder would mix trainings of another.

    Raises:
        DnRError: it has one of other options.
    """
    noted = options.out / "options.json"
    wanted = {name: value for name, value in asdict(options).items() if name not in ("out", "workers")}
    if noted.exists() and read_settings(noted) != wanted:
        raise DnRError(f"out: {options.out} holds a study of other options (options.json); another folder will do")
    write_atomically(noted, (json.dumps(wanted, indent=2) + "\n").encode())


def choose(tuning: Comparison) -> list[str]:
    """The best member of each family, by mean net value on the validation neurons."""
    records = tuning.records()
    nets = {
        agent: float(np.mean([r["net"] for r in records if r["agent"] == agent]))
        for agents in TUNED.values()
        for agent in agents
    }
    return [max(agents, key=nets.__getitem__) for agents in TUNED.values()]


def ship(out: Path, folder: Path) -> str:
    """Copy the policy with the best validation return; returns its member's name."""
    found = {member.name: LearnedAgent.load(member) for member in members(out / "runs" / POLICY)}
    best = max(found, key=lambda name: found[name].card["validation_return"])
    make_folder(folder)
    for name in ("policy.safetensors", "policy.json"):
        shutil.copy(out / "runs" / POLICY / best / name, folder / name)
    return best


def sign(card: Path, command: Sequence[str], grades: dict[str, dict[str, list[float]]]) -> None:
    """Add to a policy's card the command that trained it and what it came to."""
    said = {**json.loads(card.read_bytes()), "command": shlex.join(command), "evaluation": grades}
    write_atomically(card, (json.dumps(said, indent=2) + "\n").encode())


def main() -> None:
    """The command line."""
    options = tyro.cli(Options)
    options = replace(options, out=options.out.resolve())
    every = [agent for agents in TUNED.values() for agent in agents]
    seeds = range(1, options.episodes + 1)
    tuning = compare(options.out, "tuning", every, seeds, "--neurons", split("validation"))
    try:
        check(options)
        for folder in ("done", "logs"):
            make_folder(options.out / folder)
        lock = take_lock(options.out)
        settle(options)
        run_all(options, [tuning, simple_rules(options), *trainings(options)], "tune and train", lock)
        assert tuning.comparison
        chosen = choose(tuning.comparison)
        rules = read_rules(options.out)
        steps = evaluations(options, chosen, rules)
        run_all(options, steps, "evaluate", lock)
    except DnRError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(f"study: stopped; the same command goes on with what is in {options.out}")
    found = {step.name: step.comparison.read() for step in steps if step.comparison}
    learned = options.out / "report" / "learned"
    shipped = ship(options.out, learned)
    write_report(found, options.out / "report", tuple(TRANSFER), chosen, shipped)
    arguments = (
        "--seeds",
        shipped.removeprefix("seed-"),
        "--steps",
        str(options.steps),
        *RECIPE,
        "--out",
        f"runs/{POLICY}",
    )
    sign(learned / "policy.json", ("python", "train.py", *arguments), graded(found, shipped))
    print(f"tables and plots: {options.out / 'report'}")


if __name__ == "__main__":
    main()
