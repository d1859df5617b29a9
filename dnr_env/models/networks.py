"""Networks by name, from torchvision, timm, open_clip, transformers or a user's factory, and their weights."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dnr_env.errors import DnRError
from dnr_env.extras import needed
from dnr_env.models.checkpoint import checkpoint, download_size
from dnr_env.models.examples import example_network
from dnr_env.models.hub import loading
from dnr_env.models.origin import (
    check_timm,
    open_clip_tower,
    timm_source,
    timm_weights,
    torchvision_weights,
    transformers_source,
)
from dnr_env.models.preprocess import (
    IMAGENET,
    ProcessorTransform,
    Transform,
    UserTransform,
    of_open_clip,
    of_timm,
)
from dnr_env.models.snapshot import NETWORK, TIMM, folder_of, unweighted
from dnr_env.models.weights import FILES, fill
from dnr_env.usercode import code_digest, user_imports, user_object

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Network:
    """A loaded network."""

    module: torch.nn.Module
    transform: Transform
    name: str
    """The name in the fingerprint, without the path of a file."""
    digest: str = ""
    """A hash of the tensors."""
    lent: bool = False
    """Whether the module belongs to the caller and must be left unchanged."""
    lacking: Mapping[str, str] = field(default_factory=dict)
    """The tensors without weights, which stay random, each with the reason."""

    @property
    def device(self) -> torch.device:
        """The device of the first tensor, or the CPU if there is none."""
        import torch

        return next((tensor.device for tensor in self._tensors()), torch.device("cpu"))

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the first floating tensor, or float32 if there is none."""
        import torch

        return next((tensor.dtype for tensor in self._tensors() if tensor.is_floating_point()), torch.float32)

    def _tensors(self) -> Iterator[torch.Tensor]:
        yield from self.module.parameters()
        yield from self.module.buffers()

    @cached_property
    def prefix(self) -> int:
        """The number of class, distillation and register tokens, by timm's attribute or the usual parameter names."""
        for module in self.module.modules():
            if isinstance(count := getattr(module, "num_prefix_tokens", None), int):
                return count
        kinds = ("cls_token", "class_token", "class_embedding", "distillation_token", "dist_token", "register_tokens")
        found = [value for name, value in self.module.named_parameters() if name.rpartition(".")[2] in kinds]
        return sum(1 if value.ndim == 1 else value.shape[-2] for value in found)


def load_network(network: str, weights: str) -> Network:
    """Load the network "kind:name" in evaluation mode on the CPU. `NetworkTarget` describes `weights`.

    Raises:
        DnRError: the network does not exist, or the weights do not fit it.
    """
    import torch

    kind, _, name = network.partition(":")
    is_file = Path(weights).suffix in FILES
    with torch.random.fork_rng(devices=[]), needed(), loading("target.network", network):
        torch.default_generator.manual_seed(0)  # random weights are the same in every process
        net = KINDS[kind](name, None if is_file or weights == "none" else weights)
    lacking = net.lacking
    if is_file:
        with loading("target.weights", weights):
            lacking = fill(net.module, Path(weights))
    net.module.eval().requires_grad_(False)
    return Network(net.module, net.transform, net.name, digest_of(net.module), lacking=lacking)


def digest_of(module: torch.nn.Module) -> str:
    """Hash the names and the values of a module's tensors."""
    import torch

    digest = hashlib.sha256()
    for name, tensor in module.state_dict().items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def _torchvision(name: str, weights: str | None) -> Network:
    kinds, chosen = torchvision_weights(name, weights)
    with needed():
        from torchvision import models
    if chosen is not None:
        if not checkpoint(chosen.url).is_file():
            download_size(f"`target.weights` {weights}", chosen.url)  # fails at once if nobody answers
        # torchvision would unpickle any object, so check first that the file contains only tensors.
        chosen.get_state_dict(progress=False, check_hash=True, weights_only=True)
    # Each set of weights has its own preprocessing: V1 and V2 differ, and SWAG has larger images.
    transform = (chosen or kinds.DEFAULT).transforms()
    return Network(models.get_model(name, weights=chosen), transform, f"torchvision:{name}")


def _timm(name: str, weights: str | None) -> Network:
    with needed():
        import timm
        from timm.data import config as data
    check_timm(name)
    file: dict[str, Any] = {}
    if weights is not None:
        config = timm_weights(name)
        if config.hf_hub_id:
            file = {"file": str(TIMM.path(folder_of(timm_source(name, config), TIMM))), "custom_load": False}
        elif not checkpoint(config.url).is_file():
            download_size(f"`target.network` 'timm:{name}'", config.url)
    module = timm.create_model(name, pretrained=weights is not None, pretrained_cfg_overlay=file)
    resolve: Any = data.resolve_model_data_config
    return Network(module, of_timm(resolve(module)), f"timm:{name}")


def _example(name: str, weights: str | None) -> Network:
    module = example_network(name, trained=weights is not None)
    with needed("examples"):
        from timm.data import config as data
    resolve: Any = data.resolve_model_data_config
    return Network(module, of_timm(resolve(module)), f"example:{name}")


def _open_clip(name: str, weights: str | None) -> Network:
    tower: Any = open_clip_tower(name).build(weights=weights is not None).visual
    # The hash of the tensors covers a folder's content.
    named = f"open_clip:{Path(name).name if Path(name).is_dir() else name}"
    return Network(tower, of_open_clip(tower.preprocess_cfg), named)


def _transformers(name: str, weights: str | None) -> Network:
    source = transformers_source(name)
    folder = folder_of(source, NETWORK if weights else unweighted(NETWORK))
    with needed():
        import transformers
    auto: Any = transformers  # the calls of transformers are untyped
    safe: dict[str, Any] = {"trust_remote_code": False}
    config = auto.AutoConfig.from_pretrained(folder, **safe)  # loaded first, because its errors are the clearest
    processor = auto.AutoImageProcessor.from_pretrained(folder, **safe)
    missing: set[str] = set()
    if weights is None:
        module = auto.AutoModel.from_config(config)
    else:
        loaded = {"use_safetensors": True, "dtype": "float32", "output_loading_info": True, **safe}
        module, report = auto.AutoModel.from_pretrained(folder, **loaded)
        missing = report["missing_keys"]
    tower = getattr(module, "vision_model", module)  # a model of images and texts has one
    absent = {key if tower is module else key.removeprefix("vision_model.") for key in missing}
    lacking = {key: "is not there" for key in tower.state_dict() if key in absent}
    return Network(tower, ProcessorTransform(processor), f"hf:{source.fingerprint}", lacking=lacking)


def _python(name: str, weights: str | None) -> Network:
    import torch

    module, factory = user_object("target.network", name)
    with user_imports("target.network", name):
        made = factory()
    network, transform = made if isinstance(made, tuple) and len(made) == 2 else (made, None)
    if not isinstance(network, torch.nn.Module):
        raise DnRError(
            f"`target.network` must name a function that returns a torch.nn.Module, or a module and a transform (got "
            f"{type(network).__name__} from {name!r})"
        )
    named = f"python:{name.rpartition(':')[2]}@{code_digest(module, (type(part) for part in network.modules()))}"
    return Network(network, IMAGENET if transform is None else UserTransform(transform), named)


KINDS: dict[str, Callable[[str, str | None], Network]] = {
    "torchvision": _torchvision,
    "timm": _timm,
    "open_clip": _open_clip,
    "hf": _transformers,
    "python": _python,
    "example": _example,
}
"""The loaders by kind. A loader takes a name and weights: "DEFAULT", a name of torchvision, or None for random."""
