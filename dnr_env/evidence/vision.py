"""Data sets of torchvision that are already on the disk, each with its own splits. Nothing is downloaded."""

from __future__ import annotations

import hashlib
import inspect
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from dnr_env.errors import DnRError, unknown
from dnr_env.evidence.decode import READING, UnusableImage, pixels_key, to_rgb
from dnr_env.evidence.image_set import RememberedImages, check_enough, limit_of, part_of
from dnr_env.evidence.listing import walk
from dnr_env.evidence.store import Store, address
from dnr_env.extras import needed
from dnr_env.types import ImageArray

_ARGUMENTS = ("split", "image_set", "version", "what", "classes", "train", "background")
"""The names under which data sets of torchvision take their splits, the most telling first."""
_SWITCHES = {"train": {"train": True, "test": False}, "background": {"background": True, "evaluation": False}}
"""The splits of the arguments that are true or false."""
_UNTOLD = {
    "CelebA": ("train", "valid", "test", "all"), "LSUN": ("train", "val", "test"), "PCAM": ("train", "val", "test"),
}  # fmt: skip
"""The splits of the data sets that check other things before they refuse a wrong one."""
_NOWHERE = Path(os.devnull) / "nowhere"
_HELD_OUT = ("test", "testing", "val", "valid", "validation", "dev", "eval", "evaluation")


def held_out(splits: Sequence[str]) -> str | None:
    """The split that a network was most likely not trained on: test before val; None if there is none."""
    ends = [split.rpartition("_")[2] for split in splits]
    return next((splits[ends.index(name)] for name in _HELD_OUT if name in ends), None)


class TorchvisionImages(RememberedImages):
    """The images of a torchvision data set.

    Its keys are made of the pixels. The store keeps them for as long as no file in the folder changes.

    Args:
        name: the class in torchvision.datasets.
        root: the folder that the data set was downloaded to.
        split: one of the data set's own splits. The default is the one that was held out (test, else val), or the data
            set's own default if there is none.
        limit: the most images to use, a fixed random subset.
        store: keeps the keys of the images.
        option: the option that names the data set.

    Raises:
        DnRError: there is no such data set or split, it is not in the folder, or it has too few images.
    """

    def __init__(
        self,
        name: str,
        root: Path,
        split: str | None = None,
        limit: int | None = None,
        store: Store | None = None,
        option: str = "probe.images",
    ) -> None:
        argument, chosen = _split(option, name, split)
        super().__init__(f"torchvision:{name}:{root}{f':{chosen}' if chosen else ''}", option, store)
        root = root.expanduser()
        arguments = {argument: _SWITCHES.get(argument, {}).get(chosen, chosen)} if chosen else {}
        self._data = _data_set(option, name, root, arguments)
        self._places = part_of(len(self._data), limit, limit_of(option))
        self._state = _state_of(root, name, arguments) if store else ""
        check_enough(self, len(self._places))

    def __len__(self) -> int:
        """The number of images listed."""
        return len(self._places)

    def describe(self, index: int) -> str:
        """The image's place in the data set."""
        return f"#{self._places[index]}"

    def _place(self, index: int) -> bytes:
        return address(kind="torchvision", state=self._state, place=self._places[index])

    def _content(self, index: int) -> bytes:
        return pixels_key(self._image(index)).encode()

    def _named(self, content: bytes) -> str:
        return content.decode()

    def _image(self, index: int) -> ImageArray:
        try:
            image = self._data[self._places[index]][0]
        except Exception:  # each data set raises exceptions of its own types
            raise UnusableImage("broken") from None
        if not isinstance(image, Image.Image):
            raise DnRError(
                f"`{self.option}` must name a data set of images (got {self.name}, with {type(image).__name__} items)"
            )
        return to_rgb(image)


def _class_of(option: str, name: str) -> Any:
    with needed():
        from torchvision import datasets
    classes = {n: getattr(datasets, n) for n in datasets.__all__ if inspect.isclass(getattr(datasets, n))}
    known = [n for n, kind in classes.items() if n != "VisionDataset" and "root" in inspect.signature(kind).parameters]
    if name not in known:
        raise unknown(option, name, [*known, "ImageFolder"])
    return classes[name]


def _split(option: str, name: str, wanted: str | None) -> tuple[str, str]:
    """The argument of a data set's class that selects a split, and the split; "" if the data set has none."""
    options = inspect.signature(_class_of(option, name)).parameters
    argument = _argument(options)
    splits = splits_of(name)
    if not argument:
        if wanted:
            raise DnRError(f"`{option}` must name no split for torchvision's {name}, which has none (got {wanted!r})")
        return "", ""
    if wanted is not None and wanted not in splits:
        raise DnRError(
            f"`{option}` must name one of the splits of torchvision's {name}: {', '.join(splits)} (got {wanted!r})"
        )
    usual = options[argument].default
    chosen = wanted or held_out(splits) or (usual if isinstance(usual, str) else "")
    if not chosen and usual is inspect.Parameter.empty:
        raise DnRError(
            f"`{option}` must name one of the splits of torchvision's {name}: {', '.join(splits)}, as in "
            f"torchvision:{name}:FOLDER:{splits[0]} (got none)"
        )
    return argument, chosen


def _argument(options: Mapping[str, inspect.Parameter]) -> str:
    """The argument that selects a split; "" if there is none."""
    return next((name for name in _ARGUMENTS if name in options), "")


def splits_of(name: str) -> tuple[str, ...]:
    """The splits of a data set of torchvision, by its own word; () if it has none.

    Almost every data set refuses a split that it does not have before it looks for its files, and names those it has.
    """
    if name in _UNTOLD:
        return _UNTOLD[name]
    make = _class_of("probe.images", name)
    options = inspect.signature(make).parameters
    argument = _argument(options)
    if not argument or argument in _SWITCHES:
        return tuple(_SWITCHES.get(argument, ()))
    try:
        make(**{**dict.fromkeys(_required(options), str(_NOWHERE)), argument: "?"})
    except Exception as error:  # each data set raises exceptions of its own types
        return tuple(re.findall(r"'([^']+)'", str(error).partition("Valid values are")[2]))
    return ()


def _required(options: Mapping[str, inspect.Parameter]) -> list[str]:
    """The arguments without a default."""
    return [name for name, value in options.items() if value.default is value.empty and value.kind != value.VAR_KEYWORD]


def _data_set(option: str, name: str, root: Path, arguments: dict[str, Any]) -> Any:
    make = _class_of(option, name)
    options = inspect.signature(make).parameters
    if "download" in options:
        arguments = {**arguments, "download": False}
    asked = [key for key in _required(options) if key not in ("root", *arguments)]
    if asked:
        raise DnRError(
            f"`{option}` must name a data set that needs only its folder (got torchvision's {name}, which needs "
            f"{', '.join(asked)}); return it from a function of yours, as in python:FILE.py:FUNCTION"
        )
    try:
        return make(root, **arguments)
    except Exception as error:  # each data set raises exceptions of its own types
        hint = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise DnRError(
            f"`{option}` must name a folder that torchvision's {name} was downloaded to (got {root}: {hint})"
        ) from None


def _state_of(root: Path, name: str, arguments: dict[str, Any]) -> str:
    """Identify what a data set reads: the names, sizes and times of all files in its folder, and its arguments."""
    import torchvision

    digest = hashlib.sha256(repr((name, READING, torchvision.__version__, sorted(arguments.items()))).encode())
    digest.update(str(root.absolute()).encode())
    for file in sorted(walk(root, Counter())):
        digest.update(repr(tuple(file)).encode())
    return digest.hexdigest()
