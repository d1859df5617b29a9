"""Measure on a real network what the world `scenes` has to meet (docs/explanation/scenes.md), and the same on `shapes`.

    PYTHONPATH=. python benchmarks/real_statistics.py

The network is EfficientNet-Lite0 with its ImageNet weights, the pictures are crops of scikit-image's photographs: the
extra `examples`, no download. It takes 75 seconds of one core.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.stats import kurtosis
from timm.data.config import resolve_model_data_config

from dnr_env import load_stack
from dnr_env.evidence.probe import Probe
from dnr_env.models.examples import example_network, write_photographs
from dnr_env.models.hooks import hooks
from dnr_env.models.preprocess import of_timm, prepare
from dnr_env.types import BoolArray, FloatArray, ImageArray, Images, IntArray

BLOCKS = tuple(f"blocks.{i}" for i in range(7))
EMBEDDER = "global_pool"
"""The layer whose unit vectors stand in for a CLIP."""
SIDE, STEP = 128, 64
PENALTIES = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
PICTURES, FOLDS = 600, 5


class Layer(NamedTuple):
    """The pictures as one layer sees them."""

    name: str
    activations: FloatArray
    """(pictures, units)"""
    embeddings: FloatArray
    """(pictures, dim) unit vectors."""


def photographs() -> tuple[list[ImageArray], IntArray]:
    """Crops (h, w, 3) uint8, and the number (crops,) of each one's photograph. Two views of one motorcycle are one."""
    with tempfile.TemporaryDirectory() as folder:
        write_photographs(Path(folder, "crops"), SIDE, STEP)
        files = sorted(Path(folder, "crops").iterdir())
        names = [file.name.split("-")[0].removesuffix("_left").removesuffix("_right") for file in files]
        return [np.asarray(Image.open(file)) for file in files], np.unique(names, return_inverse=True)[1]


def channel_means(images: list[ImageArray]) -> dict[str, FloatArray]:
    """The mean activations (images, channels) of the blocks and of the last layer before the classes, in float64."""
    network = example_network("efficientnet_lite0", trained=True).eval()
    transform = of_timm(resolve_model_data_config(network))  # type: ignore[no-untyped-call]
    seen: dict[str, list[FloatArray]] = {name: [] for name in (*BLOCKS, EMBEDDER)}

    def see(name: str, output: object) -> None:
        assert isinstance(output, torch.Tensor)
        seen[name].append((output.mean(dim=(2, 3)) if output.ndim == 4 else output).double().numpy())

    with torch.inference_mode(), hooks({name: network.get_submodule(name) for name in seen}, see):
        for start in range(0, len(images), 32):
            network(prepare(images[start : start + 32], transform, torch.device("cpu")))
    return {name: np.concatenate(parts) for name, parts in seen.items()}


def shapes_layers() -> Iterator[Layer]:
    """The layers of `shapes`, on as many pictures as the probe of `scenes` has."""
    stack = load_stack("shapes")
    rows = np.random.default_rng(0).permutation(len(stack.probes.whole))[:PICTURES]
    probe = stack.probes.whole.part("sample", rows)
    names = np.array([name.split(":")[0] for name in stack.neurons])
    for name in dict.fromkeys(names.tolist()):
        yield Layer(f"shapes {name}", probe.all_raw(np.flatnonzero(names == name)).astype(float), probe.embeddings)


def probe_of(layer: Layer) -> Probe:
    """A probe set of these pictures, which finds the exemplars and normalises the activations."""
    return Probe(layer.name, layer.activations, layer.embeddings, _no_images)


def _no_images(rows: IntArray) -> Images:
    raise NotImplementedError("only activations are measured")


def above_half(probe: Probe) -> FloatArray:
    """(units,) the share of the pictures whose normalised activation is above 0.5."""
    normal = probe.normalise(probe.all_raw(probe.neurons).T, probe.neurons)
    share: FloatArray = (normal > 0.5).mean(axis=1)
    return share


