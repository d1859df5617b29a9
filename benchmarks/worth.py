"""What is drawing worth? The table from which the default score, its weight and the price of an image are chosen.

    PYTHONPATH=. python benchmarks/worth.py --out results/worth

For each train neuron of each stack, the concepts that real images promise most are drawn. A plan draws n images of each
of the j most promising concepts, and its label is that with the highest posterior mean. The table has the best
plan at five prices, beside drawing nothing and beside hindsight, for weights of the drawings from 0 to 1. A word costs
what it costs under `grounded_k`, whatever the weight. OUT/worth.md has the table and OUT/worth.png the figure of
docs/explanation/rewards.md. It takes about ten minutes on two cores.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import matplotlib.figure
import numpy as np
import tyro
from tqdm import tqdm

from dnr_env import load_stack
from dnr_env.evaluation.results import f1_score, markdown
from dnr_env.evidence.calibration import relative
from dnr_env.evidence.lab import Lab
from dnr_env.evidence.sight import see
from dnr_env.files import make_folder, write_atomically
from dnr_env.scores import WORD_PRICE, score
from dnr_env.seeds import Purpose
from dnr_env.stack import Stack
from dnr_env.types import FloatArray, IntArray

WEIGHTS = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.25, 0.0)
PRICES = (0.00002, 0.00005, 0.0001, 0.0002, 0.0005)
_LISTED, _SEARCH, _JUDGED, _SUBSET = 12, 20, 60, 5
_PLANS = tuple((n, j) for n in (5, 10, 20) for j in (1, 2, 3, 5, 8, 12))
NOTHING = (0, 0)
Plan = tuple[int, int]
"""The images of each concept, and the number of concepts."""


@dataclass(frozen=True)
class Options:
    """Measure what drawing is worth."""

    out: Path
    """Folder of the table and of the figure."""
    stacks: tuple[str, ...] = ("shapes", "shapes-transfer", "scenes")
    """The stacks, each with another target."""
    neurons: str = "train"
    """The neurons."""
    weight: float = 0.6
    """The weight of the figure's first panel."""


class Neuron(NamedTuple):
    """The concepts of one neuron that are promising under some weight."""

    excited: FloatArray
    """(concepts,) expected excitement, relative to the best concept of the vocabulary."""
    simulation: FloatArray
    """(concepts,) simulations on the search half."""
    held_out: FloatArray
    """(concepts,) simulations on the held-out half."""
    lengths: FloatArray
    """(concepts,) in words."""
    activations: FloatArray
    """(concepts, images) normalised: drawings of the search, then of the judge."""
    f1: FloatArray | None
    """(concepts,) F1 of the attributes, for a planted neuron."""


class Result(NamedTuple):
    """The outcome of one plan over the neurons."""

    value: FloatArray
    """(neurons,) held-out values of the labels."""
    f1: float
    """The mean F1 of the labels of planted neurons."""


def measure(stack: Stack, neurons: Sequence[int]) -> list[Neuron]:
    """Draw and measure the concepts of each neuron that are among the most promising under any weight."""
    words, lab = stack.vocabulary.concepts, Lab(stack.lab.generator, stack.lab.reader, stack.lab.store)
    seeds = np.concatenate([Purpose.SEARCH.seeds(0, _SEARCH), Purpose.JUDGE.seeds(0, _JUDGED)])
    found = []
    for neuron in tqdm(neurons, unit="neuron", desc=stack.name):
        which = np.full(len(words), neuron)
        expected = stack.promises.excited(words, which)
        excited, simulation = relative(expected, expected.max()), stack.vocabulary.simulations(neuron)
        drawn, real = stack.calibration.prior("log_k", excited, simulation)
        lengths = stack.vocabulary.lengths
        best = [np.argsort(-_mixed(w, drawn.mean, real.mean, lengths), kind="stable")[:_LISTED] for w in WEIGHTS]
        some = np.unique(np.concatenate(best))
        texts, which = [words[i] for i in some], np.full(len(some), neuron)
        seen = see(lab, stack.probe, concepts=texts, neurons=which, seeds=np.tile(seeds, (len(some), 1)))
        held_out = stack.probes.held_out.simulation(stack.embedder.embed_texts(texts), which)
        formula = stack.known.truth(stack.neurons[neuron])
        agreed = [stack.known.compare(formula, stack.language.parts(text)) for text in texts] if formula else None
        f1 = np.array([f1_score(one._asdict()) for one in agreed]) if agreed else None
        found.append(Neuron(excited[some], simulation[some], held_out, lengths[some], seen.activations, f1))
    return found


def _mixed(weight: float, drawn: FloatArray, real: FloatArray, lengths: FloatArray) -> FloatArray:
    """Values at a weight of the drawings, less the price of the words."""
    values: FloatArray = weight * drawn + (1 - weight) * real - WORD_PRICE * lengths
    return values


def _drawn(activations: FloatArray) -> tuple[FloatArray, FloatArray]:
    counts = np.full(len(activations), activations.shape[1])
    return score("log_k", activations=activations, counts=counts, m=_SUBSET)


