"""The real images of a stack in two halves: what the search sees, and what only value and judge see."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property

import numpy as np

from dnr_env.errors import DnRError
from dnr_env.evidence.probe import EXEMPLARS, Probe
from dnr_env.types import BoolArray


def searched(sources: Iterable[str]) -> BoolArray:
    """(images,) whether each image is of the half that the search sees.

    It depends on the name of the image's source alone, so that it stays when others are added, and images of one file
    are in one half.
    """
    return np.array([hashlib.sha256(source.encode()).digest()[0] % 2 == 0 for source in sources], bool)


class ProbeSource:
    """The real images of a stack, in halves, with and without corruptions. Each is measured when it is first used.

    Args:
        measure: measures the probe set under a corruption; None is no corruption.
        corruptions: the names of the corruptions that the judge uses.
        beside: measures further real images on which the judge repeats the simulation; None if there are none.
    """

    def __init__(
        self,
        measure: Callable[[str | None], Probe],
        corruptions: Sequence[str] = (),
        beside: Callable[[], Probe] | None = None,
    ) -> None:
        self._measure = measure
        self._beside = beside
        self.corruptions = tuple(corruptions)
        self._corrupted: dict[str, Probe] = {}

    @cached_property
    def whole(self) -> Probe:
        """All images of the probe set, for those who name nothing."""
        return self._measure(None)

    @cached_property
    def clean(self) -> Probe:
        """The half that the search sees. It makes the scale.

        Raises:
            DnRError: either half has fewer images than a neuron has exemplars.
        """
        half = searched(self.whole.sources())
        for_search, for_judge = int(half.sum()), int((~half).sum())
        if min(for_search, for_judge) < EXEMPLARS:
            raise DnRError(
                f"`probe.images` must have at least {EXEMPLARS} usable images for the search and as many for the "
                f"judge, between which the names of their files divide them; 40 images almost always suffice "
                f"(got {for_search} and {for_judge})"
            )
        return self.whole.part("search", np.flatnonzero(half))

    @cached_property
    def held_out(self) -> Probe:
        """The other half, on the scale of the first, for the value in rewards and for the judge."""
        return self._other(self.whole)

    def _other(self, whole: Probe) -> Probe:
        return whole.part("held out", np.flatnonzero(~searched(whole.sources())), scale=self.clean)

    def broken(self, neuron: int) -> bool:
        """Whether an activation of a neuron is not finite, in either half."""
        return self.clean.broken(neuron) or self.held_out.broken(neuron)

    def corrupted(self, corruption: str) -> Probe:
        """The held-out half under a corruption."""
        if corruption not in self._corrupted:
            self._corrupted[corruption] = self._other(self._measure(corruption))
        return self._corrupted[corruption]

    @cached_property
    def beside(self) -> Probe | None:
        """The further real images, measured."""
        return self._beside() if self._beside else None

    def others(self) -> dict[str, Probe]:
        """The judge's other real images by name: each corruption, and `images` for the further ones."""
        found = {name: self.corrupted(name) for name in self.corruptions}
        return {**found, "images": self.beside} if self.beside else found
