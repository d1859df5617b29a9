"""The study (docs/explanation/results.md): tune the loops, train policies, compare, transfer, ablate.

    make study

Each step is a command of train.py or evaluate.py. It runs in its own process, two at a time, and has its own log. Run
the study again to resume it: it skips finished steps and continues interrupted comparisons. An interrupted training
starts over, so that the tables stay the same. The tables (Markdown) and plots are written to OUT/report.
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
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import tyro
from study_comparisons import POLICY, Comparison
from study_report import graded, write_report
from study_settings import BOTH, CLONED, EVERYWHERE, IN_SHAPES, RECIPE, RULES
from study_steps import Chosen, Options, Step, evaluations, read_rules, simple_rules, trainings, tunings
from tqdm import tqdm

from dnr_env.agents.learned.policy import LearnedAgent, members
from dnr_env.errors import DnRError
from dnr_env.files import make_folder, read_settings, write_atomically

ROOT = Path(__file__).parents[1]


def run(options: Options, step: Step, lock: int) -> None:
    """Run one step, unless it has been done. Its process also holds the study's lock.

    Raises:
        DnRError: The step failed.
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
        raise DnRError(f"the step {step.name} failed (see {log})")
    write_atomically(done, step.mark().encode())


def run_all(options: Options, steps: Sequence[Step], what: str, lock: int) -> None:
    """Run steps in parallel, one per worker."""
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
    """Lock the folder for as long as this process or one of its steps runs.

    Raises:
        DnRError: Another process holds the lock.
    """
    lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise DnRError(
            f"`out` must be a folder in which no other study is running (got {folder}, which is locked by a study or "
            "by a step of a killed study)"
        ) from None
    return lock


def check(options: Options) -> None:
    """Raise DnRError if an option is out of range."""
    for name, value in asdict(options).items():
        if name != "out" and value < 1:
            raise DnRError(f"`{name}` must be at least 1 (got {value})")


def settle(options: Options) -> None:
    """Write the study's options into its folder, so that the folder never mixes two studies.

    Raises:
        DnRError: The folder holds a study with other options.
    """
    noted = options.out / "options.json"
    wanted = {name: value for name, value in asdict(options).items() if name not in ("out", "workers")}
    if noted.exists() and read_settings(noted) != wanted:
        raise DnRError(
            f"`out` must be a new folder or the folder of a study with the same options (got {options.out}, whose "
            "options.json differs)"
        )
    write_atomically(noted, (json.dumps(wanted, indent=2) + "\n").encode())


def choose(tunings: Sequence[Comparison], sceptic: list[str]) -> Chosen:
    """Choose by the mean net value on the validation neurons, where worlds count alike.

    Args:
        tunings: A comparison for each world. A family enters where all worlds or the first alone has played it.
        sceptic: The sceptic's rules, best first.
    """
    found: dict[str, list[float]] = {}
    for tuning in tunings:
        of_agent: dict[str, list[float]] = {}
        for record in tuning.records():
            of_agent.setdefault(record["agent"], []).append(record["net"])
        for agent, nets in of_agent.items():
            found.setdefault(agent, []).append(float(np.mean(nets)))
    mean = {agent: float(np.mean(nets)) for agent, nets in found.items()}
    families = {name: max(agents, key=mean.__getitem__) for name, agents in {**EVERYWHERE, **IN_SHAPES}.items()}
    return Chosen(families, max((families[name] for name in RULES), key=mean.__getitem__), sceptic)


def ship(out: Path, folder: Path) -> str:
    """Copy the policy with the best validation return into `folder`, and return its member name."""
    found = {member.name: LearnedAgent.load(member) for member in members(out / "runs" / POLICY)}
    best = max(found, key=lambda name: found[name].card["validation_return"])
    make_folder(folder)
    for name in ("policy.safetensors", "policy.json"):
        shutil.copy(out / "runs" / POLICY / best / name, folder / name)
    return best


def sign(card: Path, command: Sequence[str], grades: dict[str, dict[str, list[float]]]) -> None:
    """Add the training command and the evaluation to a policy's card."""
    said = {**json.loads(card.read_bytes()), "command": shlex.join(command), "evaluation": grades}
    write_atomically(card, (json.dumps(said, indent=2) + "\n").encode())


def main() -> None:
    """Run the study from the command line."""
    options = tyro.cli(Options)
    options = replace(options, out=options.out.resolve())
    tuning = tunings(options)
    try:
        check(options)
        for folder in ("done", "logs"):
            make_folder(options.out / folder)
        lock = take_lock(options.out)
        settle(options)
        run_all(options, [*tuning, simple_rules(options), *trainings(options)], "tune and train", lock)
        chosen = choose([step.comparison for step in tuning if step.comparison], read_rules(options.out))
        steps = evaluations(options, chosen)
        run_all(options, steps, "evaluate", lock)
    except DnRError as error:
        sys.exit(f"study: {error}")
    except KeyboardInterrupt:
        sys.exit(f"study: stopped; run the same command again to resume from {options.out}")
    found = {step.name: step.comparison.read() for step in steps if step.comparison}
    learned = options.out / "report" / "learned"
    shipped = ship(options.out, learned)
    write_report(found, options.out / "report", chosen, shipped)
    arguments = (
        "--seeds",
        shipped.removeprefix("seed-"),
        "--steps",
        str(options.steps),
        *RECIPE,
        *BOTH,
        *CLONED,
        "--out",
        f"runs/{POLICY}",
    )
    sign(learned / "policy.json", ("python", "train.py", *arguments), graded(found, shipped))
    print(f"tables and plots: {options.out / 'report'}")


if __name__ == "__main__":
    main()
