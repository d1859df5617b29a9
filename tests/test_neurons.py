"""The names and indices of neurons, and how people select some of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dnr_env.errors import DnRError
from dnr_env.neurons import SPLITS, Neurons, split_of

NAMES = Neurons(f"{layer}:{i}" for layer, size in (("layer1", 10), ("layer4", 100), ("fc", 1000)) for i in range(size))


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ("layer4:7", ["layer4:7"]),
        ("layer4:0-2", ["layer4:0", "layer4:1", "layer4:2"]),
        ("layer4:99-99", ["layer4:99"]),
        ("layer1", list(NAMES[:10])),
        ("layer1:all", list(NAMES[:10])),
        ("all", list(NAMES)),
        (" fc:1 , layer1:2,, layer1:2-3", ["layer1:2", "layer1:3", "fc:1"]),
        ("train,validation,test", list(NAMES)),
        ("layer1:train,layer1:validation,layer1:test", list(NAMES[:10])),
    ],
)
def test_neurons_that_a_text_names(wanted: str, expected: list[str]) -> None:
    assert [NAMES[i] for i in NAMES.select(wanted)] == expected
    assert NAMES.named(wanted) == expected


@pytest.mark.parametrize("split", SPLITS)
def test_a_split_is_of_all_layers_or_of_one(split: str) -> None:
    expected = [i for i, name in enumerate(NAMES) if split_of(name) == split]
    assert NAMES.select(split) == expected
    assert NAMES.select(f"fc:{split}") == [i for i in expected if NAMES[i].startswith("fc:")]


@pytest.mark.parametrize(
    ("wanted", "says"),
    [
        ("", r"name at least one neuron: .* or layer1:0-9 \(got ''\)"),
        (" , ,", r"name at least one neuron: .* \(got ' , ,'\)"),
        ("layer5", r"be one of .*layer4.* \(got 'layer5'\)"),
        ("layer5:3", r"be one of .*layer4.* \(got 'layer5:3'\)"),
        ("tests", r"be one of test, … \(got 'tests'\)"),
        ("7", r"be one of .* \(got '7'\)"),
        ("layer4:100", r"lie within the layer, 0 to 99 \(got 'layer4:100'\)"),
        ("layer4:90-100", r"lie within the layer, 0 to 99 \(got 'layer4:90-100'\)"),
        ("layer4:5-3", r"lie within the layer, 0 to 99 \(got 'layer4:5-3'\)"),
        ("layer4:-3", "be one of .*an index"),
        ("layer4:3-", "be one of .*an index"),
        ("layer4:1-2-3", "be one of .*an index"),
        ("layer4:1.5", "be one of .*an index"),
        ("layer4:²", "be one of .*an index"),
        ("layer4:" + "9" * 5000, "be one of .*an index"),
        ("layer4:", "be one of .*an index"),
        (":7", "be one of .*an index"),
        ("all:7", "be one of .*"),
        ("layer4:7,nonsense", r"be one of .* \(got 'nonsense'\)"),
    ],
)
def test_texts_that_name_no_neuron(wanted: str, says: str) -> None:
    with pytest.raises(DnRError, match=f"^`neurons` must {says}"):
        NAMES.select(wanted)
    with pytest.raises(DnRError, match=f"^`validation` must {says}"):
        NAMES.named(wanted, "validation")


@given(st.text(max_size=30) | st.from_regex(r"(all|test|fc|layer[14])?(:[0-9-]{0,4})?(,test)?", fullmatch=True))
@settings(deadline=None, max_examples=200)
def test_any_text_names_neurons_or_is_refused(wanted: str) -> None:
    try:
        chosen = NAMES.select(wanted)
    except DnRError:
        return
    assert chosen == sorted(set(chosen))
    assert chosen
    assert chosen[-1] < len(NAMES)


def test_splits_keep_their_sizes_and_their_members() -> None:
    counts = {split: len(NAMES.select(split)) for split in SPLITS}
    assert counts["train"] == pytest.approx(0.6 * len(NAMES), abs=60)
    assert counts["validation"] == pytest.approx(0.2 * len(NAMES), abs=50)
    # Policies were trained on one of them: a neuron may never change its split.
    assert "".join(split_of(f"layer1:{i}")[1] for i in range(16)) == "reeaaarrrraarrea"


# --- names and indices -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (["layer4:7"], [17]),
        ([17], [17]),
        (["fc:0", 3, "layer1:2"], [2, 3, 110]),
        ((3, "layer1:3", np.int64(3)), [3]),
        (np.array([5, 1, 5]), [1, 5]),
        (np.array([4], np.uint8), [4]),
        (np.array(["fc:1", "layer1:0"]), [0, 111]),
        (range(2, 4), [2, 3]),
        ({1, 0}, [0, 1]),
        ((place for place in (9, 8)), [8, 9]),
        (None, list(range(1110))),
    ],
)
def test_a_list_of_names_and_indices_selects_in_the_targets_order(wanted: Any, expected: list[int]) -> None:
    chosen = NAMES.select(wanted)
    assert chosen == expected
    assert {type(place) for place in chosen} == {int}


@pytest.mark.parametrize("place", [0, 1109, np.int32(17), np.uint64(3)])
def test_one_neuron_by_its_index_is_the_one_by_its_name(place: int) -> None:
    assert NAMES.one(place) == NAMES.one(NAMES[int(place)]) == NAMES.index(NAMES[int(place)]) == int(place)
    assert type(NAMES.one(place)) is int


NO_NEURON: list[tuple[Any, str]] = [
    (True, r"be given by name or by index \(got True\)"),
    (np.True_, r"be given by name or by index \(got (np\.)?True_?\)"),
    (1.0, r"be given by name or by index \(got 1\.0\)"),
    (None, r"be given by name or by index \(got None\)"),
    (["layer4:7"], r"be given by name or by index \(got \['layer4:7'\]\)"),
    (-1, r"be given by name or by an index from 0 to 1109 \(got -1\)"),
    (1110, r"be given by name or by an index from 0 to 1109 \(got 1110\)"),
    (np.int64(-5), r"be given by name or by an index from 0 to 1109 \(got -5\)"),
    ("layer4:100", r"be one of layer4:10.* … \(got 'layer4:100'\)"),
    ("layr4:7", r"be one of layer4:7, .* … \(got 'layr4:7'\)"),
    ("layer4", r"be one of layer4:.* … \(got 'layer4'\)"),
]


@pytest.mark.parametrize(("wanted", "says"), NO_NEURON)
@pytest.mark.parametrize(
    ("option", "choose"),
    [
        ("neuron", NAMES.one),
        ("neurons", lambda wanted: NAMES.select([0, wanted])),
        ("validation", lambda wanted: NAMES.named(["fc:3", wanted], "validation")),
    ],
)
def test_what_is_no_neuron_is_one_sentence(
    wanted: Any, says: str, option: str, choose: Callable[[Any], object]
) -> None:
    with pytest.raises(DnRError, match=f"^`{option}` must {says}$"):
        choose(wanted)


@pytest.mark.parametrize("wanted", [5, 5.0, True, np.array(5), np.int64(5)])
def test_a_selection_is_a_text_or_a_sequence(wanted: Any) -> None:
    with pytest.raises(DnRError, match=r"^`neurons` must be a text such as 'layer4:0-9' or a sequence of .* \(got "):
        NAMES.select(wanted)


@pytest.mark.parametrize("wanted", [[], (), np.array([], int), set()])
def test_an_empty_selection_is_refused(wanted: Any) -> None:
    with pytest.raises(DnRError, match=r"^`neurons` must name at least one neuron \(got "):
        NAMES.select(wanted)


def test_names_are_looked_up_and_not_compared_one_by_one() -> None:
    assert "fc:999" in NAMES
    for absent in ("fc:1000", 3, None, ("fc:1",)):
        assert absent not in NAMES
    places = NAMES.indices(["fc:0", "layer1:0"])
    assert places.dtype == np.intp
    assert places.tolist() == [110, 0]
    assert NAMES.indices([]).tolist() == []
    with pytest.raises(DnRError, match=r"^`neuron` must be one of fc:100, .* \(got 'fc:1000'\)$"):
        NAMES.indices(["fc:1000"])
