"""Import the user's own code by "FILE.py:NAME" or "package.module:NAME", and hash the files that it consists of."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from dnr_env.errors import DnRError, unknown
from dnr_env.files import file_digest


def user_object(option: str, spec: str) -> tuple[ModuleType, Any]:
    """Import the function or class that a text names, and return it after its module.

    Raises:
        DnRError: the text names no callable, or the module cannot be imported.
    """
    place, _, name = spec.rpartition(":")
    if not place or not name:
        raise DnRError(f"`{option}` must be written as python:path/file.py:NAME (got 'python:{spec}')")
    folder = str(Path(place).expanduser().resolve().parent if place.endswith(".py") else Path.cwd())
    if folder not in sys.path:
        sys.path.append(folder)  # the user's code may import from its own folder, now or later
    module = _imported(option, place)
    found = getattr(module, name, None)
    if not callable(found):
        raise unknown(option, name, [key for key, value in vars(module).items() if callable(value)])
    return module, found


def code_digest(start: ModuleType, kinds: Iterable[type]) -> str:
    """Hash the files of a module and of classes, and the files beside them that they import."""
    top = sys.modules.get(start.__name__.partition(".")[0], start)
    root = Path(top.__file__ or ".").resolve().parent
    todo: list[object] = [start, *(sys.modules.get(kind.__module__) for kind in kinds)]
    files: set[Path] = set()
    while todo:
        module = todo.pop()
        path = Path(getattr(module, "__file__", None) or "/").resolve()
        if path in files or not path.is_file() or not path.is_relative_to(root):
            continue
        files.add(path)
        for value in list(vars(module).values()):
            source = getattr(value, "__module__", None)
            todo.append(sys.modules.get(source) if isinstance(source, str) else value)
    contents = sorted(file_digest(path) for path in files)  # names are left out, because a file may be moved
    return hashlib.sha256(b"".join(contents)).hexdigest()[:32]


def source_of(code: Any) -> str:
    """Return the source of a class, of a function, or of an object's class; its type if the source is unknown."""
    for part in (code, type(code)):
        try:
            return inspect.getsource(part)
        except (OSError, TypeError):
            continue
    return repr(type(code))


@contextmanager
def user_imports(option: str, place: str) -> Iterator[None]:
    """Around the user's code: raise DnRError if a module that it imports is missing."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise DnRError(
            f"`{option}` must name a module on the path or a file such as path/file.py (got {place!r}: {error})"
        ) from error


def _imported(option: str, place: str) -> Any:
    if not place.endswith(".py"):
        with user_imports(option, place):
            return importlib.import_module(place)
    path = Path(place).expanduser()
    spec = importlib.util.spec_from_file_location(f"dnr_user_{path.stem}", path) if path.is_file() else None
    if spec is None or spec.loader is None:
        raise DnRError(f"`{option}` must name an existing file, as in python:path/file.py:NAME (got {place!r})")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses in the file look their module up
    with user_imports(option, place):
        spec.loader.exec_module(module)
    return module
