"""Find the best concept of every neuron, by brute force over the vocabulary.

    python -m dnr_env.shapes.find_optimum --stack shapes

Writes the table that the package ships, for the scores in `SCORES`. A stack takes about three minutes on two cores.
"""

from __future__ import annotations

import argparse
import json

import numpy as np
from tqdm import tqdm

from dnr_env.evidence.lab import Lab
from dnr_env.seeds import Purpose
from dnr_env.shapes.config import PRESETS
from dnr_env.shapes.lexicon import ANYTHING, FAMILY_SLICES, WORDS, allowed_words
from dnr_env.shapes.optimum import SCORES, table_path
from dnr_env.shapes.parse import values_of
from dnr_env.shapes.reader import DATA
from dnr_env.shapes.render import Renderer
from dnr_env.shapes.stack import shapes_stack
from dnr_env.shapes.weighing import log_k, weighed
from dnr_env.stack import Stack
from dnr_env.types import BoolArray, FloatArray, IntArray

_POOL = 48_000
_MATCHES = 60  # images of the pool that represent one concept
_FINALISTS = 12
_FINAL_IMAGES = 60


def _shown(codes: IntArray) -> BoolArray:
    shown = np.zeros((len(codes), len(WORDS)), bool)
    for family, part in enumerate(FAMILY_SLICES):
        shown[np.arange(len(codes)), part.start + codes[:, family]] = True
    return shown


def pooled(stack: Stack) -> tuple[FloatArray, FloatArray]:
    """(concepts, neurons) what drawings say of every concept, and the simulations on the held-out half.

    One pool of pictures with random attributes serves every concept: the pictures that match a concept are what a
    faithful generator would have drawn.
    """
    lab = Lab(stack.lab.generator, stack.lab.reader)
    seeds = Purpose.ORACLE.seeds(0, _POOL)
    pool = lab.measure(concepts=[ANYTHING], seeds=seeds[None]).activations[0]
    codes, _ = Renderer().resolve([ANYTHING] * _POOL, seeds.tolist())
    shown = _shown(codes)
    vocabulary = stack.vocabulary.concepts
    values = np.empty((len(vocabulary), pool.shape[1]), np.float32)
    for row, text in enumerate(tqdm(vocabulary, unit="concept", desc="pool")):
        impossible = ~allowed_words(values_of(text))
        matches = np.flatnonzero(~(shown[:, impossible]).any(axis=1))[:_MATCHES]
        values[row] = log_k(stack.probe, pool[matches])
    texts, neurons = stack.embedder.embed_texts(vocabulary), np.arange(pool.shape[1])
    real = stack.probes.held_out
    return values, texts @ real.towards(neurons).T / real.spread(texts)[:, None]


def search(stack: Stack) -> dict[str, dict[str, str]]:
    """Find the best concept of every neuron, for each of `SCORES`.

    A pool finds the finalists. New images are then drawn of these, and the best of them wins.
    """
    lab = Lab(stack.lab.generator, stack.lab.reader)
    values, simulation = pooled(stack)
    vocabulary, lengths = stack.vocabulary.concepts, stack.vocabulary.lengths

    def best_first(goal: str) -> IntArray:
        return np.argsort(-weighed(goal, values, simulation, lengths[:, None]), axis=0, kind="stable")

    finalists = np.stack([best_first(goal)[:_FINALISTS] for goal in SCORES])
    again = {c: n for n, c in enumerate(np.unique(finalists).tolist())}
    redrawn = np.empty((len(again), len(stack.neurons)), np.float32)
    final_seeds = Purpose.ORACLE.seeds(_POOL, _FINAL_IMAGES)
    for concept, row in tqdm(again.items(), unit="concept", desc="finalists"):
        seen = lab.measure(concepts=[vocabulary[concept]], seeds=final_seeds[None])
        redrawn[row] = log_k(stack.probe, seen.activations[0])
    best: dict[str, dict[str, str]] = {goal: {} for goal in SCORES}
    for goal, chosen in zip(SCORES, finalists, strict=True):
        for neuron, name in enumerate(stack.neurons):
            candidates = chosen[:, neuron]
            drawn = redrawn[[again[c] for c in candidates.tolist()], neuron]
            winner = candidates[weighed(goal, drawn, simulation[candidates, neuron], lengths[candidates]).argmax()]
            best[goal][name] = vocabulary[winner]
    return best


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--stack",
        choices=[name for name, config in PRESETS.items() if config.paired and config.neurons != "directions"],
        default="shapes",
    )
    stack = parser.parse_args().stack
    table = json.dumps(search(shapes_stack(stack, PRESETS[stack])), indent=0)
    table_path(DATA, stack).write_text(table + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
