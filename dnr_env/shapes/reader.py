"""The target of the `shapes` stacks, with the embeddings and captions that come from the same forward pass."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dnr_env.interfaces import Target
from dnr_env.neurons import Neurons
from dnr_env.propose.crops import Box, Heat
from dnr_env.shapes import planted
from dnr_env.shapes.captions import caption
from dnr_env.shapes.lexicon import FAMILIES, FAMILY_SLICES, WORDS, embed_words, word_probabilities
from dnr_env.shapes.paint import SIDE
from dnr_env.shapes.pictures import one_thread, square
from dnr_env.shapes.planted import Formula
from dnr_env.shapes.weights import read_built
from dnr_env.types import FloatArray, Images

if TYPE_CHECKING:
    from dnr_env.shapes.network import ShapesNet

DATA = Path(__file__).parent / "data"
_NOTICED = (0.25, 0.6, 0.4, 0.7, 0.35)  # size, colour, texture, shape, background
_MISTAKEN = (0.1,) * len(FAMILIES)
_BATCH = 16
"""Images of every forward pass. The rounding of a convolution depends on the shape of its batch; with one shape, an
image's activations do not depend on the other images."""


class ShapesReader:
    """Reads four convolutional layers and the planted neurons, and embeds images by the words that are detected.

    Args:
        width: channels of the first layer. Weights are shipped for 16 and 12.
        target: the path of another trained network, of any width; empty for the shipped one.
    """

    dim = len(WORDS) + 1

    def __init__(self, width: int, target: str = "") -> None:
        self.width = int(read_built(Path(target), "shapes")["width"]) if target else width
        self._weights = Path(target) if target else DATA / f"target-{width}.safetensors"
        digest = hashlib.sha256(self._weights.read_bytes())
        digest.update("\n".join([*WORDS, *planted.FORMULAS]).encode())
        self.fingerprint = f"shapes-reader-2 {digest.hexdigest()[:16]}"
        channels = [f"layer{layer + 1}:{i}" for layer in range(4) for i in range(self.width << layer)]
        self._channels = len(channels)
        self._formulas = [Formula.read(text) for text in planted.FORMULAS]
        self.neurons = Neurons((*channels, *(f"planted:{i}" for i in range(len(self._formulas)))))

    @cached_property
    def _network(self) -> ShapesNet:
        # torch is imported when the first image is measured, as an environment on a warm store does not need it.
        import torch
        from safetensors.torch import load_file

        from dnr_env.shapes.network import ShapesNet

        # Initial weights are drawn and then replaced. They must not advance the random generator of a training run.
        with torch.random.fork_rng(devices=[]):
            network = ShapesNet(self.width)
        network.load_state_dict(load_file(self._weights))
        for parameter in network.parameters():
            parameter.requires_grad_(False)
        return network.eval().to(memory_format=torch.channels_last)

    def read(self, images: Images) -> tuple[FloatArray, FloatArray]:
        """Measure (n, 64, 64, 3) uint8: activations (n, neurons) and unit embeddings (n, words + 1)."""
        return self.read_formulas(images, self._formulas)

    def read_formulas(self, images: Images, formulas: Sequence[Formula]) -> tuple[FloatArray, FloatArray]:
        """Do the same as `read` with other planted formulas: (n, channels + formulas) activations."""
        images = np.asarray(images)
        import torch

        from dnr_env.shapes.network import to_input

        network = self._network
        activations = np.empty((len(images), self._channels + len(formulas)), np.float32)
        probabilities = np.empty((len(images), len(WORDS)), np.float32)
        batch = np.zeros((_BATCH, *images.shape[1:]), np.uint8)
        for start in range(0, len(images), _BATCH):
            part = images[start : start + _BATCH]
            batch[: len(part)] = part
            with torch.inference_mode(), one_thread():
                logits, pooled = network(to_input(batch))
                words = torch.cat([logits[:, family].softmax(dim=1) for family in FAMILY_SLICES], dim=1).numpy()
            read = np.concatenate([*(layer.numpy() for layer in pooled), planted.activations(words, formulas)], axis=1)
            activations[start : start + len(part)] = read[: len(part)]
            probabilities[start : start + len(part)] = words[: len(part)]
        return activations, embed_words(probabilities)

    def heat(self, images: Images, neuron: str) -> list[Heat] | None:
        """The maps of a channel on n pictures of this world; None for a planted neuron, which has no positions."""
        import torch

        from dnr_env.shapes.network import to_input

        layer, index = neuron.split(":")
        if layer == "planted":
            return None
        with torch.inference_mode(), one_thread():
            maps = self._network.maps(to_input(np.array(images)), layer)[:, int(index)].numpy()
        return [Heat(values, Box(0, 0, SIDE, SIDE)) for values in maps]

    def caption(self, images: Images) -> list[str]:
        """Caption each image by some of its five attributes, as in "a red star".

        Each attribute is mentioned with the probability in `_NOTICED`, and one mention in ten is a random word of the
        family. A caption depends only on its image.
        """
        probabilities = word_probabilities(self.read(images)[1])
        codes = np.stack([probabilities[:, part].argmax(axis=1) for part in FAMILY_SLICES], axis=1)
        rngs = [np.random.default_rng(zlib.crc32(image.tobytes())) for image in images]
        return [caption(row, rng, _NOTICED, _MISTAKEN) for row, rng in zip(codes.tolist(), rngs, strict=True)]

    def formula(self, neuron: str) -> str | None:
        """The formula of a planted neuron; None for the network's channels. Only evaluation may use it."""
        layer, index = neuron.split(":")
        return planted.FORMULAS[int(index)] if layer == "planted" else None


class OtherTarget:
    """Reads another network, on the pictures of this world or on any images. The world's own detector embeds them.

    Args:
        base: embeds the pictures.
        target: the network.
    """

    dim = ShapesReader.dim

    def __init__(self, base: ShapesReader, target: Target) -> None:
        self.base = base
        self.target = target
        self.neurons = target.neurons
        self.fingerprint = f"{base.fingerprint} {target.fingerprint}"

    def read(self, images: Images) -> tuple[FloatArray, FloatArray]:
        """Measure n images (h, w, 3) uint8: activations (n, neurons), and unit embeddings (n, words + 1).

        The detector sees the central square of an image, at the size of the world's pictures.
        """
        return self.target.read(images), self.base.read([square(image) for image in images])[1]
