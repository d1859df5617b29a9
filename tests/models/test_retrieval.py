"""The generator that retrieves: near, disjoint, paired, and the same whatever else is asked for."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from probe_pictures import fill, picture
from small_clip import write_clip
from small_world import config_of, fresh, small_world

import dnr_env
from dnr_env.errors import DnRError
from dnr_env.evaluation.doctor import examine
from dnr_env.evaluation.plan import tflop_of
from dnr_env.evidence.image_set import ImageSet
from dnr_env.evidence.images import open_images
from dnr_env.evidence.lab import Lab
from dnr_env.evidence.store import Store
from dnr_env.interfaces import Generator
from dnr_env.models.config import GeneratorConfig
from dnr_env.models.embedder import OpenClipEmbedder
from dnr_env.models.missing import NoEmbedder
from dnr_env.models.reader import NetworkReader
from dnr_env.models.retrieval import RetrievalGenerator
from dnr_env.models.target import NetworkTarget
from dnr_env.seeds import Purpose
from dnr_env.types import FloatArray, ImageArray, Images

TEXTS = ("red", "green", "blue", "dark")
COUNT = 200


class ColourEmbedder(OpenClipEmbedder):
    """Embeds images by their mean colour, and four texts as corners of the same space; counts the images."""

    dim = 4
    fingerprint = "colours"

    def __init__(self) -> None:
        self.count = 0

    def embed_images(self, images: Images) -> FloatArray:
        self.count += len(images)
        means = np.array([image.mean(axis=(0, 1)) / 255 for image in images], np.float32).reshape(len(images), 3)
        rows = np.concatenate([means, 1 - means.mean(axis=1, keepdims=True)], axis=1)
        return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)

    def embed_texts(self, texts: Sequence[str]) -> FloatArray:
        corners = [
            np.eye(4)[next((i for i, text in enumerate(TEXTS) if text in name), 3)] + 0.01 * len(name) for name in texts
        ]
        return np.array([corner / np.linalg.norm(corner) for corner in corners], np.float32)


def tiles(folder: Path, seeds: Sequence[int]) -> Path:
    """Pictures of one colour each, with a grain of their own."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed in seeds:
        rng = np.random.default_rng(seed)
        colour = rng.integers(30, 226, 3)
        Image.fromarray((colour + rng.integers(-30, 30, (16, 24, 3))).astype(np.uint8)).save(folder / f"{seed:04}.png")
    return folder


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiles(tmp_path_factory.mktemp("set") / "photos", range(COUNT))


@pytest.fixture(scope="module")
def probe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiles(tmp_path_factory.mktemp("probe") / "photos", range(COUNT - 20, COUNT + 20))


def opening(spec: Path | str, store: Store | None = None) -> Callable[[], ImageSet]:
    return lambda: open_images(str(spec), store=store, option="generator.images")


def retrieval(photos: Path, probe: Path, store: Store | None = None, **options: object) -> RetrievalGenerator:
    return RetrievalGenerator(
        opening(photos, store),
        opening(probe, store),
        ColourEmbedder(),
        store,
        **{"size": 16, **options},  # type: ignore[arg-type]
    )


@pytest.fixture(scope="module")
def generator(photos: Path, probe: Path) -> RetrievalGenerator:
    return retrieval(photos, probe)


def rows(images: ImageArray) -> list[bytes]:
    return [image.tobytes() for image in images]


def files_of(photos: Path) -> dict[bytes, int]:
    """The seed of each picture, by what the generator makes of it: the middle."""
    return {np.asarray(Image.open(path))[:, 4:20].tobytes(): int(path.stem) for path in photos.glob("*.png")}


def digest(path: Path) -> bytes:
    pixels = np.asarray(Image.open(path))
    return hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes()).digest()


def part_of(photos: Path, purpose: Purpose) -> list[int]:
    """The pictures of a purpose, as the documentation says."""
    quarters = {Purpose.SEARCH: (0,), Purpose.REWARD: (1,), Purpose.JUDGE: (2, 3)}[purpose]
    return [int(p.stem) for p in photos.glob("*.png") if digest(p)[0] % 4 in quarters and int(p.stem) < COUNT - 20]


