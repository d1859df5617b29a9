"""What the lexicon does in the place of language models: embed texts, summarise captions, mutate concepts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np

from dnr_env.models import MutationBatch, Suggestion, Summary
from dnr_env.shapes import lexicon
from dnr_env.shapes.lexicon import FAMILIES, FAMILY_SLICES, MAX_NAMED, MEMBERS, OPEN, VALUE_FAMILY, VALUES, Values
from dnr_env.shapes.parse import parse, values_of
from dnr_env.types import BoolArray, FloatArray, IntArray

_SHARE = np.array([MEMBERS[v].sum() / len(FAMILIES[f].words) for v, (f, _) in enumerate(VALUES)], np.float32)
"""(values,) the part of random pictures that a value is true of."""

_COVERS: BoolArray = np.asarray((MEMBERS[:, None] <= MEMBERS[None]).all(axis=2))
"""(values, values): whether the second is true wherever the first is."""


@lru_cache(maxsize=65536)
def _embedding(text: str) -> FloatArray:
    allowed = lexicon.allowed_words(values_of(text)).astype(np.float32)
    for part in FAMILY_SLICES:
        allowed[part] /= allowed[part].sum()
    row: FloatArray = lexicon.embed_words(allowed[None])[0]
    return row


class LexiconEmbedder:
    """Texts by the words that they allow."""

    def embed_texts(self, texts: Sequence[str]) -> FloatArray:
        """(n, words + 1) float32 of length one."""
        return np.stack([_embedding(text) for text in texts])


class LexiconWriter:
    """Summarises captions by the attributes that they share more often than chance.

    Args:
        withheld: words that no concept may use.
    """

    def __init__(self, withheld: frozenset[str] = frozenset()) -> None:
        self.fingerprint = f"lexicon-writer-1{''.join(f' -{word}' for word in sorted(withheld))}"
        self._sayable = lexicon.sayable(withheld)

    def summarise(
        self, captions: Sequence[Sequence[str]], count: int, rngs: Sequence[np.random.Generator]
    ) -> list[Summary]:
        """Up to `count` distinct concepts of one or two attributes, each from a bootstrap sample of the captions."""
        return [Summary(_summary(texts, count, rng, self._sayable)) for texts, rng in zip(captions, rngs, strict=True)]


def _summary(captions: Sequence[str], count: int, rng: np.random.Generator, sayable: BoolArray) -> list[str]:
    values: IntArray = np.array([parse(caption).values for caption in captions])
    named: BoolArray = np.not_equal(values[:, VALUE_FAMILY], OPEN)
    says = named & _COVERS[values[:, VALUE_FAMILY], np.arange(len(VALUES))]
    found: dict[str, None] = {}
    for attempt in range(20 * count):
        sample = rng.integers(len(captions), size=len(captions))
        mentions = named[sample].sum(axis=0)
        # How many standard deviations more often than chance would have it, among the captions that speak of it.
        surprise = (says[sample].sum(axis=0) - _SHARE * mentions) / np.sqrt(_SHARE * (1 - _SHARE) * (mentions + 1))
        surprise[~sayable] = -np.inf
        found.setdefault(lexicon.text_of(_strongest(surprise, 1 + attempt % 2)))
        if len(found) == count:
            break
    return list(found)


def _strongest(strength: FloatArray, count: int) -> Values:
    """The concept of the `count` families whose best value is strongest."""
    best = [max(np.flatnonzero(family == VALUE_FAMILY), key=strength.__getitem__) for family in range(len(FAMILIES))]
    values = [OPEN] * len(FAMILIES)
    for family in np.argsort([-strength[value] for value in best], kind="stable")[:count]:
        values[family] = int(best[family])
    return tuple(values)


_EDIT_FAMILY = np.concatenate([VALUE_FAMILY, np.arange(len(FAMILIES))])
_EDIT_VALUE = np.concatenate([np.arange(len(VALUES)), np.full(len(FAMILIES), OPEN)])
"""All edits of one attribute: name a family by a value, or leave it open."""


def _sayable_edits(withheld: frozenset[str]) -> BoolArray:
    """(edits,) which edits name no word that is withheld."""
    return np.concatenate([lexicon.sayable(withheld), np.ones(len(FAMILIES), bool)])


def _allowed_edits(values: IntArray) -> BoolArray:
    """(b, families) values to (b, edits): which edits change the concept and leave one to MAX_NAMED families named.

    A longer concept, which only a user can bring, gets shorter.
    """
    current = values[:, _EDIT_FAMILY]
    named = (values != OPEN).sum(axis=1, keepdims=True)
    after = named + (_EDIT_VALUE != OPEN) - (current != OPEN)
    allowed: BoolArray = (current != _EDIT_VALUE) & (after >= 1) & (after <= np.maximum(MAX_NAMED, named - 1))
    return allowed


class RandomMutator:
    """Changes one attribute of the concept at random.

    Args:
        withheld: words that no concept may use.
    """

    def __init__(self, withheld: frozenset[str] = frozenset()) -> None:
        self._sayable = _sayable_edits(withheld)

    def mutate(self, batch: MutationBatch) -> list[Suggestion]:
        """(b) concepts one random edit away, none of them tried."""
        utility = np.stack([rng.random(len(_EDIT_FAMILY)) for rng in batch.rngs])
        return _best_untried(batch, utility, self._sayable)


class EvidenceMutator:
    """Changes the attribute that, by the images seen, promises most; sampled, so that doubt is explored.

    For each value, the effect on the neuron is the difference between the images that show it and the mean image,
    with a normal posterior: prior mean 0, the images' own variance, `prior` images' worth of doubt. An edit's promise
    is the sampled effect of the value it names less that of the value it replaces (Thompson sampling).

    Args:
        withheld: words that no concept may use.
        prior: weight of the prior, in images.
    """

    def __init__(self, withheld: frozenset[str] = frozenset(), prior: float = 3.0) -> None:
        self.prior = prior
        self._sayable = _sayable_edits(withheld)

    def mutate(self, batch: MutationBatch) -> list[Suggestion]:
        """(b) concepts one edit away, none of them tried."""
        seen = batch.seen.astype(np.float32)
        count = np.maximum(seen.sum(axis=1, keepdims=True), 1)
        centred = (batch.activations - (batch.activations * seen).sum(axis=1, keepdims=True) / count) * seen
        # Where all images excite equally, chance decides.
        spread = np.sqrt(np.square(centred).sum(axis=1, keepdims=True) / count) + np.float32(1e-6)
        weights = np.stack([seen, centred], axis=1)
        totals = lexicon.total_probabilities(weights, batch.embeddings)  # (b, 2, words)
        shown, excess = np.moveaxis(totals @ MEMBERS.T.astype(np.float32), 1, 0)  # (b, values)
        noise = np.stack([rng.standard_normal(len(VALUES), np.float32) for rng in batch.rngs])
        doubt = 1 / (shown + self.prior)
        effect = excess * doubt + noise * spread * np.sqrt(doubt)

        values = np.array([values_of(concept) for concept in batch.concepts])
        # An open family shows all its words: its effect is that of no value in particular, 0.
        effect = np.concatenate([effect, np.zeros((len(effect), 1), np.float32)], axis=1)
        rows = np.arange(len(values))[:, None]
        current = effect[rows, values[:, _EDIT_FAMILY]]
        return _best_untried(batch, effect[rows, _EDIT_VALUE] - current, self._sayable)


def _best_untried(batch: MutationBatch, utility: FloatArray, sayable: BoolArray) -> list[Suggestion]:
    values = np.array([values_of(concept) for concept in batch.concepts])
    edits = _allowed_edits(values) & sayable
    order = np.argsort(np.where(edits, -utility, np.inf), axis=1, kind="stable")
    allowed = edits.sum(axis=1)
    answers = []
    for row, concept in enumerate(batch.concepts):
        texts = _edits(tuple(values[row].tolist()), order[row, : allowed[row]])
        answers.append(Suggestion(next((text for text in texts if text not in batch.tried[row]), concept)))
    return answers


def _edits(values: Values, edits: IntArray) -> Iterator[str]:
    for edit in edits:
        family = int(_EDIT_FAMILY[edit])
        yield lexicon.text_of((*values[:family], int(_EDIT_VALUE[edit]), *values[family + 1 :]))
