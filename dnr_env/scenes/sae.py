"""The target of `scenes-sae`: features of a sparse autoencoder on one layer, which `sae_train.py` has trained."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from dnr_env.neurons import Neurons
from dnr_env.propose.crops import Box, Heat
from dnr_env.scenes import networks
from dnr_env.scenes.reader import SceneReader
from dnr_env.shapes.paint import SIDE
from dnr_env.types import FloatArray, Images

TARGET, LAYER = "depthwise", "layer3"
"""The target of `scenes`, and its layer with the most polysemantic channels."""
FEATURES = 160
"""The number of features: four for each channel."""
K = 8
"""The number of features that a picture keeps: the largest ones."""
RARE = 0.01
"""A feature that fires on a smaller share of the pictures is dead, and is not among the neurons."""
FILE = "sae.safetensors"


class Autoencoder:
    """The encoder of a TopK autoencoder (Gao et al. 2024, arXiv:2406.04093).

    Args:
        path: a file that `dnr_env.scenes.sae_train` has written.
    """

    def __init__(self, path: Path) -> None:
        weights = load_file(path)
        self.weight, self.bias, self.centre = weights["W_enc"], weights["b_enc"], weights["b_dec"]
        self.alive = np.flatnonzero(weights["rate"] >= RARE)
        self.digest = hashlib.sha256(path.read_bytes()).hexdigest()[:16]

    def encode(self, channels: FloatArray) -> FloatArray:
        """Map channel means (n, channels) to float32 features (n, features): the K largest if positive, else 0."""
        before = np.tile(self.bias, (len(channels), 1))
        # The rounding of a matrix product would depend on the number of pictures.
        for of_channel, weight in zip((channels - self.centre).T, self.weight, strict=True):
            before += of_channel[:, None] * weight
        largest = np.argsort(-before, axis=1, kind="stable")[:, :K]
        features = np.zeros_like(before)
        np.put_along_axis(features, largest, np.take_along_axis(before, largest, axis=1).clip(0), axis=1)
        return features

    def maps(self, channels: FloatArray, feature: int) -> FloatArray:
        """One feature before TopK at each position (n, h, w) of maps (n, channels, h, w). `encode` ranks its mean."""
        centred = np.moveaxis(channels, 1, -1) - self.centre
        mapped: FloatArray = centred @ self.weight[:, feature] + self.bias[feature]
        return mapped


class SaeReader:
    """Reads the features of the autoencoder that are not dead. A name has the feature's index among all, dead ones too.

    Args:
        base: the target that provides the channels.
    """

    def __init__(self, base: SceneReader) -> None:
        self.base = base
        self.dim = base.dim
        self.autoencoder = Autoencoder(networks.DATA / FILE)
        self.neurons = Neurons(f"sae:{feature}" for feature in self.autoencoder.alive)
        self.fingerprint = f"{base.fingerprint} sae-1 {self.autoencoder.digest}"

    def read(self, images: Images) -> tuple[FloatArray, FloatArray]:
        """See `SceneReader.read`. The activations are (n, features that are not dead)."""
        activations, embeddings = self.base.read(images)
        channels = activations[:, self.base.neurons.select(LAYER)]
        return self.autoencoder.encode(channels)[:, self.autoencoder.alive], embeddings

    def heat(self, images: Images, neuron: str) -> list[Heat]:
        """The maps of a feature on n pictures of this world."""
        maps = self.autoencoder.maps(self.base.network.maps(images, LAYER), int(neuron.split(":")[1]))
        return [Heat(values, Box(0, 0, SIDE, SIDE)) for values in maps]

    def formula(self, neuron: str) -> str | None:
        """The formula of a neuron: None, as no feature has one."""
        return None
