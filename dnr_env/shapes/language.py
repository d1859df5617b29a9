"""The lexicon in place of language models: it embeds texts, summarises captions and mutates concepts."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from dnr_env.interfaces import MutationBatch, Origin, Suggestion, Summary
from dnr_env.shapes import edits, lexicon
from dnr_env.shapes.lexicon import COVERS, FAMILIES, FAMILY_SLICES, MEMBERS, OPEN, VALUE_FAMILY, VALUES, Values
from dnr_env.shapes.parse import parse, values_of
from dnr_env.types import BoolArray, FloatArray, IntArray

_SHARE = np.array([MEMBERS[v].sum() / len(FAMILIES[f].words) for v, (f, _) in enumerate(VALUES)], np.float32)
"""(values,) the share of random pictures that a value is true of."""


@lru_cache(maxsize=65536)
def _embedding(text: str) -> FloatArray:
    allowed = lexicon.allowed_words(values_of(text)).astype(np.float32)
    for part in FAMILY_SLICES:
        allowed[part] /= allowed[part].sum()
    row: FloatArray = lexicon.embed_words(allowed[None])[0]
    return row


class LexiconEmbedder:
    """Embeds texts by the words that they allow."""

    def embed_texts(self, texts: Sequence[str]) -> FloatArray:
        """(n, words + 1) float32 unit vectors."""
        return np.stack([_embedding(text) for text in texts])


class LexiconWriter:
    """Summarises captions by the attributes that they share more often than by chance.

    Args:
        withheld: words that no concept may use.
    """

    origin: Origin = "writer"

    def __init__(self, withheld: frozenset[str] = frozenset()) -> None:
        self.fingerprint = f"lexicon-writer-1{''.join(f' -{word}' for word in sorted(withheld))}"
        self._sayable = lexicon.sayable(withheld)

    def summarise(
        self, captions: Sequence[Sequence[str]], count: int, rngs: Sequence[np.random.Generator]
    ) -> list[Summary]:
        """Find up to `count` distinct concepts of one or two attributes, each in a bootstrap sample of the captions."""
        return [Summary(_summary(texts, count, rng, self._sayable)) for texts, rng in zip(captions, rngs, strict=True)]


def _summary(captions: Sequence[str], count: int, rng: np.random.Generator, sayable: BoolArray) -> list[str]:
    values: IntArray = np.array([parse(caption).values for caption in captions])
    named: BoolArray = np.not_equal(values[:, VALUE_FAMILY], OPEN)
    says = named & COVERS[values[:, VALUE_FAMILY], np.arange(len(VALUES))]
    found: dict[str, None] = {}
    for attempt in range(20 * count):
        sample = rng.integers(len(captions), size=len(captions))
        mentions = named[sample].sum(axis=0)
        # The excess over chance in standard deviations, among the captions that name the value's family.
        surprise = (says[sample].sum(axis=0) - _SHARE * mentions) / np.sqrt(_SHARE * (1 - _SHARE) * (mentions + 1))
        surprise[~sayable] = -np.inf
        found.setdefault(lexicon.text_of(strongest(surprise, 1 + attempt % 2)))
        if len(found) == count:
            break
    return list(found)


def strongest(strength: FloatArray, count: int) -> Values:
    """Name the `count` families whose best values are strongest, each by that value."""
    best = [max(np.flatnonzero(family == VALUE_FAMILY), key=strength.__getitem__) for family in range(len(FAMILIES))]
    values = [OPEN] * len(FAMILIES)
    for family in np.argsort([-strength[value] for value in best], kind="stable")[:count]:
        values[family] = int(best[family])
    return tuple(values)


class RandomMutator:
    """Changes one attribute of the concept at random.

    Args:
        withheld: words that no concept may use.
    """

    origin: Origin = "vocabulary"

    def __init__(self, withheld: frozenset[str] = frozenset()) -> None:
        self._sayable = edits.sayable_edits(withheld)

    def mutate(self, batch: MutationBatch) -> list[Suggestion]:
        """See `dnr_env.interfaces.Mutator`. The concept differs by one random edit."""
        utility = np.stack([rng.random(len(edits.FAMILY)) for rng in batch.rngs])
        return _best_untried(batch, utility, self._sayable)


class EvidenceMutator:
    """Makes the edit of one attribute that looks best given the images seen, by Thompson sampling.

    The effect of a value on the neuron is the difference between the images that show it and the mean image. Its
    posterior is normal, with prior mean 0, the images' own variance, and a prior that weighs as much as `prior` images.
    An edit's promise is the sampled effect of the value it sets, minus that of the value it replaces.

    Args:
        withheld: words that no concept may use.
        prior: weight of the prior, in images.
    """

    origin: Origin = "model"

    def __init__(self, withheld: frozenset[str] = frozenset(), prior: float = 3.0) -> None:
        self.prior = prior
        self._sayable = edits.sayable_edits(withheld)

    def mutate(self, batch: MutationBatch) -> list[Suggestion]:
        """See `dnr_env.interfaces.Mutator`. The concept differs by one edit."""
        seen = batch.seen.astype(np.float32)
        count = np.maximum(seen.sum(axis=1, keepdims=True), 1)
        centred = (batch.activations - (batch.activations * seen).sum(axis=1, keepdims=True) / count) * seen
        # If all images excite the neuron equally, the small constant lets chance decide.
        spread = np.sqrt(np.square(centred).sum(axis=1, keepdims=True) / count) + np.float32(1e-6)
        weights = np.stack([seen, centred], axis=1)
        totals = lexicon.total_probabilities(weights, batch.embeddings)  # (b, 2, words)
        shown, excess = np.moveaxis(totals @ MEMBERS.T.astype(np.float32), 1, 0)  # (b, values)
        noise = np.stack([rng.standard_normal(len(VALUES), np.float32) for rng in batch.rngs])
        doubt = 1 / (shown + self.prior)
        effect = excess * doubt + noise * spread * np.sqrt(doubt)

        values = np.array([values_of(concept) for concept in batch.concepts])
        # An open family shows all of its words, so its effect is 0.
        effect = np.concatenate([effect, np.zeros((len(effect), 1), np.float32)], axis=1)
        rows = np.arange(len(values))[:, None]
        current = effect[rows, values[:, edits.FAMILY]]
        return _best_untried(batch, effect[rows, edits.VALUE] - current, self._sayable)


def _best_untried(batch: MutationBatch, utility: FloatArray, sayable: BoolArray) -> list[Suggestion]:
    values = np.array([values_of(concept) for concept in batch.concepts])
    allowed = edits.allowed_edits(values, batch.kinds) & sayable
    order = np.argsort(np.where(allowed, -utility, np.inf), axis=1, kind="stable")
    count = allowed.sum(axis=1)
    answers = []
    for row, concept in enumerate(batch.concepts):
        texts = edits.texts_after(tuple(values[row].tolist()), order[row, : count[row]])
        answers.append(Suggestion(next((text for text in texts if text not in batch.tried[row]), concept)))
    return answers
