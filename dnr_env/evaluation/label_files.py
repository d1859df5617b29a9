"""Files of labels that anybody has made: DnR's own tables, plain CSV, and the explanation files of CoSy's authors."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from pathlib import Path

from dnr_env.errors import DnRError, unknown
from dnr_env.files import text_of
from dnr_env.neurons import Neurons

NEURONS = ("neuron", "unit", "group")
"""Columns that say which neuron: a name such as layer4:7, or an index within a layer."""
LABELS = ("label", "description", "concept", "concept_set_noun_phrases")
"""Columns that hold the label. In CoSy they are of MILAN and CLIP-Dissect, of INVERT, and of FALCON."""
_FIRST_PHRASE = re.compile(r"""\[\(\s*(['"])(.*?)\1\s*,""")  # FALCON lists phrases with weights, strongest first


def read_file(path: Path, neurons: Neurons, layer: str | None) -> list[tuple[str, str]]:
    """Read the names of neurons and their labels, row by row; a name may be none of the target's.

    Args:
        path: a CSV file with one of the columns of NEURONS and one of LABELS, and with the column layer where the first
            holds indices. Other columns are ignored, and rows of a neuron whose labelling failed are left out.
        neurons: of the target.
        layer: the layer of the indices, where the file says none or has another name for it; needed if it says none
            and there are several.

    Raises:
        DnRError: the file cannot be read, lacks a column, does not say which layer is meant, or says another one.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            columns = [name.strip().lower() for name in reader.fieldnames or ()]
            reader.fieldnames = columns
            neuron, label = _column(path, columns, NEURONS), _column(path, columns, LABELS)
            name = _names(path, neurons, layer)
            return [
                (name(row[neuron] or "", text_of((row.get("layer") or "").strip())), _label(label, row[label] or ""))
                for row in reader
                if not row.get("failure")
            ]
    except OSError as error:
        raise DnRError(f"`labels` must be a CSV file that can be read (got {path}: {error.strerror})") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise DnRError(f"`labels` must be a CSV file in UTF-8 (got {path}: {error})") from None


def _column(path: Path, columns: list[str], accepted: tuple[str, ...]) -> str:
    found = next((name for name in accepted if name in columns), None)
    if found is None:
        raise DnRError(
            f"`labels` must have a column {' or '.join(NEURONS[:2])}, and a column {' or '.join(LABELS[:3])} "
            f"(got {', '.join(columns) or 'none'} in {path})"
        )
    return found


def _label(column: str, cell: str) -> str:
    if column != LABELS[-1]:
        return text_of(cell)
    phrase = _FIRST_PHRASE.match(cell)
    return phrase[2] if phrase else ""


def _names(path: Path, neurons: Neurons, layer: str | None) -> Callable[[str, str], str]:
    """Return a function that makes the neuron's name of the cells of a row: neuron and layer."""
    layers = list(dict.fromkeys(name.rpartition(":")[0] for name in neurons))
    plain = {name.removesuffix(".sae"): name for name in layers}
    if layer is not None and layer not in {*layers, *plain}:
        raise unknown("layer", layer, layers)
    layer = plain.get(layer, layer) if layer else None
    aliases: set[str] = set()

    def name(cell: str, said: str) -> str:
        cell = text_of(cell.strip())
        if not cell.isdecimal():
            return cell
        if layer and said:
            aliases.add(plain.get(said, said))
            if len(aliases) > 1 or aliases & {*layers} - {layer}:
                others = ", ".join(sorted(aliases - {layer}))
                raise DnRError(
                    f"`layer` must be the only layer of the indices of {path.name} (got {layer!r}, and {others} in the "
                    "file)"
                )
        wanted = layer or said or (layers[0] if len(layers) == 1 else "")
        if wanted not in {*layers, *plain}:
            raise DnRError(
                f"`layer` must say which layer the indices of {path.name} are in, one of {', '.join(layers[:12])} "
                f"(got {f'{wanted!r} in the file' if wanted else 'none'})"
            )
        return f"{plain.get(wanted, wanted)}:{int(cell)}"

    return name
