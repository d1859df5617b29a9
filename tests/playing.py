"""Agents, jobs and observations that several tests of agents share."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch

from dnr_env import Action, Rules
from dnr_env.agents.base import Agent, Observation
from dnr_env.agents.learned.features import COUNT, MOVE_SETS
from dnr_env.agents.learned.network import network_of
from dnr_env.agents.learned.policy import LearnedAgent
from dnr_env.agents.registry import make_agent
from dnr_env.env.observe import PROGRESS, SCORE_COLUMNS
from dnr_env.env.rules import ActionForm
from dnr_env.env.users import Users
from dnr_env.evaluation.rollout import Episode, Job, rollout
from dnr_env.types import BoolArray, FloatArray, IntArray


class Drawing(Agent):
    """Mutates and draws in turn, a few times, whatever it sees."""

    name = "drawing"
    state_size = 1  # steps

    def act(
        self, observation: Observation, memory: FloatArray, masks: BoolArray | None, deterministic: bool
    ) -> IntArray:
        """MUTATE, then KEEP twice, four times over, then STOP."""
        step = memory[:, 0].astype(int)
        memory[:, 0] += 1
        turn = np.array([Action.MUTATE, Action.KEEP, Action.KEEP])[step % 3]
        return np.where(step < 12, turn, Action.STOP)


NEURONS = ["layer4:3", "layer2:9", "planted:20", "layer1:4", "layer3:17"]
LAYER4 = [f"layer4:{i}" for i in range(12)]
JOBS: list[Job] = [(neuron, seed) for seed in (1, 2) for neuron in ("layer4:3", "layer2:9", "planted:20", "planted:41")]
JOBS.append(("layer4:3", 7))


def random_policy(seed: int = 0, form: ActionForm = "edits", activation: str = "tanh") -> LearnedAgent:
    """A policy whose network has two hidden layers with random weights."""
    rng, moves = np.random.default_rng(seed), len(MOVE_SETS[form])
    tensors = {}
    for layer, (inputs, outputs) in enumerate(itertools.pairwise((COUNT, 16, 16, moves))):
        tensors[f"{2 * layer}.weight"] = torch.from_numpy(rng.normal(size=(outputs, inputs)).astype(np.float32) / 3)
        tensors[f"{2 * layer}.bias"] = torch.from_numpy(rng.normal(size=outputs).astype(np.float32) / 3)
    return LearnedAgent("policy", network_of("flat", activation, tensors), form, {})


AGENTS: dict[str, Callable[[], Agent]] = {
    **{
        name: partial(make_agent, name)
        for name in (
            "stop", "random", "dnd", "dnr", "annealed", "patience:1", "patience:4", "halving", "lucb:1", "top-two",
            "lookahead", "patience:2@linear", "shortlist:3", "improve:3", "turns:3", "gradient:3", "kinds:4", "cover:4",
            "until:futility:-0.001:0:4",
        )
    },
    "learned": random_policy,
    "learned, slots": lambda: random_policy(2, "slots"),
    "learned, incumbent": lambda: random_policy(1, "incumbent", "relu"),
}  # fmt: skip


def played(agent: Agent, job: Job, user_concepts: Users = None, **rules: Any) -> tuple[Episode, list[list[int]]]:
    """Play an episode, and return it with its actions and slots, and kinds where the agent chooses them."""
    actions: list[list[int]] = []
    predict = agent.predict

    def spy(*args: Any, **options: Any) -> Any:
        chosen, state = predict(*args, **options)
        action = np.atleast_1d(chosen[0]).tolist()
        actions.append(action if len(action) > 1 else [*action, 0])
        return chosen, state

    agent.predict = spy  # type: ignore[method-assign]
    try:
        (episode,) = rollout(agent, [job], rules=Rules(**rules), user_concepts=user_concepts)
    finally:
        del agent.predict
    return episode, actions


def observations(n: int, slots: int = 8, seed: int = 0) -> dict[str, Any]:
    """Random observations, in which the first slot is present."""
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(n, slots, len(SCORE_COLUMNS)))
    scores[..., SCORE_COLUMNS.index("mean")] = -np.sort(-rng.random((n, slots)), axis=1) / 10
    scores[..., SCORE_COLUMNS.index("worth")] = rng.random((n, slots)) / 100
    scores[..., SCORE_COLUMNS.index("images")] = rng.integers(0, 6, (n, slots))
    scores[..., SCORE_COLUMNS.index("present")] = np.sort(rng.integers(2, size=(n, slots)))[:, ::-1]
    scores[:, 0, SCORE_COLUMNS.index("present")] = 1
    return {"scores": scores.astype(np.float32), "progress": rng.random((n, len(PROGRESS))).astype(np.float32)}


def masks(n: int, form: ActionForm = "edits", seed: int = 0) -> BoolArray:
    """Random masks of an environment with 8 slots, in which STOP, the first slot and the first kind are allowed."""
    allowed = np.random.default_rng(seed).random((n, 18)) < 0.6
    allowed[:, [3, 4, 12]] = True
    return allowed[:, : {"incumbent": 4, "slots": 12, "edits": 18}[form]]
