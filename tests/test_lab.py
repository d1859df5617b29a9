"""Evidence, seeds, the probe set, names of neurons, users and proposals."""

from __future__ import annotations

import itertools
import pickle
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dnr_env.lab
from dnr_env.describe.probe import CLIP, CONTROLS, EXEMPLARS, Probe
from dnr_env.describe.propose import propose
from dnr_env.errors import DnRError
from dnr_env.lab import Evidence, Lab
from dnr_env.neurons import SPLITS, select, split_of
from dnr_env.scores import correlation
from dnr_env.seeds import SeedBlock
from dnr_env.stacks import Stack
from dnr_env.store import Store
from dnr_env.types import FloatArray, ImageArray
from dnr_env.users import SimulatedUser, user_source

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
    cold = lab.measure(CONCEPTS, SEEDS)
    assert cold.activations.shape == (4, 4, 3)
    assert cold.embeddings.shape == (4, 4, 4)
    assert lab.generator.drawn == dict.fromkeys(DISTINCT, 1)
    assert_same(lab.measure(CONCEPTS, SEEDS), cold)
    another = make_lab(store, keeps_images)
    assert_same(another.measure(CONCEPTS, SEEDS), cold)
    assert sum(lab.generator.drawn.values()) == len(DISTINCT)
    assert not another.generator.drawn
    assert (lab.counters.drawn, lab.counters.stored, lab.counters.remembered) == (len(DISTINCT), 0, 32 - len(DISTINCT))
    assert (another.counters.drawn, another.counters.stored) == (0, len(DISTINCT))
    assert another.counters.remembered == 16 - len(DISTINCT)
    assert "100.0% of 16 measurements" in str(another.counters)


def test_evidence_is_what_the_reader_says_of_the_generators_images(make_lab: Callable[..., Lab]) -> None:
    lab = make_lab()
    evidence = lab.measure(CONCEPTS, SEEDS)
    for row, text in enumerate(CONCEPTS):
        activations, embeddings = lab.reader.read(lab.generator.generate([text] * 4, SEEDS[row].tolist()))
        np.testing.assert_array_equal(evidence.activations[row], activations)
        np.testing.assert_array_equal(evidence.embeddings[row], embeddings)
    # The fake reader has NaN activations, and they are evidence too.
    assert 0 < np.isnan(evidence.activations).mean() < 1


def test_what_a_caller_does_to_its_evidence_is_its_own_affair(make_lab: Callable[..., Lab]) -> None:
    lab = make_lab()
    first = lab.measure(CONCEPTS, SEEDS)
    kept = Evidence(first.activations.copy(), first.embeddings.copy())
    first.activations[:] = 0
    first.embeddings[:] = 0
    assert_same(lab.measure(CONCEPTS, SEEDS), kept)


def test_nothing_asked_is_nothing_drawn(make_lab: Callable[..., Lab]) -> None:
    lab = make_lab()
    assert lab.measure([], np.empty((0, 5), int)).activations.shape == (0, 5, 3)
    assert lab.measure(["star"], np.empty((1, 0), int)).embeddings.shape == (1, 0, 4)
    assert not lab.generator.drawn
    with pytest.raises(ValueError, match="zip"):
        lab.measure(["star"], SEEDS)


@pytest.mark.parametrize("room", [0, 3, 9, 14])
@pytest.mark.parametrize("stored", [True, False])
def test_a_memory_that_forgets_changes_no_evidence(
    store: Store, make_lab: Callable[..., Lab], monkeypatch: pytest.MonkeyPatch, room: int, stored: bool
) -> None:
    expected = make_lab().measure(CONCEPTS, SEEDS)
    monkeypatch.setattr(dnr_env.lab, "_FRONT_BYTES", room * 4 * 7)
    lab = make_lab(store if stored else None)
    rng = np.random.default_rng(0)
    for _ in range(60):
        rows, columns = rng.integers(4, size=rng.integers(1, 5)), rng.integers(4, size=rng.integers(1, 5))
        seeds = SEEDS[np.ix_(rows, columns)]
        found = lab.measure([CONCEPTS[row] for row in rows], seeds)
        place = np.ix_(rows, columns)
        assert_same(found, Evidence(expected.activations[place], expected.embeddings[place]))
    most = max(lab.generator.drawn.values())
    assert most == 1 if stored or room >= len(DISTINCT) else most > 1


