"""What people did is data: replayed with held-out rewards, exported, and imitated."""

from __future__ import annotations

import csv
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from dnr_env import Action, DnRError, Rules
from dnr_env.agents.base import column
from dnr_env.agents.human.agreement import agreement as agreement_of
from dnr_env.agents.human.agreement import shown_agreement
from dnr_env.agents.human.recorded import MOST_SECONDS, Recorded, logs_in, recorded
from dnr_env.agents.human.session import Session
from dnr_env.agents.learned.features import MOVE_SETS, move_masks
from dnr_env.agents.learned.policy import LearnedAgent
from dnr_env.agents.training.cloning import places_of
from dnr_env.agents.training.options import Options, check
from dnr_env.agents.training.train import train_seed
from dnr_env.cli.main import main
from dnr_env.env.observe import observe
from dnr_env.interfaces import Kind
from dnr_env.seeds import block_of
from dnr_env.stack import Stack

NEURONS = [f"layer4:{i}" for i in range(10)]


def label_all(path: Path, neurons: list[str], seed: int, cautious: bool) -> None:
    """Label neurons as a person may: two proposals by the model, drawings of the best until they are enough, STOP."""
    session = Session.open(path, neurons, seed=seed, mutator="informed")
    enough = 3 if cautious else 2
    while not session.finished:
        drawn = column(observe(session.episodes.state), "images")[0, 0]
        if session.episodes.state.steps[0] < 2:
            session.apply("mutate", kind="model")
        elif drawn < enough and session.info["images"] < 10 * enough:
            session.apply("keep")
        else:
            session.apply("stop")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sessions of three annotators, of whom two draw much."""
    folder = tmp_path_factory.mktemp("sessions")
    for number, (name, cautious) in enumerate((("ann", True), ("bob", True), ("cyn", False))):
        label_all(folder / f"{name}.jsonl", NEURONS[number:] + NEURONS[:number], number, cautious)
    return folder


def test_a_recording_is_the_environments_own_episode(tmp_path: Path) -> None:
    session = Session.open(tmp_path / "ann.jsonl", ["layer4:3"], seed=3, mutator="informed", budget=20)
    session.apply("keep", slot=2)
    session.apply("mutate", kind="broaden")
    session.apply("keep")
    session.apply("undo")
    session.apply("stop", slot=2)
    (one,) = recorded(tmp_path / "ann.jsonl")
    made: dict[str, Any] = {"neurons": "all", "mutator": "informed", "budget": 20, "reward": "held_out"}
    env = gym.make("dnr_env:DnR/RefineEdits-v0", **made)
    observation, info = env.reset(seed=3, options={"neuron": "layer4:3", "block": block_of(3)})
    rewards: list[float] = []
    states, labels, masks = [observation], [info["label"]], [info["action_mask"]]
    for action in ((Action.KEEP, 1, 0), (Action.MUTATE, 0, Kind.BROADEN), (Action.STOP, 1, 0)):
        observation, reward, *_, info = env.step(np.array(action))
        rewards.append(float(reward))
        states.append(observation)
        labels.append(info["label"])
        masks.append(info["action_mask"])
    np.testing.assert_allclose(one.rewards, rewards)
    assert one.incumbents == labels
    np.testing.assert_array_equal(one.masks, np.array(masks, bool))
    for key, values in one.observations.items():
        np.testing.assert_array_equal(values, np.stack([state[key] for state in states]))
    assert one.label == session.labels()[0]["label"] == labels[-1]
    assert one.actions.tolist() == [[0, 1, 0], [1, 0, Kind.BROADEN], [3, 1, 0]]


def test_what_was_undone_is_billed_in_the_return(tmp_path: Path) -> None:
    session = Session.open(tmp_path / "ann.jsonl", ["layer4:3"], seed=3)
    for event in ("keep", "undo", "stop"):
        session.apply(event)
    (one,) = recorded(tmp_path / "ann.jsonl")
    assert (one.images[-1], one.billed) == (0, 5)
    assert one.total == pytest.approx(one.rewards.sum() - 5 * Rules().image_cost)


def test_added_concepts_and_neurons_without_a_label_are_recorded(tmp_path: Path) -> None:
    session = Session.open(tmp_path / "ann.jsonl", ["layer4:3", "planted:5", "layer2:9"], seed=3)
    session.apply("add", "Red rings")
    session.apply("go", neuron=3)
    session.apply("mutate")
    first, third = recorded(tmp_path / "ann.jsonl")
    assert (first.neuron, first.concepts, first.label) == ("layer4:3", ["Red rings"], "")
    assert (third.neuron, third.actions.tolist(), third.label) == ("layer2:9", [[1, 0, Kind.MODEL]], "")
    assert first.actions[0][0] == Action.ADD


def test_time_is_that_between_events_at_a_neuron(tmp_path: Path) -> None:
    path = tmp_path / "ann.jsonl"
    session = Session.open(path, ["layer4:3", "planted:5"], seed=3)
    for event in ("mutate", "mutate", "stop", "mutate", "undo", "stop"):
        session.apply(event)
    header, *lines = path.read_text().splitlines()
    minutes = (0, 1, 3, 4, 30, 31)  # the pause of 26 minutes counts as five
    timed = [
        {**json.loads(line), "time": f"2026-01-01T10:{at:02}:00+00:00"} for line, at in zip(lines, minutes, strict=True)
    ]
    path.write_text("\n".join([header, *map(json.dumps, timed), ""]))
    assert [one.seconds for one in recorded(path)] == [180, 60 + MOST_SECONDS + 60]


@pytest.mark.parametrize("content", [b"", b"my thesis\n", b'{"format": 3}\n'])
def test_what_is_no_session_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "notes.jsonl"
    path.write_bytes(content)
    with pytest.raises(DnRError, match=r"`sessions` must be logs of sessions \(got .*notes\.jsonl\)"):
        list(recorded(path))
    with pytest.raises(
        DnRError, match=r"`sessions` must be the log of a session, or a folder of logs \(got '.*none'\)"
    ):
        logs_in(tmp_path / "none")


def test_sessions_become_tables_and_a_data_set(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    minari = pytest.importorskip("minari")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    command = ["export-sessions", str(folder), "--out", str(tmp_path), "--minari", "dnr/people-v0"]
    main(command)
    episodes = [one for path in logs_in(folder) for one in recorded(path)]
    assert len(episodes) == 30
    labels = list(csv.DictReader((tmp_path / "labels.csv").read_text(encoding="utf-8").splitlines()))
    assert [(row["annotator"], row["neuron"], row["label"]) for row in labels] == [
        (one.annotator, one.neuron, one.label) for one in episodes
    ]
    decisions = list(csv.DictReader((tmp_path / "decisions.csv").read_text(encoding="utf-8").splitlines()))
    assert len(decisions) == sum(len(one.actions) for one in episodes)
    assert {row["event"] for row in decisions} == {"keep", "mutate", "stop"}
    data = minari.load_dataset("dnr/people-v0")
    printed = capsys.readouterr().out
    assert f"30 episodes, {len(decisions)} steps" in printed
    assert len(re.findall(r"\| (ann, bob|ann, cyn|bob, cyn) +\| 10 ", printed)) == 3
    for one, episode in zip(episodes, data.iterate_episodes(), strict=True):
        np.testing.assert_array_equal(episode.actions, one.actions)
        np.testing.assert_allclose(episode.rewards, one.rewards)
        np.testing.assert_array_equal(episode.observations["scores"], one.observations["scores"])
        assert [text.decode() for text in episode.infos["label"]] == one.incumbents
    with pytest.raises(SystemExit) as ended:
        main(command)
    assert "`minari` must be the name of a new data set" in str(ended.value)


def test_tables_are_the_same_as_parquet(folder: Path, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    main(["export-sessions", str(folder / "ann.jsonl"), "--out", str(tmp_path), "--parquet"])
    for name in ("decisions", "labels"):
        rows = list(csv.DictReader((tmp_path / f"{name}.csv").read_text(encoding="utf-8").splitlines()))
        found = parquet.read_table(tmp_path / f"{name}.parquet").to_pylist()
        assert [{key: "" if value is None else str(value) for key, value in row.items()} for row in found] == rows
        assert {type(row["images"]) for row in found} == {int}


def test_a_neuron_that_comes_twice_is_labelled_anew(tmp_path: Path) -> None:
    path, neurons = tmp_path / "ann.jsonl", ["layer4:3", "layer4:5", "layer4:3"]
    session = Session.open(path, neurons, budget=20)
    for text in ("red ring", "star", "red ring"):
        session.apply("keep")
        if session.present < 3:
            session.apply("add", text)
        slot = next((s for s, c in enumerate(session.view.candidates, 1) if c.text == text), 1)
        session.apply("stop", slot=slot)
    assert session.finished
    assert [(label["number"], label["neuron"]) for label in session.labels()] == list(enumerate(neurons, 1))
    assert [label["images"] for label in session.labels()] == [5, 5, 5]
    assert Session.open(path, neurons, budget=20).labels() == session.labels()
    episodes = list(recorded(path))
    assert [(one.neuron, one.again, one.billed) for one in episodes] == [
        ("layer4:3", False, 5), ("layer4:5", False, 5), ("layer4:3", True, 5)
    ]  # fmt: skip
    (own,) = agreement_of(episodes)
    first, _, again = (label["label"] for label in session.labels())
    assert (own.one, own.other, own.neurons, own.equal) == ("ann", "ann", 1, float(first == again))
    assert "| ann twice " in shown_agreement([own])
    others = [one._replace(annotator="bob") for one in episodes]
    assert [(one.one, one.other) for one in agreement_of([*others, *episodes])] == [
        ("ann", "ann"), ("ann", "bob"), ("bob", "bob")
    ]  # fmt: skip


def agreement(policy: LearnedAgent, episodes: list[Recorded]) -> tuple[float, float]:
    """The share of an annotator's moves that a policy would make, and that of the commonest move."""
    moves, same, actions = MOVE_SETS["edits"], [], []
    for one in episodes:
        seen = {key: values[:-1] for key, values in one.observations.items()}
        chosen = policy.act(seen, np.zeros((len(one.actions), 1)), one.masks[:-1], True)
        allowed = move_masks(one.masks[:-1], moves)
        places = places_of(one.actions, moves)
        assert allowed[np.arange(len(places)), places].all()
        same += (places_of(chosen, moves) == places).tolist()
        actions += places.tolist()
    return float(np.mean(same)), float(np.bincount(actions).max() / len(actions))


