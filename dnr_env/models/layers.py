"""The layers that are read: modules by name, by a pattern, or all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from dnr_env.errors import unknown
from dnr_env.neurons import ALL, is_pattern, layers_like

if TYPE_CHECKING:
    import torch


def find_layers(module: torch.nn.Module, wanted: Sequence[str]) -> tuple[dict[str, torch.nn.Module], frozenset[str]]:
    """Find the modules that names and patterns choose, each once.

    "all" stands for every convolution, linear and attention layer: the modules whose neurons have weights of their
    own. A pattern such as "blocks.*" matches paths (see `layers_like`).

    Returns:
        The modules by path; and the paths that only a pattern chose, which may turn out not to be readable.

    Raises:
        DnRError: a name or a pattern matches nothing.
    """
    known = {name: part for name, part in module.named_modules() if name}
    chosen: dict[str, torch.nn.Module] = {}
    named = frozenset(name for name in wanted if name in known)
    for text in wanted:
        if text in known:
            found = [text]
        elif text == ALL:
            found = [name for name, part in known.items() if _has_units(part)]
        else:
            found = layers_like(text, known) if is_pattern(text) else []
        if not found:
            raise unknown("target.layers", text, known)
        chosen.update((name, known[name]) for name in found)
    return chosen, frozenset(chosen) - named


def _has_units(module: torch.nn.Module) -> bool:
    import torch

    kinds = (torch.nn.modules.conv._ConvNd, torch.nn.Linear, torch.nn.MultiheadAttention)
    return isinstance(module, kinds)
