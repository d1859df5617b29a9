"""What a kind of mutation means in a vocabulary of free words: how many real images a word covers."""

from __future__ import annotations

from collections.abc import Collection
from itertools import islice

from dnr_env.evidence.highest import highest
from dnr_env.evidence.vocabulary import Vocabulary
from dnr_env.interfaces import Kind

NEAREST = 50
"""The number of untried words, nearest to a concept, among which a mutation of a kind chooses."""
SIMILAR = 1.5
"""Two texts are about equally broad if their covers differ by no more than this factor."""


def kind_of(before: int, after: int) -> Kind:
    """The kind of a change from a text that covers `before` real images to one that covers `after`."""
    if after * SIMILAR < before:
        return Kind.NARROW
    return Kind.BROADEN if after > before * SIMILAR else Kind.SWAP


def words_of(kind: Kind | None, concept: str, tried: Collection[str], vocabulary: Vocabulary) -> set[str]:
    """The words that a mutation may choose, in place of a concept and of what was tried.

    With NARROW, BROADEN or SWAP, they are those of that kind (`kind_of`) among the NEAREST by cosine with the concept.
    Otherwise they are all, and no real image is looked at.
    """
    taken = {concept, *tried}
    if kind is None or kind == Kind.MODEL:
        return set(vocabulary.concepts) - taken
    cosines = vocabulary.embeddings @ vocabulary.embedder.embed_texts([concept])[0]
    near = (vocabulary.concepts[place] for place in highest(cosines, NEAREST + len(taken)))
    nearest = list(islice((word for word in near if word not in taken), NEAREST))
    before, *after = vocabulary.covers([concept, *nearest])
    return {word for word, cover in zip(nearest, after, strict=True) if kind_of(before, cover) == kind}
