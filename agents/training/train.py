"""Training of one policy per seed, which resumes from a checkpoint if there is one."""

from __future__ import annotations

import csv
import io
import json
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sb3_contrib import MaskablePPO
from stable_baselines3 import A2C, DQN, PPO
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Logger, make_output_format
from tqdm import tqdm

from dnr_env.agents.learned.features import features
from dnr_env.agents.learned.policy import LearnedAgent
from dnr_env.agents.training.checkpoints import load_checkpoint, save_checkpoint
from dnr_env.agents.training.cloning import clone
from dnr_env.agents.training.options import (
    VARIED,
    Options,
    differing,
    env_options,
    groups,
    options_json,
    settings_json,
    validation_neurons,
)
from dnr_env.agents.training.set_policy import SetPolicy, acting_network
from dnr_env.agents.training.vec_env import make_vec_env, seed_episodes
from dnr_env.env.rules import Rules
from dnr_env.errors import DnRError
from dnr_env.evaluation.rollout import Episode, rollout
from dnr_env.files import make_folder, read_settings, write_atomically
from dnr_env.registry import load as load_stack


def make_model(options: Options, seed: int) -> BaseAlgorithm:
    """Make the learner and its environments. No two seeds have the same first episodes."""
    see = partial(features, without=options.without)
    envs = make_vec_env(options.envs, options.moves, see, groups(options))

    length = {"maskable-ppo": 32, "ppo": 32, "a2c": 16}.get(options.algorithm, 0)  # steps per rollout

    def rate(remaining: float) -> float:
        """Use the progress at the start of the rollout: learners ask at its end, possibly after the last step."""
        begun = remaining + length * options.envs / max(options.steps, 1)
        return options.learning_rate * min(max(begun, 0.0), 1.0)

    common: dict[str, Any] = {"learning_rate": rate, "gamma": options.gamma, "seed": seed, "device": "cpu"}
    policy: Any = SetPolicy if options.network == "set" else "MlpPolicy"
    common["policy_kwargs"] = {"form": options.moves} if options.network == "set" else {"net_arch": [64, 64]}
    match options.algorithm:
        case "maskable-ppo" | "ppo":
            kind = MaskablePPO if options.algorithm == "maskable-ppo" else PPO
            batch = min(512, length * options.envs)
            model = kind(
                policy, envs, n_steps=length, batch_size=batch, n_epochs=6, gae_lambda=1.0, ent_coef=options.entropy,
                **common
            )  # fmt: skip
        case "a2c":
            model = A2C(policy, envs, n_steps=length, ent_coef=options.entropy, **common)
        case "dqn":
            model = DQN(
                policy, envs, buffer_size=100_000, learning_starts=5_000, batch_size=256, train_freq=4,
                gradient_steps=16, target_update_interval=1_000, exploration_fraction=0.3, **common
            )  # fmt: skip
    seed_episodes(model)
    return model


