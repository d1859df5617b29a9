"""The features of a policy: their values, bounds and ablations."""

from __future__ import annotations

import numpy as np
import pytest
from playing import observations

from dnr_env import DnRError
from dnr_env.agents.learned.features import COUNT, GROUPS, PER_SLOT, SLOTS, features
from dnr_env.env.state import PROGRESS, SCORE_COLUMNS


def test_features_hold_what_they_say() -> None:
    scores, progress = np.zeros((1, 3, len(SCORE_COLUMNS))), np.zeros((1, len(PROGRESS)))
    slots = [
        {"score": 0.6, "standard_error": 0.02, "images": 3, "present": 1, "similarity": 0.3, "specificity": 0.8,
         "simulation": 0.5},
        {"score": 0.55, "standard_error": 0.05, "images": 1, "present": 1, "from_user": 1, "simulation": 0.7},
    ]  # fmt: skip
    for slot, entries in enumerate(slots):
        for name, value in entries.items():
            scores[0, slot, SCORE_COLUMNS.index(name)] = value
    entries = {"steps_left": 0.75, "budget_left": 0.9, "image_cost": 1.0, "user_left": 2, "since_gain": 0.125}
    for name, value in {**entries, "gain_0": 0.01, "gain_3": -0.02, "headroom": 0.03}.items():
        progress[0, PROGRESS.index(name)] = value
    seen = features({"scores": scores, "progress": progress})
    assert seen.shape == (1, COUNT)
    assert seen[0, : SLOTS * PER_SLOT].reshape(SLOTS, PER_SLOT) == pytest.approx(
        np.array(
            [
                [0, 0.2, np.log(4), 0, 1, 1.2, 3.2, 0],
                [0.5, 0.5, np.log(2), 1, 1, 0, 0, 2],
                [5, 0, 0, 0, 0, 0, 0, 0],
                [5, 0, 0, 0, 0, 0, 0, 0],  # an environment may have fewer slots
            ]
        ),
        abs=1e-6,
    )
    context = [0.4, 2, 0.3, 0.2, 0, 0, -0.4, 0.5, 0.75, 0.9, 2, np.log(2)]
    assert seen[0, SLOTS * PER_SLOT :] == pytest.approx(np.array(context), abs=1e-6)


@pytest.mark.parametrize(("price", "seen"), [(0, -2.303), (0.0002, -0.916), (0.0005, 0), (0.002, 1.386), (1, 7.6)])
def test_every_price_is_seen_within_bounds(price: float, seen: float) -> None:
    observation = observations(1)
    observation["progress"][:, PROGRESS.index("image_cost")] = min(1000 * price, 100.0)  # as the environment clips it
    assert features(observation)[0, -1] == pytest.approx(min(seen, np.log(200)), abs=1e-3)


@pytest.mark.parametrize("group", GROUPS)
def test_what_a_policy_goes_without_does_not_matter(group: str) -> None:
    observation = observations(50)
    blank = features(observation, without=(group,))
    kept = features(observation) == blank
    slot, context = {
        "errors": ([1], []),
        "exemplars": ([5, 6], []),
        "simulation": ([7], [1, 2]),
    }[group]
    hidden = [  # (the simulation of the best slot less itself is 0 anyway)
        *(PER_SLOT * s + column for s in range(SLOTS) for column in slot),
        *(PER_SLOT * SLOTS + c for c in context),
    ]
    assert not blank[:, hidden].any()
    assert kept[:, [i for i in range(COUNT) if i not in hidden]].all()
    assert not kept[:, [i for i in hidden if i != slot[0] or group != "simulation"]].all(axis=0).any()
    for name in GROUPS[group]:
        observation["scores"][..., SCORE_COLUMNS.index(name)] += 0.3
    assert (features(observation, without=(group,)) == blank).all()


def test_an_unknown_group_is_one_sentence() -> None:
    with pytest.raises(DnRError, match=r"`without` must be one of errors, exemplars, simulation \(got 'score'\)"):
        features(observations(1), without=("score",))
