"""Text to image by a diffusion model: any checkpoint that diffusers' `AutoPipelineForText2Image` loads."""

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

from dnr_env.errors import DnRError
from dnr_env.models.hub import FixedBatches, device_of, dtype_of, find, needed
from dnr_env.models.pipelines import Wanted, scheduler_class, shared_pipeline
from dnr_env.types import BoolArray, ImageArray

if TYPE_CHECKING:
    import torch

Job = tuple[str, int]
"""A prompt and a seed."""

_REDRAWS = 3
_DARKEST = 8
"""An image whose brightest value is below this is black: the safety checker of a fork, or NaN in the decoder."""
_TEXTS = 256
"""Prompts whose embeddings are kept on the device: 40 MB for SD-Turbo in bfloat16, twice that with guidance."""
_EMBEDDINGS = {
    "StableDiffusionPipeline": ("prompt_embeds", "negative_prompt_embeds"),
    "StableDiffusionXLPipeline": (
        "prompt_embeds",
        "negative_prompt_embeds",
        "pooled_prompt_embeds",
        "negative_pooled_prompt_embeds",
    ),
}
"""What `encode_prompt` returns, by pipeline, as arguments of its call. Other pipelines get the prompt itself."""


class PromptCut(UserWarning):
    """A prompt is longer than the text encoder reads."""


