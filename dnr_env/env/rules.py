"""The rules of an episode: the actions, the limits, the cost of images and the score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from enum import IntEnum
from numbers import Integral, Real
from typing import Any, Literal, get_args

from dnr_env.errors import DnRError, unknown, unknown_argument
from dnr_env.scores import check_score
from dnr_env.structure import MOST_PHRASES


class Action(IntEnum):
    """An action on a candidate. Only KEEP draws, so only KEEP has a price in images."""

    KEEP = 0
    """Draw images of the concept, its first or more, and measure them."""
    MUTATE = 1
    """Make a new concept from this one and the evidence, and list it undrawn."""
    ADD = 2
    """List the next concept that the user gave, undrawn."""
    STOP = 3
    """End the episode; the concept is the label."""


ActionForm = Literal["incumbent", "slots", "edits"]
"""What an action consists of: the action alone; the action and a slot; or the action, a slot and a kind of mutation."""
FORMS: tuple[ActionForm, ...] = get_args(ActionForm)


def check_form(actions: str) -> None:
    """Raise DnRError unless `actions` is one of FORMS."""
    if actions not in FORMS:
        raise unknown("actions", actions, FORMS)


_LIMITS = {
    "n_slots": (1, 64),
    "images_per_measure": (1, 200),
    "budget": (0, 10**9),
    "max_steps": (1, 1000),
    "reward_images": (1, 1000),
}
RewardMode = Literal["held_out", "observed", "none"]


@dataclass(frozen=True)
class Rules:
    """The limits of an episode, the cost of its images and the score of its concepts."""

    n_slots: int = 8
    """The number of candidates that the agent sees, best first. An episode begins with at most as many."""
    images_per_measure: int = 5
    """The number of images that KEEP draws. It is also the subset size m of the score."""
    budget: int = 100
    """The number of images that the agent may draw. With 0, it decides by real images alone."""
    max_steps: int = 24
    """The number of actions in an episode."""
    image_cost: float = 0.00005
    """The amount by which one image lowers the reward."""
    dollar_cost: float = 0.0
    """The amount by which one US dollar that a language model costs for a mutation lowers the reward."""
    score: str = "grounded_k"
    """The name of the score, one of `dnr_env.scores.SCORES`."""
    reward: str = "held_out"
    """"held_out" scores drawings and real images that the agent never sees, "observed" pays for changes of its own
    estimate, and "none" has no value, so that only the bill remains."""
    reward_images: int = 20
    """The number of images of each noun phrase that the held-out value of a concept is computed on."""

    def __post_init__(self) -> None:
        for option, (least, most) in _LIMITS.items():
            value = getattr(self, option)
            if isinstance(value, bool) or not isinstance(value, Integral) or not least <= int(value) <= most:
                raise DnRError(f"`{option}` must be a whole number from {least} to {most} (got {value!r})")
            object.__setattr__(self, option, int(value))
        for option in ("image_cost", "dollar_cost"):
            cost = getattr(self, option)
            if isinstance(cost, bool) or not isinstance(cost, Real) or not 0 <= float(cost) <= 1:
                raise DnRError(f"`{option}` must be a number from 0 to 1 (got {cost!r})")
            object.__setattr__(self, option, float(cost))
        if self.reward not in get_args(RewardMode):
            raise unknown("reward", self.reward, get_args(RewardMode))
        if self.reward_images < self.images_per_measure:
            raise DnRError(
                f"`reward_images` must be at least `images_per_measure`, {self.images_per_measure} "
                f"(got {self.reward_images})"
            )
        check_score(self.score)

    @classmethod
    def of(cls, rules: Rules | None, changes: Mapping[str, Any], others: Sequence[str] = ()) -> Rules:
        """Return `rules`, or the default rules for None, with some fields changed.

        Args:
            rules: the rules to start from.
            changes: the fields to change.
            others: further arguments of the caller, which the error for an unknown one lists too.

        Raises:
            UnknownArgumentError: `changes` names a field that does not exist.
            DnRError: a value cannot be used.
        """
        known = [field.name for field in fields(cls)]
        for name in changes:
            if name not in known:
                raise unknown_argument(name, [*known, *others])
        if rules is not None and not isinstance(rules, cls):
            raise DnRError(f"`rules` must be a Rules (got {rules!r})")
        return replace(rules or cls(), **changes)

    def capacity(self, structured: bool) -> int:
        """The greatest possible length of a master list. A union is listed with its two parts."""
        return (self.n_slots + self.max_steps) * (1 + MOST_PHRASES if structured else 1)

    @property
    def most_measurements(self) -> int:
        """The greatest possible number of times that KEEP draws in one episode."""
        return min(self.max_steps, self.budget // self.images_per_measure)

    @property
    def most_images(self) -> int:
        """The greatest possible number of images in one episode, which may all be of one concept."""
        return self.images_per_measure * self.most_measurements
