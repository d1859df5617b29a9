"""Sources of models (commits and refs), and batches of one size."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dnr_env.models.device import FixedBatches
from dnr_env.models.hub import find

pytest.importorskip("huggingface_hub")

COMMIT = "0123456789abcdef" * 2 + "01234567"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str | None]:
    """The revisions that are requested from a hub that always answers COMMIT."""
    revisions: list[str | None] = []

    def model_info(self: Any, model: str, revision: str | None = None, timeout: float = 0) -> SimpleNamespace:
        revisions.append(revision)
        return SimpleNamespace(sha=COMMIT)

    monkeypatch.setattr("huggingface_hub.HfApi.model_info", model_info)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    return revisions


@pytest.mark.parametrize("revision", [None, "main", "v2", "refs/pr/3"])
def test_the_hub_is_asked_once_and_not_again_without_network(
    asked: list[str | None], monkeypatch: pytest.MonkeyPatch, revision: str | None
) -> None:
    first = find("captioner.model", "some/model", revision)
    assert (first.commit, asked) == (COMMIT, [revision])
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert find("captioner.model", "some/model", revision) == first
    assert len(asked) == 1


def test_a_commit_needs_no_hub(asked: list[str | None]) -> None:
    assert find("captioner.model", "some/model", COMMIT).commit == COMMIT
    assert not asked


def test_batches_have_one_size_and_results_keep_their_order() -> None:
    sizes: list[int] = []

    def work(part: list[int]) -> list[int]:
        sizes.append(len(part))
        return [10 * item for item in part]

    assert FixedBatches("batch", 4).map(list(range(10)), work) == [10 * i for i in range(10)]
    assert sizes == [4, 4, 4]
