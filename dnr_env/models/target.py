"""The network under study: activations of the hidden neurons of any vision network."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import cache, cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dnr_env.describe.crops import Box, Heat
from dnr_env.errors import DnRError, unknown
from dnr_env.models.hooks import hooks, tensor_of
from dnr_env.models.hub import FixedBatches, device_of, dtype_of, loading
from dnr_env.models.layout import DRY_IMAGES, Layout, axes, patch_grid, prefix_tokens
from dnr_env.models.networks import FILES, KINDS, Network, is_weights, load_network
from dnr_env.models.preprocess import prepare, view_of
from dnr_env.models.sae import SparseAutoencoder
from dnr_env.types import FloatArray, ImageArray, Images

if TYPE_CHECKING:
    import torch

POOLINGS = ("mean", "max", "cls", "tokens-max")
_SAE_NUMBERS = 1 << 24
"""Numbers that a sparse autoencoder gives at a time: 64 MiB."""


class Target:
    """A network, the layers that are read, and what becomes of a layer's output.

    A layer is any path of `named_modules()`. Its output is a map (n, channels, h, w) or (n, h, w, channels), tokens
    (n, tokens, channels) or (tokens, n, channels), or a vector (n, channels). Of a map, the two axes that have the
    shape of the input image are the space; where both pairs have, the channels are last for a linear layer or a layer
    norm, and first otherwise. Of tokens, those that are not a patch's come first: as many as the network has class,
    distillation and register tokens, or as few as leave a grid of the input's shape. A module that runs more than once
    in a pass is read at its last run.

    Args:
        network: "torchvision:resnet50", "timm:vit_tiny_patch16_224", "open_clip:ViT-B-16/openai" (its image tower),
            "open_clip:folder", "hf:organisation/name" (transformers; with "@revision" if need be), "hf:folder", or a
            function of the user's own, "python:package.module:factory" or "python:path/file.py:factory", that returns a
            module, or a module and a transform of (n, 3, h, w) uint8 tensors or of PIL images. Without a transform,
            images are prepared as is usual for ImageNet, at 224.
        layers: paths of the modules that are read.
        weights: "DEFAULT"; "none", which is random but the same at every construction; a file of a state dict; or a
            name of torchvision's, as "IMAGENET1K_V1".
        pooling: "mean" or "max" over space or patch tokens, "cls" for the class token, "tokens-max" for the maximum
            over all tokens. Nothing is done to a vector.
        neurons: indices within each layer: "all", "0-511", "3,7,10-20".
        sae: a sparse autoencoder (see `SparseAutoencoder.load`) that is applied at each position of the one layer.
        device: "auto", "cpu", "cuda" and the like.
        dtype: "float32", "float16", "bfloat16", or "auto".
        batch: images of one forward pass.

    Raises:
        DnRError: an option cannot be used. What only the network can tell is raised when it is first needed.
    """

    def __init__(
        self,
        network: str,
        layers: Sequence[str],
        *,
        weights: str = "DEFAULT",
        pooling: str = "mean",
        neurons: str = "all",
        sae: str | None = None,
        device: str = "auto",
        dtype: str = "float32",
        batch: int = 32,
    ) -> None:
        self.network = network
        self.layers = (layers,) if isinstance(layers, str) else tuple(layers)
        self.weights = weights
        self.pooling = pooling
        self._ranges = _ranges(neurons)
        self._sae_file = sae
        self._device_name = device
        self._dtype_name = dtype
        self._batches = FixedBatches("target.batch", batch)
        kind, _, name = network.partition(":")
        if kind not in KINDS or not name:
            examples = "torchvision:resnet50, timm:NAME, open_clip:NAME/TAG, hf:ORG/NAME or python:FILE.py:FUNCTION"
            raise DnRError(f"target.network: {network!r} is of no known kind; {examples} will do")
        if not self.layers or len(set(self.layers)) < len(self.layers):
            raise DnRError(f"target.layers: {list(self.layers)} will not do; one or more different layers will")
        named = kind == "torchvision" and Path(weights).suffix not in FILES
        if weights not in ("DEFAULT", "none") and not named and not is_weights(weights):
            raise DnRError(
                f"target.weights: {weights!r} is not a file of weights; DEFAULT, none, or a file that ends in "
                f"{', '.join(FILES)} will do"
            )
        if pooling not in POOLINGS:
            raise unknown("target.pooling", pooling, POOLINGS)
        if sae is not None and len(self.layers) > 1:
            raise DnRError(f"target.sae: it reads one layer, and target.layers has {len(self.layers)}; one will do")

    @cached_property
    def fingerprint(self) -> str:
        """Names all that activations depend on: weights, layers, preprocessing and the rest, wherever files lie."""
        digest = hashlib.sha256(self._net.digest.encode())
        rest = (self.layers, self.pooling, self._ranges, self._sae.digest if self._sae else None, self._dtype)
        digest.update(repr((self._net.name, repr(self._net.transform), *rest)).encode())
        return f"target {self._net.name} {digest.hexdigest()[:32]}"

    @cached_property
    def neurons(self) -> tuple[str, ...]:
        """Name of every neuron: "layer4:7", or "layer4.sae:7" with a sparse autoencoder."""
        return tuple(self._places)

    def read(self, images: Images) -> FloatArray:
        """N images (h, w, 3) uint8 to (n, neurons) float32. What is not finite is passed on.

        A row does not depend on the other rows.
        """
        rows = self._batches.map(list(images), self._read_batch)
        return np.stack(rows) if rows else np.empty((0, len(self.neurons)), np.float32)

    def maps(self, images: Images, neuron: str) -> list[FloatArray]:
        """The neuron before pooling on each of n images: (rows, columns) float32, over the image as it was prepared.

        Raises:
            DnRError: there is no such neuron, or its layer has no space.
        """
        if neuron not in self._places:
            raise unknown("neuron", neuron, self.neurons)
        layer, index = self._places[neuron]

        def work(part: list[ImageArray]) -> list[FloatArray]:
            maps = self._forward(part, [layer], lambda _, output, size: self._map(layer, output, size, index))
            return list(maps[layer].cpu().numpy())

        return self._batches.map(list(images), work)

    def heat(self, images: Images, neuron: str) -> list[Heat] | None:
        """The neuron's maps, and what part of each image they cover; None where its layer has no space."""
        if not self._layouts[self._places[neuron][0]].space:
            return None
        given = list(images)
        maps = self.maps(given, neuron)
        return [Heat(values, self._view(*image.shape[:2])) for values, image in zip(maps, given, strict=True)]

    @cached_property
    def _view(self) -> Callable[[int, int], Box]:
        """What part of an image (height, width) the network sees; probe images have few sizes."""
        return cache(partial(view_of, self._net.transform))

    @cached_property
    def _places(self) -> dict[str, tuple[str, int]]:
        """Layer and index of each neuron."""
        suffix = ".sae" if self._sae else ""
        places = [(layer, i) for layer, layout in self._layouts.items() for i in layout.indices.tolist()]
        return {f"{layer}{suffix}:{i}": (layer, i) for layer, i in places}

    @cached_property
    def _device(self) -> torch.device:
        return device_of(self._device_name)

    @cached_property
    def _dtype(self) -> torch.dtype:
        return dtype_of("target.dtype", self._dtype_name, self._device)

    @cached_property
    def _net(self) -> Network:
        net = load_network(self.network, self.weights)
        with loading("target.network", self.network):
            net.module.to(self._device, self._dtype)
        return net

    @cached_property
    def _sae(self) -> SparseAutoencoder | None:
        return SparseAutoencoder.load(self._sae_file).to(self._device) if self._sae_file is not None else None

    @cached_property
    def _modules(self) -> dict[str, torch.nn.Module]:
        """The layers."""
        known = {name: module for name, module in self._net.module.named_modules() if name}
        for layer in self.layers:
            if layer not in known:
                raise unknown("target.layers", layer, known)
        return {layer: known[layer] for layer in self.layers}

    @cached_property
    def _layouts(self) -> dict[str, Layout]:
        """What a pass over blank images tells of the layers."""
        layouts: dict[str, Layout] = {}

        def look(name: str, output: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
            layouts[name] = self._layout(name, output, size)
            return self._pooled(layouts[name], output)

        names = list(self._modules)
        try:
            self._forward([np.zeros((224, 224, 3), np.uint8)] * DRY_IMAGES, names, look)
        except DnRError:
            raise
        except Exception as error:  # a module fails in its own way
            reason = str(error).splitlines()[0][:300] if str(error) else type(error).__name__
            raise DnRError(
                f"target.network: {self.network!r} fails on a blank image; {reason}; one whose transform makes its "
                "input will do"
            ) from error
        return {name: layouts[name] for name in names}

    def _layout(self, name: str, output: torch.Tensor, size: tuple[int, int]) -> Layout:
        import torch

        images, channels = axes(name, self._modules[name], output, size)
        width, prefix, space = output.shape[channels], 0, output.ndim == 4
        if output.ndim == 3:
            tokens = output.shape[1 - images]
            prefix = prefix_tokens(tokens, size, self._net.prefix)
            space = patch_grid(tokens - prefix, size) is not None
        if self.pooling == "cls" and output.ndim > 2 and not prefix:
            raise DnRError(f"target.pooling: 'cls' needs a class token, and {name!r} has none; mean or max will do")
        sae = self._sae
        if sae and sae.inputs != width:
            raise DnRError(
                f"target.sae: it takes {sae.inputs} channels, and {name!r} has {width}; a sparse autoencoder "
                "of this layer will do"
            )
        count = sae.features if sae else width
        for low, high in self._ranges:
            if high is not None and high >= count:
                raise DnRError(
                    f"target.neurons: {max(low, count)} to {high} are not in {name!r}; 0-{count - 1} will do"
                )
        wanted = sorted({i for low, high in self._ranges for i in range(low, count if high is None else high + 1)})
        return Layout(images, channels, prefix, space, torch.tensor(wanted, device=self._device))

    def _read_batch(self, images: list[ImageArray]) -> list[FloatArray]:
        layouts = self._layouts
        read = self._forward(images, list(layouts), lambda name, output, _: self._pooled(layouts[name], output))
        return list(np.concatenate([read[name].cpu().numpy() for name in layouts], axis=1))

    def _forward(
        self,
        images: list[ImageArray],
        names: list[str],
        use: Callable[[str, torch.Tensor, tuple[int, int]], torch.Tensor],
    ) -> dict[str, torch.Tensor]:
        """What `use` makes of each layer's name, output, and the height and width of the network's input."""
        import torch

        made: dict[str, torch.Tensor] = {}
        with torch.inference_mode():
            given = prepare(images, self._net.transform, self._device).to(self._dtype)
            size = (given.shape[2], given.shape[3])

            def see(name: str, output: object) -> None:
                # At once: the next module may change the output in place.
                made[name] = use(name, tensor_of(name, output), size)

            with hooks({name: self._modules[name] for name in names}, see):
                self._net.module(given)
        for name in names:
            if name not in made:
                raise DnRError(
                    f"target.layers: {name!r} does not run in a forward pass; a layer inside or around it will do"
                )
        return made

    def _pooled(self, layout: Layout, output: torch.Tensor) -> torch.Tensor:
        """A layer's output to (n, wanted) float32."""
        import torch

        found = layout.positions(output)
        if found.ndim == 3 and self.pooling == "cls":
            found = found[:, 0]
        elif found.ndim == 3 and self.pooling != "tokens-max":
            found = found[:, layout.prefix :]
        if self._sae is None:
            return self._over_space(found)[:, layout.indices]
        found = found.float().contiguous()
        block = max(1, _SAE_NUMBERS // max(1, found[..., 0].numel()))
        parts = torch.split(layout.indices, block)
        return torch.cat([self._over_space(self._sae.encode(found, part)) for part in parts], dim=1)

    def _over_space(self, found: torch.Tensor) -> torch.Tensor:
        import torch

        space = tuple(range(1, found.ndim - 1))
        if not space:
            return found.float()
        return found.mean(space, dtype=torch.float32) if self.pooling == "mean" else found.amax(space).float()

    def _map(self, name: str, output: torch.Tensor, size: tuple[int, int], index: int) -> torch.Tensor:
        import torch

        layout = self._layouts[name]
        found = layout.positions(output)
        if found.ndim == 3:
            found = found[:, layout.prefix :]
            grid = patch_grid(found.shape[1], size)
            found = found.reshape(len(found), *grid, -1) if grid else found
        if found.ndim < 4:
            raise DnRError(f"neuron: {name}:{index} has no place in the image; one of a map or of patch tokens will do")
        if self._sae:
            return self._sae.encode(found, torch.tensor([index], device=self._device))[..., 0]
        return found[..., index].to(torch.float32, copy=True)  # the next module may change it in place


def _ranges(neurons: str) -> tuple[tuple[int, int | None], ...]:
    """First and last index of each range; None for the layer's last."""
    if neurons == "all":
        return ((0, None),)
    try:
        pairs = [part.partition("-") for part in neurons.split(",")]
        ranges = tuple((int(low), int(high) if dash else int(low)) for low, dash, high in pairs)
    except ValueError:
        ranges = ()
    if not ranges or any(low > high for low, high in ranges):
        raise DnRError(f"target.neurons: {neurons!r} names no indices; all, 0-511 or 3,7,10-20 will do")
    return ranges
