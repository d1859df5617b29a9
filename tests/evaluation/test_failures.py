"""What fails while neurons are labelled: one neuron's failure is its own, its reason is said, and nothing hides it."""

from __future__ import annotations

import csv
import dataclasses
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dnr_env
from dnr_env import Rules
from dnr_env.agents.registry import make_agent
from dnr_env.errors import DnRError, ItemError, piecewise, reason_of
from dnr_env.evaluation.failures import check_labels, check_share, origins, reasons
from dnr_env.evaluation.labelling import Record, label_neurons
from dnr_env.evidence.lab import Lab
from dnr_env.evidence.probe import Probe
from dnr_env.evidence.probe_source import ProbeSource
from dnr_env.evidence.store import Store
from dnr_env.evidence.vocabulary import Vocabulary
from dnr_env.files import read_lines
from dnr_env.interfaces import Origin, Summary
from dnr_env.propose.proposer import Proposer
from dnr_env.shapes.render import Renderer
from dnr_env.stack import Stack
from dnr_env.types import FloatArray, ImageArray, Images, IntArray

NEURONS = [f"planted:{i}" for i in (0, 1, 2, 3, 7, 8)]  # whose exemplars differ
SICK = NEURONS[4]
RULES = Rules(n_slots=2, images_per_measure=2, budget=4)
CURSED = "tiny yellow dotted ring on brick"
"""The only concept of the sick neuron's, for the cases in which a concept is at fault."""
Fault = Callable[[], Any]


class Parts:
    """The parts of the embedded world, with faults that concern one neuron's pictures, captions or concept."""

    fingerprint, keeps_images = "parts", False

    def __init__(self, stack: Stack, sick: Sequence[str] = (SICK,)) -> None:
        self.ours = stack
        self.neurons, self.dim, self.origin = stack.neurons, stack.lab.reader.dim, self._writer
        self.faults: dict[str, Fault] = {}
        self.drawn = 0
        self.cursed: set[bytes] = set()
        which = stack.neurons.indices(list(sick))
        self.pictures = {image.tobytes() for row in which for image in stack.probe.images(stack.probe.exemplars[row])}
        self.captions = [[one.caption for one in part] for part in stack.proposer.excerpts(which.tolist())]

    _writer: Origin = "writer"

    def generate(self, concepts: Sequence[str], seeds: Sequence[int]) -> ImageArray:
        self.drawn += len(concepts)
        if CURSED in concepts and "generator" in self.faults:
            self.faults["generator"]()
        images = Renderer().generate(concepts, seeds)
        self.cursed.update(image.tobytes() for text, image in zip(concepts, images, strict=True) if text == CURSED)
        return images

    def read(self, images: Images) -> tuple[FloatArray, FloatArray]:
        activations, embeddings = self.ours.lab.reader.read(images)
        if "reader" in self.faults:
            activations = activations.copy()
            activations[[image.tobytes() in self.cursed for image in images]] = self.faults["reader"]()
        return activations, embeddings

    def caption(self, images: Images) -> list[str]:
        texts = self.ours.proposer.captioner.caption(images)
        if "captioner" in self.faults:
            sick = [image.tobytes() in self.pictures for image in images]
            return [self.faults["captioner"]() if one else text for one, text in zip(sick, texts, strict=True)]
        return texts

    def summarise(
        self, captions: Sequence[Sequence[str]], count: int, rngs: Sequence[np.random.Generator]
    ) -> list[Summary]:
        made = self.ours.proposer.writer.summarise(captions, count, rngs)
        sick = [list(part) in self.captions for part in captions]
        if "writer" in self.faults:
            return [self.faults["writer"]() if one else summary for one, summary in zip(sick, made, strict=True)]
        return [Summary([CURSED]) if one else summary for one, summary in zip(sick, made, strict=True)]

    def stack(self, store: Store | None = None) -> Stack:
        """The world with these parts, as another process would load it."""
        lab = Lab(self, self, store)
        proposer = Proposer(lab, self.ours.vocabulary, self.ours.language, self, self)
        return dataclasses.replace(self.ours, lab=lab, judge_lab=lab, proposer=proposer)


