"""Stopping rules on one signal."""

from __future__ import annotations

import pytest

from dnr_env import DnRError
from dnr_env.agents.registry import make_agent
from dnr_env.agents.until import SIGNALS


def test_there_are_at_least_ten_rules() -> None:
    assert len(SIGNALS) >= 10
    for name in SIGNALS:
        assert make_agent(f"until:{name}:-0.25:0:3").name == f"until:{name}:-0.25:0:3"
    for wrong in (
        "until",
        "until:luck:0.5:1:5",
        "until:score:x:1:5",
        "until:score:0.5:1",
        "until:score:0.5:-1:5",
        "until:score:0.5:5:1",
        f"until:score:0.5:1:{'9' * 400}",
    ):
        with pytest.raises(DnRError, match=r"must have the form until:score:0\.69:1:5"):
            make_agent(wrong)
