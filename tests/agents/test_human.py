from __future__ import annotations

import dataclasses
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from PIL import Image

from dnr_env import Action, ConceptError, DnRError, Rules
from dnr_env.agents.human.log import CHOOSING, EVENTS, KINDS, Move, NotPossibleError, StaleStepError
from dnr_env.agents.human.session import Session
from dnr_env.agents.human.terminal import plain, play, read_line, write_line
from dnr_env.env import viewer
from dnr_env.evaluation.judge import judge
from dnr_env.evidence.lab import Lab
from dnr_env.interfaces import Kind, MutationBatch, Suggestion
from dnr_env.seeds import block_of
from dnr_env.stack import Stack

NEURONS = ["layer4:3", "planted:5"]
RULES: dict[str, Any] = {"n_slots": 3, "budget": 20, "max_steps": 5}
SCRIPT = [
    Move("keep", slot=2), Move("mutate", slot=2, kind="broaden"), Move("add", "A blue RING"), Move("undo"),
    Move("mutate", slot=1), Move("stop", slot=3), Move("undo"), Move("undo"), Move("add", "red things"),
    Move("stop", slot=1), Move("mutate", slot=3, kind="model"), Move("undo"), Move("undo"), Move("stop", slot=2),
    Move("keep", slot=1), Move("mutate", slot=1), Move("add", "dotted"), Move("keep", slot=2), Move("keep", slot=2),
    Move("stop", slot=1), Move("undo"), Move("undo"), Move("go", neuron=1), Move("reopen"), Move("mutate", slot=2),
    Move("go", neuron=2), Move("stop", slot=3), Move("undo"), Move("stop", slot=2), Move("stop", slot=1),
]  # fmt: skip
"""Undoes drawings, mutations and both stops, once several in a row; uses up all steps; reopens the first neuron while
the second is being labelled; labels everything."""


def begin(path: Path, neurons: list[str] = NEURONS, **changes: Any) -> Session:
    return Session.open(path, neurons, **{"seed": 3, **RULES, **changes})


def act(session: Session, move: Move) -> None:
    """Take a move, with what it leaves out left out."""
    chosen = {"slot": move.slot, "kind": move.kind, "neuron": move.neuron}
    session.apply(move.event, move.text, **{name: value for name, value in chosen.items() if value is not None})  # type: ignore[arg-type]


def seen(session: Session) -> tuple[object, ...]:
    """All that a person can see of a session."""
    return (
        session.step,
        session.neuron,
        session.finished,
        session.masks,
        session.labels(),
        viewer.text(session.view),
        session.info["master"],
        session.info["master_means"].tolist(),
        session.info["master_images"].tolist(),
        int(session.info["images"]),
    )


def standing(session: Session) -> tuple[object, ...]:
    """What follows from the moves that stand: all but the step and the bill, which undone drawings stay on."""
    labels = [(label["neuron"], label["label"], label["mean"], label["deviation"]) for label in session.labels()]
    shown = viewer.text(dataclasses.replace(session.view, spent=0))
    masks = {event: possible for event, possible in session.masks.items() if event != "keep"}
    return (session.neuron, session.finished, masks, labels, shown, *seen(session)[6:])


def events(path: Path) -> list[tuple[int, Move]]:
    records = [json.loads(line) for line in path.read_bytes().splitlines()[1:]]
    return [(record["step"], Move(*(record[name] for name in Move._fields))) for record in records]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "session.jsonl"


@pytest.fixture
def session(path: Path) -> Session:
    return begin(path)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, list[tuple[object, ...]]]:
    """The log of the whole script, and what was seen before each of its events and after the last."""
    path = tmp_path_factory.mktemp("whole") / "session.jsonl"
    session = begin(path)
    sights = [seen(session)]
    for move in SCRIPT:
        act(session, move)
        sights.append(seen(session))
    return path.read_bytes(), sights


# --- replay ----------------------------------------------------------------------------------------------------------


def test_the_log_holds_a_header_and_every_event(whole: tuple[bytes, Any]) -> None:
    header, *lines = map(json.loads, whole[0].splitlines())
    assert header == {"format": 3, "stack": "shapes", "neurons": NEURONS, "seed": 3, "options": RULES}
    assert [
        (line["step"], *(line[name] for name in ("event", "text", "slot", "kind", "neuron"))) for line in lines
    ] == [(step, *move) for step, move in enumerate(SCRIPT)]
    assert all(line["time"].endswith("+00:00") for line in lines)


@pytest.mark.parametrize("step", range(len(SCRIPT) + 1))
def test_a_session_resumed_after_any_event_is_the_same(path: Path, whole: tuple[bytes, Any], step: int) -> None:
    log, sights = whole
    path.write_bytes(b"".join(log.splitlines(keepends=True)[: step + 1]))
    session = begin(path)
    assert seen(session) == sights[step]
    for move in SCRIPT[step:]:
        act(session, move)
    assert seen(session) == sights[-1]
    assert events(path) == list(enumerate(SCRIPT))


