"""The target of the `shapes` stacks, and what the embedder and the captioner read from the same forward pass."""

from __future__ import annotations

import contextlib
import hashlib
import zlib
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dnr_env.shapes import planted
from dnr_env.shapes.lexicon import FAMILY_SLICES, WORDS, embed_words, word_probabilities
from dnr_env.shapes.planted import Formula
from dnr_env.types import FloatArray, Images

if TYPE_CHECKING:
    from dnr_env.shapes.network import ShapesNet

DATA = Path(__file__).parent / "data"
_BATCH = 16
"""Images of one forward pass, always: the last digits of a convolution depend on the batch's shape, and with one shape
an image's activations are the same whoever its batch mates are."""


class ShapesReader:
    """Activations of four convolutional layers and of the planted neurons; embeddings by the detector's words.

    Args:
        width: channels of the first layer, which names the weights: 16 or 12 are shipped.
    """

    dim = len(WORDS) + 1

    def __init__(self, width: int) -> None:
        self.width = width
        self._weights = DATA / f"target-{width}.safetensors"
        digest = hashlib.sha256(self._weights.read_bytes())
        digest.update("\n".join([*WORDS, *planted.FORMULAS]).encode())
        self.fingerprint = f"shapes-reader-2 {digest.hexdigest()[:16]}"
        channels = [f"layer{layer + 1}:{i}" for layer in range(4) for i in range(width << layer)]
        self._channels = len(channels)
        self._formulas = [Formula.read(text) for text in planted.FORMULAS]
        self.neurons = (*channels, *(f"planted:{i}" for i in range(len(self._formulas))))

    @cached_property
    def _network(self) -> ShapesNet:
        # torch is imported when the first image is measured: an environment on a warm store never needs it.
        import torch
        from safetensors.torch import load_file

        from dnr_env.shapes.network import ShapesNet

        # Weights are drawn only to be replaced. Whoever trains beside must not see that the store lacked an image.
        with torch.random.fork_rng(devices=[]):
            network = ShapesNet(self.width)
        network.load_state_dict(load_file(self._weights))
        for parameter in network.parameters():
            parameter.requires_grad_(False)
        return network.eval().to(memory_format=torch.channels_last)

    def read(self, images: Images) -> tuple[FloatArray, FloatArray]:
        """(n, 64, 64, 3) uint8 to activations (n, neurons) and unit embeddings (n, words + 1)."""
        return self.read_formulas(images, self._formulas)

    def read_formulas(self, images: Images, formulas: Sequence[Formula]) -> tuple[FloatArray, FloatArray]:
        """As `read`, with neurons of other formulas planted: (n, channels + formulas) activations."""
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
            with torch.inference_mode(), _one_thread():
                logits, pooled = network(to_input(batch))
                words = torch.cat([logits[:, family].softmax(dim=1) for family in FAMILY_SLICES], dim=1).numpy()
            read = np.concatenate([*(layer.numpy() for layer in pooled), planted.activations(words, formulas)], axis=1)
            activations[start : start + len(part)] = read[: len(part)]
            probabilities[start : start + len(part)] = words[: len(part)]
        return activations, embed_words(probabilities)

    def caption(self, images: Images) -> list[str]:
        """What a captioner notices: some of the five attributes, now and then wrongly, as in "a red star".

        Each attribute is mentioned with the probability in `_NOTICED`, and one mention in ten is a random word of the
        family. Both are functions of the image alone.
        """
        probabilities = word_probabilities(self.read(images)[1])
        return [_caption(row, zlib.crc32(image.tobytes())) for row, image in zip(probabilities, images, strict=True)]

    def formula(self, neuron: str) -> str | None:
        """The formula of a planted neuron; None for the network's own. For evaluation alone."""
        layer, index = neuron.split(":")
        return planted.FORMULAS[int(index)] if layer == "planted" else None


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """So small a batch gains little from a second thread, and loses ten times as much where another process is busy."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


_NOTICED = (0.25, 0.6, 0.4, 0.7, 0.35)  # size, colour, texture, shape, background
_MISTAKEN = 0.1


def _caption(probabilities: FloatArray, image: int) -> str:
    rng = np.random.default_rng(image)
    noticed, mistaken = rng.random(len(FAMILY_SLICES)) < _NOTICED, rng.random(len(FAMILY_SLICES)) < _MISTAKEN
    said = [""] * len(FAMILY_SLICES)
    for family, part in enumerate(FAMILY_SLICES):
        index = int(rng.integers(part.stop - part.start) if mistaken[family] else probabilities[part].argmax())
        said[family] = WORDS[part.start + index] if noticed[family] else ""
    size, colour, texture, shape, background = said
    words = ["a", size, colour, texture, shape or "thing", background and f"on {background}"]
    return " ".join(word for word in words if word)