@pytest.mark.slow
def test_a_policy_imitates_an_annotator_whom_it_has_not_seen_on_these_neurons(folder: Path, tmp_path: Path) -> None:
    taught = tmp_path / "taught"
    for number in range(4):
        names = [f"layer{layer}:{i}" for layer in (3, 4) for i in range(20 + 10 * number, 30 + 10 * number)]
        label_all(taught / f"{number}.jsonl", names, number, cautious=False)
    options = Options(
        out=tmp_path / "run", clone=str(taught), steps=0, seeds=(0,), mutator="informed", stack=("shapes",),
        user_concepts=("none",), envs=8, neurons="layer4:20-29", validation="layer4:0-3",
    )  # fmt: skip
    check(options)
    train_seed(options, 0)
    policy = LearnedAgent.load(tmp_path / "run" / "seed-0")
    episodes = list(recorded(folder / "cyn.jsonl"))
    found, commonest = agreement(policy, episodes)
    assert commonest <= 0.6
    assert found >= 0.9


def test_sessions_without_a_label_teach_nothing(tmp_path: Path) -> None:
    Session.open(tmp_path / "sessions" / "ann.jsonl", ["layer4:3"]).apply("mutate")
    options = Options(
        out=tmp_path / "run", clone=str(tmp_path / "sessions"), steps=0, seeds=(0,), mutator="informed", envs=8
    )
    with pytest.raises(DnRError, match="`clone` must be sessions with a labelled neuron"):
        train_seed(options, 0)
    with pytest.raises(DnRError, match=r"`moves` must be edits to clone sessions \(got 'slots'\)"):
        check(replace(options, moves="slots"))


