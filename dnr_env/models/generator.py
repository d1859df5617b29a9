"""Images of concepts by any checkpoint that `AutoPipelineForText2Image` of diffusers loads."""

from __future__ import annotations

import hashlib
import inspect
import json
import warnings
from collections import OrderedDict
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from dnr_env.errors import DnRError, ItemError
from dnr_env.extras import needed
from dnr_env.models.device import FixedBatches, device_of, dtype_of
from dnr_env.models.hub import find, running
from dnr_env.models.pipelines import PipelineSpec, scheduler_class, shared_pipeline
from dnr_env.types import BoolArray, ImageArray

if TYPE_CHECKING:
    import torch

Job = tuple[str, int]
"""The prompt and the seed of an image."""

_REDRAWS = 3
_DARKEST = 8
"""An image is black if its brightest value is below this. A safety checker or NaN in the decoder can cause it."""
_TEXTS = 256
"""Number of prompts whose embeddings stay on the device: 40 MB for SD-Turbo in bfloat16, 80 MB with guidance."""
_EMBEDDINGS = {
    "StableDiffusionPipeline": ("prompt_embeds", "negative_prompt_embeds"),
    "StableDiffusionXLPipeline": (
        "prompt_embeds",
        "negative_prompt_embeds",
        "pooled_prompt_embeds",
        "negative_pooled_prompt_embeds",
    ),
}
"""The results of `encode_prompt` as arguments of the call, by pipeline. Other pipelines receive the prompt itself."""


class PromptCut(UserWarning):
    """A prompt is longer than the text encoder reads."""


