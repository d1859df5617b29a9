"""Sources of weights: a folder, or a model of the Hugging Face hub at one commit. Nothing is unpickled."""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from dnr_env.errors import DnRError
from dnr_env.extras import needed
from dnr_env.files import file_digest

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_COMMIT = re.compile(r"[0-9a-f]{40}")
PATIENCE_S = 5.0
"""How long a server may take to answer a first request. A model that is downloaded needs it to be reachable anyway."""


@dataclass(frozen=True)
class Source:
    """The place of one model's weights and configuration."""

    id: str
    """A folder, or a hub id."""
    commit: str | None
    """The commit of a hub id; None for a folder."""
    setting: str = field(default="", compare=False)
    """The setting that names it, as the user wrote it, for error messages."""

    @property
    def fingerprint(self) -> str:
        """Identifies the content by the commit or by a hash of the folder's files, without loading it."""
        return f"{self.id}@{self.commit}" if self.commit else f"folder@{_folder_digest(Path(self.id))}"


def find(option: str, model: str, revision: str | None = None, written: str | None = None) -> Source:
    """Find the source that an option names. The hub is asked only for a commit that is neither given nor in its cache.

    A branch or tag keeps the commit at which it was first found until the cache of the hub is cleared.

    Args:
        option: the option that names the model.
        model: a folder or a hub id.
        revision: a commit, branch or tag.
        written: what the user wrote, where that is not `model`, such as "ViT-B-16" for the repository of its weights.

    Raises:
        DnRError: the folder or model does not exist, or its commit is unknown and the hub cannot be reached.
    """
    written = written or model
    setting = f"`{option}` {written!r}" + ("" if model in written else f" ({model} on the hub)")
    if Path(model).is_dir():
        return Source(str(model), None, setting)
    if not _HUB_ID.fullmatch(model):
        raise DnRError(f"`{option}` must be a folder or a hub id such as organisation/name (got {model!r})")
    if revision and _COMMIT.fullmatch(revision):
        return Source(model, revision, setting)
    with needed(), fetching(setting):
        from huggingface_hub import HfApi, constants

        known = cached_at(model) / "refs" / (revision or "main")
        if known.is_file():
            return Source(model, known.read_text(encoding="utf-8").strip(), setting)
        if constants.HF_HUB_OFFLINE:
            raise DnRError(f"{setting} is not in the hub's cache, and HF_HUB_OFFLINE forbids downloading it")
        commit = str(HfApi().model_info(model, revision=revision, timeout=PATIENCE_S).sha)
        # A model that is loaded by its commit leaves no ref, so without one the hub would be asked in every run.
        with contextlib.suppress(OSError):
            known.parent.mkdir(parents=True, exist_ok=True)
            known.write_text(commit, encoding="utf-8")
        return Source(model, commit, setting)


def cached_at(model: str) -> Path:
    """The folder of a hub id in the cache of the hub."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE) / f"models--{model.replace('/', '--')}"


@contextmanager
def loading(option: str, model: str) -> Iterator[None]:
    """Around the loading of a model: turn what commonly goes wrong into one sentence."""
    with fetching(f"`{option}` {model!r}"):
        yield


@contextmanager
def fetching(setting: str) -> Iterator[None]:
    """As `loading`, for a setting as a `Source` has it."""
    try:
        yield
    except (DnRError, ModuleNotFoundError):
        raise
    except Exception as error:  # each library raises its own kinds
        raise DnRError(f"{setting} cannot be loaded; {_hint(error)}") from error


@contextmanager
def running(setting: str) -> Iterator[None]:
    """Around the work of a loaded model: turn an error of its library into one sentence with the library's reason.

    A device that runs out of memory is the caller's to handle.
    """
    import torch

    try:
        yield
    except (DnRError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # each library raises its own kinds
        raise DnRError(f"{setting} was loaded and then fails: {reason_of(error)}") from error


def check_complete(setting: str, report: Mapping[str, Any]) -> None:
    """Check that a checkpoint has all weights of its model.

    Args:
        setting: the setting that names the model, as a `Source` has it.
        report: what `from_pretrained(…, output_loading_info=True)` of transformers or diffusers returns.

    Raises:
        DnRError: tensors are missing, and would stay random.
    """
    if absent := sorted(report["missing_keys"]):
        more = f" and {len(absent) - _NAMED} more" if len(absent) > _NAMED else ""
        names = ", ".join(absent[:_NAMED])
        raise DnRError(f"{setting} must have weights for all of the model (got one that lacks {names}{more})")


def reason_of(error: BaseException) -> str:
    """What a library says is wrong, in one line."""
    text = " ".join(str(error).split())
    return text[:300] if text else type(error).__name__


_NAMED = 5
_AWAY = {"LocalEntryNotFoundError", "OfflineModeIsEnabled", "TransportError", "ConnectionError"}
_AWAY_HINT = "it is not in the hub's cache and the hub cannot be reached: load it once while online, or name a folder"
NO_SAFETENSORS = "it has no safetensors, and other weight files can run code: name a revision that has safetensors"
_ABSENT = {"RepositoryNotFoundError", "RevisionNotFoundError"}


def _hint(error: Exception) -> str:
    names, text = _kinds(error), str(error)
    if "GatedRepoError" in names or (
        re.search(r"\bgated\b", text) and not names & _ABSENT
    ):  # the hub calls absent models "or gated"
        return "it is gated: accept its terms on the hub and set HF_TOKEN"
    if names & _AWAY:
        return _AWAY_HINT
    if names & _ABSENT or "is not a local folder" in text:
        return "the hub has no such model or revision, or it is private: check the name, or set HF_TOKEN"
    if "OutOfMemoryError" in names:
        return "it does not fit into the device's memory: free some, name a smaller model, or set device to cpu"
    if re.search(r"(file named|necessary|find) .*safetensors", text):
        return NO_SAFETENSORS
    if "trust_remote_code" in text or "custom code" in text:
        return "it needs code of its own, which is not run here: name a model that transformers supports"
    inner = error.__cause__ or error.__context__
    while inner:  # libraries wrap the cause in errors of their own
        if _kinds(inner) & _AWAY:
            return _AWAY_HINT
        inner = inner.__cause__ or inner.__context__
    return reason_of(error)


def _kinds(error: BaseException) -> set[str]:
    return {kind.__name__ for kind in type(error).__mro__}


@cache
def _folder_digest(folder: Path) -> str:
    digest = hashlib.sha256()
    inside = (path.relative_to(folder) for path in sorted(folder.rglob("*")) if path.is_file())
    for path in inside:
        if not any(part.startswith(".") for part in path.parts):  # .cache holds the time of the download
            digest.update(path.as_posix().encode() + b"\0")
            digest.update(file_digest(folder / path))
    return digest.hexdigest()[:32]
