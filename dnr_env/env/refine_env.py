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
from dnr_env.env.observe import observe
from dnr_env.env.rules import ActionForm, Rules, check_form
from dnr_env.env.spaces import Observation, action_space, observation_space, read_actions
from dnr_env.env.users import Users, user_source
from dnr_env.errors import unknown
from dnr_env.neurons import Which
from dnr_env.registry import load
from dnr_env.stack import Stack
from dnr_env.types import BoolArray, ImageArray

_OTHERS = ("stack", "neurons", "mutator", "user_concepts", "render_mode", "actions", "rules")


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

    One episode is about one neuron of a vision network. The candidate concepts come from captions of the real images
    that excite the neuron most. Real images say how much each concept promises; drawings by a text-to-image generator
    show how much it really excites the neuron. Proposing a concept is free, but every image has a price, so each
    drawing is a decision. Drawings are noisy: what is known of a concept is a posterior, which weighs its drawings
    against its promise. The reward is computed on drawings and real images that the agent never sees.

    ## Action Space

    | Environment | Action space | An action is |
    |-------------|--------------|--------------|
    | `DnR/Refine-v0` | `Discrete(4)` | the action alone |
    | `DnR/RefineSlots-v0` | `MultiDiscrete([4, n_slots])` | the action and the slot that it is for |
    | `DnR/RefineEdits-v0` | `MultiDiscrete([4, n_slots, 6])` | the action, the slot and the kind of mutation |

    | Num | Action | Effect |
    |-----|--------|--------|
    | 0 | KEEP | draw `images_per_measure` images of the concept, its first or more |
    | 1 | MUTATE | make a new concept from this one and the evidence so far, and list it undrawn |
    | 2 | ADD | list the next concept of the user, undrawn; it is for no slot |
    | 3 | STOP | end the episode with the concept as the label |

    In `DnR/Refine-v0`, KEEP is for the candidate with the highest upper bound (posterior mean + deviation), and MUTATE
    and STOP are for the incumbent, the candidate with the highest posterior mean. A concept that is listed already
    costs its step and nothing else.

    | Num | Kind | The new concept |
    |-----|------|-----------------|
    | 0 | NARROW | says more |
    | 1 | BROADEN | says less |
    | 2 | SWAP | says something else in one place |
    | 3 | MODEL | is what a model of the neuron promises most |
    | 4 | UNITE | is this one or another: "A or B" |
    | 5 | EXCEPT | is this one without another: "A but not C" |

    There are always six kinds. UNITE and EXCEPT need a stack whose language has unions and exceptions. UNITE takes a
    concept of one phrase, EXCEPT a noun phrase.

    Only MUTATE has a kind; without one, the mutator chooses. `action_masks()` and `info["action_mask"]` hold one flag
    for each action, then one for each slot and each kind that an action names: which actions have an effect, which
    slots hold a candidate, and which kinds can change the incumbent. KEEP is masked when the budget cannot pay for it,
    ADD when no user concept is left. Any other action uses up a step and does nothing else, but STOP on an empty slot
    takes the incumbent.

    ## Unions and Exceptions

    Only noun phrases are drawn. A label "A or B" is listed with A and B, if they are not listed already, and images
    belong to these: KEEP of the label draws the one with fewer images (of equals, the first), and what several labels
    share is billed once. The value of what drawings decide is the mean over A and B. "but not C" is decided on real
    images alone: an image that C covers counts as average at most; a C that A implies is passed over. See
    "Labels of several phrases" in the formulas.

    ## Observation Space

    A `Dict` of float32 boxes:

    | Key | Shape | Content |
    |-----|-------|---------|
    | `concepts` | (n_slots, dim) | unit embeddings of the candidates, best first; zero in empty slots |
    | `scores` | (n_slots, 19) | one row for each slot, see below; zero in empty slots |
    | `exemplars` | (dim,) | mean image embedding of the neuron's exemplars |
    | `progress` | (11,) | one entry each, see below |

    | Column of `scores` | Content |
    |--------------------|---------|
    | `mean`, `deviation` | the posterior of the concept's held-out value, from which the price of its words is taken off |
    | `promise` | its mean before anything was drawn |
    | `worth` | the expected rise of the best posterior mean by one KEEP of this concept (the knowledge gradient), without its price |
    | `unsettled` | the part of the deviation that drawings can settle; the rest stays |
    | `reach` | the deviation of the change that one KEEP makes to the mean |
    | `images` | images drawn / `images_per_measure` |
    | `score`, `standard_error` | of the drawings alone; 0 without any |
    | `simulation` | correlation, over the real images, of the similarity with the text and the neuron's activation |
    | `coverage`, `coverage_error` | how much of the neuron's activation on real images the concept explains, and its standard error |
    | `precision`, `precision_error` | how much of what the concept covers excites the neuron, and its standard error |
    | `similarity` | mean cosine similarity of the drawings with the exemplars |
    | `specificity` | length of the mean embedding of the drawings |
    | `age` | steps since the concept was listed / `max_steps` |
    | `from_user` | whether a user gave it |
    | `present` | whether the slot holds a candidate |

    | Entry of `progress` | Content |
    |---------------------|---------|
    | `steps_left` | steps left / `max_steps` |
    | `budget_left` | images left / 100 |
    | `image_cost` | cost of 1,000 images |
    | `user_left` | user concepts left |
    | `since_gain` | steps since the incumbent's posterior mean rose / `max_steps` |
    | `gain_0` to `gain_3` | changes of that mean in the last four steps, latest first |
    | `headroom` | the highest promise of an unlisted concept of the vocabulary less that mean |
    | `images_per_measure` | the images that KEEP draws / 100 |

    All that real images say is of the search half; nothing in an observation, an info or a mutator's request depends on
    the held-out half, or on drawings for the reward or the judge.

    ## Rewards

    The reward is value(label now) − value(label before) − `image_cost` × images drawn − `dollar_cost` × US dollars paid
    for the mutation. The label is the incumbent, unless STOP chooses another slot. With `reward="held_out"` the value
    of a concept is its score on drawings that the agent never sees and on the held-out half of the real images; under
    `grounded_k`, each word of the label costs 0.04 of it. With `reward="observed"` it is the posterior mean. With
    `reward="none"` there is no value, and nothing is drawn beyond the agent's own images. The return of an episode is
    the value of the label minus the value of the first incumbent minus the bill.

    ## Starting State

    A neuron is drawn at random from `neurons`, then a block of image seeds from the 8 for training. The candidates are
    listed undrawn. `options={"neuron": "layer4:7"}` (a name or an index) chooses the neuron, `options={"concepts":
    [...]}` the candidates, with their `"origin"`, and `options={"block": 11}` the block (0 to 1023).

    ## Episode End

    The episode terminates after STOP or after `max_steps` actions. The limit is part of the observation and the label
    is final, so an episode is never truncated. An empty budget ends nothing, and with `budget=0` real images alone
    decide.

    ## Information

    | Key | Content |
    |-----|---------|
    | `neuron`, `label`, `origin` | the name of the neuron, the present label, and where that comes from: `"writer"`, `"captions"`, `"vocabulary"`, `"user"` or `"model"` |
    | `concepts` | the texts in the slots, "" in empty ones |
    | `master`, `origins` | the texts of all listed concepts, in the order of listing, and their origins, padded to a fixed length |
    | `master_means`, `master_deviations`, `master_images` | their posterior means and deviations, and the number of images drawn of each, of a union those of its parts |
    | `activations`, `similarities` | (n_slots, images), one value for each image of a candidate; zero where not drawn |
    | `images` | the number of images drawn so far, all of which are billed |
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
    | `actions` | of the id | what an action names: `"incumbent"` (nothing), `"slots"`, or `"edits"` (slot and kind) |
    | `rules` | `None` | a `Rules`, instead of the arguments below |
    | `n_slots` | 8 | candidates in the observation |
    | `images_per_measure` | 5 | images that one KEEP draws |
    | `budget` | 100 | images that the agent may draw |
    | `max_steps` | 24 | actions in an episode |
    | `image_cost` | 0.00005 | cost of one image |
    | `dollar_cost` | 0 | cost of one US dollar for mutations |
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
        actions: ActionForm = "incumbent",
        rules: Rules | None = None,
        **changes: Any,
    ) -> None:
        if render_mode not in (None, *self.metadata["render_modes"]):
            raise unknown("render_mode", render_mode, self.metadata["render_modes"])
        check_form(actions)
        self.render_mode = render_mode
        self.episodes = make_episodes(1, stack, neurons, mutator, user_concepts, rules, changes)
        self._form: ActionForm = actions
        self.observation_space: Any = observation_space(self.episodes.rules, self.episodes.stack.lab.reader.dim)
        self.action_space = action_space(self.episodes.rules, actions)

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
        choices = read_actions([action], self.episodes.rules, self._form)
        rewards, ended = self.episodes.act(choices, [self.np_random])
        self._show()
        return self._observation(), float(rewards[0]), bool(ended[0]), False, self._info()

    def action_masks(self) -> BoolArray:
        """(4,) bool: which actions have an effect. After them, if an action chooses them, the slots and the kinds."""
        masks: BoolArray = self.episodes.masks(self._form)[0]
        return masks

    def suggest(self, text: str) -> str:
        """Make a concept the one that the next ADD lists, and return the text that will be listed.

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
        return {key: value[0] for key, value in observe(self.episodes.state).items()}

    def _info(self) -> Info:
        infos = information(self.episodes, np.zeros(1, np.intp), self._form)
        return {**{key: value[0] for key, value in infos.items()}, "images": int(infos["images"][0])}
