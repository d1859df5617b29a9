"""What is there to decide in a world? Plays agents on train neurons, beside the best concepts and hindsight.

    PYTHONPATH=. python benchmarks/headroom.py --stack scenes --out results/headroom

OUT/headroom.md has a table of the agents and, below it, the numbers that say what a world leaves to decide: the share
of the way from the first label to the optimum that the label of the model alone goes, how many neurons are solved at
reset, and what hindsight gains over the best of the rules. Played episodes are kept, and read when it is run again.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro
from study_comparisons import HINDSIGHT, PROMISE, with_hindsight

from dnr_env import DnRError, Rules, load_stack
from dnr_env.evaluation.compare import contestants, optimal_values, play_all
from dnr_env.evaluation.results import Results, markdown, shown
from dnr_env.evaluation.statistics import mean_interval
from dnr_env.files import make_folder, write_atomically

SOLVED = 0.02
"""A label solves a neuron if its value is less than this below the optimum, on average over the blocks."""
RESET = "stop"


@dataclass(frozen=True)
class Options:
    """Measure what a world leaves to decide."""

    out: Path
    """Folder of the table and of the records."""
    stack: str = "scenes"
    """The world."""
    neurons: str = "train"
    """The neurons."""
    rules: tuple[str, ...] = (
        "turns:9", "kinds:12:4", "improve:6", "gradient:8:4:1:8", "cover:8:0.2:0.5:4", "shortlist:5:2",
    )  # fmt: skip
    """The agents that draw."""
    free: tuple[str, ...] = ("list:12", "linear-joined", "clip-dissect:50:1:0.5")
    """Further agents that draw nothing."""
    seeds: tuple[int, ...] = (1, 2, 3, 4)
    """Seeds of the episodes, each with a block of drawings. There must be two or more, as hindsight is cross-fitted."""


def table(results: Results) -> str:
    """Tabulate each agent, best first: net value, its paired difference to the free label, and what it draws."""
    columns = ("agent", "net value", f"more than `{PROMISE}`", "value", "judge's own", "images", "of optimum", "F1")
    rows = [
        [
            agent,
            shown(mean_interval(results.table(agent, "net"))),
            shown(results.difference(agent, PROMISE, "net")),
            f"{results.mean(agent, 'value'):.4f}",
            shown(results.judge_net(agent)),
            f"{results.mean(agent, 'images'):.1f}",
            shown(results.fraction(agent), 3),
            shown(results.f1(agent), 3),
        ]
        for agent in results.ranked()
    ]
    return markdown(columns, rows)


def room(results: Results, rules: tuple[str, ...]) -> list[str]:
    """The sentences on what there is to decide.

    Args:
        results: The agents, with hindsight, on neurons whose optimum is known.
        rules: The agents that draw.
    """
    best = np.array([results.optima[neuron] for neuron in results.neurons]).mean(axis=1)
    reset, free, hindsight = (results.table(agent, "value").mean(axis=(0, 1)) for agent in (RESET, PROMISE, HINDSIGHT))
    solved, by_model, at_best = (f"{np.mean(values > best - SOLVED):.0%}" for values in (reset, free, hindsight))
    rule = max(rules, key=lambda agent: results.mean(agent, "net"))
    paid, unpaid = (shown(results.difference(HINDSIGHT, rule, key)) for key in ("net", "value"))
    return [
        f"{len(results.neurons)} neurons, {len(results.seeds)} blocks of drawings.",
        f"From the label at reset to the optimum: {np.mean(best - reset):.4f}. The label of the model alone goes "
        f"{np.mean(free - reset) / np.mean(best - reset):.0%} of it.",
        f"Solved at reset: {solved}; by the label of the model alone: {by_model}; by the best label of any agent: "
        f"{at_best}.",
        f"The best rule is `{rule}`. Hindsight less its net value: {paid}; less its value, images aside: {unpaid}.",
    ]


def main() -> None:
    """Play, and write the table."""
    options = tyro.cli(Options)
    try:
        make_folder(options.out)
        stack, rules = load_stack(options.stack), Rules()
        if not stack.known.optimum(rules.score):
            raise DnRError(f"`stack` must be one whose best labels are known, such as scenes (got {options.stack})")
        neurons = [stack.neurons[i] for i in stack.neurons.select(options.neurons)]
        players = contestants([RESET, PROMISE, *options.free, *options.rules])
        records = play_all(stack, players, neurons, options.seeds, options.out / "results.jsonl", rules)
        results = Results(records, optimal_values(stack, neurons, options.seeds, rules))
        results = with_hindsight(results, rules, stack)
        text = "\n\n".join([table(results), *room(results, options.rules)])
        print(text)
        write_atomically(options.out / "headroom.md", f"{text}\n".encode())
    except DnRError as error:
        sys.exit(f"headroom.py: {error}")


if __name__ == "__main__":
    main()