def raises(error: Exception) -> Fault:
    def fail() -> Any:
        raise error

    return fail


def labelled(
    stack: Stack, path: Path | None = None, neurons: Sequence[str] = NEURONS, **more: Any
) -> dict[str, Record]:
    agent = make_agent(more.pop("agent", "stop"))
    records = label_neurons(stack, agent, neurons=neurons, seed=0, rules=RULES, path=path, **more)
    return {record["neuron"]: record for record in records}


@pytest.fixture(scope="module")
def healthy(stack: Stack) -> dict[str, Record]:
    return labelled(Parts(stack).stack())


FAILING: dict[str, tuple[str, Fault, str]] = {
    "a captioner that raises": ("captioner", raises(RuntimeError("bad tensor")), "RuntimeError in .*: bad tensor"),
    "a captioner that cannot read": ("captioner", raises(OSError("truncated")), "OSError in .*: truncated"),
    "a captioner without memory": ("captioner", raises(ItemError("one item does not fit")), "does not fit"),
    "an empty caption": ("captioner", lambda: "", "no word"),
    "a caption without a word": ("captioner", lambda: "12 … !?", "no word"),
    "a black drawing": ("generator", raises(ItemError("draws image 3 black")), "draws image 3 black"),
    "a prompt that a pipeline refuses": ("generator", raises(ValueError("bad prompt")), "ValueError in .*: bad prompt"),
    "no memory": ("generator", raises(MemoryError()), "MemoryError"),
    "undefined on a drawing": ("reader", lambda: np.nan, f"not finite on a drawing of '{CURSED}'"),
    "infinite on a drawing": ("reader", lambda: np.inf, "not finite on a drawing"),
}


@pytest.mark.parametrize("case", FAILING)
def test_a_neuron_that_fails_is_a_row_with_its_reason_and_is_tried_again(
    stack: Stack, healthy: dict[str, Record], tmp_path: Path, case: str
) -> None:
    part, fault, said = FAILING[case]
    parts, store, path = Parts(stack), Store(tmp_path / "store.sqlite"), tmp_path / "labels.jsonl"
    parts.faults[part] = fault
    records = labelled(parts.stack(store), path)
    failed = records.pop(SICK)
    assert (failed["label"], failed["value"], failed["simulation"], failed["origin"]) == ("", None, None, "")
    assert re.search(said, failed["failure"])
    assert records == {neuron: record for neuron, record in healthy.items() if neuron != SICK}
    parts.faults.clear()
    # No caption, candidate or image that failed was kept. A measurement is, as it is the network's own.
    again = labelled(parts.stack(None if part == "reader" else store), path)
    assert again == healthy
    assert [row["neuron"] for row in read_lines(path)] == [*NEURONS, SICK]
    store.close()


FALLING_BACK: dict[str, tuple[Fault, str]] = {
    "refused": (lambda: Summary([], failure="the server filters the question"), "filters the question"),
    "nothing said, and no reason": (lambda: Summary([]), "no concept of the writer's can be drawn"),
    "not drawable": (lambda: Summary(["fluffy", "dog"]), "no concept of the writer's can be drawn"),
    "raised": (raises(KeyError("choices")), "KeyError in .*choices"),
    "too long": (raises(ItemError("a question does not fit")), "does not fit"),
}


