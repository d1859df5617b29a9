"""What a simulated user knows of the neurons and no mutator does: other pictures, and longer phrases."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from dnr_env.scores import correlation
from dnr_env.shapes import lexicon
from dnr_env.shapes.language import LexiconEmbedder, strongest
from dnr_env.shapes.lexicon import CHANCE, FAMILIES, FAMILY_SLICES, MAX_NAMED, MEMBERS, VALUE_FAMILY
from dnr_env.shapes.outside import PICTURES, Outside
from dnr_env.shapes.render import Renderer
from dnr_env.shapes.weighing import weighed
from dnr_env.types import FloatArray

_PRIOR = 2.0
"""The precision of the prior on the effect of a word, in units of that of one picture."""


class Insight:
    """Names a good concept for a neuron, from pictures outside the probe set.

    The neuron's excitement on the pictures is regressed on their true attributes. The answer names the best values of
    the one to four families with the greatest effects, as many as promise most; the vocabulary stops at three. Each
    answer rests on a bootstrap sample of the pictures, so that answers differ.

    Args:
        outside: the pictures.
        withheld: words that the user may not say.
    """

    def __init__(self, outside: Outside, withheld: frozenset[str]) -> None:
        self._outside = outside
        self._sayable = lexicon.sayable(withheld)

    @cached_property
    def _shown(self) -> FloatArray:
        """(pictures, words) 1 for the words that are true of a picture."""
        codes, _ = Renderer().resolve([lexicon.ANYTHING] * PICTURES, self._outside.seeds.tolist())
        return np.concatenate([np.eye(len(f.words))[code] for f, code in zip(FAMILIES, codes.T, strict=True)], axis=1)

    def __call__(self, neuron: int, rng: np.random.Generator) -> str:
        """Name a concept for a neuron."""
        sample = rng.integers(PICTURES, size=PICTURES)
        shown, excited = self._shown[sample], self._outside.excited[neuron, sample]
        words, usual = shown - shown.mean(axis=0), excited.mean()
        weights = np.linalg.solve(words.T @ words + _PRIOR * np.eye(words.shape[1]), words.T @ (excited - usual))
        mean = np.array([weights[part].mean() for part in FAMILY_SLICES])
        effects = np.where(self._sayable, MEMBERS @ weights / MEMBERS.sum(axis=1) - mean[VALUE_FAMILY], -np.inf)
        named = [strongest(effects, count) for count in range(1, MAX_NAMED + 2)]
        texts = [lexicon.text_of(values) for values in named]
        usual += (CHANCE - shown.mean(axis=0)) @ weights  # of a picture that shows each word by chance
        foretold = usual + np.array([sum(effects[value] for value in values if value >= 0) for values in named])
        similarity = LexiconEmbedder().embed_texts(texts) @ lexicon.embed_words(shown).T
        simulation = correlation(similarity, np.broadcast_to(excited, similarity.shape))
        return texts[int(weighed("grounded_k", foretold, simulation, np.arange(1.0, len(texts) + 1)).argmax())]
