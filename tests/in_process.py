"""Commands that run in the process of the tests, without the start of an interpreter and its imports."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from typing import NamedTuple
from unittest.mock import patch

from dnr_env import registry


class Done(NamedTuple):
    """How a command has ended."""

    returncode: int
    stdout: str
    stderr: str


def run_here(
    main: Callable[[Sequence[str]], None], arguments: Sequence[object], environment: Mapping[str, str]
) -> Done:
    """Run a command as another process would, with its own stack of models. What would be a traceback is raised."""
    registry._configured.cache_clear()
    out, err, code = io.StringIO(), io.StringIO(), 0
    with patch.dict(os.environ, environment), redirect_stdout(out), redirect_stderr(err):
        try:
            main([*map(str, arguments)])
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
            if isinstance(end.code, str):
                err.write(f"{end.code}\n")
    return Done(code, out.getvalue(), err.getvalue())
