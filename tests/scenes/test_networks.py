"""The networks of `scenes` on pictures: rows that depend on one image, images of any size, and maps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from dnr_env.propose.crops import Box
from dnr_env.scenes import networks
from dnr_env.scenes.network import SceneNet
from dnr_env.scenes.networks import Network
from dnr_env.scenes.outputs import OUTPUTS
from dnr_env.scenes.render import SceneRenderer
from dnr_env.scenes.widths import WIDTHS
from dnr_env.shapes.lexicon import ANYTHING
from dnr_env.shapes.network import LAYERS, to_input
from dnr_env.shapes.pictures import square
from dnr_env.types import FloatArray, ImageArray

pytestmark = pytest.mark.usefixtures("scene_weights")
FRESH = 1 << 50
COUNT = 36  # more than two batches
PICTURES = SceneRenderer().generate([ANYTHING] * COUNT, range(FRESH, FRESH + COUNT))
GRIDS = {"plain": (32, 16, 8, 8), "residual": (32, 16, 8, 8), "depthwise": (16, 8, 4, 4)}


@pytest.fixture(scope="module", params=WIDTHS)
def network(request: pytest.FixtureRequest, scene_weights: None) -> Network:
    return Network(request.param)


@pytest.fixture(scope="module")
def rows(network: Network) -> tuple[FloatArray, FloatArray]:
    return network.read(PICTURES)


def test_rows_are_what_the_network_says(network: Network, rows: tuple[FloatArray, FloatArray]) -> None:
    plain = SceneNet(network.architecture).eval()
    plain.load_state_dict(load_file(networks.DATA / f"target-{network.architecture}.safetensors"))
    with torch.inference_mode():
        logits, pooled = plain(to_input(PICTURES))
    channels, probabilities = rows
    assert channels.shape == (COUNT, sum(WIDTHS[network.architecture]))
    assert probabilities.shape == (COUNT, len(OUTPUTS))
    np.testing.assert_allclose(channels, torch.cat(pooled, dim=1), atol=1e-4)
    np.testing.assert_allclose(probabilities, logits.sigmoid(), atol=1e-4)
    assert np.ptp(probabilities, axis=0).min() > 0.01  # otherwise these tests say little


@given(order=st.lists(st.integers(0, COUNT - 1), min_size=1, max_size=COUNT))
@settings(deadline=None, max_examples=10)
def test_a_picture_has_one_row_in_any_company(
    network: Network, rows: tuple[FloatArray, FloatArray], order: list[int]
) -> None:
    for found, expected in zip(network.read([PICTURES[place] for place in order]), rows, strict=True):
        np.testing.assert_array_equal(found, expected[order])


@given(sizes=st.lists(st.tuples(st.integers(8, 150), st.integers(8, 150)), min_size=1, max_size=4))
@settings(deadline=None, max_examples=10)
def test_an_image_of_any_size_is_read_by_its_central_square(network: Network, sizes: list[tuple[int, int]]) -> None:
    rng = np.random.default_rng(0)
    images: list[ImageArray] = [rng.integers(256, size=(*size, 3), dtype=np.uint8) for size in sizes]
    for found, expected in zip(network.read(images), network.read([square(image) for image in images]), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_a_map_has_the_grid_of_its_layer_and_the_mean_that_is_read(
    network: Network, rows: tuple[FloatArray, FloatArray]
) -> None:
    start = 0
    for layer, grid, width in zip(LAYERS, GRIDS[network.architecture], WIDTHS[network.architecture], strict=True):
        maps = network.heat(list(PICTURES[:5]), layer, 3)
        assert {one.values.shape for one in maps} == {(grid, grid)}
        assert {one.view for one in maps} == {Box(0, 0, 64, 64)}
        means = [one.values.mean() for one in maps]
        np.testing.assert_allclose(means, rows[0][:5, start + 3], atol=1e-4)
        start += width


def test_loading_does_not_advance_the_random_numbers_of_a_training() -> None:
    before = torch.random.get_rng_state()
    Network("plain").read(PICTURES[:1])
    assert torch.equal(before, torch.random.get_rng_state())


def test_the_fingerprint_is_of_the_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {architecture: Network(architecture).fingerprint for architecture in WIDTHS}
    assert len(set(before.values())) == len(WIDTHS)
    for architecture in WIDTHS:
        weights = load_file(networks.DATA / f"target-{architecture}.safetensors")
        weights["head.bias"] += architecture == "plain"
        save_file(weights, tmp_path / f"target-{architecture}.safetensors")
    monkeypatch.setattr(networks, "DATA", tmp_path)
    changed = [architecture for architecture in WIDTHS if Network(architecture).fingerprint != before[architecture]]
    assert changed == ["plain"]
