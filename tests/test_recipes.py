"""The recipes of the documentation run, each where its library is installed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "docs" / "how-to" / "recipes.md").read_text(encoding="utf-8")
SECTIONS = [section.partition("\n") for section in TEXT.split("\n## ")[1:]]
RECIPES = [(name, code) for name, _, text in SECTIONS for code in re.findall(r"```python\n(.*?)```", text, re.DOTALL)]
NEEDED = {"Stable-Baselines3": ["sb3_contrib"], "TorchRL": ["torchrl"], "Minari": ["minari", "jax", "h5py"]}


def test_there_is_a_recipe_for_each_library() -> None:
    assert [name for name, _ in RECIPES] == ["Stable-Baselines3", "CleanRL", "TorchRL", "Minari"]


@pytest.mark.parametrize(("name", "code"), RECIPES, ids=[name for name, _ in RECIPES])
def test_recipes_run(name: str, code: str, tmp_path: Path) -> None:
    if missing := [package for package in NEEDED.get(name, []) if find_spec(package) is None]:
        pytest.skip(f"{missing[0]} is not installed")
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    environment = {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "MINARI_DATASETS_PATH": str(tmp_path)}
    run = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.returncode == 0, run.stderr
