"""The fingerprint of what is frozen changes with every part of it, and with nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
from world_frozen import fingerprint, frozen

from dnr_env.scenes import captioner, clip, networks, planted
from dnr_env.scenes import stack as scenes

pytestmark = pytest.mark.usefixtures("scene_weights")


@pytest.mark.parametrize(
    ("module", "name", "value"),
    [
        (captioner, "SECOND", 0.4),
        (captioner, "MISTAKEN", (0.1, 0.04, 0.08, 0.05, 0.05)),
        (scenes, "INFIDELITY", (0.3, 0.15, 0.25, 0.08, 0.07)),
        (planted, "FORMULAS", planted.FORMULAS[:-1]),
    ],
)
def test_it_changes_with_a_setting(module: object, name: str, value: object, monkeypatch: pytest.MonkeyPatch) -> None:
    before = fingerprint(frozen())
    assert before == fingerprint(frozen())
    monkeypatch.setattr(module, name, value)
    assert fingerprint(frozen()) != before


def test_it_names_every_preset_with_all_its_weights() -> None:
    presets = frozen()["presets"]
    assert isinstance(presets, dict)
    readers = {name: preset["reader"] for name, preset in presets.items()}
    assert len({readers["scenes"], readers["scenes-residual"], readers["scenes-plain"]}) == 3
    assert len({str(preset) for preset in presets.values()}) == len(presets)


@pytest.fixture
def shipped_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path(scenes.__file__).parent / "data"
    monkeypatch.setattr(networks, "DATA", folder)
    monkeypatch.setattr(clip, "WEIGHTS", folder / "clip.safetensors")


@pytest.mark.usefixtures("shipped_weights")
def test_the_world_is_the_one_that_was_frozen() -> None:
    page = Path(__file__).parents[2] / "docs" / "study" / "scenes-statistics.md"
    assert f"SHA-256: `{fingerprint(frozen())}`" in page.read_text(encoding="utf-8")
