"""The evaluation loop: it plays parallel episodes of any agent on chosen neurons."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import gymnasium as gym
import numpy as np

from dnr_env.agents.base import Agent
from dnr_env.env.episodes import Episodes
from dnr_env.env.rules import Action, Rules
from dnr_env.env.users import Users
from dnr_env.seeds import block_of
from dnr_env.stack import Stack

_CHOICES = 3  # labels per episode, as in Describe-and-Dissect

Job = tuple[str, int]
"""Neuron and seed of an episode."""


@dataclass
class Episode:
    """The outcome of one episode."""

    neuron: str
    seed: int
    """Seed of the random numbers of mutator, user and agent. It also selects the block of image seeds."""
    label: str
    first_label: str
    """The incumbent at the start."""
    score: float
    """The label's score on the agent's own images."""
    images: int
    """Images drawn for the agent, including the initial measurement."""
    added_images: int
    """Images drawn after the initial measurement, for which the rewards charge."""
    reward_images: int
    """Held-out images of the rewards, which the agent never sees."""
    total_reward: float
    steps: int
    ran_out: bool
    """Whether the limit on steps or images ended it instead of the agent."""
    curve: list[tuple[int, float, float]] = field(default_factory=list)
    """At the start and after each step: added images, value gained so far (rewards without the price of images), and
    the incumbent's score on the agent's own images."""
    concepts: list[tuple[str, float]] = field(default_factory=list)
    """The master list, as texts with scores in the order of measurement."""
    labels: list[str] = field(default_factory=list)
    """The label, and the second and third choice of the agent."""
    calls: int = 0
    """Language-model calls of the episode."""
    input_tokens: int = 0
    """Input tokens of these calls."""
    output_tokens: int = 0
    """Output tokens of these calls."""
    origin: str = ""
    """Where the label comes from, one of `ORIGINS`."""
    origins: list[str] = field(default_factory=list)
    """The origins of `concepts`."""
    fallback: str = ""
    """Why it began with captions although the stack has a writer; "" if it did not."""
    unanswered: list[str] = field(default_factory=list)
    """Why the writer had no answer, for each question of the episode that it did not answer."""
    failure: str = ""
    """Why there is no label; "" if there is one."""


def rollout(
    agent: Agent,
    jobs: Sequence[Job],
    *,
    stack: str | Stack = "shapes",
    rules: Rules | None = None,
    mutator: str | None = None,
    user_concepts: Users = None,
    batch: int = 64,
) -> Iterator[Episode]:
    """Play one episode per job.

    An episode depends on its job only, not on the batch in which it is played.

    Args:
        agent: The agent. Its `env_options` override the arguments here.
        jobs: Neurons and seeds of the episodes.
        stack: The stack, or its name.
        rules: The rules of the environment.
        mutator: The mutator, which proposes new concepts. None is the first one of the stack.
        user_concepts: The source of user concepts.
        batch: The number of parallel episodes.

    Yields:
        The episodes, in the order of the jobs.
    """
    options = dict(agent.env_options)
    env = {"stack": stack, "mutator": options.pop("mutator", mutator), "user_concepts": user_concepts}
    env["rules"] = Rules.of(rules, options)
    for start in range(0, len(jobs), batch):
        yield from _block(agent, jobs[start : start + batch], env)


def _unplayed(
    playing: Episodes, jobs: Sequence[Job], named: Sequence[list[str]], origins: Sequence[str]
) -> list[Episode]:
    """Make the episodes of an agent that labels without playing. Held-out rewards give their gain."""
    labels, rows = [choices[0] for choices in named], np.arange(len(jobs))
    first, gains, drawn = labels, np.zeros(len(jobs)), playing.reward_images
    if playing.rules.reward == "held_out":  # relative to the first incumbent of an agent that plays
        playing.begin(rows.tolist(), [np.random.default_rng(0)] * len(jobs), _options(jobs))
        first = playing.labels
        gains = playing.value(rows, labels) - playing.value(rows, first)
    episodes = [
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
            ran_out=False,
            curve=[(0, gain, 0.0)],
            concepts=[(one, 0.0)],
            labels=choices[:_CHOICES],
        )
        for job, one, other, gain, choices in zip(jobs, labels, first, gains.tolist(), named, strict=True)
    ]
    for episode, origin in zip(episodes, origins, strict=True):
        episode.origin, episode.origins = origin, [origin]
    return episodes


def _seed(neuron: str, seed: int) -> int:
    """Derive the seed of an episode from the neuron's name, so that it does not depend on the order of neurons."""
    return int.from_bytes(hashlib.sha256(f"{neuron} {seed}".encode()).digest()[:6], "big")


