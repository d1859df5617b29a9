"""Captions that leave attributes out and get some wrong, as those of a captioner do."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dnr_env.shapes.lexicon import FAMILIES


def caption(codes: Sequence[int], rng: np.random.Generator, noticed: Sequence[float], mistaken: Sequence[float]) -> str:
    """Describe an object on its background, as in "a red star".

    Args:
        codes: what is seen, as a code within each family.
        rng: decides what is noticed and mistaken.
        noticed: the probability that the attribute of each family is mentioned.
        mistaken: the probability that it is replaced by a random word of the family.
    """
    mentions, errs = rng.random(len(FAMILIES)) < noticed, rng.random(len(FAMILIES)) < mistaken
    said = [""] * len(FAMILIES)
    for number, family in enumerate(FAMILIES):
        word = family.words[int(rng.integers(len(family.words)) if errs[number] else codes[number])]
        said[number] = word if mentions[number] else ""
    size, colour, texture, shape, background = said
    words = ["a", size, colour, texture, shape or "thing", background and f"on {background}"]
    return " ".join(word for word in words if word)
