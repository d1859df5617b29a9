"""Train a policy on the environment with Stable-Baselines3.

    python train.py --out runs/ppo                      # five seeds of MaskablePPO, five minutes on two cores
    python train.py --out runs/dqn --algorithm dqn --seeds 0

Writes for each seed a folder with the best policy by the validation split (safetensors and JSON), its learning curve
(CSV and PNG), TensorBoard logs and a checkpoint. Run the same command again to go on where it was stopped.
"""

from __future__ import annotations

import csv
import io
import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from tqdm import tqdm

from agents.extras import extra
from agents.features import INCUMBENT_MOVES, MOVES
from agents.learned import LearnedAgent
from agents.rollout import rollout
from dnr_env import DnRError, load_stack
from dnr_env.files import make_folder, write_atomically
from dnr_env.neurons import select

with extra("train"):
    import tyro
    from sb3_contrib import MaskablePPO
    from stable_baselines3 import A2C, DQN, PPO
    from stable_baselines3.common.base_class import BaseAlgorithm
    from stable_baselines3.common.callbacks import BaseCallback
    from stable_baselines3.common.logger import Logger, make_output_format

    from agents.checkpoints import load_checkpoint, network_of, save_checkpoint
    from agents.sb3 import make_vec_env

MOVE_SETS = {"slots": MOVES, "incumbent": INCUMBENT_MOVES}


@dataclass(frozen=True)
class Options:
    """Train a policy; the same command goes on where it was stopped."""

    out: Path
    """Folder of the run; seed s goes to OUT/seed-s."""
    algorithm: Literal["maskable-ppo", "ppo", "a2c", "dqn"] = "maskable-ppo"
    """Which learner of Stable-Baselines3 or sb3-contrib."""
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    """Training seeds, one policy each."""
    steps: int = 120_000
    """Steps of the environment for each seed."""
    envs: int = 64
    """Episodes side by side."""
    learning_rate: float = 1e-3
    """At the beginning; it falls linearly to zero."""
    moves: Literal["incumbent", "slots"] = "slots"
    """Whether the policy may act on each of the four best candidates or on the best alone."""
    gamma: float = 0.99
    """Discount."""
    entropy: float = 0.005
    """Weight of the entropy bonus; not for DQN."""
    stack: str = "shapes"
    """Models: shapes, shapes-transfer, shapes-unfaithful, turbo, sd15, or a YAML file; then settings, as in
    "turbo probe.images=photos target.layers=layer3"."""
    neurons: str = "train"
    """Neurons to train on."""
    validation: str = "validation"
    """Neurons that choose the best policy."""
    user_concepts: str | None = None
    """A file of concepts, or simulated:QUALITY; nobody by default."""
    image_cost: float = 0.0005
    """Price of an image."""
    budget: int = 100
    """Images after the initial measurement."""
    score: str = "log_k"
    """Score of a concept."""
    mutator: str | None = None
    """What makes new concepts, a name of the stack's; its first by default."""
    reward: Literal["held_out", "observed"] = "held_out"
    """Which images the gain is taken on."""
    checkpoint_every: int = 20_480
    """Steps between two checkpoints, at which the policy is validated."""


def env_options(options: Options) -> dict[str, Any]:
    """The arguments of the environment."""
    names = ("stack", "neurons", "user_concepts", "image_cost", "budget", "score", "mutator", "reward")
    return {name: getattr(options, name) for name in names}


def make_model(options: Options, seed: int) -> BaseAlgorithm:
    """The learner on its environments."""
    envs = make_vec_env(options.envs, MOVE_SETS[options.moves], **env_options(options))

    def rate(remaining: float) -> float:
        return options.learning_rate * remaining

    common: dict[str, Any] = {"learning_rate": rate, "gamma": options.gamma, "seed": seed, "device": "cpu"}
    common["policy_kwargs"] = {"net_arch": [64, 64]}
    match options.algorithm:
        case "maskable-ppo" | "ppo":
            kind = MaskablePPO if options.algorithm == "maskable-ppo" else PPO
            batch = min(512, 32 * options.envs)
            return kind("MlpPolicy", envs, n_steps=32, batch_size=batch, n_epochs=6, ent_coef=options.entropy, **common)
        case "a2c":
            return A2C("MlpPolicy", envs, n_steps=16, ent_coef=options.entropy, **common)
        case "dqn":
            return DQN(
                "MlpPolicy", envs, buffer_size=100_000, learning_starts=5_000, batch_size=256, train_freq=4,
                gradient_steps=16, target_update_interval=1_000, exploration_fraction=0.3, **common
            )  # fmt: skip


def validation_neurons(options: Options) -> list[str]:
    """Names of the neurons that choose the best policy."""
    names = load_stack(options.stack).lab.reader.neurons
    try:
        return [names[i] for i in select(names, options.validation)]
    except DnRError as error:
        raise DnRError(str(error).replace("neurons", "validation", 1)) from None


