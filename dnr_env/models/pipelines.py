"""Pipelines of diffusers, loaded from safetensors alone and shared by all who want the same one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakValueDictionary

from dnr_env.errors import unknown
from dnr_env.models.hub import Source, loading, needed

if TYPE_CHECKING:
    import torch


class Wanted(NamedTuple):
    """What a pipeline is made of; as `DiffusionGenerator` takes it."""

    source: Source
    decoder: Source | None
    scheduler: str | None
    device: torch.device
    dtype: torch.dtype
    compile: bool


_LOADED: WeakValueDictionary[Wanted, Any] = WeakValueDictionary()


def shared_pipeline(wanted: Wanted) -> Any:
    """The pipeline, which is loaded where nobody has it: a judge with a template of its own needs no second one.

    Raises:
        DnRError: it cannot be loaded.
    """
    pipeline = _LOADED.get(wanted)
    if pipeline is None:
        pipeline = _LOADED[wanted] = _load(wanted)
    return pipeline


def scheduler_class(name: str) -> Any:
    """The scheduler of diffusers of that name.

    Raises:
        DnRError: there is none.
    """
    with needed():
        import diffusers

    known = [kind for kind in dir(diffusers) if kind.endswith("Scheduler")]
    if name not in known:
        raise unknown("generator.scheduler", name, known)
    return getattr(diffusers, name)


def _load(wanted: Wanted) -> Any:
    with needed():
        from diffusers import AutoencoderTiny, AutoPipelineForText2Image

    model, commit = wanted.source.id, wanted.source.commit
    safe = {"use_safetensors": True, "dtype": wanted.dtype}  # anything but safetensors is a pickle
    parts: dict[str, Any] = {}
    if wanted.decoder:
        with loading("generator.tiny_vae", wanted.decoder.id):
            parts["vae"] = AutoencoderTiny.from_pretrained(wanted.decoder.id, revision=wanted.decoder.commit, **safe)
    with loading("generator.model", model):
        if "safety_checker" in AutoPipelineForText2Image.load_config(model, revision=commit):
            parts |= {"safety_checker": None, "requires_safety_checker": False}
        pipeline = AutoPipelineForText2Image.from_pretrained(model, revision=commit, **safe, **parts)
        if wanted.scheduler is not None:
            pipeline.scheduler = scheduler_class(wanted.scheduler).from_config(pipeline.scheduler.config)
        pipeline.to(wanted.device)
    pipeline.set_progress_bar_config(disable=True)
    if hasattr(pipeline, "watermark"):
        pipeline.watermark = None  # SDXL's, which changes pixels where one more package is installed
    _speed_up(pipeline, wanted)
    return pipeline


def _speed_up(pipeline: Any, wanted: Wanted) -> None:
    import torch

    unet, vae = getattr(pipeline, "unet", None), getattr(pipeline, "vae", None)
    denoiser = unet or getattr(pipeline, "transformer", None)
    if wanted.device.type == "cuda":
        for part in (unet, vae):
            if part is not None:
                part.to(memory_format=torch.channels_last)
    if wanted.compile:
        if denoiser is not None:
            denoiser.compile(dynamic=False)
        if vae is not None:
            vae.decode = torch.compile(vae.decode, dynamic=False)
