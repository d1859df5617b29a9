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
    "line@informed": tuple(f"line:{n}@informed" for n in (1, 2, 3, 4, 5, 8)),
    "patience@informed": tuple(f"patience:{n}@informed" for n in (1, 2, 3, 4, 6)),
    "patience@linear": tuple(f"patience:{n}@linear" for n in (2, 4, 8, 12)),
    "patience": tuple(f"patience:{n}" for n in (2, 3, 4, 6, 8, 12)),
    "line": tuple(f"line:{n}" for n in (5, 10, 15)),
    "halving": ("halving:10", "halving:20", "halving:40", "halving"),
    "lucb": ("lucb:0.1", "lucb:0.25", "lucb:0.5"),
    "top-two": ("top-two:0.1", "top-two:0.3", "top-two:0.5", "top-two:0.7"),
}
"""Of each family, the member with the best mean return on the validation neurons plays on the others."""
FIXED = (
    "stop", "random", "dnd", "dnr", "annealed", "lookahead", "lookahead@linear", "lookahead@informed",
    "annealed@informed", "dnr@informed", "clip-dissect", "linear", "constant", "random-label", "oracle",
)  # fmt: skip
TRANSFER: dict[str, tuple[str, ...]] = {
    "second-target": ("--stack", "shapes-transfer", "--neurons", ",".join(LAYERS)),
    "planted": ("--score", "grounded_k", "--neurons", "planted"),
    "planted-free": ("--score", "grounded_k", "--neurons", "planted", "--image-cost", "0"),
    "unfaithful": ("--stack", "shapes-unfaithful", "--neurons", "test"),
    "withheld-words": ("--stack", "shapes-withheld", "--neurons", "test"),
    "budget": ("--budget", "30", "--neurons", "test"),
    "price": ("--image-cost", "0.0015", "--neurons", "test"),
    "free": ("--image-cost", "0", "--neurons", "test"),
    "dear": ("--image-cost", "0.02", "--neurons", "test"),
}
"""Where else the policy is evaluated as it is: most of it unlike what it was trained on."""
RECIPE = ("--mutator", "informed", "--neurons", split("train"), "--validation", split("validation"))
AS_IT_IS = "as-it-is"
VARIANTS: dict[str, tuple[str, ...]] = {
    AS_IT_IS: (),
    "flat": ("--network", "flat"),
    "raw": ("--network", "raw"),
    "four-actions": ("--network", "flat", "--moves", "incumbent"),
    "without-keep": ("--network", "flat", "--moves", "no-keep"),
    "dqn": ("--network", "flat", "--algorithm", "dqn"),
    "qr-dqn": ("--network", "flat", "--algorithm", "qr-dqn"),
    "memory": ("--algorithm", "ppo", "--network", "recurrent"),
    "no-memory": ("--algorithm", "ppo", "--network", "flat"),
    "cloned": ("--clone", "line:3", "--steps", "0"),
    "cloned-first": ("--clone", "line:3"),
    "without-directions": ("--stack", "shapes"),
    "without-errors": ("--without", "errors"),
    "without-exemplars": ("--without", "exemplars"),
    "without-simulation": ("--without", "simulation"),
    "without-user": ("--user-concepts", "none"),
    "observed-reward": ("--reward", "observed"),
    "default-price-alone": ("--image-cost", "0.0005", "--budget", "100", "--user-concepts", "none", "--score", "log_k"),
}
"""Training otherwise, or the same with as many steps; everything else is as for the policy."""


def drawn_settings(rng: np.random.Generator) -> tuple[str, ...]:
    """Settings of the learner, rates log-uniform."""
    return (
        "--learning-rate", f"{10 ** rng.uniform(-3.5, -2.5):.1e}",
        "--entropy", f"{10 ** rng.uniform(-3, -1.5):.1e}",
        "--gamma", str(rng.choice((0.97, 0.99, 1.0))),
        "--network", str(rng.choice(("set", "flat"))),
    )  # fmt: skip


SEARCH = {f"drawn-{i}": drawn_settings(np.random.default_rng(i)) for i in range(12)}
"""A random search around the settings of the policy, one training each."""


@dataclass(frozen=True)
class Options:
    """Repeat the study; the same command goes on where it was stopped."""

    out: Path
    """Folder of everything."""
    seeds: int = 10
    """Training seeds of the policy."""
    steps: int = 120_000
    """Steps of each of its trainings."""
    variant_seeds: int = 3
    """Training seeds of each variant."""
    variant_steps: int = 50_000
    """Steps of each of their trainings."""
    episodes: int = 10
    """Seeds of the episodes on the test neurons; elsewhere a third of them."""
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


