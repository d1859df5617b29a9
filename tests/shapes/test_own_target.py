"""Stacks on a network that the training scripts of the embedded worlds have written."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch

from dnr_env import DnRError, load_stack
from dnr_env.scenes.network import SceneNet
from dnr_env.scenes.reader import SceneReader
from dnr_env.scenes.widths import WIDTHS
from dnr_env.shapes.network import ShapesNet
from dnr_env.shapes.reader import ShapesReader
from dnr_env.shapes.render import Renderer
from dnr_env.shapes.weights import save_target

WIDE = {"plain": (4, 6, 8, 10), "residual": (4, 6, 8, 10), "depthwise": (6, 6, 8, 10)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights of a small network of each kind, in a folder whose name has a space."""
    folder = tmp_path_factory.mktemp("my networks")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        save_target(folder / "shapes.safetensors", ShapesNet(3), "shapes", width="3")
        for architecture, widths in WIDE.items():
            built = {"architecture": architecture, "widths": " ".join(map(str, widths))}
            save_target(folder / f"{architecture}.safetensors", SceneNet(architecture, widths), "scenes", **built)
    return folder


def test_shapes_studies_a_network_of_any_width(folder: Path) -> None:
    path = folder / "shapes.safetensors"
    stack, usual = load_stack(f"shapes 'target={path}'"), load_stack("shapes")
    layers = [f"layer{layer + 1}:{i}" for layer in range(4) for i in range(3 << layer)]
    planted = [name for name in usual.neurons if name.startswith("planted")]
    assert stack.neurons == (*layers, *planted)
    activations, embeddings = stack.lab.reader.read(Renderer().generate(["red star"], [1 << 50]))
    assert activations.shape == (1, len(stack.neurons))
    assert embeddings.shape == (1, ShapesReader.dim)
    assert stack.lab.reader.fingerprint != usual.lab.reader.fingerprint
    assert stack.known.truth("planted:0") == usual.known.truth("planted:0")
    assert stack.known.optimum("grounded_k") == {}
    assert stack.calibration == usual.calibration


@pytest.mark.parametrize("architecture", WIDE)
def test_scenes_studies_a_network_of_any_widths(folder: Path, architecture: str, scene_weights: None) -> None:
    stack = load_stack(f"scenes target='{folder / architecture}.safetensors' probe=200")
    reader = stack.lab.reader
    assert isinstance(reader, SceneReader)
    assert reader.network.architecture == architecture
    channels = [f"layer{n}:{i}" for n, width in enumerate(WIDE[architecture], 1) for i in range(width)]
    assert stack.neurons[: len(channels)] == tuple(channels)
    assert stack.neurons[len(channels)] == "planted:0"
    assert reader.read(Renderer().generate(["red star"], [1 << 50]))[0].shape == (1, len(stack.neurons))
    assert WIDE[architecture] != WIDTHS[architecture]


@pytest.mark.parametrize("spec", ["shapes target=shapes.safetensors", "scenes target=plain.safetensors probe=200"])
def test_the_name_gives_the_stack_to_processes_in_other_folders(
    spec: str, folder: Path, scene_weights: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(folder)
    stack = load_stack(spec)
    monkeypatch.chdir(tmp_path)
    assert load_stack(stack.name) is stack
    assert pickle.loads(pickle.dumps(stack)) is stack


def test_what_is_no_target_of_the_world_is_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "damaged.safetensors").write_bytes(b"no weights")
    for path in (folder / "plain.safetensors", tmp_path / "damaged.safetensors", tmp_path / "none", tmp_path):
        with pytest.raises(DnRError, match=r"^`target` must be a file that the training script of shapes has written"):
            load_stack(f"shapes 'target={path}'")
    for path in (folder / "shapes.safetensors", tmp_path / "damaged.safetensors"):
        with pytest.raises(DnRError, match=r"^`target` must be a file that the training script of scenes has written"):
            load_stack(f"scenes 'target={path}'")
    with pytest.raises(DnRError, match=r"^`width` must be left out where `target` is .* \(got 12\)$"):
        load_stack(f"shapes width=12 'target={folder / 'shapes.safetensors'}'")
