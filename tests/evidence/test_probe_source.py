"""The halves of the real images: which image is in which, what each is measured on, and what sees neither."""

from __future__ import annotations

import hashlib
import shutil
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from probe_pictures import ListReader, fill
from requests_of_neurons import requests

import dnr_env.evidence.probe
import dnr_env.shapes.stack
from dnr_env.env.rules import Rules
from dnr_env.errors import DnRError
from dnr_env.evaluation.judge import judge
from dnr_env.evidence.decode import read_file
from dnr_env.evidence.given import images_given
from dnr_env.evidence.image_set import ImageSet
from dnr_env.evidence.probe import EXEMPLARS, Probe
from dnr_env.evidence.probe_source import ProbeSource, searched
from dnr_env.evidence.store import Store
from dnr_env.models.stack import measure_probe
from dnr_env.shapes.config import PRESETS
from dnr_env.shapes.stack import shapes_stack
from dnr_env.stack import Stack
from dnr_env.types import FloatArray

pa = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")


def by_hand(source: str) -> bool:
    return hashlib.sha256(source.encode()).digest()[0] % 2 == 0


def probe_of(activations: FloatArray, dim: int = 4, **options: Any) -> Probe:
    """A probe set with random embeddings. Its images hold their index."""
    embeddings = np.random.default_rng(0).normal(size=(len(activations), dim)).astype(np.float32)
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    return Probe(
        "made",
        activations,
        embeddings,
        lambda indices: np.broadcast_to(indices[:, None, None, None], (len(indices), 1, 1, 3)).astype(np.uint8),
        lambda index: f"photos/{index}.png",
        **options,
    )


@given(st.lists(st.text(), max_size=60), st.randoms(use_true_random=False))
@settings(deadline=None)
def test_the_half_of_an_image_depends_on_its_source_alone(sources: list[str], random: Any) -> None:
    sources = [source.encode("utf-8", "replace").decode() for source in sources]
    alone = {source: bool(searched([source])[0]) for source in sources}
    mixed = random.sample(sources, len(sources))
    assert searched(mixed).tolist() == [alone[source] for source in mixed] == list(map(by_hand, mixed))


def test_halves_are_disjoint_exhaustive_and_name_their_true_files() -> None:
    rng = np.random.default_rng(1)
    activations = rng.gamma(2, 1, (240, 3)).astype(np.float32)
    source = ProbeSource(lambda _: probe_of(activations, source=lambda row: f"film {row // 3}"))
    halves = source.clean, source.held_out
    names = [[half.describe(i) for i in range(len(half))] for half in halves]
    assert sorted(names[0] + names[1]) == sorted(f"photos/{i}.png" for i in range(240))
    assert min(len(half) for half in halves) > 60
    assert not set(halves[0].sources()) & set(halves[1].sources())
    for half, part in zip(halves, names, strict=True):
        rows = np.array([int(Path(name).stem) for name in part])
        assert [by_hand(f"film {row // 3}") for row in rows] == [half is source.clean] * len(rows)
        np.testing.assert_array_equal(half.all_raw(half.neurons), activations[rows])
        np.testing.assert_array_equal(
            half.raw(np.array([5, 2]), np.array([2, 0])), activations[rows[[5, 2]]][:, [2, 0]]
        )
        np.testing.assert_array_equal(half.embeddings, source.whole.embeddings[rows])
        order = np.argsort(-activations[rows], axis=0, kind="stable")[:EXEMPLARS].T
        np.testing.assert_array_equal(half.exemplars, order)
        shown = np.array(half.images(half.exemplars[1]))[:, 0, 0, 0]
        np.testing.assert_array_equal(shown, rows[order[1]])
    assert source.clean.fingerprint != source.held_out.fingerprint != source.whole.fingerprint


def test_the_held_out_half_is_on_the_scale_of_the_other() -> None:
    rng = np.random.default_rng(2)
    activations = (rng.gamma(2, 1, (1300, 4)) * [1, 50, 0.01, 0] + 3).astype(np.float32)
    source = ProbeSource(lambda _: probe_of(activations))
    search = np.array([by_hand(f"#{i}") for i in range(len(activations))])
    raw, neurons = rng.gamma(2, 1, (4, 7)).astype(np.float32), np.arange(4)
    clean, held_out = source.clean, source.held_out
    np.testing.assert_array_equal(clean.normalise(raw, neurons), held_out.normalise(raw, neurons))
    np.testing.assert_array_equal(clean.alive, held_out.alive)
    ours, theirs = activations[search].astype(float), activations[~search].astype(float)
    offset = np.median(ours[clean.control], axis=0)
    unit = np.sort(ours, axis=0)[-EXEMPLARS:].mean(axis=0) - offset
    for neuron in range(3):
        scaled = (theirs[:, neuron] - offset[neuron]) / unit[neuron]
        controls = np.sort(scaled[held_out.control])
        np.testing.assert_allclose(held_out.controls[neuron], controls, rtol=1e-4, atol=1e-5)
        (strong,) = held_out.strong(np.array([neuron]))
        assert strong == pytest.approx(np.quantile(scaled, 0.99), rel=1e-4, abs=1e-5)
    assert (held_out.controls[3] == 0).all()


