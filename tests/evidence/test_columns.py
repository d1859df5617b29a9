"""Images in the columns of Parquet and Arrow files, as Hugging Face and others write them."""

from __future__ import annotations

import importlib.util
import io
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from probe_pictures import ListReader, fill

from dnr_env.errors import DnRError
from dnr_env.evidence.columns import TableImages
from dnr_env.evidence.images import ImageFolder, open_images
from dnr_env.evidence.measure import measure_images
from dnr_env.evidence.store import Store

pa = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")
COUNT = 25


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "store.sqlite")
    yield store
    store.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return fill(tmp_path / "photos", COUNT)


def encoded(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted(folder.glob("*.png"))]


def pairs(contents: Sequence[bytes | None]) -> Any:
    """A column as Hugging Face stores images."""
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    return pa.array([{"bytes": content, "path": f"{i}.png"} for i, content in enumerate(contents)], kind)


def write_parquet(path: Path, group: int = 7, **columns: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pa.table(columns), path, row_group_size=group)
    return path


def write_arrow(path: Path, file: bool, batch: int = 7, **columns: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table(columns)
    with (
        pa.OSFile(str(path), "wb") as sink,
        (pa.ipc.new_file if file else pa.ipc.new_stream)(sink, table.schema) as out,
    ):
        out.write_table(table, batch)
    return path


def save_to_disk(folder: Path, **columns: Any) -> Path:
    """Write what `Dataset.save_to_disk` writes, in two files."""
    table = pa.table(columns)
    half = len(table) // 2
    for i, part in enumerate((table[:half], table[half:])):
        write_arrow(folder / f"data-{i:05}-of-00002.arrow", False, **{n: part[n] for n in table.column_names})
    names = [{"filename": f"data-{i:05}-of-00002.arrow"} for i in range(2)]
    (folder / "state.json").write_text(json.dumps({"_data_files": names}))
    (folder / "dataset_info.json").write_text("{}")
    write_arrow(folder / "cache-1234.arrow", False, **columns)  # of an operation since
    return folder


def by_hugging_face(folder: Path, contents: Sequence[bytes]) -> Path:
    """Write the same by the library itself, or as it does where it is not installed."""
    if importlib.util.find_spec("datasets") is None:
        return save_to_disk(folder, label=list(range(len(contents))), picture=pairs(contents))
    import datasets

    columns = {"label": list(range(len(contents))), "picture": [{"bytes": c, "path": None} for c in contents]}
    features = datasets.Features({"label": datasets.Value("int64"), "picture": datasets.Image()})
    datasets.disable_progress_bars()
    datasets.Dataset.from_dict(columns, features=features).save_to_disk(folder)
    return folder


def parts(folder: Path, contents: list[bytes]) -> Path:
    """Write ten images to a file, as the hub has them."""
    for i in range(0, len(contents), 10):
        write_parquet(folder / "data" / f"part-{i:05}.parquet", image=pairs(contents[i : i + 10]))
    return folder


FORMS: dict[str, Callable[[Path, list[bytes]], Path]] = {
    "parquet, pairs": lambda at, c: write_parquet(at / "x.parquet", image=pairs(c)),
    "parquet, one row group": lambda at, c: write_parquet(at / "x.parquet", 1 << 20, image=pairs(c)),
    "parquet, bytes": lambda at, c: write_parquet(at / "x.parquet", jpg=c, caption=["a"] * len(c)),
    "parquet, large bytes": lambda at, c: write_parquet(at / "x.parquet", x=pa.array(c, pa.large_binary())),
    "parquet, the usual name of two": lambda at, c: write_parquet(at / "x.parquet", image=c, mask=c[::-1]),
    "a folder of parquet": lambda at, c: parts(at / "d", c),
    "arrow stream": lambda at, c: write_arrow(at / "x.arrow", False, image=pairs(c)),
    "arrow file": lambda at, c: write_arrow(at / "x.arrow", True, image=pairs(c)),
    "save_to_disk": lambda at, c: save_to_disk(at / "d", picture=pairs(c), label=list(range(len(c)))),
    "the library's save_to_disk": lambda at, c: by_hugging_face(at / "d", c),
}


@pytest.mark.parametrize("prefix", ["", "hf-dataset:"])
@pytest.mark.parametrize("form", FORMS)
def test_a_table_has_the_images_of_the_folder(
    tmp_path: Path, folder: Path, store: Store, form: str, prefix: str
) -> None:
    plain = ImageFolder(folder, store=store)
    expected = measure_images(plain, ListReader(), store)
    path = FORMS[form](tmp_path / "table", encoded(folder))
    images = open_images(f"{prefix}{path}", store=store)
    assert isinstance(images, TableImages)
    reader = ListReader()
    measured = measure_images(images, reader, store)
    assert reader.count == 0  # the same content has the same key
    for a, b in zip(measured, expected, strict=True):
        np.testing.assert_array_equal(a, b)
    for index in (24, 0, 13, 12, 3, 24):  # also backwards
        np.testing.assert_array_equal(images.image(index), plain.image(index))


def test_random_and_parallel_reading(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dnr_env.evidence.table_rows._ROWS", 2)
    contents = encoded(folder)
    images = TableImages(str(write_parquet(tmp_path / "x.parquet", 9, image=contents)))
    order = np.random.default_rng(0).integers(0, COUNT, 300).tolist()
    assert [images._bytes(index) for index in order] == [contents[index] for index in order]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(images._bytes, order)) == [contents[index] for index in order]


def test_cells_without_an_image_are_counted(tmp_path: Path, folder: Path) -> None:
    contents: list[bytes | None] = [*encoded(folder), None, b"", b"broken", encoded(folder)[3]]
    images = open_images(str(write_parquet(tmp_path / "x.parquet", image=pairs(contents))))
    assert len(measure_images(images, ListReader(), None).indices) == COUNT
    assert images.skipped == Counter({"broken": 2, "empty": 1, "duplicate": 1})


def test_a_cell_may_name_a_file_beside_the_table(tmp_path: Path, folder: Path) -> None:
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    cells = [{"bytes": None, "path": path.name} for path in sorted(folder.glob("*.png"))]
    images = open_images(str(write_parquet(folder / "x.parquet", image=pa.array(cells, kind))))
    np.testing.assert_array_equal(images.image(4), ImageFolder(folder).image(4))


def test_a_file_beside_the_table_that_changes_has_another_key(tmp_path: Path, folder: Path, store: Store) -> None:
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    files = sorted(folder.glob("*.png"))
    table = write_parquet(folder / "x.parquet", image=pa.array([{"bytes": None, "path": f.name} for f in files], kind))
    before = TableImages(str(table), store=store).key(4)
    Image.fromarray(np.full((9, 9, 3), 77, np.uint8)).save(files[4])
    assert TableImages(str(table), store=store).key(4) != before


def several(at: Path, contents: list[bytes], names: Sequence[str]) -> Path:
    for i, name in enumerate(names):
        write_parquet(at / name, image=pairs(contents[i:] + contents[:i]))
    return at


@pytest.mark.parametrize("words", ["image:tset", "tset:image", "train:test", "image:label"])
def test_two_words_are_a_split_and_a_column(tmp_path: Path, folder: Path, words: str) -> None:
    root = several(tmp_path / "d", encoded(folder), ("train.parquet", "test.parquet"))
    with pytest.raises(DnRError, match=rf"^`probe\.images` must have the form .*:{words}; splits: .*test"):
        open_images(f"hf-dataset:{root}:{words}")
    assert open_images(f"hf-dataset:{root}:train:image").name == open_images(f"hf-dataset:{root}:image:train").name


@pytest.mark.parametrize(
    ("names", "default"),
    [
        (("train-00000-of-00001.parquet", "test-00000-of-00001.parquet"), "test"),
        (("data/train-00000.parquet", "data/validation-00000.parquet"), "validation"),
        (("train/0000.parquet", "val/0000.parquet", "test/0000.parquet"), "test"),
        (("imagenet-train.arrow.parquet", "imagenet-dev.parquet"), "dev"),
        (("train.parquet",), "train"),
    ],
)
def test_splits_are_those_in_the_names(tmp_path: Path, folder: Path, names: Sequence[str], default: str) -> None:
    contents = encoded(folder)
    root = several(tmp_path / "d", contents, names)
    images = open_images(f"hf-dataset:{root}")
    assert images.name == f"{root}:{default}"
    assert len(images) == COUNT
    for i, name in enumerate(names):
        split = next(word for word in ("train", "validation", "val", "test", "dev") if word in name)
        chosen = open_images(f"hf-dataset:{root}:{split}")
        np.testing.assert_array_equal(chosen.image(0), ImageFolder(folder).image(i))
        assert open_images(f"hf-dataset:{root}:{split}:image").key(0) == chosen.key(0)


def test_the_splits_of_a_dict_of_data_sets(tmp_path: Path, folder: Path) -> None:
    contents = encoded(folder)
    for i, split in enumerate(("mine", "yours")):
        save_to_disk(tmp_path / "d" / split, image=pairs(contents[i:] + contents[:i]))
    (tmp_path / "d" / "dataset_dict.json").write_text(json.dumps({"splits": ["mine", "yours"]}))
    assert open_images(str(tmp_path / "d")).name.endswith(":mine")
    np.testing.assert_array_equal(
        open_images(f"hf-dataset:{tmp_path / 'd'}:yours").image(0), ImageFolder(folder).image(1)
    )


def test_files_of_which_one_says_no_split_are_one_set(tmp_path: Path, folder: Path) -> None:
    root = several(tmp_path / "d", encoded(folder), ("train.parquet", "more.parquet"))
    assert len(open_images(str(root))) == 2 * COUNT


def test_a_column_is_asked_for_where_several_could_be_meant(tmp_path: Path, folder: Path) -> None:
    contents = encoded(folder)
    path = write_parquet(tmp_path / "x.parquet", left=contents, right=contents[::-1], label=list(range(COUNT)))
    with pytest.raises(DnRError, match=r"say which column .* hf-dataset:PATH:left \(got .* with left, right\)$"):
        open_images(str(path))
    np.testing.assert_array_equal(open_images(f"hf-dataset:{path}:right").image(0), ImageFolder(folder).image(24))


@pytest.mark.parametrize(
    ("end", "said"),
    [
        (":rihgt", r"name a split or a column, one of image, label \(got 'rihgt'\)"),
        (":label", r"name a column of encoded images \(got label, of int64\)"),
        (":test:image:more", r"name a folder or a file on the disk, .*"),
        ("x", r"name a folder or a file on the disk, .*"),
    ],
)
def test_what_is_not_in_the_table(tmp_path: Path, folder: Path, end: str, said: str) -> None:
    path = write_parquet(tmp_path / "x.parquet", image=encoded(folder), label=list(range(COUNT)))
    with pytest.raises(DnRError, match=rf"^`probe\.images` must {said}$"):
        open_images(f"hf-dataset:{path}{end}")


def test_tables_that_cannot_be_used(tmp_path: Path, folder: Path) -> None:
    whole = write_parquet(tmp_path / "cut.parquet", image=encoded(folder)).read_bytes()
    (tmp_path / "cut.parquet").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.arrow").write_text("no table at all")
    (tmp_path / "nothing").mkdir()
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "state.json").write_text("{}")
    numbers = write_parquet(tmp_path / "numbers.parquet", label=list(range(COUNT)))
    several(tmp_path / "d", encoded(folder), ("a.parquet",))
    write_parquet(tmp_path / "d" / "b.parquet", picture=encoded(folder))
    for place, said in {
        tmp_path / "cut.parquet": r"name Parquet or Arrow files that can be read \(got .*cut\.parquet: ",
        tmp_path / "text.arrow": r"name Parquet or Arrow files that can be read \(got .*text\.arrow: ",
        tmp_path / "nothing": r"have files that end in \.parquet or \.arrow \(got .*nothing, which has none\)",
        tmp_path / "state": r"name Parquet or Arrow files that can be read \(got .*state\.json: ",
        numbers: r"have a column of encoded images \(got .*numbers\.parquet with label\)",
        tmp_path / "d": r"have the column 'image' in every file \(got .*b\.parquet with picture\)",
    }.items():
        with pytest.raises(DnRError, match=rf"^`probe\.images` must {said}"):
            open_images(f"hf-dataset:{place}")


