"""Small trainings that several tests share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from dnr_env.agents.learned.policy import LearnedAgent
from dnr_env.agents.training import train
from dnr_env.agents.training.options import Options, options_json
from dnr_env.agents.training.set_policy import acting_network
from dnr_env.types import FloatArray


def options(out: Path = Path("out"), **changes: Any) -> Options:
    """The options of a training of a few hundred steps."""
    small: dict[str, Any] = {
        "envs": 8, "neurons": "layer4:0-5", "validation": "layer4:6-8", "steps": 512, "learning_rate": 0.02,
        "user_concepts": ("none",), "image_cost": (0.0005, 0.002), "budget": (50,),
        "stack": ("shapes",), "score": ("log_k",),
    }  # fmt: skip
    return Options(out=out, **{**small, **changes})


def policy(chosen: Options, trained: bool = True) -> tuple[Any, LearnedAgent]:
    """A learner of Stable-Baselines3, and the agent that acts by its policy."""
    model = train.make_model(chosen, seed=0)
    if trained:
        if chosen.algorithm == "dqn":
            model.learning_starts = 100
        model.learn(chosen.steps)
    return model, LearnedAgent("policy", acting_network(model), chosen.moves, options_json(chosen))


def logits_of_learner(model: Any, seen: FloatArray) -> FloatArray:
    """The logits of a learner's own policy, normalised as it does."""
    with torch.no_grad():
        found: FloatArray = model.policy.get_distribution(torch.as_tensor(seen)).distribution.logits.numpy()
    return found


def centred(values: FloatArray) -> FloatArray:
    """Rows minus their means: logits that differ by a constant stand for the same probabilities."""
    result: FloatArray = values - values.mean(axis=1, keepdims=True)
    return result
