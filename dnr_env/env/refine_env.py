"""The Gymnasium environment, in which one episode is about one neuron."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from dnr_env.env import viewer
from dnr_env.env.episodes import Episodes
from dnr_env.env.information import Info, information
from dnr_env.env.rules import Rules
from dnr_env.env.spaces import Observation, action_space, observation_space, read_actions
from dnr_env.env.users import Users, user_source
from dnr_env.errors import unknown
from dnr_env.neurons import Which
from dnr_env.registry import load
from dnr_env.stack import Stack
from dnr_env.types import BoolArray, ImageArray

_OTHERS = ("stack", "neurons", "mutator", "user_concepts", "render_mode", "slots", "rules")


def make_episodes(
    n: int,
    stack: str | Path | Stack,
    neurons: Which,
    mutator: str | None,
    user_concepts: Users,
    rules: Rules | None,
    changes: Mapping[str, Any],
) -> Episodes:
    """Make the episodes that the arguments of an environment describe."""
    changed = Rules.of(rules, changes, _OTHERS)
    models = stack if isinstance(stack, Stack) else load(stack)
    return Episodes(n, models, changed, models.neurons.select(neurons), mutator, user_source(user_concepts, models))


class RefineEnv(gym.Env[Observation, Any]):
    """Find words for what a hidden neuron fires for.

    ## Description

    One episode is about one neuron of a vision network. The candidate concepts come from the captions of the real images
    that excite the neuron most. A text-to-image generator has drawn each candidate, and the neuron's activation on these
    images has been measured. At each step the agent measures the best candidate again, mutates it, measures a concept of
    a user, or stops. Generated images are noisy, so the candidate with the best score may owe it to luck. The reward is
    therefore computed on images that the agent never sees.

    ## Action Space

    `Discrete(4)` in `DnR/Refine-v0`. Every action is for the incumbent, the candidate with the best score so far:

    | Num | Action | Effect |
    |-----|--------|--------|
    | 0 | KEEP | measure `images_per_measure` more images of the concept |
    | 1 | MUTATE | make a new concept from this one and the evidence so far, and measure it |
    | 2 | ADD | measure the next concept of the user |
    | 3 | STOP | end the episode with the concept as the label |

    `MultiDiscrete([4, n_slots])` in `DnR/RefineSlots-v0`. The actions are the same, for the concept in a chosen slot.
    `action_masks()` and `info["action_mask"]` say which actions (and which slots) have an effect. Any other action uses
    up a step and does nothing else.

    ## Observation Space

    A `Dict` of float32 boxes:

    | Key | Shape | Content |
    |-----|-------|---------|
    | `concepts` | (n_slots, dim) | unit embeddings of the candidates, best first; zero in empty slots |
    | `scores` | (n_slots, 9) | score, its standard error, images / `images_per_measure`, age / `max_steps`, whether the user gave it, whether the slot is filled, mean cosine similarity of its images with the exemplars, specificity (length of the mean embedding of its images), simulation (correlation, over the real images, of the similarity with its text and the neuron's activation) |
    | `exemplars` | (dim,) | mean image embedding of the neuron's exemplars |
    | `progress` | (10,) | steps left / `max_steps`, images left / 100, cost of 1,000 images, user concepts left, steps since the incumbent's score rose / `max_steps`, the last four changes of that score, latest first, headroom (the score that the incumbent would gain with the best simulation in the vocabulary; 0 if the score does not use simulation) |

    ## Rewards

    The reward is value(label now) − value(label before) − `image_cost` × images drawn for the agent. The label is the
    incumbent, unless STOP chooses another slot. With `reward="held_out"` the value of a concept is its score on images
    that the agent never sees. With `reward="observed"` it is the score on the agent's own images. With `reward="none"`
    there is no value, and no image is drawn beyond the agent's own. The return of an episode is the value of the label
    minus the value of the first incumbent minus the cost of the images.

    ## Starting State

    A neuron is drawn at random from `neurons`, and `images_per_measure` images of each candidate are measured at no
    cost. `options={"neuron": "layer4:7"}` (a name or an index) chooses the neuron, `options={"concepts": [...]}` the
    candidates, and `options={"block": 3}` the block of image seeds (0 to 1023, by default 0).

    ## Episode End

    The episode terminates after STOP, after `max_steps` actions, or when the budget cannot pay for another measurement.
    Both limits are part of the observation and the label is final, so an episode is never truncated.

    ## Information

    | Key | Content |
    |-----|---------|
    | `neuron`, `label`, `origin` | the name of the neuron, the present label, and where that comes from: `"writer"`, `"captions"`, `"vocabulary"`, `"user"` or `"model"` |
    | `concepts` | the texts in the slots, "" in empty ones |
    | `master`, `origins`, `master_scores` | the texts of all concepts measured, their origins and their scores, padded to a fixed length |
    | `activations`, `similarities` | (n_slots, images), one value for each image of a candidate; zero where not measured |
    | `images` | the number of images drawn so far |
    | `usage` | calls of a language model, tokens read and tokens written |
    | `action_mask` | `action_masks()` as int8 |
    | `failure` | why the writer had no answer in this step or, at the beginning, no candidates; else "" |
    | `message` | why an action had no effect, or which words of a concept were ignored |

    Every value has the same shape at every step.

    ## Arguments

    | Argument | Default | Meaning |
    |----------|---------|---------|
    | `stack` | `"shapes"` | the models: `"shapes"` or another variant of the embedded world, `"turbo"` or `"sd15"` (real models), or a YAML file; settings may follow, as in `"shapes infidelity=0.2"` or `"turbo probe.images=photos"` |
    | `neurons` | `"train"` | a split, a layer, neurons such as `"layer4:0-9,planted:test"`, or a list of names and indices |
    | `mutator` | `None` | the name of a mutator of the stack, such as `"random"`; `None` takes the first |
    | `user_concepts` | `None` | a list, a file, a callable, or `"simulated:0.5"` (a user whose concepts are good with probability 0.5) |
    | `render_mode` | `None` | `"rgb_array"`, `"ansi"` or `"human"` (text on the terminal) |
    | `rules` | `None` | a `Rules`, instead of the arguments below |
    | `n_slots` | 8 | candidates in the observation |
    | `images_per_measure` | 5 | images in one measurement |
    | `budget` | 100 | images after the initial measurement |
    | `max_steps` | 24 | actions in an episode |
    | `image_cost` | 0.0005 | cost of one image |
    | `score` | `"grounded_k"` | see `dnr_env.scores` |
    | `reward` | `"held_out"` | `"held_out"`, `"observed"` or `"none"` |
    | `reward_images` | 20 | images that a held-out value is computed on |

    ## Version History

    * v0: initial version
    """  # noqa: E501

    metadata = {"render_modes": ["human", "rgb_array", "ansi"], "render_fps": 2}  # noqa: RUF012 (Gymnasium's form)

    def __init__(
        self,
        stack: str | Path | Stack = "shapes",
        neurons: Which = "train",
        mutator: str | None = None,
        user_concepts: Users = None,
        render_mode: str | None = None,
        slots: bool = False,
        rules: Rules | None = None,
        **changes: Any,
    ) -> None:
        if render_mode not in (None, *self.metadata["render_modes"]):
            raise unknown("render_mode", render_mode, self.metadata["render_modes"])
        self.render_mode = render_mode
        self.episodes = make_episodes(1, stack, neurons, mutator, user_concepts, rules, changes)
        self._slots = slots
        self.observation_space: Any = observation_space(self.episodes.rules, self.episodes.stack.lab.reader.dim)
        self.action_space = action_space(self.episodes.rules, slots)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Observation, Info]:
        """Begin an episode. `options` may hold a `neuron`, its `concepts` with their `origin`, and a `block` of seeds.

        Raises:
            DnRError: an option is unknown, or its value cannot be used.
        """
        super().reset(seed=seed)
        self.episodes.begin([0], [self.np_random], [{} if options is None else options])
        self._show()
        return self._observation(), self._info()

    def step(self, action: Any) -> tuple[Observation, float, bool, bool, Info]:
        """Take one action.

        Raises:
            gymnasium.error.ResetNeeded: no episode is running.
            DnRError: the action is not in the action space. The episode stays as it was.
        """
        if self.episodes.ended[0]:
            raise gym.error.ResetNeeded("step: no episode is running; call reset() first")
        actions, slots = read_actions([action], self.episodes.rules, self._slots)
        rewards, ended = self.episodes.act(actions, slots, [self.np_random])
        self._show()
        return self._observation(), float(rewards[0]), bool(ended[0]), False, self._info()

    def action_masks(self) -> BoolArray:
        """(4,) bool, or (4 + n_slots,): which actions (and which slots) have an effect."""
        masks: BoolArray = self.episodes.masks(self._slots)[0]
        return masks

    def suggest(self, text: str) -> str:
        """Make a concept the one that the next ADD measures, and return the text that will be measured.

        Raises:
            ConceptError: the concept cannot be drawn.
            gymnasium.error.ResetNeeded: no episode is running.
        """
        if self.episodes.ended[0]:
            raise gym.error.ResetNeeded("suggest: no episode is running; call reset() first")
        return self.episodes.suggest(0, text)

    def render(self) -> ImageArray | str | None:
        """Return the episode as an image (height, width, 3) uint8 of a fixed size, or as text.

        Raises:
            gymnasium.error.ResetNeeded: no episode has begun.
        """
        if not self.episodes.texts[0]:
            raise gym.error.ResetNeeded("render: no episode has begun; call reset() first")
        if self.render_mode == "rgb_array":
            return viewer.picture(viewer.view(self.episodes, 0))
        if self.render_mode == "ansi":
            return viewer.text(viewer.view(self.episodes, 0))
        return None

    def _show(self) -> None:
        if self.render_mode == "human":
            print(viewer.text(viewer.view(self.episodes, 0)), flush=True)

    def _observation(self) -> Observation:
        return {key: value[0] for key, value in self.episodes.state.observe().items()}

    def _info(self) -> Info:
        infos = information(self.episodes, np.zeros(1, np.intp), self._slots)
        return {**{key: value[0] for key, value in infos.items()}, "images": int(infos["images"][0])}
