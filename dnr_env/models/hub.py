"""Sources of weights: a folder, or a model of the Hugging Face hub at one commit. Nothing is unpickled."""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from dnr_env.errors import DnRError
from dnr_env.extras import needed
from dnr_env.files import file_digest

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class Source:
    """The place of one model's weights and configuration."""

    id: str
    """A folder, or a hub id."""
    commit: str | None
    """The commit of a hub id; None for a folder."""

    @property
    def fingerprint(self) -> str:
        """Identifies the content by the commit or by a hash of the folder's files, without loading it."""
        return f"{self.id}@{self.commit}" if self.commit else f"folder@{_folder_digest(Path(self.id))}"


def find(option: str, model: str, revision: str | None = None) -> Source:
    """Find the source that an option names. The hub is asked only for a commit that is neither given nor in its cache.

    A branch or tag keeps the commit at which it was first found until the cache of the hub is cleared.

    Raises:
        DnRError: the folder or model does not exist, or its commit is unknown and the hub cannot be reached.
    """
    if Path(model).is_dir():
        return Source(str(model), None)
    if not _HUB_ID.fullmatch(model):
        raise DnRError(f"`{option}` must be a folder or a hub id such as organisation/name (got {model!r})")
    if revision and _COMMIT.fullmatch(revision):
        return Source(model, revision)
    with needed(), loading(option, model):
        from huggingface_hub import HfApi, constants

        name = f"models--{model.replace('/', '--')}"
        known = Path(constants.HF_HUB_CACHE) / name / "refs" / (revision or "main")
        if known.is_file():
            return Source(model, known.read_text(encoding="utf-8").strip())
        if constants.HF_HUB_OFFLINE:
            raise DnRError(f"`{option}` {model!r} is not in the hub's cache, and HF_HUB_OFFLINE forbids downloading it")
        commit = str(HfApi().model_info(model, revision=revision).sha)
        # A model that is loaded by its commit leaves no ref, so without one the hub would be asked in every run.
        with contextlib.suppress(OSError):
            known.parent.mkdir(parents=True, exist_ok=True)
            known.write_text(commit, encoding="utf-8")
        return Source(model, commit)


@contextmanager
def loading(option: str, model: str) -> Iterator[None]:
    """Around the loading of a model: turn what commonly goes wrong into one sentence."""
    try:
        yield
    except (DnRError, ModuleNotFoundError):
        raise
    except Exception as error:  # each library raises its own kinds
        raise DnRError(f"`{option}` {model!r} cannot be loaded; {_hint(error)}") from error


_AWAY = {"LocalEntryNotFoundError", "OfflineModeIsEnabled", "TransportError", "ConnectionError"}
_AWAY_HINT = "it is not in the hub's cache and the hub cannot be reached: load it once while online, or name a folder"
_ABSENT = {"RepositoryNotFoundError", "RevisionNotFoundError"}


def _hint(error: Exception) -> str:
    names, text = _kinds(error), str(error)
    if "GatedRepoError" in names or ("gated" in text and not names & _ABSENT):  # the hub calls absent models "or gated"
        return "it is gated: accept its terms on the hub and set HF_TOKEN"
    if names & _AWAY:
        return _AWAY_HINT
    if names & _ABSENT or "is not a local folder" in text:
        return "the hub has no such model or revision, or it is private: check the name, or set HF_TOKEN"
    if "OutOfMemoryError" in names:
        return "it does not fit into the device's memory: free some, name a smaller model, or set device to cpu"
    if "safetensors" in text:
        return "it has no safetensors, and other weight files can run code: name a revision that has safetensors"
    if "trust_remote_code" in text or "custom code" in text:
        return "it needs code of its own, which is not run here: name a model that transformers supports"
    inner = error.__cause__ or error.__context__
    while inner:  # libraries wrap the cause in errors of their own
        if _kinds(inner) & _AWAY:
            return _AWAY_HINT
        inner = inner.__cause__ or inner.__context__
    return text.splitlines()[0][:300] if text else type(error).__name__


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
