"""Many episodes whose measurements of a step go to the lab as one batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

from dnr_env import viewer
from dnr_env.env import Observation, action_masks, action_space, make_refinement, read_actions
from dnr_env.errors import DnRError, unknown
from dnr_env.refinement import Info, observation_space
from dnr_env.stacks import Stack
from dnr_env.types import BoolArray, FloatArray, ImageArray
from dnr_env.users import Users

_MODES = (AutoresetMode.SAME_STEP, AutoresetMode.DISABLED)


class RefineVectorEnv(gym.vector.VectorEnv[Observation, Any, Any]):
    """The native vector environment behind `gym.make_vec("DnR/Refine-v0", num_envs=n)`.

    Step by step equal to n single environments with seeds `seed + i`; see `RefineEnv` for everything else.

    Args:
        num_envs: episodes side by side.
        autoreset_mode: `SAME_STEP`, the default (an ended episode begins anew in the step that ends it, and its last
            observation and information are in `infos["final_obs"]` and `infos["final_info"]`), or `DISABLED` (it stays
            as it is, with reward 0, until `reset(options={"reset_mask": mask})`).
        stack: see `RefineEnv`, as the rest.
        neurons: see `RefineEnv`.
        mutator: see `RefineEnv`.
        user_concepts: see `RefineEnv`.
        render_mode: see `RefineEnv`; `"human"` is for single environments.
        slots: whether actions name a slot.
        **rules: fields of `Rules`.
    """

    def __init__(
        self,
        num_envs: int = 1,
        autoreset_mode: str | AutoresetMode = AutoresetMode.SAME_STEP,
        stack: str | Stack = "shapes",
        neurons: str = "train",
        mutator: str | None = None,
        user_concepts: Users = None,
        render_mode: str | None = None,
        slots: bool = False,
        **rules: Any,
    ) -> None:
        mode = autoreset_mode.value if isinstance(autoreset_mode, AutoresetMode) else autoreset_mode
        if mode not in [known.value for known in _MODES]:
            raise unknown("autoreset_mode", mode, [known.value for known in _MODES])
        if render_mode not in (None, "rgb_array", "ansi"):
            raise unknown("render_mode", render_mode, ["rgb_array", "ansi"])
        if num_envs < 1:
            raise DnRError(f"num_envs: {num_envs} is too few; 1 or more will do")
        self.num_envs = num_envs
        self.render_mode = render_mode
        self.metadata = {"render_modes": ["rgb_array", "ansi"], "render_fps": 2, "autoreset_mode": AutoresetMode(mode)}
        self._autoreset = mode == AutoresetMode.SAME_STEP.value
        self.refinement = make_refinement(num_envs, stack, neurons, mutator, user_concepts, rules)
        self._slots = slots
        self.single_observation_space = observation_space(self.refinement.rules, self.refinement.stack.lab.reader.dim)
        self.single_action_space = action_space(self.refinement.rules, slots)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._rngs: list[np.random.Generator] = []

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, Info]:
        """Begin episodes in all rows, or in those of `options["reset_mask"]`, an (n,) bool array.

        Args:
            seed: one for each row; an integer s stands for s, s + 1, …
            options: `neuron`, `concepts` and `block` as in `RefineEnv`, the same for all rows; or `each`, a sequence
                of one such mapping a row.
        """
        options = dict(options or {})
        if seed is None:
            seeds: list[int | None] = [None] * self.num_envs
        elif isinstance(seed, (int, np.integer)):
            seeds = [int(seed) + i for i in range(self.num_envs)]
        else:
            seeds = [None if one is None else int(one) for one in seed]
        mask = np.asarray(options.pop("reset_mask", np.ones(self.num_envs, bool)))
        each = list(options.pop("each", [options] * self.num_envs))
        for name, given in (("seed", seeds), ("reset_mask", mask), ("each", each)):
            if len(given) != self.num_envs:
                raise DnRError(f"{name}: {len(given)} were given; {self.num_envs}, one for each episode, will do")
        if not self._rngs:
            if not mask.all():
                raise gym.error.ResetNeeded("reset: the first one begins all episodes; leave reset_mask out")
            self._rngs = [seeding.np_random(s)[0] for s in seeds]
        rows = np.flatnonzero(mask).tolist()
        for row in rows:
            if seeds[row] is not None:
                self._rngs[row] = seeding.np_random(seeds[row])[0]
        self.refinement.begin(rows, [self._rngs[row] for row in rows], [each[row] for row in rows])
        return self.refinement.state.observe(), self._infos(rows)

    def step(self, actions: Any) -> tuple[Observation, FloatArray, BoolArray, BoolArray, Info]:
        """One action in every episode.

        Raises:
            gymnasium.error.ResetNeeded: before the first reset.
            DnRError: there is no such action; the episodes are as they were.
        """
        if not self._rngs or (self._autoreset and self.refinement.ended.any()):
            raise gym.error.ResetNeeded("step: no episode is running; call reset() first")
        chosen, slots = read_actions(actions, self.refinement.rules, self._slots)
        if len(chosen) != self.num_envs:
            raise DnRError(f"actions: {len(chosen)} were given; {self.num_envs}, one for each episode, will do")
        rewards, terminated, truncated = self.refinement.act(chosen, slots, self._rngs)
        observation = self.refinement.state.observe()
        final: Info = {}
        ended = np.flatnonzero(terminated | truncated).tolist()
        if ended and self._autoreset:
            final["final_obs"] = np.full(self.num_envs, None, object)
            for row in ended:
                final["final_obs"][row] = {key: value[row].copy() for key, value in observation.items()}
            final["_final_obs"] = terminated | truncated
            final["final_info"] = self._infos(ended)
            final["_final_info"] = terminated | truncated
            try:
                self.refinement.begin(ended, [self._rngs[row] for row in ended], [{}] * len(ended))
            except BaseException:
                self.refinement.ended[:] = True  # the rewards of this step are lost to all episodes
                raise
            observation = self.refinement.state.observe()
        return observation, rewards, terminated, truncated, {**final, **self._infos(range(self.num_envs))}

    def action_masks(self) -> BoolArray:
        """(n, 4) bool, or (n, 4 + n_slots): which actions, and which slots, have an effect."""
        return action_masks(self.refinement, self._slots)

    def render(self) -> tuple[ImageArray | str, ...] | None:
        """One picture or text an episode."""
        if self.render_mode is None:
            return None
        draw = viewer.picture if self.render_mode == "rgb_array" else viewer.text
        return tuple(draw(viewer.view(self.refinement, row)) for row in range(self.num_envs))

    def _infos(self, rows: Sequence[int]) -> Info:
        """Information in Gymnasium's vector form: an array a key, and a mask `_key` of the rows that have it."""
        which = np.array(rows, np.intp)
        present = np.zeros(self.num_envs, bool)
        present[which] = True
        parts = {**self.refinement.infos(which), "action_mask": self.action_masks()[which].astype(np.int8)}
        infos: Info = {}
        for key, values in parts.items():
            array = np.full((self.num_envs, *values.shape[1:]), None if values.dtype == object else 0, values.dtype)
            array[which] = values
            infos[key], infos[f"_{key}"] = array, present.copy()
        return infos