def compare(out: Path, name: str, agents: Sequence[str], seeds: int, *arguments: str) -> Step:
    """A comparison of agents, in OUT/name."""
    found = Comparison(out / name, tuple(agents), tuple(range(1, seeds + 1)))
    numbers = map(str, found.seeds)
    said = ("compare", "--agents", *agents, "--seeds", *numbers, "--out", str(found.folder), *arguments)
    return Step(name, "evaluate.py", said, found)


def trainings(options: Options) -> list[Step]:
    """The policy's seeds, then those of the variants, then the random search."""
    wanted: list[tuple[str, tuple[str, ...], int]] = []
    wanted += [(POLICY, ("--steps", str(options.steps)), seed) for seed in range(options.seeds)]
    steps = ("--steps", str(options.variant_steps))
    for name, extra in VARIANTS.items():
        wanted += [(name, (*steps, *extra), seed) for seed in range(options.variant_seeds)]
    wanted += [(name, (*steps, *extra), 0) for name, extra in SEARCH.items()]
    return [
        Step(
            f"train-{name}-{seed}",
            "train.py",
            ("--out", str(options.out / "runs" / name), "--seeds", str(seed), *RECIPE, *arguments),
            anew=options.out / "runs" / name / f"seed-{seed}",
        )
        for name, arguments, seed in wanted
    ]


def evaluations(options: Options, chosen: Sequence[str]) -> list[Step]:
    """Everything that is compared once loops are chosen and policies trained."""
    out, few = options.out, -(-options.episodes // 3)
    policy = str(out / "runs" / POLICY)
    # The nearest rivals play with every setting: what hindsight would have chosen is seen too.
    rivals = [agent for name in ("line@informed", "patience@informed") for agent in TUNED[name] if agent not in chosen]
    everybody = (*FIXED, *rivals, *chosen, policy)
    reference = str(out / "runs" / AS_IT_IS)
    variants = [*(str(out / "runs" / name) for name in VARIANTS if name != AS_IT_IS), reference]
    best = next(agent for agent in chosen if agent.startswith("line") and agent.endswith("@informed"))
    steps = [compare(out, "test", everybody, options.episodes, "--neurons", "test")]
    steps += [compare(out, f"transfer-{name}", everybody, few, *arguments) for name, arguments in TRANSFER.items()]
    steps.append(compare(out, "variants", variants, few, "--neurons", "test"))
    with_user = ("--user-concepts", "simulated:0.5", "--neurons", "test")
    steps.append(
        compare(out, "with-user", ("stop", best, str(out / "runs" / "without-user"), reference), few, *with_user)
    )
    unpaired = ("--stack", "shapes-unpaired", "--neurons", "test")
    steps.append(compare(out, "unpaired", ("stop", best, policy), few, *unpaired))
    known = ("--neurons", "planted:train,planted:validation")
    scores = ("log_k", "grounded_k", "semantic_k", "mean", "topk_sq_mean", "auc", "mad")
    steps += [compare(out, f"score-{score}", ("line:10", best), few, "--score", score, *known) for score in scores]
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
    """The best member of each family, by mean return on the validation neurons."""
    records = tuning.records()
    returns = {
        agent: float(np.mean([r["return"] for r in records if r["agent"] == agent]))
        for agents in TUNED.values()
        for agent in agents
    }
    return [max(agents, key=returns.__getitem__) for agents in TUNED.values()]


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
    tuning = compare(options.out, "tuning", every, options.episodes, "--neurons", split("validation"))
    try:
        check(options)
        for folder in ("done", "logs"):
            make_folder(options.out / folder)
        lock = take_lock(options.out)
        settle(options)
        run_all(options, [tuning, *trainings(options)], "tune and train", lock)
        assert tuning.comparison
        chosen = choose(tuning.comparison)
        steps = evaluations(options, chosen)
        run_all(options, steps, "evaluate", lock)
    except DnRError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(f"study: stopped; the same command goes on with what is in {options.out}")
    found = {step.name: step.comparison.read() for step in steps if step.comparison}
    learned = options.out / "report" / "learned"
    shipped = ship(options.out, learned)
    searched = {name: members(options.out / "runs" / name) for name in (AS_IT_IS, *SEARCH)}
    write_report(found, options.out / "report", tuple(TRANSFER), chosen, shipped, searched)
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
