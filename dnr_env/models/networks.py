"""Networks by name, from torchvision, timm, open_clip, transformers or a user's factory, and their weights."""

from __future__ import annotations

import hashlib
import logging
import os
import pickle
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dnr_env.errors import DnRError, unknown
from dnr_env.extras import needed
from dnr_env.models.hub import find, loading
from dnr_env.models.openclip import OpenClip
from dnr_env.models.preprocess import (
    IMAGENET,
    ProcessorTransform,
    Transform,
    UserTransform,
    of_open_clip,
    of_timm,
)
from dnr_env.usercode import code_digest, user_imports, user_object

if TYPE_CHECKING:
    import torch

_log = logging.getLogger("dnr_env")

FILES = (".safetensors", ".pt", ".pth")
"""The suffixes of weight files."""


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
    if is_file:
        with loading("target.weights", weights):
            _fill(net.module, Path(weights))
    net.module.eval().requires_grad_(False)
    return Network(net.module, net.transform, net.name, digest_of(net.module))


def digest_of(module: torch.nn.Module) -> str:
    """Hash the names and the values of a module's tensors."""
    import torch

    digest = hashlib.sha256()
    for name, tensor in module.state_dict().items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def is_weights(path: str) -> bool:
    """Return whether a path leads to a file of weights."""
    return Path(path).suffix in FILES and Path(path).is_file()


def _fill(module: torch.nn.Module, path: Path) -> None:
    """Load a state dict from a file into the module. Tensors that the module does not have are ignored."""
    import torch
    from safetensors.torch import load_file

    if not path.is_file():
        raise DnRError(
            f"`target.weights` must be DEFAULT, none, or a file of weights (got {str(path)!r}, which is no file)"
        )
    try:
        read = load_file(path) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise DnRError(
            f"`target.weights` must be a state_dict, as safetensors or saved by torch.save (got {str(path)!r}, a "
            "pickled object that could run code)"
        ) from None
    except Exception as error:  # each kind of wrong file raises its own error
        raise DnRError(
            f"`target.weights` must be a state_dict, as safetensors or saved by torch.save (got {str(path)!r}, which "
            f"cannot be read: {type(error).__name__})"
        ) from None
    for key in ("state_dict", "model"):  # keys under which trainers save the state dict
        read = read[key] if isinstance(read.get(key), Mapping) else read
    read = {key.removeprefix("module."): value for key, value in read.items()}
    own = module.state_dict()
    tower = {key.removeprefix("visual."): value for key, value in read.items() if key.startswith("visual.")}
    if own.keys() <= tower.keys():  # the file contains a whole CLIP
        read = tower
    for key, tensor in own.items():
        if key not in read and not key.endswith("num_batches_tracked"):
            raise DnRError(
                f"`target.weights` must contain {key!r} (got {str(path)!r}, which begins with "
                f"{', '.join(list(read)[:3])})"
            )
        if key in read and read[key].shape != tensor.shape:
            raise DnRError(
                f"`target.weights` must contain {key!r} with the shape {tuple(tensor.shape)} "
                f"(got {tuple(read[key].shape)} in {str(path)!r})"
            )
    module.load_state_dict({key: read[key] for key in own if key in read}, strict=False)


def _torchvision(name: str, weights: str | None) -> Network:
    import torch

    with needed():
        from torchvision import models
    known = models.list_models(module=models)
    if name not in known:
        raise unknown("target.network", f"torchvision:{name}", [f"torchvision:{other}" for other in known])
    kinds = models.get_model_weights(name)
    if weights is not None and weights not in kinds.__members__:
        raise unknown("target.weights", weights, ["none", *kinds.__members__])
    chosen = kinds[weights] if weights is not None else None
    if chosen is not None:
        file = Path(torch.hub.get_dir(), "checkpoints", chosen.url.rpartition("/")[2])
        offline = os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")
        if offline and not file.is_file():
            raise DnRError(
                f"`target.weights` {weights} needs {file.name}, which is not in torch.hub's checkpoints, and "
                "HF_HUB_OFFLINE forbids downloading it"
            )
        # torchvision would unpickle any object, so check first that the file contains only tensors.
        chosen.get_state_dict(progress=False, check_hash=True, weights_only=True)
    # Each set of weights has its own preprocessing: V1 and V2 differ, and SWAG has larger images.
    transform = (chosen or kinds.DEFAULT).transforms()
    return Network(models.get_model(name, weights=chosen), transform, f"torchvision:{name}")


def _timm(name: str, weights: str | None) -> Network:
    with needed():
        import timm
        from timm.data import config as data
    if not timm.is_model(name):
        known = [*timm.list_models(), *timm.list_pretrained()]
        raise unknown("target.network", f"timm:{name}", [f"timm:{other}" for other in known])
    pinned: dict[str, str] = {}
    if weights is not None:
        config: Any = timm.get_pretrained_cfg(name)
        if config is None or not config.has_weights:
            raise DnRError(
                f"`target.weights` must be none or a file, because timm has no weights of {name!r} (got {weights})"
            )
        if config.hf_hub_id:
            source = find("target.network", config.hf_hub_id)
            pinned = {"hf_hub_id": f"{source.id}@{source.commit}"}
    module = timm.create_model(name, pretrained=weights is not None, pretrained_cfg_overlay=pinned)
    resolve: Any = data.resolve_model_data_config
    return Network(module, of_timm(resolve(module)), f"timm:{name}")


def _open_clip(name: str, weights: str | None) -> Network:
    model, tag = (name, "") if Path(name).is_dir() or name.startswith("hf-hub:") else name.partition("/")[::2]
    clip = OpenClip("target.network", model, tag or None)
    tower: Any = clip.build(weights=weights is not None).visual
    # The hash of the tensors covers a folder's content.
    named = f"open_clip:{Path(name).name if Path(name).is_dir() else name}"
    return Network(tower, of_open_clip(tower.preprocess_cfg), named)


def _transformers(name: str, weights: str | None) -> Network:
    model, _, revision = (name, "", "") if Path(name).is_dir() else name.partition("@")
    source = find("target.network", model, revision or None)
    with needed():
        import transformers
    auto: Any = transformers  # the calls of transformers are untyped
    where: dict[str, Any] = {"revision": source.commit, "trust_remote_code": False}
    config = auto.AutoConfig.from_pretrained(source.id, **where)  # loaded first, because its errors are the clearest
    processor = auto.AutoImageProcessor.from_pretrained(source.id, **where)
    if weights is None:
        module = auto.AutoModel.from_config(config)
    else:
        loaded = {"use_safetensors": True, "dtype": "float32", "output_loading_info": True, **where}
        module, report = auto.AutoModel.from_pretrained(source.id, **loaded)
        if report["missing_keys"]:
            absent = ", ".join(sorted(report["missing_keys"])[:5])
            _log.warning("`target.network` %s has no weights for %s, which stay random", name, absent)
    tower = getattr(module, "vision_model", module)  # a model of images and texts has one
    return Network(tower, ProcessorTransform(processor), f"hf:{source.fingerprint}")


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
}
"""The loaders by kind. A loader takes a name and weights: "DEFAULT", a name of torchvision, or None for random."""
