"""Networks by name: torchvision, timm, open_clip, transformers, or a function of the user's own; and their weights."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import logging
import os
import pickle
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from dnr_env.errors import DnRError, unknown
from dnr_env.models.hub import file_digest, find, loading, needed
from dnr_env.models.openclip import OpenClip
from dnr_env.models.preprocess import IMAGENET, OfTransformers, OfUser, Transform, of_open_clip, of_timm

if TYPE_CHECKING:
    import torch

_log = logging.getLogger("dnr_env")

FILES = (".safetensors", ".pt", ".pth")
"""What a file of weights ends in."""


@dataclass(frozen=True)
class Network:
    """A loaded network."""

    module: torch.nn.Module
    transform: Transform
    name: str
    """For the fingerprint; without the place of a file."""
    digest: str = ""
    """Hash of the tensors."""

    @cached_property
    def prefix(self) -> int:
        """Class, distillation and register tokens, by timm's attribute or the usual names of their parameters."""
        for module in self.module.modules():
            if isinstance(count := getattr(module, "num_prefix_tokens", None), int):
                return count
        kinds = ("cls_token", "class_token", "class_embedding", "distillation_token", "dist_token", "register_tokens")
        found = [value for name, value in self.module.named_parameters() if name.rpartition(".")[2] in kinds]
        return sum(1 if value.ndim == 1 else value.shape[-2] for value in found)


def load_network(network: str, weights: str) -> Network:
    """The network "kind:name", in evaluation mode on the CPU; `weights` as `Target` takes them.

    Raises:
        DnRError: there is no such network, or the weights are not its own.
    """
    import torch

    kind, _, name = network.partition(":")
    is_file = Path(weights).suffix in FILES
    with torch.random.fork_rng(devices=[]), needed(), loading("target.network", network):
        torch.default_generator.manual_seed(0)  # the same random weights at every construction
        net = KINDS[kind](name, None if is_file or weights == "none" else weights)
    if is_file:
        with loading("target.weights", weights):
            _fill(net.module, Path(weights))
    net.module.eval().requires_grad_(False)
    return Network(net.module, net.transform, net.name, _digest(net.module))


def _digest(module: torch.nn.Module) -> str:
    import torch

    digest = hashlib.sha256()
    for name, tensor in module.state_dict().items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def is_weights(path: str) -> bool:
    """Whether a path leads to a file of weights."""
    return Path(path).suffix in FILES and Path(path).is_file()


def _fill(module: torch.nn.Module, path: Path) -> None:
    """Loads a file of a state dict into the module; what the module does not have is left out."""
    import torch
    from safetensors.torch import load_file

    if not path.is_file():
        raise DnRError(f"target.weights: {str(path)!r} is not a file; DEFAULT, none, or a file of weights will do")
    try:
        read = load_file(path) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise DnRError(
            f"target.weights: {str(path)!r} is a pickled object, which could run code; its state_dict() alone, as "
            "safetensors or by torch.save, will do"
        ) from None
    except Exception as error:  # as many kinds as there are wrong files
        raise DnRError(
            f"target.weights: {str(path)!r} is no file of weights ({type(error).__name__}); safetensors, or a "
            "state_dict by torch.save, will do"
        ) from None
    for key in ("state_dict", "model"):  # as trainers save
        read = read[key] if isinstance(read.get(key), Mapping) else read
    read = {key.removeprefix("module."): value for key, value in read.items()}
    own = module.state_dict()
    tower = {key.removeprefix("visual."): value for key, value in read.items() if key.startswith("visual.")}
    if own.keys() <= tower.keys():  # of a whole CLIP
        read = tower
    for key, tensor in own.items():
        if key not in read and not key.endswith("num_batches_tracked"):
            raise DnRError(
                f"target.weights: {str(path)!r} lacks {key!r}; it begins with {', '.join(list(read)[:3])}; weights of "
                "this network will do"
            )
        if key in read and read[key].shape != tensor.shape:
            raise DnRError(
                f"target.weights: {key!r} is {tuple(read[key].shape)} in {str(path)!r}, and {tuple(tensor.shape)} "
                "in the network; weights of this network will do"
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
                f"target.weights: {file.name} is not in torch.hub's checkpoints, and HF_HUB_OFFLINE forbids fetching "
                "it; none, or a file of weights, will do"
            )
        # torchvision unpickles the file freely; this sees first that it holds nothing but tensors.
        chosen.get_state_dict(progress=False, check_hash=True, weights_only=True)
    # Weights come with a preprocessing of their own: that of V1 differs from that of V2, and SWAG's are larger.
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
            raise DnRError(f"target.weights: timm has none for {name!r}; none, or a file of weights, will do")
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
    # A folder's content is in the tensors' hash.
    named = f"open_clip:{Path(name).name if Path(name).is_dir() else name}"
    return Network(tower, of_open_clip(tower.preprocess_cfg), named)


