"""Probe images of every kind, and their measurement: what is broken is counted, what is measured is kept."""

from __future__ import annotations

import os
import re
import struct
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from probe_pictures import ListReader, fill, picture

import dnr_env.evidence.images
import dnr_env.evidence.measure
from dnr_env.errors import DnRError
from dnr_env.evidence.corruptions import CORRUPTIONS
from dnr_env.evidence.decode import HEIC, UnusableImage, read_file
from dnr_env.evidence.images import ImageFolder, open_images
from dnr_env.evidence.measure import measure_images
from dnr_env.evidence.store import Store, cache_dir
from dnr_env.files import file_digest
from dnr_env.models.words import read_words
from dnr_env.types import ImageArray

RED = (220, 30, 40)


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
    (folder / "notes.txt").write_text("no image")
    (folder / "deep" / "IMG_0001").write_bytes(whole)
    (folder / "deep" / "IMG_0002.HEIC").write_bytes(b"\0\0\0\x18ftypheic")
    (folder / "renamed.jpg").write_bytes(b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic")
    (folder / "._a000.png").write_text("not counted")
    return Counter(
        {
            "broken": 3,
            "too large": 1,
            "empty": 1,
            "duplicate": 2,
            "broken link": 2,
            "not an image (.txt)": 1,
            "without suffix": 1,
            HEIC: 2,
            "link upwards or to a folder already entered": 1,
        }
    )


def test_what_cannot_be_used_is_counted(tmp_path: Path, store: Store) -> None:
    folder = fill(tmp_path / "photos", 25)
    expected = spoil(folder)
    images = ImageFolder(folder, store=store)
    seen_at_once = {reason for reason in expected if "link" in reason} | {"empty", "without suffix"}
    seen_at_once |= {"not an image (.txt)"}
    assert images.skipped == Counter({reason: expected[reason] for reason in seen_at_once}) + Counter({HEIC: 1})
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
        with pytest.raises(DnRError, match=rf"`probe\.images` must be a folder of images, .* \(got {wrong}\)"):
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


def cycles(root: Path) -> dict[str, Path]:
    """Ways into a folder of 20 images whose links never end."""
    photos = fill(root / "photos", 10)
    fill(root / "photos" / "inner", 20)
    for link, to in {
        root / "link": photos,
        root / "link of link": root / "link",
        photos / "self": photos,
        photos / "up": root,
        photos / "inner" / "round": root / "link of link",
        photos / "nowhere": photos / "nowhere",
    }.items():
        link.symlink_to(to, target_is_directory=True)
    return {name: root / name for name in ("photos", "link", "link of link", "photos/self", "photos/inner/round")}


@pytest.mark.parametrize("way", ["photos", "link", "link of link", "photos/self", "photos/inner/round"])
def test_a_folder_is_read_once_whatever_links_lead_to_it(tmp_path: Path, way: str) -> None:
    images = ImageFolder(cycles(tmp_path)[way])
    assert len(images) == 30
    assert len({path.resolve() for path in images.paths}) == 30


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("IMG_1.HEIC", HEIC),
        ("IMG_1.heif", HEIC),
        ("IMG_1.hif", HEIC),
        ("IMG_1", "without suffix"),
        ("00000a1b", "without suffix"),
        ("IMG_1.", "without suffix"),
        ("raw.CR2", "not an image (.cr2)"),
        ("clip.mp4", "not an image (.mp4)"),
        ("labels.csv", "not an image (.csv)"),
        ("shard-00.tar", "not an image (.tar)"),
    ],
)
def test_every_kind_of_file_passed_over_is_counted_and_named(tmp_path: Path, name: str, reason: str) -> None:
    folder = tmp_path / "photos"
    for i in range(3):
        (folder / str(i)).mkdir(parents=True)
        (folder / str(i) / name).write_bytes(b"content")
    with pytest.raises(DnRError, match=rf"\(got 0 in .*photos; skipped: 3 {re.escape(reason)}\)$"):
        ImageFolder(folder)
    assert ImageFolder(fill(folder)).skipped == Counter({reason: 3})


