"""The embedder of images and texts, and the reader that contains it."""

from __future__ import annotations

import dataclasses
import json
import re
import socket
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from small_clip import CONFIG, PREPROCESS, write_clip, write_hub

from dnr_env.errors import DnRError
from dnr_env.interfaces import Embedder, Reader
from dnr_env.models.embedder import OpenClipEmbedder
from dnr_env.models.reader import NetworkReader
from dnr_env.models.target import NetworkTarget
from dnr_env.types import ImageArray

TEXTS = ["a red star", "A dog on a sofa", "", "nothing but the sky " * 20]
COMMIT = "b" * 40


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*args: object) -> None:
        raise AssertionError("a socket was opened")

    from huggingface_hub import constants

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clips") / "clip")


def embedder(model: str | Path, pretrained: str | None = None, **options: object) -> OpenClipEmbedder:
    return OpenClipEmbedder(str(model), pretrained, **{"device": "cpu", "batch": 4, **options})  # type: ignore[arg-type]


def pictures() -> list[ImageArray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (40 + 10 * i, 50, 3), dtype=np.uint8) for i in (0, 0, 1, 2, 3)]


def test_embeddings_are_those_of_open_clip(folder: Path) -> None:
    import open_clip

    model, _, transform = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    with torch.inference_mode():
        images = torch.stack([transform(Image.fromarray(image)) for image in pictures()])
        images = model.eval().encode_image(images, normalize=True)
        texts = model.encode_text(open_clip.tokenize(TEXTS, 16), normalize=True)
    clip = embedder(folder)
    assert clip.embed_images(pictures()).dtype == np.float32
    np.testing.assert_allclose(clip.embed_images(pictures()), images, atol=0.02)
    np.testing.assert_allclose(clip.embed_texts(TEXTS), texts, atol=1e-5)


def test_a_row_does_not_depend_on_the_others(folder: Path) -> None:
    clip = embedder(folder)
    together = clip.embed_images(pictures())
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, rtol=1e-5)
    for row, image in zip(together, pictures(), strict=True):
        np.testing.assert_array_equal(clip.embed_images([image])[0], row)
    texts = clip.embed_texts(TEXTS)
    for row, text in zip(texts, TEXTS, strict=True):
        np.testing.assert_array_equal(embedder(folder).embed_texts([text])[0], row)
    assert clip.embed_images([]).shape == clip.embed_texts([]).shape == (0, 24)


