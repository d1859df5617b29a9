"""Pipelines of diffusers, loaded from safetensors only and shared by equal requests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakValueDictionary

from dnr_env.errors import unknown
from dnr_env.extras import needed
from dnr_env.models.hub import Source, loading

if TYPE_CHECKING:
    import torch


class PipelineSpec(NamedTuple):
    """Everything that a pipeline depends on, as `DiffusionGenerator` describes it."""

    source: Source
    decoder: Source | None
    scheduler: str | None
    device: torch.device
    dtype: torch.dtype
    compile: bool


_LOADED: WeakValueDictionary[PipelineSpec, Any] = WeakValueDictionary()


def shared_pipeline(spec: PipelineSpec) -> Any:
    """Return the pipeline, and load it only if no one holds it. A judge that differs by its template needs no second.

    Raises:
        DnRError: the pipeline cannot be loaded.
    """
    pipeline = _LOADED.get(spec)
    if pipeline is None:
        pipeline = _LOADED[spec] = _load(spec)
    return pipeline


def scheduler_class(name: str) -> Any:
    """Return the scheduler class of diffusers with that name.

    Raises:
        DnRError: diffusers has no such scheduler.
    """
    with needed():
        import diffusers

    known = [kind for kind in dir(diffusers) if kind.endswith("Scheduler")]
    if name not in known:
        raise unknown("generator.scheduler", name, known)
    return getattr(diffusers, name)


def _load(spec: PipelineSpec) -> Any:
    with needed():
        from diffusers import AutoencoderTiny, AutoPipelineForText2Image

    model, commit = spec.source.id, spec.source.commit
    safe = {"use_safetensors": True, "dtype": spec.dtype}  # other weight files are pickles
    parts: dict[str, Any] = {}
    if spec.decoder:
        with loading("generator.tiny_vae", spec.decoder.id):
            parts["vae"] = AutoencoderTiny.from_pretrained(spec.decoder.id, revision=spec.decoder.commit, **safe)
    with loading("generator.model", model):
        if "safety_checker" in AutoPipelineForText2Image.load_config(model, revision=commit):
            parts |= {"safety_checker": None, "requires_safety_checker": False}
        pipeline = AutoPipelineForText2Image.from_pretrained(model, revision=commit, **safe, **parts)
        if spec.scheduler is not None:
            pipeline.scheduler = scheduler_class(spec.scheduler).from_config(pipeline.scheduler.config)
        pipeline.to(spec.device)
    pipeline.set_progress_bar_config(disable=True)
    if hasattr(pipeline, "watermark"):
        pipeline.watermark = None  # SDXL's watermark would change pixels if a further package is installed
    _speed_up(pipeline, spec)
    return pipeline


def _speed_up(pipeline: Any, spec: PipelineSpec) -> None:
    import torch

    unet, vae = getattr(pipeline, "unet", None), getattr(pipeline, "vae", None)
    denoiser = unet or getattr(pipeline, "transformer", None)
    if spec.device.type == "cuda":
        for part in (unet, vae):
            if part is not None:
                part.to(memory_format=torch.channels_last)
    if spec.compile:
        if denoiser is not None:
            denoiser.compile(dynamic=False)
        if vae is not None:
            vae.decode = torch.compile(vae.decode, dynamic=False)
