"""A reader made of a network and an image embedder, which read the same images."""

from __future__ import annotations

import numpy as np

from dnr_env.interfaces import Target
from dnr_env.models.embedder import OpenClipEmbedder
from dnr_env.models.missing import NoEmbedder
from dnr_env.neurons import Neurons
from dnr_env.types import FloatArray, Images


class NetworkReader:
    """Reads the activations of a target's neurons, and embeddings in the space of texts. The network is loaded at once.

    Args:
        target: the network under study.
        embedder: embeds images in the space of concepts.
    """

    def __init__(self, target: Target, embedder: OpenClipEmbedder | NoEmbedder) -> None:
        self.target = target
        self.embedder = embedder
        self.fingerprint = f"{target.fingerprint}; {embedder.fingerprint}"
        self.neurons = target.neurons
        self.dim = embedder.dim

    def read(self, images: Images) -> tuple[FloatArray, FloatArray]:
        """Map n images (h, w, 3) uint8 to activations (n, neurons) and unit embeddings (n, dim), float32."""
        return self.target.read(images), self.embedder.embed_images(images)


class ImagesOnly:
    """Reads embeddings, and no neuron.

    Args:
        embedder: embeds images.
    """

    neurons = Neurons(())

    def __init__(self, embedder: OpenClipEmbedder) -> None:
        self.embedder = embedder
        self.fingerprint = f"no target; {embedder.fingerprint}"
        self.dim = embedder.dim

    def read(self, images: Images) -> tuple[FloatArray, FloatArray]:
        """See `NetworkReader.read`. There are no activations."""
        return np.empty((len(images), 0), np.float32), self.embedder.embed_images(images)
