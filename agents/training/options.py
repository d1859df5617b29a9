"""The options of a training, their checks, and the environment arguments that they stand for."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from dnr_env.agents.training.cloning import is_sessions, teacher_of
from dnr_env.env.rules import ActionForm
from dnr_env.errors import DnRError
from dnr_env.files import file_digest
from dnr_env.registry import load as load_stack


@dataclass(frozen=True)
class Options:
    """Train a policy. Run the same command again to resume it."""

    out: Path
    """Folder of the run. Seed s is written to OUT/seed-s."""
    algorithm: Literal["maskable-ppo", "ppo", "a2c", "dqn"] = "maskable-ppo"
    """Algorithm of Stable-Baselines3 or sb3-contrib."""
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    """Training seeds, one policy per seed."""
    clone: str | None = None
    """An agent of the same environment, such as improve, or a folder of people's sessions, whose moves the policy first
    learns to imitate (maskable-ppo only)."""
    steps: int = 120_000
    """Environment steps per seed; 0 for cloning alone."""
    envs: int = 64
    """Number of parallel environments."""
    learning_rate: float = 1e-3
    """Initial learning rate, which falls linearly to zero."""
    moves: ActionForm = "edits"
    """What a move consists of: an action alone, as in DnR/Refine-v0; an action on one of the best candidates, as in
    DnR/RefineSlots-v0; or also a kind of mutation, as in DnR/RefineEdits-v0."""
    network: Literal["set", "flat"] = "set"
    """Network: permutation-equivariant over the candidates (maskable-ppo with slots or edits), or a plain MLP."""
    without: tuple[Literal["errors", "cover", "exemplars", "simulation", "worth"], ...] = ()
    """Features that are hidden from the policy."""
    gamma: float = 1.0
    """Discount factor."""
    entropy: float = 0.005
    """Initial weight of the entropy bonus, which falls linearly to zero (not in DQN)."""
    stack: tuple[str, ...] = ("shapes", "shapes-directions")
    """Models: names such as shapes or turbo, or YAML files, each followed by optional settings, as in
    "turbo probe.images=photos target.layers=layer3". Several stacks, scores, users, prices or budgets are distributed
    over eight groups of environments."""
    neurons: str = "train"
    """Neurons to train on. A further stack without common neuron names is trained on all of its neurons."""
    validation: str = "validation"
    """Neurons on which the best policy is chosen, at all prices, with the first score, user and budget: of the first
    stack, and of each that shares names of neurons with it. These stacks count alike."""
    score: tuple[str, ...] = ("grounded_k", "log_k")
    """Scores of concepts."""
    user_concepts: tuple[str, ...] = ("none", "simulated:0.5")
    """User concepts: files of concepts, simulated:QUALITY, or none."""
    image_cost: tuple[float, ...] = (0.00002, 0.00005, 0.00015)
    """Prices of an image."""
    budget: tuple[int, ...] = (100, 50)
    """Budgets of images."""
    mutator: str | None = None
    """Mutator that proposes new concepts; the first one of the stack by default."""
    reward: Literal["held_out", "observed"] = "observed"
    """What the reward measures the gain by: the agent's own estimate, which is right on average if the stack is
    calibrated, or drawings and real images that it never sees, whose noise makes learning slower."""
    checkpoint_every: int = 20_480
    """Steps between two checkpoints. The policy is validated at each."""


VARIED = ("stack", "score", "user_concepts", "image_cost", "budget")
_LEARNED_FROM = ("generator", "reader", "probe")  # parts of a stack
_GROUPS = 8  # groups of environments; more would be slower


def env_options(options: Options, **varied: Any) -> dict[str, Any]:
    """Make the environment arguments for one choice of the options that vary."""
    return {
        "mutator": options.mutator,
        "reward": options.reward,
        **varied,
        "neurons": "all" if _others(options.stack[0], varied["stack"]) else options.neurons,
        "user_concepts": None if varied["user_concepts"] == "none" else varied["user_concepts"],
    }


def _others(first: str, stack: str) -> bool:
    """Check whether a stack shares no neurons with the first one, so that none has to be held out."""
    return set(load_stack(stack).neurons).isdisjoint(load_stack(first).neurons)


def groups(options: Options) -> list[dict[str, Any]]:
    """Make the environment arguments of eight equal groups of environments, or of one group if nothing varies.

    The bits of a group's number select its values (a fractional factorial design). The option with the most values, up
    to four, is crossed with each option of two values, and so are any two of those.
    """
    order = sorted(VARIED, key=lambda name: -len(getattr(options, name)))
    if len(getattr(options, order[0])) == 1:
        return [env_options(options, **{name: getattr(options, name)[0] for name in VARIED})]
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


def validation_neurons(options: Options) -> dict[str, list[str]]:
    """Names of the neurons on which the best policy is chosen, by stack."""
    known = [stack for stack in dict.fromkeys(options.stack) if not _others(options.stack[0], stack)]
    return {stack: load_stack(stack).neurons.named(options.validation, "validation") for stack in known}


def check(options: Options) -> None:
    """Check the options before anything is trained.

    Raises:
        DnRError: An option has an unusable value.
    """
    for name, fewest in (("steps", 0 if options.clone else 1), ("envs", 1), ("checkpoint_every", 1)):
        if getattr(options, name) < fewest:
            raise DnRError(f"`{name}` must be at least {fewest} (got {getattr(options, name)})")
    for name in ("seeds", *VARIED):
        if not getattr(options, name):
            raise DnRError(f"`{name}` must have at least one value, such as {getattr(Options, name)[0]} (got none)")
    for name in VARIED:
        values = getattr(options, name)
        if len(values) > _GROUPS:
            raise DnRError(f"`{name}` must have at most {_GROUPS} values (got {len(values)})")
        if len(values) > 1 and options.envs < _GROUPS:
            raise DnRError(f"`envs` must be at least {_GROUPS} with several values of {name} (got {options.envs})")
    if options.network == "set" and (options.algorithm != "maskable-ppo" or options.moves == "incumbent"):
        raise DnRError(
            "`network` must be flat unless the algorithm is maskable-ppo and the moves choose a slot (got 'set' with "
            f"{options.algorithm} and {options.moves})"
        )
    for seed in options.seeds:
        if not 0 <= seed < 2**32:
            raise DnRError(f"`seeds` must be whole numbers from 0 to {2**32 - 1} (got {seed})")
    for name, least, most in (("learning_rate", 1e-12, 1.0), ("gamma", 0.0, 1.0), ("entropy", 0.0, 1.0)):
        if not least <= getattr(options, name) <= most:
            raise DnRError(f"`{name}` must be from {least:g} to {most:g} (got {getattr(options, name)})")
    if options.clone:
        if is_sessions(options.clone):
            if options.moves != "edits":
                raise DnRError(f"`moves` must be edits to clone sessions (got {options.moves!r})")
        else:
            asked = teacher_of(options.clone, options.moves).env_options.get("mutator", options.mutator)
            if asked != options.mutator:
                raise DnRError(f"`mutator` must be {asked} to clone {options.clone!r} (got {options.mutator!r})")
        if options.algorithm != "maskable-ppo":
            raise DnRError(f"`algorithm` must be maskable-ppo with the option clone (got {options.algorithm!r})")
    validation_neurons(options)


def options_json(options: Options) -> dict[str, Any]:
    """Return the options that determine what is learned, for the card of a policy."""
    return {name: value for name, value in asdict(options).items() if name not in ("out", "seeds")}


def settings_json(options: Options) -> dict[str, Any]:
    """Return the options and what their names stand for now, for the run's folder."""
    prints = {spec: load_stack(spec).fingerprints() for spec in options.stack}
    hashes = {users: _content(users) for users in options.user_concepts}
    return {
        **options_json(options),
        "version": version("dnr-env"),
        "fingerprints": {spec: {part: every[part] for part in _LEARNED_FROM} for spec, every in prints.items()},
        "user_concepts_sha256": {users: content for users, content in hashes.items() if content},
    }


def _content(users: str) -> str | None:
    """Hash a file of user concepts. None for another source, and for a file that the environments will refuse."""
    if users.partition(":")[0] in ("none", "simulated"):
        return None
    path = Path(users).expanduser()
    try:
        return file_digest(path).hex() if path.is_file() else None
    except OSError:
        return None


def differing(wanted: dict[str, Any], found: dict[str, Any]) -> list[str]:
    """Return the names of the settings in which a run's folder differs from what is wanted."""
    return [name for name in {**wanted, **found} if found.get(name) != wanted.get(name)]
