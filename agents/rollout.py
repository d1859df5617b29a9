"""The one evaluation loop: any agent, on chosen neurons, many episodes side by side."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import gymnasium as gym
import numpy as np

from agents.base import Agent
from dnr_env.refinement import Refinement
from dnr_env.seeds import block_of

_CHOICES = 3  # labels of an episode, as Describe-and-Dissect gives them

Job = tuple[str, int]
"""(neuron, seed)."""


@dataclass
class Episode:
    """What one episode came to."""

    neuron: str
    seed: int
    """Of the mutator's, user's and agent's dice, and the block of seeds that the images are drawn with."""
    label: str
    first_label: str
    """The incumbent when it began."""
    score: float
    """The label's score by the agent's own images."""
    images: int
    """Images drawn for the agent, those of the initial measurement included."""
    added_images: int
    """Those after it, for which the rewards charge."""
    reward_images: int
    """Images that the rewards were taken on, which the agent never saw."""
    total_reward: float
    steps: int
    truncated: bool
    curve: list[tuple[int, float, float]] = field(default_factory=list)
    """At the beginning and after each step: added images, value gained so far (the rewards without the bill), and the
    incumbent's score by the agent's own images."""
    concepts: list[tuple[str, float]] = field(default_factory=list)
    """The master list: texts with their scores, in the order of measurement."""
    labels: list[str] = field(default_factory=list)
    """The label and the agent's second and third choice."""
    calls: int = 0
    """Answers of a language model that the episode rests on."""
    input_tokens: int = 0
    """What it read for them."""
    output_tokens: int = 0
    """What it wrote."""


def rollout(agent: Agent, jobs: Sequence[Job], *, batch: int = 64, **env: Any) -> Iterator[Episode]:
    """Play one episode a job; yields them in the order of the jobs.

    An episode depends on its job alone, not on the batch it is played in.

    Args:
        agent: who plays.
        jobs: neurons and seeds.
        batch: episodes side by side.
        **env: arguments of `RefineEnv`.
    """
    for start in range(0, len(jobs), batch):
        yield from _block(agent, jobs[start : start + batch], env)


def _unplayed(refinement: Refinement, jobs: Sequence[Job], named: Sequence[list[str]]) -> list[Episode]:
    """What was found without an episode, and without an image; where rewards are held out, at what gain."""
    labels, rows = [choices[0] for choices in named], np.arange(len(jobs))
    first, gains, drawn = labels, np.zeros(len(jobs)), refinement.reward_images
    if refinement.rules.reward == "held_out":  # against the first incumbents of those who play
        refinement.begin(rows.tolist(), [np.random.default_rng(0)] * len(jobs), _options(jobs))
        first = refinement.infos(rows)["label"].tolist()
        gains = refinement.value(rows, labels) - refinement.value(rows, first)
    return [
        Episode(
            *job,
            label=one,
            first_label=other,
            score=0.0,
            images=0,
            added_images=0,
            reward_images=drawn * len({one, other}),
            total_reward=gain,
            steps=0,
            truncated=False,
            curve=[(0, gain, 0.0)],
            concepts=[(one, 0.0)],
            labels=choices[:_CHOICES],
        )
        for job, one, other, gain, choices in zip(jobs, labels, first, gains.tolist(), named, strict=True)
    ]


def _seed(neuron: str, seed: int) -> int:
    """The seed of an episode: another for each neuron, whatever its place in the target."""
    return int.from_bytes(hashlib.sha256(f"{neuron} {seed}".encode()).digest()[:6], "big")


def _options(jobs: Sequence[Job]) -> list[dict[str, Any]]:
    """Reset options: an evaluation's seed is also the block of image seeds that its episodes are drawn with."""
    return [{"neuron": neuron, "block": block_of(seed)} for neuron, seed in jobs]


def _block(agent: Agent, jobs: Sequence[Job], env: dict[str, Any]) -> list[Episode]:
    n = len(jobs)
    envs: Any = gym.make_vec(
        f"dnr_env:{agent.env_id}",
        num_envs=n,
        autoreset_mode="Disabled",
        **{**env, **agent.env_options, "neurons": "all"},
    )
    refinement: Refinement = envs.unwrapped.refinement
    rules = refinement.rules
    named = agent.labels(refinement.stack, [neuron for neuron, _ in jobs], rules.score)
    if named is not None:
        return _unplayed(refinement, jobs, named)
    asked = agent.prepare(refinement.stack, [neuron for neuron, _ in jobs], rules.score)
    observation, infos = envs.reset(
        seed=[_seed(neuron, seed) for neuron, seed in jobs],
        options={"each": [{**options, **more} for options, more in zip(_options(jobs), asked, strict=True)]},
    )
    episodes = [
        Episode(
            *job,
            label=label,
            first_label=label,
            score=0.0,
            images=int(images),
            added_images=0,
            reward_images=0,
            total_reward=0.0,
            steps=0,
            truncated=False,
            curve=[(0, 0.0, score)],
        )
        for job, label, images, score in zip(jobs, infos["label"], infos["images"], _incumbent(infos), strict=True)
    ]
    first_images = infos["images"]
    valued = [{label} for label in infos["label"]]
    state: Any = agent.start([seed for _, seed in jobs])
    start, running = np.ones(n, bool), np.ones(n, bool)
    while running.any():
        agent.watch(infos)
        actions, state = agent.predict(observation, state, start, True, envs.unwrapped.action_masks())
        for row, suggestion in agent.suggestions().items():
            refinement.suggest(row, suggestion.concept)
            refinement.usage[row] = refinement.usage[row].plus(suggestion.usage)
        observation, rewards, terminated, truncated, infos = envs.step(actions)
        start = np.zeros(n, bool)
        scores = _incumbent(infos)
        for row in np.flatnonzero(running).tolist():
            episode = episodes[row]
            episode.total_reward += float(rewards[row])
            episode.steps += 1
            episode.truncated = bool(truncated[row])
            episode.added_images = int(infos["images"][row] - first_images[row])
            episode.images = int(infos["images"][row])
            valued[row].add(infos["label"][row])
            gained = episode.total_reward + rules.image_cost * episode.added_images
            episode.curve.append((episode.added_images, gained, scores[row]))
        running &= ~(terminated | truncated)
    for row, episode in enumerate(episodes):
        episode.label = infos["label"][row]
        episode.reward_images = refinement.reward_images * len(valued[row])
        episode.concepts = list(zip(infos["master"][row], infos["master_scores"][row].tolist(), strict=False))
        episode.score = dict(episode.concepts)[episode.label]
        episode.labels = agent.ranking(row, episode.concepts, episode.label)[:_CHOICES]
        episode.calls, episode.input_tokens, episode.output_tokens = infos["usage"][row].tolist()
    envs.close()
    return episodes


def _incumbent(infos: dict[str, Any]) -> list[float]:
    """(n,) the best score of each master list."""
    return [
        float(scores[: len(texts)].max()) for scores, texts in zip(infos["master_scores"], infos["master"], strict=True)
    ]
