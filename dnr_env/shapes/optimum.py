"""The best concept of every neuron, by brute force over the vocabulary. For evaluation alone.

    python -m dnr_env.shapes.optimum --stack shapes

Writes the table that the package ships, about three minutes a stack on two cores, for the scores of `SCORES`.
Only the choice is stored; the value of the choice is measured by the judge, on images that choosing it never saw, or
the optimum would suffer the winner's curse itself.
"""

from __future__ import annotations

import argparse
import json
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from dnr_env.lab import Lab
from dnr_env.scores import promise, score
from dnr_env.seeds import SeedBlock
from dnr_env.shapes.lexicon import ANYTHING, FAMILY_SLICES, WORDS, allowed_words
from dnr_env.shapes.parse import values_of
from dnr_env.shapes.reader import DATA
from dnr_env.shapes.render import Renderer
from dnr_env.types import BoolArray, FloatArray, IntArray

if TYPE_CHECKING:
    from dnr_env.stacks import Stack

_POOL = 48_000
_MATCHES = 60  # images of the pool that stand for one concept
_FINALISTS = 12
_FINAL_IMAGES = 60


SCORES = ("grounded_k", "log_k")
"""The scores whose optimum is known."""
_UNKNOWN = ("shapes-directions",)
_SAME = {"shapes-unpaired": "shapes"}
"""Stacks whose optimum is that of another: how seeds are paired changes no distribution."""


@cache
def optimum(stack: str, score: str) -> dict[str, str]:
    """Neuron to its best concept, from the shipped table of a stack; empty for a score that is not in `SCORES`."""
    if score not in SCORES or stack in _UNKNOWN:
        return {}
    tables = json.loads((DATA / f"optimum-{_SAME.get(stack, stack)}.json").read_text(encoding="utf-8"))
    table: dict[str, str] = tables[score]
    return table


def _shown(codes: IntArray) -> BoolArray:
    shown = np.zeros((len(codes), len(WORDS)), bool)
    for family, part in enumerate(FAMILY_SLICES):
        shown[np.arange(len(codes)), part.start + codes[:, family]] = True
    return shown


def _log_k(stack: Stack, activations: FloatArray, images_per_measure: int) -> FloatArray:
    """(neurons,) scores of one concept from (images, neurons) raw activations."""
    neurons = np.arange(activations.shape[1])
    scaled = stack.probe.normalise(activations.T, neurons)
    return score("log_k", scaled, np.full(len(scaled), scaled.shape[1]), images_per_measure)[0]


def search(stack: Stack, images_per_measure: int = 5) -> dict[str, dict[str, str]]:
    """For each of `SCORES`, the best concept of every neuron.

    One pool of pictures with all attributes at random stands for every concept: those of its pictures that the concept
    is true of are what a faithful generator would have drawn. The finalists are drawn anew and compared on these.
    """
    lab = Lab(stack.lab.generator, stack.lab.reader)
    seeds = SeedBlock.ORACLE.seeds(0, _POOL)
    pool = lab.measure([ANYTHING], seeds[None]).activations[0]
    codes, _ = Renderer().resolve([ANYTHING] * _POOL, seeds.tolist())
    shown = _shown(codes)
    vocabulary = stack.vocabulary()
    values = np.empty((len(vocabulary), pool.shape[1]), np.float32)
    for row, text in enumerate(tqdm(vocabulary, unit="concept", desc="pool")):
        impossible = ~allowed_words(values_of(text))
        matches = np.flatnonzero(~(shown[:, impossible]).any(axis=1))[:_MATCHES]
        values[row] = _log_k(stack, pool[matches], images_per_measure)
    texts, neurons = stack.embedder.embed_texts(vocabulary), np.arange(pool.shape[1])
    simulation = texts @ stack.probe.towards(neurons).T / stack.probe.spread(texts)[:, None]  # (concepts, neurons)

    def weighed(goal: str, values: FloatArray, simulation: FloatArray) -> FloatArray:
        return promise(goal, values, lambda: simulation)

    finalists = np.stack(
        [np.argsort(-weighed(s, values, simulation), axis=0, kind="stable")[:_FINALISTS] for s in SCORES]
    )
    again = {c: n for n, c in enumerate(np.unique(finalists).tolist())}
    redrawn = np.empty((len(again), pool.shape[1]), np.float32)
    final_seeds = SeedBlock.ORACLE.seeds(_POOL, _FINAL_IMAGES)
    for concept, row in tqdm(again.items(), unit="concept", desc="finalists"):
        redrawn[row] = _log_k(
            stack, lab.measure([vocabulary[concept]], final_seeds[None]).activations[0], images_per_measure
        )
    best: dict[str, dict[str, str]] = {goal: {} for goal in SCORES}
    for goal, chosen in zip(SCORES, finalists, strict=True):
        for neuron, name in enumerate(stack.lab.reader.neurons):
            candidates = chosen[:, neuron]
            drawn = redrawn[[again[c] for c in candidates.tolist()], neuron]
            winner = candidates[weighed(goal, drawn, simulation[candidates, neuron]).argmax()]
            best[goal][name] = vocabulary[winner]
    return best


def main() -> None:
    """The command."""
    from dnr_env.stacks import EMBEDDED, load

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stack", choices=sorted({*EMBEDDED} - {*_SAME, *_UNKNOWN}), default="shapes")
    stack = parser.parse_args().stack
    table = json.dumps(search(load(stack)), indent=0)
    (DATA / f"optimum-{stack}.json").write_text(table + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
