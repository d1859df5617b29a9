"""The network under study: what is read from each kind of layer, and the errors."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from small_clip import PREPROCESS, hub_id, write_clip, write_hub
from small_saes import saelens_arrays, saelens_features, saelens_settings, write_sae

from dnr_env.errors import DnRError
from dnr_env.models import preprocess
from dnr_env.models.target import NetworkTarget
from dnr_env.types import FloatArray, ImageArray

FACTORY = """
import torch

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 6, 3)
        self.relu = torch.nn.ReLU(inplace=True)
        self.unused = torch.nn.Linear(2, 2)
        self.words = Words()
        self.turned = Turned()
        self.windows = Windows()
    def forward(self, x):
        x = self.relu(self.conv(x))
        self.words(x)
        self.turned(x)
        self.windows(x)
        return x

class Words(torch.nn.Module):
    def forward(self, x):
        return "words"

class Turned(torch.nn.Module):
    def forward(self, x):
        return (None, x.flatten(2).permute(2, 0, 1))

class Windows(torch.nn.Module):
    def forward(self, x):
        return torch.cat([x, x])

def small(x):
    return torch.nn.functional.interpolate(x.float() / 255, (10, 10))

def same(x):
    return x / 255

def pil(image):
    import torchvision
    return torchvision.transforms.functional.to_tensor(image.resize((10, 10)))

def make():
    return Net(), small

def make_pil():
    return Net(), pil

def make_same():
    return Net(), same

def make_wrong():
    return Net(), len

def plain():
    return Net()

def nothing():
    return 7

def broken():
    return torch.nn.Linear(5, 5), small