def test_a_session_is_the_environments_own_episode(session: Session) -> None:
    rules: dict[str, Any] = {**RULES, "reward": "none", "user_concepts": ["red disc"]}
    env = gym.make("dnr_env:DnR/RefineEdits-v0", neurons="all", **rules)
    env.reset(seed=3, options={"neuron": NEURONS[0], "block": block_of(3)})
    moves = ((Action.MUTATE, 2, Kind.SWAP), (Action.KEEP, 3, None), (Action.ADD, 1, None), (Action.KEEP, 1, None))
    for action, slot, kind in moves:
        info = env.step(np.array([action, slot - 1, kind or 0]))[-1]
        text = "Red discs" if action == Action.ADD else None
        session.apply(action.name.lower(), text, slot=slot, kind=None if kind is None else kind.name.lower())
        for key in ("master", "master_means", "master_deviations", "master_images", "concepts", "label", "images"):
            np.testing.assert_array_equal(session.info[key], info[key])


def test_without_a_kind_the_mutator_chooses(session: Session, monkeypatch: pytest.MonkeyPatch, stack: Stack) -> None:
    asked: list[Kind | None] = []
    mutator = type(stack.mutators["evidence"])
    mutate = mutator.mutate

    def spy(self: Any, batch: MutationBatch) -> list[Suggestion]:
        asked.extend(batch.kinds)
        return mutate(self, batch)

    monkeypatch.setattr(mutator, "mutate", spy)
    session.apply("mutate")
    session.apply("mutate", kind="narrow", slot=2)
    assert asked == [None, Kind.NARROW]


def test_drawing_is_for_the_candidate_that_is_named(path: Path) -> None:
    """Nothing is drawn before, nor by listing."""
    session = begin(path, n_slots=12)
    assert session.info["images"] == 0
    session.apply("mutate", slot=3)
    session.apply("add", "green ring on water")
    assert session.info["images"] == 0
    assert all(len(candidate.drawn) == 0 for candidate in session.view.candidates)
    text = session.view.candidates[1].text
    session.apply("keep", slot=2)
    (found,) = (candidate for candidate in session.view.candidates if candidate.text == text)
    assert (found.images, len(found.drawn), len(found.activations)) == (5, 5, 5)
    assert session.info["images"] == 5 == session.view.spent


@pytest.mark.parametrize("slot", [1, 3])
@pytest.mark.parametrize("ended", [False, True])
def test_labels_are_the_candidates_named_with_their_evidence(session: Session, slot: int, ended: bool) -> None:
    """Also where the steps are used up, when the environment itself takes the first."""
    assert session.labels() == []
    for neuron in NEURONS:
        for event in ("keep", "mutate", "keep", "mutate", "keep")[: 5 if ended else 2]:
            session.apply(event)
        chosen, images = session.view.candidates[slot - 1], session.info["images"]
        session.apply("stop", slot=slot)
        label = session.labels()[-1]
        assert (label["neuron"], label["label"], label["images"]) == (neuron, chosen.text, images)
        assert (label["mean"], label["deviation"]) == pytest.approx((chosen.mean, chosen.deviation))
    assert session.finished
    assert [label["neuron"] for label in session.labels()] == NEURONS


def test_a_label_does_not_depend_on_the_neurons_before_it(tmp_path: Path) -> None:
    labels = []
    for number, neurons in enumerate((NEURONS, NEURONS[::-1])):
        session = begin(tmp_path / f"{number}.jsonl", neurons, mutator="random")
        while not session.finished:
            for event in ("mutate", "mutate", "mutate", "stop"):
                session.apply(event)
        labels.append({label["neuron"]: {**label, "number": 0} for label in session.labels()})
    assert labels[0] == labels[1]


# --- undo ------------------------------------------------------------------------------------------------------------


def test_undo_goes_back_one_event_at_a_time_even_over_stops(session: Session) -> None:
    sights = [standing(session)]
    for move in (Move("keep", slot=2), Move("stop"), Move("mutate", slot=3), Move("add", "dotted"), Move("stop")):
        act(session, move)
        sights.append(standing(session))
    for sight in reversed(sights[:-1]):
        session.apply("undo")
        assert standing(session) == sight
    assert session.step == 10
    with pytest.raises(
        NotPossibleError, match=r"`event` must be one of keep, mutate, add, stop, go now \(got 'undo'\)"
    ):
        session.apply("undo")


def test_undo_gives_back_no_image(path: Path) -> None:
    """What was shown stays paid, once, and the budget is that of all that was shown."""
    session = begin(path, n_slots=8, budget=15)
    session.apply("keep", slot=1)
    session.apply("undo")
    assert (session.view.spent, session.info["images"]) == (5, 0)
    session.apply("keep", slot=1)  # the same images
    assert session.view.spent == 5
    session.apply("undo")
    for slot in (2, 3):
        session.apply("keep", slot=slot)
        session.apply("undo")
    assert session.view.spent == 15
    assert session.masks["keep"]  # of what was shown before
    with pytest.raises(NotPossibleError, match=r"`slot` must be a candidate whose drawings are paid for \(got 4\)"):
        session.apply("keep", slot=4)
    session.apply("keep", slot=2)
    assert seen(begin(path, n_slots=8, budget=15)) == seen(session)
    session.apply("stop")
    assert session.labels()[0]["images"] == 15


def test_undo_draws_no_new_image(session: Session, stack: Stack) -> None:
    for event in ("keep", "stop", "keep"):
        session.apply(event)
    drawn = stack.lab.counters.drawn
    for _ in range(3):
        session.apply("undo")
    assert stack.lab.counters.drawn == drawn


