"""Labels by a blend of score and promise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from playing import NEURONS

from dnr_env import load_stack
from dnr_env.agents.registry import make_agent
from dnr_env.evaluation.rollout import rollout
from dnr_env.stack import Stack

JOBS = [(neuron, seed) for seed in (1, 2) for neuron in NEURONS]


@given(weight=st.floats(0, 1))
@settings(max_examples=10, deadline=None)
def test_a_blend_is_between_score_and_promise(weight: float) -> None:
    stack = load_stack("shapes")
    for episode in rollout(make_agent(f"blend:1:{weight}@informed"), JOBS[:4], stack=stack):
        texts = [text for text, _ in episode.concepts]
        scores = dict(episode.concepts)
        best = sorted(texts, key=lambda text: -scores[text])[:8]  # those in the slots
        neurons = np.full(len(best), stack.neurons.index(episode.neuron))
        promises = stack.promises.foretell(best, neurons, "grounded_k")
        blended = {text: weight * scores[text] + (1 - weight) * p for text, p in zip(best, promises, strict=True)}
        assert blended[episode.label] == pytest.approx(max(blended.values()), abs=1e-6)


def test_a_shortlist_draws_what_real_images_promise(stack: Stack) -> None:
    wanted = dict(zip(NEURONS, make_agent("promise").labels(stack, NEURONS, "grounded_k") or [], strict=True))
    for episode in rollout(make_agent("shortlist:3:0.5"), JOBS, stack=stack):
        assert [text for text, _ in episode.concepts] == wanted[episode.neuron]
        assert (episode.images, episode.added_images) == (15, 0)
    first = rollout(make_agent("shortlist:3:0"), JOBS, stack=stack)
    assert [episode.label for episode in first] == [wanted[neuron][0] for neuron, _ in JOBS]
