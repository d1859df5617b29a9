"""Imports run downwards: a module may import those of its own layer and of the layers below it, and in no circle."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parents[1]
LAYERS = (
    ("types", "errors"),
    ("extras", "files", "progress", "seeds"),
    ("usercode", "neurons", "scores", "structure"),
    ("interfaces", "algebra"),
    ("evidence",),
    ("propose",),
    ("stack",),
    ("shapes",),
    ("scenes",),
    ("models",),
    ("registry",),
    ("env",),
    ("agents",),
    ("evaluation",),
    ("agents.training", "agents.human", "assemble"),
    ("tables", "exemplar_table", "judged_table", "rating"),
    ("api",),
    ("web",),
    ("cli",),
)
"""Folders and modules of `dnr_env`, from the bottom to the top."""


def modules() -> dict[str, Path]:
    """Every module of the package by its name."""
    found = {}
    for path in sorted(files(ROOT / "dnr_env")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts).removesuffix(".__init__")] = path
    return found


def files(folder: Path) -> Iterator[Path]:
    for path in folder.iterdir():
        if path.is_dir() and path.name != "__pycache__":
            yield from files(path)
        elif path.suffix == ".py":
            yield path


def layer_of(module: str) -> int:
    inside = module.removeprefix("dnr_env").removeprefix(".")
    if not inside:
        return len(LAYERS)  # what a user imports
    matches = [
        (len(name), place)
        for place, names in enumerate(LAYERS)
        for name in names
        if inside == name or inside.startswith(f"{name}.")
    ]
    assert matches, f"{module} belongs to no layer"
    return max(matches)[1]


def imported(path: Path, known: dict[str, Path]) -> set[str]:
    """What a module imports of the package, wherever in it the import stands."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            found.update(name if name in known else node.module for name in names)
        elif isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
    return {name for name in found if name.split(".")[0] in ("dnr_env", "agents", "train", "evaluate", "benchmarks")}


def test_imports_run_downwards() -> None:
    known = modules()
    upwards = [
        f"{module} imports {other}"
        for module, path in known.items()
        for other in imported(path, known)
        if other in known and layer_of(other) > layer_of(module)
    ]
    assert upwards == []


def test_the_package_imports_nothing_above_it() -> None:
    known = modules()
    assert [f"{m} imports {o}" for m, path in known.items() for o in imported(path, known) if o not in known] == []


def test_the_guide_for_contributors_names_the_layers() -> None:
    guide = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    chain = " → ".join(f"`{', '.join(names)}`" for names in LAYERS)
    assert f"from its own group or from groups to its left: {chain} A package" in " ".join(guide.split())


def test_there_is_no_circle() -> None:
    known = modules()
    graph = {module: imported(path, known) & known.keys() for module, path in known.items()}
    tuple(TopologicalSorter(graph).static_order())  # raises CycleError


def test_no_module_is_long() -> None:
    long = {
        path: len(path.read_text().splitlines()) for path in [*modules().values(), *(ROOT / "benchmarks").glob("*.py")]
    }
    assert {str(path.relative_to(ROOT)): lines for path, lines in long.items() if lines > 300} == {}