def check(options: Options) -> None:
    """Refuse what would fail later, or do nothing.

    Raises:
        DnRError: an option's value cannot be used.
    """
    for name in ("steps", "envs", "checkpoint_every"):
        if getattr(options, name) < 1:
            raise DnRError(f"{name}: {getattr(options, name)} is too few; 1 or more will do")
    if not options.seeds:
        raise DnRError("seeds: none was given; 0 1 2 will do")
    for seed in options.seeds:
        if not 0 <= seed < 2**32:
            raise DnRError(f"seeds: {seed} is no seed; a number from 0 to 2**32 - 1 will do")
    for name, least, most in (("learning_rate", 1e-12, 1.0), ("gamma", 0.0, 1.0), ("entropy", 0.0, 1.0)):
        if not least <= getattr(options, name) <= most:
            raise DnRError(f"{name}: {getattr(options, name)} is out of range; {least} to {most} will do")
    validation_neurons(options)


def validate(model: BaseAlgorithm, options: Options) -> tuple[float, float]:
    """Mean return and mean added images of the policy on the validation neurons, with four seeds each."""
    chosen = validation_neurons(options)
    agent = LearnedAgent("validation", network_of(model), MOVE_SETS[options.moves], {})
    env = env_options(options) | {"reward": "held_out"}
    episodes = list(rollout(agent, [(neuron, seed) for seed in range(4) for neuron in chosen], **env))
    return float(np.mean([e.total_reward for e in episodes])), float(np.mean([e.added_images for e in episodes]))


class Checkpoints(BaseCallback):  # type: ignore[misc]
    """Every `checkpoint_every` steps: validate, keep the best policy, save a checkpoint, draw the learning curve."""

    def __init__(self, options: Options, folder: Path, curve: list[dict[str, float]], bar: tqdm[Any]) -> None:
        super().__init__()
        self.options, self.folder, self.curve, self.bar = options, folder, curve, bar

    def _on_step(self) -> bool:
        return True

    def _on_rollout_start(self) -> None:
        self.bar.update(self.num_timesteps - self.bar.n)
        last = self.curve[-1]["steps"] if self.curve else 0
        if self.num_timesteps - last >= self.options.checkpoint_every:
            self.save()

    def save(self) -> None:
        """Validate and save now."""
        value, images = validate(self.model, self.options)
        best = max((row["validation_return"] for row in self.curve), default=-np.inf)
        self.curve.append({"steps": self.num_timesteps, "validation_return": value, "validation_images": images})
        self.logger.record("validation/return", value)
        self.logger.record("validation/images", images)
        self.logger.dump(self.num_timesteps)
        if value > best:
            card = {**options_json(self.options), "trained_steps": self.num_timesteps, "validation_return": value}
            LearnedAgent("policy", network_of(self.model), MOVE_SETS[self.options.moves], card).save(self.folder)
        save_checkpoint(self.model, self.folder / "checkpoint.safetensors", self.curve)
        draw_curve(self.folder, self.curve)
        counters = load_stack(self.options.stack).lab.counters
        self.bar.set_postfix_str(f"return {value:.4f}, {images:.0f} images; {counters}")


def draw_curve(folder: Path, curve: list[dict[str, float]]) -> None:
    """Write the learning curve as CSV and PNG."""
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
    """CSV and TensorBoard logs; what a stopped run has written stays beside them."""
    suffix = f"-from-{begun}" if begun else ""
    folder.mkdir(exist_ok=True)
    return Logger(str(folder), [make_output_format(kind, str(folder), suffix) for kind in ("csv", "tensorboard")])


def options_json(options: Options) -> dict[str, Any]:
    """The options that decide what is learned, as they stand in the run's folder."""
    return {name: value for name, value in asdict(options).items() if name not in ("out", "seeds")}


def train_seed(options: Options, seed: int) -> None:
    """Train one policy, from its checkpoint if there is one."""
    folder = options.out / f"seed-{seed}"
    make_folder(folder)
    wanted = (json.dumps(options_json(options), indent=2) + "\n").encode()
    settings = folder / "options.json"
    if settings.exists() and settings.read_bytes() != wanted:
        raise DnRError(f"out: {folder} was trained with other options (see its options.json); another folder will do")
    torch.manual_seed(seed)
    torch.set_num_threads(1)  # more threads only get in the way of networks as small as these
    model = make_model(options, seed)
    write_atomically(settings, wanted)  # the options are good: the environments exist
    curve = load_checkpoint(model, folder / "checkpoint.safetensors")
    if model.num_timesteps >= options.steps:
        return
    model.set_logger(open_logs(folder / "logs", model.num_timesteps))
    with tqdm(total=options.steps, initial=model.num_timesteps, unit="step", desc=str(folder)) as bar:
        callback = Checkpoints(options, folder, curve, bar)
        model.learn(options.steps - model.num_timesteps, callback, log_interval=10, reset_num_timesteps=False)
        callback.save()


def main() -> None:
    """The command line."""
    options = tyro.cli(Options)
    try:
        check(options)
        for seed in dict.fromkeys(options.seeds):
            train_seed(options, seed)
    except DnRError as error:
        sys.exit(f"train.py: {error}")
    except KeyboardInterrupt:
        print(
            f"\ntrain.py: stopped; the same command goes on from the last checkpoint in {options.out}", file=sys.stderr
        )
        sys.exit(130)
    print(
        f"policies in {options.out}; next: python evaluate.py compare --agents dnd dnr patience:6 {options.out} --out …"
    )


if __name__ == "__main__":
    main()
