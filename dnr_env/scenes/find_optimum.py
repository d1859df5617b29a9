"""Find the best label of every neuron, by a structured search of the labels of the algebra.

    python -m dnr_env.scenes.find_optimum --stack scenes

Writes the table that the package ships, for the scores in `SCORES`. A stack takes about seven minutes on two cores.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
from tqdm import tqdm

from dnr_env.evidence.lab import Lab
from dnr_env.evidence.probe import Probe
from dnr_env.scenes import networks
from dnr_env.scenes.config import PRESETS
from dnr_env.scenes.label_search import LabelSearch
from dnr_env.scenes.pool import Pool
from dnr_env.scenes.reader import SceneReader
from dnr_env.scenes.render import SceneRenderer
from dnr_env.scenes.stack import real_images, scenes_stack
from dnr_env.scores import drawn_share
from dnr_env.seeds import Purpose
from dnr_env.shapes.optimum import SCORES, table_path
from dnr_env.shapes.weighing import log_k
from dnr_env.stack import Stack
from dnr_env.types import FloatArray, IntArray

_POOL = 48_000
_CHUNK = 1000  # pictures in memory at a time
_FINALISTS = 10
_FINAL_IMAGES = 60
_REAL_IMAGES = 1200


def pooled(stack: Stack) -> tuple[FloatArray, Probe]:
    """(phrases, neurons) what drawings say of every noun phrase of the vocabulary, and real images for the search only.

    One pool of faithful pictures stands for what the stack's generator would draw of every noun phrase.
    """
    reader, generator = _drawing(stack)
    of_pool, of_real = Purpose.ORACLE.seeds(0, _POOL), Purpose.ORACLE.seeds(_POOL + _FINAL_IMAGES, _REAL_IMAGES)
    pool = Pool(partial(_measure, SceneRenderer(), reader), of_pool, generator.infidelity)
    nouns = tqdm(stack.vocabulary.concepts, unit="phrase", desc="pool")
    drawn = np.stack([pool.log_k(noun, stack.probe) for noun in nouns])
    return drawn, real_images(Lab(SceneRenderer(), reader), of_real)


def search(stack: Stack) -> dict[str, dict[str, str]]:
    """Find the best label of every neuron, for each of `SCORES`.

    `LabelSearch` finds the finalists by a pool and by real images of its own, as exceptions would otherwise fit those
    of the judge. The phrases of the finalists are then drawn by the stack's generator itself, and the best label wins.
    Under a score that ignores real images, that is a noun phrase: no mean of two parts is above the better part.
    """
    reader, generator = _drawing(stack)
    nouns = stack.vocabulary.concepts
    place = {noun: row for row, noun in enumerate(nouns)}
    drawn, real = pooled(stack)
    labels = LabelSearch(nouns, stack.embedder, stack.language, real)

    def finalists(goal: str, neuron: int) -> list[str]:
        if drawn_share(goal) == 1:
            return [nouns[row] for row in np.argsort(-drawn[:, neuron], kind="stable")[:_FINALISTS]]
        return labels.best(neuron, drawn[:, neuron], _FINALISTS)

    chosen: dict[str, list[list[str]]] = {}
    with ThreadPoolExecutor() as threads:
        for goal in SCORES:
            found = threads.map(partial(finalists, goal), range(len(stack.neurons)))
            chosen[goal] = list(tqdm(found, total=len(stack.neurons), unit="neuron", desc=goal))
    texts = [label for each in chosen.values() for some in each for label in some]
    again = sorted({noun for text in texts for noun in stack.language.parts(text).drawn})
    redrawn = np.full_like(drawn, np.nan)
    of_finalists = Purpose.ORACLE.seeds(_POOL, _FINAL_IMAGES)
    for noun in tqdm(again, unit="phrase", desc="finalists"):
        seen = _measure(generator, reader, [noun] * _FINAL_IMAGES, of_finalists)
        redrawn[place[noun]] = log_k(stack.probe, seen)

    def winner(goal: str, neuron: int) -> str:
        some = chosen[goal][neuron]
        best = int(labels.values(goal, some, neuron, redrawn[:, neuron]).argmax())
        return stack.language.normalise(some[best])

    return {goal: {name: winner(goal, row) for row, name in enumerate(stack.neurons)} for goal in SCORES}


def _drawing(stack: Stack) -> tuple[SceneReader, SceneRenderer]:
    reader, generator = stack.lab.reader, stack.lab.generator
    assert isinstance(reader, SceneReader)
    assert isinstance(generator, SceneRenderer)
    return reader, generator


def _measure(generator: SceneRenderer, reader: SceneReader, phrases: Sequence[str], seeds: IntArray) -> FloatArray:
    """(n, neurons) raw activations of image `seeds[i]` of `phrases[i]`."""
    parts = [slice(start, start + _CHUNK) for start in range(0, len(phrases), _CHUNK)]
    shown = tqdm(parts, desc="pictures", disable=len(parts) == 1)
    return np.concatenate(
        [reader.activations(list(generator.generate(phrases[part], seeds[part].tolist()))) for part in shown]
    )


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stack", choices=PRESETS, default="scenes")
    stack = parser.parse_args().stack
    table = json.dumps(search(scenes_stack(stack, PRESETS[stack])), indent=0)
    table_path(networks.DATA, stack).write_text(table + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
