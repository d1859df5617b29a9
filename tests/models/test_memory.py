"""Networks in memory: what is read from them, that they are left unchanged, and what identifies them."""

from __future__ import annotations

import copy
import importlib
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from dnr_env.errors import DnRError
from dnr_env.models.memory import network_in_memory
from dnr_env.models.preprocess import IMAGENET, of_timm
from dnr_env.models.target import NetworkTarget
from dnr_env.types import ImageArray


class Scalar(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean()


class Nothing(nn.Module):
    def forward(self, x: torch.Tensor) -> None:
        return None


class Empty(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(1)[:, :0]


class Net(nn.Module):
    """A network whose outputs in training and in evaluation differ."""

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = scale
        self.conv = nn.Conv2d(3, 6, 3, stride=2)
        self.norm = nn.BatchNorm2d(6)
        self.relu = nn.ReLU(inplace=True)
        self.drop = nn.Dropout(0.5)
        self.scalar, self.nothing, self.empty = Scalar(), Nothing(), Empty()
        self.head = nn.Linear(6, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.drop(self.relu(self.norm(self.conv(x)))) * self.scale
        self.scalar(x)
        self.nothing(x)
        self.empty(x)
        logits: torch.Tensor = self.head(x.mean((2, 3)))
        return logits


def scaled(images: torch.Tensor) -> torch.Tensor:
    return images / 255


def darker(images: torch.Tensor) -> torch.Tensor:
    return images / 510


@pytest.fixture
def net() -> Net:
    torch.manual_seed(0)
    made = Net()
    assert made.norm.running_mean is not None
    nn.init.normal_(made.norm.running_mean)
    return made


@pytest.fixture(scope="module")
def images() -> ImageArray:
    return np.random.default_rng(0).integers(0, 256, (5, 20, 24, 3), dtype=np.uint8)


def target(model: Any, *layers: str, preprocess: Callable[[Any], Any] | None = scaled, **options: Any) -> NetworkTarget:
    return NetworkTarget(network_in_memory(model, preprocess), layers, **{"batch": 2, **options})


def hooked(model: nn.Module, layer: str, pixels: torch.Tensor) -> torch.Tensor:
    """What a plain hook on a copy in evaluation mode sees."""
    seen: list[torch.Tensor] = []
    model = copy.deepcopy(model).eval()
    model.get_submodule(layer).register_forward_hook(lambda module, given, output: seen.append(output.detach().clone()))
    with torch.no_grad():
        model(pixels)
    return seen[0]


def test_activations_equal_plain_hooks(net: Net, images: ImageArray) -> None:
    pixels = torch.tensor(images).permute(0, 3, 1, 2) / 255
    conv, norm, head = (hooked(net, layer, pixels) for layer in ("conv", "norm", "head"))
    read = target(net, "conv", "norm", "head").read(images)
    np.testing.assert_allclose(read[:, :6], conv.mean((2, 3)), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(read[:, 6:12], norm.mean((2, 3)), rtol=1e-4, atol=1e-5)  # before the ReLU in place
    np.testing.assert_allclose(read[:, 12:], head, rtol=1e-4, atol=1e-5)
    maps = target(net, "norm").maps(images, "norm:2")
    np.testing.assert_allclose(np.stack(maps), norm[:, 2], rtol=1e-4, atol=1e-5)


def state_of(net: nn.Module) -> dict[str, Any]:
    """Everything about a module that a reader could change."""
    parameters = dict(net.named_parameters())
    return {
        "training": {name: module.training for name, module in net.named_modules()},
        "hooks": {name: list(module._forward_hooks) for name, module in net.named_modules()},
        "requires_grad": {name: value.requires_grad for name, value in parameters.items()},
        "grad": {name: None if value.grad is None else value.grad.tolist() for name, value in parameters.items()},
        "values": {name: value.tolist() for name, value in net.state_dict().items()},
        "places": {name: (value.device, value.dtype, value.data_ptr()) for name, value in net.state_dict().items()},
        "attributes": {name: sorted(vars(module)) for name, module in net.named_modules()},
    }


@pytest.fixture
def used(net: Net) -> Net:
    """A network in the middle of its training, with a frozen and an evaluated part and a hook of the user's own."""
    net.train()
    net.norm.eval()
    net.conv.requires_grad_(False)
    net(torch.rand(2, 3, 20, 24)).sum().backward()
    net.relu.register_forward_hook(lambda module, given, output: None)
    return net.double()


def test_a_module_is_left_unchanged(used: Net, images: ImageArray) -> None:
    before = state_of(used)
    assert before["grad"]["head.weight"] is not None
    read = target(used, "conv", "head")
    assert read.fingerprint
    assert read.read(images).dtype == np.float32
    assert read.maps(images, "conv:0")
    assert read.heat(images, "conv:0")
    assert state_of(used) == before
    used(torch.rand(2, 3, 20, 24, dtype=torch.float64)).sum().backward()  # training continues
    assert state_of(used)["grad"] != before["grad"]


def test_a_module_is_left_unchanged_by_a_failing_pass(
    used: Net, images: ImageArray, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = target(used, "conv", "head")
    expected, before = read.read(images), state_of(used)

    def fail(*args: object) -> None:
        raise RuntimeError("in the middle")

    with monkeypatch.context() as patch:
        patch.setattr(Scalar, "forward", fail)
        with pytest.raises(RuntimeError, match="in the middle"):
            read.read(images)
    assert state_of(used) == before
    np.testing.assert_array_equal(read.read(images), expected)


def test_a_module_may_have_an_output_that_needs_its_gradients_later(net: Net, images: ImageArray) -> None:
    kept: list[torch.Tensor] = []
    net.conv.register_forward_hook(lambda module, given, output: kept.append(output))
    target(net, "head").read(images)
    assert not any(tensor.is_inference() for tensor in kept)


# Fingerprints


def test_the_fingerprint_is_the_same_twice_and_for_a_copy(net: Net) -> None:
    first = target(net, "conv").fingerprint
    assert target(net, "conv").fingerprint == first
    assert target(copy.deepcopy(net).eval(), "conv", batch=5).fingerprint == first


def test_the_fingerprint_names_what_activations_depend_on(net: Net) -> None:
    other_weights, other_buffer, other_attribute = (copy.deepcopy(net) for _ in range(3))
    with torch.no_grad():
        other_weights.conv.weight[0, 0, 0, 0] += 0.01
        assert other_buffer.norm.running_var is not None
        other_buffer.norm.running_var += 0.01
    other_attribute.scale = 2.0
    found = [target(model, "conv").fingerprint for model in (net, other_weights, other_buffer, other_attribute)]
    found.append(target(net, "head").fingerprint)
    found.append(target(net, "conv", pooling="max").fingerprint)
    found.append(target(net, "conv", preprocess=darker).fingerprint)
    assert len(set(found)) == len(found)


def test_the_fingerprint_names_what_a_transform_holds(net: Net) -> None:
    def divided(by: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
        return lambda images: images / by

    def fingerprint(*by: float) -> str:
        return target(net, "conv", preprocess=divided(torch.tensor(by)[:, None, None])).fingerprint

    assert fingerprint(9, 9, 9) == fingerprint(9, 9, 9)
    assert len({fingerprint(9, 9, 9), fingerprint(8, 9, 9), fingerprint(9, 9, 8)}) == 3


MINE = """
import torch
from torch import nn

class Mine(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(3, 2, 3)
        self.act = torch.relu

    def extra_repr(self):
        return repr(self.act) + repr(object())

    def forward(self, x):
        return self.layer(x) {change}

def scaled(x):
    return x / 255

def make():
    torch.manual_seed(0)
    return Mine()
"""
CHILD = """
import sys
import mine_in_memory as mine
from dnr_env.models.memory import network_in_memory
from dnr_env.models.target import NetworkTarget
print(NetworkTarget(network_in_memory(mine.make(), mine.scaled), ["layer"]).fingerprint)
"""


def test_the_fingerprint_is_that_of_another_process_and_of_the_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for folder, change in (("a", ""), ("b", "* 2")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "mine_in_memory.py").write_text(MINE.replace("{change}", change))
        with monkeypatch.context() as patch:
            patch.syspath_prepend(tmp_path / folder)
            mine = importlib.import_module("mine_in_memory")
            found.append(target(mine.make(), "layer", preprocess=mine.scaled).fingerprint)
            del sys.modules["mine_in_memory"]
    assert found[0] != found[1]
    root = str(Path(__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path / "a"), root])}
    child = subprocess.run([sys.executable, "-c", CHILD], capture_output=True, text=True, env=environment)
    assert child.returncode == 0, child.stderr
    assert child.stdout.strip() == found[0]


# Functions


def test_a_function_is_a_network_with_one_layer(net: Net, images: ImageArray) -> None:
    def features(pixels: torch.Tensor) -> torch.Tensor:
        return net.conv(pixels).relu()  # type: ignore[no-any-return]

    pixels = torch.tensor(images).permute(0, 3, 1, 2) / 255
    with torch.no_grad():
        expected = features(pixels)
    read = target(features, "output")
    assert read.neurons == tuple(f"output:{i}" for i in range(6))
    np.testing.assert_allclose(read.read(images), expected.mean((2, 3)), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(np.stack(read.maps(images, "output:3")), expected[:, 3], rtol=1e-4, atol=1e-5)
    vectors = target(lambda pixels: features(pixels).amax((2, 3)), "output")
    np.testing.assert_allclose(vectors.read(images), expected.amax((2, 3)), rtol=1e-4, atol=1e-5)


def test_what_a_function_holds_is_part_of_its_fingerprint(net: Net) -> None:
    def first(pixels: torch.Tensor) -> torch.Tensor:
        return net.conv(pixels)  # type: ignore[no-any-return]

    before = target(first, "output").fingerprint
    assert target(first, "output").fingerprint == before
    with torch.no_grad():
        net.conv.weight *= 1.1
    assert target(first, "output").fingerprint != before


def test_a_function_that_fails_is_named(images: ImageArray) -> None:
    def failing(pixels: torch.Tensor) -> torch.Tensor:
        raise ValueError("no such size")

    with pytest.raises(
        DnRError, match=r"^`target.network` must accept .*'memory:failing', .* on an image: no such size"
    ):
        target(failing, "output").read(images)


@pytest.mark.parametrize("model", [7, None, Net, [nn.Linear(2, 2)]])
def test_what_is_no_network_is_refused(model: Any) -> None:
    with pytest.raises(DnRError, match=r"^`model` must be a torch module, a function, or a text such as .* \(got "):
        network_in_memory(model)


# Transforms


def test_a_given_transform_may_take_pil_images(net: Net, images: ImageArray) -> None:
    from torchvision.transforms import functional

    np.testing.assert_allclose(
        target(net, "head", preprocess=functional.to_tensor).read(images), target(net, "head").read(images), atol=1e-6
    )


def test_a_timm_model_brings_its_transform(caplog: pytest.LogCaptureFixture) -> None:
    import timm
    from timm.data.config import resolve_model_data_config

    model = timm.create_model("test_vit")
    config: dict[str, Any] = resolve_model_data_config(model)  # type: ignore[no-untyped-call]
    network = network_in_memory(model)
    assert network.transform == of_timm(config)
    assert network.transform != IMAGENET
    assert not caplog.records


def test_a_model_without_a_transform_gets_that_of_imagenet_and_a_warning(
    net: Net, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, logger="dnr_env"):
        assert network_in_memory(net, scaled).transform != IMAGENET
        assert not caplog.records
        assert network_in_memory(net).transform == IMAGENET
    (record,) = caplog.records
    assert record.getMessage().startswith("`preprocess` was not given and the model carries none: ")


# Layers


def test_a_layer_that_does_not_exist_brings_those_that_do(net: Net) -> None:
    with pytest.raises(DnRError, match=r"^`target.layers` must be one of conv, .*\(got 'convv'\)$"):
        _ = target(net, "convv").neurons
    with pytest.raises(DnRError, match=r"^`target.layers` must be one of output \(got 'outputs'\)$"):
        _ = target(lambda pixels: pixels, "outputs").neurons


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ("scalar", r"must name modules that return maps, tokens or vectors \(got 'scalar', which returns shape \(\) "),
        ("nothing", r"must name modules that return tensors \(got 'nothing', which returns NoneType\)$"),
        (
            "empty",
            r"must name modules that return maps, .* \(got 'empty', which returns shape \(3, 0\) for 3 images\)$",
        ),
    ],
)
def test_a_layer_without_neurons_is_refused_in_one_sentence(net: Net, layer: str, message: str) -> None:
    before = state_of(net)
    with pytest.raises(DnRError, match=f"^`target.layers` {message}") as caught:
        _ = target(net, layer).neurons
    assert "\n" not in str(caught.value)
    assert state_of(net) == before
