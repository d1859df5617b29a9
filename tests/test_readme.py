"""What the README and the documentation show works: Python, commands with their options, make targets and links."""

from __future__ import annotations

import ast
import inspect
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

import dnr_env
from dnr_env.agents.training.options import Options
from dnr_env.cli.main import COMMANDS
from dnr_env.env.rules import Action, Rules

ROOT = Path(__file__).parent.parent
_WRITTEN_BY_PROGRAMS = {"_build", "_generated", "study"}
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *(path for path in sorted((ROOT / "docs").rglob("*.md")) if not _WRITTEN_BY_PROGRAMS & {*path.parts}),
]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(text: str, *languages: str) -> list[str]:
    """Fenced code of these languages, in order."""
    found = re.findall(r"^```([^\n]*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [code for language, code in found if language in languages]


def commands(text: str) -> list[str]:
    """Lines of shell blocks and inline code, with what continues after a backslash, without comments."""
    shell = "\n".join(blocks(text, "sh", "bash", "console", "")).replace("\\\n", " ").splitlines()
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    return [re.sub(r"^\$ |\s+#.*", "", line).strip() for line in [*shell, *re.findall(r"`([^`\n]+)`", prose)]]


def shown() -> Iterator[tuple[str, str]]:
    """(page, command) of all pages."""
    for page in PAGES:
        for line in commands(page.read_text(encoding="utf-8")):
            yield page.name, line


def options_of(command: str) -> set[str]:
    """The options of `dnr SUBCOMMAND` or of `dnr-train`, as they are written."""
    kind = Options if command == "dnr-train" else COMMANDS[command.removeprefix("dnr ")][0]
    return {field.name.replace("_", "-") for field in fields(kind)}


def test_python_of_the_readme_runs_in_order(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    run = subprocess.run(
        [sys.executable, "-W", "error::DeprecationWarning", "-c", "\n".join(blocks(README, "python"))],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert run.returncode == 0, run.stderr
    (promised,) = blocks(README, "text")
    assert run.stdout.endswith(promised)
    assert (tmp_path / "results" / "layer4" / "report.html").is_file()


def test_the_loop_proposes_what_gains_then_draws_at_the_price_and_stops() -> None:
    lines = [line.split(maxsplit=2) for line in blocks(README, "text")[0].splitlines()]
    taken = [Action[action] for action, _, _ in lines]
    assert taken == sorted(taken, key=[Action.MUTATE, Action.KEEP, Action.STOP].index)
    assert set(taken) == {Action.MUTATE, Action.KEEP, Action.STOP}
    rules = Rules()
    for action, reward, label in lines:
        if action == "MUTATE":
            assert float(reward) > 0
        else:
            assert float(reward) == (-rules.images_per_measure * rules.image_cost if action == "KEEP" else 0)
            assert label == lines[-1][2]


def test_make_targets_of_the_pages_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([\w-]+):", makefile, re.MULTILINE))
    said = [line.removeprefix("make") for _, line in shown() if line.startswith("make ")]
    named = {name for line in said for name in re.findall(r" ([a-z][\w-]*)\b(?!=)", line)}
    assert named
    assert named <= targets, named - targets


def test_commands_and_options_of_the_pages_exist() -> None:
    seen = set()
    for page, line in shown():
        found = re.match(r"(dnr-train|dnr [a-z]\S*)(.*)", line)
        if found is None:
            continue
        command, rest = found.groups()
        assert command == "dnr-train" or command.removeprefix("dnr ") in COMMANDS, f"{page}: {line}"
        seen.add(command)
        for option in re.findall(r" --([a-z][\w-]*)", rest):
            assert option in {*options_of(command), "help"}, f"{page}: {line}"
    assert seen == {"dnr-train", *(f"dnr {name}" for name in COMMANDS)}


def test_no_page_shows_the_thin_scripts() -> None:
    wrong = [(page, line) for page, line in shown() if re.search(r"\b(train|evaluate)\.py\b", line)]
    assert not wrong, wrong


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_calls_of_the_package_take_these_arguments(page: Path) -> None:
    """Of blocks that need a model or a download, too."""
    for code in blocks(page.read_text(encoding="utf-8"), "python", "py", "{code-cell} ipython3"):
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.Call) and re.fullmatch(r"dnr_env\.\w+", ast.unparse(node.func)):
                called = getattr(dnr_env, ast.unparse(node.func).removeprefix("dnr_env."), None)
                assert callable(called), ast.unparse(node)
                check_arguments(called, node)


def check_arguments(called: Callable[..., Any], node: ast.Call) -> None:
    """Fails unless the function takes the call's arguments, by number and by name."""
    keywords = {keyword.arg: None for keyword in node.keywords if keyword.arg}
    inspect.signature(called).bind_partial(*[None] * len(node.args), **keywords)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_of_the_pages_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
        assert target.startswith("https://") or (page.parent / target).exists(), target
