"""A person's session: neurons to label one after the other, in a log from which it goes on where it was left."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypedDict

import gymnasium as gym

from agents.base import column
from agents.human.log import EVENTS, Log, Move, StaleStepError
from dnr_env import viewer
from dnr_env.env import RefineEnv
from dnr_env.episode import Action
from dnr_env.errors import DnRError, unknown

FORMAT = 1
"""Version of the log."""


class NotPossibleError(DnRError):
    """An event that `Session.masks` rules out."""


class Label(TypedDict):
    """What a neuron was called."""

    neuron: str
    label: str
    score: float
    """Of the label, on the images that the person saw."""
    error: float
    """Its standard error."""
    images: int
    """Drawn for the neuron, the initial measurement included."""


class Session:
    """A state machine with no user interface. Its state is the replay of its log, always; make one with `open`.

    An episode that runs out of steps or of images waits for "stop" (or "undo"), so that a person sees how it ended.
    For one thread at a time. `info` is what the environment's last step returned.
    """

    def __init__(self, log: Log, env: RefineEnv, neurons: Sequence[str], seed: int) -> None:
        self.neurons = list(neurons)
        self._log = log
        self._env = env
        self._seed = seed
        self._moves: list[Move] = []  # those that no undo took back
        self._labels: list[Label] = []
        self._begin()
        for step, move in _standing(log):
            try:
                self._require(move.event)
                self._take(move)
            except DnRError as error:
                raise DnRError(f"log: {log.line(step)} cannot be replayed: {error}") from None

    @classmethod
    def open(
        cls, path: str | Path, neurons: Sequence[str], stack: str = "shapes", seed: int = 0, **options: Any
    ) -> Session:
        """Begin a session, or go on with the one that the file holds.

        Args:
            path: the log.
            neurons: names of the neurons, in the order of labelling.
            stack: name of the stack.
            seed: of every episode.
            options: further arguments of `RefineEnv`, such as `budget`; JSON values.

        Raises:
            DnRError: an argument cannot be used, or the log is damaged or was begun with other arguments.
        """
        env = gym.make("dnr_env:DnR/Refine-v0", stack=stack, neurons="all", reward="none", **options).unwrapped
        assert isinstance(env, RefineEnv)
        known = env.refinement.stack.lab.reader.neurons
        if not neurons:
            raise DnRError(f"neurons: none was given; names such as {known[0]} will do")
        for neuron in neurons:
            if neuron not in known:
                raise unknown("neurons", neuron, known)
        if seed < 0:
            raise DnRError(f"seed: {seed} is no seed; 0 or more will do")
        header = {"format": FORMAT, "stack": stack, "neurons": list(neurons), "seed": seed, "options": options}
        return cls(Log(Path(path), header), env, neurons, seed)

    @property
    def path(self) -> Path:
        """The log."""
        return self._log.path

    @property
    def step(self) -> int:
        """The id of the step that the next event is for: the number of events so far, undone ones included."""
        return len(self._log.moves)

    @property
    def finished(self) -> bool:
        """Whether every neuron has its label."""
        return len(self._labels) == len(self.neurons)

    @property
    def neuron(self) -> str:
        """The neuron to label; the last one, when finished."""
        return self.neurons[min(len(self._labels), len(self.neurons) - 1)]

    @property
    def view(self) -> viewer.View:
        """What there is to show of the neuron's episode."""
        return viewer.view(self._env.refinement, 0)

    @property
    def masks(self) -> dict[str, bool]:
        """Which events are possible now, in the order of EVENTS."""
        going = not self.finished
        masks = {action.name.lower(): going and bool(self._env.action_masks()[action]) for action in Action}
        # An "add" brings its concept along, so that none need be waiting.
        return {**masks, "add": masks["keep"], "undo": bool(self._moves)}

    def labels(self) -> list[Label]:
        """The labels of the neurons that are finished, in order."""
        return [label.copy() for label in self._labels]

    def apply(self, event: str, text: str | None = None, step: int | None = None) -> None:
        """Take one event, and write it down. On any error the session and its log are as they were.

        Args:
            event: one of EVENTS.
            text: the concept, for "add".
            step: the `step` that the person saw; None is the present one.

        Raises:
            StaleStepError: that step is over.
            NotPossibleError: `masks` rules the event out.
            ConceptError: the text cannot be drawn.
            DnRError: there is no such event, or the log cannot be written.
        """
        if step is not None and step != self.step:
            raise StaleStepError(f"step: {step} is over; {self.step}, the present one, will do")
        if event not in EVENTS:
            raise unknown("event", event, EVENTS)
        self._require(event)
        move = Move(event, (text or "") if event == "add" else None)
        moves, labels = self._moves, self._labels
        try:
            if event == "undo":
                self._play(moves[:-1], labels)
            else:
                self._take(move)
            self._log.append(move)
        except BaseException:
            self._play(moves, labels)
            raise

    def _require(self, event: str) -> None:
        masks = self.masks
        if not masks[event]:
            possible = ", ".join(name for name in masks if masks[name])
            raise NotPossibleError(f"event: {event!r} is not possible now; {possible} will do")

    def _take(self, move: Move) -> None:
        if move.text is not None:
            self._env.suggest(move.text)
        if not self._env.refinement.ended[0]:
            self._observation, _, _, _, self.info = self._env.step(Action[move.event.upper()])
        self._moves = [*self._moves, move]
        if move.event == "stop":
            self._labels = [*self._labels, self._label()]
            if not self.finished:
                self._begin()

    def _play(self, moves: list[Move], labels: list[Label]) -> None:
        """Go to where some moves lead, given the labels of (at least) the neurons that they finish."""
        starts = [0, *(place for place, move in enumerate(moves, 1) if move.event == "stop")]
        present = min(len(starts), len(self.neurons)) - 1  # a finished session stays with the last neuron
        here = starts[present]
        self._moves, self._labels = moves[:here], labels[:present]
        self._begin()
        for move in moves[here:]:
            self._take(move)

    def _begin(self) -> None:
        self._observation, self.info = self._env.reset(seed=self._seed, options={"neuron": self.neuron})

    def _label(self) -> Label:
        return {
            "neuron": self.neuron,
            "label": self.info["label"],
            "score": float(column(self._observation, "score")[0]),
            "error": float(column(self._observation, "standard_error")[0]),
            "images": self.info["images"],
        }


def _standing(log: Log) -> list[tuple[int, Move]]:
    """The moves that no undo took back, with their steps."""
    standing: list[tuple[int, Move]] = []
    for step, move in enumerate(log.moves):
        if move.event != "undo":
            standing.append((step, move))
        elif standing:
            standing.pop()
        else:
            raise DnRError(f"log: {log.line(step)} undoes nothing; a whole log or another file will do")
    return standing
