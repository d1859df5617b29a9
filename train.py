"""Train a policy on the environment with Stable-Baselines3.

    python train.py --out runs/ppo                      # five seeds of MaskablePPO, ten minutes
    python train.py --out runs/dqn --algorithm dqn --network flat --seeds 0
    python train.py --out runs/cloned --clone patience:2 --steps 0

Writes for each seed a folder with the best policy by the validation split (safetensors and JSON), its learning curve
(CSV and PNG), TensorBoard logs and a checkpoint. Run the same command again to go on where it was stopped.
"""

from __future__ import annotations

import csv
import io
import json
import sys
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from tqdm import tqdm

from agents.extras import extra
from agents.features import INCUMBENT_MOVES, MOVES, features
from agents.learned import LearnedAgent
from agents.rollout import Episode, rollout
from dnr_env import Action, DnRError, load_stack
from dnr_env.files import make_folder, read_settings, write_atomically
from dnr_env.neurons import select

with extra("train"):
    import tyro
    from sb3_contrib import QRDQN, MaskablePPO, RecurrentPPO
    from stable_baselines3 import A2C, DQN, PPO
    from stable_baselines3.common.base_class import BaseAlgorithm
    from stable_baselines3.common.callbacks import BaseCallback
    from stable_baselines3.common.logger import Logger, make_output_format

    from agents.checkpoints import load_checkpoint, network_of, save_checkpoint
    from agents.cloning import clone, teacher_of
    from agents.sb3 import SetPolicy, make_vec_env, seed_episodes

MOVE_SETS = {
    "slots": MOVES,
    "incumbent": INCUMBENT_MOVES,
    "no-keep": tuple((action, slot) for action, slot in MOVES if action != Action.KEEP),
}


@dataclass(frozen=True)
class Options:
    """Train a policy; the same command goes on where it was stopped."""

    out: Path
    """Folder of the run; seed s goes to OUT/seed-s."""
    algorithm: Literal["maskable-ppo", "ppo", "a2c", "dqn", "qr-dqn"] = "maskable-ppo"
    """Which learner of Stable-Baselines3 or sb3-contrib."""
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    """Training seeds, one policy each."""
    clone: str | None = None
    """An agent, as patience:2, whose moves the policy learns to repeat before all else (maskable-ppo only)."""
    steps: int = 120_000
    """Steps of the environment for each seed; 0 for a policy that only repeats."""
    envs: int = 64
    """Episodes side by side."""
    learning_rate: float = 1e-3
    """At the beginning; it falls linearly to zero."""
    moves: Literal["slots", "incumbent", "no-keep"] = "slots"
    """Whether the policy may act on each of the four best candidates, on the best alone, or on each but never KEEP."""
    network: Literal["set", "flat", "raw", "recurrent"] = "set"
    """What takes the candidates as a set (maskable-ppo on slots only); in a row; in a row with the embeddings of
    concepts and exemplars, which makes the policy good for this embedder alone; in a row with a memory (ppo only)."""
    without: tuple[Literal["errors", "exemplars", "simulation"], ...] = ()
    """What the policy does not see."""
    gamma: float = 0.99
    """Discount."""
    entropy: float = 0.005
    """Weight of the entropy bonus; not for DQN and QR-DQN."""
    stack: tuple[str, ...] = ("shapes", "shapes-directions")
    """Models, each a name such as shapes or turbo, or a YAML file; then settings, as in
    "turbo probe.images=photos target.layers=layer3". Where there are several stacks, scores, users, prices or budgets,
    they are dealt to eight parts of the episodes."""
    neurons: str = "train"
    """Neurons to train on; of a further stack all, where it has none of the first one's names."""
    validation: str = "validation"
    """Neurons of the first stack that choose the best policy, at all prices, by the first score, user and budget."""
    score: tuple[str, ...] = ("grounded_k", "log_k")
    """Scores of a concept."""
    user_concepts: tuple[str, ...] = ("none", "simulated:0.5")
    """Each a file of concepts, simulated:QUALITY, or none."""
    image_cost: tuple[float, ...] = (0.0, 0.0005, 0.001, 0.004)
    """Prices of an image."""
    budget: tuple[int, ...] = (100, 50)
    """Images after the initial measurement."""
    mutator: str | None = None
    """What makes new concepts, a name of the stack's; its first by default."""
    reward: Literal["held_out", "observed"] = "held_out"
    """Which images the gain is taken on."""
    checkpoint_every: int = 20_480
    """Steps between two checkpoints, at which the policy is validated."""


