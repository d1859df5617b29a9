"""Exemplars, quantile bands, heat maps and histograms, and the page that shows them."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import dnr_env
from dnr_env.evaluation.exemplars import BAND_IMAGES, BANDS, QUANTILES, TOP, exemplars_of, places_of
from dnr_env.evaluation.heat import overlay, span
from dnr_env.evaluation.histogram import BINS, HEIGHT, WIDTH, histogram
from dnr_env.evidence.probe import Probe
from dnr_env.evidence.probe_source import ProbeSource
from dnr_env.propose.crops import Box, Heat
from dnr_env.shapes.render import Renderer
from dnr_env.stack import Stack
from dnr_env.types import FloatArray


def images_with(stack: Stack, activations: FloatArray) -> Probe:
    """Real images on which every neuron has these activations."""
    table = np.repeat(activations[:, None].astype(np.float32), len(stack.neurons), axis=1)
    return Probe("made", table, np.ones((len(table), 1), np.float32), lambda i: np.zeros((len(i), 8, 8, 3), np.uint8))


def test_a_band_has_the_images_nearest_to_its_quantile(stack: Stack) -> None:
    whole = stack.probes.whole
    real = whole.all_raw(stack.neurons.indices(["layer4:7"]))[:, 0]
    rows = exemplars_of(stack, whole, ["layer4:7"], BANDS)
    assert [row.band for row in rows] == [TOP] * 10 + [band for band in QUANTILES for _ in range(BAND_IMAGES)]
    ordered = np.sort(real)[::-1]
    for row in rows:
        assert row.activation == ordered[row.rank - 1]
    for band, quantile in QUANTILES.items():
        found = [row.activation for row in rows if row.band == band]
        assert found == sorted(found, reverse=True)
        assert found[0] >= np.quantile(real, quantile, method="lower") >= found[-1]


@given(
    st.integers(20, 130).flatmap(lambda n: arrays(np.float32, n, elements=st.sampled_from([0.0, 0.5, 1.0, -2.0]))),
)
def test_no_image_is_in_two_bands_however_many_are_equal(stack: Stack, activations: FloatArray) -> None:
    found = places_of(stack, images_with(stack, activations), "layer4:7", BANDS)
    images = [index for part in found.values() for _, index in part]
    ranks = [rank for part in found.values() for rank, _ in part]
    assert len(images) == len(set(images))
    assert ranks == sorted(set(ranks))
    values = [activations[index] for index in images]
    assert values == sorted(values, reverse=True)


def test_equal_images_are_not_taken_in_the_order_of_their_folder(stack: Stack) -> None:
    silent = images_with(stack, np.r_[np.ones(20), np.zeros(980)])
    median = [index for _, index in places_of(stack, silent, "layer4:7", ["median"])["median"]]
    assert np.ptp(median) > 100
    assert median == [index for _, index in places_of(stack, silent, "layer4:7", BANDS)["median"]]


def test_maps_average_to_the_activation_and_planted_neurons_have_none(stack: Stack) -> None:
    images = Renderer().generate(["red star", "huge ring", "striped thing"], [1, 2, 3])
    assert stack.heat
    for neuron in ("layer1:3", "layer4:100"):
        maps = stack.heat(images, neuron)
        assert maps
        pooled = [float(part.values.mean()) for part in maps]
        truth = stack.lab.reader.read(images)[0][:, stack.neurons.index(neuron)]
        np.testing.assert_allclose(pooled, truth, atol=1e-5)
    assert stack.heat(images, "planted:0") is None


def test_an_overlay_keeps_what_is_hot_and_darkens_what_is_cold() -> None:
    image = np.full((200, 200, 3), 180, np.uint8)
    values = np.zeros((10, 10))
    values[:5] = 2.0
    shown = overlay(image, Heat(values, Box(0, 0, 200, 200)), 0.0, 2.0)
    assert shown.shape == image.shape
    assert (shown[:80] == 180).all()
    assert (shown[120:].mean(axis=2) < 120).all()
    edge = np.flatnonzero((shown == [255, 225, 0]).all(axis=2).any(axis=1))
    assert len(edge) == 1
    assert abs(int(edge[0]) - 100) < 5  # half way between the two


@pytest.mark.parametrize(
    ("values", "view", "size"),
    [
        (np.ones((3, 3)), Box(0, 0, 50, 70), (50, 70)),  # no difference between positions
        (np.full((3, 3), np.nan), Box(0, 0, 50, 70), (50, 70)),
        (np.eye(4), Box(-20, 10, 70, 60), (50, 70)),  # a crop of a padded image
        (np.array([[5.0]]), Box(10, 10, 11, 11), (12, 300)),
        (-np.eye(3), Box(0, 0, 9, 9), (9, 9)),
        (np.array([[np.inf, 0.0]]), Box(0, 0, 40, 40), (40, 40)),
    ],
)
def test_unusual_maps_can_be_shown(values: FloatArray, view: Box, size: tuple[int, int]) -> None:
    heat = Heat(values.astype(np.float32), view)
    shown = overlay(np.full((*size, 3), 200, np.uint8), heat, *span([heat]))
    scale = max(1.0, 160 / max(size))
    assert shown.shape == (round(size[0] * scale), round(size[1] * scale), 3)
    assert shown.dtype == np.uint8


def test_all_maps_of_a_neuron_are_on_one_scale() -> None:
    strong, weak = (Heat(np.array([[0.0, top]]), Box(0, 0, 9, 9)) for top in (8.0, 1.0))
    assert span([strong, weak]) == (0.0, 8.0)
    assert span([Heat(np.array([[-3.0, 4.0]]), Box(0, 0, 9, 9))]) == (0.0, 4.0)
    assert span([Heat(np.array([[-3.0, -1.0]]), Box(0, 0, 9, 9))]) == (-3.0, -1.0)


def test_a_histogram_counts_every_image() -> None:
    values = np.r_[np.zeros(1000), np.linspace(1, 4, 7)]
    found = histogram(values, {"median": 0.0, "99%": 2.0})
    assert (found.low, found.high, found.most) == (0.0, 4.0, 1000)
    assert max(tall for _, tall in found.bars) == HEIGHT
    assert found.bars[0] == (0.0, HEIGHT)
    assert len(found.bars) == 8
    assert found.bars[1][1] == pytest.approx(HEIGHT * np.log1p(1) / np.log1p(1000), abs=0.05)
    assert {name: place for place, name in found.marks} == {"median": 0.0, "99%": WIDTH / 2}


def test_the_page_shows_bands_maps_and_counts(stack: Stack, tmp_path: Path) -> None:
    found = dnr_env.exemplars(neurons=["layer4:7", "planted:20"], progress=False)
    page = found.save(tmp_path).read_text(encoding="utf-8")
    assert page.count('class="over"') == 25
    assert page.count("there is no heat map") == 1
    assert page.count("<svg") == 2
    with (tmp_path / "exemplars.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["neuron"], row["rank"], row["band"]) for row in rows[9:11]] == [
        ("layer4:7", "10", "top"), ("layer4:7", "19", "99%"),
    ]  # fmt: skip
    assert len(found.images("layer4:7", "median")) == BAND_IMAGES
    overlays = found.overlays("layer4:7", "90%")
    assert overlays is not None
    assert [part.shape for part in overlays] == [(160, 160, 3)] * BAND_IMAGES
    assert found.overlays("planted:20") is None
    counts, edges = found.histogram("layer4:7")
    assert counts.sum() == len(stack.probes.whole)
    assert len(edges) == BINS + 1


def test_a_constant_neuron_has_images_but_no_histogram(stack: Stack, tmp_path: Path) -> None:
    from dnr_env.evaluation.report import write_exemplar_report

    probes = ProbeSource(lambda _: images_with(stack, np.full(30, 2.0)))
    write_exemplar_report(replace(stack, probes=probes), ["layer4:7"], tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "constant or not finite" in page
    assert "<svg" not in page
    assert "too few images" in page  # 30 images have no 99% quantile beside the exemplars