def _transformers(name: str, weights: str | None) -> Network:
    model, _, revision = (name, "", "") if Path(name).is_dir() else name.partition("@")
    source = find("target.network", model, revision or None)
    with needed():
        import transformers
    auto: Any = transformers  # its calls are untyped
    where: dict[str, Any] = {"revision": source.commit, "trust_remote_code": False}
    config = auto.AutoConfig.from_pretrained(source.id, **where)  # first: its errors say what is wrong
    processor = auto.AutoImageProcessor.from_pretrained(source.id, **where)
    if weights is None:
        module = auto.AutoModel.from_config(config)
    else:
        loaded = {"use_safetensors": True, "dtype": "float32", "output_loading_info": True, **where}
        module, report = auto.AutoModel.from_pretrained(source.id, **loaded)
        if report["missing_keys"]:
            absent = ", ".join(sorted(report["missing_keys"])[:5])
            _log.warning("target.network: %s is not in the weights of %s and stays random", absent, name)
    tower = getattr(module, "vision_model", module)  # of a model of images and texts
    return Network(tower, OfTransformers(processor), f"hf:{source.fingerprint}")


def _python(name: str, weights: str | None) -> Network:
    import torch

    place, _, function = name.rpartition(":")
    if not place or not function:
        raise DnRError(f"target.network: 'python:{name}' names no function; python:path/file.py:factory will do")
    folder = str(Path(place).resolve().parent if place.endswith(".py") else Path.cwd())
    if folder not in sys.path:
        sys.path.append(folder)  # for what the user's code imports from beside it, now or in a forward pass
    module = _imported(place)
    factory = getattr(module, function, None)
    if not callable(factory):
        raise unknown("target.network", function, [key for key, value in vars(module).items() if callable(value)])
    with _users_imports(place):
        made = factory()
    network, transform = made if isinstance(made, tuple) and len(made) == 2 else (made, None)
    if not isinstance(network, torch.nn.Module):
        raise DnRError(
            f"target.network: {function!r} returns {type(network).__name__}; a torch.nn.Module, or one and a "
            "transform, will do"
        )
    named = f"python:{function}@{_code_digest(module, network)}"
    return Network(network, IMAGENET if transform is None else OfUser(transform), named)


def _code_digest(start: ModuleType, network: torch.nn.Module) -> str:
    """Hash of the user's code: the files of factory and classes, and what they import beside them."""
    top = sys.modules.get(start.__name__.partition(".")[0], start)
    root = Path(top.__file__ or ".").resolve().parent
    todo: list[object] = [start, *(sys.modules.get(type(part).__module__) for part in network.modules())]
    files: set[Path] = set()
    while todo:
        module = todo.pop()
        path = Path(getattr(module, "__file__", None) or "/").resolve()
        if path in files or not path.is_file() or not path.is_relative_to(root):
            continue
        files.add(path)
        for value in list(vars(module).values()):
            source = getattr(value, "__module__", None)
            todo.append(sys.modules.get(source) if isinstance(source, str) else value)
    contents = sorted(file_digest(path) for path in files)  # and not their names: a file may be moved
    return hashlib.sha256(b"".join(contents)).hexdigest()[:32]


@contextmanager
def _users_imports(place: str) -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        raise DnRError(
            f"target.network: {place!r} cannot be imported; {error}; a module on the path, or path/file.py, will do"
        ) from error


def _imported(place: str) -> Any:
    if not place.endswith(".py"):
        with _users_imports(place):
            return importlib.import_module(place)
    path = Path(place)
    spec = importlib.util.spec_from_file_location(f"dnr_user_{path.stem}", path) if path.is_file() else None
    if spec is None or spec.loader is None:
        raise DnRError(f"target.network: {place!r} is not a file; python:path/file.py:factory will do")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses of the file look it up
    with _users_imports(place):
        spec.loader.exec_module(module)
    return module


KINDS: dict[str, Callable[[str, str | None], Network]] = {
    "torchvision": _torchvision,
    "timm": _timm,
    "open_clip": _open_clip,
    "hf": _transformers,
    "python": _python,
}
"""A network by its name and its weights: None for random ones, "DEFAULT", or a name of torchvision's."""
