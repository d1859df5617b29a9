"""The layouts of a network's layers, as one forward pass shows them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dnr_env.errors import DnRError
from dnr_env.models.hooks import hooks, tensor_of
from dnr_env.models.hub import reason_of
from dnr_env.models.layout import Layout, axes, channels_of, patch_grid, prefix_tokens
from dnr_env.models.memory import no_grad, still
from dnr_env.models.networks import Network
from dnr_env.models.readout import Ranges, Readout, wanted_indices

if TYPE_CHECKING:
    import torch

_log = logging.getLogger("dnr_env")


def does_not_run(name: str) -> DnRError:
    """The error for a module that takes no part in a forward pass."""
    return DnRError(f"`target.layers` must name modules that run in a forward pass (got {name!r}, which does not)")


@dataclass(frozen=True)
class Survey:
    """What decides the layouts, apart from the network's own behaviour."""

    name: str
    """The name of the network, for messages."""
    network: Network
    readout: Readout
    ranges: Ranges
    """The neurons within each layer."""
    channels: int | None
    """The axis of the channels, if the user names it."""

    def layouts(
        self, modules: Mapping[str, torch.nn.Module], optional: frozenset[str], given: torch.Tensor
    ) -> dict[str, Layout]:
        """Infer the layouts of modules from a forward pass.

        Args:
            modules: the modules by their paths.
            optional: the paths that are passed over, with one warning, if they cannot be read.
            given: the input (`DRY_IMAGES`, 3, height, width).

        Raises:
            DnRError: the network fails, or a module cannot be read.
        """
        every = dict(self.network.module.named_modules())
        deciding = {name: axis for name, part in every.items() if name and (axis := channels_of(part)) is not None}
        size = (given.shape[2], given.shape[3])
        found: dict[str, Layout] = {}
        passed: dict[str, str] = {}
        before: dict[tuple[int, ...], int] = {}

        def see(name: str, output: object) -> None:
            try:
                if name in modules:
                    tensor = tensor_of(name, output)
                    axis = before.get(tuple(tensor.shape))
                    found[name] = self._layout(name, modules[name], tensor, size, axis, name in optional)
                    self.readout.pooled(found[name], tensor)
                    passed.pop(name, None)
            except DnRError as error:
                if name not in optional:
                    raise
                found.pop(name, None)
                passed[name] = str(error)
            if name in deciding and hasattr(output, "shape"):
                before[tuple(output.shape)] = deciding[name]

        try:
            watched = {name: every[name] for name in {**deciding, **modules}}
            with no_grad(self.network), still(self.network), hooks(watched, see):
                self.network.module(given)
        except DnRError:
            raise
        except Exception as error:  # a module may raise any error
            raise DnRError(
                f"`target.network` must accept the input that its transform makes (got {self.name!r}, which fails on "
                f"an image: {reason_of(error)})"
            ) from error
        for name in modules:
            if name not in found and name not in passed:
                if name not in optional:
                    raise does_not_run(name)
                passed[name] = "it does not run in a forward pass"
        self._report(found, passed)
        return {name: found[name] for name in modules if name in found}

    def _report(self, found: Mapping[str, Layout], passed: Mapping[str, str]) -> None:
        if not passed:
            return
        name, reason = next(iter(passed.items()))
        if not found:
            raise DnRError(f"`target.layers` must match a module that can be read (got {name}: {reason})")
        count = len(passed), len(passed) + len(found)
        _log.warning("`target.layers` passes over %d of %d modules, such as %s: %s", *count, name, reason)

    def _layout(
        self,
        name: str,
        module: torch.nn.Module,
        output: torch.Tensor,
        size: tuple[int, int],
        before: int | None,
        optional: bool,
    ) -> Layout:
        import torch

        known = self.network.prefix
        images, channels = axes(name, module, output, size, setting=self.channels, before=before, prefix=known)
        width, prefix, space = output.shape[channels], 0, output.ndim == 4
        if output.ndim == 3:
            tokens = output.shape[3 - images - channels]
            prefix = prefix_tokens(tokens, size, known)
            space = patch_grid(tokens - prefix, size) is not None
        if self.readout.pooling == "cls" and output.ndim > 2 and not prefix:
            raise DnRError(f"`target.pooling` must be mean or max for {name!r}, which has no class token (got 'cls')")
        sae = self.readout.sae
        if sae and sae.inputs != width:
            raise DnRError(f"`target.sae` must take the {width} channels of {name!r} (got one that takes {sae.inputs})")
        wanted = wanted_indices(name, self.ranges, sae.features if sae else width, fewer=optional)
        return Layout(images, channels, prefix, space, torch.tensor(wanted, device=output.device))
