"""What the store holds, by kind and model; and how to forget the answers of a model without its images."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Sequence
from typing import NamedTuple

from dnr_env.errors import DnRError, unknown
from dnr_env.evidence.store import CHECKSUM, Store

_FORGOTTEN = {
    "writer": (("chat", "fingerprint"), ("proposal", "writer")),
    "captioner": (("caption", "captioner"), ("proposal", "captioner")),
}
"""The kinds of entries that a part's answers are in, and the field that names the model."""
_NAMES = {
    "chat": "answers",
    "proposal": "candidates",
    "caption": "captions",
    "image": "drawings",
    "evidence-2": "rows of drawings",
    "file": "digests of files",
    "": "of earlier versions",
}
_NAMED = ("chat", "caption", "proposal")
"""Kinds that are shown with their models."""
_WIDTH = 60  # characters of a model that are shown


class Holding(NamedTuple):
    """The entries of one kind that depend on the same models."""

    number: int
    """The number of the kind in the file."""
    kind: str
    """The field `kind` of their addresses; "" for entries of an earlier version, which did not note it."""
    models: dict[str, str]
    """The fingerprints of the models, by the field of the address."""
    entries: int
    size: int
    """Bytes of the values."""


def holdings(store: Store) -> list[Holding]:
    """Count what a store holds."""

    def count(connection: sqlite3.Connection) -> list[Holding]:
        query = "SELECT number, kind, models FROM kinds"
        kinds = {number: (kind, json.loads(models)) for number, kind, models in connection.execute(query)}
        query = "SELECT substr(digest, ?), count(*), sum(length(value)) FROM entries GROUP BY 1"
        counts = connection.execute(query, (CHECKSUM + 1,)).fetchall()
        numbered = [(int.from_bytes(number, "big"), entries, size) for number, entries, size in counts]
        return [Holding(number, *kinds.get(number, ("", {})), entries, size) for number, entries, size in numbered]

    return store.run(count, [])


def forget(store: Store, part: str, model: str) -> list[Holding]:
    """Remove the answers of a model: what a writer answered, or the captions of a captioner, and all proposals of it.

    Images and their measurements stay. The file keeps its size, and its free space is used again.

    Args:
        store: the store.
        part: "writer" or "captioner".
        model: the name of the model, without its settings: "gpt-4o-mini", or "organisation/name" with any commit.

    Returns:
        What was removed.

    Raises:
        DnRError: the store holds nothing of such a model, or cannot be written.
    """
    held = holdings(store)
    found = [one for one in held for kind, field in _FORGOTTEN[part] if one.kind == kind and _names(one, field, model)]
    if not found:
        first = _FORGOTTEN[part][0]
        names = {name_of(one.models[first[1]]): None for one in held if one.kind == first[0]}
        raise unknown(part, model, names) if names else DnRError(f"the store holds no answers of a {part}")

    def remove(connection: sqlite3.Connection) -> list[Holding]:
        for one in found:
            numbers = (CHECKSUM + 1, one.number.to_bytes(4, "big"))
            connection.execute("DELETE FROM entries WHERE substr(digest, ?) = ?", numbers)
        return found

    return store.run(remove, [])


def lines(found: Sequence[Holding]) -> list[str]:
    """A table of holdings for people, largest first: kind, entries, MiB and, for answers, the model."""
    totals: dict[tuple[str, str], list[int]] = {}
    for one in found:
        fields = [field for kind, field in _FORGOTTEN["writer"] + _FORGOTTEN["captioner"] if kind == one.kind]
        model = ", ".join(name_of(one.models[field])[:_WIDTH] for field in fields) if one.kind in _NAMED else ""
        total = totals.setdefault((_NAMES.get(one.kind, one.kind), model), [0, 0])
        total[0] += one.entries
        total[1] += one.size
    ordered = sorted(totals.items(), key=lambda item: -item[1][1])
    rows = [
        f"{kind:<20}{entries:>12,}{size / (1 << 20):>12,.1f}  {model}" for (kind, model), (entries, size) in ordered
    ]
    return [line.rstrip() for line in [f"{'kind':<20}{'entries':>12}{'MiB':>12}  model", *rows]]


def name_of(fingerprint: str) -> str:
    """The name of the model in a fingerprint, with its commit if it has one."""
    if named := re.search(r'"model": "([^"]*)"', fingerprint):  # of a captioner
        return named[1]
    return re.sub(r"^language-writer\|.*?\|captions \d+\|", "", fingerprint).partition("|")[0]


def _names(one: Holding, field: str, model: str) -> bool:
    name = name_of(one.models[field])
    return model in (name, name.partition("@")[0])