@pytest.mark.parametrize("case", FALLING_BACK)
def test_captions_in_place_of_an_answer_are_said_and_not_kept(
    stack: Stack, healthy: dict[str, Record], tmp_path: Path, case: str
) -> None:
    fault, said = FALLING_BACK[case]
    parts, store = Parts(stack), Store(tmp_path / "store.sqlite")
    parts.faults["writer"] = fault
    records = labelled(parts.stack(store))
    assert {record["origin"] for neuron, record in records.items() if neuron != SICK} == {"writer"}
    assert records[SICK]["origin"] == "captions"
    assert set(records[SICK]["origins"]) == {"captions"}
    assert re.search(said, records[SICK]["fallback"])
    assert origins(list(records.values())) == "5 writer, 1 captions"
    parts.faults.clear()
    assert labelled(parts.stack(store)) == healthy
    store.close()


def test_too_many_fallbacks_stop_before_anything_is_drawn(stack: Stack, tmp_path: Path) -> None:
    parts = Parts(stack, NEURONS[:2])
    parts.faults["writer"] = lambda: Summary([], failure="cut short")
    ours, path = parts.stack(), tmp_path / "labels.jsonl"
    with pytest.raises(DnRError, match=r"^2 of 6 neurons have no candidates .*: cut short \(2\); name another `writer"):
        labelled(ours, path)
    assert parts.drawn == 0
    assert not path.exists()
    assert origins(list(labelled(ours, most_failed=0.5).values())) == "4 writer, 2 captions"
    assert origins(list(labelled(ours, agent="promise").values())) == "6 model"  # asks no writer
    parts.faults.clear()
    assert origins(list(labelled(ours, path).values())) == "6 writer"  # in the same process, too


def test_captions_on_purpose_are_no_fallback(stack: Stack) -> None:
    parts = Parts(stack, NEURONS)
    parts.origin = "captions"
    parts.faults["writer"] = lambda: Summary([])
    records = labelled(parts.stack(), neurons=NEURONS[:3]).values()
    assert {(record["origin"], record["fallback"]) for record in records} == {("captions", "")}


def test_a_run_in_which_everything_fails_ends_with_the_reason(stack: Stack, tmp_path: Path) -> None:
    parts = Parts(stack, NEURONS)
    parts.faults["generator"] = raises(ItemError("black"))
    with pytest.raises(DnRError, match=r"^3 of 3 neurons have no label: black \(3\)"):
        labelled(parts.stack(), tmp_path / "labels.jsonl", NEURONS[:3])
    assert [row["failure"] for row in read_lines(tmp_path / "labels.jsonl")] == ["black"] * 3


def test_what_concerns_all_neurons_is_no_neurons_failure(stack: Stack, tmp_path: Path) -> None:
    for error in (DnRError("the server cannot be reached"), OSError(28, "No space left"), ModuleNotFoundError("x")):
        parts = Parts(stack)
        parts.faults["generator"] = raises(error)
        with pytest.raises(type(error)):
            labelled(parts.stack(), tmp_path / "labels.jsonl")
        assert not (tmp_path / "labels.jsonl").exists()


def test_a_neuron_that_is_not_finite_has_no_label_and_a_constant_one_says_so(stack: Stack, tmp_path: Path) -> None:
    whole = stack.probes.whole
    activations = whole.all_raw(whole.neurons)
    first = stack.neurons.index(NEURONS[0])
    activations[7, first], activations[:, first + 1] = np.nan, 3.0
    probe = Probe("sick", activations, whole.embeddings, whole.images)
    ours = dataclasses.replace(stack, probes=ProbeSource(lambda _: probe))
    labels = dnr_env.label(stack=ours, neurons=NEURONS[:3], progress=False)
    assert labels[0].origin == ""
    assert "not all finite" in labels[0].failure
    assert (labels[1].failure, labels[1].record["alive"]) == ("", False)
    assert labels[0].simulation is None
    assert "failure" in repr(labels[0])
    assert "not all finite" in repr(labels)
    assert "not all finite" in labels._repr_html_()
    page = labels.save(tmp_path / "out").read_text(encoding="utf-8")
    assert "failed: its activations on the real images are not all finite" in page
    assert "Where the labels come from: 1 vocabulary, 1 model. 1 of the neurons failed" in page
    with (tmp_path / "out" / "labels.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["label"] == "", row["origin"], bool(row["failure"])) for row in rows] == [
        (True, "", True), (False, "vocabulary", False), (False, "model", False)
    ]  # fmt: skip