def test_agreement_is_that_of_the_labels_of_shared_neurons(folder: Path, stack: Stack) -> None:
    episodes = [one for path in logs_in(folder) for one in recorded(path)]
    one, same = episodes[0], episodes[1]
    labels = {"ann": ("red ring", "blue star"), "bob": ("red ring", "star"), "cyn": ("dotted thing",)}
    neurons = (one.neuron, same.neuron)
    made = [
        one._replace(annotator=name, neuron=neuron, label=label)
        for name, texts in labels.items()
        for neuron, label in zip(neurons, texts, strict=False)
    ]
    found = {(a.one, a.other): a for a in agreement_of([*made, one._replace(annotator="dan", label="")])}
    assert found.keys() == {("ann", "bob"), ("ann", "cyn"), ("bob", "cyn")}
    pair = found["ann", "bob"]
    cosine = float(stack.embedder.embed_texts(["blue star"])[0] @ stack.embedder.embed_texts(["star"])[0])
    assert (pair.neurons, pair.equal) == (2, 0.5)
    assert pair.similarity == pytest.approx((1 + cosine) / 2, abs=1e-5)
    which = np.array([stack.neurons.index(neurons[1])])
    values = [stack.texts.simulation(stack.probes.held_out, [text], which)[0] for text in ("blue star", "star")]
    assert pair.apart == pytest.approx(abs(values[0] - values[1]) / 2, abs=1e-6)
    assert found["ann", "cyn"].neurons == 1


