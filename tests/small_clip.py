"""A CLIP of open_clip's own classes that is built in a moment. Its tokenizer is the one of the package."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors.torch import save_file

CONFIG = {
    "embed_dim": 24,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 8},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}
PREPROCESS = {"mean": [0.4, 0.5, 0.6], "std": [0.2, 0.25, 0.3], "interpolation": "bilinear", "resize_mode": "squash"}


def write_clip(folder: Path, seed: int = 0) -> Path:
    """Write config and random weights to a folder in open_clip's layout, and return the folder."""
    import open_clip
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = open_clip.model.CLIP(**CONFIG)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": CONFIG, "preprocess_cfg": PREPROCESS}))
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    return folder


def write_hub(cache: Path, name: str, commit: str) -> Path:
    """Make the empty folder of a repository's only commit in a cache of the hub."""
    repository = cache / f"models--{name.replace('/', '--')}"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit)
    snapshot = repository / "snapshots" / commit
    snapshot.mkdir(parents=True)
    return snapshot


def hub_id(model: str) -> str:
    """The repository on the hub in which timm finds the weights of a model."""
    import timm

    config = timm.get_pretrained_cfg(model)
    assert config is not None
    assert config.hf_hub_id is not None
    return config.hf_hub_id
