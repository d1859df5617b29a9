"""Where weights come from: a folder, or a model of the Hugging Face hub at one commit. Nothing is unpickled."""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from dnr_env.errors import DnRError, unknown

if TYPE_CHECKING:
    import torch

Item = TypeVar("Item")
Result = TypeVar("Result")

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_COMMIT = re.compile(r"[0-9a-f]{40}")


@contextmanager
def needed(extra: str = "models") -> Iterator[None]:
    """Around lazy imports: names the extra to install where a package is not there."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise DnRError(f"{error.name} is not installed; pip install 'dnr-env[{extra}]' will do") from None


@dataclass(frozen=True)
class Source:
    """Weights and configuration of one model."""

    id: str
    """A folder, or a hub id."""
    commit: str | None
    """The commit of a hub id; None for a folder."""

    @property
    def fingerprint(self) -> str:
        """Names the content, without loading it: the commit, or a hash of the folder's files."""
        return f"{self.id}@{self.commit}" if self.commit else f"folder@{_folder_digest(Path(self.id))}"


def find(option: str, model: str, revision: str | None = None) -> Source:
    """The source that an option names; opens a socket only where the commit is neither given nor in the hub's cache.

    A branch or tag stays at the commit that it was first found at, until the hub's cache is cleared.

    Raises:
        DnRError: there is no such folder or hub model, or the commit is unknown and cannot be asked for.
    """
    if Path(model).is_dir():
        return Source(str(model), None)
    if not _HUB_ID.fullmatch(model):
        raise DnRError(f"{option}: {model!r} is neither a folder nor a hub id; organisation/name will do")
    if revision and _COMMIT.fullmatch(revision):
        return Source(model, revision)
    with needed(), loading(option, model):
        from huggingface_hub import HfApi, constants

        name = f"models--{model.replace('/', '--')}"
        known = Path(constants.HF_HUB_CACHE) / name / "refs" / (revision or "main")
        if known.is_file():
            return Source(model, known.read_text(encoding="utf-8").strip())
        if constants.HF_HUB_OFFLINE:
            raise DnRError(f"{option}: {model!r} is not in the hub's cache, and HF_HUB_OFFLINE forbids asking for it")
        commit = str(HfApi().model_info(model, revision=revision).sha)
        # A model that is loaded by its commit leaves no ref, and would have to be asked for in every run.
        with contextlib.suppress(OSError):
            known.parent.mkdir(parents=True, exist_ok=True)
            known.write_text(commit, encoding="utf-8")
        return Source(model, commit)


@contextmanager
def loading(option: str, model: str) -> Iterator[None]:
    """Around the loading of a model: one sentence for what commonly goes wrong."""
    try:
        yield
    except (DnRError, ModuleNotFoundError):
        raise
    except Exception as error:  # each library raises its own kinds
        raise DnRError(f"{option}: {model!r} cannot be loaded; {_hint(error)}") from error


_AWAY = {"LocalEntryNotFoundError", "OfflineModeIsEnabled", "TransportError", "ConnectionError"}
_AWAY_HINT = "it is not in the hub's cache and the hub cannot be reached: load it once while online, or name a folder"
_ABSENT = {"RepositoryNotFoundError", "RevisionNotFoundError"}


def _hint(error: Exception) -> str:
    names, text = _kinds(error), str(error)
    if "GatedRepoError" in names or ("gated" in text and not names & _ABSENT):  # of what is absent, it says "or gated"
        return "it is gated: accept its terms on the hub and set HF_TOKEN"
    if names & _AWAY:
        return _AWAY_HINT
    if names & _ABSENT or "is not a local folder" in text:
        return "the hub has no such model or revision, or it is private: check the name, or set HF_TOKEN"
    if "OutOfMemoryError" in names:
        return "it does not fit into the device's memory: free some, name a smaller model, or take device cpu"
    if "safetensors" in text:
        return "it has no safetensors, and other weight files can run code: name a revision that has them"
    if "trust_remote_code" in text or "custom code" in text:
        return "it runs code of its own, which is not done here: name a model that transformers knows"
    inner = error.__cause__ or error.__context__
    while inner:  # libraries wrap it in errors of their own
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
        if not any(part.startswith(".") for part in path.parts):  # nor .cache, where the hub notes when it was loaded
            digest.update(path.as_posix().encode() + b"\0")
            digest.update(file_digest(folder / path))
    return digest.hexdigest()[:32]


def device_of(name: str) -> torch.device:
    """The device of that name; "auto" is a GPU where there is one.

    Raises:
        DnRError: there is no such device here.
    """
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        found = torch.empty(0, device=name).device
    except (RuntimeError, AssertionError):
        found = torch.device("meta")
    if found.type == "meta":
        raise DnRError(f"device: {name!r} is not here; auto or cpu will do")
    return found


def dtype_of(option: str, name: str, device: torch.device) -> torch.dtype:
    """The dtype that an option names; "auto" is bfloat16 on a GPU, else float32."""
    import torch

    kinds = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
    kinds["auto"] = torch.bfloat16 if device.type == "cuda" else torch.float32
    if name not in kinds:
        raise unknown(option, name, kinds)
    return kinds[name]


def file_digest(path: Path) -> bytes:
    """SHA-256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.digest()


class FixedBatches:
    """Runs work in batches of one size, and halves the size where the device's memory runs out.

    The last digits of a forward pass depend on the batch's shape. With one shape, an image's results are the same
    whoever its batch mates are.

    Args:
        option: the option that sets the size, for the error.
        size: items of a batch, the last one filled up with copies.
    """

    def __init__(self, option: str, size: int) -> None:
        if size < 1:
            raise DnRError(f"{option}: {size} is too few; 1 or more will do")
        self.option = option
        self.size = size

    def map(self, items: Sequence[Item], work: Callable[[list[Item]], Sequence[Result]]) -> list[Result]:
        """The results of `work`, which gets `size` items at a time and gives one result each."""
        import torch

        done: list[Result] = []
        while len(done) < len(items):
            part = list(items[len(done) : len(done) + self.size])
            try:
                results = work(part + part[-1:] * (self.size - len(part)))
            except torch.OutOfMemoryError:
                if self.size == 1:
                    raise DnRError(f"{self.option}: one image does not fit into the device's memory") from None
                self.size //= 2
                torch.cuda.empty_cache()
                continue
            if len(results) != self.size:  # which are missing, nobody can tell
                raise DnRError(
                    f"{self.option}: {len(results)} results came for {self.size} items; another model will do"
                )
            done += results[: len(part)]
        return done