def test_a_large_measurement_is_one_of_many_chunks(store: Store, make_lab: Callable[..., Lab]) -> None:
    seeds = np.arange(2100)[None]
    cold = make_lab(store).measure(["star"], seeds)
    assert_same(make_lab(store).measure(["star"], seeds[:, ::-1]), Evidence(cold[0][:, ::-1], cold[1][:, ::-1]))
    assert_same(make_lab().measure(["star"] * 2100, seeds.T), Evidence(*(part.swapaxes(0, 1) for part in cold)))


def test_a_generator_that_fails_loses_nothing_that_was_finished(store: Store, make_lab: Callable[..., Lab]) -> None:
    lab = make_lab(store)
    generate = lab.generator.generate

    def failing(concepts: list[str], seeds: list[int]) -> ImageArray:
        if 700 in seeds:
            raise MemoryError
        return generate(concepts, seeds)

    lab.generator.generate = failing
    seeds = np.arange(1000)[None]
    with pytest.raises(MemoryError):
        lab.measure(["star"], seeds)
    lab.generator.generate = generate
    evidence = lab.measure(["star"], seeds)
    assert set(lab.generator.drawn.values()) == {1}
    assert_same(evidence, make_lab().measure(["star"], seeds))


def test_images_that_are_kept_serve_another_reader(store: Store, make_lab: Callable[..., Lab]) -> None:
    lab = make_lab(store, keeps_images=True)
    lab.measure(CONCEPTS, SEEDS)
    another = make_lab(store, keeps_images=True, reader="another")
    another.measure(CONCEPTS, SEEDS)
    assert (another.counters.drawn, another.counters.measured) == (0, len(DISTINCT))
    assert not another.generator.drawn
    np.testing.assert_array_equal(
        another.images(CONCEPTS, SEEDS[:, 3].tolist()), lab.generator.generate(CONCEPTS, SEEDS[:, 3].tolist())
    )
    assert not another.generator.drawn


def test_images_that_are_not_kept_are_drawn_for_another_reader(store: Store, make_lab: Callable[..., Lab]) -> None:
    make_lab(store).measure(CONCEPTS, SEEDS)
    another = make_lab(store, reader="another")
    another.measure(CONCEPTS, SEEDS)
    assert another.generator.drawn == dict.fromkeys(DISTINCT, 1)


def test_blocks_of_seeds_do_not_meet() -> None:
    for one, other in itertools.combinations(SeedBlock, 2):
        assert abs(one - other) >= 1 << 30
    assert len(set(SeedBlock)) == 5
    for block in SeedBlock:
        np.testing.assert_array_equal(block.seeds(3, 4), int(block) + np.arange(3, 7))


# --- probe ---------------------------------------------------------------------------------------


def probe_of(activations: FloatArray) -> Probe:
    """A probe set of these activations, with embeddings of its own."""
    rng = np.random.default_rng(0)
    embeddings = rng.normal(size=(len(activations), 6)).astype(np.float32)
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    return Probe("test", activations.astype(np.float32), embeddings, lambda indices: np.zeros((len(indices), 1, 1, 3)))


def all_normalised(probe: Probe) -> FloatArray:
    """(neurons, images)."""
    return probe.normalise(probe.activations.T, np.arange(probe.activations.shape[1]))


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
        strongest = np.argsort(-probe.activations[:, neuron], kind="stable")[:EXEMPLARS]
        assert probe.exemplars[neuron].tolist() == strongest.tolist()
        assert row[strongest].mean() == pytest.approx(1, abs=1e-4)
        np.testing.assert_array_equal(probe.controls[neuron], np.sort(row[probe.control]))
        mean = probe.embeddings[strongest].mean(axis=0)
        np.testing.assert_allclose(probe.exemplar_embeddings[neuron], mean, atol=1e-6)


def test_each_row_is_normalised_for_its_own_neuron() -> None:
    probe = probe_of(np.random.default_rng(2).gamma(2, 1, (1000, 3)) * [1, 5, 25])
    normalised = all_normalised(probe)
    neurons = np.array([2, 0, 2])
    rows = probe.activations[:40, neurons].T.reshape(3, 5, 8)
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
    assert len(probe.activations) >= 1000
    assert np.mean(probe.alive) > 0.95
    assert np.isfinite(probe.controls).all()
    cosines = probe.embeddings[probe.exemplars[150]] @ probe.embeddings[7]  # a product is the mean cosine
    assert probe.exemplar_embeddings[150] @ probe.embeddings[7] == pytest.approx(cosines.mean(), abs=1e-5)
    # Its images can be shown, and they are those that were measured.
    indices = probe.exemplars[[0, 150]].ravel()
    np.testing.assert_array_equal(stack.lab.reader.read(probe.images(indices))[0], probe.activations[indices])


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
        np.corrcoef(probe.embeddings.astype(float) @ label, probe.activations[:, neuron].astype(float))[0, 1]
        for label, neuron in zip(labels, neurons, strict=True)
    ]
    np.testing.assert_allclose(probe.simulation(labels, neurons), wanted, atol=1e-3)
    alone = [probe.simulation(labels[[i]], neurons[[i]])[0] for i in range(texts)]
    np.testing.assert_array_equal(probe.simulation(labels, neurons), alone)
    assert (probe.simulation(labels, np.full(texts, 3)) == 0).all()
    assert (probe.simulation(np.zeros((texts, dim)), neurons) == 0).all()