"""


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*args: object) -> None:
        raise AssertionError("a socket was opened")

    from huggingface_hub import constants

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))


@pytest.fixture
def user(tmp_path: Path) -> str:
    """A file of the user's, as the first part of a network's name."""
    (tmp_path / "mine.py").write_text(FACTORY)
    return f"python:{tmp_path / 'mine.py'}"


def pictures(*sizes: tuple[int, int]) -> list[ImageArray]:
    rng = np.random.default_rng(0)
    coarse = [rng.integers(0, 256, (7, 5, 3), dtype=np.uint8) for _ in sizes]
    return [np.asarray(Image.fromarray(a).resize(s[::-1])) for a, s in zip(coarse, sizes, strict=True)]


def target(network: str, *layers: str, **options: object) -> NetworkTarget:
    return NetworkTarget(network, layers, **{"weights": "none", "device": "cpu", "batch": 2, **options})  # type: ignore[arg-type]


IMAGES = pictures((90, 120), (90, 120), (64, 50))


def test_a_convolutional_layer_is_its_mean_over_space() -> None:
    import torchvision

    resnet = target("torchvision:resnet18", "layer2", "bn1", "fc")
    net = resnet._net.module
    assert isinstance(net, torchvision.models.ResNet)
    transform = torchvision.models.get_model_weights("resnet18").DEFAULT.transforms()
    found: dict[str, torch.Tensor] = {}
    with torch.inference_mode():
        x = torch.cat([transform(torch.tensor(image).permute(2, 0, 1))[None] for image in IMAGES])
        before = net.bn1(net.conv1(x))
        found["bn1"] = before.clone().mean((2, 3))  # the following ReLU works in place
        layer2 = net.layer2(net.layer1(net.maxpool(net.relu(before))))
        found["fc"] = net(x)
    read = resnet.read(IMAGES)
    assert read.dtype == np.float32
    assert resnet.neurons[127:129] == ("layer2:127", "bn1:0")
    np.testing.assert_allclose(read[:, :128], layer2.mean((2, 3)), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(read[:, 128:192], found["bn1"], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(read[:, 192:], found["fc"], rtol=1e-4, atol=1e-5)
    largest = target("torchvision:resnet18", "layer2", pooling="max", neurons="5,0-1").read(IMAGES)
    np.testing.assert_allclose(largest, layer2.amax((2, 3))[:, [0, 1, 5]], rtol=1e-4, atol=1e-5)
    maps = resnet.maps(IMAGES, "layer2:3")
    np.testing.assert_allclose(np.stack(maps), layer2[:, 3], rtol=1e-4, atol=1e-5)
    with pytest.raises(DnRError, match=r"^`neuron` must belong to a map or to patch tokens, .* \(got fc:0\)$"):
        resnet.maps(IMAGES, "fc:0")
    with pytest.raises(DnRError, match=r"^`neuron` must be one of layer2:.* \(got 'layer2:128'\)$"):
        resnet.maps(IMAGES, "layer2:128")


def test_a_row_does_not_depend_on_the_others() -> None:
    net = target("timm:test_vit", "blocks.1", batch=4)
    together = net.read(IMAGES)
    for i, image in enumerate(IMAGES):
        np.testing.assert_array_equal(net.read([image])[0], together[i])
    same = pictures((70, 70), (70, 70))
    mixed = net.read([same[0], IMAGES[0], same[1]])
    np.testing.assert_array_equal(net.read(np.stack(same)), mixed[[0, 2]])
    assert net.read([]).shape == (0, len(net.neurons))
    assert [m.shape for m in net.maps([], net.neurons[0])] == []


def test_hidden_units_of_a_vit_and_poolings_of_tokens() -> None:
    from timm.layers.mlp import Mlp
    from timm.models.vision_transformer import Block, VisionTransformer

    layer = "blocks.3.mlp.act"
    mean = target("timm:test_vit", layer)
    assert mean.neurons[-1] == f"{layer}:{len(mean.neurons) - 1}"
    net = mean._net.module
    assert isinstance(net, VisionTransformer)
    seen: list[torch.Tensor] = []
    with torch.inference_mode():
        x = torch.cat([mean._net.transform(torch.tensor(image).permute(2, 0, 1)[None]) for image in IMAGES])
        tokens = net._pos_embed(net.patch_embed(x))
        for block in net.blocks[:3]:
            tokens = block(tokens)
        block = net.blocks[3]
        assert isinstance(block, Block)
        assert isinstance(block.mlp, Mlp)
        middle = tokens + block.ls1(block.attn(block.norm1(tokens)))
        seen.append(block.mlp.act(block.mlp.fc1(block.norm2(middle))))
    tokens = seen[0]
    expected = {
        "mean": tokens[:, 1:].mean(1),
        "max": tokens[:, 1:].amax(1),
        "cls": tokens[:, 0],
        "tokens-max": tokens.amax(1),
    }
    for pooling, values in expected.items():
        read = target("timm:test_vit", layer, pooling=pooling).read(IMAGES)
        np.testing.assert_allclose(read, values, rtol=1e-4, atol=1e-5)
    grid = int((tokens.shape[1] - 1) ** 0.5)
    maps = mean.maps(IMAGES, f"{layer}:4")
    np.testing.assert_allclose(np.stack(maps), tokens[:, 1:, 4].reshape(3, grid, grid), rtol=1e-4, atol=1e-5)


def test_torchvision_attention_layers_have_a_class_token() -> None:
    layers = "encoder.layers.encoder_layer_1.mlp.1", "encoder.layers.encoder_layer_0.self_attention", "conv_proj"
    vit = target("torchvision:vit_b_32", *layers)
    vit_layouts = vit._layouts
    assert [(layout.channels, layout.prefix, len(layout.indices)) for layout in vit_layouts.values()] == [
        (2, 1, 3072),
        (2, 1, 768),
        (1, 0, 768),
    ]


def test_channels_can_be_the_last_axis() -> None:
    import torchvision

    swin = target("torchvision:swin_t", "features.1", "features.1.0.mlp.0", "permute", "features.0.0")
    assert [len(layout.indices) for layout in swin._layouts.values()] == [96, 384, 768, 96]
    assert [layout.channels for layout in swin._layouts.values()] == [3, 3, 1, 1]
    net = swin._net.module
    assert isinstance(net, torchvision.models.SwinTransformer)
    with torch.inference_mode():
        x = torch.cat([swin._net.transform(torch.tensor(image).permute(2, 0, 1)[None]) for image in IMAGES[:1]])
        block = net.features[1](net.features[0](x))
    np.testing.assert_allclose(swin.read(IMAGES)[0, :96], block.mean((0, 1, 2)), rtol=1e-3, atol=1e-5)
    assert swin.maps(IMAGES[:1], "features.1:0")[0].shape == (56, 56)


def test_channels_as_many_as_rows_are_where_the_module_has_them() -> None:
    from dnr_env.models.layout import axes, patch_grid, prefix_tokens

    square = torch.zeros(3, 8, 8, 8)
    assert axes("x", torch.nn.Linear(8, 8), square, (64, 64)) == (0, 3)
    assert axes("x", torch.nn.Conv2d(8, 8, 1), square, (64, 64)) == (0, 1)
    assert axes("x", torch.nn.Conv2d(8, 8, 1), torch.zeros(3, 8, 4, 8), (32, 64)) == (0, 1)
    assert patch_grid(15, (96, 160)) == (3, 5)
    assert patch_grid(14, (96, 96)) is None
    # Nine tokens are a 3 by 3 grid, or a 2 by 2 grid after five tokens. The network's own number decides.
    found = [prefix_tokens(9, (64, 64), 5), prefix_tokens(9, (64, 64), 0), prefix_tokens(261, (224, 224), 1)]
    assert found == [5, 0, 5]


def test_a_transformers_folder(tmp_path: Path) -> None:
    from transformers import ViTConfig, ViTImageProcessor, ViTModel

    config = ViTConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, image_size=32, patch_size=8
    )
    torch.manual_seed(1)
    model = ViTModel(config).eval()
    model.save_pretrained(tmp_path / "vit")
    processor = ViTImageProcessor(size={"height": 32, "width": 32}, image_mean=[0.3] * 3, image_std=[0.2] * 3)
    processor.save_pretrained(tmp_path / "vit")
    name = f"hf:{tmp_path / 'vit'}"
    layer = next(name for name, _ in model.named_modules() if name.endswith(("layer.1", "layers.1")))
    cls = target(name, layer, "pooler", pooling="cls", weights="DEFAULT")
    pixels = [torch.tensor(np.asarray(Image.fromarray(i).resize((32, 32), Image.Resampling.BILINEAR))) for i in IMAGES]
    with torch.inference_mode():
        out = model(pixel_values=(torch.stack(pixels).permute(0, 3, 1, 2) / 255 - 0.3) / 0.2, output_hidden_states=True)
    read = cls.read(IMAGES)
    np.testing.assert_allclose(read[:, :16], out.hidden_states[2][:, 0], atol=0.02)
    np.testing.assert_allclose(read[:, 16:], out.pooler_output, atol=0.02)
    assert cls.maps(IMAGES, f"{layer}:0")[0].shape == (4, 4)
    moved = (tmp_path / "vit").rename(tmp_path / "moved")
    assert target(f"hf:{moved}", layer, "pooler", pooling="cls", weights="DEFAULT").fingerprint == cls.fingerprint
    random = target(f"hf:{moved}", layer)
    assert random.fingerprint == target(f"hf:{moved}", layer).fingerprint
    assert np.abs(random.read(IMAGES) - cls.read(IMAGES)[:, :16]).max() > 0.01


def test_the_image_tower_of_an_open_clip_folder(tmp_path: Path) -> None:
    import open_clip

    folder = write_clip(tmp_path / "clip", seed=1)
    layer = "transformer.resblocks.1.mlp.gelu"
    tower = target(f"open_clip:{folder}", layer, pooling="cls", weights="DEFAULT")
    model, _, transform = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    seen: list[torch.Tensor] = []
    model.eval().visual.get_submodule(layer).register_forward_hook(lambda module, given, output: seen.append(output))
    with torch.inference_mode():
        model.encode_image(torch.stack([transform(Image.fromarray(image)) for image in IMAGES]))
    np.testing.assert_allclose(tower.read(IMAGES), seen[0][:, 0], atol=0.02)
    assert tower.maps(IMAGES, f"{layer}:0")[0].shape == (4, 4)
    assert np.abs(target(f"open_clip:{folder}", layer, pooling="cls").read(IMAGES) - tower.read(IMAGES)).max() > 0.01
    # Only the image tower is read from a file with the whole model.
    weights = str(folder / "open_clip_model.safetensors")
    filled = target(f"open_clip:{folder}", layer, pooling="cls", weights=weights)
    assert filled.fingerprint == tower.fingerprint


def test_timm_weights_are_those_of_the_cached_commit(tmp_path: Path) -> None:
    import timm

    torch.manual_seed(2)
    model = timm.create_model("test_vit").eval()
    snapshot = write_hub(tmp_path / "hub", hub_id("test_vit"), "a" * 40)
    save_file(model.state_dict(), snapshot / "model.safetensors")
    net = target("timm:test_vit", "blocks.0", weights="DEFAULT")
    torch.testing.assert_close(net._net.module.state_dict(), model.state_dict())


def test_torchvision_weights_that_are_there_need_no_network(tmp_path: Path) -> None:
    import torchvision

    enum = torchvision.models.get_model_weights("squeezenet1_1")
    checkpoints = tmp_path / "torch" / "hub" / "checkpoints"
    checkpoints.mkdir(parents=True)
    torch.manual_seed(3)
    model = torchvision.models.squeezenet1_1()
    torch.save(model.state_dict(), checkpoints / enum.DEFAULT.url.rpartition("/")[2])
    for name in ("DEFAULT", "IMAGENET1K_V1"):
        net = target("torchvision:squeezenet1_1", "features.3", weights=name)
        torch.testing.assert_close(net._net.module.state_dict(), model.state_dict())
    with pytest.raises(DnRError, match=r"^`target.weights` must be one of IMAGENET1K_V1, … \(got 'IMAGENET1K_V3'\)$"):
        _ = target("torchvision:squeezenet1_1", "features.3", weights="IMAGENET1K_V3").neurons


def test_torchvision_weights_bring_their_own_preprocessing(monkeypatch: pytest.MonkeyPatch) -> None:
    import torchvision

    from dnr_env.models.networks import load_network

    monkeypatch.delenv("HF_HUB_OFFLINE")  # nothing is downloaded, because get_state_dict is patched
    kinds = torchvision.models.get_model_weights("vit_l_16")
    plain = torchvision.models.get_model("squeezenet1_1", weights=None)
    monkeypatch.setattr("dnr_env.models.networks.download_size", lambda setting, url: 0)
    monkeypatch.setattr(torchvision.models.WeightsEnum, "get_state_dict", lambda self, **options: {})
    monkeypatch.setattr(torchvision.models, "get_model", lambda name, weights: plain)
    for name in ("IMAGENET1K_V1", "IMAGENET1K_SWAG_E2E_V1"):
        transform, expected = load_network("torchvision:vit_l_16", name).transform, kinds[name].transforms()
        assert isinstance(transform, type(expected))
        assert transform.crop_size == expected.crop_size
    assert kinds.IMAGENET1K_SWAG_E2E_V1.transforms().crop_size == [512]


def test_random_weights_are_the_same_and_leave_the_global_generator_alone() -> None:
    torch.manual_seed(5)
    state = torch.get_rng_state()
    first = target("torchvision:squeezenet1_1", "features.3")
    assert first.fingerprint
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(6)
    assert target("torchvision:squeezenet1_1", "features.3").fingerprint == first.fingerprint


def test_the_fingerprint_names_what_activations_depend_on(user: str, tmp_path: Path) -> None:
    encoder = {"W_enc": torch.ones(6, 4), "b_enc": torch.zeros(4)}
    (tmp_path / "cfg.json").write_text('{"architecture": "standard"}')
    save_file(encoder, tmp_path / "sae.safetensors")
    save_file({**encoder, "b_enc": torch.ones(4)}, tmp_path / "other.safetensors")
    variants: list[dict[str, object]] = [
        {},
        {"pooling": "max"},
        {"neurons": "0-3"},
        {"dtype": "bfloat16"},
        {"sae": str(tmp_path / "sae.safetensors")},
        {"sae": str(tmp_path / "other.safetensors")},
    ]
    found = [target(f"{user}:make", "conv", **options).fingerprint for options in variants]
    found += [target(f"{user}:make", "relu").fingerprint, target(f"{user}:make_pil", "conv").fingerprint]
    assert len(set(found)) == len(found)
    assert target(f"{user}:make", "conv", batch=7).fingerprint == found[0]
    (tmp_path / "moved.py").write_text(FACTORY)
    assert target(f"python:{tmp_path / 'moved.py'}:make", "conv").fingerprint == found[0]


@pytest.mark.slow
def test_code_beside_the_factory_is_found_and_counts(tmp_path: Path) -> None:
    """The class of the network is in a second file, which takes a number from a third file."""
    child = (
        "import sys; from dnr_env.models.target import NetworkTarget;"
        "print(NetworkTarget(f'python:{sys.argv[1]}/three_files.py:make', ['0'], device='cpu').fingerprint)"
    )
    (tmp_path / "three_files.py").write_text("from three_net import Net\nmake = lambda: Net(3, 2, 16, stride=16)\n")
    (tmp_path / "three_net.py").write_text(
        "from torch import nn\nimport three_numbers\n"
        "def Net(*sizes, **more):\n    return nn.Sequential(Scaled(*sizes, **more))\n"
        "class Scaled(nn.Conv2d):\n"
        "    def forward(self, x):\n        return three_numbers.SCALE * super().forward(x)\n"
    )
    found: list[str] = []
    for scale in (1, 2, 1):
        (tmp_path / "three_numbers.py").write_text(f"SCALE = {scale}\n")
        (tmp_path / "unrelated.py").write_text(f"# {len(found)}\n")
        run = subprocess.run([sys.executable, "-B", "-c", child, str(tmp_path)], capture_output=True, text=True)
        assert run.returncode == 0, run.stderr
        found.append(run.stdout)
    assert found[0] == found[2] != found[1]


@pytest.mark.parametrize("numbers", [1 << 24, 400], ids=["one block", "a few positions at a time"])
@pytest.mark.parametrize(
    "settings", [{"architecture": "jumprelu"}, {"architecture": "standard"}, {"architecture": "topk", "k": 3}], ids=str
)
def test_a_users_network_with_a_sparse_autoencoder(
    user: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, object], numbers: int
) -> None:
    arrays = saelens_arrays(6, 50)
    if settings["architecture"] == "jumprelu":
        arrays["threshold"] = np.linspace(0, 1, 50, dtype=np.float32)
    cfg = {**saelens_settings("", 6, 50), **settings}
    sae = str(write_sae(tmp_path, cfg, arrays))
    plain = target(f"{user}:make", "conv")
    maps = np.stack([np.stack(plain.maps(IMAGES, f"conv:{c}")) for c in range(6)], axis=-1)
    np.testing.assert_allclose(plain.read(IMAGES), maps.mean((1, 2)), rtol=1e-4, atol=1e-6)

    expected = saelens_features(cfg, arrays, maps.reshape(-1, 6)).reshape(*maps.shape[:-1], 50)
    monkeypatch.setattr("dnr_env.models.readout._SAE_NUMBERS", numbers)
    every = target(f"{user}:make", "conv", sae=sae)
    np.testing.assert_allclose(every.read(IMAGES), expected.mean((1, 2)), rtol=1e-4, atol=1e-5)
    some = target(f"{user}:make", "conv", sae=sae, neurons="40-49,3")
    assert some.neurons[:2] == ("conv.sae:3", "conv.sae:40")
    wanted = [3, *range(40, 50)]
    np.testing.assert_allclose(some.read(IMAGES), expected.mean((1, 2))[:, wanted], rtol=1e-4, atol=1e-5)
    largest = target(f"{user}:make", "conv", sae=sae, neurons="40-49,3", pooling="max")
    np.testing.assert_allclose(largest.read(IMAGES), expected.max((1, 2))[:, wanted], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(np.stack(some.maps(IMAGES, "conv.sae:3")), expected[..., 3], rtol=1e-4, atol=1e-5)


def test_features_of_vectors_and_of_tokens(tmp_path: Path) -> None:
    arrays = saelens_arrays(64, 100)
    cfg = saelens_settings("topk", 64, 100, k=5)
    sae = str(write_sae(tmp_path, cfg, arrays))
    seen: list[FloatArray] = []
    for layer, pooling in (("blocks.0", "cls"), ("blocks.0", "tokens-max"), ("norm", "mean")):
        net = target("timm:test_vit", layer, sae=sae, pooling=pooling)
        _ = net.neurons
        seen.clear()
        module = net._net.module.get_submodule(layer)
        with module.register_forward_hook(lambda *call: seen.append(call[2].numpy(force=True))):
            read = net.read(IMAGES)
        tokens = np.concatenate(seen)[: len(IMAGES)]
        expected = saelens_features(cfg, arrays, tokens.reshape(-1, 64)).reshape(*tokens.shape[:-1], 100)
        pooled = {"cls": expected[:, 0], "tokens-max": expected.max(1), "mean": expected[:, 1:].mean(1)}[pooling]
        np.testing.assert_allclose(read, pooled, rtol=1e-4, atol=1e-5)


def test_an_autoencoder_of_another_layer(user: str, tmp_path: Path) -> None:
    sae = write_sae(tmp_path, saelens_settings("standard", 7, 4), saelens_arrays(7, 4))
    with pytest.raises(DnRError, match=r"^`target.sae` must take the 6 channels of 'conv' \(got one that takes 7\)$"):
        _ = target(f"{user}:make", "conv", sae=str(sae)).neurons


def test_tuples_and_batches_on_the_second_axis(user: str) -> None:
    net = target(f"{user}:make", "turned", "relu")
    read = net.read(IMAGES)
    assert net._layouts["turned"].images == 1
    np.testing.assert_allclose(read[:, :6], read[:, 6:], rtol=1e-5)


def test_transforms_of_users(user: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pil = target(f"{user}:make_pil", "conv")
    assert pil.maps(IMAGES, "conv:0")[0].shape == (8, 8)
    images = pictures((30, 20), (30, 20))
    same = target(f"{user}:make_same", "conv")
    assert same.maps(images, "conv:0")[0].shape == (28, 18)
    with pytest.raises(DnRError, match=r"must resize images to a fixed size \(got \(3, 64, 50\) and \(3, 90, 120\)\)$"):
        same.read([IMAGES[1], IMAGES[2]])
    with pytest.raises(DnRError, match=r"^the transform of `target.network` must map .* \(got TypeError: "):
        _ = target(f"{user}:make_wrong", "conv").neurons
    plain = target(f"{user}:plain", "conv")
    assert plain.maps(IMAGES, "conv:0")[0].shape == (222, 222)
    monkeypatch.syspath_prepend(tmp_path)
    imported = target("python:mine:plain", "conv")
    assert imported.fingerprint == plain.fingerprint


def test_what_is_not_finite_is_passed_on(user: str) -> None:
    net = target(f"{user}:make", "conv", pooling="max")
    conv = net._net.module.get_submodule("conv")
    assert isinstance(conv, torch.nn.Conv2d)
    assert conv.bias is not None
    with torch.no_grad():
        conv.bias[0] = torch.nan
        conv.bias[1] = torch.inf
    read = net.read(IMAGES)
    assert np.isnan(read[:, 0]).all()
    assert np.isposinf(read[:, 1]).all()
    assert np.isfinite(read[:, 2:]).all()


def test_hooks_are_gone_after_an_exception(user: str, monkeypatch: pytest.MonkeyPatch) -> None:
    net = target(f"{user}:make", "conv", "turned")
    module = net._net.module
    before = net.read(IMAGES)

    def fail(*args: object) -> None:
        raise RuntimeError("in the middle")

    with monkeypatch.context() as patch:
        patch.setattr(module.words, "forward", fail)
        with pytest.raises(RuntimeError, match="in the middle"):
            net.read(IMAGES)
    assert not any(part._forward_hooks for part in module.modules())
    np.testing.assert_array_equal(net.read(IMAGES), before)


NETWORKS = "torchvision:resnet50, timm:NAME, open_clip:NAME/TAG, hf:ORG/NAME, example:NAME or python:FILE.py:FUNCTION"
INDICES = "`target.neurons` must be all or indices such as 0-511 or 3,7,10-20"
WEIGHTS = "`target.weights` must be DEFAULT, none, or a file that ends in .safetensors, .pt, .pth, .bin, .ckpt, .tar"


@pytest.mark.parametrize(
    ("network", "layers", "options", "message"),
    [
        ("resnet18", ["x"], {}, f"`target.network` must be written as {NETWORKS} (got 'resnet18')"),
        ("keras:x", ["x"], {}, f"`target.network` must be written as {NETWORKS} (got 'keras:x')"),
        ("torchvision:resnet18", [], {}, "`layers` must name at least one module, and none twice (got [])"),
        (
            "torchvision:resnet18",
            ["a", "a"],
            {},
            "`layers` must name at least one module, and none twice (got ['a', 'a'])",
        ),
        (
            "torchvision:resnet18",
            ["a"],
            {"pooling": "median"},
            "`target.pooling` must be one of mean, … (got 'median')",
        ),
        ("torchvision:resnet18", ["a"], {"neurons": "3-"}, f"{INDICES} (got '3-')"),
        ("torchvision:resnet18", ["a"], {"neurons": "5-3"}, f"{INDICES} (got '5-3')"),
        ("torchvision:resnet18", ["a"], {"neurons": "-1"}, f"{INDICES} (got '-1')"),
        ("torchvision:resnet18", ["a"], {"weights": "x.pt"}, f"{WEIGHTS} (got 'x.pt')"),
        ("timm:test_vit", ["a"], {"weights": "V1"}, f"{WEIGHTS} (got 'V1')"),
        ("torchvision:resnet18", ["a"], {"batch": 0}, "`target.batch` must be at least 1 (got 0)"),
        (
            "torchvision:resnet18",
            ["a", "b"],
            {"sae": "x"},
            "`target.layers` must name one layer where `target.sae` is given (got 2)",
        ),
    ],
)
def test_options_that_are_wrong_at_once(
    network: str, layers: list[str], options: dict[str, object], message: str
) -> None:
    with pytest.raises(DnRError, match=f"^{re.escape(message)}"):
        target(network, *layers, **options)


@pytest.mark.parametrize(
    ("network", "layer", "options", "message"),
    [
        ("torchvision:resnet81", "x", {}, "`target.network` must be one of torchvision:resnet"),
        ("timm:tst_vit", "x", {}, "`target.network` must be one of timm:test_vit"),
        ("open_clip:VIT-B-16", "x", {}, "`target.network` must be one of ViT-B-16"),
        (
            "open_clip:ViT-B-16/opnai",
            "x",
            {"weights": "DEFAULT"},
            "`target.network` must be one of ViT-B-16/openai",
        ),
        (
            "hf:nowhere",
            "x",
            {},
            "`target.network` must be a folder or a hub id such as organisation/name (got 'nowhere')",
        ),
        ("hf:no/where", "x", {}, "`target.network` 'hf:no/where' is not in the hub's cache, and HF_HUB_OFFLINE"),
        (
            "timm:test_vit",
            "x",
            {"weights": "DEFAULT"},
            "`target.network` 'timm:test_vit' (timm/test_vit.r160_in1k on the hub) is not in the hub's",
        ),
        ("timm:test_vit", "block.0", {}, "`target.layers` must be one of blocks.0"),
        (
            "timm:test_vit",
            "blocks.0",
            {"neurons": "60-64"},
            "`target.neurons` must lie between 0 and 63 in 'blocks.0' (got 64 to 64)",
        ),
        ("timm:test_vit", "blocks.0", {"sae": "no"}, "`target.sae` must be a safetensors file of a sparse autoencoder"),
        (
            "torchvision:squeezenet1_1",
            "features",
            {"pooling": "cls"},
            "`target.pooling` must be mean or max for 'features'",
        ),
        (
            "torchvision:resnet18",
            "x",
            {"weights": "DEFAULT"},
            "`target.weights` DEFAULT needs resnet18-f37072fd.pth, which is not in torch.hub's checkpoints, and "
            "HF_HUB_OFFLINE forbids downloading it",
        ),
        (
            "python:nothing",
            "x",
            {},
            "`target.network` must be written as python:path/file.py:NAME (got 'python:nothing')",
        ),
        (
            "python:no/file.py:make",
            "x",
            {},
            "`target.network` must name an existing file, as in python:path/file.py:NAME",
        ),
        (
            "python:no_such_module:make",
            "x",
            {},
            "`target.network` must name a module on the path or a file such as path/file.py (got 'no_such_module'",
        ),
        ("USER:mak", "x", {}, "`target.network` must be one of make"),
        (
            "USER:nothing",
            "x",
            {},
            "`target.network` must name a function that returns a torch.nn.Module, or a module and",
        ),
        ("USER:broken", "", {}, "`target.layers` must be one of "),
        (
            "USER:make",
            "unused",
            {},
            "`target.layers` must name modules that run in a forward pass (got 'unused', which does not)",
        ),
        (
            "USER:make",
            "words",
            {},
            "`target.layers` must name modules that return tensors (got 'words', which returns str)",
        ),
        (
            "USER:make",
            "windows",
            {},
            "`target.layers` must name modules that return maps, tokens or vectors (got 'windows', which returns shape "
            "(6, 6, 8, 8) for 3 images)",
        ),
    ],
)
def test_what_only_the_network_can_tell(
    user: str, network: str, layer: str, options: dict[str, object], message: str
) -> None:
    net = target(network.replace("USER", user), layer, **options)
    with pytest.raises(DnRError, match=f"^{re.escape(message)}"):
        _ = net.neurons


def test_a_network_that_fails_on_its_own_input(user: str) -> None:
    net = target(f"{user}:broken", "x")
    net._net.module.add_module("x", torch.nn.Identity())
    with pytest.raises(
        DnRError, match=r"^`target.network` must accept .* fails on an image: .* shapes cannot be multiplied"
    ):
        _ = net.neurons


def test_files_of_weights(tmp_path: Path, user: str) -> None:
    name = f"{user}:make"
    torch.manual_seed(7)
    random = target(name, "conv")
    state = {key: torch.randn_like(value) for key, value in random._net.module.state_dict().items()}
    save_file(state, tmp_path / "a.safetensors")
    torch.save(state, tmp_path / "a.pt")
    torch.save({"state_dict": {f"module.{key}": value for key, value in state.items()}, "epoch": 3}, tmp_path / "b.pth")
    found = [target(name, "conv", weights=str(tmp_path / file)) for file in ("a.safetensors", "a.pt", "b.pth")]
    assert len({net.fingerprint for net in found} | {random.fingerprint}) == 2
    torch.testing.assert_close(found[2]._net.module.state_dict(), state)

    save_file({key: value for key, value in state.items() if key != "conv.bias"}, tmp_path / "lacks.safetensors")
    save_file({**state, "conv.bias": torch.zeros(9)}, tmp_path / "wide.safetensors")
    torch.save(torch.nn.Linear(1, 1), tmp_path / "whole.pt")
    (tmp_path / "broken.safetensors").write_bytes(b"nothing")
    for file, message in {
        "lacks.safetensors": r"must contain all tensors that 'conv' depends on \(got .*'conv.bias' is not there; ",
        "wide.safetensors": r"must contain all .* 'conv.bias' has the shape \(9,\) instead of \(6,\); 1 tensors ",
        "whole.pt": r"must hold nothing but tensors, .*whole.pt', which holds objects of torch.nn.* could run code\); ",
        "broken.safetensors": r"must be a state_dict, .* \(got .*broken.safetensors', which cannot be read: \w+\)$",
    }.items():
        with pytest.raises(DnRError, match=f"^`target.weights` {message}"):
            _ = target(name, "conv", weights=str(tmp_path / file)).neurons


def test_preprocessing_is_the_models_own() -> None:
    import open_clip
    import timm
    import torchvision

    timm_data: Any = timm.data  # these calls of timm are untyped
    for size in ((90, 120), (64, 50), (300, 260), (20, 33)):
        image = pictures(size)[0]
        tensor, pil = torch.tensor(image).permute(2, 0, 1)[None], Image.fromarray(image)
        weights = torchvision.models.get_model_weights("resnet18").DEFAULT
        expected = weights.transforms(resize_size=256)(pil)
        np.testing.assert_allclose(preprocess.IMAGENET(tensor)[0], expected, atol=0.03)
        for how in ("center", "border", "squash"):
            for shape in ((3, 48, 48), (3, 40, 56)):
                config = timm_data.resolve_model_data_config({"crop_mode": how, "crop_pct": 0.9, "input_size": shape})
                expected = timm_data.create_transform(**config)(pil)
                np.testing.assert_allclose(preprocess.of_timm(config)(tensor)[0], expected, atol=0.06)
        for how in ("shortest", "longest", "squash"):
            cfg = open_clip.transform.PreprocessCfg(size=40, resize_mode=how, fill_color=9)
            expected = open_clip.transform.image_transform_v2(cfg, is_train=False)(pil)
            np.testing.assert_allclose(preprocess.of_open_clip(vars(cfg))(tensor)[0], expected, atol=0.06)


def test_the_recipe_of_the_small_clip(tmp_path: Path) -> None:
    net = target(f"open_clip:{write_clip(tmp_path / 'clip')}", "conv1")
    recipe = net._net.transform
    assert isinstance(recipe, preprocess.Recipe)
    assert (recipe.size, recipe.how, list(recipe.mean)) == ((32, 32), "squash", PREPROCESS["mean"])


def test_half_precision_is_close(user: str) -> None:
    full, half = target(f"{user}:make", "conv"), target(f"{user}:make", "conv", dtype="bfloat16")
    assert half.read(IMAGES).dtype == np.float32
    np.testing.assert_allclose(half.read(IMAGES), full.read(IMAGES), atol=0.02)


def test_importing_is_light() -> None:
    code = (
        "import sys, dnr_env, dnr_env.models.target, dnr_env.models.reader;"
        "print([name for name in ('torch', 'torchvision', 'timm', 'open_clip', 'transformers') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# The place of a map in its image


@pytest.mark.parametrize("size", [(300, 400), (1000, 300), (64, 64)])
def test_the_view_is_what_the_crop_leaves(size: tuple[int, int]) -> None:
    from torchvision.models import ResNet18_Weights

    from dnr_env.models.preprocess import IMAGENET, Recipe, view_of

    height, width = size
    side = min(size) * 224 / 256  # resize the shorter side to 256, keep the middle 224
    expected = [(height - side) / 2, (width - side) / 2, (height + side) / 2, (width + side) / 2]
    for transform in (IMAGENET, ResNet18_Weights.DEFAULT.transforms()):
        np.testing.assert_allclose(view_of(transform, height, width), expected, atol=0.015 * max(size))
    squash = Recipe((64, 64), (64, 64), "squash", "bilinear", (0.5,) * 3, (0.5,) * 3)
    np.testing.assert_allclose(view_of(squash, height, width), [0, 0, height, width], atol=0.015 * max(size))


def test_the_view_reaches_into_a_border() -> None:
    from dnr_env.models.preprocess import Recipe, view_of

    border = Recipe((64, 64), (64, 64), "longest", "bilinear", (0.5,) * 3, (0.5,) * 3)
    np.testing.assert_allclose(view_of(border, 200, 300), [-50, 0, 250, 300], atol=5)


def test_crops_cut_out_what_excites(tmp_path: Path) -> None:
    """The box of a neuron that responds to white lies on the white spot, off the centre of a wide image."""
    from dnr_env.propose.crops import located

    (tmp_path / "white.py").write_text(
        "from torch import nn\n"
        "def make():\n"
        "    net = nn.Sequential(nn.AvgPool2d(16), nn.Conv2d(3, 1, 1))\n"
        "    nn.init.ones_(net[1].weight)\n"
        "    return net\n"
    )
    target = NetworkTarget(f"python:{tmp_path}/white.py:make", ["1"], device="cpu")
    image = np.zeros((300, 500, 3), np.uint8)
    image[180:240, 120:190] = 255
    (heat,) = target.heat([image], "1:0") or []
    (box,) = located(heat, (300, 500))
    np.testing.assert_allclose(box, [180, 120, 240, 190], atol=25)
    assert target.heat([image], "1:0") is not None


def test_threads_do_not_see_the_passes_of_each_other(tmp_path: Path) -> None:
    path = tmp_path / "net.py"
    path.write_text(
        "import time, torch\n"
        "class Slow(torch.nn.Module):\n"
        "    def forward(self, x):\n"
        "        time.sleep(0.002 * torch.rand(()).item())\n"
        "        return x\n"
        "def make():\n"
        "    torch.manual_seed(0)\n"
        "    return torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), Slow()), lambda x: x.float() / 255\n"
    )
    target = NetworkTarget(f"python:{path}:make", ["0"])
    given = [np.random.default_rng(i).integers(0, 256, (2, 12, 12, 3)).astype(np.uint8) for i in range(4)]
    alone = [(target.read(images), target.maps(list(images), "0:1")) for images in given]

    def again(number: int) -> bool:
        read, maps = alone[number % 4]
        images = given[number % 4]
        if number % 2:
            return bool(np.array_equal(target.read(images), read))
        return all(map(np.array_equal, target.maps(list(images), "0:1"), maps))

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(again, range(80)))
