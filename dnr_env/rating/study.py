"""The folder of a rating: what is rated, in rating.json, and a file of answers for each annotator."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from dnr_env.errors import DnRError
from dnr_env.evaluation.label_files import read_file
from dnr_env.evaluation.verdicts import Source, comparable, shared, short_names
from dnr_env.files import make_folder, read_settings, write_atomically
from dnr_env.neurons import Neurons
from dnr_env.rating.answers import Answers
from dnr_env.rating.plan import Item, Plan, make_plan, screens
from dnr_env.stack import Stack

FORMAT = 1
"""The version of rating.json."""
FILE = "rating.json"
CONSENT = """\
You will be asked how well short texts describe what a unit of a neural network responds to. Your answers, their times \
and the name at the top of this page are written to a file on this machine. Nothing else is recorded.

Taking part is voluntary. You may leave at any time by closing the page. The answers that you have given by then are \
kept unless you ask the person who gave you the link to delete them.

The answers may be published without your name.
"""
"""What annotators agree to unless a study has its own text."""


class Study(NamedTuple):
    """What is rated, and what annotators agree to."""

    stack: str
    fingerprint: str
    """Of the images and the network."""
    consent: str
    plan: Plan

    def answers(self, folder: Path, annotator: str) -> Answers:
        """The answers of an annotator in the study's folder."""
        return Answers(folder / f"{annotator}.jsonl", screens(self.plan, annotator))


def read_labels(paths: Sequence[Path], neurons: Neurons, layer: str | None) -> dict[str, dict[str, str]]:
    """Read files of labels, which may be any text.

    Returns:
        For each file, by its name, the label of each neuron that all files have.

    Raises:
        DnRError: a file cannot be read, names a neuron that does not exist, or has two labels for one neuron; or the
            files share no neuron.
    """
    files = [path.expanduser() for path in paths]
    if not files or len({file.resolve() for file in files}) < len(files):
        raise DnRError(
            f"`labels` must name at least one file, and each once (got {', '.join(map(str, files)) or 'none'})"
        )
    sources = []
    for name, file in zip(short_names(files), files, strict=True):
        pairs = [(neuron, " ".join(label.split())) for neuron, label in read_file(file, neurons, layer)]
        try:
            neurons.indices(neuron for neuron, _ in pairs)
        except DnRError as error:
            raise DnRError(f"`labels` of {file}: {error}") from None
        sources.append(Source(name, [(neuron, label) for neuron, label in pairs if label]))
        if not sources[-1].labels:
            raise DnRError(f"`labels` must hold at least one label in each file (got none in {file})")
    common = shared(comparable(sources))
    tables = {source.name: dict(source.labels) for source in sources}
    return {name: {neuron: table[neuron] for neuron in common} for name, table in tables.items()}


def make_study(
    stack: Stack,
    paths: Sequence[Path],
    neurons: Collection[str],
    *,
    layer: str | None,
    items: int,
    repeats: int,
    pairs: bool,
    control: bool,
    seed: int,
    consent: str,
) -> Study:
    """Choose what is rated.

    Args:
        stack: the stack of the neurons.
        paths: the files of labels.
        neurons: the neurons to choose from. Those that do not vary, or that a file does not label, are left out.
        layer: the layer of files that give indices.
        items: see `make_plan`.
        repeats: see `make_plan`.
        pairs: see `make_plan`.
        control: see `make_plan`.
        seed: see `make_plan`.
        consent: what annotators agree to.

    Raises:
        DnRError: a file or a number cannot be used, or no neuron is left.
    """
    if not consent.strip():
        raise DnRError("`consent` must be a text that annotators can agree to (got an empty one)")
    labels = read_labels(paths, stack.neurons, layer)
    alive, wanted = stack.probes.held_out.alive, set(neurons)
    there = [name for name in next(iter(labels.values())) if name in wanted and alive[stack.neurons.index(name)]]
    if not there:
        raise DnRError("`neurons` must name a neuron that varies and that all files label (got none)")
    plan = make_plan(labels, there, items=items, repeats=repeats, pairs=pairs, control=control, seed=seed)
    prints = stack.fingerprints()
    return Study(stack.name, f"{prints['reader']} {prints['probe']}", consent, plan)


def settle(folder: Path, study: Study) -> None:
    """Write the study to its folder, or check that the folder has the same one.

    Raises:
        DnRError: the folder holds another study, or cannot be written.
    """
    make_folder(folder)
    path, wanted = folder / FILE, json.loads(json.dumps({"format": FORMAT, **_plain(study)}))
    if not path.exists():
        if any(folder.iterdir()):
            raise DnRError(f"`out` must be an empty folder, or one with a {FILE} (got {folder}, which has none)")
        write_atomically(path, (json.dumps(wanted, indent=1) + "\n").encode())
    found = read_settings(path)
    if found != wanted:
        other = [key for key in wanted if found.get(key) != wanted[key]]
        raise DnRError(
            f"`out` must be an empty folder, or one of the same rating (got {folder}, which differs in "
            f"{', '.join(other[:4])})"
        )


def read(folder: Path) -> tuple[Study, list[str]]:
    """The study of a folder, and the annotators who have a file of answers.

    Raises:
        DnRError: the folder holds no study.
    """
    path = folder / FILE
    try:
        found = read_settings(path)
        if found["format"] != FORMAT:
            raise DnRError(f"`folder` must hold a rating of the format {FORMAT} (got {found['format']!r} in {path})")
        made = {name: found[name] for name in Plan._fields}
        made["items"] = tuple(
            Item(one["neuron"], tuple(one["labels"]), tuple(map(tuple, one["sources"]))) for one in made["items"]
        )
        made["equal"] = tuple(map(tuple, made["equal"]))
        made["sources"] = tuple(made["sources"])
        study = Study(found["stack"], found["fingerprint"], found["consent"], Plan(**made))
        screens(study.plan, "")
    except (OSError, KeyError, TypeError, ValueError):
        raise DnRError(f"`folder` must be a folder that `dnr rate` wrote (got {folder})") from None
    return study, sorted(path.stem for path in folder.glob("*.jsonl"))


def _plain(study: Study) -> dict[str, Any]:
    found = {**study._asdict(), **study.plan._asdict(), "items": [item._asdict() for item in study.plan.items]}
    del found["plan"]
    return found
