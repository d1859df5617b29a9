"""Networks in memory: a module or a function of the caller, which is left unchanged."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from dnr_env.errors import DnRError
from dnr_env.models.networks import Network, digest_of
from dnr_env.models.preprocess import (
    IMAGENET,
    Transform,
    UserTransform,
    of_open_clip,
    of_timm,
    prepare,
    without_addresses,
)
from dnr_env.usercode import source_of

if TYPE_CHECKING:
    import torch

OUTPUT = "output"
"""The name of a function's only layer."""
_COMPARED = 4096
"""About how many numbers of a response are hashed."""
_log = logging.getLogger("dnr_env")


def network_in_memory(model: Any, preprocess: Callable[[Any], Any] | None = None) -> Network:
    """Wrap a module or a function as a network to study.

    The network is identified in the store by a hash of its tensors, its code and its plain attributes, so that another
    process finds what was measured on it. A function may hold anything, so its output for a fixed picture is hashed
    too. The same holds for a transform.

    Args:
        model: an `nn.Module`, or a function that maps a float batch (n, 3, h, w) to activations: (n, neurons), a map,
            or tokens. The layer of a function is called "output".
        preprocess: a transform of (n, 3, h, w) uint8 tensors, or of PIL images, to floating tensors. None takes the
            transform that a model of timm or open_clip carries. For other models it takes that of ImageNet and logs a
            warning.

    Raises:
        DnRError: the model is neither a module nor a function.
    """
    import torch

    if isinstance(model, torch.nn.Module):
        code, name = _code_of_module(model), type(model).__name__
        module = model
    elif callable(model) and not isinstance(model, type):
        module = _function_module(model)
        code, name = source_of(model), getattr(model, "__name__", type(model).__name__)
    else:
        raise DnRError(
            f"`model` must be a torch module, a function, or a text such as 'torchvision:resnet50' (got {model!r:.80})"
        )
    transform = UserTransform(preprocess) if preprocess is not None else _transform_of(model)
    digest = hashlib.sha256(f"{digest_of(module)} {code}".encode())
    network = Network(module, transform, f"memory:{name}", lent=True)
    if preprocess is not None:
        digest.update(source_of(preprocess).encode())
        digest.update(_response(network, lambda prepared: prepared))
    if module is not model:
        digest.update(_response(network, module))
    return Network(module, transform, network.name, digest.hexdigest(), lent=True)


@contextmanager
def still(network: Network) -> Iterator[None]:
    """Put a lent network into evaluation mode, and restore the mode of each module afterwards."""
    training = [module for module in network.module.modules() if module.training] if network.lent else []
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True


def no_grad(network: Network) -> AbstractContextManager[Any]:
    """Disable gradients. A lent network is not run in inference mode, because it may keep tensors for its training."""
    import torch

    return torch.no_grad() if network.lent else torch.inference_mode()


def _function_module(function: Callable[..., Any]) -> torch.nn.Module:
    import torch

    class FunctionModule(torch.nn.Module):
        """A function, followed by a layer through which its output passes."""

        def __init__(self) -> None:
            super().__init__()
            self.add_module(OUTPUT, torch.nn.Identity())

        def forward(self, images: torch.Tensor) -> Any:
            return self.get_submodule(OUTPUT)(function(images))

    return FunctionModule()


def _transform_of(model: Any) -> Transform:
    """Return the transform that a model of timm or open_clip carries, or else that of ImageNet."""
    visual = getattr(model, "visual", model)
    if isinstance(config := getattr(visual, "preprocess_cfg", None), dict):
        return of_open_clip(config)
    if isinstance(getattr(model, "pretrained_cfg", None), dict):
        from timm.data.config import resolve_model_data_config

        return of_timm(resolve_model_data_config(model))  # type: ignore[no-untyped-call]
    _log.warning(
        "`preprocess` was not given and the model carries none: images are resized to 256, cropped to 224 and "
        "normalised with the mean and the standard deviation of ImageNet"
    )
    return IMAGENET


def _code_of_module(module: torch.nn.Module) -> str:
    """Describe how the modules are nested and configured, with the source of their classes."""
    kinds = {f"{type(part).__module__}.{type(part).__qualname__}": type(part) for part in module.modules()}
    lines = [without_addresses(repr(module)), *(f"{name} {source_of(kind)}" for name, kind in sorted(kinds.items()))]
    return "\n".join([*lines, *(f"{name} {_plain_attributes(part)}" for name, part in module.named_modules())])


def _plain_attributes(part: torch.nn.Module) -> dict[str, Any]:
    """Return the numbers and texts that a module keeps beside its tensors. A module's code may depend on them."""
    return {
        name: value
        for name, value in sorted(vars(part).items())
        if isinstance(value, int | float | str) and not name.startswith("_") and name != "training"
    }


def _response(network: Network, function: Callable[[torch.Tensor], Any]) -> bytes:
    """Return the output of a function for a fixed prepared picture, to three digits. It is empty if the call fails."""
    import torch

    picture = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    with torch.no_grad():
        try:
            made = function(prepare([picture] * 2, network.transform, network.device))
        except Exception:  # the same error is raised at the first read, with the name of the layer
            return b""
    first = made[0] if isinstance(made, tuple | list) else made
    if not isinstance(first, torch.Tensor):
        return b""
    numbers = first.float().flatten()
    spread = numbers[:: max(1, len(numbers) // _COMPARED)]  # over all channels and the whole picture
    return b"".join(f"{value:.3g}".encode() for value in spread.tolist())
