"""Plans are upper bounds on the images drawn."""

from __future__ import annotations

import pytest
from playing import NEURONS

from dnr_env import Rules
from dnr_env.agents.registry import make_agent
from dnr_env.evaluation.plan import plan
from dnr_env.evaluation.rollout import rollout

JOBS = [(neuron, seed) for seed in (1, 2) for neuron in NEURONS]


@pytest.mark.parametrize(
    ("spec", "images"),
    [
        ("promise", 0),
        ("shortlist:2:0.5", 10),
        ("stop", 40),
        ("line:2", 25 + 15),
        ("rounds:3", 40 + 15),
        ("blend:1:0.2", 45),
        ("until:score:9:0:4", 60),
        ("rounds:90", 140),
        ("dnd", 50),
        ("dnd@informed", 50),
    ],
)
def test_a_plan_bounds_what_is_drawn(spec: str, images: int) -> None:
    planned = plan("shapes", make_agent(spec), ",".join(NEURONS), Rules())
    assert planned.search_images == len(NEURONS) * images
    episodes = list(rollout(make_agent(spec), JOBS))
    assert max(episode.images for episode in episodes) <= images
    if spec.startswith(("shortlist", "until", "rounds:3")):
        assert max(episode.images for episode in episodes) == images