class DiffusionGenerator:
    """Images of "a photo of CONCEPT", by a diffusion model that is loaded with the first of them.

    An image is a function of its prompt, its seed and the fingerprint: its noise comes from a CPU generator of its own,
    and batches have one shape. Another shape, device or library version can change its last bits, and with these, now
    and then, what a float16 or bfloat16 model draws.

    Args:
        model: a folder in diffusers' format, or a hub id such as "stabilityai/sd-turbo".
        revision: branch, tag or commit of the hub id.
        template: text around a concept, which takes the place of its one {}.
        negative_prompt: what guidance leads away from.
        steps: denoising steps.
        guidance: guidance scale; up to 1 there is no negative branch, which halves the work.
        size: height and width in pixels, a multiple of 8.
        scheduler: class name of a diffusers scheduler in place of the checkpoint's own.
        device: auto, cpu, cuda, cuda:1, …
        dtype: auto, float32, float16 or bfloat16; auto is bfloat16 on a GPU, else float32.
        batch: images of a forward pass, halved where the device's memory runs out.
        compile: torch.compile the denoiser and the decoder: minutes at the first image, faster ones after that.
        tiny_vae: folder or hub id of an AutoencoderTiny, such as "madebyollin/taesd", that decodes in place of the
            checkpoint's own decoder. It draws slightly different pixels and costs a twentieth.
        tiny_vae_revision: its branch, tag or commit.

    Raises:
        DnRError: an option cannot be used, or there is no such model.
    """

    keeps_images = True
    fingerprint: str
    replaced: int
    """Images so far that came out black or constant and were drawn again."""
    cut: dict[str, str]
    """The prompts so far that are too long, each with the end that the text encoder does not see."""

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
    ) -> None:
        if template.count("{}") != 1:
            raise DnRError(
                f"generator.template: {template!r} needs one {{}} for the concept; 'a photo of {{}}' will do"
            )
        if steps < 1:
            raise DnRError(f"generator.steps: {steps} is too few; 1 or more will do")
        if size < 8 or size % 8:
            raise DnRError(f"generator.size: {size} is not a multiple of 8; {max(8, round(size / 8) * 8)} will do")
        with needed():
            self.device = device_of(device)
            self.dtype = dtype_of("generator.dtype", dtype, self.device)
        self.template, self.negative_prompt = template, negative_prompt
        self.steps, self.guidance, self.size = steps, guidance, size
        self.scheduler = scheduler
        if scheduler is not None:
            scheduler_class(scheduler)
        self.compile = compile
        self.source = find("generator.model", model, revision)
        self.decoder = None if tiny_vae is None else find("generator.tiny_vae", tiny_vae, tiny_vae_revision)
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
        self._batches = FixedBatches("generator.batch", batch)
        self._texts: OrderedDict[str, tuple[torch.Tensor, ...]] = OrderedDict()

    def generate(self, concepts: Sequence[str], seeds: Sequence[int]) -> ImageArray:
        """Image `seeds[i]` of `concepts[i]`: (n, size, size, 3) uint8.

        A black or constant image is drawn again with seeds that follow from its prompt and its own seed.

        Raises:
            DnRError: the model cannot be loaded, or an image stays black.
        """
        prompts = [self.template.replace("{}", concept) for concept in concepts]  # braces of a concept stay as they are
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
        raise DnRError(
            f"generator.model: image {seed} of {prompt!r} is black or constant in {1 + _REDRAWS} draws; "
            "dtype float32 will do, or another model"
        )

    def _draw(self, jobs: Sequence[Job]) -> list[ImageArray]:
        """One forward pass."""
        import torch

        prompts, seeds = zip(*jobs, strict=True)
        arguments = {
            **(self._embedded(prompts) if self._names else self._plain(prompts)),
            # A generator is used up by its image. Only as a list, one an image, do they make an image the same alone
            # and in a batch. diffusers takes a list of one for a single generator, which draws the same.
            "generator": [torch.Generator("cpu").manual_seed(seed) for seed in seeds],
            "num_inference_steps": self.steps,
            "guidance_scale": self.guidance,
            "height": self.size,
            "width": self.size,
            "output_type": "pt",
        }
        with torch.no_grad():
            pixels = self._pipeline(**{k: v for k, v in arguments.items() if k in self._accepted}).images
            if len(pixels) != len(jobs):
                raise DnRError(
                    f"generator.model: {self.source.id!r} gives {len(pixels)} images for {len(jobs)} prompts; another "
                    "model will do"
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
        """The embeddings of prompts, each computed once: a concept is drawn with many seeds."""
        import torch

        missing = [prompt for prompt in dict.fromkeys(prompts) if prompt not in self._texts]
        if missing:
            # Filled up to the batch's shape, so that embeddings do not depend on what else was asked for.
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
        """For each prompt its embeddings, in the order of `_EMBEDDINGS`; without guidance only the positive ones."""
        import torch

        # For SDXL no negative prompt is not an empty one: its embeddings are zeros then.
        negative = [self.negative_prompt] * len(prompts) if self._guided and self.negative_prompt else None
        with torch.no_grad():
            columns = self._pipeline.encode_prompt(
                prompt=prompts,
                device=self.device,
                num_images_per_prompt=1,
                do_classifier_free_guidance=self._guided,
                negative_prompt=negative,
            )
        # Copies: a row of the batch's tensor would keep all of that alive.
        rows = zip(*(column for column in columns if column is not None), strict=True)
        return [tuple(tensor.clone() for tensor in row) for row in rows]

    def _check_length(self, prompt: str) -> None:
        """Warns once where no text encoder of the pipeline reads the whole prompt."""
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
            warnings.warn(f"{prompt!r} is too long for the generator, which does not see {end!r}", PromptCut, 3)

    @property
    def _names(self) -> tuple[str, ...]:
        """The arguments that embeddings go to; none where the pipeline gets the prompt itself."""
        return _EMBEDDINGS.get(type(self._pipeline).__name__, ())

    @property
    def _guided(self) -> bool:
        # A distilled UNet takes the guidance scale as an input and has no negative branch.
        return self.guidance > 1 and self._pipeline.unet.config.time_cond_proj_dim is None

    @cached_property
    def _accepted(self) -> frozenset[str]:
        return frozenset(inspect.signature(self._pipeline.__call__).parameters)

    @cached_property
    def _pipeline(self) -> Any:
        return shared_pipeline(Wanted(self.source, self.decoder, self.scheduler, self.device, self.dtype, self.compile))


def _derived(prompt: str, seed: int, attempt: int) -> int:
    """The seed of a draw: the image's own at first."""
    if attempt == 0:
        return seed
    digest = hashlib.sha256(json.dumps([prompt, seed, attempt]).encode()).digest()
    return int.from_bytes(digest[:4], "big")


def _blank(images: ImageArray) -> BoolArray:
    """Which of (n, height, width, 3) show nothing: (n)."""
    darkest, brightest = images.min(axis=(1, 2, 3)), images.max(axis=(1, 2, 3))
    blank: BoolArray = (darkest == brightest) | (brightest < _DARKEST)
    return blank