def test_images_that_cannot_be_read_any_more_cost_one_card_its_pictures(stack: Stack, tmp_path: Path) -> None:
    exemplars, whole = stack.probe.exemplars[stack.neurons.index(SICK)].tolist(), stack.probes.whole
    lost = {int(stack.probe.describe(index).removeprefix("#")) for index in exemplars}

    def images(which: IntArray) -> Images:
        if lost & set(which.tolist()):
            raise OSError(2, "No such file")
        return whole.images(which)

    probe = Probe("lost", whole.all_raw(whole.neurons), whole.embeddings, images)
    ours = Parts(stack).stack()
    vocabulary = Vocabulary(lambda: stack.vocabulary.concepts, stack.embedder, ProbeSource(lambda _: probe))
    proposer = Proposer(ours.lab, vocabulary, ours.language, ours.proposer.captioner, ours.proposer.writer)
    ours = dataclasses.replace(ours, probes=ProbeSource(lambda _: probe), vocabulary=vocabulary, proposer=proposer)
    labels = dnr_env.label(stack=ours, agent="stop", rules=RULES, neurons=NEURONS, progress=False)
    page = labels.save(tmp_path).read_text(encoding="utf-8")
    assert re.search("its real images cannot be read: .*No such file", labels.of(SICK).failure)
    assert page.count('class="card"') == len(NEURONS)
    assert f'alt="exemplar of {SICK}"' not in page
    assert f'alt="exemplar of {NEURONS[0]}"' in page


def record(**values: Any) -> Record:
    return {"origin": "writer", "origins": ["writer"], "failure": "", "fallback": "", "unanswered": [], **values}


def test_a_run_of_which_too_much_failed_is_refused() -> None:
    failed = record(failure="black", origin="", origins=[])
    check_labels([record()] * 4 + [failed], 0.2)
    with pytest.raises(DnRError, match=r"^2 of 6 neurons have no label: black \(2\)"):
        check_labels([record()] * 4 + [failed] * 2, 0.2)
    with pytest.raises(DnRError, match=r"^1 of 1 neurons have"):
        check_labels([failed], 1.0)
    silent = record(origin="captions", origins=["captions"], unanswered=["cut short", "cut short", "empty"])
    with pytest.raises(DnRError, match=r"answered none of its questions: cut short \(2\); empty \(1\)$"):
        check_labels([silent], 0.2)
    check_labels([silent, record()], 0.2)


def test_reasons_and_origins_are_counted_most_frequent_first() -> None:
    assert reasons(["a", "b", "b", "c", "d", "b", "c", "e"]) == "b (3); c (2); a (1); others (2)"
    assert reasons([]) == ""
    assert origins([record(), record(origin="model"), record(), record(failure="x", origin="")]) == "2 writer, 1 model"
    assert origins([]) == "none"
    for wrong in (-0.1, 1.1, True, "much", float("nan")):
        with pytest.raises(DnRError, match=r"^`most_failed` must be a number from 0 to 1"):
            check_share("most_failed", wrong)  # type: ignore[arg-type]


def test_only_the_items_that_fail_alone_fail() -> None:
    seen = []

    def work(items: Sequence[int]) -> list[int]:
        seen.append(list(items))
        if any(item in (3, 6) for item in items):
            raise ValueError(f"no {items}")
        return [10 * item for item in items]

    found = piecewise(work, range(8))
    assert [isinstance(one, Exception) or one for one in found] == [0, 10, 20, True, 40, 50, True, 70]
    assert reason_of(found[3]).startswith("ValueError in test_failures.py:")  # type: ignore[arg-type]
    assert len(seen) <= 2 * 2 * 4
    assert piecewise(work, []) == []