# --- proposals -----------------------------------------------------------------------------------


def test_proposals_are_distinct_drawable_and_the_same_at_every_call(stack: Stack) -> None:
    without_store = replace(
        stack, lab=Lab(stack.lab.generator, stack.lab.reader), measure_probe=lambda lab, corruption: stack.probe
    )
    for neuron in (0, 100, len(stack.lab.reader.neurons) - 1):
        (proposal,) = stack.propose([neuron], 6)
        proposals = proposal.concepts
        assert 1 <= len(set(proposals)) == len(proposals) <= 6
        assert [stack.normalise(text) for text in proposals] == proposals
        assert [excerpt.exemplar for excerpt in proposal.excerpts] == list(range(10))
        assert propose(stack, [neuron], 6) == [proposal]
        assert propose(without_store, [neuron], 6) == [proposal]


def test_a_pickled_stack_is_the_stack_of_the_process(stack: Stack) -> None:
    assert pickle.loads(pickle.dumps(stack)) is stack


# --- neurons -------------------------------------------------------------------------------------

NAMES = [*(f"layer1:{i}" for i in range(10)), *(f"layer4:{i}" for i in range(100)), *(f"fc:{i}" for i in range(1000))]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ("layer4:7", ["layer4:7"]),
        ("layer4:0-2", ["layer4:0", "layer4:1", "layer4:2"]),
        ("layer4:99-99", ["layer4:99"]),
        ("layer1", NAMES[:10]),
        ("layer1:all", NAMES[:10]),
        ("all", NAMES),
        (" fc:1 , layer1:2,, layer1:2-3", ["layer1:2", "layer1:3", "fc:1"]),
        ("train,validation,test", NAMES),
        ("layer1:train,layer1:validation,layer1:test", NAMES[:10]),
    ],
)
def test_neurons_that_a_text_names(wanted: str, expected: list[str]) -> None:
    assert [NAMES[i] for i in select(NAMES, wanted)] == expected


@pytest.mark.parametrize("split", SPLITS)
def test_a_split_is_of_all_layers_or_of_one(split: str) -> None:
    expected = [i for i, name in enumerate(NAMES) if split_of(name) == split]
    assert select(NAMES, split) == expected
    assert select(NAMES, f"fc:{split}") == [i for i in expected if NAMES[i].startswith("fc:")]


@pytest.mark.parametrize(
    ("wanted", "says"),
    [
        ("", "names no neuron"),
        (" , ,", "names no neuron"),
        ("layer5", "known are .*layer4"),
        ("layer5:3", "known are .*layer4"),
        ("tests", "known are test"),
        ("7", "known are"),
        ("layer4:100", "neurons are 0 to 99"),
        ("layer4:90-100", "neurons are 0 to 99"),
        ("layer4:5-3", "neurons are 0 to 99"),
        ("layer4:-3", "an index"),
        ("layer4:3-", "an index"),
        ("layer4:1-2-3", "an index"),
        ("layer4:1.5", "an index"),
        ("layer4:²", "an index"),
        ("layer4:" + "9" * 5000, "an index"),
        ("layer4:", "an index"),
        (":7", "an index"),
        ("all:7", "known are"),
        ("layer4:7,nonsense", "'nonsense' is not known"),
    ],
)
def test_texts_that_name_no_neuron(wanted: str, says: str) -> None:
    with pytest.raises(DnRError, match=f"^neurons: .*{says}"):
        select(NAMES, wanted)


@given(st.text(max_size=30) | st.from_regex(r"(all|test|fc|layer[14])?(:[0-9-]{0,4})?(,test)?", fullmatch=True))
@settings(deadline=None, max_examples=200)
def test_any_text_names_neurons_or_is_refused(wanted: str) -> None:
    try:
        chosen = select(NAMES, wanted)
    except DnRError:
        return
    assert chosen == sorted(set(chosen))
    assert chosen
    assert chosen[-1] < len(NAMES)