def test_a_union_and_its_parts_say_how_they_came_to_be(tmp_path: Path, scene_weights: None) -> None:
    session = Session.open(tmp_path / "log.jsonl", ["layer4:1"], stack="scenes", mutator="informed")
    best = session.view.candidates[0].text
    session.apply("mutate", kind="unite")
    new = [text for text in session.info["master"] if text and session.origin(text)[0]]
    (union,) = (text for text in new if " or " in text)
    assert session.origin(union) == ("mutate unite", best)
    assert {session.origin(text) for text in new if text != union} <= {("part", union)}
    assert session.told == [f"layer4:1: mutate unite {best} → {union}"]


# --- from neuron to neuron -------------------------------------------------------------------------------------------

THREE = [*NEURONS, "layer2:9"]


def test_a_stop_leads_to_the_next_neuron_without_a_label(path: Path) -> None:
    session = begin(path, THREE)
    assert (session.neuron, session.present) == (THREE[0], 1)
    session.apply("go", neuron=2)
    session.apply("stop")
    assert session.neuron == THREE[2]
    session.apply("stop")
    assert session.neuron == THREE[0]
    assert not session.finished
    assert [label["neuron"] for label in session.labels()] == THREE[1:]
    session.apply("stop")
    assert session.finished
    assert session.neuron == THREE[0]


def test_a_neuron_is_found_as_it_was_left(session: Session) -> None:
    session.apply("keep", slot=2)
    session.apply("mutate", slot=3)
    before = seen(session)[1:]
    session.apply("go", neuron=2)
    session.apply("keep")
    session.apply("go", neuron=1)
    assert seen(session)[1:] == before
    session.apply("go", neuron=2)
    assert session.info["images"] == 5


def test_a_reopened_neuron_loses_its_label_and_nothing_else(session: Session) -> None:
    session.apply("keep", slot=2)
    before = viewer.text(session.view)
    session.apply("stop")
    session.apply("go", neuron=1)
    assert session.labelled
    assert [event for event in EVENTS if session.masks[event]] == ["go", "reopen", "undo"]
    session.apply("reopen")
    assert session.labels() == []
    assert viewer.text(session.view) == before
    session.apply("undo")
    assert session.labelled
    assert len(session.labels()) == 1


def test_a_session_of_one_neuron_has_nowhere_to_go(path: Path) -> None:
    session = begin(path, NEURONS[:1])
    with pytest.raises(NotPossibleError, match=r"`event` must be one of keep, mutate, add, stop now \(got 'go'\)"):
        session.apply("go", neuron=1)


# --- events that are refused -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("event", "text", "step", "error", "message"),
    [
        ("keep", None, 1, StaleStepError, r"`step` must be 2, the present step \(got 1\)"),
        ("keep", None, 3, StaleStepError, r"`step` must be 2, the present step \(got 3\)"),
        ("add", "blorp", 2, ConceptError, "must contain at least one word that can be drawn"),
        ("add", "  ", 2, ConceptError, "must contain at least one word"),
        ("add", None, 2, ConceptError, "must contain at least one word"),
        ("add", "red " * 1000, 2, ConceptError, "at most 500 characters"),
        ("kep", None, 2, DnRError, r"`event` must be one of keep.* \(got 'kep'\)"),
    ],
)
def test_a_refused_event_changes_nothing(
    session: Session, event: str, text: str | None, step: int, error: type[DnRError], message: str
) -> None:
    session.apply("mutate", step=0)
    session.apply("keep", step=1)
    before, log = seen(session), session.path.read_bytes()
    with pytest.raises(error, match=message):
        session.apply(event, text, step)
    assert (seen(session), session.path.read_bytes()) == (before, log)
    session.apply("keep", step=2)


@pytest.mark.parametrize(
    ("event", "chosen", "message"),
    [
        ("keep", {"slot": 0}, r"`slot` must be from 1 to 3 now \(got 0\)"),
        ("stop", {"slot": 4}, r"`slot` must be from 1 to 3 now \(got 4\)"),
        ("mutate", {"slot": -1}, r"`slot` must be from 1 to 3 now \(got -1\)"),
        ("mutate", {"kind": "widen"}, r"`kind` must be one of narrow, .*, except \(got 'widen'\)"),
        ("mutate", {"kind": "unite"}, r"`kind` must be one of narrow, .*, model for this concept \(got 'unite'\)"),
        ("keep", {"kind": "narrow"}, r"`kind` must be None for a keep \(got 'narrow'\)"),
        ("keep", {"neuron": 2}, r"`neuron` must be None for a keep \(got 2\)"),
        ("go", {}, r"`neuron` must be a number for a go \(got None\)"),
        ("go", {"neuron": 3}, r"`neuron` must be from 1 to 2 \(got 3\)"),
        ("go", {"neuron": 0}, r"`neuron` must be from 1 to 2 \(got 0\)"),
    ],
)
def test_a_choice_that_does_not_exist_changes_nothing(
    session: Session, event: str, chosen: dict[str, Any], message: str
) -> None:
    before, log = seen(session), session.path.read_bytes()
    with pytest.raises(DnRError, match=message):
        session.apply(event, **chosen)
    assert (seen(session), session.path.read_bytes()) == (before, log)


def test_out_of_images_everything_but_keep_is_possible(session: Session) -> None:
    for _ in range(4):
        session.apply("keep")
    assert [event for event in EVENTS if session.masks[event]] == ["mutate", "add", "stop", "go", "undo"]
    before, log = seen(session), session.path.read_bytes()
    with pytest.raises(
        NotPossibleError, match=r"`event` must be one of mutate, add, stop, go, undo now \(got 'keep'\)"
    ):
        session.apply("keep")
    assert (seen(session), session.path.read_bytes()) == (before, log)
    session.apply("add", "red ring")
    assert "red ring" in session.info["master"]