def r_squared(layer: Layer, fold: IntArray) -> FloatArray:
    """(units,) the cross-validated R² of a ridge regression of the activations on the embeddings.

    The reference is the mean of the other folds. All units share the penalty that gives the best median, so the result
    is slightly too high.
    """
    results = []
    for penalty in PENALTIES:
        errors, spreads = np.zeros_like(layer.activations), np.zeros_like(layer.activations)
        for held in (fold == number for number in np.unique(fold)):
            centre, mean = layer.embeddings[~held].mean(axis=0), layer.activations[~held].mean(axis=0)
            known, asked = (layer.embeddings[part].astype(float) - centre for part in (~held, held))
            gram = known @ known.T
            ridge = penalty * np.trace(gram) / len(gram) * np.eye(len(gram))
            spreads[held] = layer.activations[held] - mean
            predicted = asked @ known.T @ np.linalg.solve(gram + ridge, layer.activations[~held] - mean)
            errors[held] = spreads[held] - predicted
        results.append(1 - np.square(errors).sum(axis=0) / np.square(spreads).sum(axis=0))
    best: FloatArray = max(results, key=np.median)
    return best


def several(exemplars: IntArray, centred: FloatArray, least: float) -> BoolArray:
    """(units,) whether the exemplars fall into two clusters or more of at least two pictures.

    Args:
        exemplars: (units, k) pictures.
        centred: (pictures, dim) unit vectors.
        least: the mean cosine of two clusters above which they are one (average linkage).
    """
    labels = [fcluster(linkage(centred[row], "average", "cosine"), 1 - least, "distance") for row in exemplars]
    return np.array([np.sum(np.bincount(label) >= 2) >= 2 for label in labels])


def main() -> None:
    """Print the tables."""
    images, photograph = photographs()
    means = channel_means(images)
    embeddings = _unit(means[EMBEDDER])
    centred = _unit(embeddings - embeddings.mean(axis=0))
    cosines, same = centred @ centred.T, photograph[:, None] == photograph
    least = float(np.median(cosines[same]) + np.median(cosines[~same])) / 2
    random = np.random.default_rng(0)
    chance = several(np.array([random.permutation(len(images))[:10] for _ in range(1000)]), centred, least).mean()
    print(f"{len(images)} crops of {photograph.max() + 1} photographs; clusters part at a cosine of {least:.2f}\n")

    print("| layer | above half | excess kurtosis | two clusters | R² other photographs | R² other crops |")
    print("|---|---|---|---|---|---|")
    crops = random.integers(FOLDS, size=len(images))
    for name in BLOCKS:
        layer = Layer(name, means[name], embeddings)
        probe = probe_of(layer)
        tails = f"{_spread(above_half(probe))} | {_spread(np.asarray(kurtosis(layer.activations, axis=0)))}"
        share = several(probe.exemplars, centred, least).mean()
        fits = f"{_spread(r_squared(layer, photograph))} | {_spread(r_squared(layer, crops))}"
        print(f"| {name} | {tails} | {share:.2f} | {fits} |", flush=True)
    print(f"\nTwo clusters among ten random crops: {chance:.2f}. Elsewhere medians (10% to 90% of the units).\n")

    print("| layer | above half | excess kurtosis | R² other pictures |\n|---|---|---|---|")
    for layer in shapes_layers():
        tails = f"{_spread(above_half(probe_of(layer)))} | {_spread(np.asarray(kurtosis(layer.activations, axis=0)))}"
        print(f"| {layer.name} | {tails} | {_spread(r_squared(layer, np.arange(PICTURES) % FOLDS))} |", flush=True)


def _unit(vectors: FloatArray) -> FloatArray:
    unit: FloatArray = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit


def _spread(values: FloatArray) -> str:
    low, middle, high = np.quantile(values, [0.1, 0.5, 0.9])
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


if __name__ == "__main__":
    main()