def test_many_kinds_of_other_files_are_one_reason(tmp_path: Path) -> None:
    folder = fill(tmp_path)
    for name in ("a.txt", "b.txt", "c.xml", "d.mat", "e.json", "f.json", "g.json"):
        (folder / name).write_text("content")
    assert ImageFolder(folder).skipped == Counter({"not an image (.json, .txt, .xml, …)": 7})


@pytest.mark.parametrize("brand", [b"heic", b"heix", b"mif1", b"msf1"])
def test_heic_under_another_suffix_is_told_from_a_broken_file(tmp_path: Path, brand: bytes) -> None:
    (tmp_path / "a.jpg").write_bytes(b"\0\0\0\x18ftyp" + brand + bytes(20))
    (tmp_path / "b.jpg").write_bytes(b"\0\0\0\x18ftypavc1" + bytes(20))
    with pytest.raises(UnusableImage, match=f"^{HEIC}$"):
        read_file(tmp_path / "a.jpg")
    with pytest.raises(UnusableImage, match=r"^broken$"):
        read_file(tmp_path / "b.jpg")


FACTORIES = {
    "a list of paths": "return sorted(Path(FOLDER).rglob('*.png'))",
    "a data set of tuples": "return [(Image.open(path), 1) for path in sorted(Path(FOLDER).rglob('*.png'))]",
    "one array": "return np.stack([np.asarray(Image.open(p)) for p in sorted(Path(FOLDER).rglob('*.png'))])",
    "a lazy sequence": """
    class Lazy:
        def __init__(self): self.paths = sorted(Path(FOLDER).rglob('*.png'))
        def __len__(self): return len(self.paths)
        def __getitem__(self, index): return {"image": Image.open(self.paths[index])}
    return Lazy()""",
}


def factory(folder: Path, body: str) -> str:
    """A text that names a function with this body, in a file of its own."""
    path = folder / f"mine{len(list(folder.glob('*.py')))}.py"
    path.write_text(
        f"from pathlib import Path\nimport numpy as np\nfrom PIL import Image\n"
        f"FOLDER = {str(folder / 'photos')!r}\ndef images():\n    {body}\n"
    )
    return f"python:{path}:images"


@pytest.mark.parametrize("form", FACTORIES)
def test_a_function_of_the_users_own(tmp_path: Path, store: Store, form: str) -> None:
    folder = fill(tmp_path / "photos", 25)
    images = open_images(factory(tmp_path, FACTORIES[form]), store=store)
    assert len(images) == 25
    for index in (0, 24):
        np.testing.assert_array_equal(images.image(index), ImageFolder(folder).image(index))
    measure_images(images, ListReader(), store)
    again = ListReader()
    measure_images(open_images(factory(tmp_path, FACTORIES[form]), store=store), again, store)
    assert again.count == 0


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("return 3", "be a folder, a list of paths, .* \\(got int\\)"),
        ("return iter([])", "be a folder, a list of paths, .* \\(got list_iterator\\)"),
        ("return {'train': []}", "be a folder, a list of paths, .* \\(got dict\\)"),
        ("return FOLDER", "be a folder, a list of paths, .* \\(got str\\)"),
        ("return []", "have at least 20 usable images \\(got 0 in python:.*:images; skipped: none\\)"),
    ],
)
def test_a_function_that_returns_no_images(tmp_path: Path, body: str, said: str) -> None:
    with pytest.raises(DnRError, match=rf"^`probe\.images` must {said}$"):
        open_images(factory(tmp_path, body))


@pytest.mark.parametrize("end", ["", ":", ":image", ":FOLDER"])
def test_a_function_that_is_not_there(tmp_path: Path, end: str) -> None:
    spec = factory(tmp_path, "return []").rpartition(":")[0]
    with pytest.raises(DnRError, match=r"^`probe\.images` must be "):
        open_images(spec + end)


def test_messages_name_the_option(tmp_path: Path) -> None:
    for spec in (
        str(tmp_path),
        f"torchvision:MNIST:{tmp_path}",
        f"hf-dataset:{tmp_path}",
        factory(tmp_path, "return 3"),
    ):
        with pytest.raises(DnRError, match=r"^`generator\.images` must "):
            open_images(spec, option="generator.images")
    with pytest.raises(DnRError, match=r"^`generator\.limit` must be at least 20 \(got 5\)$"):
        open_images(str(fill(tmp_path / "photos")), 5, option="generator.images")


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
