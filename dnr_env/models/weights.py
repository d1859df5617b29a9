"""Files of weights as training leaves them: wrapped, nested, averaged, with another head. Nothing is unpickled."""

from __future__ import annotations

import argparse
import logging
import pickle
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from dnr_env.errors import DnRError

if TYPE_CHECKING:
    import torch

FILES = (".safetensors", ".pt", ".pth", ".bin", ".ckpt", ".tar")
"""The suffixes of weight files."""
_ANYWHERE = re.compile(r"(_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
"""What torch.compile, FSDP and activation checkpointing add to the path of any module."""
_WRAPPERS = {"module", "model", "net", "network", "state_dict"}
"""What DDP, Lightning and trainers put before every path."""
_AVERAGED = re.compile(r"(^|[._])(ema|teacher|averaged|swa)([._]|$)")
"""Marks an average over training steps, which is what training reports the accuracy of."""
_DEPTH = 4
_log = logging.getLogger("dnr_env")


class _Found(NamedTuple):
    """One reading of a file: the tensors of a dictionary in it, under a prefix."""

    place: str
    """The keys that lead to the dictionary, joined by dots, and the prefix: "state_dict.module."."""
    prefix: str
    tensors: dict[str, torch.Tensor]
    fits: frozenset[str]
    """The names of the network's tensors that it has, with their shapes."""


def is_weights(path: str) -> bool:
    """Return whether a path leads to a file of weights."""
    return Path(path).suffix in FILES and Path(path).is_file()


def fill(module: torch.nn.Module, path: Path) -> dict[str, str]:
    """Load the tensors of a file into a module, and say what is chosen where the file leaves a choice.

    The tensors may lie in nested dictionaries, and their names may begin with the wrappers of DDP, torch.compile and
    Lightning or with the name of a part of a larger model. Of several networks that fit, an average over training steps
    (EMA) is taken.

    Returns:
        The floating tensors of the module that the file does not fill, each with the reason.

    Raises:
        DnRError: the file cannot be read, holds more than tensors, fits nowhere, or holds several networks.
    """
    own = {_ANYWHERE.sub("", name): name for name in module.state_dict()}
    state = {_ANYWHERE.sub("", name): tensor for name, tensor in module.state_dict().items()}
    shapes = {name: tensor.shape for name, tensor in state.items()}
    readings = [found for place, tensors in _dicts(_read(path)) for found in _fitting(place, tensors, shapes)]
    if not readings:
        raise DnRError(
            f"`target.weights` must contain tensors of the network, such as {next(iter(own), '')!r} with its shape "
            f"(got {str(path)!r}, which holds {_contents(path)})"
        )
    best = _choose(readings, path)
    module.load_state_dict({own[name]: best.tensors[best.prefix + name] for name in best.fits}, strict=False)
    left = [key for key in best.tensors if key.startswith(best.prefix) and key[len(best.prefix) :] not in own]
    if left:
        _log.warning(
            "`target.weights` %s: %d tensors have no place in the network and are left out, such as %s",
            path.name, len(left), ", ".join(left[:3]),
        )  # fmt: skip
    # Of tensors that a network shares under several names, safetensors keeps one.
    filled = {(state[name].data_ptr(), state[name].shape) for name in best.fits}
    return {
        own[name]: _reason(best, name, tensor.shape)
        for name, tensor in state.items()
        if tensor.is_floating_point() and name not in best.fits and (tensor.data_ptr(), tensor.shape) not in filled
    }


def _reason(best: _Found, name: str, shape: torch.Size) -> str:
    other = best.tensors.get(best.prefix + name)
    return "is not there" if other is None else f"has the shape {tuple(other.shape)} instead of {tuple(shape)}"


def _read(path: Path) -> Any:
    import torch
    from safetensors.torch import load_file

    if not path.is_file():
        raise DnRError(
            f"`target.weights` must be DEFAULT, none, or a file of weights (got {str(path)!r}, which is not a file)"
        )
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        # A Namespace holds the trainer's options; making one runs no code.
        with torch.serialization.safe_globals([argparse.Namespace]):
            return torch.load(path, "cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise DnRError(
            f"`target.weights` must hold nothing but tensors, numbers and texts (got {str(path)!r}, which holds "
            f"{_pickled(path)}, and loading that could run code); save the tensors alone with "
            "torch.save(model.state_dict(), FILE)"
        ) from None
    except Exception as error:  # each kind of wrong file raises its own error
        raise DnRError(
            f"`target.weights` must be a state_dict, as safetensors or saved by torch.save (got {str(path)!r}, which "
            f"cannot be read: {type(error).__name__})"
        ) from None


def _pickled(path: Path) -> str:
    """Name the classes in a file that may not be made. The file is read, but nothing in it is run."""
    import torch

    try:
        names = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except Exception:  # a file of an old format does not say
        names = []
    others = [name for name in names if name != "argparse.Namespace"]
    return "objects of " + ", ".join(others[:3]) if others else "pickled objects"


def _contents(path: Path) -> str:
    read = _read(path)
    keys = [str(key) for key in read] if isinstance(read, Mapping) else []
    return ", ".join(keys[:5]) + (", …" if len(keys) > 5 else "") if keys else type(read).__name__


def _dicts(found: Any, place: str = "", depth: int = 0) -> Iterator[tuple[str, dict[str, torch.Tensor]]]:
    """Yield each dictionary in a file that holds tensors, with the keys that lead to it."""
    import torch

    if not isinstance(found, Mapping) or depth > _DEPTH:
        return
    tensors = {str(key): value for key, value in found.items() if isinstance(value, torch.Tensor)}
    if tensors:
        yield place, {_ANYWHERE.sub("", key): value for key, value in tensors.items()}
    for key, value in found.items():
        yield from _dicts(value, f"{place}{key}.", depth + 1)


def _fitting(place: str, tensors: dict[str, torch.Tensor], own: Mapping[str, torch.Size]) -> Iterator[_Found]:
    """Yield the readings of a dictionary: each prefix under which some of its tensors fit."""
    fits: dict[str, set[str]] = {}
    for key, tensor in tensors.items():
        parts = key.split(".")
        for cut in range(len(parts)):
            name = ".".join(parts[cut:])
            if own.get(name) == tensor.shape:
                fits.setdefault(key[: len(key) - len(name)], set()).add(name)
    for prefix, names in fits.items():
        yield _Found(place + prefix, prefix, tensors, frozenset(names))


def _choose(readings: list[_Found], path: Path) -> _Found:
    """Choose the reading that fills most of the network. Of several, an average; else the one with no name of its own.

    Raises:
        DnRError: the file holds several networks, and nothing says which is meant.
    """
    most = max(len(found.fits) for found in readings)
    best = [found for found in readings if len(found.fits) == most]
    averaged = [found for found in best if _AVERAGED.search(found.place)]
    plain = [found for found in best if set(found.place.split(".")) <= {*_WRAPPERS, ""}]
    chosen = averaged or plain or best
    shortest = min(len(found.place) for found in chosen)
    chosen = [found for found in chosen if len(found.place) == shortest] if plain is chosen else chosen
    if len(chosen) > 1:
        places = ", ".join(found.place.rstrip(".") or "the file itself" for found in chosen[:4])
        raise DnRError(
            f"`target.weights` must hold one network (got {str(path)!r}, in which {places} all fit); save the tensors "
            "of one of them alone"
        )
    (found,) = chosen
    others = sorted({other.place.rstrip(".") or "the file itself" for other in best if other is not found})
    if others or found not in plain:
        also = f", and not {', '.join(others[:3])}" if others else ""
        _log.warning("`target.weights` %s: %s is read%s", path.name, found.place.rstrip(".") or "the file itself", also)
    return found
