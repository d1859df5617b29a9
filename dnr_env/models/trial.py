"""The trial of a network at its first use. Its outcome is kept in the store, so that a network is tried once."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from dnr_env.errors import DnRError
from dnr_env.evidence.store import Store, address
from dnr_env.models.layout import Layout
from dnr_env.models.networks import Network
from dnr_env.models.selfcheck import Run, check_steady, dependent, misplaced
from dnr_env.propose.crops import Misplaced

if TYPE_CHECKING:
    import torch

_VERSION = 1
_log = logging.getLogger("dnr_env")


@dataclass(frozen=True)
class Trial:
    """A network, the layers that are read, and what they are tried on.

    That a network is steady is kept, and that it is not is found again. Of the maps, what was measured is kept.
    """

    network: Network
    run: Run
    """A forward pass."""
    layouts: Mapping[str, Layout]
    """The layers that are read."""
    inputs: torch.Tensor
    """(images, 3, height, width) the input that the transform makes of `check_images`."""
    batch: int
    """The most images of a forward pass."""
    store: Store | None
    fingerprint: str
    """Identifies the network and the layers in the store."""

    def check(self) -> None:
        """Check that an image has one output, which depends on no tensor without weights.

        Raises:
            DnRError: the network has failed.
        """
        lacking = self.network.lacking
        if self._kept("steady") is None:
            if lacking:
                self._check_weights(lacking)
            check_steady(self.network.name, self.run, self.layouts, self.inputs)
            self._keep("steady", {})
        if lacking:
            name, reason = next(iter(lacking.items()))
            _log.warning(
                "%d tensors of the network have no weights, such as %s, which %s; the layers that are read do not "
                "depend on them", len(lacking), name, reason,
            )  # fmt: skip

    def check_places(self, layer: str) -> None:
        """Check that the maps of a layer show where in the image something is.

        Raises:
            Misplaced: they do not.
        """
        if layer in self._misplaced:
            rank, least = self._misplaced[layer]
            raise Misplaced(
                f"`probe.crops` must be false for {layer!r}, whose maps do not follow the image (where a part of an "
                f"image is replaced, they change elsewhere: agreement {rank:.2f} of at least {least})"
            )

    def _check_weights(self, lacking: Mapping[str, str]) -> None:
        found = dependent(self.run, self.network.module, list(lacking), self.layouts, self.inputs)
        if found:
            layer, names = found
            causes = ", ".join(f"{name!r} {lacking[name]}" for name in names)
            raise DnRError(
                f"`target.weights` must contain all tensors that {layer!r} depends on (got weights in which {causes}; "
                f"{len(lacking)} tensors of the network have none)"
            )

    @cached_property
    def _misplaced(self) -> dict[str, tuple[float, float]]:
        kept = self._kept("places")
        if kept is None:
            kept = {name: list(pair) for name, pair in self._measured().items()}
            self._keep("places", kept)
        return {name: (rank, least) for name, (rank, least) in kept.items()}

    def _measured(self) -> dict[str, tuple[float, float]]:
        return misplaced(self.run, self.layouts, self.inputs, self.batch)

    def _key(self, kind: str) -> bytes:
        return address(kind=f"trial {kind} {_VERSION}", target=self.fingerprint)

    def _kept(self, kind: str) -> dict[str, list[float]] | None:
        data = self.store.get_many([self._key(kind)]).get(self._key(kind)) if self.store else None
        found: dict[str, list[float]] | None = None if data is None else json.loads(data)
        return found

    def _keep(self, kind: str, value: Mapping[str, list[float]]) -> None:
        if self.store:
            self.store.put_many({self._key(kind): json.dumps(value).encode()})
