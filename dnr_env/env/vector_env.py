"""The native vector environment, which measures the images of all its episodes in one batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

from dnr_env.env import viewer
from dnr_env.env.information import Info, information
from dnr_env.env.observe import observe
from dnr_env.env.refine_env import make_episodes
from dnr_env.env.rules import ActionForm, Rules, check_form
from dnr_env.env.spaces import Observation, action_space, observation_space, read_actions
from dnr_env.env.users import Users
from dnr_env.errors import DnRError, unknown
from dnr_env.neurons import Which
from dnr_env.stack import Stack
from dnr_env.types import BoolArray, FloatArray, ImageArray

_MODES = {mode.value: mode for mode in AutoresetMode}


class RefineVectorEnv(gym.vector.VectorEnv[Observation, Any, Any]):
    """The native vector environment behind `gym.make_vec("DnR/Refine-v0", num_envs=n)`.

    It equals n single environments with the seeds `seed + i`, step by step. See `RefineEnv` for everything else.

    Args:
        num_envs: the number of parallel episodes.
        autoreset_mode: when an ended episode is followed by a new one. `NEXT_STEP`, the default of Gymnasium: the next
            step begins a new episode, ignores the action and has reward 0. `SAME_STEP`: the same step does, and
            `infos["final_obs"]` and `infos["final_info"]` hold the last observation and info. `DISABLED`: an ended
            episode stays as it is, with reward 0, until `reset(options={"reset_mask": mask})`.
        stack: see `RefineEnv`.
        neurons: see `RefineEnv`.
        mutator: see `RefineEnv`.
        user_concepts: see `RefineEnv`.
        render_mode: `"rgb_array"`, `"ansi"` or None.
        actions: what an action consists of; see `RefineEnv`.
        rules: see `RefineEnv`.
        **changes: fields of `Rules`.
    """

    def __init__(
        self,
        num_envs: int = 1,
        autoreset_mode: str | AutoresetMode = AutoresetMode.NEXT_STEP,
        stack: str | Path | Stack = "shapes",
        neurons: Which = "train",
        mutator: str | None = None,
        user_concepts: Users = None,
        render_mode: str | None = None,
        actions: ActionForm = "incumbent",
        rules: Rules | None = None,
        **changes: Any,
    ) -> None:
        mode = autoreset_mode.value if isinstance(autoreset_mode, AutoresetMode) else autoreset_mode
        if mode not in _MODES:
            raise unknown("autoreset_mode", mode, _MODES)
        if render_mode not in (None, "rgb_array", "ansi"):
            raise unknown("render_mode", render_mode, ["rgb_array", "ansi"])
        check_form(actions)
        if not isinstance(num_envs, int | np.integer) or isinstance(num_envs, bool) or num_envs < 1:
            raise DnRError(f"`num_envs` must be a whole number of at least 1 (got {num_envs!r})")
        self.num_envs = int(num_envs)
        self.render_mode = render_mode
        self.autoreset_mode = _MODES[mode]
        self.metadata = {
            "render_modes": ["rgb_array", "ansi"],
            "render_fps": 2,
            "autoreset_mode": self.autoreset_mode,
        }
        self.episodes = make_episodes(self.num_envs, stack, neurons, mutator, user_concepts, rules, changes)
        self._form: ActionForm = actions
        self.single_observation_space = observation_space(self.episodes.rules, self.episodes.stack.lab.reader.dim)
        self.single_action_space = action_space(self.episodes.rules, actions)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self._rngs: list[np.random.Generator] = []
        self._seeds: list[int] = []
        self._reported = np.zeros(num_envs, bool)  # the episodes that the last step said had ended

    @property
    def np_random_seed(self) -> tuple[int, ...]:  # type: ignore[override]
        """The seed of each episode's generator; -1 if the generator was set and its seed is unknown."""
        return tuple(self._seeds)

    @property  # type: ignore[override]
    def np_random(self) -> tuple[np.random.Generator, ...]:
        """The generator of each episode."""
        return tuple(self._rngs)

    @np_random.setter
    def np_random(self, value: tuple[np.random.Generator, ...]) -> None:
        self._rngs = list(value)
        self._seeds = [-1] * self.num_envs

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, Info]:
        """Begin episodes in all rows, or in the rows of `options["reset_mask"]`, an (n,) array of bool.

        Args:
            seed: a sequence with one seed for each row; an integer s stands for s, s + 1, …
            options: `neuron`, `concepts` and `block` as in `RefineEnv`, the same for all rows; or `each`, a sequence
                with one such mapping for each row.

        Raises:
            DnRError: an option is unknown, or its value cannot be used.
            gymnasium.error.ResetNeeded: the first reset leaves rows out.
        """
        if seed is None or isinstance(seed, (int, np.integer)):
            seeds = [None if seed is None else int(seed) + i for i in range(self.num_envs)]
        else:
            seeds = [None if one is None else int(one) for one in seed]
        mask, each = self._read_options({} if options is None else options)
        for name, given in (("seed", seeds), ("reset_mask", mask), ("each", each)):
            if len(given) != self.num_envs:
                raise DnRError(f"`{name}` must hold {self.num_envs} values, one for each episode (got {len(given)})")
        if not self._rngs:
            if not mask.all():
                raise gym.error.ResetNeeded("reset: the first reset begins all episodes; leave out reset_mask")
            made = [seeding.np_random(s) for s in seeds]
            self._rngs, self._seeds = [rng for rng, _ in made], [used for _, used in made]
        rows = np.flatnonzero(mask).tolist()
        self._reported[rows] = False
        for row in rows:
            if seeds[row] is not None:
                self._rngs[row], self._seeds[row] = seeding.np_random(seeds[row])
        self.episodes.begin(rows, [self._rngs[row] for row in rows], [each[row] for row in rows])
        return observe(self.episodes.state), self._infos(rows)

    def _read_options(self, options: Any) -> tuple[BoolArray, list[Any]]:
        """Return the mask of the rows to begin, and the options of each row."""
        if not isinstance(options, Mapping):
            raise DnRError(f"`options` must be a mapping such as {{'neuron': 'layer4:7'}} (got {options!r})")
        rest = {key: value for key, value in options.items() if key not in ("reset_mask", "each")}
        if "each" in options and rest:
            raise DnRError(f"`options` must name {', '.join(rest)} inside `each`, not beside it")
        mask = np.asarray(options.get("reset_mask", np.ones(self.num_envs, bool)))
        if mask.ndim != 1 or mask.dtype != bool:
            raise DnRError(f"`reset_mask` must be an array of {self.num_envs} bools (got {options['reset_mask']!r})")
        each = options.get("each", [rest] * self.num_envs)
        if not isinstance(each, Sequence) or isinstance(each, str):
            raise DnRError(f"`each` must be a sequence of {self.num_envs} mappings (got {each!r})")
        return mask, list(each)

    def step(self, actions: Any) -> tuple[Observation, FloatArray, BoolArray, BoolArray, Info]:
        """Take one action in every episode.

        Raises:
            gymnasium.error.ResetNeeded: no episode is running.
            DnRError: an action is not in the action space. The episodes stay as they were.
        """
        due = self.episodes.ended.copy()
        # Episodes that a failure has ended have no last reward, so that no step may begin new ones in their place.
        failed = due & ~self._reported if self.autoreset_mode is AutoresetMode.NEXT_STEP else due
        if not self._rngs or (self.autoreset_mode is not AutoresetMode.DISABLED and failed.any()):
            raise gym.error.ResetNeeded("step: no episode is running; call reset() first")
        choices = read_actions(actions, self.episodes.rules, self._form)
        if len(choices.actions) != self.num_envs:
            raise DnRError(
                f"`actions` must hold {self.num_envs} values, one for each episode (got {len(choices.actions)})"
            )
        rewards, ended = self.episodes.act(choices, self._rngs)
        final: Info = {}
        if self.autoreset_mode is AutoresetMode.SAME_STEP and ended.any():
            final = self._final(ended)
            due = ended
        if self.autoreset_mode is not AutoresetMode.DISABLED and due.any():
            self._begin_again(np.flatnonzero(due).tolist())
        self._reported = ended.copy()
        observation = observe(self.episodes.state)
        return observation, rewards, ended, np.zeros_like(ended), {**final, **self._infos(range(self.num_envs))}

    def _begin_again(self, rows: list[int]) -> None:
        try:
            self.episodes.begin(rows, [self._rngs[row] for row in rows], [{}] * len(rows))
        except BaseException:
            self.episodes.ended[:] = True  # every episode has lost the reward of this step
            raise

    def _final(self, ended: BoolArray) -> Info:
        """Return the last observations and infos of the episodes that ended in a step with SAME_STEP."""
        observation = observe(self.episodes.state)
        last = np.full(self.num_envs, None, object)
        rows = np.flatnonzero(ended).tolist()
        for row in rows:
            last[row] = {key: value[row].copy() for key, value in observation.items()}
        return {"final_obs": last, "_final_obs": ended, "final_info": self._infos(rows), "_final_info": ended}

    def action_masks(self) -> BoolArray:
        """(n, 4) bool: which actions have an effect. After them, if an action chooses them, the slots and the kinds."""
        return self.episodes.masks(self._form)

    def render(self) -> tuple[ImageArray | str, ...] | None:
        """Return an image or a text for each episode.

        Raises:
            gymnasium.error.ResetNeeded: no episode has begun.
        """
        if self.render_mode is None:
            return None
        if not self._rngs:
            raise gym.error.ResetNeeded("render: no episode has begun; call reset() first")
        draw = viewer.picture if self.render_mode == "rgb_array" else viewer.text
        return tuple(draw(viewer.view(self.episodes, row)) for row in range(self.num_envs))

    def _infos(self, rows: Sequence[int]) -> Info:
        """Return infos as Gymnasium does: an array for each key, and a mask `_key` of the rows that have it."""
        which = np.array(rows, np.intp)
        present = np.zeros(self.num_envs, bool)
        present[which] = True
        infos: Info = {}
        for key, array in information(self.episodes, which, self._form).items():
            if len(which) < self.num_envs:
                values, empty = array, None if array.dtype == object else 0
                array = np.full((self.num_envs, *values.shape[1:]), empty, values.dtype)
                array[which] = values
            infos[key], infos[f"_{key}"] = array, present.copy()
        return infos
