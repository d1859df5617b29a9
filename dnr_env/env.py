"""The environment: one neuron an episode."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from dnr_env import viewer
from dnr_env.episode import Action, Rules
from dnr_env.errors import DnRError, unknown
from dnr_env.neurons import select
from dnr_env.refinement import Info, Refinement, observation_space
from dnr_env.stacks import Stack, load
from dnr_env.types import BoolArray, FloatArray, ImageArray, IntArray
from dnr_env.users import Users, user_source

Observation = dict[str, FloatArray]


def action_space(rules: Rules, slots: bool) -> spaces.Discrete | spaces.MultiDiscrete:
    """Discrete(4), or MultiDiscrete([4, n_slots]) where the agent names a slot."""
    return spaces.MultiDiscrete([len(Action), rules.n_slots]) if slots else spaces.Discrete(len(Action))


def read_actions(actions: Any, rules: Rules, slots: bool) -> tuple[IntArray, IntArray]:
    """(n,) or (n, 2) actions as (n,) actions and (n,) slots; raises DnRError for one out of range."""
    array = np.asarray(actions)
    if not np.issubdtype(array.dtype, np.integer) or (array.ndim, array.shape[1:]) != ((2, (2,)) if slots else (1, ())):
        form = "(action, slot)" if slots else "one integer"
        raise DnRError(f"action: {actions!r} has the wrong form; {form} for each episode will do")
    chosen, slot = (array[:, 0], array[:, 1]) if slots else (array, np.zeros_like(array))
    known = ", ".join(f"{a.value} ({a.name})" for a in Action)
    if ((chosen < 0) | (chosen >= len(Action))).any():
        raise DnRError(f"action: {chosen.tolist()} holds one that does not exist; {known} will do")
    if ((slot < 0) | (slot >= rules.n_slots)).any():
        raise DnRError(f"slot: {slot.tolist()} holds one that does not exist; 0 to {rules.n_slots - 1} will do")
    return chosen, slot


def make_refinement(
    n: int, stack: str | Stack, neurons: str, mutator: str | None, user_concepts: Users, rules: dict[str, Any]
) -> Refinement:
    """The episodes that the arguments of an environment describe."""
    for option in rules:
        if option not in Rules.__dataclass_fields__:
            raise unknown("option", option, Rules.__dataclass_fields__)
    models = load(stack) if isinstance(stack, str) else stack
    chosen = select(models.lab.reader.neurons, neurons)
    return Refinement(n, models, Rules(**rules), chosen, mutator, user_source(user_concepts, models))


def action_masks(refinement: Refinement, slots: bool) -> BoolArray:
    """(n, 4), or (n, 4 + n_slots) with the slots that hold a candidate."""
    masks = refinement.state.masks()
    if not slots:
        return masks
    return np.concatenate([masks, np.arange(refinement.rules.n_slots) < refinement.state.size[:, None]], axis=1)


class RefineEnv(gym.Env[Observation, Any]):
    """Find the words for what a hidden neuron fires for.

    ## Description

    One episode is one neuron of a vision network. Its candidate concepts, made from the captions of the real images that
    excite it most, have been drawn by a text-to-image generator, and the neuron's activation on the drawings has been
    measured. Every turn the agent chooses to measure the best candidate again, to mutate it, to try a concept of a user,
    or to stop. A generator's images are noisy, so the candidate that looks best may be a lucky one: the reward is taken
    on images that the agent never sees.

    ## Action Space

    `Discrete(4)` in `DnR/Refine-v0`, acting on the incumbent, the candidate that is best by the images seen:

    | Num | Action | Effect |
    |-----|--------|--------|
    | 0 | KEEP | measure `images_per_measure` more images of the concept |
    | 1 | MUTATE | make a new concept from it and the evidence so far, and measure that |
    | 2 | ADD | measure the next concept of the user |
    | 3 | STOP | end the episode: the concept is the label |

    `MultiDiscrete([4, n_slots])` in `DnR/RefineSlots-v0`: the same four, on a chosen slot; STOP makes its concept the label. `action_masks()` and
    `info["action_mask"]` tell which have an effect; the others cost a step and do nothing else.

    ## Observation Space

    A flat `Dict` of float32 boxes:

    | Key | Shape | Content |
    |-----|-------|---------|
    | `concepts` | (n_slots, dim) | unit embeddings of the candidates, best first; zero where empty |
    | `scores` | (n_slots, 9) | score, its standard error, images / `images_per_measure`, age / `max_steps`, given by the user, present, similarity of its images with the exemplars (cosine), specificity (length of its images' mean embedding), simulation (correlation over the real images of its text's similarity with the neuron's activation) |
    | `exemplars` | (dim,) | mean image embedding of the neuron's exemplars |
    | `progress` | (10,) | steps left / `max_steps`, images left / 100, price of 1,000 images, user concepts left, steps since the incumbent's score rose / `max_steps`, its last four changes, latest first, headroom (how far its simulation is behind the best of the vocabulary, as it counts in the score; 0 where it does not) |

    ## Rewards

    value(label now) − value(label before) − `image_cost` × images drawn for the agent, where the label is the incumbent
    until a STOP names another slot. A concept's value is its
    score on reward seeds, which the agent never sees (`reward="held_out"`). With `reward="observed"` it is the score on
    the agent's own images, with `reward="none"` there is no value and no image beyond the agent's own. The sum of an
    episode's rewards is the value of the label less that of the first incumbent, less the bill.

    ## Starting State

    A neuron drawn from `neurons`, its candidates, and `images_per_measure` images of each, free of charge.
    `options={"neuron": "layer4:7"}` (or its index) chooses the neuron, `options={"concepts": [...]}` the candidates, and
    `options={"block": 3}` the block of image seeds that everything is drawn with (0 to 1023; 0 by default).

    ## Episode End

    STOP terminates. After `max_steps` actions, or when the budget does not pay for another measurement, the episode is
    truncated.

    ## Information

    `neuron`, `label`, `concepts` (texts of the slots), `master` (texts of all concepts measured) and
    `master_scores`, `activations` and `similarities` (n_slots, images; zero where not measured), `images` seen so far,
    `usage` (calls of a language model that the texts rest on, tokens read and written), `action_mask`, and `message`,
    which says why an action had no effect.

    ## Arguments

    | Argument | Default | Meaning |
    |----------|---------|---------|
    | `stack` | `"shapes"` | the set of models; also `"shapes-transfer"`, `"shapes-unfaithful"` and others of the embedded world, `"turbo"` and `"sd15"` (real models), a YAML file, or either with settings, as `"turbo probe.images=photos"` |
    | `neurons` | `"train"` | a split, a layer, or neurons such as `"layer4:0-9,planted:test"` |
    | `mutator` | `None` | a mutator of the stack by its name, as `"random"`; `None` is the first it has |
    | `user_concepts` | `None` | a list, a file, a callable, or `"simulated:0.5"` (a user whose concepts are good with that probability) |
    | `render_mode` | `None` | `"rgb_array"`, `"ansi"` or `"human"` (text on the terminal) |
    | `n_slots` | 8 | candidates in view |
    | `images_per_measure` | 5 | images of one measurement |
    | `budget` | 100 | images after the initial measurement |
    | `max_steps` | 24 | actions |
    | `image_cost` | 0.0005 | price of an image |
    | `score` | `"grounded_k"` | see `dnr_env.scores` |
    | `reward` | `"held_out"` | `"held_out"`, `"observed"` or `"none"` |
    | `reward_images` | 20 | images of a held-out value |

    ## Version History

    * v0: initial version
    """  # noqa: E501

    metadata = {"render_modes": ["human", "rgb_array", "ansi"], "render_fps": 2}  # noqa: RUF012 (Gymnasium's form)

    def __init__(
        self,
        stack: str | Stack = "shapes",
        neurons: str = "train",
        mutator: str | None = None,
        user_concepts: Users = None,
        render_mode: str | None = None,
        slots: bool = False,
        **rules: Any,
    ) -> None:
        if render_mode not in (None, *self.metadata["render_modes"]):
            raise unknown("render_mode", render_mode, self.metadata["render_modes"])
        self.render_mode = render_mode
        self.refinement = make_refinement(1, stack, neurons, mutator, user_concepts, rules)
        self._slots = slots
        self.observation_space: Any = observation_space(self.refinement.rules, self.refinement.stack.lab.reader.dim)
        self.action_space = action_space(self.refinement.rules, slots)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Observation, Info]:
        """Begin an episode; `options` may name a `neuron`, its `concepts` and a `block` of seeds."""
        super().reset(seed=seed)
        self.refinement.begin([0], [self.np_random], [options or {}])
        self._show()
        return self._observation(), self._info()

    def step(self, action: Any) -> tuple[Observation, float, bool, bool, Info]:
        """Take one action.

        Raises:
            gymnasium.error.ResetNeeded: the episode has not begun, or has ended.
            DnRError: there is no such action; the episode is as it was.
        """
        if self.refinement.ended[0]:
            raise gym.error.ResetNeeded("step: no episode is running; call reset() first")
        actions, slots = read_actions(np.asarray(action)[None], self.refinement.rules, self._slots)
        rewards, terminated, truncated = self.refinement.act(actions, slots, [self.np_random])
        self._show()
        return self._observation(), float(rewards[0]), bool(terminated[0]), bool(truncated[0]), self._info()

    def action_masks(self) -> BoolArray:
        """(4,) bool, or (4 + n_slots,): which actions, and which slots, have an effect."""
        masks: BoolArray = action_masks(self.refinement, self._slots)[0]
        return masks

    def suggest(self, text: str) -> str:
        """Give a concept that the next ADD will measure; returns its text as it will be measured.

        Raises:
            ConceptError: it cannot be drawn.
        """
        return self.refinement.suggest(0, text)

    def render(self) -> ImageArray | str | None:
        """The episode as a picture (height, width, 3) uint8, or as text."""
        if self.render_mode == "rgb_array":
            return viewer.picture(viewer.view(self.refinement, 0))
        if self.render_mode == "ansi":
            return viewer.text(viewer.view(self.refinement, 0))
        return None

    def _show(self) -> None:
        if self.render_mode == "human":
            print(viewer.text(viewer.view(self.refinement, 0)), flush=True)

    def _observation(self) -> Observation:
        return {key: value[0] for key, value in self.refinement.state.observe().items()}

    def _info(self) -> Info:
        infos = self.refinement.infos(np.zeros(1, np.intp))
        return {
            **{key: value[0] for key, value in infos.items()},
            "images": int(infos["images"][0]),
            "action_mask": self.action_masks().astype(np.int8),
        }