def test_a_text_is_embedded_once_while_it_is_kept(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = embedder(folder)
    asked: list[str] = []
    tokenizer = clip._loaded.tokenizer

    def asking(texts: list[str]) -> torch.Tensor:
        asked.extend(texts)
        return tokenizer(texts)

    monkeypatch.setattr(OpenClipEmbedder, "_loaded", dataclasses.replace(clip._loaded, tokenizer=asking))
    clip.__dict__.pop("_loaded")
    first = clip.embed_texts(["a", "b", "a"])
    np.testing.assert_array_equal(first[0], first[2])
    np.testing.assert_array_equal(clip.embed_texts(["b", "a"]), first[[1, 0]])
    assert set(asked) == {"a", "b"}
    assert len(asked) == 4  # one batch, filled up
    monkeypatch.setattr("dnr_env.models.embedder._TEXTS_KEPT", 2)
    np.testing.assert_array_equal(clip.embed_texts(["b", "c", "d", "a"])[[0, 3]], first[[1, 0]])
    assert list(clip._kept) == ["d", "a"]


def test_fingerprint_and_dim_need_no_weights(folder: Path, tmp_path: Path) -> None:
    clip = embedder(folder)
    assert clip.dim == 24
    assert clip.fingerprint.startswith("open_clip folder@")
    assert "_loaded" not in vars(clip)
    assert embedder(write_clip(tmp_path / "moved")).fingerprint == clip.fingerprint
    assert embedder(f"local-dir:{folder}").fingerprint == clip.fingerprint
    others = [embedder(write_clip(tmp_path / "other", seed=1)), embedder(folder, dtype="bfloat16")]
    assert len({clip.fingerprint, *(other.fingerprint for other in others)}) == 3
    assert embedder("ViT-B-32").dim == 512


def test_a_repository_of_the_hub_at_its_cached_commit(folder: Path, tmp_path: Path) -> None:
    write_clip(write_hub(tmp_path / "hub", "someone/small", COMMIT))
    clip = embedder("hf-hub:someone/small")
    assert clip.fingerprint == f"open_clip someone/small@{COMMIT} torch.float32"
    assert clip.dim == 24
    np.testing.assert_array_equal(clip.embed_images(pictures()), embedder(folder).embed_images(pictures()))
    np.testing.assert_array_equal(clip.embed_texts(TEXTS), embedder(folder).embed_texts(TEXTS))


def test_a_tag_brings_its_activation_function_and_preprocessing(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import open_clip

    (tmp_path / "Small-CLIP.json").write_text(json.dumps(CONFIG))
    open_clip.add_model_config(tmp_path / "Small-CLIP.json")
    monkeypatch.setattr(open_clip.factory, "_MODEL_CONFIG_PATHS", open_clip.factory._MODEL_CONFIG_PATHS[:-1])
    tag = {"hf_hub": "someone/tagged/", "quick_gelu": True, **PREPROCESS}
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, "Small-CLIP", {"mine": tag})
    write_clip(write_hub(tmp_path / "hub", "someone/tagged", COMMIT))
    clip = embedder("Small-CLIP", "mine")
    assert clip.fingerprint == f"open_clip Small-CLIP/mine someone/tagged@{COMMIT} torch.float32"
    quick = open_clip.create_model(f"local-dir:{folder}", force_quick_gelu=True).eval()
    with torch.inference_mode():
        texts = quick.encode_text(open_clip.tokenize(TEXTS, 16), normalize=True)
    np.testing.assert_allclose(clip.embed_texts(TEXTS), texts, atol=1e-6)
    assert np.abs(embedder(folder).embed_texts(TEXTS) - texts.numpy()).max() > 1e-5
    assert list(clip._loaded.recipe.mean) == PREPROCESS["mean"]

    file = embedder("Small-CLIP", str(folder / "open_clip_model.safetensors"))
    assert re.fullmatch(r"open_clip Small-CLIP file@[0-9a-f]{32} torch.float32", file.fingerprint)
    np.testing.assert_allclose(file.embed_texts(TEXTS), embedder(folder).embed_texts(TEXTS), atol=1e-6)
    with pytest.raises(
        DnRError, match=r"`embedder.model` 'Small-CLIP' needs a tag of weights, which must be one of mine"
    ):
        embedder("Small-CLIP").embed_texts(["a"])


def test_models_that_are_not_there(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / "open_clip_config.json").write_text((folder / "open_clip_config.json").read_text())
    torch.save(load_file(folder / "open_clip_model.safetensors"), tmp_path / "bare" / "open_clip_pytorch_model.bin")
    for model, tag, message in [
        ("ViT-B-61", None, "must be one of ViT-B-16, "),
        ("ViT-B-16", "opnai", "must be one of ViT-B-16/openai, "),
        (
            "ViT-B-16",
            "openai",
            "'ViT-B-16/openai' (timm/vit_base_patch16_clip_224.openai on the hub) is not in the hub's cache, and ",
        ),
        (
            "hf-hub:no/where",
            None,
            "'hf-hub:no/where' is not in the hub's cache, and HF_HUB_OFFLINE forbids downloading it",
        ),
        (
            str(tmp_path / "empty"),
            None,
            f"must be a folder in open_clip's layout (got '{tmp_path / 'empty'}', which has no open_clip_config.json)",
        ),
    ]:
        with pytest.raises(DnRError, match=f"^`embedder.model` {re.escape(message)}"):
            _ = embedder(model, tag).fingerprint
    with pytest.raises(DnRError, match=r"^`embedder.model` must have safetensors \(got .*bare', which has none\)$"):
        embedder(tmp_path / "bare").embed_texts(["a"])
    with pytest.raises(DnRError, match=r"`embedder.batch` must be at least 1 \(got 0\)"):
        embedder(folder, batch=0)
    tensors = load_file(folder / "open_clip_model.safetensors")
    other = write_clip(tmp_path / "lacking")
    save_file({k: v for k, v in tensors.items() if k != "visual.proj"}, other / "open_clip_model.safetensors")
    with pytest.raises(DnRError, match=r"^`embedder.model` .*lacking' cannot be loaded; "):
        embedder(other).embed_texts(["a"])


def test_half_precision_is_close(folder: Path) -> None:
    half = embedder(folder, dtype="bfloat16")
    rows = half.embed_images(pictures())
    assert rows.dtype == np.float32
    assert ((rows * embedder(folder).embed_images(pictures())).sum(1) > 0.999).all()
    assert ((half.embed_texts(TEXTS) * embedder(folder).embed_texts(TEXTS)).sum(1) > 0.999).all()


def test_a_network_and_an_embedder_are_a_reader(folder: Path) -> None:
    clip = embedder(folder)
    target = NetworkTarget(f"open_clip:{folder}", ["transformer.resblocks.0"], device="cpu", batch=4)
    reader: Reader = NetworkReader(target, clip)
    space: Embedder = clip
    activations, embeddings = reader.read(pictures())
    assert activations.shape == (5, len(reader.neurons)) == (5, 32)
    assert embeddings.shape == (5, reader.dim)
    np.testing.assert_array_equal(activations, target.read(pictures()))
    assert space.embed_texts(["a"]).shape == (1, 24)
    assert target.fingerprint in reader.fingerprint
    assert clip.fingerprint in reader.fingerprint