def outcomes(stack: Stack, neurons: Sequence[Neuron], weight: float) -> tuple[dict[Plan, Result], Result]:
    """The outcome of every plan and of hindsight.

    Hindsight chooses by one half of the judge's drawings and is valued on the other, both ways, so that it does not
    profit from luck.
    """
    values: dict[Plan, list[float]] = {plan: [] for plan in (NOTHING, *_PLANS)}
    names: dict[Plan, list[float]] = {plan: [] for plan in values}
    best, best_names = [], []
    halves = (slice(_SEARCH, _SEARCH + _JUDGED // 2), slice(_SEARCH + _JUDGED // 2, None))
    for one in neurons:
        drawn, real = stack.calibration.prior("log_k", one.excited, one.simulation)
        promised = _mixed(weight, drawn.mean, real.mean, one.lengths)
        listed = np.argsort(-promised, kind="stable")[:_LISTED]
        judged = _mixed(weight, _drawn(one.activations[:, _SEARCH:])[0], one.held_out, one.lengths)
        for plan in values:
            label = _label(stack, one, weight, promised, listed, plan)
            values[plan].append(float(judged[label]))
            if one.f1 is not None:
                names[plan].append(float(one.f1[label]))
        first, second = (
            _mixed(weight, _drawn(one.activations[:, half])[0], one.held_out, one.lengths) for half in halves
        )
        chosen = listed[first[listed].argmax()], listed[second[listed].argmax()]
        best.append((second[chosen[0]] + first[chosen[1]]) / 2)
        if one.f1 is not None:
            best_names.append(one.f1[list(chosen)].mean())
    found = {plan: Result(np.array(values[plan]), float(np.mean(names[plan]))) for plan in values}
    return found, Result(np.array(best), float(np.mean(best_names)))


def _label(stack: Stack, one: Neuron, weight: float, promised: FloatArray, listed: IntArray, plan: Plan) -> int:
    """The concept with the highest posterior mean after a plan."""
    images, concepts = plan
    if not images:
        return int(listed[promised[listed].argmax()])
    drawn = listed[:concepts]
    excited, simulation = one.excited[drawn], one.simulation[drawn]
    result, error = _drawn(one.activations[drawn, :images])
    counts = np.full(len(drawn), images)
    posterior = stack.calibration.drawings("log_k", excited, simulation, result, error, counts)
    real = stack.calibration.prior("log_k", excited, simulation)[1]
    return int(drawn[_mixed(weight, posterior.mean, real.mean, one.lengths[drawn]).argmax()])


def table(found: Mapping[str, Mapping[float, tuple[dict[Plan, Result], Result]]]) -> str:
    """The table, with a row for each stack and weight."""
    columns = ("target", "weight", "nothing drawn", "F1", "hindsight", "F1 ", *(f"at {price:g}" for price in PRICES))
    rows = []
    for stack, weights in found.items():
        for weight, (plans, hindsight) in weights.items():
            nothing = plans[NOTHING]
            row = [stack, f"{weight:g}", f"{nothing.value.mean():.4f}", f"{nothing.f1:.3f}"]
            row += [f"{(hindsight.value - nothing.value).mean():+.4f}", f"{hindsight.f1:.3f}"]
            for price in PRICES:
                plan = max(plans, key=lambda plan: net(plans, plan, price))
                gains = plans[plan].value - nothing.value
                error = gains.std(ddof=1) / np.sqrt(len(gains))
                said = f"{plan[1]} x {plan[0]}: {net(plans, plan, price):+.4f} ± {error:.4f}, F1 {plans[plan].f1:.3f}"
                row.append(said if plan != NOTHING else "nothing")
            rows.append(row)
    return markdown(columns, rows)


def net(plans: Mapping[Plan, Result], plan: Plan, price: float) -> float:
    """The mean gain of a plan over drawing nothing, less the price of its images."""
    return float((plans[plan].value - plans[NOTHING].value).mean()) - price * plan[0] * plan[1]


def draw(found: Mapping[str, Mapping[float, tuple[dict[Plan, Result], Result]]], weight: float, path: Path) -> None:
    """Draw the figure: net gain by images for each price, and names by weight."""
    figure = matplotlib.figure.Figure((9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    sizes = sorted({n * j for n, j in (NOTHING, *_PLANS)})
    for price in PRICES:
        best = [
            max(
                np.mean([net(weights[weight][0], plan, price) for weights in found.values()])
                for plan in (NOTHING, *_PLANS)
                if plan[0] * plan[1] == size
            )
            for size in sizes
        ]
        left.plot(sizes, best, marker=".", label=f"{price:g}")
    left.axhline(0, color="black", linewidth=0.6)
    left.set(
        xlim=(0, 120), ylim=(-0.012, None), xlabel="images drawn", ylabel="net gain over drawing nothing",
        title=f"weight {weight:g}, by the price of an image",
    )  # fmt: skip
    left.legend(fontsize=8, loc="lower left")
    names = np.array(
        [[(plans[NOTHING].f1, hindsight.f1) for plans, hindsight in weights.values()] for weights in found.values()]
    )
    right.plot(WEIGHTS, names.mean(axis=0), marker=".", label=("F1, nothing drawn", "F1, hindsight"))
    right.axvline(weight, color="black", linewidth=0.6)
    right.set(xlabel="weight of the drawings", ylabel="F1 of the attributes", title="names of planted neurons")
    right.legend(fontsize=8)
    figure.savefig(path, dpi=120)


def main() -> None:
    """Run the command."""
    options = tyro.cli(Options)
    make_folder(options.out)
    found = {}
    for name in options.stacks:
        stack = load_stack(name)
        neurons = measure(stack, [n for n in stack.neurons.select(options.neurons) if stack.probe.alive[n]])
        found[name] = {weight: outcomes(stack, neurons, weight) for weight in WEIGHTS}
    text = table(found)
    write_atomically(options.out / "worth.md", (text + "\n").encode())
    draw(found, options.weight, options.out / "worth.png")
    print(text)


if __name__ == "__main__":
    main()
