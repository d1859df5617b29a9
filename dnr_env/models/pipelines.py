"""Pipelines of diffusers, loaded from safetensors only and shared by equal requests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakValueDictionary

from dnr_env.errors import unknown
from dnr_env.extras import needed
from dnr_env.models.hub import Source, check_complete, fetching, loading
from dnr_env.models.snapshot import DECODER, Pipeline, folder_of

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


def selection_of(decoder: Source | None) -> Pipeline:
    """Which parts of a pipeline are loaded. Its own decoder is not if there is another one."""
    return Pipeline(("safety_checker", "vae") if decoder else ("safety_checker",))


def scheduler_class(name: str, option: str = "generator.scheduler") -> Any:
    """Return the scheduler class of diffusers with that name.

    Raises:
        DnRError: diffusers has no such scheduler.
    """
    with needed():
        import diffusers

    known = [kind for kind in dir(diffusers) if kind.endswith("Scheduler")]
    if name not in known:
        raise unknown(option, name, known)
    return getattr(diffusers, name)


def _load(spec: PipelineSpec) -> Any:
    with needed():
        from diffusers import AutoencoderTiny, AutoPipelineForText2Image

    model = folder_of(spec.source, selection_of(spec.decoder))
    safe = {"use_safetensors": True, "dtype": spec.dtype}  # other weight files are pickles
    told = {**safe, "output_loading_info": True}
    parts: dict[str, Any] = {}
    if spec.decoder:
        decoder = folder_of(spec.decoder, DECODER)
        with fetching(spec.decoder.setting):
            parts["vae"], report = AutoencoderTiny.from_pretrained(decoder, **told)
            check_complete(spec.decoder.setting, report)
    with fetching(spec.source.setting):
        config = AutoPipelineForText2Image.load_config(model)
        if "safety_checker" in config:
            parts |= {"safety_checker": None, "requires_safety_checker": False}
        # The pipeline would load its networks itself, but not tell which of their weights are missing.
        for name, kind in _networks(config).items():
            if name not in parts:
                parts[name], report = kind.from_pretrained(model, subfolder=name, **told)
                check_complete(f"{spec.source.setting}, {name},", report)
        pipeline = AutoPipelineForText2Image.from_pretrained(model, **safe, **parts)
    if spec.scheduler is not None:
        with loading("generator.scheduler", spec.scheduler):
            pipeline.scheduler = scheduler_class(spec.scheduler).from_config(pipeline.scheduler.config)
    with fetching(spec.source.setting):
        pipeline.to(spec.device)
    pipeline.set_progress_bar_config(disable=True)
    if hasattr(pipeline, "watermark"):
        pipeline.watermark = None  # SDXL's watermark would change pixels if a further package is installed
    _speed_up(pipeline, spec)
    return pipeline


def _networks(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the classes of a pipeline's networks by their names, from its configuration."""
    import diffusers
    import transformers

    found = {}
    for name, value in config.items():
        library, kind = value if isinstance(value, list | tuple) and len(value) == 2 else (None, None)
        base = {"diffusers": diffusers.ModelMixin, "transformers": transformers.PreTrainedModel}.get(str(library))
        made = getattr(diffusers if library == "diffusers" else transformers, str(kind), None) if base else None
        if base and isinstance(made, type) and issubclass(made, base):
            found[name] = made
    return found


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
