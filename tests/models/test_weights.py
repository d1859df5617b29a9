"""Files of weights as training leaves them."""

from __future__ import annotations

import argparse
import logging
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from dnr_env.errors import DnRError
from dnr_env.models.target import NetworkTarget
from dnr_env.models.weights import fill

FACTORY = """
import torch
from torch import nn

def make():
    return nn.Sequential(
        nn.Conv2d(3, 4, 4, stride=4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 10)
    ), lambda x: nn.functional.interpolate(x.float() / 255, (16, 16))
"""


def network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 4, stride=4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 10))


@pytest.fixture
def state() -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    return {name: torch.randn_like(value) for name, value in network().state_dict().items()}


def named(state: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {prefix + name: value for name, value in state.items()}


def saved(content: Any, folder: Path) -> Path:
    torch.save(content, folder / "trained.pth")
    return folder / "trained.pth"


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: named(state, "_orig_mod."),
        lambda state: named(state, "module._orig_mod."),
        lambda state: {"state_dict": named(state, "model."), "epoch": 3, "pytorch-lightning_version": "2.5"},
        lambda state: {
            "model": named(state, "module."),
            "args": argparse.Namespace(lr=0.1),
            "optimizer": {"state": {}},
        },
        lambda state: {"checkpoint": {"net": OrderedDict(state)}, "acc": 0.9},
        lambda state: named(state, "backbone.") | {"head.weight": torch.zeros(2)},
        lambda state: {name.replace("0.", "0._orig_mod."): value for name, value in state.items()},
    ],
)
def test_wrappers_and_containers(wrap: Any, state: dict[str, torch.Tensor], tmp_path: Path) -> None:
    net = network()
    assert fill(net, saved(wrap(state), tmp_path)) == {}
    torch.testing.assert_close(dict(net.state_dict()), state)


@pytest.mark.parametrize("name", ["state_dict_ema", "model_ema", "ema", "params_ema", "teacher"])
def test_an_average_is_taken_and_said(
    name: str, state: dict[str, torch.Tensor], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    raw = {key: value + 1 for key, value in state.items()}
    averaged = {**named(state, "module."), "n_averaged": torch.tensor(5)}
    net = network()
    with caplog.at_level(logging.WARNING, "dnr_env"):
        fill(net, saved({"model": raw, name: averaged}, tmp_path))
    torch.testing.assert_close(dict(net.state_dict()), state)
    assert f"{name}.module is read, and not model" in caplog.text


def test_two_networks_are_refused(state: dict[str, torch.Tensor], tmp_path: Path) -> None:
    both = named(state, "module.encoder_q.") | named(state, "module.encoder_k.")
    with pytest.raises(DnRError, match=r"must hold one network .*module.encoder_q, .*module.encoder_k all fit\); save"):
        fill(network(), saved({"state_dict": both}, tmp_path))


class Options:
    """What a trainer keeps beside the weights."""


def test_objects_are_named_and_not_made(state: dict[str, torch.Tensor], tmp_path: Path) -> None:
    for content in ({"model": state, "args": Options()}, {"model": state, "path": Path("x")}, network()):
        with pytest.raises(
            DnRError, match=r"^`target.weights` must hold nothing but tensors, .*holds objects of .*\.\w"
        ):
            fill(network(), saved(content, tmp_path))


def test_another_networks_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        DnRError, match=r"must contain tensors of the network, such as '0.weight' .*which holds a, epoch"
    ):
        fill(network(), saved({"a": torch.zeros(3), "epoch": 3}, tmp_path))


def test_only_what_the_layers_depend_on_is_needed(
    state: dict[str, torch.Tensor], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "mine.py").write_text(FACTORY)
    other_head = {**state, "3.weight": torch.zeros(2, 64), "3.bias": torch.zeros(2)}
    no_head = {name: value for name, value in state.items() if not name.startswith("3")}
    no_bias = {name: value for name, value in state.items() if name != "0.bias"}
    ill = {**state, "0.weight": torch.zeros(4, 1, 4, 4)}

    def read(content: Any, layer: str) -> NetworkTarget:
        made = NetworkTarget(
            f"python:{tmp_path}/mine.py:make", [layer], weights=str(saved(content, tmp_path)), device="cpu"
        )
        assert made.neurons
        return made

    for content in (other_head, no_head):
        caplog.clear()
        with caplog.at_level(logging.WARNING, "dnr_env"):
            net = read(content, "1")
        assert "2 tensors of the network have no weights, such as 3.weight, which" in caplog.text
        torch.testing.assert_close(net._net.module.state_dict()["0.weight"], state["0.weight"])
    for content, layer, cause in (
        (other_head, "3", r"'3.weight' has the shape \(2, 64\) instead of \(10, 64\), '3.bias' has"),
        (no_head, "3", "'3.weight' is not there, '3.bias' is not there"),
        (no_bias, "1", "'0.bias' is not there"),
        (ill, "0", "'0.weight' has the shape"),
    ):
        with pytest.raises(DnRError, match=rf"^`target.weights` must contain all tensors .* depends on \(.*{cause}"):
            read(content, layer)


def test_a_tensor_under_two_names_is_filled_under_both(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Conv2d(3, 3, 3), nn.Conv2d(3, 3, 3), nn.Conv2d(3, 3, 3))
    net[1].weight, net[1].bias = net[0].weight, net[0].bias
    content = {name: torch.ones_like(value) for name, value in net.state_dict().items() if name[0] == "0"}
    assert fill(net, saved(content, tmp_path)) == {"2.weight": "is not there", "2.bias": "is not there"}
    assert (net.state_dict()["1.weight"] == 1).all()


# Layers by pattern


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("layer?", ["layer1", "layer2", "layer3", "layer4"]),
        ("layer[12].*.conv2", ["layer1.0.conv2", "layer1.1.conv2", "layer2.0.conv2", "layer2.1.conv2"]),
        ("layer[!123]", ["layer4"]),
        ("*", ["conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4", "avgpool", "fc"]),
        ("**.downsample.0", ["layer2.0.downsample.0", "layer3.0.downsample.0", "layer4.0.downsample.0"]),
    ],
)
def test_layers_by_pattern(pattern: str, found: list[str]) -> None:
    net = NetworkTarget("torchvision:resnet18", pattern, weights="none", device="cpu")
    assert list(net._found[0]) == found


def test_all_layers_are_those_with_units_of_their_own(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "mine.py").write_text(FACTORY)
    name = f"python:{tmp_path}/mine.py:make"
    every = NetworkTarget(name, "all", weights="none", device="cpu")
    assert every.neurons == (*(f"0:{i}" for i in range(4)), *(f"3:{i}" for i in range(10)))
    assert every.fingerprint == NetworkTarget(name, ["0", "3"], weights="none", device="cpu").fingerprint
    assert NetworkTarget(name, "all", weights="none", neurons="2-6", device="cpu").neurons == (
        "0:2", "0:3", "3:2", "3:3", "3:4", "3:5", "3:6",
    )  # fmt: skip
    with pytest.raises(DnRError, match=r"^`target.neurons` must lie between 0 and 3 in '0' \(got 4 to 6\)$"):
        _ = NetworkTarget(name, ["0", "3"], weights="none", neurons="2-6", device="cpu").neurons
    with pytest.raises(DnRError, match=r"^`target.layers` must be one of .*\(got 'x\*'\)$"):
        _ = NetworkTarget(name, "x*", weights="none", device="cpu").neurons
