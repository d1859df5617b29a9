"""Probe images that are already in memory: every form they may have, and one sentence for every other."""

from __future__ import annotations

import importlib.util
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset, TensorDataset

from dnr_env.errors import DnRError
from dnr_env.evidence.decode import UnusableImage
from dnr_env.evidence.given import images_given
from dnr_env.evidence.image_set import ImageSet
from dnr_env.evidence.images import ImageFolder
from dnr_env.evidence.measure import measure_images
from dnr_env.evidence.sequence import GivenImages
from dnr_env.evidence.store import Store
from dnr_env.neurons import Neurons
from dnr_env.types import FloatArray, ImageArray, Images

COUNT = 24
PIXELS: ImageArray = np.random.default_rng(0).integers(0, 256, (COUNT, 9, 12, 3), np.uint8)
PILS = [Image.fromarray(image) for image in PIXELS]
FLOATS = (PIXELS / 255).astype(np.float32)
TENSORS = torch.from_numpy(np.moveaxis(PIXELS, 3, 1).copy())


class Items(Dataset[Any]):
    """A torch data set of given items."""

    def __init__(self, items: Sequence[Any]) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Any:
        return self.items[index]


class Stream(IterableDataset[Any]):
    """A torch data set without a length."""

    def __iter__(self) -> Iterator[Any]:
        return iter(PILS)


def hugging_face(**columns: Sequence[Any]) -> Any:
    """A Hugging Face data set, or a list of rows where that package is not installed: both give dicts by index."""
    if importlib.util.find_spec("datasets"):
        import datasets

        return datasets.Dataset.from_dict(
            dict(columns), features=datasets.Features({
                name: datasets.Image() if isinstance(column[0], Image.Image) else datasets.Value("int64")
                for name, column in columns.items()
            }),
        )  # fmt: skip
    return Items([dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)])


def pixels_of(images: ImageSet) -> ImageArray:
    return np.stack([images.image(index) for index in range(len(images))])


class MeanReader:
    """Reads the mean of each channel."""

    fingerprint = "means"
    neurons = Neurons(("mean:0", "mean:1", "mean:2"))
    dim = 2

    def __init__(self) -> None:
        self.count = 0

    def read(self, images: Images) -> tuple[FloatArray, FloatArray]:
        self.count += len(images)
        means = np.array([image.mean(axis=(0, 1)) for image in images], np.float32)
        return means, np.full((len(images), 2), 0.5**0.5, np.float32)


# --- what is accepted ----------------------------------------------------------------------------

