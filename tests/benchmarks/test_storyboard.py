"""A storyboard tells what happened in an episode."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from storyboard import Options, draw, tell, verdict

from dnr_env.agents.registry import make_agent


@pytest.mark.parametrize(("agent", "neuron"), [("improve:3", "layer4:5"), ("dnr@informed", "planted:3")])
def test_drawings_and_labels_of_an_episode_are_told(agent: str, neuron: str) -> None:
    options = Options(neuron, Path("unused.png"), "shapes")
    scenes, playing = tell(make_agent(agent), options)
    assert sum(len(scene.images) for scene in scenes) == playing.state.image_count[0] > 0
    assert all(len(scene.images) == len(scene.activations) for scene in scenes)
    listed = [line for scene in scenes for line in scene.lines if not line.endswith("nothing new")]
    assert len(listed) == len(playing.texts[0])
    assert scenes[-1].title == f"STOP: {playing.labels[0]}"
    picture = np.asarray(draw(scenes, playing, verdict(playing, options)))
    assert picture.shape[0] > sum(scene.height for scene in scenes)
    assert ("; planted: " in verdict(playing, options)) == neuron.startswith("planted")
