"""Probe images of every kind, and their measurement: what is broken is counted, what is measured is kept."""

from __future__ import annotations

import gzip
import os
import struct
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import dnr_env.evidence.images
import dnr_env.evidence.measure
from dnr_env.errors import DnRError
from dnr_env.evidence.corruptions import CORRUPTIONS
from dnr_env.evidence.decode import UnusableImage, read_file
from dnr_env.evidence.images import ImageFolder, TorchvisionImages, open_images
from dnr_env.evidence.measure import measure_images
from dnr_env.evidence.store import Store, cache_dir
from dnr_env.files import file_digest
from dnr_env.models.words import read_words
from dnr_env.neurons import Neurons
from dnr_env.types import FloatArray, ImageArray, Images

RED = (220, 30, 40)


def picture(seed: int, size: tuple[int, int] = (12, 9)) -> Image.Image:
    """Noise of its own; the size is (width, height)."""
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))


def fill(folder: Path, count: int = 20) -> Path:
    """Good images a000.png, a001.png, …"""
    folder.mkdir(parents=True, exist_ok=True)
    for seed in range(count):
        picture(seed).save(folder / f"a{seed:03}.png")
    return folder


class ListReader:
    """Means of channels, some of them zero; counts the images it reads."""

    dim = 2

    def __init__(self, fingerprint: str = "list", neurons: int = 40) -> None:
        self.fingerprint = fingerprint
        self.neurons = Neurons(f"n:{i}" for i in range(neurons))
        self.count = 0
        self.limit = 10**9

    def read(self, images: Images) -> tuple[FloatArray, FloatArray]:
        self.count += len(images)
        if self.count > self.limit:
            raise KeyboardInterrupt
        activations = np.zeros((len(images), len(self.neurons)), np.float32)
        activations[:, :3] = [image.mean(axis=(0, 1)) for image in images]
        activations[:, 3] = np.nan
        activations[:, 4] = -0.0
        embeddings = np.array([[image[0, 0, 0], 1.0 + image[-1, -1, 2]] for image in images], np.float32)
        return activations, embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "store.sqlite")
    yield store
    store.close()


def near(pixels: ImageArray, colour: tuple[int, ...], tolerance: int = 6) -> bool:
    return bool((np.abs(pixels.astype(int) - colour) <= tolerance).all())


MODES = {
    "rgb.png": (Image.new("RGB", (30, 20), RED), RED),
    "rgb.jpg": (Image.new("RGB", (30, 20), RED), RED),
    "rgb.webp": (Image.new("RGB", (30, 20), RED), RED),
    "rgb.bmp": (Image.new("RGB", (30, 20), RED), RED),
    "rgb.ppm": (Image.new("RGB", (30, 20), RED), RED),
    "upper.JPEG": (Image.new("RGB", (30, 20), RED), RED),
    "bits.png": (Image.new("1", (30, 20), 1), (255, 255, 255)),
    "grey.png": (Image.new("L", (30, 20), 77), (77, 77, 77)),
    "grey.jpg": (Image.new("L", (30, 20), 77), (77, 77, 77)),
    "clear.png": (Image.new("RGBA", (30, 20), (0, 0, 0, 0)), (255, 255, 255)),
    "half.png": (Image.new("RGBA", (30, 20), (0, 0, 0, 128)), (127, 127, 127)),
    "grey-clear.png": (Image.new("LA", (30, 20), (0, 0)), (255, 255, 255)),
    "palette.png": (Image.new("RGB", (30, 20), RED).quantize(4), RED),
    "palette.gif": (Image.new("RGB", (30, 20), RED).quantize(4), RED),
    "cmyk.jpg": (Image.new("CMYK", (30, 20), (0, 255, 255, 0)), (255, 0, 0)),
    "cmyk.tif": (Image.new("CMYK", (30, 20), (0, 255, 255, 0)), (255, 0, 0)),
    "deep.png": (Image.fromarray(np.full((20, 30), 257 * 90, np.uint16)), (90, 90, 90)),
    "deep.tif": (Image.fromarray(np.full((20, 30), 257 * 90, np.uint16)), (90, 90, 90)),
    "int.tif": (Image.fromarray(np.full((20, 30), 90, np.int32)), (90, 90, 90)),
    "float.tif": (Image.fromarray(np.full((20, 30), 0.4, np.float32)), (102, 102, 102)),
    "nan.tif": (Image.fromarray(np.full((20, 30), np.nan, np.float32)), (0, 0, 0)),
}