FORMS: dict[str, Callable[[], Any]] = {
    "PIL images": lambda: PILS,
    "a tuple of PIL images": lambda: tuple(PILS),
    "uint8 arrays": lambda: list(PIXELS),
    "one array": lambda: PIXELS,
    "float arrays": lambda: list(FLOATS),
    "double arrays": lambda: list(PIXELS / 255),
    "a list of tensors": lambda: list(TENSORS),
    "one tensor": lambda: TENSORS / 255,
    "a tensor with gradients": lambda: [(image / 255).requires_grad_() for image in TENSORS],
    "tensors, channels last": lambda: list(torch.from_numpy(PIXELS)),
    "a Dataset of PIL images": lambda: Items(PILS),
    "a Dataset of tuples": lambda: Items(list(zip(TENSORS, range(COUNT), strict=True))),
    "a Dataset of lists": lambda: Items([[image, 3] for image in PILS]),
    "a Dataset of dicts": lambda: Items([{"label": 1, "image": image} for image in FLOATS]),
    "a Dataset of dicts named img": lambda: Items([{"img": image, "fine_label": 1} for image in PILS]),
    "a TensorDataset": lambda: TensorDataset(TENSORS, torch.arange(COUNT)),
    "a Subset": lambda: Subset(Items([None, *PILS]), range(1, COUNT + 1)),
    "a DataLoader": lambda: DataLoader(Items([(image, 0) for image in TENSORS]), batch_size=7),
    "a DataLoader that shuffles and drops": lambda: DataLoader(Items(PILS), 7, shuffle=True, drop_last=True),
    "a Hugging Face data set": lambda: hugging_face(label=list(range(COUNT)), image=PILS),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_images(form: str) -> None:
    images = images_given(FORMS[form]())
    assert len(images) == COUNT
    assert images.describe(3) == "#3"
    np.testing.assert_array_equal(pixels_of(images), PIXELS)
    assert images.image(0).dtype == np.uint8
    assert [images.key(index) for index in range(COUNT)] == [GivenImages(PILS).key(index) for index in range(COUNT)]
    assert not images.skipped


def test_lists_of_paths_are_the_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    paths = [tmp_path / f"{index}.png" for index in range(COUNT)]
    for image, path in zip(PILS, paths, strict=True):
        image.save(path)
    for items in (paths, list(map(str, paths)), [f"~/{path.name}" for path in paths], Items([(p, 0) for p in paths])):
        np.testing.assert_array_equal(pixels_of(images_given(items)), PIXELS)
    assert images_given(paths).describe(5) == str(paths[5])
    folder = images_given(tmp_path)
    assert isinstance(folder, ImageFolder)
    assert len(images_given(str(tmp_path))) == COUNT


def test_shades_transparency_and_orientation_are_as_in_files() -> None:
    grey = PIXELS[..., 0]
    expected = np.repeat(grey[..., None], 3, axis=3)
    for items in (
        list(grey),
        list(grey[..., None]),
        list(torch.from_numpy(grey)),
        list(torch.from_numpy(grey)[:, None]),
    ):
        np.testing.assert_array_equal(pixels_of(images_given(items)), expected)
    clear = np.concatenate([PIXELS, np.zeros((COUNT, 9, 12, 1), np.uint8)], axis=3)
    assert (pixels_of(images_given(list(clear))) == 255).all()
    turned = Image.Exif()
    turned[0x0112] = 3
    images = [image.copy() for image in PILS]
    for image in images:
        image.info["exif"] = turned.tobytes()
    np.testing.assert_array_equal(pixels_of(images_given(images)), PIXELS[:, ::-1, ::-1])


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
def test_short_floats_lose_digits_alone(kind: torch.dtype) -> None:
    found = pixels_of(images_given(list((TENSORS / 255).to(kind))))
    np.testing.assert_allclose(found.astype(int), PIXELS, atol=1)


def test_images_of_any_sizes_may_be_mixed() -> None:
    items = [*PILS, Image.new("L", (30, 4)), np.zeros((2, 2), np.uint8), torch.zeros(3, 5, 6)]
    images = images_given(items)
    assert [images.image(index).shape for index in range(COUNT, COUNT + 3)] == [(4, 30, 3), (2, 2, 3), (5, 6, 3)]


def test_a_limit_takes_a_fixed_part() -> None:
    images = images_given(Items(PILS), limit=20)
    again = images_given(PILS, limit=20)
    assert len(images) == 20
    np.testing.assert_array_equal(pixels_of(images), pixels_of(again))
    places = [int(images.describe(index).removeprefix("#")) for index in range(20)]
    assert places == sorted(set(places))
    np.testing.assert_array_equal(pixels_of(images), PIXELS[places])
    with pytest.raises(DnRError, match=r"^`probe\.limit` must be at least 20 \(got 19\)$"):
        images_given(PILS, limit=19)


def test_what_is_measured_is_kept_by_content_whatever_its_form(tmp_path: Path) -> None:
    store, first, second = Store(tmp_path / "store.sqlite"), MeanReader(), MeanReader()
    measured = measure_images(images_given(PILS), first, store)
    np.testing.assert_allclose(measured.activations, PIXELS.mean(axis=(1, 2)), rtol=1e-6)
    again = measure_images(images_given(FORMS["a DataLoader"]()), second, store)
    np.testing.assert_array_equal(again.activations, measured.activations)
    assert (first.count, second.count) == (COUNT, 0)
    store.close()


class Busy(Items):
    """A data set that fails if it is asked while it is giving an item."""

    busy = False

    def __getitem__(self, index: int) -> Any:
        if self.busy:
            raise RuntimeError("two threads at once")
        self.busy = True
        time.sleep(0.002)
        self.busy = False
        return super().__getitem__(index)


def test_one_thread_at_a_time_takes_an_item() -> None:
    images = images_given(Busy(PILS))
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(images.image, range(COUNT)))
    np.testing.assert_array_equal(np.stack(found), PIXELS)
    assert not images.skipped


# --- what is passed over -------------------------------------------------------------------------


class Broken(Items):
    """A data set of which some items raise."""

    def __getitem__(self, index: int) -> Any:
        if index in (2, 5):
            raise RuntimeError("truncated archive")
        return super().__getitem__(index)


def test_what_cannot_be_read_and_what_repeats_is_counted(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("no image at all")
    items = Broken([*PILS, PILS[0], tmp_path / "text.png", tmp_path / "gone.png"])
    images = images_given(items)
    for _ in range(2):
        measured = measure_images(images, MeanReader(), None)
        assert measured.indices == [index for index in range(COUNT) if index not in (2, 5)]
        assert images.skipped == Counter(broken=4, duplicate=1)
    with pytest.raises(UnusableImage, match="broken"):
        images.image(2)
    few = images_given(Broken(PILS[:21]))
    says = r"^`images` must have at least 20 usable images \(got 19 in the Broken; skipped: 2 broken\)$"
    with pytest.raises(DnRError, match=says):
        measure_images(few, MeanReader(), None)


@pytest.mark.parametrize(
    ("items", "says"),
    [
        ([], "got 0 in the list"),
        ((), "got 0 in the tuple"),
        (np.zeros((0, 8, 8, 3), np.uint8), "got 0 in the ndarray"),
        (PILS[:19], "got 19 in the list"),
        (Items(PILS[:3]), "got 3 in the Items"),
        (DataLoader(Items(PILS[:3]), batch_size=1), "got 3 in the Items"),
    ],
)
def test_too_few_images_are_one_sentence(items: Any, says: str) -> None:
    with pytest.raises(DnRError, match=rf"^`images` must have at least 20 usable images \({says}; skipped: none\)$"):
        images_given(items)


# --- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "images",
    [None, 3, PILS[0], {"train": PILS}, iter(PILS), (image for image in PILS), set(range(30)), Stream()],
    ids=lambda images: type(images).__name__,
)
def test_what_has_no_images_by_index_is_refused(images: Any) -> None:
    kind = type(images).__name__
    with pytest.raises(DnRError, match=rf"^`images` must be a folder, a list of paths, .* \(got {kind}\)$"):
        images_given(images)


