"""Measure speeds in one run, as ratios where two things can be compared.

    make bench

Everything runs on a temporary store, which is empty at the start. `benchmarks/steps.py` compares with another commit.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

START = """
import time
begin = time.perf_counter()
import gymnasium as gym
gym.make("dnr_env:DnR/Refine-v0").reset(seed=0)
print(time.perf_counter() - begin)
"""
CHOICE = (0.45, 0.5, 0.0, 0.05)  # KEEP, MUTATE, ADD, STOP
STEPS = 16_384  # of PPO
TRAINING = 60_000  # steps


class Wanted(NamedTuple):
    """The least speeds of a world."""

    drawn: int
    """Images/s that the renderer draws."""
    measured: int
    """Images/s that are drawn and measured."""
    steps: int
    """Steps/s of 64 episodes on a warm store."""
    learnt: float
    """Steps/s of PPO, in those of PPO on CartPole."""


WORLDS = {"shapes": Wanted(2000, 800, 10_000, 0.33), "scenes": Wanted(1500, 500, 6_000, 0.25)}
DRAWS_LITTLE = "shortlist:3"
"""The agent that must be much cheaper than the plain loop, which draws ten images of each of five concepts."""


def timed(function: Callable[[], Any]) -> float:
    """Measure the seconds of one call."""
    begin = time.perf_counter()
    function()
    return time.perf_counter() - begin


def show(name: str, value: str, wanted: str, met: bool) -> None:
    """Print one line of the table."""
    outcome = ("ok" if met else "MISSED") if wanted else ""
    print(f"{name:<66}{value:>16}   {wanted:<18}{outcome}", flush=True)


def start() -> None:
    """Time import, make and reset in two processes, of which the second finds a warm store."""
    seconds = [
        float(subprocess.run([sys.executable, "-c", START], capture_output=True, check=True).stdout) for _ in range(2)
    ]
    show("import + gym.make + reset, warm store", f"{seconds[1]:.2f} s", "<= 3 s", seconds[1] <= 3)


def images(world: str) -> None:
    """Time the generator alone and a whole measurement, on images that are not in the store."""
    from dnr_env import load_stack

    stack, wanted, n = load_stack(world), WORLDS[world], 4000
    vocabulary = stack.vocabulary.concepts
    texts = [vocabulary[i * 7919 % len(vocabulary)] for i in range(n)]
    stack.lab.measure(concepts=texts[:1], seeds=np.array([[10**6 - 1]]))  # loads the networks
    drawn = n / timed(lambda: stack.lab.generator.generate(texts, range(10**6, 10**6 + n)))
    show(f"{world}: renderer, images/s", f"{drawn:,.0f}", f">= {wanted.drawn:,}", drawn >= wanted.drawn)
    seeds = np.arange(2 * 10**6, 2 * 10**6 + n)[:, None]
    measured = n / timed(lambda: stack.lab.measure(concepts=texts, seeds=seeds))
    met = measured >= wanted.measured
    show(f"{world}: cold measurement, store included, images/s", f"{measured:,.0f}", f">= {wanted.measured:,}", met)


def steps(envs: Any, count: int) -> float:
    """Measure the steps per second of random play."""
    rng = np.random.default_rng(0)
    envs.reset(seed=0)
    begin = time.perf_counter()
    for _ in range(count):
        envs.step(rng.choice(4, size=envs.num_envs, p=CHOICE))
    return float(count * envs.num_envs / (time.perf_counter() - begin))


def environments(world: str) -> None:
    """Compare the native vector environment with `SyncVectorEnv`, alternating, on a warm store."""
    import gymnasium as gym

    made: dict[str, Any] = {"id": "dnr_env:DnR/Refine-v0", "num_envs": 64, "stack": world}
    native = gym.make_vec(**made, autoreset_mode="SameStep")
    sync = gym.make_vec(**made, vectorization_mode="sync", vector_kwargs={"autoreset_mode": "SameStep"})
    steps(native, 150)  # warms the store, since the same actions follow
    rates = [(steps(native, 150), steps(sync, 30)) for _ in range(3)]
    fast, slow = (float(np.median(column)) for column in zip(*rates, strict=True))
    wanted = WORLDS[world].steps
    show(f"{world}: native vector environment, 64 warm, steps/s", f"{fast:,.0f}", f">= {wanted:,}", fast >= wanted)
    aim = ">= 8 x" if world == "shapes" else ""
    show("  against SyncVectorEnv of 64", f"{fast / slow:.1f} x", aim, fast >= 8 * slow)


def learning(world: str) -> None:
    """Compare PPO on our environment with PPO on CartPole, alternating, on a warm store, and weigh the store."""
    import torch
    from stable_baselines3 import PPO
    from stable_baselines3.common.env_util import make_vec_env as make_cartpoles

    from dnr_env.agents.training.vec_env import make_vec_env

    torch.set_num_threads(1)

    def rate(make: Callable[[], Any]) -> float:
        model = PPO("MlpPolicy", make(), n_steps=32, batch_size=512, n_epochs=6, seed=0, device="cpu")
        return STEPS / timed(lambda: model.learn(STEPS))

    before = stored()
    rate(lambda: make_vec_env(64, stack=world))
    kept = (stored() - before) * TRAINING / STEPS / 1e9
    rates = [
        (rate(lambda: make_vec_env(64, stack=world)), rate(lambda: make_cartpoles("CartPole-v1", 64))) for _ in range(3)
    ]
    ours, theirs = (float(np.median(column)) for column in zip(*rates, strict=True))
    wanted = WORLDS[world].learnt
    show(f"{world}: PPO end to end, 64 warm, steps/s", f"{ours:,.0f}", "", True)
    show("  against PPO on 64 CartPole-v1", f"{ours / theirs:.2f} x", f">= {wanted} x", ours >= wanted * theirs)
    show(f"  its part of the store, for {TRAINING:,} steps", f"{kept:.2f} GB", "<= 3 GB", kept <= 3)


def stored() -> int:
    """The bytes of the store."""
    return sum(path.stat().st_size for path in Path(os.environ["DNR_CACHE_DIR"]).glob("store.sqlite*"))


def dnd_loop(neurons: Sequence[int], share_probe: bool) -> list[str]:
    """Label neurons with Describe-and-Dissect as a plain script: one neuron and one concept at a time, no cache."""
    from dnr_env.evidence.probe import Probe
    from dnr_env.scores import dnd_selection
    from dnr_env.seeds import Purpose
    from dnr_env.shapes.language import LexiconWriter
    from dnr_env.shapes.parse import normalise
    from dnr_env.shapes.reader import ShapesReader
    from dnr_env.shapes.render import Renderer

    generator, reader, writer = Renderer(), ShapesReader(16), LexiconWriter()
    seeds = Purpose.PROBE.seeds(0, 2000)

    def measure_probe() -> Probe:
        activations, embeddings = reader.read(generator.generate(["thing"] * len(seeds), seeds.tolist()))
        return Probe("", activations, embeddings, lambda i: generator.generate(["thing"] * len(i), seeds[i].tolist()))

    probe = measure_probe()
    labels = []
    for neuron in neurons:
        probe = probe if share_probe else measure_probe()
        captions = reader.caption(probe.images(probe.exemplars[neuron]))
        (summary,) = writer.summarise([captions], 5, [np.random.default_rng(neuron)])
        concepts = [normalise(concept) for concept in summary.concepts]
        activations, similarities = [], []
        for concept in concepts:
            read = reader.read(generator.generate([concept] * 10, range(10)))
            activations.append(probe.normalise(read[0][None, :, neuron], np.array([neuron]))[0])
            similarities.append(read[1] @ probe.exemplar_embeddings[neuron])
        labels.append(concepts[int(dnd_selection(np.array(activations), np.array(similarities)).argmax())])
    return labels


LABEL = """
import json, sys, time
from dnr_env.agents.registry import make_agent
from dnr_env.evaluation.rollout import rollout
from dnr_env import Rules, load_stack
stack = load_stack("shapes")
begin = time.perf_counter()
names = stack.neurons
jobs = [(names[int(i)], 0) for i in sys.argv[2:]]
episodes = list(rollout(make_agent(sys.argv[1]), jobs, rules=Rules(reward="none")))
seconds = time.perf_counter() - begin
print(json.dumps({"seconds": seconds, "drawn": stack.lab.counters.drawn, "labels": [e.label for e in episodes]}))
"""


def labelling() -> None:
    """Label 64 neurons with an empty store: a plain script compared with agents."""
    from dnr_env import Rules, load_stack
    from dnr_env.evaluation.judge import judge

    stack = load_stack("shapes")
    names = stack.neurons
    neurons = list(range(names.index("layer4:0"), names.index("layer4:0") + 64))
    drawn = 64 * 5 * 10

    def quality(labels: Sequence[str]) -> float:
        return float(
            np.mean(
                [
                    v.value
                    for v in judge(
                        stack,
                        neurons=[names[i] for i in neurons],
                        labels=labels,
                        rules=Rules(score=Rules().score, images_per_measure=5),
                    )
                ]
            )
        )

    loop: list[str] = []
    alone = timed(lambda: loop.extend(dnd_loop(neurons, share_probe=False)))
    shared = timed(lambda: dnd_loop(neurons, share_probe=True))
    what = f"{alone:.1f} s, {drawn:,} images, judge {quality(loop):.3f}"
    print(f"labelling 64 neurons: DnD-style loop, nothing shared: {what}")
    print(f"  the same loop with the probe set measured once for all neurons: {shared:.1f} s")
    for agent in (DRAWS_LITTLE, "dnd"):
        with tempfile.TemporaryDirectory() as cold:
            command = [sys.executable, "-c", LABEL, agent, *map(str, neurons)]
            environment = {**os.environ, "DNR_CACHE_DIR": cold, "PYTHONPATH": str(Path.cwd())}
            output = subprocess.run(command, env=environment, capture_output=True, check=True, text=True).stdout
        ours = json.loads(output)
        ratio, fewer = alone / ours["seconds"], drawn / ours["drawn"]
        what = f"agent {agent}: {ours['seconds']:.1f} s, {ours['drawn']:,} images, judge {quality(ours['labels']):.3f}"
        wanted = agent == DRAWS_LITTLE
        show(f"  {what}; time", f"{ratio:.1f} x", ">= 20 x" if wanted else "", ratio >= 20 or not wanted)
        show("    images", f"{fewer:.1f} x fewer", ">= 3 x" if wanted else "", fewer >= 3 or not wanted)
        show(
            "    like for like: time against the loop with a shared probe set"
            if agent == "dnd"
            else "    time against the loop with a shared probe set",
            f"{shared / ours['seconds']:.1f} x",
            "",
            True,
        )


def main() -> None:
    """Run all benchmarks."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["DNR_CACHE_DIR"] = folder
        start()
        for world in WORLDS:
            images(world)
            environments(world)
            learning(world)
        labelling()


if __name__ == "__main__":
    main()
