"""Repositories of small models as the hub has them: with files that loading leaves alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import small_models
from safetensors.torch import load_file, save_file
from small_clip import hub_id, write_clip

DECOYS = (
    "README.md", ".gitattributes", "pytorch_model.bin", "flax_model.msgpack", "whole-pipeline.safetensors",
    "model.fp16.safetensors", "onnx/model.onnx", "unet/diffusion_pytorch_model.fp16.safetensors",
    "unet/diffusion_pytorch_model.bin", "unet/model.onnx", "safety_checker/config.json",
    "safety_checker/model.safetensors",
)  # fmt: skip
"""Files that no loader reads."""


def hub_models(folder: Path) -> Path:
    """Write the repositories small/caption, small/draw, small/decode, small/clip, small/see, small/write and timm's."""
    small_models.small_captioner(folder / "small" / "caption")
    small_models.small_diffusion(folder / "small" / "draw")
    small_models.tiny_vae(folder / "small" / "decode")
    write_clip(folder / "small" / "clip")
    small_models.small_network(folder / "small" / "see")
    in_shards(small_models.small_language(folder / "small" / "write"))
    import timm

    model = timm.create_model("test_vit")
    (folder / hub_id("test_vit")).mkdir(parents=True)
    save_file(model.state_dict(), folder / hub_id("test_vit") / "model.safetensors")
    for repository in folder.glob("*/*"):
        for name in DECOYS:
            if name.startswith(("unet", "safety")) and repository.name != "draw":
                continue
            (repository / name).parent.mkdir(exist_ok=True)
            (repository / name).write_bytes(b"decoy")
    return folder


def in_shards(folder: Path) -> Path:
    """Split the weights of a checkpoint into two files with an index, in place."""
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(weights)
    places = {name: f"model-0000{1 + (i >= len(names) // 2)}-of-00002.safetensors" for i, name in enumerate(names)}
    for file in set(places.values()):
        part = {name: weights[name].contiguous() for name in names if places[name] == file}
        save_file(part, folder / file, metadata={"format": "pt"})
    index = {"metadata": {}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


def use_hub(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """Let this address be the hub."""
    template = url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", url)
    monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr("huggingface_hub.file_download.HUGGINGFACE_CO_URL_TEMPLATE", template, raising=False)
