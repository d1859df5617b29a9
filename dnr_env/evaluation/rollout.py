"""The evaluation loop: it plays parallel episodes of any agent on chosen neurons."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
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
_LISTED = ("master", "master_means", "master_deviations", "master_images")

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
    mean: float | None
    """The posterior mean of the label's value, from the agent's own evidence; None for an agent that does not play."""
    deviation: float | None
    """The posterior deviation of the same."""
    images: int
    """Images drawn for the agent. All of them are billed."""
    reward_images: int
    """Held-out images of the rewards, which the agent never sees."""
    total_reward: float
    steps: int
    ran_out: bool
    """Whether the limit on steps ended it instead of the agent."""
    curve: list[tuple[int, float, float | None]] = field(default_factory=list)
    """At the start and after each step: images drawn, value gained so far (rewards without the prices), and the
    posterior mean of the incumbent (None for an agent that does not play)."""
    concepts: list[tuple[str, float | None, int]] = field(default_factory=list)
    """The master list in the order of listing: texts with their posterior means and the images drawn of them."""
    labels: list[str] = field(default_factory=list)
    """The label, and the second and third choice of the agent."""
    calls: int = 0
    """Language-model calls of the episode."""
    input_tokens: int = 0
    """Input tokens of these calls."""
    output_tokens: int = 0
    """Output tokens of these calls."""
    mutation_cost: float = 0.0
    """US dollars of the calls for mutations, for which the rewards charge."""
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
            mean=None,
            deviation=None,
            images=0,
            reward_images=drawn * _noun_phrases(playing.stack, {one, other}),
            total_reward=gain,
            steps=0,
            ran_out=False,
            curve=[(0, gain, None)],
            concepts=[(one, None, 0)],
            labels=choices[:_CHOICES],
        )
        for job, one, other, gain, choices in zip(jobs, labels, first, gains.tolist(), named, strict=True)
    ]
    for episode, origin in zip(episodes, origins, strict=True):
        episode.origin, episode.origins = origin, [origin]
    return episodes


def _noun_phrases(stack: Stack, labels: Iterable[str]) -> int:
    """The number of noun phrases that are drawn for some labels."""
    return len({drawn for label in labels for drawn in stack.language.parts(label).drawn})


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
            mean=None,
            deviation=None,
            images=0,
            reward_images=0,
            total_reward=0.0,
            steps=0,
            ran_out=False,
            curve=[(0, 0.0, mean)],
            fallback=failure,
        )
        for job, label, mean, failure in zip(jobs, infos["label"], _incumbent(infos), infos["failure"], strict=True)
    ]
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
        paid = [playing.stack.bill.cost(usage) for usage in playing.usage]
        stopped = np.asarray(actions).reshape(n, -1)[:, 0] == Action.STOP
        observation, rewards, ended, _, infos = envs.step(actions)
        start = np.zeros(n, bool)
        means = _incumbent(infos)
        for row in np.flatnonzero(running).tolist():
            episode = episodes[row]
            episode.total_reward += float(rewards[row])
            episode.steps += 1
            episode.ran_out = bool(ended[row] and not stopped[row])
            episode.mutation_cost += playing.stack.bill.cost(playing.usage[row]) - paid[row]
            episode.images = int(infos["images"][row])
            valued[row].add(infos["label"][row])
            episode.unanswered += filter(None, [infos["failure"][row]])
            episode.curve.append((episode.images, episode.total_reward + price(rules, episode), means[row]))
        running &= ~ended
    for row, episode in enumerate(episodes):
        episode.label = infos["label"][row]
        episode.reward_images = playing.reward_images * _noun_phrases(playing.stack, valued[row])
        listed = zip(*(infos[key][row] for key in _LISTED), strict=True)
        found = {text: (float(mean), float(deviation), int(images)) for text, mean, deviation, images in listed if text}
        episode.mean, episode.deviation, _ = found[episode.label]
        episode.concepts = [(text, mean, images) for text, (mean, _, images) in found.items()]
        episode.origin = infos["origin"][row]
        episode.origins = [origin for origin in infos["origins"][row] if origin]
        means_of = [(text, mean) for text, (mean, *_) in found.items()]
        episode.labels = agent.ranking(row, means_of, episode.label)[:_CHOICES]
        episode.calls, episode.input_tokens, episode.output_tokens = infos["usage"][row].tolist()
    envs.close()
    return episodes


def _incumbent(infos: dict[str, Any]) -> list[float]:
    """Find the highest posterior mean (n,) of each master list."""
    return [
        float(means[: sum(map(bool, texts))].max())
        for means, texts in zip(infos["master_means"], infos["master"], strict=True)
    ]


def price(rules: Rules, episode: Episode) -> float:
    """What an episode cost: its images and its mutations, in units of the score."""
    return rules.image_cost * episode.images + rules.dollar_cost * episode.mutation_cost
