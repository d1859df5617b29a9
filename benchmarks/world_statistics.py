"""Measure the world `scenes` against the ranges that docs/explanation/scenes.md fixed before it was built.

    PYTHONPATH=. python benchmarks/world_statistics.py --out docs/study/scenes-statistics.md

It needs the extra `models`, and takes a few minutes of one core.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tyro
from real_statistics import FOLDS, Layer, above_half, probe_of, r_squared
from scipy.stats import kurtosis
from world_clip import binding_captions, can_be_bound, full_captions, nearer, prompts, right_of_two
from world_frozen import fingerprint, frozen
from world_measures import (
    anything,
    caption_errors,
    common_to_rare,
    counts,
    described,
    full_phrase,
    generator_errors,
    pairs_known,
    part_of,
    probe_scenes,
    shown_words,
    triples_missing,
)
from world_polysemantic import polysemantic, truth
from world_ranges import TARGET_RANGES, WORLD_RANGES, table

from dnr_env import DnRError
from dnr_env.files import write_atomically
from dnr_env.scenes.captioner import SEES, SceneCaptioner
from dnr_env.scenes.clip import ClipImages, ClipTexts
from dnr_env.scenes.clip_quality import recall
from dnr_env.scenes.config import INFIDELITY
from dnr_env.scenes.networks import Network
from dnr_env.scenes.outputs import OUTPUTS
from dnr_env.scenes.render import SceneRenderer, Scenes, draw_scenes
from dnr_env.scenes.widths import WIDTHS
from dnr_env.shapes.lexicon import COLOUR, FAMILIES, SHAPE, TEXTURE, vocabulary
from dnr_env.types import FloatArray, ImageArray

TEST_SEED = 1 << 43
"""The first seed of the test pictures. No training draws them, nor does the environment."""
TEST = 12_000
ONE_OBJECT, TWO_OBJECTS, RECALL, CAPTIONED, DRAWN = 2000, 1000, 1000, 2000, 2000


@dataclass(frozen=True)
class Options:
    """Measure the world against its ranges."""

    out: Path
    """File of the tables."""


class Pictures(NamedTuple):
    """Pictures, and what they show."""

    scenes: Scenes
    images: ImageArray

    @classmethod
    def of(cls, scenes: Scenes) -> Pictures:
        """Draw them."""
        return cls(scenes, draw_scenes(scenes))


def of_target(architecture: str, test: Pictures, true: Sequence[FloatArray], probe: Pictures) -> dict[str, list[float]]:
    """Statistics 1 to 6 of a target, those by layer as a list.

    Args:
        architecture: the target's.
        test: the test pictures.
        true: what `truth` says of either half of them, on all phrases.
        probe: the probe.
    """
    network = Network(architecture)
    widths = WIDTHS[architecture]
    activations = network.read(test.images)[0]
    is_polysemantic = polysemantic(np.split(activations, 2), true)
    by_layer = np.split(is_polysemantic, np.cumsum(widths)[:-1])
    embeddings, words = ClipImages().embed(probe.images), shown_words(probe.scenes).astype(float)
    channels = np.split(network.read(probe.images)[0].astype(float), np.cumsum(widths)[:-1], axis=1)
    layers = [Layer(architecture, layer, embeddings) for layer in channels]
    fold = np.arange(len(embeddings)) % FOLDS
    values = [
        [max(float(layer.mean()) for layer in by_layer)],
        [float(is_polysemantic.mean())],
        [len(OUTPUTS) / min(widths)],
        [_median(r_squared(layer, fold)) for layer in layers],
        [_median(r_squared(layer._replace(embeddings=words), fold)) for layer in layers],
        [_median(above_half(probe_of(layer))) for layer in layers],
        [_median(np.asarray(kurtosis(layer.activations, axis=0))) for layer in layers],
    ]
    return dict(zip(TARGET_RANGES, values, strict=True))


def _median(values: FloatArray) -> float:
    return float(np.median(values))


def of_world(test: Pictures, probe: Pictures) -> dict[str, float]:
    """Statistics 7 to 14."""
    values = [*_of_clip(test), *_of_captioner(test), *_of_generator(), *_of_probe(probe.scenes)]
    return dict(zip(WORLD_RANGES, values, strict=True))


def _of_clip(test: Pictures) -> list[float]:
    clip, texts, rng = ClipImages(), ClipTexts(), np.random.default_rng(0)
    rows = np.flatnonzero(counts(test.scenes) == 1)[:ONE_OBJECT]
    images, own = clip.embed(test.images[rows]), described(part_of(test.scenes, rows))
    right = [
        right_of_two(images, texts.embed_texts(prompts(family)), own[:, family], rng) for family in range(len(FAMILIES))
    ]
    rows = np.flatnonzero(can_be_bound(test.scenes))[:TWO_OBJECTS]
    as_is, swapped = (texts.embed_texts(captions) for captions in binding_captions(part_of(test.scenes, rows)))
    binding = nearer(clip.embed(test.images[rows]), as_is, swapped)
    captions = full_captions(part_of(test.scenes, slice(RECALL)))
    found = recall(clip.embed(test.images[:RECALL]), texts.embed_texts(captions), k=10)
    return [*right, float(np.mean(right)), binding, found]


def _of_captioner(test: Pictures) -> list[float]:
    captions = SceneCaptioner(Network(SEES)).caption(test.images[:CAPTIONED])
    return list(caption_errors(captions, part_of(test.scenes, slice(CAPTIONED))))


def _of_generator() -> list[float]:
    rng = np.random.default_rng(0)
    asked = np.stack([rng.integers(len(family.words), size=DRAWN) for family in FAMILIES], axis=1)
    phrases = [full_phrase(codes) for codes in asked]
    drawn = SceneRenderer(INFIDELITY).resolve(phrases, range(TEST_SEED, TEST_SEED + DRAWN))
    errors: list[float] = generator_errors(drawn, asked).tolist()
    return errors


def _of_probe(scenes: Scenes) -> list[float]:
    number = counts(scenes)
    ratios = [common_to_rare(scenes, family) for family in (COLOUR, TEXTURE, SHAPE)]
    return [float(number.mean()), float((number == 1).mean()), pairs_known(scenes), triples_missing(scenes), *ratios]


def main() -> None:
    """Measure, print and write the tables."""
    options = tyro.cli(Options)
    test, probe = Pictures.of(anything(range(TEST_SEED, TEST_SEED + TEST))), Pictures.of(probe_scenes())
    halves = (part_of(test.scenes, slice(TEST // 2)), part_of(test.scenes, slice(TEST // 2, TEST)))
    true = [truth(half, vocabulary()) for half in halves]
    targets = {name: of_target(name, test, true, probe) for name in WIDTHS}
    world = {name: [value] for name, value in of_world(test, probe).items()}
    text = "\n\n".join(
        [table(targets, TARGET_RANGES), table({"measured": world}, WORLD_RANGES), f"SHA-256: `{fingerprint(frozen())}`"]
    )
    print(text)
    try:
        write_atomically(options.out, f"{text}\n".encode())
    except DnRError as error:
        sys.exit(f"world_statistics.py: {error}")


if __name__ == "__main__":
    main()
