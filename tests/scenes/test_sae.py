"""The features of `scenes-sae`: names, values, maps, their training, and their stack."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from refining import EDITS, listed, make
from safetensors.numpy import load_file

from dnr_env.neurons import SPLITS
from dnr_env.scenes import networks, sae_train
from dnr_env.scenes import sae as shipped
from dnr_env.scenes.clip import ClipImages
from dnr_env.scenes.config import PRESETS
from dnr_env.scenes.networks import Network
from dnr_env.scenes.reader import SceneReader
from dnr_env.scenes.render import SceneRenderer
from dnr_env.scenes.sae import FEATURES, FILE, LAYER, RARE, Autoencoder, K, SaeReader
from dnr_env.scenes.sae_train import layer_of, quality, train
from dnr_env.scenes.stack import scenes_stack
from dnr_env.shapes.lexicon import ANYTHING
from dnr_env.types import FloatArray

pytestmark = pytest.mark.usefixtures("scene_weights")
FRESH = 1 << 50
COUNT = 20
PICTURES = SceneRenderer().generate([ANYTHING] * COUNT, range(FRESH, FRESH + COUNT))


@pytest.fixture(scope="module")
def reader(scene_weights: None) -> SaeReader:
    return SaeReader(SceneReader(Network("depthwise"), ClipImages()))


@pytest.fixture(scope="module")
def rows(reader: SaeReader) -> tuple[FloatArray, FloatArray]:
    return reader.read(PICTURES)


@pytest.fixture(scope="module")
def expected(reader: SaeReader) -> tuple[FloatArray, FloatArray]:
    """(n, 160) the features before and after TopK, in float64."""
    weights = {name: tensor.astype(float) for name, tensor in load_file(networks.DATA / FILE).items()}
    channels = reader.base.activations(PICTURES)[:, reader.base.neurons.select(LAYER)]
    before = (channels - weights["b_dec"]) @ weights["W_enc"] + weights["b_enc"]
    least = np.sort(before, axis=1)[:, -K]
    return before, np.where(before >= np.maximum(least, 0)[:, None], before, 0)


# --- reading ---------------------------------------------------------------------------------------------------------


def test_neurons_are_the_features_that_are_not_dead(reader: SaeReader) -> None:
    rate = load_file(networks.DATA / FILE)["rate"]
    assert reader.neurons == tuple(f"sae:{feature}" for feature in range(FEATURES) if rate[feature] >= RARE)
    assert 0 < len(reader.neurons) < FEATURES
    assert sorted(place for split in SPLITS for place in reader.neurons.select(split)) == [*range(len(reader.neurons))]
    assert {reader.formula(neuron) for neuron in reader.neurons} == {None}


def test_activations_are_the_largest_features(
    reader: SaeReader, rows: tuple[FloatArray, FloatArray], expected: tuple[FloatArray, FloatArray]
) -> None:
    activations, embeddings = rows
    alive = [int(neuron.split(":")[1]) for neuron in reader.neurons]
    np.testing.assert_allclose(activations, expected[1][:, alive], atol=1e-4)
    assert ((expected[1] > 0).sum(axis=1) == K).all()
    assert activations.dtype == np.float32
    np.testing.assert_array_equal(embeddings, reader.base.read(PICTURES)[1])


@given(order=st.lists(st.integers(0, COUNT - 1), min_size=1, max_size=COUNT))
@settings(deadline=None, max_examples=8)
def test_a_picture_has_one_row_in_any_company(
    reader: SaeReader, rows: tuple[FloatArray, FloatArray], order: list[int]
) -> None:
    for found, usual in zip(reader.read([PICTURES[place] for place in order]), rows, strict=True):
        np.testing.assert_array_equal(found, usual[order])


def test_a_map_has_the_mean_that_is_encoded(reader: SaeReader, expected: tuple[FloatArray, FloatArray]) -> None:
    neuron = reader.neurons[-1]
    maps = reader.heat(PICTURES, neuron)
    assert {one.values.shape for one in maps} == {(4, 4)}
    means = [one.values.mean() for one in maps]
    np.testing.assert_allclose(means, expected[0][:, int(neuron.split(":")[1])], atol=1e-4)


def test_what_ships_is_small_and_mostly_alive() -> None:
    file = Path(shipped.__file__).parent / "data" / FILE
    assert file.stat().st_size < 200_000
    assert FEATURES / 2 < len(Autoencoder(file).alive) <= FEATURES


# --- training --------------------------------------------------------------------------------------------------------


def test_a_training_explains_the_channels_and_depends_on_its_seed_alone() -> None:
    rng = np.random.default_rng(0)
    parts, weights = rng.normal(size=(60, 40)), rng.random((2000, 60)) * (rng.random((2000, 60)) < 0.05)
    channels = (3 + weights @ parts * np.linspace(0.1, 5, 40)).astype(np.float32)
    made = train(channels[:1500], steps=300, seed=1)
    again, other = train(channels[:1500], steps=300, seed=1), train(channels[:1500], steps=300, seed=2)
    for name, tensor in made.items():
        assert torch.equal(tensor, again[name])
        assert not torch.equal(tensor, other[name])
    deviation = torch.from_numpy(channels[:1500]).std(dim=0)
    torch.testing.assert_close((made["W_dec"] / deviation).norm(dim=1), torch.ones(FEATURES))
    explained, rate = quality(made, channels[1500:])
    assert explained > 0.8
    assert rate.shape == (FEATURES,)
    assert float(rate.sum()) <= K
    assert quality(train(channels[:1500], steps=1, seed=1), channels[1500:])[0] < explained - 0.1


def test_features_that_are_never_used_learn_from_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    """One direction varies most, so that most features are never the largest."""
    rng = np.random.default_rng(0)
    channels = (rng.normal(size=(2000, 40)) * 0.2 + rng.normal(size=(2000, 1))).astype(np.float32)
    monkeypatch.setattr(sae_train, "K", 1)
    monkeypatch.setattr(sae_train, "_DEAD_AFTER", 2000)
    start = train(channels, 1, 0)["W_dec"]
    still = []
    for weight in (0.0, 1 / 32):
        monkeypatch.setattr(sae_train, "_OF_DEAD", weight)
        still.append(int(((train(channels, 60, 0)["W_dec"] - start).abs().max(dim=1).values < 0.005).sum()))
    assert still[0] > 20
    assert still[1] < still[0] / 2


def test_the_script_writes_what_the_reader_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sae_train, "_TEST", 20)
    monkeypatch.setattr(sys, "argv", ["sae_train", "--out", str(tmp_path / FILE), "--pictures", "40", "--steps", "3"])
    sae_train.main()
    rate = load_file(tmp_path / FILE)["rate"]
    assert f"dead      {(rate < RARE).sum()} of {FEATURES}" in capsys.readouterr().out
    made, channels = Autoencoder(tmp_path / FILE), layer_of(FRESH, COUNT)
    assert made.encode(channels).shape == (COUNT, FEATURES)
    network = Network("depthwise")
    start = sum(network.widths[:2])
    np.testing.assert_array_equal(channels, network.read(PICTURES)[0][:, start : start + network.widths[2]])


# --- the stack -------------------------------------------------------------------------------------------------------


def test_episodes_are_played_on_features() -> None:
    stack = scenes_stack("scenes-sae", PRESETS["scenes-sae"])
    assert stack.neurons == stack.lab.reader.neurons
    assert stack.known.truth(stack.neurons[0]) is None
    assert stack.known.optimum("grounded_k") == {}
    env = make(EDITS, stack=stack, neurons="test")
    _, info = env.reset(seed=0, options={"concepts": ["red thing"]})
    assert info["neuron"] in stack.neurons.named("test")
    assert "red thing" in listed(info)