def _options(jobs: Sequence[Job]) -> list[dict[str, Any]]:
    """Make the reset options. The seed of an evaluation also selects the block of image seeds."""
    return [{"neuron": neuron, "block": block_of(seed)} for neuron, seed in jobs]


def _block(agent: Agent, jobs: Sequence[Job], env: dict[str, Any]) -> list[Episode]:
    n = len(jobs)
    envs: Any = gym.make_vec(
        f"dnr_env:{agent.env_id}",
        num_envs=n,
        autoreset_mode="Disabled",
        neurons="all",
        **env,
    )
    playing: Episodes = envs.unwrapped.episodes
    rules = playing.rules
    named = agent.labels(playing.stack, [neuron for neuron, _ in jobs], rules.score)
    if named is not None:
        alive = playing.stack.probe.alive[playing.stack.neurons.indices([neuron for neuron, _ in jobs])]
        # Nothing tells which word fits a constant neuron, so its label is any word of the vocabulary.
        origins = [agent.origin(job[0]) if one else "vocabulary" for job, one in zip(jobs, alive, strict=True)]
        return _unplayed(playing, jobs, named, origins)
    asked = agent.prepare(playing.stack, [neuron for neuron, _ in jobs], rules.score)
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
            ran_out=False,
            curve=[(0, 0.0, score)],
            fallback=failure,
        )
        for job, label, images, score, failure in zip(
            jobs, infos["label"], infos["images"], _incumbent(infos), infos["failure"], strict=True
        )
    ]
    first_images = infos["images"]
    valued = [{label} for label in infos["label"]]
    state: Any = agent.start([seed for _, seed in jobs])
    start, running = np.ones(n, bool), np.ones(n, bool)
    while running.any():
        agent.watch(infos)
        actions, state = agent.predict(observation, state, start, True, envs.unwrapped.action_masks())
        for row, suggestion in agent.suggestions().items():
            playing.usage[row] = playing.usage[row].plus(suggestion.usage)
            if suggestion.concept:
                playing.suggest(row, suggestion.concept, agent.origin(jobs[row][0]))
            if suggestion.failure:
                episodes[row].unanswered.append(suggestion.failure)
        stopped = np.asarray(actions).reshape(n, -1)[:, 0] == Action.STOP
        observation, rewards, ended, _, infos = envs.step(actions)
        start = np.zeros(n, bool)
        scores = _incumbent(infos)
        for row in np.flatnonzero(running).tolist():
            episode = episodes[row]
            episode.total_reward += float(rewards[row])
            episode.steps += 1
            episode.ran_out = bool(ended[row] and not stopped[row])
            episode.added_images = int(infos["images"][row] - first_images[row])
            episode.images = int(infos["images"][row])
            valued[row].add(infos["label"][row])
            episode.unanswered += filter(None, [infos["failure"][row]])
            gained = episode.total_reward + rules.image_cost * episode.added_images
            episode.curve.append((episode.added_images, gained, scores[row]))
        running &= ~ended
    for row, episode in enumerate(episodes):
        episode.label = infos["label"][row]
        episode.reward_images = playing.reward_images * len(valued[row])
        scored = zip(infos["master"][row], infos["master_scores"][row].tolist(), strict=True)
        episode.concepts = [(text, score) for text, score in scored if text]
        episode.origin = infos["origin"][row]
        episode.origins = [origin for origin in infos["origins"][row] if origin]
        episode.score = dict(episode.concepts)[episode.label]
        episode.labels = agent.ranking(row, episode.concepts, episode.label)[:_CHOICES]
        episode.calls, episode.input_tokens, episode.output_tokens = infos["usage"][row].tolist()
    envs.close()
    return episodes


def _incumbent(infos: dict[str, Any]) -> list[float]:
    """Find the best score (n,) of each master list."""
    return [
        float(scores[: sum(map(bool, texts))].max())
        for scores, texts in zip(infos["master_scores"], infos["master"], strict=True)
    ]
