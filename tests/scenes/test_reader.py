"""The target of the `scenes` stacks: names, channels, planted neurons, maps and embeddings."""

from __future__ import annotations

import numpy as np
import pytest

from dnr_env import DnRError
from dnr_env.scenes import planted
from dnr_env.scenes.clip import ClipImages
from dnr_env.scenes.networks import Network
from dnr_env.scenes.planted import FORMULAS, Formula
from dnr_env.scenes.reader import SceneReader
from dnr_env.scenes.render import SceneRenderer
from dnr_env.scenes.widths import WIDTHS
from dnr_env.shapes.lexicon import ANYTHING
from dnr_env.shapes.network import LAYERS
from dnr_env.shapes.pictures import square

pytestmark = pytest.mark.usefixtures("scene_weights")
FRESH = 1 << 50
COUNT = 20
PICTURES = SceneRenderer().generate([ANYTHING] * COUNT, range(FRESH, FRESH + COUNT))


@pytest.fixture(scope="module", params=WIDTHS)
def reader(request: pytest.FixtureRequest, scene_weights: None) -> SceneReader:
    return SceneReader(Network(request.param), ClipImages())


def test_neurons_are_the_channels_and_then_the_formulas(reader: SceneReader) -> None:
    widths = [*WIDTHS[reader.network.architecture], len(FORMULAS)]
    layers = [*LAYERS, "planted"]
    assert reader.neurons == tuple(f"{layer}:{i}" for layer, n in zip(layers, widths, strict=True) for i in range(n))
    assert reader.formula("planted:3") == FORMULAS[3]
    assert reader.formula("layer4:3") is None
    with pytest.raises(DnRError, match="neuron"):
        reader.neurons.index("layer4:48")


def test_activations_are_channels_and_formulas_of_the_probabilities(reader: SceneReader) -> None:
    activations, embeddings = reader.read(PICTURES)
    channels, probabilities = reader.network.read(PICTURES)
    assert activations.shape == (COUNT, len(reader.neurons))
    np.testing.assert_array_equal(activations[:, : -len(FORMULAS)], channels)
    planted_ones = planted.activations(probabilities, [Formula.read(text) for text in FORMULAS])
    np.testing.assert_array_equal(activations[:, -len(FORMULAS) :], planted_ones)
    np.testing.assert_array_equal(embeddings, ClipImages().embed(PICTURES))
    assert embeddings.shape == (COUNT, reader.dim)


def test_crops_are_read_as_their_squares(reader: SceneReader) -> None:
    crops = [PICTURES[0][:20], PICTURES[1][:, 10:64], PICTURES[2], PICTURES[3][5:14, 7:60]]
    for found, expected in zip(reader.read(crops), reader.read([square(crop) for crop in crops]), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_maps_are_of_channels_alone(reader: SceneReader) -> None:
    assert reader.heat(PICTURES, "planted:0") is None
    for neuron in ("layer1:2", "layer4:40"):
        maps = reader.heat(PICTURES, neuron)
        assert maps is not None
        means = [one.values.mean() for one in maps]
        expected = reader.read(PICTURES)[0][:, reader.neurons.index(neuron)]
        np.testing.assert_allclose(means, expected, atol=1e-4)


def test_the_fingerprint_is_of_network_and_formulas(monkeypatch: pytest.MonkeyPatch) -> None:
    def fingerprints() -> set[str]:
        return {SceneReader(Network(architecture), ClipImages()).fingerprint for architecture in WIDTHS}

    before = fingerprints()
    assert len(before) == len(WIDTHS)
    assert all(ClipImages().fingerprint in text for text in before)
    monkeypatch.setattr(planted, "FORMULAS", FORMULAS[::-1])
    assert not before & fingerprints()
