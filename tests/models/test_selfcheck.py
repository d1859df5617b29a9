"""Networks that cannot be read rightly are refused; common ones are not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from dnr_env.errors import DnRError
from dnr_env.evidence.store import Store
from dnr_env.models import trial
from dnr_env.models.layout import axes
from dnr_env.models.memory import network_in_memory
from dnr_env.models.selfcheck import check_images
from dnr_env.models.target import NetworkTarget


def scaled(images: torch.Tensor) -> torch.Tensor:
    return nn.functional.interpolate(images.float() / 127 - 1, (64, 64))


def target(model: Any, *layers: str, **options: Any) -> NetworkTarget:
    return NetworkTarget(network_in_memory(model, scaled), layers, **{"batch": 2, **options})


class Faulty(nn.Module):
    """A convolution followed by a fault."""

    def __init__(self, fault: str) -> None:
        super().__init__()
        self.fault, self.calls = fault, 0
        self.conv, self.last = nn.Conv2d(3, 8, 8, stride=8), nn.Identity()
        self.norm = nn.BatchNorm2d(8, track_running_stats=False)
        self.heads = nn.MultiheadAttention(8, 2)  # not batch_first: images are taken for tokens

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv(x)
        self.calls += 1
        faults: dict[str, Callable[[], torch.Tensor]] = {
            "dropout": lambda: nn.functional.dropout(x, 0.1, training=True),
            "noise": lambda: x + 0.05 * torch.randn_like(x),
            "masks": lambda: x * (torch.rand(len(x), 1, *x.shape[2:]) > 0.5),
            "counts": lambda: x + self.calls,
            "centred": lambda: x - x.mean(0),
            "batch norm": lambda: self.norm(x),
            "first": lambda: x - x[:1],
            "rolled": lambda: x + 0.1 * x.roll(1, 0),
            "attention": lambda: self.heads(*[x.flatten(2).mT] * 3)[0].mT.reshape(x.shape),
        }
        last: torch.Tensor = self.last(faults[self.fault]())
        return last


@pytest.mark.parametrize("fault", ["dropout", "noise", "masks", "counts"])
def test_what_differs_from_pass_to_pass_is_refused(fault: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    store = Store(tmp_path / "store.sqlite")
    for _ in range(2):  # a refusal is not kept
        with pytest.raises(DnRError, match=r"^`target.network` must give the same output for the same image \(got "):
            _ = target(Faulty(fault), "last", store=store).neurons
    assert target(Faulty(fault), "conv").read(check_images()).shape == (3, 8)  # the layer before the fault


@pytest.mark.parametrize("fault", ["centred", "batch norm", "first", "rolled", "attention"])
def test_what_depends_on_the_batch_is_refused(fault: str) -> None:
    torch.manual_seed(0)
    with pytest.raises(DnRError, match=r"^`target.network` must give an image the same output in every batch \(got "):
        _ = target(Faulty(fault), "last").neurons


def test_the_outcome_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 4, stride=4), nn.ReLU())
    store = Store(tmp_path / "store.sqlite")
    first = target(net, "1", store=store)
    assert first.heat(check_images(), "1:0")
    for name in ("check_steady", "misplaced"):
        monkeypatch.setattr(trial, name, lambda *given: pytest.fail("tried again"))
    again = target(net, "1", store=store)
    np.testing.assert_array_equal(again.read(check_images()), first.read(check_images()))
    assert again.heat(check_images(), "1:0")


# The order of maps


class Moved(nn.Module):
    """A map whose positions are in another order."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how
        self.conv, self.last = nn.Conv2d(3, 8, 8, stride=8), nn.Identity()
        self.register_buffer("order", torch.randperm(64, generator=torch.Generator().manual_seed(0)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv(x)
        order: Any = self.order
        made = {
            "turned": lambda: x.mT,
            "mirrored": lambda: x.flip(3),
            "rolled": lambda: x.roll(3, 2),
            "shuffled": lambda: x.flatten(2)[..., order].reshape(x.shape),
            "windows": lambda: x.reshape(-1, 8, 2, 4, 2, 4).permute(0, 1, 3, 5, 2, 4).reshape(x.shape),
            "same": lambda: x,
        }[self.how]()
        last: torch.Tensor = self.last(made)
        return last


@pytest.mark.parametrize("how", ["turned", "mirrored", "rolled", "shuffled", "windows"])
def test_maps_in_another_order_are_refused_for_crops_only(how: str) -> None:
    torch.manual_seed(0)
    net = target(Moved(how), "last")
    assert net.read(check_images()).shape == (3, 8)
    with pytest.raises(DnRError, match=r"^`probe.crops` must be false for 'last', whose maps do not follow the image"):
        net.heat(check_images(), "last:0")


def test_maps_in_the_order_of_the_image_are_not() -> None:
    torch.manual_seed(0)
    assert target(Moved("same"), "last").heat(check_images(), "last:0")


@pytest.mark.slow
def test_tokens_of_hiera_are_in_no_order_before_its_last_stage() -> None:
    net = NetworkTarget("timm:hiera_tiny_224", ["blocks.0", "blocks.1", "blocks.9", "blocks.11"], weights="none")
    assert net.heat(check_images(), "blocks.11:0")
    for layer in ("blocks.0", "blocks.1", "blocks.9"):
        with pytest.raises(DnRError, match="must be false for 'blocks"):
            net.heat(check_images(), f"{layer}:0")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("network", "layers"),
    [
        ("torchvision:resnet18", ["layer1", "layer4"]),
        ("torchvision:resnet50", ["layer4"]),
        ("torchvision:swin_t", ["features.1", "features.7"]),
        ("torchvision:convnext_tiny", ["features.7"]),
        ("torchvision:efficientnet_b0", ["features.8"]),
        ("timm:vit_tiny_patch16_224", ["blocks.0", "blocks.11", "blocks.11.mlp.act"]),
    ],
)
def test_common_networks_pass_with_random_weights(network: str, layers: list[str]) -> None:
    net = NetworkTarget(network, layers, weights="none", device="cpu")
    for layer in layers:
        assert net.heat(check_images()[:1], f"{layer}:0")


# Axes


class Tokens(nn.Module):
    """Tokens (n, channels, tokens) of a one-dimensional convolution, and (n, tokens, channels) of a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.patch, self.conv, self.act = nn.Conv2d(3, 8, 8, stride=8), nn.Conv1d(8, 32, 1), nn.ReLU()
        self.linear, self.gelu, self.bare = nn.Linear(32, 49), nn.GELU(), nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.act(self.conv(self.patch(x).flatten(2)))
        x = self.gelu(self.linear(x.mT))
        bare: torch.Tensor = self.bare(x.sum(-1, keepdim=True).expand(-1, -1, 36))
        return bare


def test_channels_are_where_the_kind_of_the_module_has_them() -> None:
    torch.manual_seed(0)
    net = target(Tokens(), "conv", "act", "linear", "gelu")
    assert [len(layout.indices) for layout in net._layouts.values()] == [32, 32, 49, 49]
    assert [layout.space for layout in net._layouts.values()] == [True] * 4
    assert net.maps(check_images(), "act:3")[0].shape == (8, 8)


def test_what_no_kind_and_no_shape_decides_is_asked() -> None:
    torch.manual_seed(0)
    message = r"^`target.channels` must say which axis of 'bare' holds the neurons, 1 or 2 \(got none, .*\(3, 64, 36\)"
    with pytest.raises(DnRError, match=message):
        _ = target(Tokens(), "bare").neurons
    assert len(target(Tokens(), "bare", channels=1).neurons) == 64
    assert len(target(Tokens(), "bare", channels=-1).neurons) == 36
    with pytest.raises(DnRError, match=r"^`target.channels` must be an axis after the images' \(got 0 "):
        _ = target(Tokens(), "bare", channels=0).neurons


@pytest.mark.parametrize(
    ("module", "shape", "axis"),
    [
        (nn.Conv1d(4, 32, 1), (3, 32, 196), 1),
        (nn.BatchNorm1d(32), (3, 32, 196), 1),
        (nn.AvgPool1d(2), (3, 32, 196), 1),
        (nn.Linear(4, 196), (3, 32, 196), 2),
        (nn.LayerNorm(196), (3, 32, 196), 2),
        (nn.GroupNorm(2, 14), (3, 14, 14, 14), 1),
        (nn.Linear(14, 14), (3, 14, 14, 14), 3),
        (nn.ReLU(), (3, 32, 196), 1),  # only the last axis is a grid of patches
        (nn.ReLU(), (3, 197, 33), 2),
        (nn.ReLU(), (3, 14, 14, 30), 3),
    ],
)
def test_axes_by_kind_and_by_shape(module: nn.Module, shape: tuple[int, ...], axis: int) -> None:
    assert axes("x", module, torch.zeros(shape), (224, 224)) == (0, axis)
