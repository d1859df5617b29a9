"""Where the weights of a network by name come from, and how much of them would be downloaded. Nothing is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from dnr_env.errors import DnRError, unknown
from dnr_env.extras import needed
from dnr_env.models.checkpoint import checkpoint, download_size
from dnr_env.models.examples import example_weights
from dnr_env.models.hub import Source, find, loading
from dnr_env.models.openclip import OpenClip
from dnr_env.models.snapshot import NETWORK, TIMM, Selection, lacking, snapshot, unweighted


class Presence(NamedTuple):
    """How much of a model is on this machine."""

    text: str
    """For people to read."""
    download: int = 0
    """The bytes that loading would download."""

    def beside(self, other: Presence) -> Presence:
        """Both together."""
        return Presence(f"{self.text}; {other.text}", self.download + other.download)


def of_source(source: Source, selection: Selection) -> Presence:
    """Find how much of a folder or of a hub model is there. The hub is asked only for what is not in its cache.

    Raises:
        DnRError: something is missing, and the hub cannot be reached or does not have it.
    """
    if source.commit is None:
        return Presence(f"{source.id}, a folder")
    named = f"{source.id}, commit {source.commit[:12]}"
    missing = {} if selection.there(snapshot(source)) else lacking(source, selection)
    return _outlook(named, "the hub's cache", sum(missing.values()) if missing else None)


def of_network(network: str, weights: str) -> Presence:
    """Find how much of a network is there.

    Raises:
        DnRError: there is no such network, or its weights are missing and cannot be downloaded.
    """
    with needed(), loading("target.network", network):
        return _of_network(network, None if weights == "none" else weights)


def _of_network(network: str, weights: str | None) -> Presence:
    kind, _, name = network.partition(":")
    if kind == "hf":
        source = transformers_source(name)
        return of_source(source, NETWORK if weights else unweighted(NETWORK))
    if weights is None or kind == "python":
        return Presence(f"{network}, without weights to download")
    if kind == "torchvision":
        return _of_address(network, f"`target.weights` {weights}", torchvision_weights(name, weights)[1].url)
    if kind == "example":
        return Presence(f"{network}, {example_weights(name).name} in its package")
    if kind == "timm":
        config = timm_weights(name)
        if config.hf_hub_id:
            return of_source(timm_source(name, config), TIMM)
        return _of_address(network, f"`target.network` {network!r}", config.url)
    files = open_clip_tower(name).files
    return of_source(*files) if files else Presence(f"{network}, a file")


def torchvision_weights(name: str, weights: str | None) -> tuple[Any, Any]:
    """The enumeration of a torchvision model's weights, and the ones chosen.

    Raises:
        DnRError: there is no such model, or it has no such weights.
    """
    with needed():
        from torchvision import models
    known = models.list_models(module=models)
    if name not in known:
        raise unknown("target.network", f"torchvision:{name}", [f"torchvision:{other}" for other in known])
    kinds = models.get_model_weights(name)
    if weights is not None and weights not in kinds.__members__:
        raise unknown("target.weights", weights, ["none", *kinds.__members__])
    return kinds, kinds[weights] if weights is not None else None


def timm_weights(name: str) -> Any:
    """The pretrained configuration of a timm model.

    Raises:
        DnRError: timm has no such model, or no weights of it.
    """
    with needed():
        import timm
    check_timm(name)
    config: Any = timm.get_pretrained_cfg(name)
    if config is None or not config.has_weights:
        raise DnRError(
            f"`target.weights` must be none or a file, because timm has no weights of {name!r} (got DEFAULT)"
        )
    return config


def check_timm(name: str) -> None:
    """Raise DnRError if timm has no model of this name."""
    import timm

    if not timm.is_model(name):
        known = [*timm.list_models(), *timm.list_pretrained()]
        raise unknown("target.network", f"timm:{name}", [f"timm:{other}" for other in known])


def timm_source(name: str, config: Any) -> Source:
    """The repository of a timm model's weights."""
    return find("target.network", config.hf_hub_id, None, f"timm:{name}")


def transformers_source(name: str) -> Source:
    """The folder or repository of a model of transformers, optionally with "@revision"."""
    model, _, revision = (name, "", "") if Path(name).is_dir() else name.partition("@")
    return find("target.network", model, revision or None, f"hf:{name}")


def open_clip_tower(name: str) -> OpenClip:
    """The model of open_clip that "NAME/TAG", a folder or a repository stands for."""
    model, tag = (name, "") if Path(name).is_dir() or name.startswith("hf-hub:") else name.partition("/")[::2]
    return OpenClip("target.network", model, tag or None)


def _of_address(named: str, setting: str, url: str) -> Presence:
    file = checkpoint(url)
    size = None if file.is_file() else download_size(setting, url)
    return _outlook(f"{named}, {file.name}", "torch.hub's checkpoints", size)


def _outlook(named: str, cache: str, missing: int | None) -> Presence:
    if missing is None:
        return Presence(f"{named}, in {cache}")
    return Presence(f"{named}, not in {cache}: {amount(missing)} would be downloaded", missing)


def amount(size: int) -> str:
    """Bytes for people to read."""
    return f"{size / 1e9:,.2f} GB" if size >= 1e9 else f"{size / 1e6:,.1f} MB"
