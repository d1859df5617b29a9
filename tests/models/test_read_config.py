"""Configurations of stacks of real models."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("pydantic")

from dnr_env.errors import DnRError
from dnr_env.evidence.calibration import Calibration
from dnr_env.models.read_config import read_config
from dnr_env.registry import load


@pytest.mark.parametrize(
    ("key", "known"),
    [
        ("judge.generator.modle", "judge.generator.model"),
        ("judge.prompt", "judge.template"),
        ("writer.modle", "writer.model"),
        ("targte", "target"),
    ],
)
def test_a_key_that_is_unknown_brings_those_that_are(key: str, known: str) -> None:
    with pytest.raises(DnRError, match=f"^a setting of the stack must be one of .*{known}, .*\\(got '{key}'\\)$"):
        read_config("turbo", [f"{key}=x"])


@pytest.mark.parametrize(
    ("line", "path"),
    [
        ("probe: {images: 'torchvision:CIFAR10:inner'}", "torchvision:CIFAR10:{folder}/inner"),
        ("probe: {images: 'torchvision:CIFAR10:inner:train'}", "torchvision:CIFAR10:{folder}/inner:train"),
        ("target: {network: 'python:net.py:make'}", "python:{folder}/net.py:make"),
        ("target: {network: 'python:package.net:make'}", "python:package.net:make"),
        ("target: {network: 'torchvision:inner'}", "torchvision:inner"),  # names a network, not the folder
        ("target: {network: 'hf:inner'}", "hf:{folder}/inner"),
        ("embedder: {pretrained: inner/clip.safetensors}", "{folder}/inner/clip.safetensors"),
        ("embedder: {pretrained: openai}", "openai"),
    ],
)
def test_paths_with_something_before_or_after(tmp_path: Path, line: str, path: str) -> None:
    (tmp_path / "inner").mkdir()
    for name in ("net.py", "inner/clip.safetensors"):
        (tmp_path / name).touch()
    (tmp_path / "stack.yaml").write_text(line)
    config = read_config(str(tmp_path / "stack.yaml"))
    section = line.partition(":")[0]
    values = getattr(config, section).model_dump().values()
    assert path.format(folder=tmp_path) in values


@pytest.mark.slow
@pytest.mark.parametrize(
    "spec",
    ["turbo target.weights=none embedder=null", "shapes target.network=torchvision:resnet18 target.weights=none"],
)
def test_a_stack_takes_the_calibration_that_it_names(spec: str, tmp_path: Path) -> None:
    usual = Calibration.default()
    other, path = replace(usual, seen=(0.0, 0.9, 0.2)), tmp_path / "mine.json"
    path.write_bytes(other.write())
    assert load(spec).calibration == usual
    found = load(f"{spec} calibration={path}")
    assert found.calibration.fingerprint == other.fingerprint
    assert found.prior.calibration is found.calibration
    path.write_text("{}")
    with pytest.raises(DnRError, match=r"^`calibration` must be a file that `dnr calibrate` wrote \(got .*mine.json"):
        load(f"{spec} calibration='{path}' target.batch=3")
