"""One temporary cache and one thread for the whole session, set before anything of the package is imported."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

_CACHE = tempfile.mkdtemp(prefix="dnr-tests-")
atexit.register(shutil.rmtree, _CACHE, ignore_errors=True)
os.environ["DNR_CACHE_DIR"] = _CACHE
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest  # noqa: E402
from fakes import CountingGenerator, FakeReader  # noqa: E402

import dnr_env  # noqa: E402
from dnr_env.algebra import structured  # noqa: E402
from dnr_env.evidence.lab import Lab  # noqa: E402
from dnr_env.evidence.store import Store  # noqa: E402
from dnr_env.propose.unite import WithUnions  # noqa: E402
from dnr_env.stack import Stack  # noqa: E402


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give each file to one process, so that its fixtures are made once."""
    from xdist.scheduler import LoadFileScheduling

    return LoadFileScheduling(config, log)


@pytest.fixture(scope="session")
def stack() -> Stack:
    """The embedded world, on a store of the session's own."""
    return dnr_env.load_stack("shapes")


@pytest.fixture(scope="session")
def saying(stack: Stack) -> Stack:
    """The embedded world, in a language with unions and exceptions."""
    says = structured(stack.language)
    saying = replace(stack, language=says)
    return replace(saying, mutators={name: WithUnions(own, saying.prior) for name, own in stack.mutators.items()})


@pytest.fixture(scope="session")
def scene_weights_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights of every network of the world `scenes`."""
    from scene_weights import write_weights

    return write_weights(tmp_path_factory.mktemp("scenes"))


@pytest.fixture(scope="module")
def scene_weights(scene_weights_folder: Path) -> Iterator[None]:
    """Let the networks of the world `scenes` have random weights, whatever the package ships."""
    from dnr_env.scenes import clip, networks

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(networks, "DATA", scene_weights_folder)
        patch.setattr(clip, "WEIGHTS", scene_weights_folder / "clip.safetensors")
        yield


LabMaker = Callable[..., Lab]


@pytest.fixture
def make_lab() -> LabMaker:
    """A lab of the two above; `make_lab(store)`, `make_lab(store, keeps_images=True, reader="another")`."""

    def make(store: Store | None = None, keeps_images: bool = False, reader: str = "fake") -> Lab:
        return Lab(CountingGenerator(keeps_images), FakeReader(reader), store)

    return make
