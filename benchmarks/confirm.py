"""The confirmation (docs/study/preregistration.md): train fresh networks, play the agents on them, and analyse.

    PYTHONPATH=. python benchmarks/confirm.py --out results/confirm --agents promise improve:8 learned --rule improve:8

The last agent is the learned policy. Two processes run at a time. Run the command again to resume: finished trainings
and episodes are kept, and an interrupted training goes on from its checkpoint. Tables are written to OUT/report.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import study_steps
import tyro
from confirm_networks import NETWORKS, FreshNetwork, neurons_of
from confirm_report import write_report
from study import run_all, take_lock
from study_comparisons import Comparison, with_hindsight
from study_steps import Step, compare
from tqdm import tqdm

from dnr_env import load_stack
from dnr_env.errors import DnRError, unknown
from dnr_env.evaluation.compare import contestants
from dnr_env.evaluation.results import Results
from dnr_env.files import make_folder

SEEDS = tuple(range(9, 17))
"""Seeds of the episodes, each with a block of drawings that neither training nor tuning uses."""


@dataclass(frozen=True)
class Options:
    """Run the confirmation. Run the same command again to resume it."""

    out: Path
    """Folder of the confirmation."""
    agents: tuple[str, ...]
    """The agents, each a name or the folder of a run. The learned policy is the last."""
    rule: str
    """The tuned rule that was best on the validation neurons, one of the agents."""
    workers: int = 2
    """Number of parallel processes."""


def confirm(options: Options, networks: Sequence[FreshNetwork] = NETWORKS, seeds: Sequence[int] = SEEDS) -> Path:
    """Train, play, judge and analyse. Returns the folder of the tables.

    Args:
        options: the options.
        networks: the networks, those of a world together.
        seeds: the seeds of the episodes, at least two.

    Raises:
        DnRError: an option cannot be used, or a step failed.
    """
    out = options.out.resolve()
    agents = [str(Path(agent).resolve()) if Path(agent).is_dir() else agent for agent in options.agents]
    names = list(dict.fromkeys(contestant.name for contestant in contestants(agents)))
    if options.rule not in names[:-1]:
        raise unknown("rule", options.rule, names[:-1])
    for folder in ("done", "logs", "networks"):
        make_folder(out / folder)
    lock = take_lock(out)
    try:
        running = study_steps.Options(out, workers=options.workers)
        run_all(running, [Step(f"train-{one.name}", "-m", one.training(out)) for one in networks], "train", lock)
        steps = [_comparison(out, network, agents, seeds) for network in networks]
        run_all(running, steps, "play and judge", lock)
        comparisons = [step.comparison for step in steps if step.comparison]
        with ProcessPoolExecutor(options.workers, get_context("spawn")) as pool:
            found = list(tqdm(pool.map(_results, comparisons), "hindsight", len(steps), unit="network"))
        report = out / "report"
        write_report(found, [network.world for network in networks], report, names[-1], options.rule)
    finally:
        os.close(lock)
    return report


def _comparison(out: Path, network: FreshNetwork, agents: Sequence[str], seeds: Sequence[int]) -> Step:
    """Make the step that plays the agents on the neurons of a network."""
    name = network.stack(out)
    neurons = ",".join(neurons_of(load_stack(name), network.seed))
    return compare(out, network.name, agents, seeds, "--stack", name, "--neurons", neurons)


def _results(comparison: Comparison) -> Results:
    """Read a comparison, and add the agent `hindsight`. The labels of other seeds are drawn for it."""
    return with_hindsight(*comparison.read())


def main() -> None:
    """Run the confirmation from the command line."""
    options = tyro.cli(Options)
    try:
        report = confirm(options)
    except DnRError as error:
        sys.exit(f"confirm: {error}")
    except KeyboardInterrupt:
        sys.exit(f"confirm: stopped; run the same command again to resume from {options.out}")
    print((report / "verdict.md").read_text(encoding="utf-8"))
    print(f"tables: {report}")


if __name__ == "__main__":
    main()
