"""Data sets of torchvision: their own splits, and what the store keeps of them."""

from __future__ import annotations

import gzip
import inspect
import struct
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from probe_pictures import ListReader, fill
from torchvision import datasets

from dnr_env.errors import DnRError
from dnr_env.evidence.images import open_images
from dnr_env.evidence.measure import measure_images
from dnr_env.evidence.store import Store
from dnr_env.evidence.vision import TorchvisionImages, held_out, splits_of
from dnr_env.types import ImageArray


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "store" / "store.sqlite")
    yield store
    store.close()


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
        f"torchvision:STL10:{tmp_path}:train": r"name a folder that torchvision's STL10 was downloaded to \(got .*: ",
        f"torchvision:Flickr8k:{tmp_path}:test": r"name no split for torchvision's Flickr8k, which has none \(got 'te",
        "torchvision:CIFAR10": r"have the form torchvision:NAME:FOLDER or .* \(got 'torchvision:CIFAR10'\)",
        f"torchvision:ImageFolder:{tmp_path}:val": r"be a folder of images, .* \(got .*val\)",
    }.items():
        with pytest.raises(DnRError, match=rf"^`probe\.images` must {message}"):
            open_images(spec)


def imagenet(root: Path, count: int = 20) -> Path:
    """The validation images of ImageNet as torchvision unpacks them, of two classes."""
    root.mkdir(parents=True, exist_ok=True)
    torch.save(({"n01": ("tench",), "n02": ("goldfish",)}, ["n01"] * count), root / "meta.bin")
    for name in ("n01", "n02"):
        fill(root / "val" / name, count)
    return root


def test_imagenet_is_read_by_its_own_split(tmp_path: Path) -> None:
    root = imagenet(tmp_path / "imagenet")
    images = open_images(f"torchvision:ImageNet:{root}")
    assert images.name == f"torchvision:ImageNet:{root}:val"
    assert len(images) == 40
    assert len(open_images(f"torchvision:ImageNet:{root}:val")) == 40
    with pytest.raises(DnRError, match=r"splits of torchvision's ImageNet: train, val \(got 'test'\)$"):
        open_images(f"torchvision:ImageNet:{root}:test")


WITH_SPLITS = sorted(
    name
    for name in datasets.__all__
    if inspect.isclass(getattr(datasets, name)) and "root" in inspect.signature(getattr(datasets, name)).parameters
    if {"split", "image_set", "train", "version", "background", "classes"}
    & set(inspect.signature(getattr(datasets, name)).parameters)
)


def test_the_splits_are_known_of_every_data_set_that_has_some() -> None:
    assert len(WITH_SPLITS) > 45
    without = {name for name in WITH_SPLITS if len(splits_of(name)) < 2}
    assert without == set()


@pytest.mark.parametrize(
    ("name", "splits", "default"),
    [
        ("ImageNet", ("train", "val"), "val"),
        ("Places365", ("train-standard", "train-challenge", "val", "test"), "test"),
        ("VOCDetection", ("train", "trainval", "val"), "val"),
        ("SBDataset", ("train", "val", "train_noval"), "val"),
        ("INaturalist", ("2017", "2018", "2019", "2021_train", "2021_train_mini", "2021_valid"), "2021_valid"),
        ("Country211", ("train", "valid", "test"), "test"),
        ("Imagenette", ("train", "val"), "val"),
        ("OxfordIIITPet", ("trainval", "test"), "test"),
        ("Omniglot", ("background", "evaluation"), "evaluation"),
        ("CIFAR10", ("train", "test"), "test"),
        ("EMNIST", ("byclass", "bymerge", "balanced", "letters", "digits", "mnist"), None),
        ("SUN397", (), None),
    ],
)
def test_the_default_split_was_held_out(name: str, splits: tuple[str, ...], default: str | None) -> None:
    assert splits_of(name) == splits
    assert held_out(splits) == default


@pytest.mark.parametrize("name", WITH_SPLITS)
def test_a_wrong_split_is_refused_with_the_data_sets_own(tmp_path: Path, name: str) -> None:
    with pytest.raises(DnRError) as caught:
        open_images(f"torchvision:{name}:{tmp_path}:tset")
    said = f"`probe.images` must name one of the splits of torchvision's {name}: {', '.join(splits_of(name))} "
    assert str(caught.value) == said + "(got 'tset')"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["PhotoTour", "CocoDetection", "Flickr8k", "UCF101", "DatasetFolder"])
def test_a_data_set_that_needs_more_than_its_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(DnRError, match=rf"\(got torchvision's {name}, which needs .*\); return it from a function"):
        open_images(f"torchvision:{name}:{tmp_path}")


@pytest.mark.parametrize("name", ["FakeData", "VisionDataset", "Imagenet", "cifar10"])
def test_what_is_no_data_set_on_the_disk(tmp_path: Path, name: str) -> None:
    with pytest.raises(DnRError, match=rf"^`probe\.images` must be one of .* \(got '{name}'\)$"):
        open_images(f"torchvision:{name}:{tmp_path}")


def test_a_later_process_decodes_no_image_again(tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    root = imagenet(tmp_path / "imagenet")
    spec = f"torchvision:ImageNet:{root}"
    first = open_images(spec, store=store)
    measured = measure_images(first, ListReader(), store)
    decoded: list[int] = []
    plain = TorchvisionImages._image

    def decoding(images: TorchvisionImages, index: int) -> ImageArray:
        decoded.append(index)
        return plain(images, index)

    monkeypatch.setattr(TorchvisionImages, "_image", decoding)
    reader = ListReader()
    second = open_images(spec, store=store)
    again = measure_images(second, reader, store)
    assert (reader.count, decoded) == (0, [])
    np.testing.assert_array_equal(measured.activations, again.activations)
    assert first.skipped == second.skipped == Counter(duplicate=20)  # the folders hold the same pictures

    fill(root / "val" / "n02", 1)  # a new time
    (root / "val" / "n02" / "a000.png").write_bytes((root / "val" / "n01" / "a001.png").read_bytes())
    changed = open_images(spec, store=store)
    keys = [changed.key(i) for i in range(20)]
    assert len(decoded) >= 20
    assert keys == [first.key(i) for i in range(20)]


def test_a_changed_picture_has_another_key(tmp_path: Path, store: Store) -> None:
    root = imagenet(tmp_path / "imagenet", 25)
    spec = f"torchvision:ImageNet:{root}"
    before = open_images(spec, store=store)
    keys = [before.key(i) for i in range(25)]
    (root / "val" / "n01" / "a003.png").unlink()
    fill(tmp_path / "other", 30)
    (tmp_path / "other" / "a029.png").rename(root / "val" / "n01" / "a003.png")
    after = open_images(spec, store=store)
    assert [i for i in range(25) if after.key(i) != keys[i]] == [3]