@pytest.mark.parametrize("name", MODES)
def test_any_mode_is_rgb(tmp_path: Path, name: str) -> None:
    image, colour = MODES[name]
    image.save(tmp_path / name)
    pixels = read_file(tmp_path / name)
    assert pixels.shape == (20, 30, 3)
    assert pixels.dtype == np.uint8
    assert near(pixels, colour)


def test_sixteen_bits_keep_their_shades(tmp_path: Path) -> None:
    grey = np.linspace(0, 65535, 600).astype(np.uint16).reshape(20, 30)
    Image.fromarray(grey).save(tmp_path / "ramp.png")
    np.testing.assert_allclose(read_file(tmp_path / "ramp.png")[..., 1], grey / 257, atol=0.51)
    wide = np.linspace(-5000, 300000, 600).astype(np.int32).reshape(20, 30)  # of no usual range
    Image.fromarray(wide).save(tmp_path / "wide.tif")
    np.testing.assert_allclose(read_file(tmp_path / "wide.tif")[..., 0], (wide + 5000) / 305000 * 255, atol=0.51)


def test_a_palette_with_a_see_through_colour_is_over_white(tmp_path: Path) -> None:
    image = Image.new("P", (6, 6), 1)
    image.putpalette([0, 0, 0, *RED])
    image.putpixel((0, 0), 0)
    image.save(tmp_path / "p.png", transparency=0)
    pixels = read_file(tmp_path / "p.png")
    assert near(pixels[0, 0], (255, 255, 255), 0)
    assert near(pixels[1:], RED, 0)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_turns_images_upright(tmp_path: Path, orientation: int) -> None:
    upright = np.zeros((16, 32, 3), np.uint8)
    upright[:8, :8] = 255  # the corner at the top left
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.swapaxes(0, 1),
        6: np.rot90(upright, 1),
        7: upright[::-1, ::-1].swapaxes(0, 1),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.ascontiguousarray(stored)).save(tmp_path / "turned.png", exif=exif)
    np.testing.assert_array_equal(read_file(tmp_path / "turned.png"), upright)


def test_damaged_exif_leaves_the_picture(tmp_path: Path) -> None:
    picture(1).save(tmp_path / "odd.png", exif=b"Exif\x00\x00MM\x00*\x00\x00\x00\x08\xff\xff\x01\x12")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        np.testing.assert_array_equal(read_file(tmp_path / "odd.png"), np.asarray(picture(1)))


def test_of_an_animation_the_first_frame_is_read(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (20, 20), colour) for colour in (RED, "blue", "green")]
    for name in ("a.gif", "a.webp", "a.png", "a.tif"):
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:], lossless=name == "a.webp")
        assert near(read_file(tmp_path / name), RED), name


@pytest.mark.parametrize(
    ("size", "expected"), [((3000, 1500), (512, 1024)), ((10, 2500), (1024, 4)), ((900, 40), None)]
)
@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_large_images_are_reduced(
    tmp_path: Path, suffix: str, size: tuple[int, int], expected: tuple[int, int] | None
) -> None:
    Image.new("RGB", size, RED).save(tmp_path / f"large.{suffix}")
    pixels = read_file(tmp_path / f"large.{suffix}")
    assert pixels.shape[:2] == (expected or size[::-1])
    assert near(pixels, RED)


