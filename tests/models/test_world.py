"""A network of the user's own in the embedded world, and real images beside the world's pictures."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from torch import nn

import dnr_env
from dnr_env.cli.main import main
from dnr_env.errors import DnRError
from dnr_env.models.config import WorldConfig
from dnr_env.registry import load, read_spec
from dnr_env.shapes import lexicon
from dnr_env.shapes.reader import ShapesReader
from dnr_env.shapes.render import Renderer
from dnr_env.stack import Stack

NETWORK = """
import torch
from torch import nn

def net():
    torch.manual_seed(1)
    return nn.Sequential(nn.Conv2d(3, 6, 5, stride=4), nn.ReLU(), nn.Conv2d(6, 4, 3, stride=2)), halves

def halves(images):
    return nn.functional.interpolate(images.float(), 64) / 255 - 0.5
"""


@pytest.fixture
def spec(tmp_path: Path) -> str:
    (tmp_path / "mine.py").write_text(NETWORK)
    return f"shapes target.network=python:{tmp_path}/mine.py:net target.layers=[0,2]"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Pictures of the world at other sizes and aspects."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for i, image in enumerate(Renderer().generate(["thing"] * 30, range(30))):
        Image.fromarray(image).resize((90 + i, 70)).save(folder / f"{i:02}.png")
    return folder


def net() -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(nn.Conv2d(3, 6, 5, stride=4), nn.ReLU(), nn.Conv2d(6, 4, 3, stride=2))


def halves(images: torch.Tensor) -> torch.Tensor:
    return nn.functional.interpolate(images.float(), 64) / 255 - 0.5


def test_the_network_is_read_on_the_pictures_of_the_world(spec: str, stack: Stack) -> None:
    own = load(spec)
    assert own.neurons == (*(f"0:{i}" for i in range(6)), *(f"2:{i}" for i in range(4)))
    pictures = Renderer().generate(["red star", "blue thing", "striped ring"], [3, 4, 5])
    activations, embeddings = own.lab.reader.read(pictures)
    module = net()
    with torch.no_grad():
        given = halves(torch.from_numpy(pictures).permute(0, 3, 1, 2))
        first = module[0](given)
        second = module(given)
    expected = torch.cat([first.mean(dim=(2, 3)), second.mean(dim=(2, 3))], dim=1)
    np.testing.assert_allclose(activations, expected.numpy(), atol=1e-6)
    np.testing.assert_array_equal(embeddings, stack.lab.reader.read(pictures)[1])
    assert own.vocabulary.concepts == stack.vocabulary.concepts
    assert own.known.truth("0:0") is None
    assert own.known.optimum("grounded_k") == {}


def test_the_command_and_the_interface_give_the_same_labels(spec: str, photos: Path, tmp_path: Path) -> None:
    stack = f"{spec} probe.images={photos}"
    main(["label", "--stack", stack, "--neurons", "2:0-3", "--out", str(tmp_path / "out")])
    lines = [json.loads(line) for line in (tmp_path / "out" / "labels.jsonl").read_text().splitlines()]
    labels = dnr_env.label(
        net(), "2", images=photos, preprocess=halves, neurons=range(4), stack="shapes", progress=False
    )
    assert [label.text for label in labels] == [line["label"] for line in lines]
    assert [label.value for label in labels] == [line["value"] for line in lines]
    for record, line in zip(labels.records, lines, strict=True):
        assert record["simulations"] == line["simulations"]
    page = (tmp_path / "out" / "report.html").read_text()
    assert page.count("your own images that excite it most") == 4
    beside = load(stack).probes.beside
    assert beside is not None
    assert Path(beside.describe(beside.exemplars[load(stack).neurons.index("2:0")][0])).name in page
    table = (tmp_path / "out" / "labels.csv").read_text().splitlines()
    assert table[0].endswith(",simulation_images")
    assert table[1].endswith(f",{lines[0]['simulations']['images']}")


def test_the_simulation_is_repeated_on_the_images_beside(spec: str, photos: Path) -> None:
    stack = load(f"{spec} probe.images={photos}")
    beside = stack.probes.beside
    assert beside is not None
    files = sorted(photos.iterdir())
    pictures = [Image.open(file) for file in files]
    squares = [np.asarray(ImageOps.fit(picture, (64, 64), Image.Resampling.BICUBIC)) for picture in pictures]
    embeddings = ShapesReader(16).read(np.stack(squares))[1]
    activations = []
    with torch.no_grad():
        for picture in pictures:
            given = halves(torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None])
            activations.append(net()[0](given).mean(dim=(2, 3))[0].numpy())
    names = [Path(beside.describe(i)).name for i in range(30)]
    order = [names.index(file.name) for file in files]
    similar = embeddings @ stack.embedder.embed_texts(["red thing"])[0]
    expected = [np.corrcoef(similar, np.stack(activations)[:, i])[0, 1] for i in range(6)]
    got = beside.simulation(stack.embedder.embed_texts(["red thing"] * 6), np.arange(6))
    np.testing.assert_allclose(got, expected, atol=1e-5)
    np.testing.assert_allclose(beside.raw(np.array(order), np.arange(6)), np.stack(activations), atol=1e-5)
    assert stack.fingerprints()["images beside"] != load(spec).fingerprints()["images beside"]
    assert stack.probe.fingerprint == load(spec).probe.fingerprint


def test_settings_of_the_world_go_together_with_a_network(spec: str) -> None:
    name, config = read_spec(f"{spec} infidelity=0.2 withheld=true device=cpu")
    assert isinstance(config, WorldConfig)
    assert (config.world.infidelity, config.world.withheld, config.target.layers) == (0.2, True, ("0", "2"))
    assert read_spec(name) == (name, config)
    assert load(name).vocabulary.concepts != load(spec).vocabulary.concepts
    assert not set(lexicon.WITHHELD) & {word for text in load(name).vocabulary.concepts for word in text.split()}


def test_a_preset_takes_a_network_too(spec: str) -> None:
    _, config = read_spec(spec.replace("shapes", "shapes-unfaithful", 1))
    assert isinstance(config, WorldConfig)
    assert config.world.infidelity == 0.2


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ("target.layers=layer4", r"^`target.network` must name a network where .*'target.layers=layer4' \(got none\)$"),
        ("probe.images=photos", r"^`target.network` must name a network where .*'probe.images=photos' \(got none\)$"),
        ("device=cpu", r"^`target.network` must name a network"),
        ("target.network=timm:resnet18 neurons=fresh", r"^`neurons` must be left out where .*\(got fresh\)$"),
        ("target.network=timm:resnet18 target.layer=x", r"must be one of .*target\.layers.* \(got 'target.layer'\)$"),
        (
            "target.network=timm:resnet18 probe.corruptions=blur",
            r"must be one of .*probe.* \(got 'probe.corruptions'\)$",
        ),
        ("target.network=timm:resnet18 generator.size=8", r"^a setting of shapes must be one of .*\(got 'generator"),
        (
            "target.network=timm:resnet18 target=3",
            r"^`target` must be a file that the training script of shapes .*\(got .*3\)$",
        ),
        ("target.network=resnet18", r"^`target.network` must be written as .*\(got 'resnet18'\)$"),
    ],
)
def test_settings_that_are_refused(settings: str, says: str) -> None:
    with pytest.raises(DnRError, match=says):
        load(f"shapes {settings}")


def test_images_that_are_not_there_stop_the_run_before_anything_is_drawn(spec: str, tmp_path: Path) -> None:
    stack = load(f"{spec} probe.images={tmp_path}/nowhere")
    with pytest.raises(DnRError, match=r"^`probe.images` must .*nowhere"):
        dnr_env.label(stack=stack, neurons="0:0", out=tmp_path / "out", progress=False)
    assert not list((tmp_path / "out").iterdir())
    with pytest.raises(DnRError, match="`images` must be left out without a `model`"):
        dnr_env.label(images=tmp_path, stack="shapes", progress=False)


def test_plan_and_doctor_know_the_network(spec: str, photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["plan", "--stack", spec, "--neurons", "all"])
    assert "neurons     10\n" in capsys.readouterr().out
    with pytest.raises(SystemExit) as ended:
        main(["doctor", "--stack", f"{spec} target.weights=none probe.images={photos} target.layers=9"])
    assert ended.value.code == 1
    out = capsys.readouterr().out
    assert "30 images" in out
    assert "`target.layers` must be one of" in out