def test_a_loader_of_a_stream_is_refused() -> None:
    with pytest.raises(DnRError, match=r"^`images` must be a folder, .* \(got Stream\)$"):
        images_given(DataLoader(Stream()))


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DnRError, match=r"^`probe\.images` must be a folder of images, .* \(got .*nowhere\)$"):
        images_given(tmp_path / "nowhere")


NORMALISED = (FLOATS[0] - 0.45) / 0.225
SHAPE = r"have the shape \(height, width, 3\) or \(height, width\)"
VALUES = "hold uint8 values, or floats from 0 to 1"


@pytest.mark.parametrize(
    ("item", "says"),
    [
        (
            NORMALISED,
            rf"{VALUES} \(got floats from -2 to 2\.44 as item 1\); leave the normalisation out of .* transform",
        ),
        (torch.from_numpy(np.moveaxis(NORMALISED, 2, 0)), rf"{VALUES} \(got floats from -2 to 2\.44 as item 1\); .*"),
        (FLOATS[0] * 255, rf"{VALUES} \(got floats from 0 to 255 as item 1\); .*"),
        (np.full((4, 4), np.nan), rf"{VALUES} \(got floats from nan to nan as item 1\); .*"),
        (PIXELS[0].astype(np.int64), rf"{VALUES} \(got int64 as item 1\)"),
        (PIXELS[0].astype(np.uint16), rf"{VALUES} \(got uint16 as item 1\)"),
        (PIXELS[0] > 9, rf"{VALUES} \(got bool as item 1\)"),
        (PIXELS[0] * 1j, rf"{VALUES} \(got complex128 as item 1\)"),
        (PIXELS[0].astype(object), rf"{VALUES} \(got object as item 1\)"),
        (np.moveaxis(PIXELS[0], 2, 0), rf"{SHAPE} \(got \(3, 9, 12\) as item 1\)"),
        (PIXELS, rf"{SHAPE} \(got \(24, 9, 12, 3\) as item 1\)"),
        (PIXELS[0, 0, 0], rf"{SHAPE} \(got \(3,\) as item 1\)"),
        (np.zeros((8, 8, 2), np.uint8), rf"{SHAPE} \(got \(8, 8, 2\) as item 1\)"),
        (np.zeros((0, 8, 3), np.uint8), rf"{SHAPE} \(got \(0, 8, 3\) as item 1\)"),
        (TENSORS, rf"{SHAPE} \(got \(24, 3, 9, 12\) as item 1\)"),
        (7, r"be a folder, .* \(got int as item 1\)"),
        (None, r"be a folder, .* \(got NoneType as item 1\)"),
        ((), r"be a folder, .* \(got tuple as item 1\)"),
        ((5, PILS[0]), r"be a folder, .* \(got int as item 1\)"),
        ({"label": 3, "picture": PILS[0]}, r"have a column named image \(got label, picture\)"),
        ({"image": None}, r"be a folder, .* \(got NoneType as item 1\)"),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else "",
)
@pytest.mark.parametrize("wrap", [list, Items])
def test_items_that_are_no_images_are_one_sentence(item: Any, says: str, wrap: Callable[[list[Any]], Any]) -> None:
    images = images_given(wrap([PILS[0], item, *PILS[2:]]))
    assert images.image(0).shape == (9, 12, 3)
    with pytest.raises(DnRError, match=rf"^`images` must {says}$"):
        measure_images(images, MeanReader(), None)


class Flipping(Items):
    """A data set whose transform gives another picture every time."""

    times = 0

    def __getitem__(self, index: int) -> Any:
        self.times += 1
        return super().__getitem__(index) ^ np.uint8(self.times)


def test_a_random_data_set_is_refused_before_anything_is_kept(tmp_path: Path) -> None:
    store, reader = Store(tmp_path / "store.sqlite"), MeanReader()
    says = "^`images` must give the same picture each time; remove random transforms$"
    with pytest.raises(DnRError, match=says):
        measure_images(images_given(Flipping(list(PIXELS))), reader, store)
    assert reader.count == 0
    store.close()


def test_a_hugging_face_data_set_without_images_names_its_columns() -> None:
    images = images_given(hugging_face(label=list(range(COUNT)), size=list(range(COUNT))))
    with pytest.raises(DnRError, match=r"^`images` must have a column named image \(got label, size\)$"):
        images.key(0)