def test_a_corruption_is_judged_on_the_held_out_half() -> None:
    rng = np.random.default_rng(3)
    activations = rng.gamma(2, 1, (2, 200, 3)).astype(np.float32)
    source = ProbeSource(lambda corruption: probe_of(activations[int(corruption is not None)]), ["blur"])
    (blurred,) = source.others().values()
    held_out = ~searched(f"#{i}" for i in range(200))
    np.testing.assert_array_equal(blurred.all_raw(blurred.neurons), activations[1][held_out])
    assert [blurred.describe(i) for i in range(len(blurred))] == [
        source.held_out.describe(i) for i in range(len(source.held_out))
    ]


class Watched(np.memmap[Any, Any]):
    """A memory map that notes the rows and the number of values of each reading."""

    def __getitem__(self, key: Any) -> Any:
        found = super().__getitem__(key)
        log.append((np.unique(np.asarray(key[0])), np.size(found)))
        return found


log: list[tuple[Any, int]] = []


def test_a_half_reads_its_own_rows_of_a_memory_map_and_few_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dnr_env.evidence.probe, "_BLOCK_BYTES", 8 * 100 * 10)
    values = np.random.default_rng(4).gamma(2, 1, (200, 64)).astype(np.float32)
    values.tofile(tmp_path / "x")
    mapped = Watched(tmp_path / "x", np.float32, "r", shape=values.shape)
    source, plain = ProbeSource(lambda _: probe_of(mapped)), ProbeSource(lambda _: probe_of(values))
    rows = searched(f"#{i}" for i in range(200))
    which, texts = np.array([3, 60]), np.random.default_rng(5).normal(size=(2, 4))
    for half, same, own in ((source.clean, plain.clean, rows), (source.held_out, plain.held_out, ~rows)):
        same.controls  # noqa: B018 (measured, so that the scale is read before the log begins)
        half.normalise(np.zeros((1, 1), np.float32), which[:1])
        log.clear()
        np.testing.assert_array_equal(half.controls, same.controls)
        np.testing.assert_array_equal(half.exemplars, same.exemplars)
        np.testing.assert_array_equal(half.strong(which), same.strong(which))
        np.testing.assert_array_equal(half.simulation(texts, which), same.simulation(texts, which))
        np.testing.assert_array_equal(half.simulation_error(texts, which), same.simulation_error(texts, which))
        assert log
        for read, size in log:
            assert set(read.tolist()) <= set(np.flatnonzero(own).tolist())
            assert size <= values.size / 4


# --- the sources of each kind of images ------------------------------------------------------------


def copied(folder: Path, place: Path) -> Path:
    shutil.copytree(folder, place)
    return place


def zipped(folder: Path, place: Path) -> Path:
    place.mkdir()
    with zipfile.ZipFile(place / "photos.zip", "w") as archive:
        for file in sorted(folder.rglob("*.png"), reverse=True):
            archive.write(file, file.relative_to(folder))
    return place / "photos.zip"


def table(folder: Path, place: Path, suffix: str, named: bool) -> Path:
    """A table of the files' contents, with their names beside them as Hugging Face writes them, or without."""
    files = sorted(folder.rglob("*.png"))
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    rows = [{"bytes": file.read_bytes(), "path": file.name} for file in files]
    columns = pa.table({"image": pa.array(rows, kind) if named else [row["bytes"] for row in rows]})
    place.mkdir()
    path = place / f"photos{suffix}"
    if suffix == ".parquet":
        parquet.write_table(columns, path, row_group_size=7)
    else:
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, columns.schema) as out:
            out.write_table(columns)
    return path


def paths(folder: Path, place: Path) -> Sequence[Path]:
    return sorted(copied(folder, place).rglob("*.png"), reverse=True)


