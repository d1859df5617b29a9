"""Is a learned policy more than a threshold? Tunes simple stopping rules, then plays them beside it.

    PYTHONPATH=. python benchmarks/sceptic.py --out results/sceptic

Every rule (`agents.until`) watches one number of what the policy sees, and has a threshold, a least and a most number
of mutations. The validation neurons decide these: all rules stop on the same recorded paths of mutations, so every
choice is evaluated on the same episodes. OUT/rules.json has the best choice for each signal, the best signal first. The
table then compares the rules on neurons that had no part in the choice.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tyro

from agents.base import Observation
from agents.compare import contestants, optimal_values, play
from agents.line import RoundsAgent
from agents.results import COLUMNS, Results, markdown, summary
from agents.rollout import rollout
from agents.until import SIGNALS
from dnr_env import DnRError, Rules, load_stack
from dnr_env.files import make_folder, write_atomically
from dnr_env.neurons import select
from dnr_env.stacks import Stack
from dnr_env.types import BoolArray, FloatArray, IntArray

_LEAST, _MOST = (0, 1), (1, 2, 3, 5, 8)
_QUANTILES = np.linspace(0.025, 0.975, 39)


@dataclass(frozen=True)
class Options:
    """Tune simple stopping rules on the validation neurons, and play them on others."""

    out: Path
    """Folder of the rules and of the records."""
    neurons: str = "test"
    """On which they are played."""
    validation: str = "layer1:validation,layer2:validation,layer3:validation,layer4:validation"
    """On which they are tuned."""
    seeds: int = 10
    """Seeds of the episodes that tune, 1 and up; as many others play. Each has a block of drawings of its own."""
    mutator: str = "informed"
    """What makes new concepts."""
    against: tuple[str, ...] = ("promise", "learned")
    """Who is played beside them; nobody to tune alone."""


class Rule(NamedTuple):
    """A rule, and what it came to on the neurons that it was tuned on."""

    agent: str
    gain: float
    """Mean value gained on the images of the rewards, less the bill of all images drawn."""
    images: float


class Paths(NamedTuple):
    """Episodes of mutations to the end, and what stopping at each point would have come to."""

    signals: dict[str, FloatArray]
    """(episodes, points) by the names of `SIGNALS`."""
    gain: FloatArray
    """(episodes, points) value gained on the images of the rewards, less the bill of all images drawn."""
    images: FloatArray
    """(episodes, points)."""


class _Watcher(RoundsAgent):
    """Mutates to the end, and keeps what it sees."""

    def __init__(self, rounds: int, mutator: str) -> None:
        super().__init__(rounds)
        self.env_options = {"mutator": mutator}
        self.seen: list[dict[str, FloatArray]] = []

    def act(
        self, observation: Observation, memory: FloatArray, masks: BoolArray | None, deterministic: bool
    ) -> IntArray:
        """As `RoundsAgent`."""
        self.seen.append({name: signal(observation).astype(float) for name, signal in SIGNALS.items()})
        return super().act(observation, memory, masks, deterministic)


def paths(stack: Stack, neurons: Sequence[str], seeds: Sequence[int], mutator: str, rules: Rules) -> Paths:
    """Play every neuron with every seed to the last mutation that a rule may take."""
    watcher = _Watcher(max(_MOST), mutator)
    jobs = [(neuron, seed) for seed in seeds for neuron in neurons]
    episodes = list(rollout(watcher, jobs, batch=len(jobs), stack=stack, **asdict(rules)))
    curves = np.array([episode.curve[: max(_MOST) + 1] for episode in episodes])  # the last step is STOP
    images = curves[:, :, 0] + np.array([[episode.images - episode.added_images] for episode in episodes])
    signals = {name: np.stack([seen[name] for seen in watcher.seen], axis=1) for name in SIGNALS}
    return Paths(signals, curves[:, :, 1] - rules.image_cost * images, images)


def stops(signal: FloatArray, threshold: float, least: int, most: int) -> IntArray:
    """(episodes,) the point at which a rule stops, of a signal (episodes, points)."""
    point = np.arange(signal.shape[1])
    stopping = ((signal >= threshold) & (point >= least)) | (point >= most)
    first: IntArray = stopping.argmax(axis=1)
    return first


def tune(found: Paths) -> list[Rule]:
    """The best rule of each signal, best first."""
    row = np.arange(len(found.gain))
    best = []
    for name, signal in found.signals.items():
        # Rounded down, so that a signal that has but a few values still reaches them.
        thresholds = np.unique(np.floor(np.quantile(signal, _QUANTILES) * 1e4) / 1e4)
        choices = [(t, least, most) for t in thresholds for least in _LEAST for most in _MOST]
        gains = [float(found.gain[row, stops(signal, *choice)].mean()) for choice in choices]
        threshold, least, most = choices[int(np.argmax(gains))]
        images = found.images[row, stops(signal, threshold, least, most)].mean()
        best.append(Rule(f"until:{name}:{threshold:g}:{least}:{most}", max(gains), float(images)))
    return sorted(best, key=lambda rule: -rule.gain)


def main() -> None:
    """The command line."""
    options = tyro.cli(Options)
    stack, rules = load_stack("shapes"), Rules()
    seeds, others = range(1, options.seeds + 1), range(options.seeds + 1, 2 * options.seeds + 1)
    names = stack.lab.reader.neurons
    try:
        if options.seeds < 1:
            raise DnRError(f"seeds: {options.seeds} is too few; 1 or more are needed")
        make_folder(options.out)
        validation = [names[i] for i in select(names, options.validation)]
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
            test = [names[i] for i in select(names, options.neurons)]
            records = play(stack, players, test, others, options.out / "results.jsonl", rules)
            print(markdown(COLUMNS, summary(Results(records, optimal_values(stack, test, others, rules)))))
    except DnRError as error:
        sys.exit(f"sceptic.py: {error}")


if __name__ == "__main__":
    main()
