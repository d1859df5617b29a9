"""A network and an image embedder as one reader: both look at the same images."""

from __future__ import annotations

from dnr_env.models.embedder import OpenClipEmbedder
from dnr_env.models.target import Target
from dnr_env.types import FloatArray, Images


class NetworkReader:
    """Activations of a target's neurons, and embeddings in the space of texts. The network is loaded at once.

    Args:
        target: the network under study.
        embedder: the space of images and concepts.
    """

    def __init__(self, target: Target, embedder: OpenClipEmbedder) -> None:
        self.target = target
        self.embedder = embedder
        self.fingerprint = f"{target.fingerprint}; {embedder.fingerprint}"
        self.neurons = target.neurons
        self.dim = embedder.dim

    def read(self, images: Images) -> tuple[FloatArray, FloatArray]:
        """N images (h, w, 3) uint8 to activations (n, neurons) and unit embeddings (n, dim), float32."""
        return self.target.read(images), self.embedder.embed_images(images)