def validate(model: BaseAlgorithm, options: Options) -> tuple[float, float]:
    """Compute the mean return and the mean added images of the policy on the validation neurons.

    The policy plays on each stack that has validation neurons, at each price, with the first score, user and budget.
    Stacks count alike. There are at least four seeds in total, and the same number at each price.
    """
    agent = LearnedAgent("validation", acting_network(model), options.moves, options_json(options))
    first = env_options(options, **{name: getattr(options, name)[0] for name in VARIED})
    each = -(-4 // len(options.image_cost))
    found = []
    for stack, chosen in validation_neurons(options).items():
        episodes: list[Episode] = []
        for i, price in enumerate(options.image_cost):
            jobs = [(neuron, seed) for seed in range(i * each, (i + 1) * each) for neuron in chosen]
            rules = Rules(score=options.score[0], budget=options.budget[0], image_cost=price)
            episodes += rollout(
                agent, jobs, stack=stack, rules=rules, mutator=options.mutator, user_concepts=first["user_concepts"]
            )
        found.append([(episode.total_reward, episode.images) for episode in episodes])
    value, images = np.mean([np.mean(one, axis=0) for one in found], axis=0).tolist()
    return value, images


class Checkpoints(BaseCallback):  # type: ignore[misc]
    """Validates every `checkpoint_every` steps, keeps the best policy, and saves checkpoint and learning curve."""

    def __init__(self, options: Options, folder: Path, curve: list[dict[str, float]], bar: tqdm[Any]) -> None:
        super().__init__()
        self.options, self.folder, self.curve, self.bar = options, folder, curve, bar

    def _on_step(self) -> bool:
        return True

    def _on_rollout_start(self) -> None:
        self.bar.update(self.num_timesteps - self.bar.n)
        self.model.ent_coef = self.options.entropy * max(0.0, 1 - self.num_timesteps / max(self.options.steps, 1))
        last = self.curve[-1]["steps"] if self.curve else 0
        if self.num_timesteps - last >= self.options.checkpoint_every:
            self.save()

    def save(self) -> None:
        """Validate, and save the results."""
        value, images = validate(self.model, self.options)
        best = max((row["validation_return"] for row in self.curve), default=-np.inf)
        self.curve.append({"steps": self.num_timesteps, "validation_return": value, "validation_images": images})
        self.logger.record("validation/return", value)
        self.logger.record("validation/images", images)
        self.logger.dump(self.num_timesteps)
        self.bar.update(self.num_timesteps - self.bar.n)
        if value > best:
            card = {**options_json(self.options), "trained_steps": self.num_timesteps, "validation_return": value}
            LearnedAgent("policy", acting_network(self.model), self.options.moves, card).save(self.folder)
        save_checkpoint(self.model, self.folder / "checkpoint.safetensors", self.curve)
        draw_curve(self.folder, self.curve)
        counters = load_stack(self.options.stack[0]).lab.counters
        self.bar.set_postfix_str(f"return {value:.4f}, {images:.0f} images; {counters}")


def draw_curve(folder: Path, curve: list[dict[str, float]]) -> None:
    """Save the learning curve as CSV and PNG."""
    import matplotlib.figure

    text = io.StringIO()
    writer = csv.DictWriter(text, list(curve[0]))
    writer.writeheader()
    writer.writerows(curve)
    write_atomically(folder / "curve.csv", text.getvalue().encode())
    figure = matplotlib.figure.Figure((6, 3.5), layout="constrained")
    axes = figure.subplots()
    axes.plot([row["steps"] for row in curve], [row["validation_return"] for row in curve], marker=".")
    axes.set(xlabel="steps", ylabel="mean return, validation neurons", title=folder.name)
    axes.grid(alpha=0.3)
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=120)
    write_atomically(folder / "curve.png", image.getvalue())


def open_logs(folder: Path, begun: int) -> Logger:
    """Open CSV and TensorBoard logs. A resumed run writes new files, so that earlier logs stay."""
    suffix = f"-from-{begun}" if begun else ""
    folder.mkdir(exist_ok=True)
    return Logger(str(folder), [make_output_format(kind, str(folder), suffix) for kind in ("csv", "tensorboard")])


def train_seed(options: Options, seed: int) -> None:
    """Train the policy of one seed, or resume it from its checkpoint.

    Raises:
        DnRError: The folder holds a run with other options, models or user concepts, or its checkpoint is damaged.
    """
    folder = options.out / f"seed-{seed}"
    make_folder(folder)
    wanted = (json.dumps(settings_json(options), indent=2) + "\n").encode()
    settings = folder / "options.json"
    if settings.exists() and (other := differing(json.loads(wanted), read_settings(settings))):
        raise DnRError(
            f"`out` must be a new folder or the folder of a run with the same options (got {folder}, which differs in "
            f"{', '.join(other)})"
        )
    torch.set_num_threads(1)  # threads do not speed up networks of this size
    model = make_model(options, seed)
    write_atomically(settings, wanted)  # only now, since making the environments checks the options
    curve = load_checkpoint(model, folder / "checkpoint.safetensors")
    if curve and model.num_timesteps >= options.steps:
        return
    with (
        closing(open_logs(folder / "logs", model.num_timesteps)) as logs,
        tqdm(total=options.steps, initial=model.num_timesteps, unit="step", desc=str(folder)) as bar,
    ):
        model.set_logger(logs)
        callback = Checkpoints(options, folder, curve, bar)
        if options.clone and not curve:
            clone(model, options.clone)
            callback.init_callback(model)
            callback.save()
        if options.steps == 0:
            return
        model.learn(options.steps - model.num_timesteps, callback, log_interval=10, reset_num_timesteps=False)
        callback.save()
