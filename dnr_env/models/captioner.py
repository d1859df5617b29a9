"""Image to text by a vision-language model: any checkpoint that `AutoModelForImageTextToText` of transformers loads."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Sequence
from functools import cached_property
from typing import Any, NamedTuple

from dnr_env.errors import DnRError
from dnr_env.models.hub import FixedBatches, device_of, dtype_of, find, loading, needed
from dnr_env.types import ImageArray, Images

CHAT_PROMPT = "Describe this image in one short sentence."
"""What a chat model is asked where no prompt is given."""


class _Loaded(NamedTuple):
    processor: Any
    model: Any
    chat: bool
    """Whether prompts go through a chat template."""
    prompt: str | None


class HubCaptioner:
    """One short greedy caption an image, by a model that is loaded with the first of them.

    BLIP, BLIP-2, GIT and Florence-2 caption by themselves; a model with a chat template (Qwen-VL, SmolVLM, …) is asked
    to. A caption does not depend on its batch mates where the processor scales every image to one size. A chat model
    that does not gets batches of other shapes where the images are of several sizes, which changes the last bits.

    Args:
        model: a folder in transformers' format, or a hub id such as "Salesforce/blip-image-captioning-base".
        revision: branch, tag or commit of the hub id.
        prompt: the beginning of a caption (BLIP), the question (BLIP-2, chat models) or the task (Florence-2, for which
            it is "<CAPTION>" by default).
        max_new_tokens: the most tokens of a caption.
        device: auto, cpu, cuda, cuda:1, …
        dtype: auto, float32, float16 or bfloat16; auto is bfloat16 on a GPU, else float32.
        batch: images of a forward pass, halved where the device's memory runs out.

    Raises:
        DnRError: an option cannot be used, or there is no such model.
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
            raise DnRError(f"captioner.max_new_tokens: {max_new_tokens} is too few; 1 or more will do")
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
        """One line of text for each (height, width, 3) uint8 image, of any sizes.

        Raises:
            DnRError: the model cannot be loaded.
        """
        return self._batches.map(list(images), self._caption)

    def _caption(self, images: Sequence[ImageArray]) -> list[str]:
        """One forward pass."""
        import torch

        processor, model, _, prompt = self._loaded
        inputs = self._inputs(images).to(self.device, self.dtype)  # integers keep their type
        with torch.no_grad():
            tokens = model.generate(**inputs, max_new_tokens=self.max_new_tokens, do_sample=False, num_beams=1)
        given = inputs.get("input_ids")
        # A decoder-only model repeats its input. BLIP does so with another first token, which the text shows.
        repeated = given is not None and torch.equal(tokens[:, : given.shape[1]], given)
        texts = processor.batch_decode(tokens[:, given.shape[1] :] if repeated else tokens, skip_special_tokens=True)
        return [_tidy(text, "" if repeated else prompt or "") for text in texts]

    def _inputs(self, images: Sequence[ImageArray]) -> Any:
        from PIL import Image

        processor, _, chat, prompt = self._loaded
        # As PIL images, nothing has to be guessed: an array (3, n, 3) could have its channels first or last.
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

        name, where = self.source.id, {"revision": self.source.commit, "trust_remote_code": False}
        with loading("captioner.model", name):
            processor = AutoProcessor.from_pretrained(name, **where)
            model = AutoModelForImageTextToText.from_pretrained(
                name, **where, use_safetensors=True, dtype=self.dtype
            )  # anything but safetensors is a pickle
            model.eval().to(self.device)
        chat = bool(getattr(processor, "chat_template", None))
        prompt = self.prompt
        if chat:
            processor.tokenizer.padding_side = "left"  # the answer goes on where the question ends
            prompt = prompt or CHAT_PROMPT
        elif model.config.model_type == "florence2":
            prompt = prompt or "<CAPTION>"  # its answer is plain text; only detection tasks need post-processing
        return _Loaded(processor, model, chat, prompt)


def _tidy(text: str, prompt: str) -> str:
    """One line without control characters, and without the prompt where the model has repeated it."""
    seen = (c for c in unicodedata.normalize("NFC", text) if c.isspace() or unicodedata.category(c)[0] != "C")
    line, echo = " ".join("".join(seen).split()), " ".join(prompt.split())
    return line[len(echo) :].lstrip() if echo and f"{line} ".lower().startswith(f"{echo} ".lower()) else line
