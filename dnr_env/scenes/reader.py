"""The target of the `scenes` stacks: the channels of a network, and the neurons planted on what its head says."""

from __future__ import annotations

import hashlib

import numpy as np

from dnr_env.neurons import Neurons
from dnr_env.propose.crops import Heat
from dnr_env.scenes import planted
from dnr_env.scenes.clip import ClipImages
from dnr_env.scenes.networks import Network
from dnr_env.scenes.planted import Formula
from dnr_env.shapes.pictures import square
from dnr_env.types import FloatArray, Images


class SceneReader:
    """Reads four layers and the planted neurons, and embeds images by the CLIP.

    Args:
        network: the network under study.
        clip: embeds the images.
    """

    def __init__(self, network: Network, clip: ClipImages) -> None:
        self.network = network
        self.clip = clip
        self.dim = clip.dim
        formulas = hashlib.sha256("\n".join(planted.FORMULAS).encode()).hexdigest()[:16]
        self.fingerprint = f"scenes-reader-1 {network.fingerprint} {clip.fingerprint} {formulas}"
        widths = enumerate(network.widths, 1)
        channels = [f"layer{layer}:{i}" for layer, width in widths for i in range(width)]
        self._formulas = [Formula.read(text) for text in planted.FORMULAS]
        self.neurons = Neurons((*channels, *(f"planted:{i}" for i in range(len(self._formulas)))))

    def read(self, images: Images) -> tuple[FloatArray, FloatArray]:
        """Measure n images (h, w, 3) uint8: activations (n, neurons) and unit embeddings (n, dim)."""
        pictures = np.stack([square(image) for image in images])
        return self.activations(pictures), self.clip.embed(pictures)

    def activations(self, pictures: Images) -> FloatArray:
        """The activations alone, which take half of the time."""
        channels, probabilities = self.network.read(pictures)
        return np.concatenate([channels, planted.activations(probabilities, self._formulas)], axis=1)

    def heat(self, images: Images, neuron: str) -> list[Heat] | None:
        """The maps of a channel on n pictures of this world; None for a planted neuron, which has no positions."""
        layer, index = neuron.split(":")
        return None if layer == "planted" else self.network.heat(images, layer, int(index))

    def formula(self, neuron: str) -> str | None:
        """The formula of a planted neuron; None for the network's channels. Only evaluation may use it."""
        layer, index = neuron.split(":")
        return planted.FORMULAS[int(index)] if layer == "planted" else None
