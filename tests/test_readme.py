"""What the README shows works: its Python runs, and its make targets, scripts, options and files exist."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(*languages: str) -> list[str]:
    """Fenced code of these languages, in order."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    return [code for language, code in found if language in languages]


def commands() -> list[str]:
    """Lines of shell blocks and inline code, with what goes on after a backslash, without comments."""
    shell = "\n".join(blocks("sh", "bash", "console", "")).replace("\\\n", " ").splitlines()
    prose = re.sub(r"^```.*?^```$", "", README, flags=re.MULTILINE | re.DOTALL)
    return [re.sub(r"^\$ |\s+#.*", "", line).strip() for line in [*shell, *re.findall(r"`([^`\n]+)`", prose)]]


@pytest.mark.skipif(not blocks("python"), reason="the README shows no Python yet")
def test_python_of_the_readme_runs_in_order(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    code = "\n".join(blocks("python"))
    run = subprocess.run(
        [sys.executable, "-W", "error::DeprecationWarning", "-c", code],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.returncode == 0, run.stderr
    if "print(" in code:
        assert run.stdout.strip()


def test_make_targets_of_the_readme_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([\w-]+):", makefile, re.MULTILINE))
    said = [line.removeprefix("make") for line in commands() if line.startswith("make ")]
    named = {name for line in said for name in re.findall(r" ([a-z][\w-]*)\b(?!=)", line)}
    assert said
    assert named <= targets, named - targets


def test_scripts_and_options_of_the_readme_exist() -> None:
    """Each `python X.py …` is a script here, and its source or dataclasses know each option."""
    for line in commands():
        if found := re.match(r"(?:\S*python3?) (\S+\.py)(.*)", line):
            source = (ROOT / found[1]).read_text(encoding="utf-8")
            for option in re.findall(r" --([a-z-]+)", found[2]):
                assert re.search(rf"\b{option.replace('-', '_')}\b", source), f"{found[1]} --{option}"
            for word in re.findall(r"^ ([a-z]+)\b", found[2]):
                assert f'"{word}"' in source, f"{found[1]} {word}"


def test_links_of_the_readme_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", README):
        assert target.startswith("https://") or (ROOT / target).exists(), target