def test_splits_keep_their_sizes_and_their_members() -> None:
    counts = {split: len(select(NAMES, split)) for split in SPLITS}
    assert counts["train"] == pytest.approx(0.6 * len(NAMES), abs=60)
    assert counts["validation"] == pytest.approx(0.2 * len(NAMES), abs=50)
    # Policies were trained on one of them: a neuron may never change its split.
    assert "".join(split_of(f"layer1:{i}")[1] for i in range(16)) == "reeaaarrrraarrea"


# --- users ---------------------------------------------------------------------------------------


def test_a_list_of_concepts_is_normalised(stack: Stack) -> None:
    source = user_source(["a RED disc", "stripes"], stack)
    assert source
    assert [stack.normalise(text) for text in source(0, np.random.default_rng())] == ["red circle", "striped thing"]
    assert user_source(None, stack) is None
    assert user_source(source, stack) is source


@pytest.mark.parametrize("as_text", [True, False])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_a_file_has_one_concept_a_line(tmp_path: Path, stack: Stack, as_text: bool, encoding: str) -> None:
    path = tmp_path / "my concepts.txt"
    path.write_text("# warm ones\n\n  a red disc \r\nstripes\n# star\non  black", encoding=encoding)
    source = user_source(str(path) if as_text else path, stack)
    assert source
    texts = [stack.normalise(text) for text in source(3, np.random.default_rng())]
    assert texts == ["red circle", "striped thing", "thing on black"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "cannot be read"),
        (b"", "holds no concept"),
        (b"\n # red\n\n", "holds no concept"),
        (b"\xff\xfe\x00red", "is not UTF-8"),
        (b"red\n" * 2_500_000, "10,000,000 bytes"),
        (b"red thing\nfluffy dog\n", "'fluffy dog' cannot be drawn"),
        (b"red " * 200, "too long"),
        (b"\0\0\0\n", "cannot be drawn"),
    ],
)
def test_files_that_cannot_be_used(tmp_path: Path, stack: Stack, content: bytes | None, says: str) -> None:
    path = tmp_path / "concepts.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DnRError, match=f"^user_concepts: .*{says}") as error:
        user_source(path, stack)
    assert len(str(error.value)) < 400 + len(str(path))


def test_a_folder_and_a_concept_are_no_files(tmp_path: Path, stack: Stack) -> None:
    for wanted in (str(tmp_path), "a red star", "x" * 5000):
        with pytest.raises(DnRError, match=r"(cannot be read|is no file).*one concept a line, will do"):
            user_source(wanted, stack)


def test_a_list_with_a_concept_that_cannot_be_drawn(stack: Stack) -> None:
    with pytest.raises(DnRError, match=r"^user_concepts: .*'fluffy dog'"):
        user_source(["red", "fluffy dog"], stack)


@pytest.mark.parametrize(("wanted", "quality"), [("simulated", 0.5), ("simulated:0", 0), ("simulated:1", 1)])
def test_a_simulated_user_has_a_quality(stack: Stack, wanted: str, quality: float) -> None:
    user = user_source(wanted, stack)
    assert isinstance(user, SimulatedUser)
    assert user.quality == quality
    concepts = user(200, np.random.default_rng(5))
    assert len(concepts) == user.count
    assert concepts == user(200, np.random.default_rng(5)) != user(200, np.random.default_rng(6))
    assert [stack.normalise(concept) for concept in concepts] == concepts


@pytest.mark.parametrize("wanted", [f"simulated:{text}" for text in ("2", "-0.1", "nan", "good", "1:2")])
def test_a_quality_is_from_zero_to_one(stack: Stack, wanted: str) -> None:
    with pytest.raises(DnRError, match=f"^user_concepts: '{wanted}' has no quality from 0 to 1; simulated:0.5 will do"):
        user_source(wanted, stack)


def test_good_users_know_more_than_bad_ones(stack: Stack) -> None:
    neurons = [i for i, name in enumerate(stack.lab.reader.neurons) if name.startswith("planted")][::6]

    def simulation(quality: float) -> list[float]:
        user = SimulatedUser(stack, quality)
        found = []
        for neuron in neurons:
            texts = [text for episode in range(3) for text in user(neuron, np.random.default_rng(episode))]
            similarity = stack.embedder.embed_texts(texts) @ stack.probe.embeddings.T
            activations = np.broadcast_to(stack.probe.activations[:, neuron], similarity.shape)
            found.append(float(correlation(similarity, activations).mean()))
        return found

    good, bad, between = (np.array(simulation(quality)) for quality in (1.0, 0.0, 0.5))
    assert (good > bad).all()
    assert good.mean() > bad.mean() + 0.2
    assert bad.mean() < between.mean() < good.mean()