def test_it_is_a_generator(generator: RetrievalGenerator) -> None:
    used: Generator = generator
    images = used.generate(["red", "blue"], [0, 1])
    assert images.shape == (2, 16, 16, 3)
    assert images.dtype == np.uint8
    assert used.generate([], []).shape == (0, 16, 16, 3)


@pytest.mark.parametrize("purpose", [Purpose.SEARCH, Purpose.REWARD, Purpose.JUDGE])
@pytest.mark.parametrize("text", TEXTS)
def test_the_nearest_are_the_nearest_by_brute_force(
    generator: RetrievalGenerator, photos: Path, purpose: Purpose, text: str
) -> None:
    embedder = ColourEmbedder()
    mine = part_of(photos, purpose)
    assert len(mine) > 20
    pixels = [np.asarray(Image.open(photos / f"{seed:04}.png")) for seed in mine]
    wanted = embedder.embed_texts([f"a photo of {text}"])[0].astype(np.float64)
    similarities = embedder.embed_images(pixels).astype(np.float64) @ wanted
    expected = [mine[i] for i in np.argsort(-similarities)]
    names = files_of(photos)
    both = [
        rows(generator.generate([text] * 10, purpose.seeds(0, 10, block).tolist())) for block in (0, 1)
    ]  # two sets: all of the first twenty
    found = {names[image] for block in both for image in block}
    assert found == set(expected[:20])
    for position in range(10):  # each pair of ranks is divided between the sets
        pair = {names[block[position]] for block in both}
        assert pair == set(expected[2 * position : 2 * position + 2])


def test_one_set_takes_the_ranks_in_order(photos: Path, probe: Path) -> None:
    one = retrieval(photos, probe, sets=1)
    images = one.generate(["red"] * 20, Purpose.JUDGE.seeds(0, 20).tolist())
    similarities = ColourEmbedder().embed_images(list(images)) @ ColourEmbedder().embed_texts(["a photo of red"])[0]
    means = images.mean(axis=(1, 2))
    assert means[0, 0] - means[0, 1:].mean() > means[-1, 0] - means[-1, 1:].mean()
    assert similarities[:5].mean() > similarities[-5:].mean()
    np.testing.assert_array_equal(images, one.generate(["red"] * 20, Purpose.JUDGE.seeds(0, 20, 7).tolist()))


seeds_of = st.builds(
    lambda purpose, block, position: int(purpose.seeds(position, 1, block)[0]),
    st.sampled_from([Purpose.SEARCH, Purpose.REWARD, Purpose.JUDGE]),
    st.integers(0, 1023),
    st.integers(0, 8),
)


@settings(deadline=None, max_examples=60)
@given(requests=st.lists(st.tuples(st.sampled_from(TEXTS), seeds_of), min_size=1, max_size=12), data=st.data())
def test_an_image_depends_on_its_request_alone(
    photos: Path, probe: Path, generator: RetrievalGenerator, requests: list[tuple[str, int]], data: st.DataObject
) -> None:
    texts, seeds = zip(*requests, strict=True)
    together = rows(generator.generate(texts, seeds))
    order = data.draw(st.permutations(range(len(requests))))
    assert rows(generator.generate([texts[i] for i in order], [seeds[i] for i in order])) == [
        together[i] for i in order
    ]
    alone = data.draw(st.integers(0, len(requests) - 1))
    assert rows(generator.generate([texts[alone]], [seeds[alone]])) == [together[alone]]


