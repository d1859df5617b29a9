"""The neurons of a target: their names and indices, and how to select some of them."""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Iterable, Sequence
from functools import cached_property

import numpy as np

from dnr_env.errors import DnRError, unknown
from dnr_env.types import IntArray

SPLITS = ("train", "validation", "test")


def split_of(neuron: str) -> str:
    """Assign a neuron to a split by a hash of its name: 60% train, 20% validation, 20% test."""
    place = int.from_bytes(hashlib.sha256(f"split {neuron}".encode()).digest()[:4], "big") % 10
    return SPLITS[0] if place < 6 else SPLITS[1] if place < 8 else SPLITS[2]


Which = str | Sequence[str | int] | None
"""A selection of neurons: a text such as "layer4:0-9,planted:test", names or indices, or None for all."""


ALL = "all"
"""The pattern of every layer."""


def is_pattern(text: str) -> bool:
    """Return whether a text chooses layers by a pattern: "all", or one with `*`, `?` or `[…]`."""
    return text == ALL or any(mark in text for mark in "*?[")


def layers_like(pattern: str, known: Iterable[str]) -> list[str]:
    """The paths of layers that match a pattern, in the order of `known`.

    `*` and `?` stand for letters other than the dot, so that "blocks.*" matches "blocks.3" and not what is in it. `**`
    stands for any letters. `[12]` is one of some letters, and `[!12]` any other. "all" matches every path.
    """
    if pattern == ALL:
        return list(known)
    parts = re.split(r"(\*\*|\*|\?|\[!?[^]]+\])", pattern)
    marks = {"**": ".*", "*": "[^.]*", "?": "[^.]"}
    written = [
        marks.get(part, part.replace("[!", "[^") if part.startswith("[") and part.endswith("]") else re.escape(part))
        for part in parts
    ]
    try:
        wanted = re.compile("".join(written))
    except re.error:  # letters such as [z-a], which match nothing
        return []
    return [name for name in known if wanted.fullmatch(name)]


class Neurons(tuple[str, ...]):
    """The names of a target's neurons, each "layer:index", in the order of the activations."""

    @cached_property
    def _places(self) -> dict[str, int]:
        return {name: place for place, name in enumerate(self)}

    def __contains__(self, name: object) -> bool:
        return name in self._places

    def index(self, name: str, start: int = 0, stop: int = sys.maxsize, /) -> int:  # type: ignore[override]
        """The index of the neuron with a name.

        Raises:
            DnRError: there is no such neuron.
        """
        if name not in self._places:
            raise unknown("neuron", name, self)
        return self._places[name]

    def indices(self, names: Iterable[str]) -> IntArray:
        """(n,) the indices of the neurons with these names."""
        return np.array([self.index(name) for name in names], np.intp)

    def one(self, wanted: str | int, option: str = "neuron") -> int:
        """The index of a neuron that is given by its name or its index.

        Args:
            wanted: the name or index.
            option: the option's name in messages.

        Raises:
            DnRError: there is no such neuron.
        """
        if isinstance(wanted, str):
            if wanted not in self:
                raise unknown(option, str(wanted), self)
            return self.index(wanted)
        if not isinstance(wanted, int | np.integer) or isinstance(wanted, bool):
            raise DnRError(f"`{option}` must be given by name or by index (got {wanted!r})")
        if not 0 <= wanted < len(self):
            raise DnRError(f"`{option}` must be given by name or by an index from 0 to {len(self) - 1} (got {wanted})")
        return int(wanted)

    def select(self, wanted: Which, option: str = "neurons") -> list[int]:
        """The indices of the selected neurons, in the target's order.

        Args:
            wanted: a text of parts joined by commas, each a split (train, validation, test), "all", a layer
                ("layer4"), neurons of a layer ("layer4:7", "layer4:0-63"), or a layer's split ("layer4:test"); or a
                sequence of names and indices; or None for all.
            option: the option's name in messages.

        Raises:
            DnRError: a part names no split, layer or neuron, or nothing is selected.
        """
        if wanted is None:
            return list(range(len(self)))
        if isinstance(wanted, str):
            return _select(self, wanted, option)
        if not isinstance(wanted, Iterable) or (isinstance(wanted, np.ndarray) and not wanted.ndim):
            raise DnRError(
                f"`{option}` must be a text such as 'layer4:0-9' or a sequence of names or indices (got {wanted!r})"
            )
        chosen = sorted({self.one(each, option) for each in wanted})
        if not chosen:
            raise DnRError(f"`{option}` must name at least one neuron (got {wanted!r})")
        return chosen

    def named(self, wanted: Which, option: str = "neurons") -> list[str]:
        """The names of the selected neurons. See `select`."""
        return [self[place] for place in self.select(wanted, option)]


def _select(names: Neurons, wanted: str, option: str) -> list[int]:
    layers = list(dict.fromkeys(name.rpartition(":")[0] for name in names))
    chosen: set[int] = set()
    for part in filter(None, (part.strip() for part in wanted.split(","))):
        layer, _, which = part.rpartition(":") if ":" in part else (part, "", "all")
        if not layer or part in ("all", *SPLITS):
            layer, which = "", part
        elif layer not in layers:
            raise unknown(option, part, ["all", *SPLITS, *layers])
        prefix = f"{layer}:" if layer else ""
        inside = [i for i, name in enumerate(names) if name.startswith(prefix)]
        if which == "all":
            chosen.update(inside)
        elif which in SPLITS:
            chosen.update(i for i in inside if split_of(names[i]) == which)
        else:
            chosen.update(_range(option, part, which, {int(names[i].rpartition(":")[2]): i for i in inside}))
    if not chosen:
        raise DnRError(
            f"`{option}` must name at least one neuron: a split (test), a layer ({layers[0]}) or {layers[0]}:0-9 "
            f"(got {wanted!r})"
        )
    return sorted(chosen)


def _range(option: str, part: str, which: str, inside: dict[int, int]) -> list[int]:
    numbers = re.fullmatch(r"(\d{1,9})(?:-(\d{1,9}))?", which)
    if not numbers:
        raise unknown(option, part, [*SPLITS, "an index", "a range such as 0-9"])
    start, stop = int(numbers[1]), int(numbers[2] or numbers[1])
    if start > stop or not (start in inside and stop in inside):
        raise DnRError(f"`{option}` must lie within the layer, {min(inside)} to {max(inside)} (got {part!r})")
    return [place for number, place in inside.items() if start <= number <= stop]