def test_a_later_process_reads_no_row_again(
    tmp_path: Path, folder: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_parquet(tmp_path / "x.parquet", image=encoded(folder))
    first = TableImages(str(path), store=store)
    keys = [first.key(i) for i in range(COUNT)]
    monkeypatch.setattr(TableImages, "_bytes", lambda *_: pytest.fail("a row was read"))
    second = TableImages(str(path), store=store)
    assert [second.key(i) for i in range(COUNT)] == keys
    monkeypatch.undo()
    changed = TableImages(str(write_parquet(path, image=encoded(folder)[::-1])), store=store)
    assert [changed.key(i) for i in range(COUNT)] == keys[::-1]


def test_pictures_are_never_in_memory_together(tmp_path: Path) -> None:
    """One row group of 64 MB is read with less than a fifth of it in memory."""
    noise = np.random.default_rng(0)
    path = tmp_path / "x.parquet"
    with parquet.ParquetWriter(
        path, pa.schema([("image", pa.binary())]), compression="none", use_dictionary=False
    ) as out:
        out.write_table(pa.table({"image": [noise.bytes(1 << 16) for _ in range(1024)]}), row_group_size=1 << 20)
    images = TableImages(str(path))
    before = pa.total_allocated_bytes()
    most = 0
    for index in range(1024):
        assert len(images._bytes(index)) == 1 << 16
        most = max(most, pa.total_allocated_bytes() - before)
    assert most < 12 << 20


def test_a_cell_is_bytes_of_any_image(tmp_path: Path, folder: Path) -> None:
    jpeg = io.BytesIO()
    from PIL import Image

    Image.new("RGB", (12, 9), "red").save(jpeg, "JPEG")
    images = open_images(str(write_parquet(tmp_path / "x.parquet", image=[*encoded(folder), jpeg.getvalue()])))
    assert (np.abs(images.image(COUNT).astype(int) - (255, 0, 0)) < 6).all()
