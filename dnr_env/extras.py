"""Imports of packages that belong to an optional extra."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from dnr_env.errors import DnRError


@contextmanager
def needed(extra: str = "models") -> Iterator[None]:
    """Around lazy imports: raise DnRError and name the extra to install if a package is missing."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise DnRError(f"{error.name} is not installed; install it with pip install 'dnr-env[{extra}]'") from None