def test_out_of_steps_only_stop_and_undo_are_possible(session: Session) -> None:
    for _ in range(5):
        session.apply("mutate")
    assert [event for event in EVENTS if session.masks[event]] == ["stop", "go", "undo"]
    before, log = seen(session), session.path.read_bytes()
    for event in ("keep", "mutate", "add"):
        with pytest.raises(NotPossibleError, match=rf"`event` must be one of stop, go, undo now \(got '{event}'\)"):
            session.apply(event, "red")
    assert (seen(session), session.path.read_bytes()) == (before, log)
    best = session.view.candidates[0].text
    session.apply("stop")
    assert session.labels()[0]["label"] == best
    assert session.neuron == NEURONS[1]


def test_with_a_budget_of_nothing_real_images_decide(path: Path) -> None:
    session = begin(path, budget=0)
    assert [event for event in EVENTS if session.masks[event]] == ["mutate", "add", "stop", "go"]
    session.apply("mutate")
    session.apply("stop")
    assert session.neuron == NEURONS[1]


def test_after_the_last_label_neurons_can_be_looked_at_and_reopened(session: Session) -> None:
    session.apply("stop")
    session.apply("stop")
    assert [event for event in EVENTS if session.masks[event]] == ["go", "reopen", "undo"]
    with pytest.raises(NotPossibleError):
        session.apply("stop")
    session.apply("undo")
    assert not session.finished


def test_of_two_processes_on_one_log_the_second_is_refused(session: Session, path: Path) -> None:
    other = begin(path)
    session.apply("keep")
    before = seen(other)
    with pytest.raises(StaleStepError, match="changed by another process"):
        other.apply("mutate")
    assert seen(other) == before
    assert seen(begin(path)) == seen(session)


def test_the_terminal_goes_on_from_a_log_that_another_process_wrote_to(session: Session, path: Path) -> None:
    begin(path).apply("keep")
    for reopen, says in (
        (None, "was changed by another process; open the session again"),
        (partial(begin, path), "another process has written to the log; this is where it is now"),
    ):
        lines, shown = iter(["m", "m", "q"]), list[str]()
        play(session, lambda prompt, lines=lines: next(lines), shown.append, reopen=reopen)  # type: ignore[misc]
        assert sum(says in line for line in shown) == (2 if reopen is None else 1)
    assert begin(path).step == 2


