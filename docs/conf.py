"""Configuration of Sphinx. What the code already says is written into `_generated` when a build begins."""

from __future__ import annotations

import ast
import inspect
import json
import os
import re
from collections.abc import Iterator
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dnr_env.env.refine_env import RefineEnv
from dnr_env.models import config
from dnr_env.neurons import split_of
from dnr_env.scenes import planted as scene_planted
from dnr_env.shapes import lexicon, planted

if TYPE_CHECKING:
    from sphinx.application import Sphinx

project = "DnR"
author = "The DnR authors"
copyright = "2026, The DnR authors"
version = release = installed_version("dnr-env")

extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon", "myst_nb"]
exclude_patterns = ["_build", "_generated", "study"]  # parts of pages
html_theme = "furo"
html_title = f"DnR {release}"
default_role = "code"  # the docstrings put code between single backticks
highlight_language = "none"

autodoc_member_order = "bysource"
python_maximum_signature_line_length = 100
autodoc_type_aliases = {
    name: name
    for name in ("FloatArray", "IntArray", "BoolArray", "ImageArray", "Observation", "Info", "UserSource", "Users")
}
napoleon_numpy_docstring = False
myst_heading_anchors = 3

GENERATED = Path(__file__).parent / "_generated"
ROOT = Path(__file__).parent.parent

nb_execution_mode = "force"
nb_execution_in_temp = True
nb_execution_raise_on_error = True
nb_execution_timeout = 300
nb_output_stderr = "remove"
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))  # of the kernel


def words() -> Iterator[str]:
    """The vocabulary of Shapes as a table."""
    yield "| Family | Words | Words above them |"
    yield "|--------|-------|------------------|"
    for family in lexicon.FAMILIES:
        above = "; ".join(f"*{name}*: {', '.join(members)}" for name, members in family.hypernyms.items())
        yield f"| {family.name} | {', '.join(family.words)} | {above} |"
    yield ""
    yield (
        f"{len(lexicon.WORDS)} words and {len(lexicon.VALUES) - len(lexicon.WORDS)} words above them make "
        f"{len(lexicon.vocabulary()):,} concepts that name one to {lexicon.MAX_NAMED} families."
    )


def formulas() -> Iterator[str]:
    """The planted neurons as a table."""
    kinds: dict[str, list[str]] = {}
    for index, text in enumerate(planted.FORMULAS):
        formula = planted.Formula.read(text)
        kind = f"a {formula.operator} {'!' * formula.negated}b" if formula.operator else "a"
        kinds.setdefault(kind, []).append(f"{text} ({index}, {split_of(f'planted:{index}')})")
    yield "| Form | Formulas, with their indices and splits |"
    yield "|------|------------------------------------------|"
    for kind, texts in kinds.items():
        listed = ", ".join(texts).replace("|", "\\|")
        yield "| `{}` | {} |".format(kind.replace("|", "\\|"), listed)


def scene_formulas() -> Iterator[str]:
    """The planted neurons of `scenes` as a table."""
    yield "| Index | Split | Formula |"
    yield "|-------|-------|---------|"
    for index, text in enumerate(scene_planted.FORMULAS):
        yield "| {} | {} | `{}` |".format(index, split_of(f"planted:{index}"), text.replace("|", "\\|"))


def settings() -> Iterator[str]:
    """The settings of a stack of real models, a table for each section and one for the rest."""
    said = {
        kind.name: {
            one.target.id: ast.literal_eval(following.value)
            for one, following in zip(kind.body, kind.body[1:], strict=False)
            if isinstance(one, ast.AnnAssign) and isinstance(following, ast.Expr)
        }
        for kind in ast.parse(inspect.getsource(config)).body
        if isinstance(kind, ast.ClassDef)
    }
    rest: dict[str, str] = {}
    for name, field in config.StackConfig.model_fields.items():
        text = said["StackConfig"].get(name, "")
        kind = next(
            (k for k in vars(config).values() if inspect.isclass(k) and k.__name__ == f"{name.title()}Config"), None
        )
        if kind is None:
            rest[name] = f"| `{name}` | {shown(field.default)} | {text} |"
            continue
        yield " ".join(filter(None, (f"**`{name}`**:", inspect.getdoc(kind), text.replace("null", "`null`"))))
        yield ""
        yield "| Setting | Default | Meaning |"
        yield "|---------|---------|---------|"
        for key, part in kind.model_fields.items():
            yield f"| `{name}.{key}` | {shown(part.default)} | {' '.join(said[kind.__name__][key].split())} |"
        yield ""
    yield "**The rest**"
    yield ""
    yield "| Setting | Default | Meaning |"
    yield "|---------|---------|---------|"
    yield from rest.values()


def shown(value: Any) -> str:
    """A default as YAML has it."""
    return f"`{value}`" if isinstance(value, str) and value else f"`{json.dumps(value)}`"


def write(name: str, text: str) -> None:
    """Write a generated page, unless it is there: an unchanged one is not built again."""
    path = GENERATED / name
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")


def generate(app: Sphinx) -> None:
    """Write what other pages include."""
    write("environment.md", inspect.getdoc(RefineEnv) + "\n")
    write("words.md", "\n".join(words()) + "\n")
    write("formulas.md", "\n".join(formulas()) + "\n")
    write("scene_formulas.md", "\n".join(scene_formulas()) + "\n")
    write("settings.md", "\n".join(settings()) + "\n")


_COLON = "\N{OBJECT REPLACEMENT CHARACTER}"


def hide_colons(app: Sphinx, what: str, name: str, thing: object, options: object, lines: list[str]) -> None:
    """Before Napoleon: of an attribute's docstring it would take what stands before a colon for the type."""
    if what in ("attribute", "data", "property"):
        lines[:] = [line.replace(":", _COLON) for line in lines]


def show_colons(app: Sphinx, what: str, name: str, thing: object, options: object, lines: list[str]) -> None:
    """After Napoleon: colons again, and "(n) names" is a shape and not the item of a list."""
    lines[:] = [re.sub(r"(^\s*|: )\((\w)\) ", r"\1\\(\2) ", line.replace(_COLON, ":")) for line in lines]


def name_types(
    app: Sphinx, what: str, name: str, thing: object, options: object, signature: str | None, returned: str | None
) -> tuple[str | None, str | None]:
    """Types by their names, where Sphinx shows its own stand-in for an alias."""
    plain = [text and re.sub(r"TypeAliasForwardRef\('(\w+)'\)", r"\1", text) for text in (signature, returned)]
    return plain[0], plain[1]


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the steps above."""
    app.connect("builder-inited", generate)
    app.connect("autodoc-process-signature", name_types)
    app.connect("autodoc-process-docstring", hide_colons, priority=400)
    app.connect("autodoc-process-docstring", show_colons, priority=600)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
