"""Plans are upper bounds on the images drawn."""

from __future__ import annotations

import pytest
from playing import NEURONS, Drawing

from dnr_env import Rules
from dnr_env.agents.registry import make_agent
from dnr_env.evaluation.plan import plan
from dnr_env.evaluation.rollout import rollout

JOBS = [(neuron, seed) for seed in (1, 2) for neuron in NEURONS]


@pytest.mark.parametrize(
    ("spec", "images"),
    [
        ("promise", 0),
        ("stop", 0),
        ("shortlist:2", 10),
        ("line:2", 40),
        ("rounds:3", 55),
        ("until:mean:9:0:4", 20),
        ("rounds:90", 100),
        ("dnd", 100),
        ("dnd@informed", 100),
    ],
)
def test_a_plan_bounds_what_is_drawn(spec: str, images: int) -> None:
    planned = plan("shapes", make_agent(spec), ",".join(NEURONS), Rules())
    assert planned.search_images <= len(NEURONS) * images
    episodes = list(rollout(make_agent(spec), JOBS))
    assert max(episode.images for episode in episodes) * len(NEURONS) <= planned.search_images
    if spec.startswith(("shortlist", "until", "rounds:3")):
        assert max(episode.images for episode in episodes) == images


def test_a_plan_is_what_the_agent_can_draw_and_mutate() -> None:
    """An agent without bounds of its own is bounded by the rules. Listing draws nothing."""
    rules = Rules(budget=60, images_per_measure=4)
    assert plan("shapes", Drawing(), "layer4:0-4", rules).search_images == 5 * 60
    keeper = Drawing()
    keeper.measurements = 3
    assert plan("shapes", keeper, "layer4:0-4", rules).search_images == 5 * 12
    assert (
        plan("shapes", Drawing(), "layer4:0-4", Rules(budget=0)).lines()[3].startswith("images      250 at most (0 of")
    )
