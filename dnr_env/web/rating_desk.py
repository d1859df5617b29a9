"""One annotator's ratings, as the requests of a server share them: what a screen shows, and the answers."""

from __future__ import annotations

import contextlib
import threading
from collections import OrderedDict
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from dnr_env.agents.human.log import ChangedLogError, NotPossibleError, StaleStepError
from dnr_env.evaluation.exemplars import overlays_of, real_activations
from dnr_env.rating.answers import STEPS, Answers
from dnr_env.rating.plan import Plan, rng_of
from dnr_env.stack import Stack
from dnr_env.web.gallery import Gallery, Picture

SHOWN = 8
"""Exemplars on a screen, and as many other images."""
ORDINARY = 0.9
"""The other images are from below this quantile of the neuron's activations."""
_KEPT = 8  # screens whose images are known
FITS = ("not at all", "poorly", "partly", "well", "exactly")
FITS_BETTER = ("left much better", "left better", "no difference", "right better", "right much better")


@dataclass(frozen=True)
class Shown:
    """An image on a screen."""

    picture: Picture
    over: Picture | None
    """With a heat map, where the target has one."""
    exemplar: bool
    height: float
    """Of the bar of its activation, from 0 to 100: 100 is the strongest on the screen."""


@dataclass(frozen=True)
class RatingPage:
    """Everything that a screen shows."""

    step: int
    number: int
    """Of the screen, from 1."""
    count: int
    done: int
    """How many screens have an answer."""
    labels: tuple[str, ...]
    given: int | None
    """The rating that the annotator has given this screen."""
    answers: tuple[str, ...]
    images: list[Shown]
    message: str


class RatingDesk:
    """The screens of one annotator, and the answers, one at a time.

    The images are of the half of the real images that no search has seen: those that excite the neuron most, and random
    ones of the weaker nine tenths, mixed.

    Args:
        answers: the annotator's answers.
        plan: what is rated.
        stack: whose neurons they are.
        consent: the text that the annotator is to agree to.
        gallery: keeps the pictures.
    """

    def __init__(self, answers: Answers, plan: Plan, stack: Stack, consent: str, gallery: Gallery) -> None:
        self.answers, self.consent, self.gallery = answers, consent, gallery
        self._plan, self._stack = plan, stack
        self._lock = threading.Lock()
        self._ahead = ThreadPoolExecutor(1)
        self._made: OrderedDict[str, Future[list[Shown]]] = OrderedDict()  # by neuron

    @property
    def pairs(self) -> bool:
        """Whether screens have two labels."""
        return self._plan.pairs

    @property
    def count(self) -> int:
        """The number of screens."""
        return len(self.answers.screens)

    def following(self, number: int) -> int | None:
        """The next screen without an answer after one, by numbers from 1; None if all have theirs."""
        after = ((number + i) % self.count for i in range(self.count))
        return next((place + 1 for place in after if self.answers[place] is None), None)

    def agree(self) -> None:
        """Note that the annotator agrees to take part, unless it is noted already."""
        with self._lock:
            if not self.answers.consented:
                with contextlib.suppress(ChangedLogError):  # another server's page has it
                    self.answers.consent()

    def rate(self, step: int, number: int, rating: int) -> None:
        """Take one rating of a screen, by its number from 1.

        Raises:
            StaleStepError: the annotator saw another step.
            NotPossibleError: there is no such screen or rating, or no consent.
            DnRError: the answer cannot be written. Nothing has changed.
        """
        if not 1 <= number <= self.count:
            raise NotPossibleError(f"`screen` must be from 1 to {self.count} (got {number})")
        if not 1 <= rating <= STEPS:
            raise NotPossibleError(f"`rating` must be from 1 to {STEPS} (got {rating})")
        with self._lock:
            if not self.answers.consented:
                raise NotPossibleError("`consent` must be given first")
            if step != self.answers.step:
                raise StaleStepError(f"`step` must be {self.answers.step} (got {step})")
            self.answers.rate(number - 1, rating)

    def page(self, number: int) -> RatingPage:
        """A screen, by its number from 1. One whose images cannot be read says so, and cannot be rated."""
        screen = self.answers.screens[number - 1]
        item = self._plan.items[screen.item]
        try:
            images, message = self._start(item.neuron).result(), ""
        except Exception as error:
            why = f"{type(error).__name__}: {error}"
            images, message = [], f"the images cannot be shown, so go on with the next screen ({why})"
        if number < self.count:
            self._start(self._plan.items[self.answers.screens[number].item].neuron)
        return RatingPage(
            step=self.answers.step,
            number=number,
            count=self.count,
            done=len(self.answers.given),
            labels=item.labels[::-1] if screen.flipped else item.labels,
            given=self.answers[number - 1],
            answers=FITS_BETTER if self.pairs else FITS,
            images=images,
            message=message,
        )

    def _start(self, neuron: str) -> Future[list[Shown]]:
        """Make the images of a neuron, or begin to, so that an answer need not wait for those of the next screen."""
        with self._lock:
            made = self._made.get(neuron)
            if made is None or (made.done() and made.exception()):  # what has failed is tried again
                made = self._made[neuron] = self._ahead.submit(self._images, neuron)
            self._made.move_to_end(neuron)
            while len(self._made) > _KEPT:
                self._made.popitem(last=False)
        return made

    def _images(self, neuron: str) -> list[Shown]:
        """Exemplars and other images in an order that depends on the neuron alone."""
        probe, index, rng = self._stack.probes.held_out, self._stack.neurons.index(neuron), rng_of(neuron)
        activations = real_activations(self._stack, probe, neuron)
        top = probe.exemplars[index][:SHOWN]
        ordinary = np.setdiff1d(
            np.flatnonzero(activations <= np.quantile(activations, ORDINARY)), probe.exemplars[index]
        )
        which = rng.permutation(np.concatenate([top, rng.choice(ordinary, min(SHOWN, len(ordinary)), replace=False)]))
        images = list(probe.images(which))
        overs = overlays_of(self._stack, neuron, images)
        raw = activations[which]
        low = min(0.0, float(raw.min()))
        span = max(float(raw.max()) - low, 1e-9)
        return [
            Shown(
                self.gallery.show(image),
                None if overs is None else self.gallery.show(overs[i]),
                int(which[i]) in top,
                round(100 * (float(raw[i]) - low) / span, 1),
            )
            for i, image in enumerate(images)
        ]
