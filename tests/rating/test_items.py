"""What is rated: every chosen neuron has all of its labels, and each annotator is asked about all of them."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dnr_env import DnRError
from dnr_env.rating.plan import CONTROL, Plan, make_plan, screens, with_repeats

LABELS = st.sampled_from(["red", "blue", "ring", "a disc on water"])
NEURONS = [f"layer1:{i}" for i in range(12)]


@st.composite
def labels(draw: st.DrawFn) -> dict[str, dict[str, str]]:
    last = {neuron: f"{draw(LABELS)} {neuron}" for neuron in NEURONS}  # so that each is a control for any other
    others = draw(st.integers(0, 2))
    found = {f"file{i}": {n: draw(st.one_of(LABELS, st.just(last[n]))) for n in NEURONS} for i in range(others)}
    return {**found, "last": last}


def plan_of(
    given: dict[str, dict[str, str]], items: int = 40, repeats: int = 0, pairs: bool = False, control: bool = False
) -> Plan:
    return make_plan(given, NEURONS, items=items, repeats=repeats, pairs=pairs, control=control, seed=1)


@settings(max_examples=60)
@given(labels(), st.booleans(), st.integers(11, 60), st.integers(0, 3))
def test_a_chosen_neuron_has_the_labels_of_all_sources_each_once(
    files: dict[str, dict[str, str]], control: bool, items: int, repeats: int
) -> None:
    plan = plan_of(files, items, repeats, control=control)
    assert len(plan.items) + plan.repeats <= items
    assert plan.sources == ((CONTROL, *files) if control else tuple(files))
    for neuron in plan.neurons:
        mine = [item for item in plan.items if item.neuron == neuron]
        found = {source: item.labels[0] for item in mine for source in item.sources[0]}
        assert len({item.labels for item in mine}) == len(mine)
        assert {source: found[source] for source in files} == {source: files[source][neuron] for source in files}
        if CONTROL in found:
            assert found[CONTROL] in files[list(files)[-1]].values()
            assert found[CONTROL] not in {files[source][neuron] for source in files}
    if items - repeats >= 12 * 4:
        assert plan.neurons == plan_of(files, 200).neurons  # no neuron is left out that there is room for


@settings(max_examples=60)
@given(labels(), st.booleans(), st.integers(0, 3))
def test_pairs_compare_the_last_source_with_each_other_one(
    files: dict[str, dict[str, str]], control: bool, repeats: int
) -> None:
    if len(files) + control < 2:
        with pytest.raises(DnRError, match="must be at least two files"):
            plan_of(files, pairs=True)
        return
    last = list(files)[-1]
    plan = plan_of(files, 60, repeats, pairs=True, control=control)
    for item in plan.items:
        assert item.labels[0] != item.labels[1] == files[last][item.neuron]
        assert item.sources[1] == (last,)
    others = list(files)[:-1]
    same = {source: {n for n in NEURONS if files[source][n] == files[last][n]} for source in others}
    assert dict(plan.equal) == pytest.approx({source: len(neurons) / 12 for source, neurons in same.items()})
    compared = {(item.neuron, source) for item in plan.items for source in item.sources[0] if source != CONTROL}
    assert compared == {(n, source) for n in plan.neurons for source in others if n not in same[source]}


@settings(max_examples=60)
@given(labels(), st.booleans(), st.integers(0, 6), st.sampled_from(["ann", "bob", "c3"]))
def test_an_annotator_sees_every_item_once_and_some_again(
    files: dict[str, dict[str, str]], pairs: bool, repeats: int, annotator: str
) -> None:
    plan = make_plan(
        {"a": dict.fromkeys(NEURONS, "red thing"), **files},
        NEURONS, items=60, repeats=repeats, pairs=pairs, control=True, seed=0,
    )  # fmt: skip
    shown = screens(plan, annotator)
    assert shown == screens(plan, annotator)
    assert sorted(s.item for s in shown if not s.again) == list(range(len(plan.items)))
    assert sum(s.again for s in shown) == plan.repeats
    seen: dict[int, int] = {}
    for place, screen in enumerate(shown):
        if screen.again:
            assert screen.item in seen
            if len(plan.items) >= 4 * plan.repeats:
                assert place - seen[screen.item] >= len(plan.items) - 3 * plan.repeats
        seen.setdefault(screen.item, place)
    flipped = {s.item: s.flipped for s in shown if not s.again}
    assert all(s.flipped != flipped[s.item] for s in shown if s.again) == (pairs or not plan.repeats)
    if not pairs:
        assert not any(s.flipped for s in shown)


def test_the_labels_of_a_neuron_do_not_follow_each_other_within_a_round() -> None:
    files = {name: {neuron: f"{name} of {neuron}" for neuron in NEURONS} for name in ("a", "b", "c")}
    shown = screens(plan_of(files), "ann")
    assert len(shown) == 36
    for start in (0, 12, 24):
        assert len({plan_of(files).items[s.item].neuron for s in shown[start : start + 12]}) == 12


def test_controls_are_labels_of_chosen_neurons_each_used_once_that_share_few_words() -> None:
    files = {"a": {n: ("red " if i % 2 else "blue ") + f"thing{i}" for i, n in enumerate(NEURONS)}}
    plan = plan_of(files, control=True)
    control = {item.neuron: item.labels[0] for item in plan.items if item.sources == ((CONTROL,),)}
    assert sorted(control.values()) == sorted(files["a"].values())
    shared = sum(len(set(label.split()) & set(files["a"][neuron].split())) for neuron, label in control.items())
    chance = 12 * 5 / 11  # of the eleven others, five share the colour
    assert shared < chance


@pytest.mark.parametrize("count", range(2, 12))
@pytest.mark.parametrize("repeats", range(5))
def test_what_comes_again_does_not_follow_at_once(count: int, repeats: int) -> None:
    repeats = min(repeats, count)
    for seed in range(20):
        order = [thing for thing, _ in with_repeats(range(count), repeats, np.random.default_rng(seed))]
        assert sorted(order) == sorted([*range(count), *range(repeats)])
        twice = [[place for place, thing in enumerate(order) if thing == again] for again in range(repeats)]
        assert all(second - first >= min(3, count) for first, second in twice)


def test_annotators_have_orders_and_sides_of_their_own() -> None:
    files = {name: {neuron: f"{name} of {neuron}" for neuron in NEURONS} for name in ("a", "b")}
    plan = plan_of(files, pairs=True)
    sides = Counter(s.flipped for name in ("ann", "bob", "cy", "di") for s in screens(plan, name))
    assert min(sides.values()) > 10
    assert screens(plan, "ann") != screens(plan, "bob")


def test_numbers_that_leave_nothing_are_refused() -> None:
    files = {"a": dict.fromkeys(NEURONS, "red"), "b": dict.fromkeys(NEURONS, "blue")}
    with pytest.raises(DnRError, match=r"`repeats` must be from 0 to less than `items`, 4 \(got 4\)"):
        plan_of(files, 4, 4)
    with pytest.raises(DnRError, match=r"`items` must leave room .* beside 3 repeats \(got 4\)"):
        plan_of(files, 4, 3)
    with pytest.raises(DnRError, match=r"`items` must be at least 1 \(got -3\)"):
        plan_of(files, -3)
    with pytest.raises(DnRError, match="`control` must be off where no other chosen neuron has a label of its own"):
        plan_of({"a": dict.fromkeys(NEURONS, "red")}, control=True)
    with pytest.raises(DnRError, match="`labels` must differ for at least one neuron to be compared"):
        plan_of({"a": files["a"], "b": files["a"]}, pairs=True)
    with pytest.raises(DnRError, match="not have a file called control"):
        plan_of({"control": files["a"]}, control=True)
    assert len(plan_of({"control": files["a"]}).items) == 12
