"""Captions from codes."""

from __future__ import annotations

from collections import Counter

import numpy as np

from dnr_env.scenes.captions import captions
from dnr_env.scenes.render import SceneRenderer, Scenes
from dnr_env.shapes.lexicon import ANYTHING, BACKGROUND, FAMILIES, OPEN, SHAPE, SIZE, VALUES
from dnr_env.shapes.parse import parse
from dnr_env.types import IntArray

FRESH = 1 << 50


def some(count: int) -> Scenes:
    return SceneRenderer().resolve([ANYTHING] * count, range(FRESH, FRESH + count))


def is_true(phrase: str, codes: IntArray) -> bool:
    """Whether every word of a phrase is true of an object or a background with these codes, from the tables."""
    parsed = parse(phrase)
    assert not parsed.unknown
    assert not parsed.ignored
    for family, value in enumerate(parsed.values):
        if value != OPEN:
            word = FAMILIES[family].words[codes[family]]
            if VALUES[value][1] not in (word, *(h for h, words in FAMILIES[family].hypernyms.items() if word in words)):
                return False
    return True


def test_a_caption_is_true_of_its_picture() -> None:
    scenes = some(3000)
    seen: Counter[str] = Counter()
    mentioned: Counter[int] = Counter()
    for text, objects, background in zip(
        captions(scenes, np.random.default_rng(0)), scenes.objects, scenes.backgrounds, strict=True
    ):
        body, _, behind = text.partition(" on ")
        phrases = body.split(" and ")
        there = [np.append(codes, background) for codes in objects if codes[0] >= 0]
        mentioned[len(phrases)] += 1
        assert len(phrases) <= len(there)
        for phrase in phrases:
            assert phrase.split()[0] == ("an" if phrase.split()[1][0] in "aeiou" else "a")
            assert any(is_true(phrase, codes) for codes in there)
        if behind:
            assert is_true(f"on {behind}", there[0])
        seen.update(set(text.split()))
    assert set(mentioned) == {1, 2}
    assert {word for _, word in VALUES} <= set(seen)
    backgrounds = sum(seen[word] for family, word in VALUES if family == BACKGROUND)
    assert 0.2 * 3000 < backgrounds < 0.3 * 3000
    sizes, shapes = (sum(seen[word] for own, word in VALUES if own == family) for family in (SIZE, SHAPE))
    assert sizes < 0.35 * 3000
    assert shapes > 0.75 * 3000


def test_two_phrases_are_of_two_objects() -> None:
    """Each picture has two objects that share no word, so that no phrase is true of both unless by a hypernym."""
    scenes = some(400)
    scenes.objects[:, :, :] = [[0, 0, 0, 0], [3, 5, 4, 9], [-1, -1, -1, -1]]
    for text in captions(scenes, np.random.default_rng(1)):
        phrases = text.partition(" on ")[0].split(" and ")
        if len(phrases) == 2:
            pairs = [(a, b) for a in (0, 1) for b in (0, 1) if a != b]
            codes = [np.append(scenes.objects[0, place], 0) for place in (0, 1)]
            assert any(is_true(phrases[0], codes[a]) and is_true(phrases[1], codes[b]) for a, b in pairs)


def test_captions_depend_on_the_codes_and_the_generator_alone() -> None:
    scenes = some(300)
    first = captions(scenes, np.random.default_rng(5))
    assert captions(scenes._replace(uniforms=scenes.uniforms * 0), np.random.default_rng(5)) == first
    others = captions(scenes, np.random.default_rng(6))
    assert np.mean([one == other for one, other in zip(first, others, strict=True)]) < 0.2
