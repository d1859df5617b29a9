"""What the generator draws, what the probe shows and what the captioner says (docs/explanation/scenes.md).

Attributes are always in the order size, colour, texture, shape, background.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from dnr_env.scenes.config import ScenesConfig
from dnr_env.scenes.outputs import presence
from dnr_env.scenes.render import SceneRenderer, Scenes
from dnr_env.seeds import Purpose
from dnr_env.shapes.lexicon import (
    ANYTHING,
    COLOUR,
    FAMILIES,
    FAMILY_SLICES,
    SHAPE,
    SIZE,
    TEXTURE,
    VALUES,
    WORDS,
    text_of,
)
from dnr_env.shapes.parse import words_of
from dnr_env.types import BoolArray, FloatArray, IntArray

SHOWN = 10
"""A pair of words is known from the probe if this many pictures show it."""
_WORD = {word: number for number, word in enumerate(WORDS)}


def anything(seeds: Sequence[int]) -> Scenes:
    """Pictures as the probe has them."""
    return SceneRenderer().resolve([ANYTHING] * len(seeds), seeds)


def probe_scenes() -> Scenes:
    """The 600 pictures of the probe."""
    return anything(Purpose.PROBE.seeds(0, ScenesConfig().probe).tolist())


def part_of(scenes: Scenes, rows: IntArray | BoolArray | slice) -> Scenes:
    """Some of the pictures."""
    return Scenes(scenes.objects[rows], scenes.backgrounds[rows], scenes.uniforms[rows])


def counts(scenes: Scenes) -> IntArray:
    """(n,) the number of objects of each picture."""
    number: IntArray = (scenes.objects[..., SIZE] >= 0).sum(axis=1)
    return number


def shown_words(scenes: Scenes) -> BoolArray:
    """(n, words) which words are true of an object, or of the background, of each picture."""
    return presence(scenes)[:, : len(WORDS)]


def described(scenes: Scenes) -> IntArray:
    """(n, 5) the codes of the described object and of the background."""
    return np.concatenate([scenes.objects[:, 0], scenes.backgrounds[:, None]], axis=1)


def full_phrase(codes: IntArray) -> str:
    """The noun phrase of all five words, from their codes (5,): "small red striped star on grass"."""
    words = [FAMILIES[family].words[code] for family, code in enumerate(codes)]
    return text_of(tuple(VALUES.index(value) for value in enumerate(words)))


def generator_errors(drawn: Scenes, asked: IntArray) -> FloatArray:
    """(5,) the share of drawings that do not show what was asked for, by attribute.

    Args:
        drawn: what is drawn.
        asked: (n, 5) the codes that were asked for.
    """
    errors: FloatArray = (described(drawn) != asked).mean(axis=0)
    return errors


def pairs_known(scenes: Scenes) -> float:
    """The share of pairs of words of one object that SHOWN pictures or more show."""
    return float((presence(scenes)[:, len(WORDS) :].sum(axis=0) >= SHOWN).mean())


def triples_missing(scenes: Scenes) -> float:
    """The share of triples of colour, texture and shape that no object has."""
    own = scenes.objects[scenes.objects[..., SIZE] >= 0]
    sizes = tuple(len(FAMILIES[family].words) for family in (COLOUR, TEXTURE, SHAPE))
    seen = np.zeros(sizes, bool)
    seen[own[:, COLOUR], own[:, TEXTURE], own[:, SHAPE]] = True
    return float((~seen).mean())


def common_to_rare(scenes: Scenes, family: int) -> float:
    """The number of pictures with a family's commonest word, divided by that with its rarest."""
    pictures = shown_words(scenes)[:, FAMILY_SLICES[family]].sum(axis=0)
    return float(pictures.max() / pictures.min())


class CaptionErrors(NamedTuple):
    """How often a captioner is wrong."""

    words: float
    """The share of its attribute words that are true of nothing in their picture."""
    captions: float
    """The share of its captions with such a word."""
    misses: float
    """The share of the objects whose shape their caption does not name."""


def caption_errors(captions: list[str], scenes: Scenes) -> CaptionErrors:
    """Compare captions with what their pictures show."""
    said = np.zeros((len(captions), len(WORDS)), int)
    for row, text in zip(said, captions, strict=True):
        for word in words_of(text):
            if word in _WORD:
                row[_WORD[word]] += 1
    wrong = np.where(shown_words(scenes), 0, said)
    picture, place = np.nonzero(scenes.objects[..., SIZE] >= 0)
    named = said[picture, FAMILY_SLICES[SHAPE].start + scenes.objects[picture, place, SHAPE]] > 0
    return CaptionErrors(float(wrong.sum() / said.sum()), float(wrong.any(axis=1).mean()), float((~named).mean()))