_VARIED = ("stack", "score", "user_concepts", "image_cost", "budget")
_GROUPS = 8  # parts of the episodes; more of them are slower


def env_options(options: Options, **varied: Any) -> dict[str, Any]:
    """The arguments of the environment, for one choice of what varies."""
    return {
        "mutator": options.mutator,
        "reward": options.reward,
        **varied,
        "neurons": "all" if _others(options.stack[0], varied["stack"]) else options.neurons,
        "user_concepts": None if varied["user_concepts"] == "none" else varied["user_concepts"],
    }


def _others(first: str, stack: str) -> bool:
    """Whether a stack's neurons are others than the first one's, so that none is kept for a test."""
    return set(load_stack(stack).lab.reader.neurons).isdisjoint(load_stack(first).lab.reader.neurons)


def groups(options: Options) -> list[dict[str, Any]]:
    """The arguments of the environment for eight equal parts of the episodes, or for all where nothing varies.

    Values are dealt by bits of a part's number (a fractional factorial design): the option with the most values, up to
    four, is crossed with each that has two, and so are any two of these.
    """
    order = sorted(_VARIED, key=lambda name: -len(getattr(options, name)))
    if len(getattr(options, order[0])) == 1:
        return [env_options(options, **{name: getattr(options, name)[0] for name in _VARIED})]
    parts = []
    for part in range(_GROUPS):
        a, b, c = part >> 2, part >> 1 & 1, part & 1
        places = [4 * first + 2 * a + b for first in (c, a ^ c, b ^ c, a ^ b ^ c)]
        dealt = {
            name: getattr(options, name)[place * len(getattr(options, name)) // _GROUPS]
            for name, place in zip(order, [part, *places], strict=True)
        }
        parts.append(env_options(options, **dealt))
    return parts


def make_model(options: Options, seed: int) -> BaseAlgorithm:
    """The learner on its environments, the first episodes of which are its own: no other seed's begin so."""
    see = partial(features, without=options.without, raw=options.network == "raw")
    envs = make_vec_env(options.envs, MOVE_SETS[options.moves], see, groups(options))

    length = {"maskable-ppo": 32, "ppo": 32, "a2c": 16}.get(options.algorithm, 0)  # of a rollout, in steps

    def rate(remaining: float) -> float:
        """By what was left when the rollout began: a learner asks at its end, which may be beyond the last step."""
        begun = remaining + length * options.envs / max(options.steps, 1)
        return options.learning_rate * min(max(begun, 0.0), 1.0)

    common: dict[str, Any] = {"learning_rate": rate, "gamma": options.gamma, "seed": seed, "device": "cpu"}
    policy: Any = "MlpPolicy"
    match options.network:
        case "set":
            policy = SetPolicy
        case "recurrent":
            policy, common["policy_kwargs"] = "MlpLstmPolicy", {"net_arch": [64], "lstm_hidden_size": 64}
        case "flat" | "raw":
            common["policy_kwargs"] = {"net_arch": [64, 64]}
    match options.algorithm:
        case "maskable-ppo" | "ppo":
            without_masks = RecurrentPPO if options.network == "recurrent" else PPO
            kind = MaskablePPO if options.algorithm == "maskable-ppo" else without_masks
            batch = min(512, 32 * options.envs)
            model = kind(policy, envs, n_steps=length, batch_size=batch, n_epochs=6, ent_coef=options.entropy, **common)
        case "a2c":
            model = A2C(policy, envs, n_steps=length, ent_coef=options.entropy, **common)
        case "dqn" | "qr-dqn":
            learner = DQN if options.algorithm == "dqn" else QRDQN
            if learner is QRDQN:
                common["policy_kwargs"]["n_quantiles"] = 25  # with 200, the default, learning is several times slower
            model = learner(
                policy, envs, buffer_size=100_000, learning_starts=5_000, batch_size=256, train_freq=4,
                gradient_steps=16, target_update_interval=1_000, exploration_fraction=0.3, **common
            )  # fmt: skip
    seed_episodes(model)
    return model


def validation_neurons(options: Options) -> list[str]:
    """Names of the neurons that choose the best policy."""
    names = load_stack(options.stack[0]).lab.reader.neurons
    try:
        return [names[i] for i in select(names, options.validation)]
    except DnRError as error:
        raise DnRError(str(error).replace("neurons", "validation", 1)) from None


def check(options: Options) -> None:
    """Refuse what would fail later, or do nothing.

    Raises:
        DnRError: an option's value cannot be used.
    """
    for name, fewest in (("steps", 0 if options.clone else 1), ("envs", 1), ("checkpoint_every", 1)):
        if getattr(options, name) < fewest:
            raise DnRError(f"{name}: {getattr(options, name)} is too few; {fewest} or more will do")
    for name in ("seeds", *_VARIED):
        if not getattr(options, name):
            raise DnRError(f"{name}: none was given; {getattr(Options, name)[0]} will do")
    for name in _VARIED:
        values = getattr(options, name)
        if len(values) > _GROUPS:
            raise DnRError(f"{name}: {len(values)} are too many to be dealt; {_GROUPS} at most will do")
        if len(values) > 1 and options.envs < _GROUPS:
            raise DnRError(f"envs: {options.envs} is too few for several values of {name}; {_GROUPS} or more will do")
    if options.network == "set" and (options.algorithm, options.moves) != ("maskable-ppo", "slots"):
        raise DnRError("network: 'set' is for maskable-ppo on slots alone; --network flat will do")
    if options.network == "recurrent" and options.algorithm != "ppo":
        raise DnRError("network: 'recurrent' is for ppo alone; --algorithm ppo will do")
    for seed in options.seeds:
        if not 0 <= seed < 2**32:
            raise DnRError(f"seeds: {seed} is no seed; a number from 0 to 2**32 - 1 will do")
    for name, least, most in (("learning_rate", 1e-12, 1.0), ("gamma", 0.0, 1.0), ("entropy", 0.0, 1.0)):
        if not least <= getattr(options, name) <= most:
            raise DnRError(f"{name}: {getattr(options, name)} is out of range; {least} to {most} will do")
    if options.clone:
        asked = teacher_of(options.clone).env_options.get("mutator", options.mutator)
        if asked != options.mutator:
            raise DnRError(f"clone: {options.clone!r} mutates by {asked!r}; --mutator {asked} will do")
        if options.algorithm != "maskable-ppo":
            raise DnRError("clone: only maskable-ppo learns from another agent; without it, any learns by itself")
    validation_neurons(options)


def validate(model: BaseAlgorithm, options: Options) -> tuple[float, float]:
    """Mean return and mean added images of the policy on the validation neurons.

    It plays at each price, with the first stack, score, user and budget; four seeds in all, or more, so that each price
    has as many.
    """
    chosen = validation_neurons(options)
    agent = LearnedAgent("validation", network_of(model), MOVE_SETS[options.moves], options_json(options))
    first = env_options(options, **{name: getattr(options, name)[0] for name in _VARIED})
    each = -(-4 // len(options.image_cost))
    episodes: list[Episode] = []
    for i, price in enumerate(options.image_cost):
        env = first | {"image_cost": price, "reward": "held_out"}
        jobs = [(neuron, seed) for seed in range(i * each, (i + 1) * each) for neuron in chosen]
        episodes += rollout(agent, jobs, **env)
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
        self.bar.update(self.num_timesteps - self.bar.n)
        if value > best:
            card = {**options_json(self.options), "trained_steps": self.num_timesteps, "validation_return": value}
            LearnedAgent("policy", network_of(self.model), MOVE_SETS[self.options.moves], card).save(self.folder)
        save_checkpoint(self.model, self.folder / "checkpoint.safetensors", self.curve)
        draw_curve(self.folder, self.curve)
        counters = load_stack(self.options.stack[0]).lab.counters
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
        found = read_settings(settings)
        other = [name for name, value in json.loads(wanted).items() if found.get(name) != value]
        raise DnRError(f"out: {folder} was trained with other options ({', '.join(other)}); another folder will do")
    torch.set_num_threads(1)  # more threads only get in the way of networks as small as these
    model = make_model(options, seed)
    write_atomically(settings, wanted)  # the options are good: the environments exist
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
            clone(model, options.clone, options.learning_rate)
            callback.init_callback(model)
            callback.save()
        if options.steps == 0:
            return
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
        f"policies in {options.out}; next: python evaluate.py compare --agents promise rounds:1@informed {options.out} "
        "--out …"
    )


if __name__ == "__main__":
    main()
