"""Rules that choose the kind of a mutation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from playing import NEURONS, played

from dnr_env import Action, Rules
from dnr_env.agents.registry import make_agent
from dnr_env.env.observe import PROGRESS, SCORE_COLUMNS
from dnr_env.interfaces import Kind


def observation(coverage: float = 0.5, precision: float = 0.5, gain: float = 0.0, step: int = 0) -> dict[str, Any]:
    scores = np.zeros((1, 8, len(SCORE_COLUMNS)), np.float32)
    for name, value in {"coverage": coverage, "precision": precision, "present": 1, "mean": 0.6}.items():
        scores[0, 0, SCORE_COLUMNS.index(name)] = value
    progress = np.zeros((1, len(PROGRESS)), np.float32)
    progress[0, PROGRESS.index("gain_0")] = gain
    progress[0, PROGRESS.index("steps_left")] = 1 - step / 1000
    progress[0, PROGRESS.index("images_per_measure")] = 0.05
    return {"scores": scores, "progress": progress}


def test_the_bandit_comes_to_the_kind_that_brings_most() -> None:
    for best in Kind:
        agent, last = make_agent("kinds:400"), None
        state, chosen = agent.start([int(best)]), []
        for step in range(300):
            gain = 0.03 if last == best else 0.0
            (action,), state = agent.predict(observation(gain=gain, step=step), state)  # type: ignore[assignment]
            assert action[0] == Action.MUTATE
            last = Kind(int(action[2]))
            chosen.append(last)
        assert set(chosen[:40]) == set(Kind)  # it tries all of them
        assert np.mean([kind == best for kind in chosen[-100:]]) > 0.8


@pytest.mark.parametrize(
    ("coverage", "precision", "plain", "structured"),
    [
        (0.1, 0.9, Kind.BROADEN, Kind.UNITE),
        (0.9, 0.1, Kind.NARROW, Kind.EXCEPT),
        (0.9, 0.9, Kind.SWAP, Kind.SWAP),
        (0.1, 0.1, Kind.SWAP, Kind.SWAP),
    ],
)
def test_the_kind_undoes_what_coverage_or_precision_lacks(
    coverage: float, precision: float, plain: Kind, structured: Kind
) -> None:
    agent = make_agent("cover:4:0.5:0.5")
    for allowed, kind in (([1, 1, 1, 1, 0, 0], plain), ([1, 1, 1, 1, 1, 1], structured)):
        masks, state, chosen = np.array([[1, 1, 0, 1, *[1] * 8, *allowed]], bool), agent.start([0]), []
        for _ in range(2):
            (action,), state = agent.predict(  # type: ignore[assignment]
                observation(coverage, precision), state, action_masks=masks
            )
            assert action[0] == Action.MUTATE
            chosen.append(Kind(int(action[2])))
        assert chosen == [Kind.MODEL, kind]


def test_the_bandit_takes_no_kind_that_is_not_allowed() -> None:
    agent, masks = make_agent("kinds:400"), np.array([[1, 1, 0, 1, *[1] * 8, 1, 0, 1, 1, 0, 1]], bool)
    state, chosen = agent.start([0]), set()
    for step in range(60):
        (action,), state = agent.predict(observation(step=step), state, action_masks=masks)  # type: ignore[assignment]
        chosen.add(Kind(int(action[2])))
    assert chosen == set(Kind) - {Kind.BROADEN, Kind.UNITE}


@pytest.mark.parametrize("name", ["kinds:5", "cover:5"])
def test_kinds_are_chosen_in_play(name: str) -> None:
    kinds = set()
    for neuron in NEURONS:
        _, actions = played(make_agent(name), (neuron, 1))
        assert [action for action, *_ in actions[:5]] == [Action.MUTATE] * 5
        kinds |= {kind for *_, kind in actions[:5]}
    assert len(kinds) > 1


def test_kinds_come_in_turn_where_they_are_allowed() -> None:
    turns = [Kind.MODEL, Kind.UNITE, Kind.EXCEPT, Kind.MODEL]
    for allowed, kinds in (([1, 1, 1, 1, 1, 1], turns), ([1, 1, 1, 1, 0, 0], [Kind.MODEL] * 4)):
        agent = make_agent("turns:4")
        masks, state, chosen = np.array([[1, 1, 0, 1, *[1] * 8, *allowed]], bool), agent.start([0]), []
        for _ in range(4):
            (action,), state = agent.predict(observation(), state, action_masks=masks)  # type: ignore[assignment]
            chosen.append(int(action[2]))
        assert chosen == kinds


def test_a_list_is_the_listing_of_turns_and_stops_with_the_best() -> None:
    for neuron in NEURONS[:2]:
        drawn, turns = played(make_agent("turns:4"), (neuron, 1))
        episode, actions = played(make_agent("list:4"), (neuron, 1))
        assert actions[:4] == turns[:4]
        assert [action for action, *_ in actions[4:]] == [Action.STOP]
        assert episode.images == 0 == make_agent("list:4").most_measurements(Rules(), 8)
        means = {text: mean or 0.0 for text, mean, _ in episode.concepts}
        assert means[episode.label] == max(means.values())
        assert means.keys() == {text for text, *_ in drawn.concepts}
