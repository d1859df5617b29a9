"""The captioner on small checkpoints of the real classes: batches, sizes, prompts, errors."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

import small_models  # noqa: E402

from dnr_env.errors import DnRError  # noqa: E402
from dnr_env.evidence.store import Store  # noqa: E402
from dnr_env.models.captioner import HubCaptioner, _tidy  # noqa: E402
from dnr_env.propose import caption as caption_module  # noqa: E402

Maker = Callable[..., HubCaptioner]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("models")
    return {"blip": small_models.small_captioner(root / "blip"), "chat": small_models.small_chat(root / "chat")}


@pytest.fixture
def make(models: dict[str, Path]) -> Maker:
    def maker(model: str = "blip", **options: Any) -> HubCaptioner:
        return HubCaptioner(str(models[model]), **{"max_new_tokens": 8, "batch": 4, "device": "cpu", **options})

    return maker


@pytest.fixture(scope="module")
def images() -> np.ndarray[Any, np.dtype[np.uint8]]:
    images = np.random.default_rng(0).integers(0, 256, (6, 40, 50, 3), np.uint8)
    images[1], images[2, :20], images[3], images[4] = 200, 0, 0, (255, 0, 255)
    return images


@pytest.mark.parametrize("model", ["blip", "chat"])
def test_a_caption_does_not_depend_on_its_batch_mates(make: Maker, images: Any, model: str) -> None:
    captions = make(model).caption(images)
    assert len(set(captions)) >= 4
    assert {word for caption in captions for word in caption.split()} <= {*small_models.WORDS, "user", "assistant"}
    order = [5, 2, 0, 3, 1, 4]
    assert make(model).caption(images[order]) == [captions[i] for i in order]
    alone = make(model, batch=1)
    assert [alone.caption(images[i : i + 1])[0] for i in range(6)] == captions


@pytest.mark.parametrize("prompt", [None, "a red"])
def test_the_same_as_transformers_alone(make: Maker, models: dict[str, Path], images: Any, prompt: str | None) -> None:
    from PIL import Image
    from transformers import BlipForConditionalGeneration, BlipProcessor

    model = BlipForConditionalGeneration.from_pretrained(models["blip"]).eval()
    processor = BlipProcessor.from_pretrained(models["blip"])
    for image, caption in zip(images, make(prompt=prompt).caption(images), strict=True):
        inputs = processor(images=Image.fromarray(image), text=prompt, return_tensors="pt")
        tokens = model.generate(**inputs, max_new_tokens=8)[0]
        text = processor.decode(tokens, skip_special_tokens=True)
        assert text.startswith(prompt or "")
        assert caption == text[len(prompt or "") :].strip()


def test_a_chat_model_is_asked_through_its_template(make: Maker, models: dict[str, Path], images: Any) -> None:
    from PIL import Image
    from transformers import AutoModelForImageTextToText, AutoProcessor

    processor = AutoProcessor.from_pretrained(models["chat"])
    model = AutoModelForImageTextToText.from_pretrained(models["chat"]).eval()
    content = [{"type": "image", "image": Image.fromarray(images[0])}, {"type": "text", "text": "a dog"}]
    inputs = processor.apply_chat_template(
        [{"role": "user", "content": content}],
        add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt",
    )  # fmt: skip
    tokens = model.generate(**inputs, max_new_tokens=8, do_sample=False)[0, inputs["input_ids"].shape[1] :]
    expected = processor.decode(tokens, skip_special_tokens=True)
    assert make("chat", prompt="a dog").caption(images[:1]) == [expected]
    assert make("chat", prompt="a cat").caption(images[:1]) != [expected]


@pytest.mark.parametrize("model", ["blip", "chat"])
def test_images_of_different_sizes(make: Maker, images: Any, model: str) -> None:
    pictures = [images[0], images[1, :16, :48], images[2, :3], images[3, :, :20], images[4, :33, :32]]
    captioner = make(model)
    captions = captioner.caption(pictures)
    assert captions == [captioner.caption([picture])[0] for picture in pictures]


def test_a_full_device_halves_the_batch(make: Maker, images: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    captioner = make()
    expected = make().caption(images)
    vision, sizes = captioner._loaded.model.vision_model, []
    forward = vision.forward

    def small_only(*args: Any, **options: Any) -> Any:
        sizes.append(len(options["pixel_values"]))
        if sizes[-1] > 2:
            raise torch.OutOfMemoryError("out of memory")
        return forward(*args, **options)

    monkeypatch.setattr(vision, "forward", small_only)
    assert captioner.caption(images) == expected
    assert sizes == [4, 2, 2, 2]


def test_the_fingerprint_names_what_a_caption_depends_on(make: Maker, models: dict[str, Path], tmp_path: Path) -> None:
    changes: list[dict[str, Any]] = [
        {"model": "chat"}, {"prompt": "a photo of"}, {"max_new_tokens": 9}, {"dtype": "bfloat16"}
    ]  # fmt: skip
    plain = make().fingerprint
    assert len({plain, *(make(**change).fingerprint for change in changes)}) == 1 + len(changes)
    shutil.copytree(models["blip"], tmp_path / "moved")
    (tmp_path / "moved" / ".cache").mkdir()
    (tmp_path / "moved" / ".cache" / "model.metadata").write_text("loaded today")  # written by the command of the hub
    same = HubCaptioner(str(tmp_path / "moved"), max_new_tokens=8, batch=7, dtype="float32", device="cpu")
    assert same.fingerprint == plain


def test_captions_are_one_clean_line() -> None:
    assert _tidy(" a\tdog\n on  grass ", "") == "a dog on grass"
    assert _tidy("A photo  of a\x00 d\x1b[31mog\u202e\u200b", "a photo of") == "a d[31mog"
    assert _tidy("apples on grass", "a") == "apples on grass"
    assert _tidy("cafe\u0301", "a photo of") == "caf\u00e9"


def test_no_socket_is_opened(make: Maker, images: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[object] = []
    monkeypatch.setattr(socket.socket, "connect", lambda self, address: tried.append(address))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    make().caption(images[:1])
    with pytest.raises(DnRError, match=r"^`captioner.model` 'nobody/nothing' is not in the hub's cache"):
        HubCaptioner("nobody/nothing", device="cpu")
    with pytest.raises(DnRError, match=r"^`captioner.model` 'nobody/nothing' is not in the hub's cache"):
        HubCaptioner("nobody/nothing", revision="0" * 40, device="cpu").caption(images[:1])
    assert not tried


def test_models_that_cannot_be_used(models: dict[str, Path], images: Any, tmp_path: Path) -> None:
    with pytest.raises(DnRError, match=r"`captioner.model` must be a folder or a hub id such as organisation/name"):
        HubCaptioner(str(tmp_path / "missing"))
    folder = small_models.pickled(Path(shutil.copytree(models["blip"], tmp_path / "pickled")))
    with pytest.raises(
        DnRError, match=r"^`captioner.model` .*it has no safetensors, and other weight files can run code"
    ):
        HubCaptioner(str(folder), device="cpu").caption(images[:1])
    with pytest.raises(DnRError, match=r"^`captioner.max_new_tokens` must be at least 1 \(got 0\)$"):
        HubCaptioner(str(models["blip"]), max_new_tokens=0)


def test_nothing_to_caption(make: Maker) -> None:
    assert make().caption([]) == []


def test_an_interrupted_captioning_keeps_what_was_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Counting:
        fingerprint = "counting"
        said = 0

        def caption(self, images: Any) -> list[str]:
            if self.said == 4:
                raise KeyboardInterrupt
            self.said += len(images)
            return [f"of {image[0, 0, 0]}" for image in images]

    monkeypatch.setattr(caption_module, "_CHUNK", 4)
    pictures = [np.full((2, 2, 3), i % 7, np.uint8) for i in range(10)]
    store, captioner = Store(tmp_path / "store.sqlite"), Counting()
    with pytest.raises(KeyboardInterrupt):
        caption_module.caption(captioner, pictures, store)
    captioner.said = 0
    assert caption_module.caption(captioner, pictures, store) == [(f"of {i % 7}", "") for i in range(10)]
    assert captioner.said == 3
