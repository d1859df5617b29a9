"""The networks and neurons of the confirmation (docs/study/preregistration.md), which no training or tuning has met."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

import numpy as np
from study_settings import LAYERS

from dnr_env.evaluation.results import markdown
from dnr_env.stack import Stack

NEURONS = 30
"""Neurons of each network."""
PLANTED = 6
"""How many of these are planted."""


@dataclass(frozen=True)
class FreshNetwork:
    """A network that the training script of its world makes."""

    world: str
    architecture: str
    widths: tuple[int, ...]
    """The channels of `layer1` to `layer4`."""
    seed: int
    """The seed of its training, and of the choice of its neurons."""
    steps: int
    """The batches that it is trained on: 128 pictures each in `shapes`, 64 in `scenes`."""

    @property
    def name(self) -> str:
        """The name of its files."""
        return f"{self.world}-{self.architecture}-{self.seed}"

    def weights(self, out: Path) -> Path:
        """The file of its weights."""
        return out / "networks" / f"{self.name}.safetensors"

    def training(self, out: Path) -> tuple[str, ...]:
        """The module that trains it, and its arguments."""
        built: tuple[str, ...]
        if self.world == "shapes":
            built = ("dnr_env.shapes.train_target", "--width", str(self.widths[0]))
        else:
            widths = map(str, self.widths)
            built = ("dnr_env.scenes.target_train", "--architecture", self.architecture, "--widths", *widths)
        return (*built, "--seed", str(self.seed), "--steps", str(self.steps), "--out", str(self.weights(out)))

    def stack(self, out: Path) -> str:
        """The stack that studies it, as a name."""
        return f"{self.world} {shlex.quote(f'target={self.weights(out)}')}"


def _of_shapes(width: int, seed: int) -> FreshNetwork:
    return FreshNetwork("shapes", "residual", (width, 2 * width, 4 * width, 8 * width), seed, steps=1000)


def _of_scenes(architecture: str, widths: tuple[int, ...], seed: int) -> FreshNetwork:
    return FreshNetwork("scenes", architecture, widths, seed, steps=3000)


NETWORKS: tuple[FreshNetwork, ...] = (
    _of_shapes(8, 101),
    _of_shapes(10, 102),
    _of_shapes(12, 103),
    _of_shapes(14, 104),
    _of_shapes(16, 105),
    _of_shapes(18, 106),
    _of_scenes("plain", (8, 16, 28, 40), 107),
    _of_scenes("plain", (10, 20, 36, 52), 108),
    _of_scenes("residual", (8, 16, 28, 40), 109),
    _of_scenes("residual", (10, 20, 36, 52), 110),
    _of_scenes("depthwise", (20, 28, 36, 44), 111),
    _of_scenes("depthwise", (28, 36, 44, 52), 112),
)
"""The networks of a world stand together."""


def table_of(networks: Sequence[FreshNetwork]) -> str:
    """Tabulate networks, as Markdown."""
    rows = [
        [one.world, one.architecture, ", ".join(map(str, one.widths)), str(one.seed), str(one.steps)]
        for one in networks
    ]
    return markdown(("world", "architecture", "channels of the layers", "seed", "steps"), rows)


def neurons_of(stack: Stack, seed: int) -> list[str]:
    """Choose the neurons of a network: planted ones of the test split, and as many of each layer as there are.

    Constant neurons are left out, as nothing tells what they fire for. Where a layer has too few, the others give more.

    Args:
        stack: the stack of the network.
        seed: the seed of the choice.
    """
    rng = np.random.default_rng(seed)

    def shuffled(which: str) -> list[str]:
        varying = [place for place in stack.neurons.select(which) if stack.probe.alive[place]]
        return [stack.neurons[place] for place in rng.permutation(varying)]

    planted, layers = shuffled("planted:test"), [shuffled(layer) for layer in LAYERS]
    turns = [neuron for turn in zip_longest(*layers) for neuron in turn if neuron is not None]
    return [*turns[: NEURONS - PLANTED], *planted[:PLANTED]]