# --- failures in the middle ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("event", ["keep", "mutate", "add", "stop", "go", "reopen", "undo"])
@pytest.mark.parametrize("finished", [False, True])
def test_a_full_disk_loses_nothing(
    session: Session, monkeypatch: pytest.MonkeyPatch, event: str, finished: bool
) -> None:
    session.apply("mutate")
    if finished:
        session.apply("stop")
        session.apply("keep")
        session.apply("stop")
    if not session.masks[event]:
        event = "undo"
    before, log = seen(session), session.path.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(
            DnRError,
            match=r"`path` must be a file that can be written \(got .*session\.jsonl: No space left on device\)",
        ):
            session.apply(event, "dotted", neuron=1 if event == "go" else None)
    assert (seen(session), session.path.read_bytes()) == (before, log)
    session.apply(event, "dotted", neuron=1 if event == "go" else None)
    assert seen(begin(session.path)) == seen(session)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_failing_measurement_can_be_tried_again(
    session: Session, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    before, log = seen(session), session.path.read_bytes()
    failures = [error()]
    measure = Lab.measure

    def fail_once(lab: Lab, **arguments: Any) -> Any:
        if failures:
            raise failures.pop()
        return measure(lab, **arguments)

    monkeypatch.setattr(Lab, "measure", fail_once)
    with pytest.raises(error):
        session.apply("keep", slot=2)
    assert (seen(session), session.path.read_bytes()) == (before, log)
    session.apply("keep", slot=2)
    assert session.info["images"] == 5


def test_a_session_killed_after_an_event_has_it(path: Path) -> None:
    code = f"""
import os, signal
from dnr_env.agents.human.session import Session
session = Session.open({str(path)!r}, {NEURONS}, seed=3, **{RULES})
session.apply("mutate", slot=2, kind="narrow")
session.apply("stop", slot=3)
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], check=False)
    assert done.returncode == -signal.SIGKILL
    session = begin(path)
    assert (session.step, session.neuron) == (2, NEURONS[1])


@pytest.mark.slow
def test_killed_at_any_moment_a_session_loses_at_most_the_event_on_its_way(path: Path) -> None:
    """Twenty times, after a random time, while it takes events as fast as it can. It says which are done."""
    code = f"""
import sys
from dnr_env.agents.human.session import Session
session = Session.open({str(path)!r}, {NEURONS}, seed=3)
print("open", flush=True)
while True:
    for event in ("mutate", "keep", "undo", "undo"):
        session.apply(event)
        print(session.step, flush=True)
"""
    rng, done = np.random.default_rng(0), 0
    for _ in range(20):
        process = subprocess.Popen(
            [sys.executable, "-c", code], cwd=Path(__file__).parents[2], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        time.sleep(rng.uniform(0, 0.3))
        process.kill()
        said = process.stdout.read().splitlines(keepends=True)
        process.wait()
        process.stdout.close()
        told = [int(line) for line in said if line.endswith("\n")]
        done = max([done, *told])
        kept = path.read_bytes().count(b"\n") - 1
        assert done <= kept <= done + 1
        done = kept
    assert done > 0
    assert Session.open(path, NEURONS, seed=3).step == done


# --- damaged and foreign logs ----------------------------------------------------------------------------------------


def test_a_torn_last_line_is_cut_off(path: Path, whole: tuple[bytes, Any]) -> None:
    log, sights = whole
    lines = log.splitlines(keepends=True)[:4]
    kept = b"".join(lines[:3])
    for length in range(1, len(lines[3])):
        path.write_bytes(kept + lines[3][:length])
        session = begin(path)
        assert path.read_bytes() == kept
        assert session.step == 2
    assert seen(session) == sights[2]
    session.apply("keep")
    assert [step for step, *_ in events(path)] == [0, 1, 2]


def test_a_torn_header_is_written_again(path: Path, whole: tuple[bytes, Any]) -> None:
    header = whole[0].splitlines(keepends=True)[0]
    for length in range(len(header)):
        path.write_bytes(header[:length])
        begin(path)
        assert path.read_bytes() == header


@pytest.mark.parametrize("content", [b"my thesis", b"my thesis\n", b'{"format": 1}\n', b"[1]\n", b"\xff\n", b"\n"])
def test_another_file_is_left_alone(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(DnRError, match=r"`path` must be the log of a session \(got .*session\.jsonl\)"):
        begin(path)
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": 4}, r"`seed` must be 3, with which .*session\.jsonl was begun \(got 4\)"),
        (
            {"stack": "shapes-transfer", "neurons": ["layer4:3", "layer4:5"]},
            r"`stack` must be 'shapes', with which .* \(got 'shapes-transfer'\)",
        ),
        (
            {"neurons": NEURONS[::-1]},
            r"`neurons` must be \['layer4:3', 'planted:5'\], .* \(got \['planted:5', 'layer4:3'\]\)",
        ),
        ({"budget": 25}, r"`budget` must be 20, with which .* \(got 25\)"),
        ({"mutator": "random"}, r"`mutator` must be None, with which .* \(got 'random'\)"),
    ],
)
def test_a_log_begun_with_other_arguments_is_refused(
    path: Path, whole: tuple[bytes, Any], changes: dict[str, Any], message: str
) -> None:
    path.write_bytes(whole[0] + b"torn")
    with pytest.raises(DnRError, match=message):
        begin(path, **changes)
    assert path.read_bytes() == whole[0] + b"torn"


@pytest.mark.parametrize(
    "line",
    [
        "",
        "nonsense",
        "[]",
        '{"step": 5, "event": "keep", "text": null, "slot": 1}',
        '{"step": 1, "event": "destroy", "text": null, "slot": 1}',
        '{"step": 1, "event": ["keep"], "text": null, "slot": 1}',
        '{"step": 1, "event": "add", "text": null}',
        '{"step": 1, "event": "keep", "text": "red", "slot": 1}',
        '{"step": 1, "event": "add", "text": "blorp"}',
        '{"step": 1, "event": "add", "text": "red", "slot": 1}',
        '{"step": 1, "event": "keep", "text": null}',
        '{"step": 1, "event": "keep", "text": null, "slot": true}',
        '{"step": 1, "event": "keep", "text": null, "slot": "1"}',
        '{"step": 1, "event": "keep", "text": null, "slot": 4}',
        '{"step": 1, "event": "keep", "text": null, "slot": 1, "kind": "narrow"}',
        '{"step": 1, "event": "mutate", "text": null, "slot": 1, "kind": "destroy"}',
        '{"step": 1, "event": "mutate", "text": null, "slot": 1, "kind": ["narrow"]}',
        '{"step": 1, "event": "keep", "text": null, "slot": 1, "neuron": 2}',
        '{"step": 1, "event": "go", "text": null}',
        '{"step": 1, "event": "go", "text": null, "neuron": "2"}',
        '{"step": 1, "event": "go", "text": null, "neuron": 3}',
        '{"step": 1, "event": "reopen", "text": null}',
    ],
)
def test_a_damaged_line_is_named(path: Path, whole: tuple[bytes, Any], line: str) -> None:
    lines = whole[0].splitlines(keepends=True)[:5]
    lines[2] = line.encode() + b"\n"
    path.write_bytes(b"".join(lines))
    with pytest.raises(DnRError, match=r"`path` must be .* \(got .*session\.jsonl line 3[,:] "):
        begin(path)
    assert path.read_bytes() == b"".join(lines)


@pytest.mark.parametrize(
    ("moves", "message"),
    [
        (["undo"], r"line 2: `event` must be one of keep, mutate, add, stop, go now \(got 'undo'\)"),
        (["keep"] * 5, r"line 6: `event` must be one of mutate, add, stop, go, undo now \(got 'keep'\)"),
        (["mutate"] * 6, r"line 7: `event` must be one of stop, go, undo now \(got 'mutate'\)"),
        (["stop", "stop", "keep"], r"line 4: `event` must be one of go, reopen, undo now \(got 'keep'\)"),
    ],
)
def test_an_impossible_log_is_refused(path: Path, whole: tuple[bytes, Any], moves: list[str], message: str) -> None:
    slots = [None if move == "undo" else 1 for move in moves]
    lines = [
        json.dumps({"step": step, "event": move, "text": None, "slot": slot})
        for step, (move, slot) in enumerate(zip(moves, slots, strict=True))
    ]
    path.write_bytes(whole[0].splitlines(keepends=True)[0] + "".join(line + "\n" for line in lines).encode())
    with pytest.raises(DnRError, match=message):
        begin(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"neurons": []}, r"`neurons` must be a list of at least one name \(got \[\]\)"),
        ({"neurons": "layer4:3"}, r"`neurons` must be a list of at least one name \(got 'layer4:3'\)"),
        ({"neurons": ["layer4:0-3"]}, r"`neurons` must be one of .* \(got 'layer4:0-3'\)"),
        ({"seed": -1}, r"`seed` must be a whole number of at least 0 \(got -1\)"),
        ({"seed": True}, r"`seed` must be a whole number of at least 0 \(got True\)"),
        ({"stack": "shape"}, r"`stack` must be one of shapes.* \(got 'shape'\)"),
        ({"budgets": 1}, r"unexpected keyword argument 'budgets'; it must be one of budget"),
        ({"budget": -1}, r"`budget` must be a whole number .* \(got -1\)"),
        ({"user_concepts": lambda neuron, rng: ["star"]}, r"`user_concepts` must be a value that JSON can hold"),
    ],
)
def test_an_argument_that_cannot_be_used_begins_no_log(path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DnRError, match=message):
        begin(path, **changes)
    assert not path.exists()


def test_a_path_that_cannot_be_a_log_is_named(tmp_path: Path) -> None:
    with pytest.raises(DnRError, match="Is a directory"):
        begin(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(DnRError, match=r"`path` must be a file that can be written \(got .*file/log\.jsonl: "):
        begin(tmp_path / "file" / "log.jsonl")


def test_a_session_takes_paths_and_numpy_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for path in ("~/folder/a.jsonl", Path("~/folder/b.jsonl")):
        numbers: dict[str, Any] = {"seed": np.int64(3), "budget": np.int32(20)}
        session = begin(path, stack=Path("shapes"), **numbers)  # type: ignore[arg-type]
        session.apply("keep", slot=np.int64(2))  # type: ignore[arg-type]
        assert session.path == tmp_path / "folder" / Path(path).name
        assert seen(begin(session.path)) == seen(session)  # the same arguments in their plain types


# --- any sequence ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("machine")


def test_any_sequence_of_events_is_the_moves_that_stand(folder: Path) -> None:
    class Machine(RuleBasedStateMachine):
        """A session, against a list of moves that undo shortens."""

        runs = 0

        @initialize()
        def open(self) -> None:
            Machine.runs += 1
            self.path = folder / f"{Machine.runs}.jsonl"
            self.session = begin(self.path)
            self.moves: list[Move] = []

        @rule(
            event=st.sampled_from(EVENTS),
            text=st.sampled_from(["red", "dotted ring", "blorp"]),
            slot=st.integers(1, 4),
            kind=st.sampled_from([None, *KINDS]),
            number=st.integers(1, 2),
        )
        def act(self, event: str, text: str, slot: int, kind: str | None, number: int) -> None:
            kind = kind if event == "mutate" else None
            neuron = number if event == "go" else None
            impossible = not self.session.masks[event] or (event, text) == ("add", "blorp")
            impossible |= kind is not None and kind not in self.session.kinds(1)  # every concept is a noun phrase
            if impossible or (event in CHOOSING and slot > self.session.candidates):
                before = seen(self.session)
                with pytest.raises((NotPossibleError, ConceptError)):
                    self.session.apply(event, text, self.session.step, slot=slot, kind=kind, neuron=neuron)
                assert seen(self.session) == before
                return
            self.session.apply(event, text, self.session.step, slot=slot, kind=kind, neuron=neuron)
            if event == "undo":
                self.moves.pop()
            else:
                self.moves.append(Move(event, text if event == "add" else None, slot, kind, neuron))

        @precondition(lambda self: self.session.step > 0)
        @rule()
        def reopen(self) -> None:
            before = seen(self.session)
            self.session = begin(self.path)
            assert seen(self.session) == before

        @invariant()
        def is_the_replay_of_the_moves_that_stand(self) -> None:
            fresh = begin(folder / f"{Machine.runs} fresh.jsonl")
            for move in self.moves:
                act(fresh, move)
            assert standing(fresh) == standing(self.session)
            fresh.path.unlink()

    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=12,
            stateful_step_count=15,
            deadline=None,
            database=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )


# --- the terminal ----------------------------------------------------------------------------------------------------


class Person:
    """Types the given lines, then leaves; `shown` is what the terminal showed, prompts included."""

    def __init__(self, *lines: str | type[BaseException]) -> None:
        self._lines = iter(lines)
        self.shown: list[str] = []

    def read(self, prompt: str) -> str:
        self.shown.append(prompt)
        line = next(self._lines, EOFError)
        if isinstance(line, str):
            return line
        raise line

    def play(self, session: Session) -> bool:
        return play(session, self.read, self.shown.append)

    @property
    def screen(self) -> str:
        return "\n".join(self.shown)


def test_keys_are_events(session: Session, path: Path, whole: tuple[bytes, Any]) -> None:
    lines: list[str] = []
    for move in SCRIPT:
        number = move.slot or move.neuron
        chosen = [move.event[0], *([str(number)] if number else []), *([move.kind[0]] if move.kind else [])]
        lines += [" ".join(chosen), *([move.text] if move.text else [])]
    person = Person(*lines, "q")
    assert person.play(session)
    assert seen(session) == whole[1][-1]
    assert events(path) == list(enumerate(SCRIPT))
    for label in session.labels():
        assert f"{label['neuron']}  {label['mean']:.3f} ± {label['deviation']:.3f}  {label['label']}" in person.shown
    assert person.shown[-1].startswith(f"Finished: 2 of 2 neurons labelled, saved in {path}.")


@pytest.mark.parametrize("leave", [EOFError, KeyboardInterrupt, "q"])
@pytest.mark.parametrize("before", [(), ("k",), ("s", "a")])
def test_who_leaves_can_come_back(session: Session, leave: Any, before: tuple[str, ...]) -> None:
    person = Person(*before, leave)
    assert not person.play(session)
    assert f"Paused: {before.count('s')} of 2 neurons labelled, saved in {session.path}" in person.shown[-1]
    assert "The same command" in person.shown[-1]
    again = begin(session.path)
    assert seen(again) == seen(session)
    assert again.step == len(before) - before.count("a")


@pytest.mark.parametrize("said", [("keep", "stop"), ("K", "S"), (" Keep ", "STOP"), ("KEEP", "s")])
def test_words_are_keys(session: Session, said: tuple[str, str]) -> None:
    person = Person(*said, "Help", "QUIT", "k")
    assert not person.play(session)
    assert [move for _, move in events(session.path)] == [Move("keep", slot=1), Move("stop", slot=1)]
    assert "take back the last event" in person.screen
    assert "Paused" in person.shown[-1]


@pytest.mark.parametrize(
    ("line", "move"),
    [
        ("k 2", Move("keep", slot=2)),
        (" KEEP  3 ", Move("keep", slot=3)),
        ("m", Move("mutate", slot=1)),
        ("m 2", Move("mutate", slot=2)),
        ("m b", Move("mutate", slot=1, kind="broaden")),
        ("m 2 n", Move("mutate", slot=2, kind="narrow")),
        ("Mutate 3 Swap", Move("mutate", slot=3, kind="swap")),
        ("m 1 m", Move("mutate", slot=1, kind="model")),
        ("s 3", Move("stop", slot=3)),
        ("g", Move("go", neuron=2)),
        ("Go 2", Move("go", neuron=2)),
    ],
)
def test_a_key_may_name_a_candidate_and_a_kind(session: Session, line: str, move: Move) -> None:
    Person(line).play(session)
    assert events(session.path) == [(0, move)]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("k two", "after k, m, s or g must come a number or nothing, and after m a kind (got k 'two')"),
        ("k 2 b", "(got k 'b')"),
        ("m b 2", "(got m '2')"),
        ("m 2 x", "(got m 'x')"),
        ("k 12345678901234567890", "(got k '12345678901234567890')"),
        ("u 1", "(got u '1')"),
        ("q now", "(got q 'now')"),
        ("k 0", "`slot` must be from 1 to 3 now (got 0)"),
        ("s 4", "`slot` must be from 1 to 3 now (got 4)"),
        ("g 4", "`neuron` must be from 1 to 2 (got 4)"),
        ("g 0", "`neuron` must be from 1 to 2 (got 0)"),
        ("k -1", "(got k '-1')"),
        ("k \x1b[2J", r"(got k '\x1b[2j')"),
    ],
)
def test_a_choice_that_cannot_be_read_is_explained(session: Session, line: str, says: str) -> None:
    person = Person(line)
    person.play(session)
    assert says in person.screen
    assert session.step == 0
    assert all(c.isprintable() or c == "\n" for c in person.screen)


def test_what_is_not_drawn_is_shown_so(session: Session) -> None:
    """And what was drawn with its promise, on one scale with the others."""
    person = Person("k 2")
    person.play(session)
    before, after = (one for one in person.shown if one.startswith("\n1 of 2"))
    assert before.count(": not drawn, coverage ") == 3
    assert after.count(": not drawn, coverage ") == 2
    assert after.count(": 5 drawn, promise ") == 1
    for shown in (before, after):
        bars = re.findall(r"(-?[\d.]+) ± ([\d.]+) (█*)(▒*)", shown)
        highest = max(float(mean) + float(deviation) for mean, deviation, *_ in bars)
        for mean, deviation, sure, unsure in bars:
            ends = 20 * (float(mean) - float(deviation)) / highest, 20 * (float(mean) + float(deviation)) / highest
            assert (len(sure), len(sure) + len(unsure)) == pytest.approx(ends, abs=0.6)


def test_captions_are_shown_where_a_neuron_begins(session: Session) -> None:
    captions = session.captions
    assert len(captions) == len(set(captions)) > 3
    person = Person("k", "m", "s", "u")
    person.play(session)
    shown = [line for line in person.shown if line.startswith("captions of its exemplars: ")]
    assert len(shown) == 3  # the first neuron, the second, and the first again after the undo
    assert shown[0] == shown[2] == f"captions of its exemplars: {'; '.join(captions)}"
    assert shown[1] != shown[0]


def test_each_neuron_ends_with_the_judged_label(session: Session, stack: Stack) -> None:
    person = Person("m", "s", "s")
    assert person.play(session)
    for label in session.labels():
        (verdict,) = judge(
            stack, neurons=[label["neuron"]], labels=[label["label"]], rules=Rules(), blocks=[block_of(3)]
        )
        said = f"  {label['neuron']} is {label['label']}   AUC {verdict.auc:.3f}   simulation {verdict.simulation:.3f}"
        assert person.shown.count(said) == 1


def test_a_judge_that_fails_does_not_stop_the_session(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise DnRError("the generator is gone")

    monkeypatch.setattr("dnr_env.agents.human.said.judge", fail)
    person = Person("s")
    person.play(session)
    assert "  ! the generator is gone" in person.shown
    assert f"2 of 2: neuron {NEURONS[1]}" in person.screen


def test_what_is_shown_agrees_with_what_is_offered(session: Session) -> None:
    person = Person("k")
    person.play(session)
    assert "[a] add" in person.screen
    assert "user concepts left" not in person.screen


def test_ctrl_c_in_the_middle_of_a_measurement_pauses(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    before = seen(session)
    measure = Lab.measure
    interrupts = [KeyboardInterrupt()]

    def interrupted(lab: Lab, **arguments: Any) -> Any:
        if interrupts:
            raise interrupts.pop()
        return measure(lab, **arguments)

    monkeypatch.setattr(Lab, "measure", interrupted)
    person = Person("k")
    assert not person.play(session)
    assert "Paused" in person.shown[-1]
    assert seen(begin(session.path)) == before


def test_only_possible_keys_are_offered(session: Session) -> None:
    person = Person("k", "k", "m", "k", "k", "a", "s", "s", "k")
    person.play(session)
    prompts = [line for line in person.shown if line.endswith(" > ")]
    assert "[k] keep" in prompts[0]
    assert "[u]" not in prompts[0]
    assert "[u] undo" in prompts[1]
    out_of_steps = prompts[5]
    assert "[s] stop  [g] go  [u] undo" in out_of_steps
    assert "[k]" not in out_of_steps
    assert "concept: " not in person.shown  # ADD was not possible
    assert "[s]" not in prompts[-1]
    assert "`event` must be one of go, reopen, undo now (got 'keep')" in person.screen


def test_wrong_keys_and_concepts_are_explained(session: Session) -> None:
    person = Person("x\x1b[2J", "", "?", "a", "\x1b[31mblorp\x07")
    person.play(session)
    assert r"the key must be one of k, m, a, s, g, r, u, p, ?, q (got 'x\x1b[2J')" in person.screen
    assert "take back the last event" in person.screen
    assert "must contain at least one word that can be drawn" in person.screen
    assert session.step == 0
    assert all(c.isprintable() or c == "\n" for c in person.screen)


def test_a_concept_that_is_not_among_the_best_is_shown_too(session: Session, stack: Stack) -> None:
    worst = int(stack.vocabulary.simulations(stack.neurons.index(NEURONS[0])).argmin())
    text = stack.vocabulary.concepts[worst]
    person = Person("a", text)
    person.play(session)
    assert text not in session.info["concepts"]
    mean = session.info["master_means"][session.info["master"].index(text)]
    assert session.info["images"] == 0
    assert f"{mean:6.3f}  the newest concept, {text}, is not among the best" in person.screen


EVIL = "\x1b]0;owned\x07red\x1b[2J\r\n\u202e\u200b\ud800end"


def test_no_text_can_command_the_terminal(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    original = viewer.view

    def evil(*arguments: Any) -> viewer.View:
        view = original(*arguments)
        candidates = [dataclasses.replace(candidate, text=EVIL) for candidate in view.candidates]
        return dataclasses.replace(view, neuron=EVIL, message=EVIL, candidates=candidates)

    monkeypatch.setattr(viewer, "view", evil)
    session.info["master"] = (EVIL, "")
    person = Person("?", "p")
    person.play(session)
    assert all(c.isprintable() or c == "\n" for c in person.screen)
    assert person.screen.count(plain(EVIL)) == 1 + 3 + 1 + 1
    assert plain(EVIL) == r"\x1b]0;owned\x07red\x1b[2J\r\n\u202e\u200b\ud800end"


def test_ordinary_text_is_shown_as_it_is() -> None:
    assert plain("Größe ▶ 丸い ± 0.1 'x' \\") == "Größe ▶ 丸い ± 0.1 'x' \\"


def test_the_picture_is_written_next_to_the_log(session: Session, path: Path) -> None:
    person = Person("k 2", "p")
    person.play(session)
    picture = path.with_name("session.jsonl.png")
    assert f"  {picture}" in person.shown
    np.testing.assert_array_equal(np.asarray(Image.open(picture)), viewer.picture(session.view))


def test_a_picture_that_cannot_be_written_stops_nothing(session: Session, path: Path) -> None:
    path.with_name("session.jsonl.png").mkdir()
    person = Person("p", "k")
    person.play(session)
    assert "session.jsonl.png cannot be written (Is a directory)" in person.screen
    assert session.step == 1


@pytest.mark.parametrize("stdin", [io.StringIO(""), None])
def test_without_a_keyboard_the_session_is_paused(
    session: Session, stdin: io.StringIO | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", stdin)
    assert not play(session)
    assert "Paused: 0 of 2" in capsys.readouterr().out


def test_a_line_that_is_no_text_is_an_unknown_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\xff\n"), "utf-8"))
    assert read_line("") == "�"


@pytest.mark.parametrize(("encoding", "shown"), [("ascii", "? ? 1"), ("utf-8", "▶ ± 1")])
def test_a_terminal_without_the_characters_shows_others(
    monkeypatch: pytest.MonkeyPatch, encoding: str, shown: str
) -> None:
    out = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(out, encoding))
    write_line("▶ ± 1")
    assert out.getvalue().decode(encoding) == shown + os.linesep