@settings(deadline=None, max_examples=60)
@given(text=st.sampled_from(TEXTS), seeds=st.lists(seeds_of, min_size=2, max_size=30, unique=True))
def test_different_seeds_have_different_images(
    generator: RetrievalGenerator, photos: Path, text: str, seeds: list[int]
) -> None:
    """Two seeds share an image of a text only at the same purpose, position and remainder of the block."""
    block_length = 1 << 20
    places = [
        (seed // Purpose.REWARD, seed % block_length, seed % Purpose.REWARD // block_length % generator.sets)
        for seed in seeds
    ]
    images = rows(generator.generate([text] * len(seeds), seeds))
    assert len(set(images)) == len(set(places))
    assert len(set(zip(places, images, strict=True))) == len(set(places))


def test_purposes_share_no_image_of_any_text(generator: RetrievalGenerator, photos: Path) -> None:
    names = files_of(photos)
    seen = {}
    for purpose in (Purpose.SEARCH, Purpose.REWARD, Purpose.JUDGE):
        seeds = np.concatenate([purpose.seeds(0, 15, block) for block in range(4)]).tolist()
        seen[purpose] = {names[row] for text in TEXTS for row in rows(generator.generate([text] * len(seeds), seeds))}
        assert seen[purpose] <= set(part_of(photos, purpose))
    assert not set.intersection(seen[Purpose.SEARCH], seen[Purpose.REWARD] | seen[Purpose.JUDGE])
    assert not seen[Purpose.REWARD] & seen[Purpose.JUDGE]


def test_the_images_of_the_probe_set_are_left_out_in_whatever_form(
    photos: Path, probe: Path, tmp_path: Path, generator: RetrievalGenerator
) -> None:
    """The probe set has the same pictures as bitmaps: other files with equal pixels."""
    other = tmp_path / "bitmaps"
    other.mkdir()
    for path in probe.glob("*.png"):
        Image.open(path).save(other / f"{path.stem}.bmp")
    twice = tmp_path / "twice"
    twice.mkdir()
    for path in photos.glob("*.png"):
        (twice / path.name).write_bytes(path.read_bytes())
        Image.open(path).save(twice / f"{path.stem}.bmp")
    assert retrieval(photos, other).fingerprint == generator.fingerprint
    assert retrieval(twice, other).fingerprint == generator.fingerprint
    assert retrieval(photos, fill(tmp_path / "others", 20)).fingerprint != generator.fingerprint


def test_ranks_are_the_same_for_every_text(generator: RetrievalGenerator) -> None:
    """The noise is paired: which rank a seed has does not depend on the text."""
    for block in range(4):
        for seed in Purpose.JUDGE.seeds(0, 6, block).tolist():
            ranks = set()
            for text in TEXTS:
                index = generator._index(f"a photo of {text}", seed)
                part = generator._pool.parts[Purpose.JUDGE]
                order = part.indices[generator._nearest(f"a photo of {text}", Purpose.JUDGE, 1)]
                ranks.add(order.tolist().index(index))
            assert len(ranks) == 1


def test_the_fingerprint_is_of_contents_and_settings(
    photos: Path, probe: Path, tmp_path: Path, generator: RetrievalGenerator
) -> None:
    moved = tmp_path / "moved"
    moved.mkdir()
    for path in photos.glob("*.png"):
        (moved / f"x{path.name}").write_bytes(path.read_bytes())
    same = retrieval(moved, probe)
    assert same.fingerprint == generator.fingerprint
    seeds = Purpose.SEARCH.seeds(0, 8).tolist()
    np.testing.assert_array_equal(same.generate(["red"] * 8, seeds), generator.generate(["red"] * 8, seeds))
    others = [
        retrieval(photos, probe, template="{}, outdoors"),
        retrieval(photos, probe, size=32),
        retrieval(photos, probe, sets=3),
        retrieval(tiles(tmp_path / "less", range(COUNT - 30)), probe),
    ]
    others[0]._embedder.fingerprint = "colours"
    another = retrieval(photos, probe)
    another._embedder.fingerprint = "others"
    found = {generator.fingerprint, another.fingerprint, *(other.fingerprint for other in others)}
    assert len(found) == 6


def test_the_set_is_embedded_once(photos: Path, probe: Path, tmp_path: Path) -> None:
    store = Store(tmp_path / "store.sqlite")
    first = retrieval(photos, probe, store)
    first.generate(["red"], [0])
    second = retrieval(photos, probe, store, template="{}, outdoors", sets=4)
    second.generate(["red"], [0])
    assert (first._embedder.count, second._embedder.count) == (COUNT, 0)  # type: ignore[union-attr]
    store.close()


@pytest.mark.parametrize(
    ("purpose", "what"),
    [(Purpose.SEARCH, "the search"), (Purpose.REWARD, "the reward"), (Purpose.JUDGE, "the judge")],
)
def test_too_few_images_is_a_sentence(generator: RetrievalGenerator, purpose: Purpose, what: str) -> None:
    said = (
        rf"^`generator\.images` must have at least 160 images for {what}, its part of the set \(got \d+ in .*photos; "
        r"20 of the set were left out because they are in the probe set\)$"
    )
    with pytest.raises(DnRError, match=said):
        generator.generate(["red"], [int(purpose.seeds(79, 1)[0])])


def test_too_small_a_set_is_a_sentence(tmp_path: Path, probe: Path) -> None:
    few = retrieval(tiles(tmp_path / "few", range(10)), probe)
    with pytest.raises(DnRError, match=r"^`generator\.images` must have at least 20 usable images \(got 10 in "):
        _ = few.fingerprint
    own = retrieval(probe, probe)
    with pytest.raises(
        DnRError, match=r"\(got 0 in .*; 40 of the set were left out because they are in the probe set\)"
    ):
        own.generate(["red"], [0])


def test_an_image_that_is_gone_is_a_sentence(tmp_path: Path, probe: Path) -> None:
    folder = tiles(tmp_path / "photos", range(60))
    generator = retrieval(folder, probe)
    generator.generate(["red"], [0])
    for path in folder.glob("*.png"):
        path.unlink()
    with pytest.raises(
        DnRError, match=r"^`generator\.images` must still have the images that were embedded \(got .*png"
    ):
        generator.generate(["red"], [0])


def test_a_template_has_one_place(photos: Path, probe: Path) -> None:
    for template in ("", "a photo", "{} and {}"):
        with pytest.raises(DnRError, match=r"^`generator\.template` must contain one \{\}"):
            retrieval(photos, probe, template=template)
    with pytest.raises(DnRError, match=r"^`judge\.generator\.template` must contain one \{\}"):
        retrieval(photos, probe, template="", option="judge.generator.images")


def test_pictures_of_any_shape_are_squares(tmp_path: Path, probe: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for seed, size in enumerate([(8, 40), (40, 8), (300, 200), (5, 5)] * 10):
        picture(seed, size).save(folder / f"{seed}.png")
    images = retrieval(folder, probe, size=24, sets=1).generate(["red"] * 4, Purpose.JUDGE.seeds(0, 4).tolist())
    assert images.shape == (4, 24, 24, 3)


@pytest.mark.slow
def test_with_a_clip_of_open_clip(tmp_path: Path, photos: Path, probe: Path) -> None:
    """Through the lab, with a network: the measurements are those of the pictures themselves, and are kept."""
    clip = OpenClipEmbedder(str(write_clip(tmp_path / "clip")), device="cpu", batch=16)
    store = Store(tmp_path / "store.sqlite")
    target = NetworkTarget("torchvision:resnet18", ("layer1",), weights="none", device="cpu", batch=8)
    reader = NetworkReader(target, clip)
    lab = Lab(RetrievalGenerator(opening(photos), opening(probe), clip, store, size=64, sets=1), reader, store)
    seeds = Purpose.JUDGE.rows(6, np.array([0, 3]))
    evidence = lab.measure(concepts=["red star", "a dog"], seeds=seeds)
    images = lab.images(["red star"] * 6, seeds[0].tolist())
    np.testing.assert_array_equal(evidence.activations[0], reader.read(list(images))[0])
    wanted = clip.embed_texts(["a photo of red star"])[0]
    nearest = [float(row @ wanted) for row in clip.embed_images([np.asarray(Image.open(p)) for p in _judged(photos)])]
    shown = {images[i].tobytes() for i in range(6)}
    best = sorted(zip(nearest, _judged(photos), strict=True), reverse=True)[:6]
    expected = {
        np.asarray(Image.open(path).resize((64, 64), Image.Resampling.BICUBIC, box=(4, 0, 20, 16))).tobytes()
        for _, path in best
    }
    assert shown == expected
    again = Lab(RetrievalGenerator(opening(photos), opening(probe), clip, store, size=64, sets=1), reader, store)
    again.measure(concepts=["red star", "a dog"], seeds=seeds)
    assert (again.counters.drawn, again.counters.stored) == (0, 12)
    store.close()


def _judged(photos: Path) -> list[Path]:
    return [photos / f"{seed:04}.png" for seed in part_of(photos, Purpose.JUDGE)]


def test_no_embedder_is_needed_to_tell_images_apart() -> None:
    from dnr_env.models.retrieval import ContentReader

    reader = ContentReader(NoEmbedder())
    first, second = np.zeros((2, 3, 3), np.uint8), np.zeros((3, 2, 3), np.uint8)
    digests, embeddings = reader.read([first, second, first])
    assert embeddings.shape == (3, 0)
    np.testing.assert_array_equal(digests[0], digests[2])
    assert (digests[0] != digests[1]).any()
    assert (digests == np.floor(digests)).all()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, photos: Path) -> str:
    """A stack of small models whose search and judge retrieve; only the target and the embedder are loaded."""
    path = small_world(tmp_path_factory.mktemp("world"))
    tiles(path.parent / "more", range(1000, 1400))
    return (
        f"{path} generator.kind=retrieval generator.images={path.parent / 'more'} generator.size=64 captioner=null "
        "writer=null target.layers=layer1"
    )


def test_labels_are_judged_on_retrieved_images(world: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DNR_CACHE_DIR", str(tmp_path / "cache"))
    stack = fresh(world)
    labels = dnr_env.label(neurons="layer1:0-1", stack=stack, agent="clip-dissect:5:2:1", progress=False)
    assert len(labels) == 2
    for label in labels:
        assert label.value is not None
        assert np.isfinite(label.value)
    assert stack.fingerprints()["judge"].startswith("retrieval-1 ")
    assert stack.fingerprints()["judge"] != stack.fingerprints()["generator"]  # the judge's template
    assert stack.judge_lab.counters.drawn >= 50


def test_the_judge_may_retrieve_from_another_set(world: str, photos: Path) -> None:
    stack = fresh(f"{world} judge.generator.kind=retrieval judge.generator.images={photos} judge.generator.sets=1")
    used = stack.judge_lab.generator
    assert isinstance(used, RetrievalGenerator)
    assert (used.sets, used._option, used.template) == (1, "judge.generator.images", "{}, seen in everyday life")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            "generator.images=null",
            r"`generator\.images` must name the images to retrieve, such as a folder \(got none\)",
        ),
        ("embedder=null", r"`embedder` must be a section where `generator\.kind` is retrieval \(got null\)"),
        ("generator.kind=diffusion", r"`generator\.kind` must be retrieval where `generator\.images` .*"),
        ("judge.generator.kind=retrieval", r"`judge\.generator\.images` must name the images to retrieve.*"),
        ("generator.sets=0", r"`generator\.sets` is invalid: .*"),
        ("generator.kind=retrieve", r"`generator\.kind` is invalid: .*"),
    ],
)
def test_settings_that_do_not_go_together(world: str, settings: str, said: str) -> None:
    with pytest.raises(DnRError, match=rf"^{said}$"):
        fresh(f"{world} {settings}")


def test_doctor_and_plan_know_it(world: str, tmp_path: Path) -> None:
    found = {finding.name: finding for finding in examine(world, False)}
    assert found["generator"].fine
    assert found["generator"].text.startswith("400 images in ")
    missing = {f.name: f for f in examine(f"{world} generator.images={tmp_path / 'nowhere'}", False)}
    assert not missing["generator"].fine
    assert missing["generator"].text.startswith("`generator.images` must be a folder of images")
    assert tflop_of(GeneratorConfig(kind="retrieval", images="photos")) == 0


def test_a_set_may_be_relative_to_the_file(world: str) -> None:
    name = world.split()[0]
    for spec in ("hf-dataset:photos:train:image", "photos", "python:words.txt:images"):
        path = Path(name).with_name("other.yaml")
        path.write_text(f"generator: {{kind: retrieval, images: '{spec}'}}")
        found = config_of(str(path)).generator
        assert found is not None
        place = spec.replace("photos", f"{path.parent}/photos").replace("words", f"{path.parent}/words")
        assert found.images == place
