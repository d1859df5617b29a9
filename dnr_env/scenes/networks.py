"""The trained networks of `scenes`: what a picture shows, and what each channel says of it."""

from __future__ import annotations

import hashlib
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dnr_env.propose.crops import Box, Heat
from dnr_env.scenes.widths import WIDTHS
from dnr_env.shapes.paint import SIDE
from dnr_env.shapes.pictures import one_thread, square
from dnr_env.shapes.weights import read_built
from dnr_env.types import FloatArray, Images

if TYPE_CHECKING:
    from dnr_env.scenes.network import SceneNet

DATA = Path(__file__).parent / "data"
_BATCH = 16
"""Images of every forward pass: with one shape, an image's results do not depend on the other images."""


class Network:
    """A trained network.

    Args:
        target: one of `dnr_env.scenes.widths.WIDTHS` for the shipped network of this architecture, or the path of
            another trained one.
    """

    def __init__(self, target: str) -> None:
        if target in WIDTHS:
            self._weights = DATA / f"target-{target}.safetensors"
            self.architecture, self.widths = target, WIDTHS[target]
        else:
            self._weights = Path(target)
            built = read_built(self._weights, "scenes")
            self.architecture, self.widths = built["architecture"], tuple(map(int, built["widths"].split()))
        self.fingerprint = f"scenes-{self.architecture} {hashlib.sha256(self._weights.read_bytes()).hexdigest()[:16]}"

    @cached_property
    def _network(self) -> SceneNet:
        # torch is imported when the first image is measured, as an environment on a warm store does not need it.
        import torch
        from safetensors.torch import load_file

        from dnr_env.scenes.network import SceneNet

        # Initial weights are drawn and then replaced. They must not advance the random generator of a training run.
        with torch.random.fork_rng(devices=[]):
            network = SceneNet(self.architecture, self.widths)
        network.load_state_dict(load_file(self._weights))
        for parameter in network.parameters():
            parameter.requires_grad_(False)
        return network.eval().to(memory_format=torch.channels_last)

    def read(self, images: Images) -> tuple[FloatArray, FloatArray]:
        """Measure n images (h, w, 3) uint8: channel means (n, channels), and probabilities (n, outputs) float32."""
        import torch

        from dnr_env.shapes.network import to_input

        channels, probabilities = [], []
        batch = np.zeros((_BATCH, SIDE, SIDE, 3), np.uint8)
        for start in range(0, len(images), _BATCH):
            part = [square(image) for image in images[start : start + _BATCH]]
            batch[: len(part)] = part
            with torch.inference_mode(), one_thread():
                logits, pooled = self._network(to_input(batch).contiguous(memory_format=torch.channels_last))
            channels.append(torch.cat(pooled, dim=1).numpy()[: len(part)])
            probabilities.append(logits.sigmoid().numpy()[: len(part)])
        return np.concatenate(channels), np.concatenate(probabilities)

    def maps(self, images: Images, layer: str) -> FloatArray:
        """The maps (n, channels, rows, columns) float32 of a layer on n pictures of this world."""
        import torch

        from dnr_env.shapes.network import to_input

        with torch.inference_mode(), one_thread():
            maps: FloatArray = self._network.maps(to_input(np.array(images)), layer).numpy()
        return maps

    def heat(self, images: Images, layer: str, channel: int) -> list[Heat]:
        """The maps of a channel on n pictures of this world."""
        return [Heat(values, Box(0, 0, SIDE, SIDE)) for values in self.maps(images, layer)[:, channel]]
