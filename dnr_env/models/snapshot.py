"""The files of a hub model that loading reads: which they are, whether they are in the cache, and their download.

Every library loads a model from the folder of its commit in the hub's cache. So a model that is in the cache causes no
request, whatever the library and its version, and a model that is not there fails as soon as the hub does not answer.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from dnr_env.errors import DnRError
from dnr_env.extras import needed
from dnr_env.models.hub import NO_SAFETENSORS, PATIENCE_S, Source, cached_at, fetching

_SMALL = (".json", ".txt", ".model", ".jinja", ".tiktoken")
"""The suffixes of configurations and tokenizers."""
_STEMS = ("model", "diffusion_pytorch_model")
"""The names of weight files in transformers and in diffusers, without suffix and number."""
_PROCESSOR = r".*processor_config\.json"
_TOKENIZER = r"token.*|vocab.*|.*\.model"


class Selection(Protocol):
    """The files that loading reads."""

    def wanted(self, names: Sequence[str]) -> list[str]:
        """The files to download from a repository that holds files of these names; none if it lacks the weights."""

    def there(self, folder: Path) -> bool:
        """Whether a folder holds what loading needs."""


@dataclass(frozen=True)
class Model:
    """The files of one model, which all lie in the topmost folder."""

    needs: tuple[str, ...] = (r"config\.json",)
    """Regular expressions. Each must fit the name of a file."""
    stems: tuple[str, ...] = _STEMS
    """The names that weight files begin with. Without any, weights are not read."""

    def wanted(self, names: Sequence[str]) -> list[str]:
        """The weights and the small files, without folders."""
        weights = [name for name in names if _weights(name, self.stems)]
        if self.stems and not weights:
            return []
        return [*weights, *(name for name in names if "/" not in name and name.endswith(_SMALL))]

    def there(self, folder: Path) -> bool:
        """Whether the files needed are there, and all parts of the weights."""
        names = _files(folder)
        found = all(any(re.fullmatch(need, name) for name in names) for need in self.needs)
        return found and (not self.stems or _whole(folder, self.stems))


@dataclass(frozen=True)
class Pipeline:
    """The files of a pipeline of diffusers: each part lies in a folder of its own."""

    without: tuple[str, ...] = ("safety_checker",)
    """Parts that are not loaded."""

    def wanted(self, names: Sequence[str]) -> list[str]:
        """The weights in folders, and the small files. Weights of a whole pipeline in one file are left."""
        parts = [(name, *name.rpartition("/")[::2]) for name in names if name.count("/") < 2]
        parts = [(name, part, file) for name, part, file in parts if part not in self.without]
        weights = [name for name, part, file in parts if part and _weights(file, _STEMS)]
        return [*weights, *(name for name, _, file in parts if file.endswith(_SMALL))] if weights else []

    def there(self, folder: Path) -> bool:
        """Whether each part that the pipeline names is whole."""
        index = folder / "model_index.json"
        if not index.is_file():
            return False
        parts = json.loads(index.read_text(encoding="utf-8"))
        named = [name for name, kind in parts.items() if isinstance(kind, list) and kind[0]]
        return all(_part(folder / name) for name in named if name not in self.without)


@dataclass(frozen=True)
class OneOf:
    """The first of several files that a repository has."""

    names: tuple[str, ...]

    def wanted(self, names: Sequence[str]) -> list[str]:
        """One name, or none."""
        return [name for name in self.names if name in names][:1]

    def there(self, folder: Path) -> bool:
        """Whether one of them is there."""
        return not _files(folder).isdisjoint(self.names)

    def path(self, folder: Path) -> Path:
        """The file in a folder that has it."""
        return next(folder / name for name in self.names if (folder / name).is_file())


CAPTIONER = Model((r"config\.json", _PROCESSOR, _TOKENIZER))
LANGUAGE_MODEL = Model((r"config\.json", _TOKENIZER))
NETWORK = Model((r"config\.json", _PROCESSOR))
DECODER = Model()
TOKENIZER = Model((_TOKENIZER,), ())
OPEN_CLIP = Model((r"open_clip_config\.json",), ("open_clip_model", "open_clip_pytorch_model"))
TIMM = OneOf(("model.safetensors",))


def unweighted(model: Model) -> Model:
    """The same without weights."""
    return Model(model.needs, ())


def folder_of(source: Source, selection: Selection) -> Path:
    """Return the folder with a model's files. What is not in the cache of the hub is downloaded.

    Raises:
        DnRError: files are missing, and the hub cannot be reached, does not have them, or does not give them.
    """
    if source.commit is None:
        return Path(source.id)
    folder = snapshot(source)
    if not selection.there(folder):
        missing = lacking(source, selection)
        with needed(), fetching(source.setting):
            from huggingface_hub import hf_hub_download

            for name in missing:
                hf_hub_download(source.id, name, revision=source.commit)
    return folder


def lacking(source: Source, selection: Selection) -> dict[str, int]:
    """Ask the hub which files `folder_of` would download, with their sizes in bytes.

    Raises:
        DnRError: the hub cannot be reached, or has no weights that are read here.
    """
    folder = snapshot(source)
    with needed(), fetching(source.setting):
        from huggingface_hub import HfApi, constants

        if constants.HF_HUB_OFFLINE:
            state = "is not complete in" if folder.is_dir() else "is not in"
            raise DnRError(f"{source.setting} {state} the hub's cache, and HF_HUB_OFFLINE forbids downloading it")
        info = HfApi().model_info(source.id, revision=source.commit, files_metadata=True, timeout=PATIENCE_S)
        sizes = {file.rfilename: file.size or 0 for file in info.siblings or ()}
        wanted = selection.wanted(list(sizes))
        if not wanted:
            raise DnRError(f"{source.setting} cannot be loaded; {NO_SAFETENSORS}")
    return {name: sizes[name] for name in wanted if not (folder / name).is_file()}


def snapshot(source: Source) -> Path:
    """The folder of a hub model's commit in the cache, whether it exists or not."""
    return cached_at(source.id) / "snapshots" / str(source.commit)


def _files(folder: Path) -> set[str]:
    """The names of the files in a folder. A link to a file that is not there is none."""
    return {path.name for path in folder.iterdir() if path.is_file()} if folder.is_dir() else set()


def _weights(name: str, stems: Sequence[str]) -> bool:
    return any(re.fullmatch(rf"{stem}(-\d+-of-\d+)?\.safetensors", name) for stem in stems)


def _whole(folder: Path, stems: Sequence[str] = _STEMS) -> bool:
    """Whether a folder has a weight file, or all files that the index of the weights names."""
    names = _files(folder)
    for stem in stems:
        index = f"{stem}.safetensors.index.json"
        if f"{stem}.safetensors" in names:
            return True
        if index in names:
            return names.issuperset(json.loads((folder / index).read_text(encoding="utf-8"))["weight_map"].values())
    return False


def _part(folder: Path) -> bool:
    """Whether a part of a pipeline is whole. Only a model has a config.json; schedulers and tokenizers have others."""
    names = _files(folder)
    return bool(names) and ("config.json" not in names or _whole(folder))
