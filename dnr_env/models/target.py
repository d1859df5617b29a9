"""The network under study: the activations of the hidden neurons of any vision network."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Sequence
from functools import cache, cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dnr_env.errors import DnRError, unknown
from dnr_env.evidence.store import Store
from dnr_env.models.device import FixedBatches, device_of, dtype_of
from dnr_env.models.hooks import hooks, tensor_of
from dnr_env.models.hub import loading
from dnr_env.models.layers import find_layers
from dnr_env.models.layout import Layout
from dnr_env.models.memory import no_grad, still
from dnr_env.models.networks import KINDS, Network, load_network
from dnr_env.models.preprocess import prepare, view_of
from dnr_env.models.readout import POOLINGS, Readout, read_ranges
from dnr_env.models.sae_file import load_autoencoder
from dnr_env.models.selfcheck import Use, check_images
from dnr_env.models.survey import Survey, does_not_run
from dnr_env.models.trial import Trial
from dnr_env.models.weights import FILES, is_weights
from dnr_env.neurons import Neurons, is_pattern
from dnr_env.propose.crops import Box, Heat
from dnr_env.types import FloatArray, ImageArray, Images

if TYPE_CHECKING:
    import torch


class NetworkTarget:
    """A network, the layers that are read, and the reduction of their outputs to neurons.

    A layer is any path in `named_modules()`. Its output is a map (n, channels, h, w) or (n, h, w, channels), tokens
    (n, tokens, channels), (n, channels, tokens) or (tokens, n, channels), or a vector (n, channels); `axes` says how
    they are told apart. Tokens that are not patch tokens come first. Their number is that of the network's class,
    distillation and register tokens, or the smallest number that leaves a grid of the input's aspect ratio. A module
    that runs more than once in a forward pass is read at its last run.

    At its first use the network is tried (see `Trial`): an image has one output, whatever else is in its batch, and
    that output depends on no tensor without weights.

    Args:
        network: a `Network` in memory, which keeps its device and its state; or a name: "torchvision:resnet50",
            "timm:vit_tiny_patch16_224", "open_clip:ViT-B-16/openai" (the image tower), "open_clip:folder",
            "hf:organisation/name" (transformers, optionally with "@revision"), "hf:folder",
            "example:efficientnet_lite0" (trained, from a package of the extra `examples`), or a factory of the user's
            own, "python:package.module:factory" or "python:path/file.py:factory". A factory returns a module, or a
            module and a transform of (n, 3, h, w) uint8 tensors or of PIL images. Without a transform, images are
            prepared as for ImageNet, at 224 pixels.
        layers: paths of the modules that are read, patterns such as "blocks.*", or "all" (see `find_layers`).
            Modules that only a pattern chose are passed over, with a warning, if they cannot be read.
        weights: "DEFAULT"; "none" for random weights, which are the same in every process; a file with a state dict;
            or a weights name of torchvision such as "IMAGENET1K_V1".
        pooling: "mean" or "max" over space or patch tokens, "cls" for the class token, "tokens-max" for the maximum
            over all tokens. Vectors are not pooled.
        neurons: indices within each layer: "all", "0-511", "3,7,10-20". A layer that only a pattern chose may have
            fewer.
        sae: a sparse autoencoder (see `load_autoencoder`) that is applied at each position of a single layer.
        device: "auto", "cpu", "cuda", "cuda:1", …
        dtype: "float32", "float16", "bfloat16", or "auto".
        batch: images per forward pass.
        channels: the axis of the channels in maps and tokens, where kinds and shapes of modules leave it open.
        store: where the outcome of the network's trial is kept. None: in memory only.

    Raises:
        DnRError: an option is invalid. Faults that only the loaded network can reveal are raised at its first use.
    """

    def __init__(
        self,
        network: str | Network,
        layers: Sequence[str],
        *,
        weights: str = "DEFAULT",
        pooling: str = "mean",
        neurons: str = "all",
        sae: str | None = None,
        device: str = "auto",
        dtype: str = "float32",
        batch: int = 32,
        channels: int | None = None,
        store: Store | None = None,
    ) -> None:
        self.network = network if isinstance(network, str) else network.name
        self._given = None if isinstance(network, str) else network
        self.layers = (layers,) if isinstance(layers, str) else tuple(layers)
        self.weights = weights
        self.pooling = pooling
        self._ranges = read_ranges(neurons)
        self._sae_file = sae
        self._device_name = device
        self._dtype_name = dtype
        self._batches = FixedBatches("target.batch", batch)
        self._channels = channels
        self._store = store
        self._running = threading.RLock()  # hooks see every pass of the network, also that of another thread
        if isinstance(network, str):
            _check_named(network, weights)
        if not self.layers or len(set(self.layers)) < len(self.layers):
            raise DnRError(f"`layers` must name at least one module, and none twice (got {list(self.layers)})")
        if pooling not in POOLINGS:
            raise unknown("target.pooling", pooling, POOLINGS)
        if sae is not None and len(self.layers) > 1:
            raise _one_layer(len(self.layers))

    @cached_property
    def fingerprint(self) -> str:
        """Identifies everything that activations depend on, but not the paths of files."""
        digest = hashlib.sha256(self._net.digest.encode())
        rest = (
            tuple(self._inferred if any(map(is_pattern, self.layers)) else self.layers),
            self.pooling,
            self._channels,
            self._ranges,
            self._readout.sae.digest if self._readout.sae else None,
            self._dtype,
        )
        digest.update(repr((self._net.name, repr(self._net.transform), *rest)).encode())
        return f"target {self._net.name} {digest.hexdigest()[:32]}"

    @cached_property
    def neurons(self) -> Neurons:
        """The names of the neurons: "layer4:7", or "layer4.sae:7" with a sparse autoencoder."""
        return Neurons(self._places)

    def read(self, images: Images) -> FloatArray:
        """Map n images (h, w, 3) uint8 to activations (n, neurons) float32. Values that are not finite are kept.

        A row does not depend on the other rows.
        """
        rows = self._batches.map(list(images), self._read_batch)
        return np.stack(rows) if rows else np.empty((0, len(self.neurons)), np.float32)

    def maps(self, images: Images, neuron: str) -> list[FloatArray]:
        """Return one neuron before pooling, on each of n prepared images: (rows, columns) float32.

        Raises:
            DnRError: the neuron does not exist, or its layer has no spatial positions that follow the image.
        """
        if neuron not in self._places:
            raise unknown("neuron", neuron, self.neurons)
        layer, _ = self._places[neuron]
        if self._layouts[layer].space:
            self._trial.check_places(layer)

        def use(_: str, output: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
            return self._readout.mapped(self._layouts[layer], output, size, neuron)

        def work(part: list[ImageArray]) -> list[FloatArray]:
            return list(self._forward(part, [layer], use)[layer].cpu().numpy())

        return self._batches.map(list(images), work)

    def heat(self, images: Images, neuron: str) -> list[Heat] | None:
        """Return a neuron's maps and the part of each image that they cover, or None if its layer has no positions.

        Raises:
            Misplaced: the maps do not follow the image.
        """
        if not self._layouts[self._places[neuron][0]].space:
            return None
        given = list(images)
        maps = self.maps(given, neuron)
        return [Heat(values, self._view(*image.shape[:2])) for values, image in zip(maps, given, strict=True)]

    @cached_property
    def _view(self) -> Callable[[int, int], Box]:
        """The part of an image (height, width) that the network sees, cached because probe images have few sizes."""
        return cache(partial(view_of, self._net.transform))

    @cached_property
    def _places(self) -> dict[str, tuple[str, int]]:
        """The layer and the index of each neuron."""
        suffix = ".sae" if self._readout.sae else ""
        places = [(layer, i) for layer, layout in self._layouts.items() for i in layout.indices.tolist()]
        return {f"{layer}{suffix}:{i}": (layer, i) for layer, i in places}

    @cached_property
    def _device(self) -> torch.device:
        return self._given.device if self._given else device_of(self._device_name)

    @cached_property
    def _dtype(self) -> torch.dtype:
        return self._given.dtype if self._given else dtype_of("target.dtype", self._dtype_name, self._device)

    @cached_property
    def _net(self) -> Network:
        if self._given:
            return self._given
        net = load_network(self.network, self.weights)
        with loading("target.network", self.network):
            net.module.to(self._device, self._dtype)
        return net

    @cached_property
    def _readout(self) -> Readout:
        sae = load_autoencoder(self._sae_file).to(self._device) if self._sae_file is not None else None
        return Readout(self.pooling, sae)

    @cached_property
    def _found(self) -> tuple[dict[str, torch.nn.Module], frozenset[str]]:
        """The modules that are read, by their paths; and the paths of those that only a pattern chose."""
        found = find_layers(self._net.module, self.layers)
        if self._sae_file is not None and len(found[0]) > 1:
            raise _one_layer(len(found[0]))
        return found

    @cached_property
    def _layouts(self) -> dict[str, Layout]:
        """The layouts of the layers of a network that has passed its trial."""
        self._trial.check()
        return self._inferred

    @cached_property
    def _trial(self) -> Trial:
        layouts = self._inferred

        def run(inputs: torch.Tensor, use: Use) -> dict[str, torch.Tensor]:
            return self._run(inputs, list(layouts), use)

        return Trial(self._net, run, layouts, self._tried, self._batches.size, self._store, self.fingerprint)

    @cached_property
    def _inferred(self) -> dict[str, Layout]:
        modules, optional = self._found
        how = Survey(self.network, self._net, self._readout, self._ranges, self._channels)
        return how.layouts(modules, optional, self._tried)

    @cached_property
    def _tried(self) -> torch.Tensor:
        """The input on which the layouts are inferred and the network is tried."""
        return prepare(check_images(), self._net.transform, self._device).to(self._dtype)

    def _read_batch(self, images: list[ImageArray]) -> list[FloatArray]:
        layouts = self._layouts
        read = self._forward(images, list(layouts), lambda name, output, _: self._readout.pooled(layouts[name], output))
        return list(np.concatenate([read[name].cpu().numpy() for name in layouts], axis=1))

    def _forward(self, images: list[ImageArray], names: list[str], use: Use) -> dict[str, torch.Tensor]:
        """Run a forward pass on images, and return what `use` makes of each layer."""
        with self._running, no_grad(self._net), still(self._net):
            return self._run(prepare(images, self._net.transform, self._device).to(self._dtype), names, use)

    def _run(self, given: torch.Tensor, names: list[str], use: Use) -> dict[str, torch.Tensor]:
        """Run a forward pass on an input, and return what `use` makes of each layer."""
        made: dict[str, torch.Tensor] = {}

        def see(name: str, output: object) -> None:
            # Called immediately, because the next module may change the output in place.
            made[name] = use(name, tensor_of(name, output), (given.shape[2], given.shape[3]))

        modules = {name: self._found[0][name] for name in names}
        with self._running, no_grad(self._net), still(self._net), hooks(modules, see):
            self._net.module(given)
        for name in names:
            if name not in made:
                raise does_not_run(name)
        return made


def _one_layer(count: int) -> DnRError:
    return DnRError(f"`target.layers` must name one layer where `target.sae` is given (got {count})")


def _check_named(network: str, weights: str) -> None:
    kind, _, name = network.partition(":")
    if kind not in KINDS or not name:
        examples = (
            "torchvision:resnet50, timm:NAME, open_clip:NAME/TAG, hf:ORG/NAME, example:NAME or python:FILE.py:FUNCTION"
        )
        raise DnRError(f"`target.network` must be written as {examples} (got {network!r})")
    named = kind == "torchvision" and Path(weights).suffix not in FILES
    if weights not in ("DEFAULT", "none") and not named and not is_weights(weights):
        raise DnRError(
            f"`target.weights` must be DEFAULT, none, or a file that ends in {', '.join(FILES)} (got {weights!r})"
        )
