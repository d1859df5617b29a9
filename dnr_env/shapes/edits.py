"""Edits of a concept, which change one family, and the kind of each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from dnr_env.interfaces import Kind
from dnr_env.shapes import lexicon
from dnr_env.shapes.lexicon import COVERS, FAMILIES, MAX_NAMED, OPEN, VALUE_FAMILY, VALUES, Values
from dnr_env.types import BoolArray, IntArray

FAMILY: IntArray = np.concatenate([VALUE_FAMILY, np.arange(len(FAMILIES))])
VALUE: IntArray = np.concatenate([np.arange(len(VALUES)), np.full(len(FAMILIES), OPEN)])
"""(edits,) the family of each edit, and the value that it sets; OPEN leaves the family open."""


def kind_of(before: int, after: int) -> Kind | None:
    """The kind of an edit that changes a family from one of its values to another; each may be OPEN.

    The edit is NARROW if the new value's images are a strict subset of the old one's, BROADEN if they are a strict
    superset, and SWAP if they are neither; None if nothing changes.
    """
    if before == after:
        return None
    if before == OPEN or (after != OPEN and COVERS[after, before]):
        return Kind.NARROW
    return Kind.BROADEN if after == OPEN or COVERS[before, after] else Kind.SWAP


_SAME = -1
_KINDS = np.array(
    [
        [_SAME if (kind := kind_of(before, after)) is None else kind for after in (*range(len(VALUES)), OPEN)]
        for before in (*range(len(VALUES)), OPEN)
    ]
)
"""(values + 1, values + 1) the kinds; OPEN, which is -1, is the last. Pairs of different families are not looked up."""


def sayable_edits(withheld: frozenset[str]) -> BoolArray:
    """(edits,) which edits name no withheld word."""
    return np.concatenate([lexicon.sayable(withheld), np.ones(len(FAMILIES), bool)])


def allowed_edits(values: IntArray, kinds: Sequence[Kind | None]) -> BoolArray:
    """(b, edits) which edits of values (b, families) are of kind i and leave one to MAX_NAMED families named.

    A longer concept, which only a user can give, must become shorter. No edit is of kind MODEL; None allows all kinds.
    """
    current = values[:, FAMILY]
    named = (values != OPEN).sum(axis=1, keepdims=True)
    after = named + (VALUE != OPEN) - (current != OPEN)
    allowed: BoolArray = (current != VALUE) & (after >= 1) & (after <= np.maximum(MAX_NAMED, named - 1))
    for row, kind in enumerate(kinds):
        if kind is not None:
            allowed[row] &= _KINDS[current[row], VALUE] == kind
    return allowed


def texts_after(values: Values, edits: Iterable[int]) -> Iterator[str]:
    """Yield the text of a concept after each of some edits, given by their indices."""
    for edit in edits:
        family = int(FAMILY[edit])
        yield lexicon.text_of((*values[:family], int(VALUE[edit]), *values[family + 1 :]))


def neighbours(values: Values, kind: Kind) -> list[str]:
    """List the texts of a concept after each allowed edit of a kind."""
    return list(texts_after(values, np.flatnonzero(allowed_edits(np.array([values]), [kind])[0]).tolist()))