class DiffusionGenerator:
    """Draws images of "a photo of CONCEPT" by a diffusion model, which is loaded at the first call.

    An image is a function of its prompt, its seed and the fingerprint: its noise comes from a CPU generator of its own,
    and all batches have one shape. Another shape, device or library version can change the last bits, which
    occasionally changes what a float16 or bfloat16 model draws.

    Args:
        model: a folder in diffusers' format, or a hub id such as "stabilityai/sd-turbo".
        revision: branch, tag or commit of the hub id.
        template: the prompt, in which the concept replaces the one {}.
        negative_prompt: the negative prompt of the guidance.
        steps: denoising steps.
        guidance: the guidance scale. Values up to 1 turn guidance off, which halves the work.
        size: height and width in pixels, a multiple of 8.
        scheduler: the class name of a diffusers scheduler that replaces the checkpoint's own.
        device: auto, cpu, cuda, cuda:1, …
        dtype: auto, float32, float16 or bfloat16; auto is bfloat16 on a GPU, else float32.
        batch: images per forward pass. It is halved when the device runs out of memory.
        compile: whether to compile denoiser and decoder, which takes minutes once and is faster afterwards.
        tiny_vae: folder or hub id of an AutoencoderTiny such as "madebyollin/taesd", which replaces the checkpoint's
            own decoder. It draws slightly different pixels and costs a twentieth.
        tiny_vae_revision: branch, tag or commit of the AutoencoderTiny.
        option: the section of the configuration that these settings stand in, for error messages.

    Raises:
        DnRError: an option is invalid, or the model does not exist.
    """

    keeps_images = True
    fingerprint: str
    replaced: int
    """Number of images so far that were black or constant and were drawn again."""
    cut: dict[str, str]
    """The prompts so far that were too long, each with the part that the text encoder does not see."""

    def __init__(
        self,
        model: str,
        *,
        revision: str | None = None,
        template: str = "a photo of {}",
        negative_prompt: str = "",
        steps: int = 1,
        guidance: float = 0.0,
        size: int = 512,
        scheduler: str | None = None,
        device: str = "auto",
        dtype: str = "auto",
        batch: int = 8,
        compile: bool = False,
        tiny_vae: str | None = None,
        tiny_vae_revision: str | None = None,
        option: str = "generator",
    ) -> None:
        if template.count("{}") != 1:
            raise DnRError(
                f"`{option}.template` must contain one {{}} for the concept, like 'a photo of {{}}' (got {template!r})"
            )
        if steps < 1:
            raise DnRError(f"`{option}.steps` must be at least 1 (got {steps})")
        if size < 8 or size % 8:
            near = max(8, round(size / 8) * 8)
            raise DnRError(f"`{option}.size` must be a multiple of 8, such as {near} (got {size})")
        with needed():
            self.device = device_of(device)
            self.dtype = dtype_of(f"{option}.dtype", dtype, self.device)
        self.template, self.negative_prompt = template, negative_prompt
        self.steps, self.guidance, self.size = steps, guidance, size
        self.option, self.scheduler = option, scheduler
        if scheduler is not None:
            scheduler_class(scheduler, f"{option}.scheduler")
        self.compile = compile
        self.source = find(f"{option}.model", model, revision)
        self.decoder = None if tiny_vae is None else find(f"{option}.tiny_vae", tiny_vae, tiny_vae_revision)
        self.fingerprint = "diffusion-1 " + json.dumps(
            {
                "model": self.source.fingerprint,
                "decoder": self.decoder and self.decoder.fingerprint,
                "template": template,
                "negative_prompt": negative_prompt,
                "steps": int(steps),
                "guidance": float(guidance),
                "size": int(size),
                "scheduler": scheduler,
                "dtype": str(self.dtype).removeprefix("torch."),
            }
        )
        self.replaced = 0
        self.cut = {}
        self._batches = FixedBatches(f"{option}.batch", batch)
        self._texts: OrderedDict[str, tuple[torch.Tensor, ...]] = OrderedDict()

    def generate(self, concepts: Sequence[str], seeds: Sequence[int]) -> ImageArray:
        """Draw image `seeds[i]` of `concepts[i]`, for each i: (n, size, size, 3) uint8.

        A black or constant image is drawn again with seeds that are derived from its prompt and its own seed.

        Raises:
            DnRError: the model cannot be loaded, or an image stays black.
        """
        # Not str.format, because a concept may contain braces.
        prompts = [self.template.replace("{}", concept) for concept in concepts]
        for prompt in dict.fromkeys(prompts):
            self._check_length(prompt)
        images = np.zeros((len(prompts), self.size, self.size, 3), np.uint8)
        wanted = list(zip(prompts, map(int, seeds), strict=True))
        blank = np.arange(len(wanted))
        for attempt in range(1 + _REDRAWS):
            jobs = [(wanted[i][0], _derived(*wanted[i], attempt)) for i in blank]
            for i, image in zip(blank, self._batches.map(jobs, self._draw), strict=True):
                images[i] = image
            blank = blank[_blank(images[blank])]
            if not len(blank):
                return images
            self.replaced += len(blank) if attempt == 0 else 0
        prompt, seed = wanted[blank[0]]
        raise ItemError(
            f"{self.source.setting} draws image {seed} of {prompt!r} black or constant in {1 + _REDRAWS} attempts; set "
            "dtype to float32, or name another model"
        )

    def _draw(self, jobs: Sequence[Job]) -> list[ImageArray]:
        """Draw the images of one forward pass."""
        import torch

        prompts, seeds = zip(*jobs, strict=True)
        arguments = {
            **(self._embedded(prompts) if self._names else self._plain(prompts)),
            # With one generator per image, an image is the same alone and in a batch. diffusers treats a list of one
            # as a single generator, which draws the same image.
            "generator": [torch.Generator("cpu").manual_seed(seed) for seed in seeds],
            "num_inference_steps": self.steps,
            "guidance_scale": self.guidance,
            "height": self.size,
            "width": self.size,
            "output_type": "pt",
        }
        accepted = {name: value for name, value in arguments.items() if name in self._accepted}
        with torch.no_grad():
            with running(self.source.setting):
                pixels = self._pipeline(**accepted).images
            if len(pixels) != len(jobs):
                raise DnRError(
                    f"{self.source.setting} must draw {len(jobs)} images for as many prompts (got {len(pixels)})"
                )
            if tuple(pixels.shape[-2:]) != (self.size, self.size):
                raise DnRError(
                    f"`{self.option}.size` must be a multiple of {self._multiple(pixels.shape[-1])} for "
                    f"{self.source.id!r} (got {self.size}, for which it draws {pixels.shape[-1]})"
                )
            broken = ~pixels.isfinite().flatten(1).all(dim=1)
            pixels[broken] = 0
            rounded = (pixels.float() * 255).round().to(torch.uint8)
        return list(rounded.permute(0, 2, 3, 1).contiguous().cpu().numpy())

    def _plain(self, prompts: Sequence[str]) -> dict[str, Any]:
        arguments: dict[str, Any] = {"prompt": list(prompts)}
        if self.guidance > 1 and self.negative_prompt:
            arguments["negative_prompt"] = [self.negative_prompt] * len(prompts)
        return arguments

    def _embedded(self, prompts: Sequence[str]) -> dict[str, torch.Tensor]:
        """Return the embeddings of prompts. Each is computed once, because a concept is drawn with many seeds."""
        import torch

        missing = [prompt for prompt in dict.fromkeys(prompts) if prompt not in self._texts]
        if missing:
            # The batch is filled up, so that embeddings do not depend on which prompts are new.
            encoded = self._encode(missing + missing[-1:] * (len(prompts) - len(missing)))
            self._texts.update(zip(missing, encoded, strict=False))
        for prompt in prompts:
            self._texts.move_to_end(prompt)
        columns = zip(*(self._texts[prompt] for prompt in prompts), strict=True)
        names = [name for name in self._names if self._guided or not name.startswith("negative")]
        while len(self._texts) > _TEXTS:
            self._texts.popitem(last=False)
        return {name: torch.stack(column) for name, column in zip(names, columns, strict=True)}

    def _encode(self, prompts: list[str]) -> list[tuple[torch.Tensor, ...]]:
        """Return each prompt's embeddings in the order of `_EMBEDDINGS`. Without guidance, only positive ones."""
        import torch

        # SDXL distinguishes no negative prompt, whose embeddings are zeros, from an empty one.
        negative = [self.negative_prompt] * len(prompts) if self._guided and self.negative_prompt else None
        with torch.no_grad(), running(self.source.setting):
            columns = self._pipeline.encode_prompt(
                prompt=prompts,
                device=self.device,
                num_images_per_prompt=1,
                do_classifier_free_guidance=self._guided,
                negative_prompt=negative,
            )
        # Rows are copied, because a view would keep the whole batch in memory.
        rows = zip(*(column for column in columns if column is not None), strict=True)
        return [tuple(tensor.clone() for tensor in row) for row in rows]

    def _check_length(self, prompt: str) -> None:
        """Warn once if no text encoder of the pipeline reads the whole prompt."""
        if prompt in self.cut:
            return
        ends = []
        for name in ("tokenizer", "tokenizer_2", "tokenizer_3"):
            tokenizer = getattr(self._pipeline, name, None)
            if tokenizer is not None:
                tokens, limit = tokenizer(prompt, verbose=False)["input_ids"], tokenizer.model_max_length
                ends.append(tokenizer.decode(tokens[limit - 1 : -1]) if len(tokens) > limit else "")
        if ends and all(ends):
            self.cut[prompt] = end = min(ends, key=len).strip()
            warnings.warn(f"the prompt {prompt!r} is too long: the generator does not see {end!r}", PromptCut, 3)

    def _multiple(self, drawn: int) -> int:
        """The least multiple of the decoder's scale to which the pipeline can have rounded the size."""
        scale = int(getattr(self._pipeline, "vae_scale_factor", 8))
        fits = (step for step in range(scale, self.size + 1, scale) if self.size // step * step == drawn)
        return next(fits, drawn)

    @property
    def _names(self) -> tuple[str, ...]:
        """The arguments that take embeddings. It is empty if the pipeline takes the prompt itself."""
        return _EMBEDDINGS.get(type(self._pipeline).__name__, ())

    @property
    def _guided(self) -> bool:
        # A distilled UNet takes the guidance scale as an input and needs no negative prompt.
        return self.guidance > 1 and self._pipeline.unet.config.time_cond_proj_dim is None

    @cached_property
    def _accepted(self) -> frozenset[str]:
        return frozenset(inspect.signature(self._pipeline.__call__).parameters)

    @cached_property
    def _pipeline(self) -> Any:
        return shared_pipeline(
            PipelineSpec(self.source, self.decoder, self.scheduler, self.device, self.dtype, self.compile)
        )


def _derived(prompt: str, seed: int, attempt: int) -> int:
    """Return the seed of an attempt. The first attempt has the seed of the image itself."""
    if attempt == 0:
        return seed
    digest = hashlib.sha256(json.dumps([prompt, seed, attempt]).encode()).digest()
    return int.from_bytes(digest[:4], "big")


def _blank(images: ImageArray) -> BoolArray:
    """Return (n,) which of the images (n, height, width, 3) are black or constant."""
    darkest, brightest = images.min(axis=(1, 2, 3)), images.max(axis=(1, 2, 3))
    blank: BoolArray = (darkest == brightest) | (brightest < _DARKEST)
    return blank
