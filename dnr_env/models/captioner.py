"""Image captions by any checkpoint that `AutoModelForImageTextToText` of transformers loads."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Sequence
from functools import cached_property
from typing import Any, NamedTuple

from dnr_env.errors import DnRError
from dnr_env.extras import needed
from dnr_env.models.device import FixedBatches, device_of, dtype_of
from dnr_env.models.hub import check_complete, find, loading, running
from dnr_env.models.snapshot import CAPTIONER, folder_of
from dnr_env.types import ImageArray, Images

CHAT_PROMPT = "Describe this image in one short sentence."
"""The prompt for a chat model if none is given."""


class _Loaded(NamedTuple):
    processor: Any
    model: Any
    chat: bool
    """Whether prompts are rendered by a chat template."""
    prompt: str | None


class HubCaptioner:
    """Writes one short caption per image by greedy decoding. The model is loaded at the first call.

    BLIP, BLIP-2, GIT and Florence-2 caption without a question; a model with a chat template (Qwen-VL, SmolVLM, …) is
    asked for a caption. If the processor resizes all images to one size, a caption does not depend on the rest of its
    batch. If it does not, images of several sizes change the shape of a batch, and with it the last bits.

    Args:
        model: a folder in transformers' format, or a hub id such as "Salesforce/blip-image-captioning-base".
        revision: branch, tag or commit of the hub id.
        prompt: the beginning of a caption (BLIP), the question (BLIP-2, chat models) or the task (Florence-2, where
            it is "<CAPTION>" by default).
        max_new_tokens: the maximum number of tokens in a caption.
        device: auto, cpu, cuda, cuda:1, …
        dtype: auto, float32, float16 or bfloat16; auto is bfloat16 on a GPU, else float32.
        batch: images per forward pass. It is halved when the device runs out of memory.

    Raises:
        DnRError: an option is invalid, or the model does not exist.
    """

    fingerprint: str

    def __init__(
        self,
        model: str,
        *,
        revision: str | None = None,
        prompt: str | None = None,
        max_new_tokens: int = 32,
        device: str = "auto",
        dtype: str = "auto",
        batch: int = 16,
    ) -> None:
        if max_new_tokens < 1:
            raise DnRError(f"`captioner.max_new_tokens` must be at least 1 (got {max_new_tokens})")
        with needed():
            self.device = device_of(device)
            self.dtype = dtype_of("captioner.dtype", dtype, self.device)
        self.prompt, self.max_new_tokens = prompt, max_new_tokens
        self.source = find("captioner.model", model, revision)
        self.fingerprint = "captioner-1 " + json.dumps(
            {
                "model": self.source.fingerprint,
                "prompt": prompt,
                "max_new_tokens": int(max_new_tokens),
                "dtype": str(self.dtype).removeprefix("torch."),
            }
        )
        self._batches = FixedBatches("captioner.batch", batch)

    def caption(self, images: Images) -> list[str]:
        """Return one line of text for each (height, width, 3) uint8 image. Sizes may differ.

        Raises:
            DnRError: the model cannot be loaded, or fails.
        """
        with running(self.source.setting):
            return self._batches.map(list(images), self._caption)

    def _caption(self, images: Sequence[ImageArray]) -> list[str]:
        """Caption the images of one forward pass."""
        import torch

        processor, model, _, prompt = self._loaded
        inputs = self._inputs(images).to(self.device, self.dtype)  # integer tensors keep their type
        with torch.no_grad():
            tokens = model.generate(**inputs, max_new_tokens=self.max_new_tokens, do_sample=False, num_beams=1)
        given = inputs.get("input_ids")
        # A decoder-only model repeats its input. BLIP does too, but with another first token, so `_tidy` removes it.
        repeated = given is not None and torch.equal(tokens[:, : given.shape[1]], given)
        texts = processor.batch_decode(tokens[:, given.shape[1] :] if repeated else tokens, skip_special_tokens=True)
        return [_tidy(text, "" if repeated else prompt or "") for text in texts]

    def _inputs(self, images: Sequence[ImageArray]) -> Any:
        from PIL import Image

        processor, _, chat, prompt = self._loaded
        # PIL images are unambiguous. An array (3, n, 3) could have its channels first or last.
        pictures = [Image.fromarray(image) for image in images]
        if not chat:
            text = {} if prompt is None else {"text": [prompt] * len(pictures)}
            return processor(images=pictures, **text, return_tensors="pt")
        content = [{"type": "image"}, {"type": "text", "text": prompt}]
        text = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
        return processor(
            images=[[picture] for picture in pictures], text=[text] * len(pictures), padding=True, return_tensors="pt"
        )

    @cached_property
    def _loaded(self) -> _Loaded:
        with needed():
            from transformers import AutoModelForImageTextToText, AutoProcessor

        folder = folder_of(self.source, CAPTIONER)
        with loading("captioner.model", self.source.id):
            processor = AutoProcessor.from_pretrained(folder, trust_remote_code=False)
            safe = {"use_safetensors": True, "dtype": self.dtype, "output_loading_info": True}  # others are pickles
            model, report = AutoModelForImageTextToText.from_pretrained(folder, trust_remote_code=False, **safe)
            check_complete(self.source.setting, report)
            model.eval().to(self.device)
        chat = bool(getattr(processor, "chat_template", None))
        prompt = self.prompt
        if chat:
            processor.tokenizer.padding_side = "left"  # the answer continues where the question ends
            prompt = prompt or CHAT_PROMPT
        elif model.config.model_type == "florence2":
            prompt = prompt or "<CAPTION>"  # answered in plain text; only detection tasks need post-processing
        return _Loaded(processor, model, chat, prompt)


def _tidy(text: str, prompt: str) -> str:
    """Return one line without control characters, and without the prompt if the model repeated it."""
    seen = (c for c in unicodedata.normalize("NFC", text) if c.isspace() or unicodedata.category(c)[0] != "C")
    line, echo = " ".join("".join(seen).split()), " ".join(prompt.split())
    return line[len(echo) :].lstrip() if echo and f"{line} ".lower().startswith(f"{echo} ".lower()) else line
