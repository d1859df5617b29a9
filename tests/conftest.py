"""One temporary cache and one thread for the whole session, set before anything of the package is imported."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile

import pytest

_CACHE = tempfile.mkdtemp(prefix="dnr-tests-")
atexit.register(shutil.rmtree, _CACHE, ignore_errors=True)
os.environ["DNR_CACHE_DIR"] = _CACHE
os.environ.setdefault("OMP_NUM_THREADS", "1")

import dnr_env  # noqa: E402
from dnr_env.stacks import Stack  # noqa: E402


@pytest.fixture(scope="session")
def stack() -> Stack:
    """The embedded world, on a store of the session's own."""
    return dnr_env.load_stack("shapes")
