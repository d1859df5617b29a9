"""A folder of results: it notes what the results were made with, and refuses results of other settings."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

from dnr_env.env.rules import Rules
from dnr_env.env.users import Users
from dnr_env.errors import DnRError
from dnr_env.files import make_folder, read_settings, write_atomically
from dnr_env.stack import Stack
from dnr_env.usercode import source_of

_FOR_PEOPLE = ("stack", "agent")
"""Noted but not compared, because the parts that these names stand for are compared."""

Settings = Mapping[str, str | float | None]


def settle(folder: Path, stack: Stack, settings: Settings) -> None:
    """Note what the results of a folder are made with.

    A folder may gain neurons; that of a comparison also seeds and agents. Everything else must stay the same.

    Raises:
        DnRError: the folder holds results of other settings, or results without settings.
    """
    make_folder(folder)
    models = {"version": version("dnr-env"), **stack.fingerprints()}
    wanted = {"stack": stack.name, **settings, **models}
    noted = folder / "settings.json"
    if noted.exists():
        found = read_settings(noted)
        keys = [key for key in {**found, **wanted} if key not in _FOR_PEOPLE]
        other = [key for key in keys if found.get(key) != wanted.get(key)]
        if other:
            raise DnRError(
                f"`out` must be an empty folder or one that was made with the same settings (got {folder}, which was "
                f"made with another {', '.join(other[:4])})"
            )
    elif any(folder.glob("*.jsonl")):
        raise DnRError(f"`out` must be an empty folder or one with a settings.json (got {folder}, which has none)")
    write_atomically(noted, (json.dumps(wanted, indent=2) + "\n").encode())


def rules_noted(rules: Rules) -> dict[str, str | float | None]:
    """The rules as settings."""
    return dict(vars(rules))


def users_noted(users: Users) -> str | None:
    """A source of user concepts as a setting: the content of a file, the code of a function, or the concepts."""
    if users is None:
        return None
    if callable(users):
        return hashlib.sha256(source_of(users).encode()).hexdigest()
    if isinstance(users, str | Path):
        path = Path(users).expanduser()
        return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else str(users)
    return json.dumps(list(users))
