"""What does a price per word do? The table from which `scores.WORD_PRICE` is chosen.

    PYTHONPATH=. python benchmarks/words.py --out results/words

At each price, every train neuron of `shapes` and `scenes` gets the label with the highest value under `grounded_k`, as
the searches of the optimum find it: in `shapes` the best noun phrase of the vocabulary, in `scenes` the best label with
unions and exceptions, from fewer bases than the optimum's. Whether longer labels are better or only fit errors is then
asked of what the labels were not chosen by: the formulas of planted neurons, and the judge's own embedder, which knows
the true attributes, on the held-out real images.

The default is the highest price at which nothing is lost that can be told from chance: in `shapes`, whose embedder errs
little, F1 is within a standard error of its value without a price, and in `scenes` no fewer parts are named. Beyond it
the F1 of `scenes` still rises, as its embedder's errors are fitted less.

OUT/words.md has the table. ± is one standard error over neurons.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tyro
from tqdm import tqdm

from dnr_env import load_stack
from dnr_env.evaluation.results import f1_score, markdown
from dnr_env.files import make_folder, write_atomically
from dnr_env.scenes import find_optimum as in_scenes
from dnr_env.scenes.label_search import LabelSearch
from dnr_env.scenes.planted import Formula
from dnr_env.shapes import find_optimum as in_shapes
from dnr_env.shapes.weighing import weighed
from dnr_env.stack import Stack
from dnr_env.types import FloatArray

_BASES, _KEPT = 10, 2


@dataclass(frozen=True)
class Options:
    """Measure what a price per word does."""

    out: Path
    """Folder of the table."""
    prices: tuple[float, ...] = (0.0, 0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.08)
    """The prices."""
    channels: int = 60
    """The most channels of `scenes`, a random choice. All planted train neurons count."""


class Result(NamedTuple):
    """The labels of one world at one price."""

    f1: FloatArray
    """(planted neurons,) F1 of the attributes."""
    parts: FloatArray
    """(planted neurons with several parts,) the share of the parts that is named."""
    words: FloatArray
    """(neurons,) lengths of the labels."""
    unions: float
    """The share of the labels that are unions."""
    exceptions: float
    """The share of the labels with an exception."""
    planted: FloatArray
    """(planted neurons,) simulations by the judge's own embedder."""
    channels: FloatArray
    """(channels,) simulations by the judge's own embedder."""


Labels = dict[float, list[str]]
"""The best label of each of some neurons, by price."""


def labels_of_shapes(stack: Stack, neurons: Sequence[int], prices: Sequence[float]) -> Labels:
    """Find the noun phrase of the vocabulary with the highest value."""
    drawn, simulation = (found[:, neurons] for found in in_shapes.pooled(stack))
    concepts, lengths = stack.vocabulary.concepts, stack.vocabulary.lengths[:, None]
    best = {price: weighed("grounded_k", drawn, simulation, lengths, price).argmax(axis=0) for price in prices}
    return {price: [concepts[row] for row in rows] for price, rows in best.items()}


def labels_of_scenes(stack: Stack, neurons: Sequence[int], prices: Sequence[float]) -> Labels:
    """Find the label with the highest value, by a search at each price."""
    drawn, real = in_scenes.pooled(stack)
    search = LabelSearch(stack.vocabulary.concepts, stack.embedder, stack.language, real, _BASES)

    def best(neuron: int) -> list[str]:
        return [search.best(neuron, drawn[:, neuron], _KEPT, price)[0] for price in prices]

    with ThreadPoolExecutor() as threads:
        found = list(tqdm(threads.map(best, neurons), total=len(neurons), unit="neuron", desc=stack.name))
    return dict(zip(prices, map(list, zip(*found, strict=True)), strict=True))


SEARCHES: Mapping[str, Callable[[Stack, Sequence[int], Sequence[float]], Labels]] = {
    "shapes": labels_of_shapes,
    "scenes": labels_of_scenes,
}
"""How the best labels of each world are found."""


def measure(stack: Stack, neurons: Sequence[int], labels: Sequence[str]) -> Result:
    """Measure labels of neurons by what they were not chosen by."""
    assert stack.judge_embedder is not None
    split = stack.language.parts
    simulation = stack.judge_embedder.simulation(stack.probes.held_out, labels, np.asarray(neurons), split)[0]
    made = [split(label) for label in labels]
    formulas = [stack.known.truth(stack.neurons[neuron]) for neuron in neurons]
    planted = np.array([formula is not None for formula in formulas])
    agreed = [(f, stack.known.compare(f, label)) for f, label in zip(formulas, made, strict=True) if f is not None]
    return Result(
        f1=np.array([f1_score(agreement._asdict()) for _, agreement in agreed]),
        parts=np.array([a.parts for f, a in agreed if a.parts is not None and len(Formula.read(f).parts) > 1]),
        words=np.array([stack.language.length(label) for label in labels]),
        unions=float(np.mean([len(label.phrases) > 1 for label in made])),
        exceptions=float(np.mean([any(phrase.excluded for phrase in label.phrases) for label in made])),
        planted=simulation[planted],
        channels=simulation[~planted],
    )


def table(found: Mapping[str, Mapping[float, Result]]) -> str:
    """The table, with a row for each world and price."""
    columns = (
        "world", "price", "F1, planted", "parts named", "words", "unions", "exceptions", "judge's own, planted",
        "judge's own, channels",
    )  # fmt: skip
    rows = [
        [
            world,
            f"{price:g}",
            _shown(result.f1),
            _shown(result.parts) if len(result.parts) else "",
            f"{result.words.mean():.2f}",
            f"{result.unions:.0%}",
            f"{result.exceptions:.0%}",
            _shown(result.planted),
            _shown(result.channels),
        ]
        for world, prices in found.items()
        for price, result in prices.items()
    ]
    return markdown(columns, rows)


def _shown(values: FloatArray) -> str:
    return f"{values.mean():.3f} ± {values.std(ddof=1) / np.sqrt(len(values)):.3f}"


def main() -> None:
    """Run the command."""
    options = tyro.cli(Options)
    make_folder(options.out)
    found = {}
    for name, best in SEARCHES.items():
        stack = load_stack(name)
        neurons = [n for n in stack.neurons.select("train") if stack.probe.alive[n]]
        if name == "scenes":
            channels = [n for n in neurons if stack.known.truth(stack.neurons[n]) is None]
            left_out = np.random.default_rng(0).permutation(channels)[options.channels :]
            neurons = [n for n in neurons if n not in left_out]
        labels = best(stack, neurons, options.prices)
        found[name] = {price: measure(stack, neurons, labels[price]) for price in options.prices}
    text = f"{table(found)}\n"
    write_atomically(options.out / "words.md", text.encode())
    print(text)


if __name__ == "__main__":
    main()
