"""The features of a policy: their values, bounds and ablations."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from playing import observations

from dnr_env import DnRError
from dnr_env.agents.learned.features import (
    CONTEXT,
    COUNT,
    GROUPS,
    MOVE_SETS,
    PER_SLOT,
    SLOTS,
    features,
    move_masks,
)
from dnr_env.env.observe import PROGRESS, SCORE_COLUMNS
from dnr_env.env.rules import FORMS, Action, ActionForm
from dnr_env.interfaces import Kind

SLOT = (
    "gap", "deviation", "promise", "worth", "images", "score", "standard_error", "coverage", "coverage_error",
    "precision", "precision_error", "simulation", "similarity", "specificity", "from_user", "present",
)  # fmt: skip
"""What the features of a slot are about."""


def test_features_hold_what_they_say() -> None:
    scores, progress = np.zeros((1, 3, len(SCORE_COLUMNS))), np.zeros((1, len(PROGRESS)))
    slots = [
        {"mean": 0.65, "deviation": 0.05, "promise": 0.64, "worth": 0.0005, "images": 3, "score": 0.7,
         "standard_error": 0.02, "simulation": 0.5, "similarity": 0.3, "specificity": 0.8, "present": 1,
         "coverage": 0.4, "coverage_error": 0.03, "precision": 0.9, "precision_error": 0.02},
        {"mean": 0.62, "deviation": 0.06, "promise": 0.62, "simulation": 0.7, "from_user": 1, "present": 1},
    ]  # fmt: skip
    for slot, entries in enumerate(slots):
        for name, value in entries.items():
            scores[0, slot, SCORE_COLUMNS.index(name)] = value
    entries = {
        "steps_left": 0.75,
        "budget_left": 0.9,
        "image_cost": 0.2,
        "user_left": 2,
        "since_gain": 0.125,
        "images_per_measure": 0.05,
    }
    for name, value in {**entries, "gain_0": 0.01, "gain_3": -0.02, "headroom": 0.03}.items():
        progress[0, PROGRESS.index(name)] = value
    seen = features({"scores": scores, "progress": progress})
    assert seen.shape == (1, COUNT)
    found = seen[0, : SLOTS * PER_SLOT].reshape(SLOTS, PER_SLOT)
    best: dict[str, float] = dict(zip(SLOT, found[0].tolist(), strict=True))
    assert best == pytest.approx(
        {"gap": 0, "deviation": 1, "promise": -0.3, "worth": np.log(0.5) / 2, "images": np.log(4), "score": 0.5,
         "standard_error": 0.2, "coverage": 0.8, "coverage_error": 0.3, "precision": 1.8, "precision_error": 0.2,
         "simulation": 0, "similarity": 1.2, "specificity": 1.6, "from_user": 0, "present": 1},
        abs=1e-5,
    )  # fmt: skip
    second: dict[str, float] = dict(zip(SLOT, found[1].tolist(), strict=True))
    assert {name: value for name, value in second.items() if value} == pytest.approx(
        {
            "gap": 0.9,
            "deviation": 1.2,
            "worth": np.log(1e-6 / 0.001) / 2,
            "simulation": 1,
            "from_user": 1,
            "present": 1,
        },
        abs=1e-5,
    )  # undrawn: its score says nothing
    assert not found[2:].any()  # empty, and an environment may have fewer slots
    context = [0.6, 2, 0.9, 0.3, 0, 0, -0.6, 0.5, 0.75, 0.9, 2, np.log(4)]
    assert seen[0, SLOTS * PER_SLOT :] == pytest.approx(np.array(context), abs=1e-5)


@pytest.mark.parametrize(
    ("price", "seen"), [(0, -2.303), (0.00002, -0.916), (0.00005, 0), (0.00015, 1.099), (1, 7.601)]
)
def test_every_price_is_seen_within_bounds(price: float, seen: float) -> None:
    observation = observations(1)
    observation["progress"][:, PROGRESS.index("image_cost")] = min(1000 * price, 100.0)  # as the environment clips it
    assert features(observation)[0, -1] == pytest.approx(seen, abs=1e-3)


def test_worth_counts_relative_to_the_price() -> None:
    observation = observations(20)
    worth, price = SCORE_COLUMNS.index("worth"), PROGRESS.index("image_cost")
    observation["progress"][:, price] = 0.1
    before = features(observation)
    observation["scores"][..., worth] *= 3
    observation["progress"][:, price] *= 3
    after = features(observation)
    assert after[:, :-1] == pytest.approx(before[:, :-1], abs=1e-4)
    assert after[:, -1] == pytest.approx(before[:, -1] + np.log(3), abs=1e-5)


@pytest.mark.parametrize("group", GROUPS)
def test_what_a_policy_goes_without_does_not_matter(group: str) -> None:
    observation = observations(50)
    observation["scores"][..., SCORE_COLUMNS.index("present")] = 1
    blank, whole = features(observation, without=(group,)), features(observation)
    hidden = [PER_SLOT * s + SLOT.index(name) for s in range(SLOTS) for name in GROUPS[group]]
    if group == "simulation":
        hidden = [*hidden[1:], SLOTS * PER_SLOT + 1]  # that of the best less itself is 0 anyway
    assert not blank[:, hidden].any()
    assert (whole[:, hidden] != 0).any(axis=0).all()
    others = [i for i in range(COUNT) if i not in hidden]
    assert (whole == blank)[:, others].all()
    for name in GROUPS[group]:
        observation["scores"][..., SCORE_COLUMNS.index(name)] += 0.3
    assert (features(observation, without=(group,)) == blank).all()


def test_an_unknown_group_is_one_sentence() -> None:
    with pytest.raises(DnRError, match=r"`without` must be one of .*, … \(got 'score'\)"):
        features(observations(1), without=("score",))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("slots", [2, 8])
def test_a_move_is_allowed_if_all_of_its_parts_are(form: ActionForm, slots: int) -> None:
    moves = MOVE_SETS[form]
    assert len(np.unique(moves, axis=0)) == len(moves)
    ends = np.cumsum([0, len(Action), slots, len(Kind)])[: moves.shape[1] + 1]
    masks = np.random.default_rng(0).random((200, ends[-1])) < 0.7
    allowed = move_masks(masks, moves)
    for mask, row in zip(masks.tolist(), allowed.tolist(), strict=True):
        parts = [mask[start:end] for start, end in pairwise(ends.tolist())]
        expected = [all(i < len(p) and p[i] for p, i in zip(parts, move, strict=True)) for move in moves.tolist()]
        assert row == expected


def test_the_features_have_a_size_that_fits_every_stack() -> None:
    assert COUNT == SLOTS * PER_SLOT + CONTEXT == features(observations(3, slots=2)).shape[1]
