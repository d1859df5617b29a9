"""A stack of real classes with small random checkpoints, a folder of images, and a local language model."""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

import yaml
from fake_openai import FakeOpenAI, Reply, phrases
from PIL import Image
from small_clip import write_clip
from small_models import small_captioner, small_diffusion

from dnr_env.models.config import StackConfig
from dnr_env.models.stack import model_stack
from dnr_env.registry import read_spec
from dnr_env.shapes.render import Renderer
from dnr_env.stack import Stack

NETWORK = """
from collections import OrderedDict
from torch import nn

def block(before, after, size, stride):
    return nn.Sequential(nn.Conv2d(before, after, size, stride), nn.BatchNorm2d(after), nn.ReLU())

def make():
    blocks = {"layer1": block(3, 16, 8, 4), "layer2": block(16, 16, 3, 2), "layer3": nn.Conv2d(16, 32, 3, padding=1)}
    return nn.Sequential(OrderedDict(blocks)), small

def small(images):
    return nn.functional.interpolate(images.float(), (64, 64)) / 128 - 1
"""
"""The network under study, with the transform of its images. Its `layer3` has 32 neurons."""
_WORDS = ("red star", "striped thing", "blue ring", "dotted cross", "yellow heart", "green square", "black dog")


def small_world(folder: Path) -> Path:
    """Write checkpoints, 32 images and their configuration, and return the path of the YAML file."""
    (folder / "photos" / "deeper").mkdir(parents=True)
    drawn = Renderer().generate(["thing"] * 32, range(32))
    for i, image in enumerate(drawn):
        place = folder / "photos" / ("deeper" if i % 2 else "") / f"{214 + i}.png"  # names of which the search sees 20
        Image.fromarray(image).resize((80 + i, 100)).save(place)
    config: dict[str, Any] = {
        "target": {"network": "python:network.py:make", "weights": "none", "layers": "layer3", "batch": 8},
        "probe": {"images": "photos"},
        "captioner": {"model": small_captioner(folder / "captioner").name},
        "writer": {"model": "small", "candidates": 3, "input_price": 1.0, "output_price": 2.0},
        "generator": {"model": small_diffusion(folder / "diffusion").name, "size": 32, "batch": 8},
        "embedder": {"model": write_clip(folder / "clip").name, "pretrained": None, "batch": 8},
        "vocabulary": "words.txt",
        "device": "cpu",
    }
    (folder / "network.py").write_text(NETWORK)
    (folder / "words.txt").write_text("\n".join(_WORDS))
    path = folder / "stack.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


def config_of(spec: str) -> StackConfig:
    """The configuration that a text names, with settings after the name."""
    _, config = read_spec(spec)
    assert isinstance(config, StackConfig)
    return config


def fresh(spec: str) -> Stack:
    """The stack as another process would load it."""
    return model_stack(spec, config_of(spec))


def answer(body: dict[str, Any]) -> Reply:
    """Answer as a language model that knows a short list of words. Equal questions get equal answers."""
    asked = json.dumps(body["messages"])
    first = zlib.crc32(f"{asked} {body.get('seed')}".encode()) % len(_WORDS)
    return phrases(*(_WORDS[(first + i) % len(_WORDS)] for i in range(5)))


def language_model() -> FakeOpenAI:
    """Make the server, which is used in a with statement."""
    server = FakeOpenAI(answer=answer)
    server.models = ("small",)
    return server
