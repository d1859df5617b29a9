"""The ends of commands. A command ends with one sentence for the user, or quietly, and never with a traceback."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dnr_env.errors import DnRError


@contextmanager
def ending(command: str, out: Path | None = None) -> Iterator[None]:
    """Run a command in the body, and end the process properly where it fails or is stopped.

    Args:
        command: the name of the command, for messages.
        out: the file or folder from which the command resumes; None for a command that does not resume.
    """
    _open_streams()
    try:
        yield
        sys.stdout.flush()
    except DnRError as error:
        sys.exit(f"{command}: {error}")
    except KeyboardInterrupt:
        with contextlib.suppress(OSError):
            print(f"\n{command}: stopped{_kept(out)}", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:  # the reader of the output has what it wanted, as `head` has
        _drop(sys.stdout.fileno())
        sys.exit(0)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        _drop(sys.stdout.fileno())
        sys.exit(f"{command}: {error.filename or 'the output'} cannot be written ({error.strerror}){_kept(out)}")


def _kept(out: Path | None) -> str:
    if out is None:
        return ""
    if not out.expanduser().exists():
        return "; nothing was written yet"
    return f"; what was finished is kept in {out}, and the same command goes on from there"


def _drop(descriptor: int) -> None:
    """Send what is still buffered nowhere: the interpreter writes it when it exits, and would fail again."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)


def _open_streams() -> None:
    """Open the streams that the shell has closed, so that no other file takes their place."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115 (until the process ends)
