"""Additional neurons for training policies: random directions of the target's layers. No evaluation uses them."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from dnr_env.neurons import Neurons, split_of
from dnr_env.seeds import Purpose
from dnr_env.shapes.lexicon import ANYTHING
from dnr_env.shapes.reader import ShapesReader
from dnr_env.shapes.render import Renderer
from dnr_env.types import FloatArray, Images, IntArray

COUNT = 600
_PICTURES = 500  # pictures that the spread of a channel is estimated on


class DirectionsReader:
    """Reads neurons that combine two train channels of one layer: their sum, their difference or their maximum.

    A network has so few channels that a policy could memorise them. Channels are divided by their standard deviation,
    and the second is multiplied by a random weight.

    Args:
        base: the target that provides the channels.
    """

    dim = ShapesReader.dim
    neurons = Neurons(f"direction:{i}" for i in range(COUNT))

    def __init__(self, base: ShapesReader) -> None:
        self.base = base
        self.fingerprint = f"{base.fingerprint} directions-1"

    def read(self, images: Images) -> tuple[FloatArray, FloatArray]:
        """See `ShapesReader.read`. There are (n, 600) activations."""
        activations, embeddings = self.base.read(images)
        pairs, weights, kinds = self._parts
        first, second = np.moveaxis(activations[:, pairs] / self._spread[pairs], 2, 0)
        second = second * weights
        joined = np.select([kinds == 0, kinds == 1], [first + second, first - second], np.maximum(first, second))
        return joined.astype(np.float32), embeddings

    def formula(self, neuron: str) -> str | None:
        """The formula of a neuron: None, as no direction has one."""
        return None

    @cached_property
    def _parts(self) -> tuple[IntArray, FloatArray, IntArray]:
        """(neurons, 2) channels, (neurons,) weights of the second channels, and (neurons,) kinds of combination."""
        rng = np.random.default_rng(0)
        layers: dict[str, list[int]] = {}
        for place, name in enumerate(self.base.neurons):
            layer = name.split(":")[0]
            if layer != "planted" and split_of(name) == "train":
                layers.setdefault(layer, []).append(place)
        channels = [layer for layer, places in layers.items() for _ in places]  # wider layers have more directions
        chosen = rng.choice(channels, COUNT)
        pairs = np.array([rng.choice(layers[layer], 2, replace=False) for layer in chosen])
        return pairs, rng.uniform(0.3, 1.0, COUNT).astype(np.float32), rng.integers(3, size=COUNT)

    @cached_property
    def _spread(self) -> FloatArray:
        """(channels,) standard deviations over random pictures; 1 for a dead channel."""
        seeds = Purpose.PROBE.seeds(0, _PICTURES).tolist()
        activations, _ = self.base.read(Renderer().generate([ANYTHING] * _PICTURES, seeds))
        spread = activations.std(axis=0)
        return np.where(spread > 0, spread, 1).astype(np.float32)
