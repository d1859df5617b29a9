"""Names of neurons, and which of them a run is about."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

from dnr_env.errors import DnRError, unknown

SPLITS = ("train", "validation", "test")


def split_of(neuron: str) -> str:
    """The split of a neuron, by a hash of its name: 60% train, 20% validation, 20% test."""
    place = int.from_bytes(hashlib.sha256(f"split {neuron}".encode()).digest()[:4], "big") % 10
    return SPLITS[0] if place < 6 else SPLITS[1] if place < 8 else SPLITS[2]


def select(names: Sequence[str], wanted: str) -> list[int]:
    """Indices of the neurons that a text names, in the target's order.

    Args:
        names: the target's neurons, as "layer:index".
        wanted: parts joined by commas; each is a split (train, validation, test), "all", a layer ("layer4"), neurons of
            a layer ("layer4:7", "layer4:0-63"), or a layer's split ("layer4:test").

    Raises:
        DnRError: a part names no split, layer or neuron.
    """
    layers = list(dict.fromkeys(name.split(":")[0] for name in names))
    chosen: set[int] = set()
    for part in filter(None, (part.strip() for part in wanted.split(","))):
        layer, _, which = part.rpartition(":") if ":" in part else (part, "", "all")
        if not layer or part in ("all", *SPLITS):
            layer, which = "", part
        elif layer not in layers:
            raise unknown("neurons", part, ["all", *SPLITS, *layers])
        prefix = f"{layer}:" if layer else ""
        inside = [i for i, name in enumerate(names) if name.startswith(prefix)]
        if which == "all":
            chosen.update(inside)
        elif which in SPLITS:
            chosen.update(i for i in inside if split_of(names[i]) == which)
        else:
            chosen.update(_range(part, which, {int(names[i].rpartition(":")[2]): i for i in inside}))
    if not chosen:
        raise DnRError(f"neurons: {wanted!r} names no neuron; a split (test), a layer (layer4) or layer4:0-9 will do")
    return sorted(chosen)


def _range(part: str, which: str, inside: dict[int, int]) -> list[int]:
    numbers = re.fullmatch(r"(\d{1,9})(?:-(\d{1,9}))?", which)
    if not numbers:
        raise unknown("neurons", part, [*SPLITS, "an index", "a range such as 0-9"])
    start, stop = int(numbers[1]), int(numbers[2] or numbers[1])
    if start > stop or not (start in inside and stop in inside):
        raise DnRError(f"neurons: {part!r} is outside the layer, whose neurons are {min(inside)} to {max(inside)}")
    return [place for number, place in inside.items() if start <= number <= stop]
