"""Checkpoints without some of their weights are refused, and a library's reason reaches the user."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")
pytest.importorskip("transformers")

import small_models  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402
from small_clip import write_clip  # noqa: E402

from dnr_env.errors import DnRError  # noqa: E402
from dnr_env.models.captioner import HubCaptioner  # noqa: E402
from dnr_env.models.embedder import OpenClipEmbedder  # noqa: E402
from dnr_env.models.generator import DiffusionGenerator  # noqa: E402
from dnr_env.models.hub import loading  # noqa: E402
from dnr_env.models.pipelines import _LOADED  # noqa: E402
from dnr_env.models.target import NetworkTarget  # noqa: E402

GREY = np.full((1, 32, 32, 3), 127, np.uint8)

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture(autouse=True)
def apart() -> None:
    _LOADED.clear()


def without(folder: Path, mark: str) -> Path:
    """Remove the tensors from a checkpoint, in place, whose name has a mark."""
    removed = 0
    for file in folder.rglob("*.safetensors"):
        tensors = load_file(file)
        kept = {name: value for name, value in tensors.items() if mark not in name}
        removed += len(tensors) - len(kept)
        save_file(kept, file, {"format": "pt"})
    assert removed
    return folder


def draws(folder: Path, **options: Any) -> None:
    DiffusionGenerator(str(folder), size=32, batch=1, device="cpu", **options).generate(["dog"], [0])


@pytest.mark.parametrize(
    ("make", "mark", "use", "option"),
    [
        (
            small_models.small_captioner,
            "layer.0.attention.self.query.weight",
            lambda folder: HubCaptioner(str(folder), device="cpu").caption(GREY),
            "captioner.model",
        ),
        (
            small_models.small_chat,
            "blocks.0.mlp.fc1.weight",
            lambda folder: HubCaptioner(str(folder), device="cpu").caption(GREY),
            "captioner.model",
        ),
        (small_models.small_diffusion, "mid_block.attentions.0.norm.weight", draws, "generator.model"),
        (small_models.small_diffusion, "decoder.conv_in.weight", draws, "generator.model"),
        (small_models.small_diffusion, "token_embedding.weight", draws, "generator.model"),
        (
            write_clip,
            "visual.conv1.weight",
            lambda folder: OpenClipEmbedder(str(folder), device="cpu").embed_images(GREY),
            "embedder.model",
        ),
    ],
)
def test_missing_weights_are_named(
    make: Callable[[Path], Path], mark: str, use: Callable[[Path], object], option: str, tmp_path: Path
) -> None:
    folder = without(make(tmp_path / "model"), mark)
    with pytest.raises(DnRError, match=rf"^`{option}` .*(lacks|missing|Missing).*{mark}"):
        use(folder)


def test_a_missing_tensor_of_the_small_decoder(tmp_path: Path) -> None:
    vae = without(small_models.tiny_vae(tmp_path / "vae"), "decoder.layers.0.weight")
    with pytest.raises(
        DnRError, match=r"^`generator.tiny_vae` '.*' must have weights for all .*lacks decoder.layers.0.weight\)$"
    ):
        draws(small_models.small_diffusion(tmp_path / "sd"), tiny_vae=str(vae))


def test_a_network_may_lack_what_the_layers_do_not_use(tmp_path: Path) -> None:
    from transformers import ViTConfig, ViTImageProcessor, ViTModel

    config = ViTConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, image_size=32, patch_size=8
    )
    ViTModel(config).save_pretrained(tmp_path)
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(tmp_path)
    without(tmp_path, "pooler")
    layer = next(name for name, _ in ViTModel(config).named_modules() if name.endswith(("layer.1", "layers.1")))

    def read(layer: str) -> int:
        return len(NetworkTarget(f"hf:{tmp_path}", [layer], device="cpu").neurons)

    assert read(layer) == 16
    with pytest.raises(
        DnRError, match=r"must contain all tensors that 'pooler' depends on \(got .*'pooler.dense.weight'"
    ):
        read("pooler")
    without(tmp_path, "embeddings.cls_token")
    with pytest.raises(DnRError, match=r"depends on \(got .*'embeddings.cls_token' is not there"):
        read(layer)


def test_a_network_that_masks_at_random_is_refused(tmp_path: Path) -> None:
    from transformers import ViTImageProcessor, ViTMAEConfig, ViTMAEModel

    config = ViTMAEConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, image_size=32, patch_size=4
    )
    model = ViTMAEModel(config)
    model.save_pretrained(tmp_path)
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(tmp_path)
    layer = next(name for name, _ in model.named_modules() if name.endswith(("layer.1", "layers.1")))
    with pytest.raises(DnRError, match=r"must give the same output for the same image .* from one pass to the next"):
        _ = NetworkTarget(f"hf:{tmp_path}", [layer], device="cpu").neurons


# Reasons


@pytest.mark.parametrize(
    ("scheduler", "message"),
    [
        ("FlowMatchEulerDiscreteScheduler", r"^`generator.model` .* was loaded and then fails: .*\w{5}"),
        ("DPMSolverSDEScheduler", r"^`generator.scheduler` 'DPMSolverSDEScheduler' cannot be loaded; .*torchsde"),
    ],
)
def test_a_scheduler_that_does_not_fit(scheduler: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(DnRError, match=message):
        draws(small_models.small_diffusion(tmp_path / "sd"), scheduler=scheduler, steps=2)


def test_a_pipeline_that_rounds_the_size_names_its_multiple(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = DiffusionGenerator(str(small_models.small_diffusion(tmp_path / "sd")), size=40, batch=1, device="cpu")
    kind = type(generator._pipeline)
    draw = lambda self, **options: SimpleNamespace(images=torch.rand(1, 3, 32, 32))  # noqa: E731
    monkeypatch.setattr(kind, "__call__", draw)
    generator.__dict__["_accepted"] = frozenset()
    with pytest.raises(
        DnRError, match=r"^`generator.size` must be a multiple of 16 for .*\(got 40, for which it draws 32"
    ):
        generator.generate(["dog"], [0])


@pytest.mark.parametrize(
    "reason",
    [
        "\n\nneeds the torchsde library",
        "first line\nsecond line that says why",
        "the gradient is propagated to an unaggregated tensor",
        "cannot parse x.safetensors: header too large",
    ],
)
def test_the_reason_is_the_librarys(reason: str) -> None:
    with pytest.raises(DnRError) as caught, loading("captioner.model", "x"):
        raise ImportError(reason)
    assert str(caught.value) == f"`captioner.model` 'x' cannot be loaded; {' '.join(reason.split())}"


def test_a_local_writer_with_missing_weights(tmp_path: Path) -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    from dnr_env.models.local_chat import LocalChat

    GPT2LMHeadModel(GPT2Config(vocab_size=50, n_positions=64, n_embd=16, n_layer=1, n_head=2)).save_pretrained(tmp_path)
    small_models._clip_tokenizer().save_pretrained(tmp_path)
    assert LocalChat(str(tmp_path), device="cpu")._loaded  # complete, although its output layer is tied
    broken = without(Path(shutil.copytree(tmp_path, tmp_path / "broken")), "h.0.mlp.c_fc.weight")
    with pytest.raises(DnRError, match=r"^`writer.model` '.*' must have weights for all .*h.0.mlp.c_fc.weight"):
        _ = LocalChat(str(broken), device="cpu")._loaded
