"""Stopping rules on one signal."""

from __future__ import annotations

import pytest
from playing import NEURONS, played

from dnr_env import Action, DnRError
from dnr_env.agents.registry import make_agent
from dnr_env.agents.until import SIGNALS


def test_there_are_at_least_ten_rules() -> None:
    assert len(SIGNALS) >= 10
    for name in SIGNALS:
        assert make_agent(f"until:{name}:-0.25:0:3").name == f"until:{name}:-0.25:0:3"
    for wrong in (
        "until",
        "until:luck:0.5:1:5",
        "until:mean:x:1:5",
        "until:mean:0.5:1",
        "until:mean:0.5:-1:5",
        "until:mean:0.5:5:1",
        f"until:mean:0.5:1:{'9' * 400}",
    ):
        with pytest.raises(DnRError, match=r"must have the form until:futility:-0\.001:0:5"):
            make_agent(wrong)


def test_a_rule_lists_three_then_draws_until_its_signal() -> None:
    never, at_once = make_agent("until:mean:9:0:4"), make_agent("until:mean:-9:2:4")
    for neuron in NEURONS[:2]:
        actions = [action for action, _ in played(never, (neuron, 1))[1]]
        assert actions == [Action.MUTATE] * 3 + [Action.KEEP] * 4 + [Action.STOP]
        actions = [action for action, _ in played(at_once, (neuron, 1))[1]]
        assert actions == [Action.MUTATE] * 3 + [Action.KEEP] * 2 + [Action.STOP]
        episode, listed = played(never, (neuron, 1), budget=0)
        assert ([action for action, _ in listed], episode.images) == ([Action.MUTATE] * 3 + [Action.STOP], 0)
