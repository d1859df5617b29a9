"""Zip archives of images: the same images as in a folder, and one sentence for every archive that cannot be used."""

from __future__ import annotations

import io
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from probe_pictures import ListReader, fill, picture

from dnr_env.errors import DnRError
from dnr_env.evidence.archive import ZipImages
from dnr_env.evidence.decode import HEIC, UnusableImage
from dnr_env.evidence.images import ImageFolder, open_images
from dnr_env.evidence.measure import measure_images
from dnr_env.evidence.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "store.sqlite")
    yield store
    store.close()


def zipped(folder: Path, path: Path, compression: int = zipfile.ZIP_STORED) -> Path:
    """Put the files below a folder into an archive, in no particular order."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        for file in sorted(folder.rglob("*"), reverse=True):
            archive.write(file, file.relative_to(folder))
    return path


@pytest.mark.parametrize("name", ["photos.zip", "photos.ZIP", "photos.data"])
@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_an_archive_has_the_images_of_its_folder(tmp_path: Path, store: Store, name: str, compression: int) -> None:
    folder = fill(tmp_path / "photos", 25)
    fill(folder / "deep" / "er", 3)
    plain = ImageFolder(folder, store=store)
    first = ListReader()
    expected = measure_images(plain, first, store)
    images = open_images(str(zipped(folder, tmp_path / name, compression)), store=store)
    assert isinstance(images, ZipImages)
    second = ListReader()
    measured = measure_images(images, second, store)
    assert (first.count, second.count) == (25, 0)  # what the folder has measured the archive need not
    for a, b in zip(measured, expected, strict=True):
        np.testing.assert_array_equal(a, b)
    assert images.skipped == plain.skipped == Counter(duplicate=3)
    np.testing.assert_array_equal(images.image(7), plain.image(7))
    assert images.describe(0) == f"{tmp_path / name}/a000.png"


def test_what_is_passed_over_is_counted_and_nothing_is_unpacked(tmp_path: Path) -> None:
    folder = fill(tmp_path / "photos", 22)
    for name in ("a.HEIC", "notes.txt", "IMG_0001", "._a000.png", "empty.png"):
        (folder / name).write_bytes(b"" if name == "empty.png" else b"content")
    (folder / "a005.png").write_bytes(b"broken")
    path = zipped(folder, tmp_path / "photos.zip")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("../../outside.png", (folder / "a001.png").read_bytes())
        archive.writestr("__MACOSX/a000.png", b"not counted")
    before = sorted(tmp_path.rglob("*"))
    images = open_images(str(path))
    measured = measure_images(images, ListReader(), None)
    assert images.skipped == Counter(
        {HEIC: 1, "not an image (.txt)": 1, "without suffix": 1, "empty": 1, "broken": 1, "duplicate": 1}
    )
    assert len(measured.indices) == 21
    assert sorted(tmp_path.rglob("*")) == before


def test_a_later_process_reads_no_member_again(tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    path = zipped(fill(tmp_path / "photos", 30), tmp_path / "photos.zip")
    first = ZipImages(path, store=store)
    keys = [first.key(i) for i in range(30)]
    read: list[int] = []
    plain = ZipImages._bytes

    def reading(images: ZipImages, index: int) -> bytes:
        read.append(index)
        return plain(images, index)

    monkeypatch.setattr(ZipImages, "_bytes", reading)
    second = ZipImages(path, store=store)
    assert [second.key(i) for i in range(30)] == keys
    assert read == []
    picture(99).save(tmp_path / "photos" / "a003.png")
    changed = ZipImages(zipped(tmp_path / "photos", path), store=store)
    assert [i for i in range(30) if changed.key(i) != keys[i]] == [3]


def test_several_threads_read_at_once(tmp_path: Path) -> None:
    folder = fill(tmp_path / "photos", 40)
    images = ZipImages(zipped(folder, tmp_path / "photos.zip", zipfile.ZIP_DEFLATED))
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(images.image, list(range(40)) * 4))
    plain = ImageFolder(folder)
    for index, image in enumerate(found):
        np.testing.assert_array_equal(image, plain.image(index % 40))


def with_password(path: Path) -> None:
    """Set the flag of a password on every file of an archive."""
    data = bytearray(path.read_bytes())
    for mark, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        start = data.find(mark)
        while start >= 0:
            data[start + place] |= 1
            start = data.find(mark, start + 4)
    path.write_bytes(data)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def text(path: Path) -> None:
    path.write_text("no archive")


def claiming(path: Path, size: int = 0xFFFFFF00) -> None:
    """Let every file of an archive claim a size."""
    data = bytearray(path.read_bytes())
    start = data.find(b"PK\x01\x02")
    while start >= 0:
        data[start + 24 : start + 28] = size.to_bytes(4, "little")
        start = data.find(b"PK\x01\x02", start + 4)
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (with_password, r"be a zip archive without a password \(got .*photos\.zip, which has one\)"),
        (cut, r"be a whole zip archive that can be read \(got .*photos\.zip: File is not a zip file\)"),
        (emptied, r"be a whole zip archive that can be read \(got .*photos\.zip: File is not a zip file\)"),
        (text, r"be a whole zip archive that can be read \(got .*photos\.zip: File is not a zip file\)"),
        (claiming, r"have at least 20 usable images \(got 0 in .*photos\.zip; skipped: 25 too large\)"),
    ],
)
def test_an_archive_that_cannot_be_used(tmp_path: Path, spoil: Callable[[Path], None], said: str) -> None:
    path = zipped(fill(tmp_path / "photos", 25), tmp_path / "photos.zip")
    spoil(path)
    with pytest.raises(DnRError, match=rf"^`probe\.images` must {said}$"):
        open_images(str(path))


def test_a_bomb_is_never_larger_than_it_claims(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for i in range(20):
            archive.writestr(f"{i}.png", bytes(5_000_000))
    path = tmp_path / "bomb.zip"
    path.write_bytes(buffer.getvalue())
    assert path.stat().st_size < 200_000
    claiming(path, 1000)
    images = ZipImages(path)
    with pytest.raises(UnusableImage, match=r"^broken$"):  # its content is not what it claims
        images.key(0)


def test_too_few_images_of_an_archive(tmp_path: Path) -> None:
    path = zipped(fill(tmp_path / "photos", 19), tmp_path / "photos.zip")
    with pytest.raises(DnRError, match=r"\(got 19 in .*photos\.zip; skipped: none\)"):
        open_images(str(path))
    whole = zipped(fill(tmp_path / "photos", 60), tmp_path / "whole.zip")
    assert len(open_images(str(whole), 30)) == 30
