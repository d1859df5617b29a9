"""Is a learned policy more than a threshold? Tunes simple stopping rules, then plays them beside it.

    PYTHONPATH=. python benchmarks/sceptic.py --out results/sceptic

Each rule (`agents/until.py`) lists some mutants, draws, and watches one number that the policy sees. It has a
threshold, and a minimum and a maximum number of measurements. These are tuned on the validation neurons: all rules stop
on the same recorded paths of measurements, so every choice is evaluated on the same episodes. OUT/rules.json has the
best choice for each signal, best signal first. The table then compares the rules on neurons that were not used for
tuning.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tyro

from dnr_env import DnRError, Rules, load_stack
from dnr_env.agents.base import Observation
from dnr_env.agents.until import LISTED, SIGNALS, UntilAgent
from dnr_env.evaluation.compare import contestants, optimal_values, play_all
from dnr_env.evaluation.results import COLUMNS, Results, markdown, summary
from dnr_env.evaluation.rollout import rollout
from dnr_env.files import make_folder, write_atomically
from dnr_env.stack import Stack
from dnr_env.types import BoolArray, FloatArray, IntArray

_LEAST, _MOST = (0, 1), (1, 2, 3, 5, 8, 12)
_QUANTILES = np.linspace(0.025, 0.975, 39)


@dataclass(frozen=True)
class Options:
    """Tune simple stopping rules on the validation neurons, and evaluate them on other neurons."""

    out: Path
    """Folder of the rules and of the records."""
    neurons: str = "test"
    """Neurons on which the rules are evaluated."""
    validation: str = "layer1:validation,layer2:validation,layer3:validation,layer4:validation"
    """Neurons on which the rules are tuned."""
    seeds: int = 10
    """Number of episode seeds for tuning, and again for the evaluation. Each seed has its own block of drawings."""
    mutator: str = "informed"
    """The mutator, which proposes new concepts."""
    against: tuple[str, ...] = ("promise", "learned")
    """Agents that the rules are compared with. With none, the rules are only tuned."""


class Rule(NamedTuple):
    """A rule and its performance on the neurons that it was tuned on."""

    agent: str
    gain: float
    """Mean value gained on the reward images, minus the price of all images drawn."""
    images: float


class Paths(NamedTuple):
    """Episodes that draw to the end, with the outcome of stopping after each number of measurements."""

    signals: dict[str, FloatArray]
    """Arrays (episodes, points), keyed by the names of `SIGNALS`."""
    gain: FloatArray
    """(episodes, points) value gained on the reward images, minus the price of all images drawn."""
    images: FloatArray
    """(episodes, points) images drawn so far."""


class _Watcher(UntilAgent):
    """Draws to the end, and records the signals."""

    def __init__(self, most: int, mutator: str) -> None:
        super().__init__("mean", np.inf, most, most)
        self.env_options = {"mutator": mutator}
        self.seen: list[dict[str, FloatArray]] = []

    def act(
        self, observation: Observation, memory: FloatArray, masks: BoolArray | None, deterministic: bool
    ) -> IntArray:
        """Record the signals, then act as `UntilAgent` does."""
        self.seen.append({name: signal(observation).astype(float) for name, signal in SIGNALS.items()})
        return super().act(observation, memory, masks, deterministic)


def paths(stack: Stack, neurons: Sequence[str], seeds: Sequence[int], mutator: str, rules: Rules) -> Paths:
    """Play every neuron with every seed up to the last measurement that a rule may choose."""
    watcher = _Watcher(max(_MOST), mutator)
    jobs = [(neuron, seed) for seed in seeds for neuron in neurons]
    episodes = list(rollout(watcher, jobs, batch=len(jobs), stack=stack, rules=rules))
    # After each measurement, without the mutations before them and the STOP after them.
    curves = np.array([[point[:2] for point in episode.curve[LISTED:-1]] for episode in episodes])
    signals = {name: np.stack([seen[name] for seen in watcher.seen[LISTED:]], axis=1) for name in SIGNALS}
    return Paths(signals, curves[:, :, 1] - rules.image_cost * curves[:, :, 0], curves[:, :, 0])


def stops(signal: FloatArray, threshold: float, least: int, most: int) -> IntArray:
    """Find the point (episodes,) at which a rule stops on a signal (episodes, points)."""
    point = np.arange(signal.shape[1])
    stopping = ((signal >= threshold) & (point >= least)) | (point >= most)
    first: IntArray = stopping.argmax(axis=1)
    return first


def tune(found: Paths) -> list[Rule]:
    """Find the best rule of each signal, and sort them, best first."""
    row = np.arange(len(found.gain))
    best = []
    for name, signal in found.signals.items():
        # Rounded down, so that a signal with few distinct values still reaches them.
        thresholds = np.unique(np.floor(np.quantile(signal, _QUANTILES) * 1e4) / 1e4)
        choices = [(t, least, most) for t in thresholds for least in _LEAST for most in _MOST]
        gains = [float(found.gain[row, stops(signal, *choice)].mean()) for choice in choices]
        threshold, least, most = choices[int(np.argmax(gains))]
        images = found.images[row, stops(signal, threshold, least, most)].mean()
        best.append(Rule(f"until:{name}:{threshold:g}:{least}:{most}", max(gains), float(images)))
    return sorted(best, key=lambda rule: -rule.gain)


def main() -> None:
    """Tune and compare the rules from the command line."""
    options = tyro.cli(Options)
    stack, rules = load_stack("shapes"), Rules()
    seeds, others = range(1, options.seeds + 1), range(options.seeds + 1, 2 * options.seeds + 1)
    try:
        if options.seeds < 1:
            raise DnRError(f"`seeds` must be at least 1 (got {options.seeds})")
        make_folder(options.out)
        validation = stack.neurons.named(options.validation, "validation")
        found = tune(paths(stack, validation, seeds, options.mutator, rules))
        best = [rule._replace(agent=f"{rule.agent}@{options.mutator}") for rule in found]
        write_atomically(
            options.out / "rules.json", (json.dumps([r._asdict() for r in best], indent=2) + "\n").encode()
        )
        tuned = markdown(
            ("rule", "gain less bill, validation neurons", "images"),
            [[r.agent, f"{r.gain:.4f}", f"{r.images:.1f}"] for r in best],
        )
        write_atomically(options.out / "rules.md", (tuned + "\n").encode())
        print(tuned)
        if options.against:
            players = contestants([*(rule.agent for rule in best), *options.against])
            test = stack.neurons.named(options.neurons)
            records = play_all(stack, players, test, others, options.out / "results.jsonl", rules)
            print(markdown(COLUMNS, summary(Results(records, optimal_values(stack, test, others, rules)))))
    except DnRError as error:
        sys.exit(f"sceptic.py: {error}")


if __name__ == "__main__":
    main()