FORMS: dict[str, Callable[[Path, Path], Any]] = {
    "a folder": copied,
    "an archive": zipped,
    "Parquet": lambda folder, place: table(folder, place, ".parquet", True),
    "Parquet of bytes alone": lambda folder, place: table(folder, place, ".parquet", False),
    "Arrow": lambda folder, place: table(folder, place, ".arrow", True),
    "Arrow of bytes alone": lambda folder, place: table(folder, place, ".arrow", False),
    "a list of paths": paths,
    "a list of arrays": lambda folder, place: [read_file(file) for file in sorted(folder.rglob("*.png"))],
}


def halves_of(images: ImageSet) -> dict[str, bool]:
    """The half of each image, by its content."""
    found = searched(images.source(i) for i in range(len(images)))
    return {images.key(i): bool(found[i]) for i in range(len(images))}


@pytest.mark.parametrize("form", FORMS)
def test_an_image_stays_in_its_half_when_others_are_added_and_the_folder_moves(form: str, tmp_path: Path) -> None:
    photos = fill(tmp_path / "photos", 40)
    before = halves_of(images_given(FORMS[form](photos, tmp_path / "here")))
    assert len(before) == 40
    assert set(before.values()) == {True, False}
    fill(tmp_path / "more", 52)
    for file in sorted((tmp_path / "more").iterdir())[40:]:
        file.rename(photos / f"z{file.name}")  # after the others, so that these keep their places
    after = halves_of(images_given(FORMS[form](photos, tmp_path / "there")))
    assert len(after) == 52
    assert before.items() <= after.items()


@pytest.mark.parametrize("form", ["a folder", "an archive", "Parquet", "Arrow", "a list of paths"])
def test_images_that_name_files_keep_their_halves_when_earlier_ones_are_added(form: str, tmp_path: Path) -> None:
    photos = fill(tmp_path / "photos", 40)
    before = halves_of(images_given(FORMS[form](photos, tmp_path / "here")))
    fill(tmp_path / "more", 52)
    for file in sorted((tmp_path / "more").iterdir())[40:]:
        file.rename(photos / f"A{file.name}")
    after = halves_of(images_given(FORMS[form](photos, tmp_path / "there")))
    assert before.items() <= after.items()


@pytest.mark.parametrize("suffix", [".parquet", ".arrow"])
def test_rows_that_name_one_file_are_in_one_half(suffix: str, tmp_path: Path) -> None:
    files = sorted(fill(tmp_path / "photos", 60).iterdir())
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    rows = [
        {"bytes": file.read_bytes(), "path": f"film{i // 3}.mp4" if i < 57 else None} for i, file in enumerate(files)
    ]
    path = tmp_path / f"frames{suffix}"
    columns = pa.table({"image": pa.array(rows, kind)})
    if suffix == ".parquet":
        parquet.write_table(columns, path)
    else:
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, columns.schema) as out:
            out.write_table(columns)
    images = images_given(path)
    assert [images.source(i) for i in range(60)] == [
        *(f"film{i // 3}.mp4" for i in range(57)), *(f"frames{suffix}#{i}" for i in range(57, 60)),
    ]  # fmt: skip


def test_a_folder_is_halved_as_an_archive_a_table_and_a_list_of_its_files(tmp_path: Path) -> None:
    photos = fill(tmp_path / "photos", 40)
    fill(photos / "deeper", 44)
    for file in sorted((photos / "deeper").iterdir())[:40]:
        file.unlink()
    forms = ("a folder", "an archive", "Parquet", "Arrow", "a list of paths")
    found = [halves_of(images_given(FORMS[form](photos, tmp_path / form))) for form in forms]
    for form, other in zip(forms, found, strict=True):
        if form == "a list of paths":  # whose images are known by their pixels
            assert sum(other.values()) == sum(found[0].values())
        else:
            assert other == found[0]


def test_measured_images_are_halved_by_their_files(tmp_path: Path) -> None:
    photos, store = fill(tmp_path / "photos", 40), Store(tmp_path / "store.sqlite")
    (photos / "a000.png").write_bytes(b"broken")
    images = images_given(photos)
    source = ProbeSource(lambda _: measure_probe(images, ListReader(), store))
    for half in (source.clean, source.held_out):
        for i in range(len(half)):
            assert by_hand(Path(half.describe(i)).name) == (half is source.clean)
            picture = np.asarray(half.images(np.array([i]))[0])
            np.testing.assert_array_equal(picture, read_file(Path(half.describe(i))))
    store.close()