def test_people_stand_beside_agents_in_a_comparison(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    people = tmp_path / "people"
    for name, cautious in (("ann", True), ("bob", False)):
        label_all(people / f"{name}.jsonl", NEURONS[:3], 2, cautious)
    spec, neurons = f"human:{people}", ",".join(NEURONS[:3])
    command = [
        "compare",
        "--agents",
        "promise",
        spec,
        "--neurons",
        neurons,
        "--seeds",
        "2",
        "--out",
        str(tmp_path / "out"),
    ]
    main(command)
    summary = {row["agent"]: row for row in csv.DictReader((tmp_path / "out" / "summary.csv").read_text().splitlines())}
    episodes = [one for path in logs_in(people) for one in recorded(path)]
    assert len(episodes) == 6
    assert float(summary[spec]["images"]) == pytest.approx(np.mean([one.billed for one in episodes]), abs=0.05)
    assert float(summary[spec]["return"]) == pytest.approx(np.mean([one.total for one in episodes]), abs=1e-4)
    assert float(summary[spec]["seconds"]) == round(np.mean([one.seconds for one in episodes]))
    assert summary["promise"]["seconds"] == ""
    assert f"{spec} less" in capsys.readouterr().out
    for change, message in (
        (["--seeds", "3"], "`seeds` must be 2, with which"),
        (["--neurons", NEURONS[4]], f"(got '{NEURONS[4]}', which has none)"),
        (["--budget", "50"], "`budget` must be 100, with which"),
    ):
        with pytest.raises(SystemExit) as ended:
            main([*command[:-2], *change, "--out", str(tmp_path / change[1])])
        assert message in str(ended.value)


def test_annotators_of_two_folders_are_told_apart(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        session = Session.open(tmp_path / folder / "me.jsonl", ["layer4:3", "layer4:5", "layer4:3"])
        while not session.finished:
            session.apply("stop")
    out = tmp_path / "tables"
    main(["export-sessions", str(tmp_path / "one"), str(tmp_path / "two"), str(tmp_path / "one"), "--out", str(out)])
    rows = list(csv.DictReader((out / "labels.csv").read_text().splitlines()))
    assert [row["annotator"] for row in rows] == ["one/me"] * 3 + ["two/me"] * 3
    assert sorted(path.name for path in out.glob("labels-*")) == ["labels-one-me.csv", "labels-two-me.csv"]
    own = list(csv.DictReader((out / "labels-one-me.csv").read_text().splitlines()))
    assert [(row["neuron"], row["again"]) for row in own] == [("layer4:3", "False"), ("layer4:5", "False")]
