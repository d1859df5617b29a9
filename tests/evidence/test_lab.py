"""Evidence, seeds and the probe set."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from fakes import drawn
from hypothesis import given, settings
from hypothesis import strategies as st

import dnr_env.evidence.lab
from dnr_env.evidence.lab import Evidence, Lab
from dnr_env.evidence.probe import CLIP, CONTROLS, EXEMPLARS, Probe
from dnr_env.evidence.store import Store
from dnr_env.seeds import Purpose
from dnr_env.stack import Stack
from dnr_env.types import FloatArray, ImageArray

CONCEPTS = ["red thing", "star", "red thing", "thing on grass"]
SEEDS = np.array([[0, 1, 2, 1], [0, 7, 8, 9], [2, 3, 0, 0], [5, 5, 5, 1 << 40]])
DISTINCT = {(text, int(seed)) for text, row in zip(CONCEPTS, SEEDS, strict=True) for seed in row}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path / "store.sqlite")
    yield made
    made.close()


def assert_same(one: Evidence, other: Evidence) -> None:
    """The same digits, NaN included."""
    for a, b in zip(one, other, strict=True):
        assert a.dtype == b.dtype == np.float32
        np.testing.assert_array_equal(a, b)


# --- lab -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("keeps_images", [True, False])
def test_each_distinct_image_is_drawn_once_by_anybody(
    store: Store, make_lab: Callable[..., Lab], keeps_images: bool
) -> None:
    lab = make_lab(store, keeps_images)
    cold = lab.measure(concepts=CONCEPTS, seeds=SEEDS)
    assert cold.activations.shape == (4, 4, 3)
    assert cold.embeddings.shape == (4, 4, 4)
    assert drawn(lab) == dict.fromkeys(DISTINCT, 1)
    assert_same(lab.measure(concepts=CONCEPTS, seeds=SEEDS), cold)
    another = make_lab(store, keeps_images)
    assert_same(another.measure(concepts=CONCEPTS, seeds=SEEDS), cold)
    assert sum(drawn(lab).values()) == len(DISTINCT)
    assert not drawn(another)
    assert (lab.counters.drawn, lab.counters.stored, lab.counters.remembered) == (len(DISTINCT), 0, 32 - len(DISTINCT))
    assert (another.counters.drawn, another.counters.stored) == (0, len(DISTINCT))
    assert another.counters.remembered == 16 - len(DISTINCT)
    assert "100.0% of 16 measurements" in str(another.counters)


def test_threads_share_a_lab(store: Store, make_lab: Callable[..., Lab], monkeypatch: pytest.MonkeyPatch) -> None:
    expected = make_lab().measure(concepts=CONCEPTS, seeds=SEEDS)
    lab = make_lab(store, keeps_images=True)
    generate = lab.generator.generate

    def slow(concepts: Sequence[str], seeds: Sequence[int]) -> ImageArray:
        time.sleep(0.02)
        return generate(concepts, seeds)

    monkeypatch.setattr(lab.generator, "generate", slow)
    with ThreadPoolExecutor(6) as pool:
        measured = [pool.submit(lab.measure, concepts=CONCEPTS, seeds=SEEDS) for _ in range(3)]
        shown = [pool.submit(lab.images, ["a", "b"], [0, 1]) for _ in range(3)]
    for evidence in measured:
        assert_same(evidence.result(), expected)
    for images in shown:
        np.testing.assert_array_equal(images.result(), shown[0].result())
    assert drawn(lab) == dict.fromkeys([*DISTINCT, ("a", 0), ("b", 1)], 1)
    assert (lab.counters.measured, lab.counters.remembered) == (len(DISTINCT), 48 - len(DISTINCT))


def test_evidence_is_what_the_reader_says_of_the_generators_images(make_lab: Callable[..., Lab]) -> None:
    lab = make_lab()
    evidence = lab.measure(concepts=CONCEPTS, seeds=SEEDS)
    for row, text in enumerate(CONCEPTS):
        activations, embeddings = lab.reader.read(lab.generator.generate([text] * 4, SEEDS[row].tolist()))
        np.testing.assert_array_equal(evidence.activations[row], activations)
        np.testing.assert_array_equal(evidence.embeddings[row], embeddings)
    # The fake reader has NaN activations, and they are evidence too.
    assert 0 < np.isnan(evidence.activations).mean() < 1


def test_what_a_caller_does_to_its_evidence_is_its_own_affair(make_lab: Callable[..., Lab]) -> None:
    lab = make_lab()
    first = lab.measure(concepts=CONCEPTS, seeds=SEEDS)
    kept = Evidence(first.activations.copy(), first.embeddings.copy())
    first.activations[:] = 0
    first.embeddings[:] = 0
    assert_same(lab.measure(concepts=CONCEPTS, seeds=SEEDS), kept)


def test_nothing_asked_is_nothing_drawn(make_lab: Callable[..., Lab]) -> None:
    lab = make_lab()
    assert lab.measure(concepts=[], seeds=np.empty((0, 5), int)).activations.shape == (0, 5, 3)
    assert lab.measure(concepts=["star"], seeds=np.empty((1, 0), int)).embeddings.shape == (1, 0, 4)
    assert not drawn(lab)
    with pytest.raises(ValueError, match="zip"):
        lab.measure(concepts=["star"], seeds=SEEDS)


@pytest.mark.parametrize("room", [0, 3, 9, 14])
@pytest.mark.parametrize("stored", [True, False])
def test_a_memory_that_forgets_changes_no_evidence(
    store: Store, make_lab: Callable[..., Lab], monkeypatch: pytest.MonkeyPatch, room: int, stored: bool
) -> None:
    expected = make_lab().measure(concepts=CONCEPTS, seeds=SEEDS)
    monkeypatch.setattr(dnr_env.evidence.lab, "_FRONT_BYTES", room * 4 * 7)
    lab = make_lab(store if stored else None)
    rng = np.random.default_rng(0)
    for _ in range(60):
        rows, columns = rng.integers(4, size=rng.integers(1, 5)), rng.integers(4, size=rng.integers(1, 5))
        seeds = SEEDS[np.ix_(rows, columns)]
        found = lab.measure(concepts=[CONCEPTS[row] for row in rows], seeds=seeds)
        place = np.ix_(rows, columns)
        assert_same(found, Evidence(expected.activations[place], expected.embeddings[place]))
    most = max(drawn(lab).values())
    assert most == 1 if stored or room >= len(DISTINCT) else most > 1


def test_a_large_measurement_is_one_of_many_chunks(store: Store, make_lab: Callable[..., Lab]) -> None:
    seeds = np.arange(2100)[None]
    cold = make_lab(store).measure(concepts=["star"], seeds=seeds)
    assert_same(
        make_lab(store).measure(concepts=["star"], seeds=seeds[:, ::-1]), Evidence(cold[0][:, ::-1], cold[1][:, ::-1])
    )
    assert_same(
        make_lab().measure(concepts=["star"] * 2100, seeds=seeds.T), Evidence(*(part.swapaxes(0, 1) for part in cold))
    )


def test_a_generator_that_fails_loses_nothing_that_was_finished(
    store: Store, make_lab: Callable[..., Lab], monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = make_lab(store)
    generate = lab.generator.generate

    def failing(concepts: Sequence[str], seeds: Sequence[int]) -> ImageArray:
        if 700 in seeds:
            raise MemoryError
        return generate(concepts, seeds)

    seeds = np.arange(1000)[None]
    with monkeypatch.context() as patch:
        patch.setattr(lab.generator, "generate", failing)
        with pytest.raises(MemoryError):
            lab.measure(concepts=["star"], seeds=seeds)
    evidence = lab.measure(concepts=["star"], seeds=seeds)
    assert set(drawn(lab).values()) == {1}
    assert_same(evidence, make_lab().measure(concepts=["star"], seeds=seeds))


def test_images_that_are_kept_serve_another_reader(store: Store, make_lab: Callable[..., Lab]) -> None:
    lab = make_lab(store, keeps_images=True)
    lab.measure(concepts=CONCEPTS, seeds=SEEDS)
    another = make_lab(store, keeps_images=True, reader="another")
    another.measure(concepts=CONCEPTS, seeds=SEEDS)
    assert (another.counters.drawn, another.counters.measured) == (0, len(DISTINCT))
    assert not drawn(another)
    np.testing.assert_array_equal(
        another.images(CONCEPTS, SEEDS[:, 3].tolist()), lab.generator.generate(CONCEPTS, SEEDS[:, 3].tolist())
    )
    assert not drawn(another)


def test_images_that_are_not_kept_are_drawn_for_another_reader(store: Store, make_lab: Callable[..., Lab]) -> None:
    make_lab(store).measure(concepts=CONCEPTS, seeds=SEEDS)
    another = make_lab(store, reader="another")
    another.measure(concepts=CONCEPTS, seeds=SEEDS)
    assert drawn(another) == dict.fromkeys(DISTINCT, 1)


def test_blocks_of_seeds_do_not_meet() -> None:
    for one, other in itertools.combinations(Purpose, 2):
        assert abs(one - other) >= 1 << 30
    assert len(set(Purpose)) == 6
    for block in Purpose:
        np.testing.assert_array_equal(block.seeds(3, 4), int(block) + np.arange(3, 7))


# --- probe ---------------------------------------------------------------------------------------


def probe_of(activations: FloatArray) -> Probe:
    """A probe set of these activations, with embeddings of its own."""
    rng = np.random.default_rng(0)
    embeddings = rng.normal(size=(len(activations), 6)).astype(np.float32)
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    return Probe(
        "test", activations.astype(np.float32), embeddings, lambda indices: np.zeros((len(indices), 1, 1, 3), np.uint8)
    )


def all_normalised(probe: Probe) -> FloatArray:
    """(neurons, images)."""
    return probe.normalise(probe.all_raw(probe.neurons).T, probe.neurons)


def test_zero_is_the_typical_image_and_one_the_exemplars() -> None:
    rng = np.random.default_rng(1)
    scales, offsets = 10.0 ** np.arange(-3, 4), np.linspace(-50, 50, 7)
    probe = probe_of(rng.gamma(2, 1, (1500, 7)) * scales + offsets * scales)
    assert probe.alive.all()
    assert probe.control.shape == (CONTROLS,)
    assert len(set(probe.control.tolist())) == CONTROLS
    normalised = all_normalised(probe)
    assert normalised.dtype == np.float32
    np.testing.assert_allclose(np.median(normalised[:, probe.control], axis=1), 0, atol=1e-4)
    for neuron, row in enumerate(normalised):
        strongest = np.argsort(-probe.all_raw(np.array([neuron]))[:, 0], kind="stable")[:EXEMPLARS]
        assert probe.exemplars[neuron].tolist() == strongest.tolist()
        assert row[strongest].mean() == pytest.approx(1, abs=1e-4)
        np.testing.assert_array_equal(probe.controls[neuron], np.sort(row[probe.control]))
        mean = probe.embeddings[strongest].mean(axis=0)
        np.testing.assert_allclose(probe.exemplar_embeddings[neuron], mean, atol=1e-6)


def test_each_row_is_normalised_for_its_own_neuron() -> None:
    probe = probe_of(np.random.default_rng(2).gamma(2, 1, (1000, 3)) * [1, 5, 25])
    normalised = all_normalised(probe)
    neurons = np.array([2, 0, 2])
    rows = probe.raw(np.arange(40), neurons).T.reshape(3, 5, 8)
    np.testing.assert_array_equal(probe.normalise(rows, neurons), normalised[neurons, :40].reshape(3, 5, 8))


@pytest.mark.parametrize("images", [3, EXEMPLARS, 700])
def test_neurons_without_a_scale_are_zero_everywhere(images: int) -> None:
    rng = np.random.default_rng(3)
    alive = rng.gamma(2, 1, images)
    dead, constant, almost = np.zeros(images), np.full(images, 7.3), 5 + 1e-9 * alive
    nan, inf = alive.copy(), alive.copy()
    nan[1], inf[1] = np.nan, np.inf
    probe = probe_of(np.column_stack([alive, dead, constant, almost, nan, inf]))
    assert probe.alive.tolist() == [True, False, False, False, False, False]
    assert (all_normalised(probe)[1:] == 0).all()
    assert (probe.controls[1:] == 0).all()
    for values in (probe.controls, probe.exemplar_embeddings, all_normalised(probe)):
        assert np.isfinite(values).all()
    strange = np.tile([np.nan, np.inf, -np.inf, 3e38, -3e38, 1.0], (6, 1)).astype(np.float32)
    found = probe.normalise(strange, np.arange(6))
    assert (found[1:] == 0).all()
    assert found[0, :5].tolist() == [0, CLIP, -CLIP, CLIP, -CLIP]


def test_the_probe_set_of_the_stack(stack: Stack) -> None:
    probe = stack.probe
    assert len(probe) >= 900
    assert np.mean(probe.alive) > 0.95
    assert np.isfinite(probe.controls).all()
    cosines = probe.embeddings[probe.exemplars[150]] @ probe.embeddings[7]  # a product is the mean cosine
    assert probe.exemplar_embeddings[150] @ probe.embeddings[7] == pytest.approx(cosines.mean(), abs=1e-5)
    # Its images can be shown, and they are those that were measured.
    indices = probe.exemplars[[0, 150]].ravel()
    np.testing.assert_array_equal(stack.lab.reader.read(probe.images(indices))[0], probe.raw(indices, probe.neurons))


@given(st.integers(0, 1 << 20), st.integers(3, 60), st.integers(1, 5), st.integers(2, 6))
@settings(deadline=None, max_examples=60)
def test_simulation_is_the_correlation_over_the_images(seed: int, images: int, texts: int, dim: int) -> None:
    rng = np.random.default_rng(seed)
    probe = probe_of(rng.gamma(2, 1, (images, 4)) * [1, 1e-3, 1e3, 0] + 5)
    embeddings = rng.normal(size=(images, dim)).astype(np.float32)
    probe.embeddings = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    labels = rng.normal(size=(texts, dim))
    neurons = rng.integers(0, 3, texts)
    wanted = [
        np.corrcoef(probe.embeddings.astype(float) @ label, probe.all_raw(np.array([neuron]))[:, 0].astype(float))[0, 1]
        for label, neuron in zip(labels, neurons, strict=True)
    ]
    np.testing.assert_allclose(probe.simulation(labels, neurons), wanted, atol=1e-3)
    alone = [probe.simulation(labels[[i]], neurons[[i]])[0] for i in range(texts)]
    np.testing.assert_array_equal(probe.simulation(labels, neurons), alone)
    assert (probe.simulation(labels, np.full(texts, 3)) == 0).all()
    assert (probe.simulation(np.zeros((texts, dim)), neurons) == 0).all()