def png_of(width: int, height: int) -> bytes:
    """A PNG that claims a size and has next to nothing in it."""
    from zlib import compress, crc32

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", compress(bytes(1000))) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def spoil(folder: Path) -> Counter[str]:
    """Add every kind of file that cannot be used; returns what is to be counted."""
    whole = (folder / "a000.png").read_bytes()
    (folder / "deep" / "er").mkdir(parents=True)
    (folder / "cut.png").write_bytes(whole[: len(whole) // 2])
    (folder / "text.jpg").write_text("no image at all")
    (folder / "deep" / "bomb.png").write_bytes(png_of(60000, 60000))
    (folder / "deep" / "empty.gif").touch()
    (folder / "deep" / "er" / "same.png").write_bytes(whole)
    (folder / "zz.png").write_bytes((folder / "a001.png").read_bytes())
    (folder / "post.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    (folder / "loop").symlink_to(folder, target_is_directory=True)
    (folder / "self.png").symlink_to(folder / "self.png")
    (folder / "nothing.png").symlink_to(folder / "gone.png")
    (folder / "notes.txt").write_text("not counted")
    (folder / "._a000.png").write_text("not counted")
    return Counter(
        {
            "broken": 3,
            "too large": 1,
            "empty": 1,
            "duplicate": 2,
            "broken link": 2,
            "link upwards or to a folder already entered": 1,
        }
    )


def test_what_cannot_be_used_is_counted(tmp_path: Path, store: Store) -> None:
    folder = fill(tmp_path / "photos", 25)
    expected = spoil(folder)
    images = ImageFolder(folder, store=store)
    seen_at_once = {reason for reason in expected if "link" in reason} | {"empty"}
    assert images.skipped == Counter({reason: expected[reason] for reason in seen_at_once})
    for _ in range(2):  # counted once, however often it is measured
        measured = measure_images(images, ListReader(), store, batch=7)
        assert images.skipped == expected
        assert [images.paths[i].name for i in measured.indices] == [f"a{i:03}.png" for i in range(25)]
    for place, index in enumerate(measured.indices):
        np.testing.assert_allclose(measured.activations[place, :3], images.image(index).mean(axis=(0, 1)), rtol=1e-5)
        assert images.key(index) == images.key(index)
    broken = [i for i, path in enumerate(images.paths) if path.name == "cut.png"]
    with pytest.raises(UnusableImage, match="broken"):
        images.image(broken[0])


def test_too_few_images_is_an_error(tmp_path: Path) -> None:
    folder = fill(tmp_path / "photos", 19)
    says = r"^`probe\.images` must have at least 20 usable images \(got 19 in .*photos; skipped: none\)$"
    with pytest.raises(DnRError, match=says):
        ImageFolder(folder)
    (folder / "x.png").write_bytes((folder / "a000.png").read_bytes())
    with pytest.raises(DnRError, match=r"\(got 19 in .*photos; skipped: 1 duplicate\)"):
        measure_images(ImageFolder(folder), ListReader(), None)
    (folder / "y.png").write_text("broken")
    reader = ListReader()
    with pytest.raises(DnRError, match=r"\(got 19 in .*photos; skipped: 1 broken, 1 duplicate\)"):
        measure_images(ImageFolder(folder), reader, None)
    for wrong in (tmp_path / "nowhere", folder / "x.png"):
        with pytest.raises(DnRError, match=rf"`probe\.images` must be a folder of images \(got {wrong}\)"):
            ImageFolder(wrong)


def test_a_limit_takes_a_fixed_part_in_order(tmp_path: Path) -> None:
    folder = fill(tmp_path / "photos", 60)
    first, second = (ImageFolder(folder, limit=30).paths for _ in range(2))
    assert first == second == sorted(first)
    assert len(set(first)) == 30
    assert first[-1].name > "a045.png"  # from all over
    assert len(ImageFolder(folder, limit=100)) == 60
    with pytest.raises(DnRError, match=r"`probe\.limit` must be at least 20 \(got 5\)"):
        ImageFolder(folder, limit=5)


def test_the_order_is_that_of_the_paths(tmp_path: Path) -> None:
    folder = fill(tmp_path / "photos")
    fill(folder / "b" / "c", 3)
    fill(folder / "B", 2)
    (folder / "caf\u00e9 \u9ed2.png").write_bytes((folder / "a000.png").read_bytes())
    names = [path.relative_to(folder).parts for path in ImageFolder(folder).paths]
    assert names == sorted(names)
    assert len(names) == 26


def test_keys_follow_the_content(tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = fill(tmp_path / "photos")
    before = ImageFolder(folder, store=store)
    keys = [before.key(i) for i in range(20)]
    assert len(set(keys)) == 20
    read: list[Path] = []

    def digest(path: Path) -> bytes:
        read.append(path)
        return file_digest(path)

    monkeypatch.setattr(dnr_env.evidence.images, "file_digest", digest)
    picture(777).save(folder / "a004.png")
    os.utime(folder / "a004.png", ns=(1, 1))
    after = ImageFolder(folder, store=store)
    changed = [i for i in range(20) if after.key(i) != keys[i]]
    assert changed == [4]
    assert [path.name for path in read] == ["a004.png"]
    moved = (tmp_path / "photos").rename(tmp_path / "elsewhere")
    assert [ImageFolder(moved).key(i) for i in (3, 5)] == [keys[3], keys[5]]


def test_an_interrupted_measurement_goes_on(tmp_path: Path, store: Store) -> None:
    folder = fill(tmp_path / "photos", 50)
    reader = ListReader()
    reader.limit = 30
    with pytest.raises(KeyboardInterrupt):
        measure_images(ImageFolder(folder, store=store), reader, store, batch=8)
    again = ListReader()
    resumed = measure_images(ImageFolder(folder, store=store), again, store, batch=8)
    assert again.count == 50 - 24
    fresh = measure_images(ImageFolder(folder), ListReader(), None, batch=11)
    for kept, new in zip(resumed, fresh, strict=True):
        np.testing.assert_array_equal(kept, new)
    assert np.signbit(resumed.activations[:, 4]).all()
    third = ListReader()
    measure_images(ImageFolder(folder, store=store), third, store)
    assert third.count == 0


def test_what_a_part_has_measured_the_whole_need_not(tmp_path: Path, store: Store) -> None:
    folder = fill(tmp_path / "photos", 50)
    measure_images(ImageFolder(folder, limit=25), ListReader(), store)
    reader = ListReader()
    whole = measure_images(ImageFolder(folder), reader, store, batch=8)
    assert reader.count == 25
    for mixed, fresh in zip(whole, measure_images(ImageFolder(folder), ListReader(), None), strict=True):
        np.testing.assert_array_equal(mixed, fresh)


def test_another_reader_or_corruption_is_measured_anew(tmp_path: Path, store: Store) -> None:
    folder = fill(tmp_path / "photos")
    plain = measure_images(ImageFolder(folder), ListReader(), store)
    other = ListReader("another")
    measure_images(ImageFolder(folder), other, store)
    assert other.count == 20
    for corruption in ("invert", "noise"):
        reader = ListReader()
        images = ImageFolder(folder)
        worse = measure_images(images, reader, store, corruption)
        assert reader.count == 20
        expected = [CORRUPTIONS[corruption](images.image(i)).mean(axis=(0, 1)) for i in worse.indices]
        np.testing.assert_allclose(worse.activations[:, :3], expected, rtol=1e-5)
    again = measure_images(ImageFolder(folder), ListReader(), store, "invert")
    np.testing.assert_allclose(plain.activations[:, :3], 255 - again.activations[:, :3], rtol=1e-4)
    with pytest.raises(DnRError, match=r"`corruption` must be one of blur, … \(got 'blurr'\)"):
        measure_images(ImageFolder(folder), ListReader(), store, "blurr")


def test_rows_of_another_length_are_measured_again(tmp_path: Path, store: Store) -> None:
    folder = fill(tmp_path / "photos")
    measure_images(ImageFolder(folder), ListReader(neurons=40), store)
    wider = ListReader(neurons=41)
    assert measure_images(ImageFolder(folder), wider, store).activations.shape == (20, 41)
    assert wider.count == 20


def test_a_map_on_disk_is_the_same_array(tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DNR_CACHE_DIR", str(tmp_path / "cache"))
    folder = fill(tmp_path / "photos", 33)
    expected_skipped = spoil(folder)
    expected = measure_images(ImageFolder(folder), ListReader(), None)
    monkeypatch.setattr(dnr_env.evidence.measure, "_MAPPED_BYTES", 1)
    counts = []
    for _ in range(2):
        reader, images = ListReader(), ImageFolder(folder, store=store)
        mapped = measure_images(images, reader, None, batch=10)
        counts.append(reader.count)
        assert isinstance(mapped.activations, np.memmap)
        for kept, new in zip(mapped, expected, strict=True):
            np.testing.assert_array_equal(kept, new)
        assert mapped.activations.dtype == np.float32
        assert images.skipped == expected_skipped
    assert counts == [33, 0]
    (path,) = (cache_dir() / "probes").glob("*.npy")
    path.write_bytes(path.read_bytes()[:-5])  # damaged: written anew
    del mapped
    reader = ListReader()
    np.testing.assert_array_equal(measure_images(ImageFolder(folder), reader, None).activations, expected.activations)
    assert reader.count == 33
    assert sorted(p.suffix for p in (cache_dir() / "probes").iterdir()) == [".npy", ".npz"]


def test_an_interrupted_map_leaves_no_file(tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DNR_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(dnr_env.evidence.measure, "_MAPPED_BYTES", 1)
    folder = fill(tmp_path / "photos", 40)
    reader = ListReader()
    reader.limit = 30
    with pytest.raises(KeyboardInterrupt):
        measure_images(ImageFolder(folder), reader, store, batch=10)
    assert not list((cache_dir() / "probes").iterdir())
    again = ListReader()
    measure_images(ImageFolder(folder), again, store, batch=10)
    assert again.count == 10


def test_a_map_that_cannot_be_kept_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    monkeypatch.setenv("DNR_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(dnr_env.evidence.measure, "_MAPPED_BYTES", 1)
    says = r"^`DNR_CACHE_DIR` must be a folder with room for 0\.0 GiB of activations \(got .*cache: .*\); set"
    with pytest.raises(DnRError, match=says):
        measure_images(ImageFolder(fill(tmp_path / "photos")), ListReader(), None)


def mnist(root: Path, count: int, split: str = "t10k") -> ImageArray:
    """The files of torchvision's MNIST, with noise."""
    raw = root / "MNIST" / "raw"
    raw.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(len(split)).integers(0, 256, (count, 28, 28), dtype=np.uint8)
    for name, header, body in (
        (f"{split}-images-idx3-ubyte", struct.pack(">IIII", 2051, count, 28, 28), pixels.tobytes()),
        (f"{split}-labels-idx1-ubyte", struct.pack(">II", 2049, count), bytes(count)),
    ):
        (raw / name).write_bytes(header + body)
        (raw / f"{name}.gz").write_bytes(gzip.compress(header + body))
    return pixels


def test_data_sets_of_torchvision(tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = mnist(tmp_path, 30)
    pixels[7] = pixels[2]
    mnist_file = tmp_path / "MNIST" / "raw" / "t10k-images-idx3-ubyte"
    mnist_file.write_bytes(mnist_file.read_bytes()[:16] + pixels.tobytes())
    mnist(tmp_path, 25, "train")
    images = open_images(f"torchvision:MNIST:{tmp_path}", None, store)
    assert isinstance(images, TorchvisionImages)
    opened: list[int] = []
    image_of = images._image

    def opening(index: int) -> ImageArray:
        opened.append(index)
        return image_of(index)

    monkeypatch.setattr(images, "_image", opening)
    assert images.key(3) == images.key(3)
    assert opened == [3]  # a key costs an image, so it is kept
    measured = measure_images(images, ListReader(), store)
    assert measured.indices == [i for i in range(30) if i != 7]
    assert images.skipped == Counter(duplicate=1)
    np.testing.assert_array_equal(images.image(4), np.repeat(pixels[4][..., None], 3, axis=2))
    assert len(open_images(f"torchvision:MNIST:{tmp_path}:train")) == 25
    assert len(open_images(f"torchvision:MNIST:{tmp_path}:test", limit=22)) == 22


def test_data_sets_that_are_not_there(tmp_path: Path) -> None:
    for spec, message in {
        f"torchvision:CIFAR10:{tmp_path}": r"name a folder that torchvision's CIFAR10 was downloaded to \(got .*: ",
        f"torchvision:CIFAR1000:{tmp_path}": r"be one of CIFAR100, .*\(got 'CIFAR1000'\)",
        f"torchvision:CIFAR10:{tmp_path}:val": r"be one of train, test \(got 'val'\)",
        f"torchvision:STL10:{tmp_path}:tset": r"name a folder that torchvision's STL10 was downloaded to \(got .*: ",
        f"torchvision:Country211:{tmp_path}:tset": r"name a folder that torchvision's Country211 was downloaded to",
        f"torchvision:Flickr8k:{tmp_path}:test": r"name no split for torchvision's Flickr8k, which has none \(got 'te",
        "torchvision:CIFAR10": r"have the form torchvision:NAME:FOLDER or .* \(got 'torchvision:CIFAR10'\)",
        f"torchvision:ImageFolder:{tmp_path}:val": r"be a folder of images \(got .*val\)",
    }.items():
        with pytest.raises(DnRError, match=rf"^`probe\.images` must {message}"):
            open_images(spec)


def test_a_folder_may_be_a_link(tmp_path: Path) -> None:
    folder = fill(tmp_path / "photos")
    spoil(folder)
    (tmp_path / "link").symlink_to(folder, target_is_directory=True)
    linked, plain = ImageFolder(tmp_path / "link"), ImageFolder(folder)
    assert [path.name for path in linked.paths] == [path.name for path in plain.paths]
    assert linked.skipped == plain.skipped
    assert [linked.key(i) for i in range(20)] == [plain.key(i) for i in range(20)]


def test_links_to_folders_outside_are_followed(tmp_path: Path) -> None:
    folder = fill(tmp_path / "photos", 10)
    fill(tmp_path / "elsewhere", 25)
    (folder / "more").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (folder / "up").symlink_to(tmp_path, target_is_directory=True)
    images = ImageFolder(folder)
    assert len(images) == 35
    assert images.skipped == Counter({"link upwards or to a folder already entered": 1})


def test_a_home_folder_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path / "photos")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert len(open_images("~/photos")) == 20


def test_folders_of_torchvision_are_folders(tmp_path: Path) -> None:
    fill(tmp_path / "val" / "cat")
    images = open_images(f"torchvision:ImageFolder:{tmp_path}:val", 20)
    assert isinstance(images, ImageFolder)
    assert len(images) == 20
    assert isinstance(open_images(str(tmp_path)), ImageFolder)
    assert not issubclass(TorchvisionImages, ImageFolder)


def test_words_of_imagenet() -> None:
    words = read_words()
    assert words == read_words("imagenet")
    assert len(words) == len(set(words)) > 990
    assert words[0] == "tench"
    assert all(word == word.lower() for word in words)


def test_words_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    path.write_bytes("\ufeff# animals\r\nred  fox\r\n\r\ncafe\u0301 # drink\r\nC#\nred fox\n".encode())
    assert read_words(str(path)) == ["red fox", "caf\u00e9", "C#"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "must contain at least one concept"),
        (b"# only this\n", "must contain at least one concept"),
        (b"caf\xe9\n", "must be UTF-8 text"),
        (b"dog\na\0b\n", "got line 2 of"),
        (b"x" * 10_000, "got line 1 of"),
    ],
)
def test_files_without_words(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "words.txt"
    path.write_bytes(data)
    with pytest.raises(DnRError, match=rf"`vocabulary` .*{message}"):
        read_words(str(path))
    with pytest.raises(DnRError, match=r"`vocabulary` must be imagenet or a file"):
        read_words(str(tmp_path / "none.txt"))