def test_a_half_with_fewer_images_than_exemplars_is_refused_but_all_can_be_looked_at() -> None:
    names = [name for name in map("{}.png".format, range(200)) if by_hand(name)][:30]
    names += [name for name in map("{}.png".format, range(200)) if not by_hand(name)][:9]
    activations = np.random.default_rng(8).gamma(2, 1, (39, 3)).astype(np.float32)
    for source in (names, names[30:] + names[:9]):
        few = ProbeSource(lambda _, s=source: probe_of(activations[: len(s)], source=s.__getitem__))  # type: ignore[misc]
        assert few.whole.exemplars.shape == (3, EXEMPLARS)
        for half in ("clean", "held_out"):
            with pytest.raises(
                DnRError, match=r"^`probe.images` must have at least 10 usable images .* \(got \d+ and 9\)$"
            ):
                getattr(few, half)


# --- what sees which half --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def noisy(stack: Stack) -> Stack:
    """The embedded world, with noise in place of the held-out half."""
    whole, rng = stack.probes.whole, np.random.default_rng(6)
    lost = ~searched(whole.sources())
    activations, embeddings = whole.all_raw(whole.neurons), whole.embeddings.copy()
    activations[lost] = rng.gamma(2, 1, (lost.sum(), activations.shape[1]))
    noise = rng.normal(size=(lost.sum(), embeddings.shape[1]))
    embeddings[lost] = noise / np.linalg.norm(noise, axis=1, keepdims=True)
    probe = Probe("noisy", activations, embeddings, whole.images, whole.describe)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dnr_env.shapes.stack, "_probe", lambda *parts: probe)
        made = shapes_stack("noisy", PRESETS["shapes"])
        assert made.probes.whole is probe
    return made


NAMES = ("layer4:7", "layer3:1", "planted:26", "planted:0")


def test_nothing_of_the_search_changes_with_the_held_out_half(stack: Stack, noisy: Stack) -> None:
    ours, theirs = stack.probe, noisy.probe
    which = stack.neurons.indices(NAMES)
    for name in ("exemplars", "control", "controls", "alive", "embeddings", "exemplar_embeddings"):
        np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name))
    raw = np.random.default_rng(7).gamma(2, 1, (len(which), 9))
    np.testing.assert_array_equal(ours.normalise(raw, which), theirs.normalise(raw, which))
    found = [[(one.concepts, one.excerpts) for one in s.proposer.propose(which.tolist(), 6)] for s in (stack, noisy)]
    assert found[0] == found[1]
    texts = list(stack.vocabulary.concepts[:200])
    for neuron in which:
        many = np.full(len(texts), neuron)
        promised = [one.prior.values(texts, many, "grounded_k").mean for one in (stack, noisy)]
        simulated = [one.vocabulary.simulation(texts, many) for one in (stack, noisy)]
        np.testing.assert_array_equal(promised[0], promised[1])
        np.testing.assert_array_equal(simulated[0], simulated[1])
    for name in stack.mutators:
        answers = [[one.concept for one in s.mutators[name].mutate(requests(range(6), "red"))] for s in (stack, noisy)]
        assert answers[0] == answers[1]
    asked: dict[str, Any] = {"neurons": NAMES, "labels": ["red thing"] * 4, "rules": Rules(), "images": 6}
    for one, other in zip(judge(stack, **asked), judge(noisy, **asked), strict=True):
        assert one.simulation != other.simulation
        assert one.judge_simulation != other.judge_simulation
        assert one.value != other.value


def test_no_observation_or_info_changes_with_the_held_out_half_but_the_reward_does(stack: Stack, noisy: Stack) -> None:
    envs = [gym.make("dnr_env:DnR/RefineSlots-v0", stack=one) for one in (stack, noisy)]
    envs[0].action_space.seed(0)
    rewards = []
    for neuron in NAMES:
        seen = [env.reset(seed=3, options={"neuron": neuron}) for env in envs]
        for _ in range(12):
            for name, part in seen[0][0].items():
                np.testing.assert_array_equal(part, seen[1][0][name])
            assert repr(seen[0][-1]) == repr(seen[1][-1])
            action = envs[0].action_space.sample()
            steps = [env.step(action) for env in envs]
            rewards.append([step[1] for step in steps])
            seen = [(step[0], step[-1]) for step in steps]
            assert steps[0][2:4] == steps[1][2:4]
            if steps[0][2]:
                break
    ours, theirs = np.array(rewards, float).T
    assert not np.array_equal(ours, theirs)
