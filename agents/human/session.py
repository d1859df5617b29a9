"""The session of a person, who labels neurons one after the other. It resumes from its log."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from operator import index
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
from gymnasium.utils import seeding

from dnr_env.agents.human.log import CHOOSING, EVENTS, KINDS, Log, Move, StaleStepError
from dnr_env.env import viewer
from dnr_env.env.episodes import Episodes
from dnr_env.env.information import information
from dnr_env.env.refine_env import make_episodes
from dnr_env.env.rules import Action
from dnr_env.env.spaces import Choices
from dnr_env.errors import DnRError, unknown
from dnr_env.evaluation.judge import Verdict, judge
from dnr_env.interfaces import Kind
from dnr_env.seeds import block_of

FORMAT = 2
"""The version of the log format."""


class NotPossibleError(DnRError):
    """An event that `Session.masks` does not allow."""


class SessionLabel(TypedDict):
    """The label of one neuron."""

    neuron: str
    label: str
    mean: float
    """The posterior mean of the label's value, from the evidence that the person saw."""
    deviation: float
    """The posterior deviation of the same."""
    images: int
    """The number of images drawn for the neuron."""


class Session:
    """A state machine without a user interface, made by `open`. Its state is always the replay of its log.

    The person plays `DnR/RefineEdits-v0`, but may leave the kind of a mutation to the mutator. An episode that runs out
    of steps waits for "stop" or "undo", so that the person sees how it ended and still chooses the label. `info` is the
    info of the episode's last step. A session must not be shared by threads.
    """

    def __init__(self, log: Log, episodes: Episodes, neurons: Sequence[str], seed: int) -> None:
        self.neurons = list(neurons)
        self._log = log
        self._episodes = episodes
        self._seed = seed
        self._moves: list[Move] = []  # without those that were undone
        self._labels: list[SessionLabel] = []
        self._begin()
        for step, move in _standing(log):
            try:
                self._require(move)
                self._take(move)
            except DnRError as error:
                raise DnRError(f"`path` must be a log that can be replayed (got {log.line(step)}: {error})") from None

    @classmethod
    def open(
        cls, path: str | Path, neurons: Sequence[str], stack: str | Path = "shapes", seed: int = 0, **options: Any
    ) -> Session:
        """Begin a session, or resume the one that the file holds.

        Args:
            path: the log; `~` is the home folder.
            neurons: the names of the neurons, in the order of labelling.
            stack: the stack, as `RefineEnv` takes it.
            seed: the seed of every episode. It selects the block of image seeds, as in a comparison of agents.
            options: further arguments of `RefineEnv`, such as `budget`, with values that JSON can hold.

        Raises:
            DnRError: an argument cannot be used, the log is damaged, or it was begun with other arguments.
        """
        options = {name: value.item() if isinstance(value, np.generic) else value for name, value in options.items()}
        for name, value in options.items():
            try:
                json.dumps(value)
            except TypeError:
                raise DnRError(f"`{name}` must be a value that JSON can hold (got {value!r})") from None
        if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
            raise DnRError(f"`seed` must be a whole number of at least 0 (got {seed!r})")
        if not neurons or isinstance(neurons, str):
            raise DnRError(f"`neurons` must be a list of at least one name (got {neurons!r})")

        rules = {"reward": "none", **options}
        mutator, users = rules.pop("mutator", None), rules.pop("user_concepts", None)
        episodes = make_episodes(1, stack, "all", mutator, users, rules.pop("rules", None), rules)
        known = episodes.stack.neurons
        for neuron in neurons:
            if neuron not in known:
                raise unknown("neurons", neuron, known)
        named = {"stack": str(stack), "neurons": list(neurons), "seed": int(seed)}
        header = {"format": FORMAT, **named, "options": options}
        return cls(Log(Path(path).expanduser(), header), episodes, neurons, int(seed))

    @property
    def path(self) -> Path:
        """The path of the log."""
        return self._log.path

    @property
    def step(self) -> int:
        """The step that the next event is for: the number of events so far, including undone ones."""
        return len(self._log.moves)

    @property
    def finished(self) -> bool:
        """Whether every neuron has its label."""
        return len(self._labels) == len(self.neurons)

    @property
    def neuron(self) -> str:
        """The neuron to label, or the last one if the session is finished."""
        return self.neurons[min(len(self._labels), len(self.neurons) - 1)]

    @property
    def view(self) -> viewer.View:
        """The view of the episode of the neuron."""
        return replace(viewer.view(self._episodes, 0), user_left=None)  # every "add" brings its own concept

    @property
    def captions(self) -> list[str]:
        """The distinct captions of the neuron's exemplars, strongest first."""
        episodes = self._episodes
        (proposal,) = episodes.stack.proposer.propose([int(episodes.neuron[0])], episodes.rules.n_slots)
        return list(dict.fromkeys(excerpt.caption for excerpt in proposal.excerpts))

    @property
    def masks(self) -> dict[str, bool]:
        """Which events are possible now, in the order of EVENTS."""
        going = not self.finished
        live = going and not self._episodes.ended[0]
        keep = live and bool(self._episodes.masks("incumbent")[0, Action.KEEP])
        # An "add" brings its own concept, so it is possible without a waiting one.
        return {"keep": keep, "mutate": live, "add": live, "stop": going, "undo": bool(self._moves)}

    @property
    def candidates(self) -> int:
        """The number of candidates to choose from."""
        return min(self._episodes.rules.n_slots, len(self._episodes.texts[0]))

    def kinds(self, slot: int) -> list[str]:
        """The kinds of mutation that can change a candidate, by its number from 1."""
        state = self._episodes.state
        allowed = state.kinds(state.order[:, slot - 1])[0].tolist()
        return [kind for kind, can in zip(KINDS, allowed, strict=True) if can]

    def labels(self) -> list[SessionLabel]:
        """The labels of the finished neurons, in order."""
        return [label.copy() for label in self._labels]

    def verdict(self, label: SessionLabel) -> Verdict:
        """Let the judge draw new images of a label and score them."""
        episodes = self._episodes
        return judge(
            episodes.stack,
            neurons=[label["neuron"]],
            labels=[label["label"]],
            rules=episodes.rules,
            blocks=[block_of(self._seed)],
        )[0]

    def apply(
        self,
        event: str,
        text: str | None = None,
        step: int | None = None,
        *,
        slot: int = 1,
        kind: str | None = None,
    ) -> None:
        """Take one event and log it. After any error the session and its log are as they were.

        Args:
            event: one of EVENTS.
            text: the concept, for "add".
            step: the `step` that the person saw; None is the present one.
            slot: the number of the candidate, from 1, for an event in CHOOSING. A "stop" takes it as the label.
            kind: one of KINDS, for "mutate"; None lets the mutator choose.

        Raises:
            StaleStepError: the step is over.
            NotPossibleError: `masks` does not allow the event, there is no such candidate, or `kinds` does not allow
                the kind for it.
            ConceptError: the text cannot be drawn.
            DnRError: the event or the kind is unknown, or the log cannot be written.
        """
        if step is not None and step != self.step:
            raise StaleStepError(f"`step` must be {self.step}, the present step (got {step})")
        if event not in EVENTS:
            raise unknown("event", event, EVENTS)
        if kind is not None and event != "mutate":
            raise DnRError(f"`kind` must be None for a {event} (got {kind!r})")
        if kind is not None and kind not in KINDS:
            raise unknown("kind", kind, KINDS)
        number = int(index(slot)) if event in CHOOSING else None
        move = Move(event, (text or "") if event == "add" else None, number, kind)
        self._require(move)
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

    def _require(self, move: Move) -> None:
        masks = self.masks
        if not masks[move.event]:
            possible = ", ".join(name for name in masks if masks[name])
            raise NotPossibleError(f"`event` must be one of {possible} now (got {move.event!r})")
        if move.slot is not None and not 1 <= move.slot <= self.candidates:
            raise NotPossibleError(f"`slot` must be from 1 to {self.candidates} now (got {move.slot})")
        if move.kind is not None and move.kind not in (kinds := self.kinds(move.slot or 1)):
            raise NotPossibleError(f"`kind` must be one of {', '.join(kinds)} for this concept (got {move.kind!r})")

    def _take(self, move: Move) -> None:
        slot = (move.slot or 1) - 1
        label = self._label(slot)
        if move.text is not None:
            self._episodes.suggest(0, move.text)
        if not self._episodes.ended[0]:
            kind = None if move.kind is None else Kind[move.kind.upper()]
            choices = Choices(np.array([Action[move.event.upper()]]), np.array([slot]), [kind])
            self._episodes.act(choices, [self._rng])
            self._inform()
        self._moves = [*self._moves, move]
        if move.event == "stop":
            self._labels = [*self._labels, label]
            if not self.finished:
                self._begin()

    def _play(self, moves: list[Move], labels: list[SessionLabel]) -> None:
        """Go to the state after the given moves. `labels` holds at least the labels of the neurons they finish."""
        starts = [0, *(place for place, move in enumerate(moves, 1) if move.event == "stop")]
        present = min(len(starts), len(self.neurons)) - 1  # a finished session stays at the last neuron
        here = starts[present]
        self._moves, self._labels = moves[:here], labels[:present]
        self._begin()
        for move in moves[here:]:
            self._take(move)

    def _begin(self) -> None:
        self._rng = seeding.np_random(self._seed)[0]
        self._episodes.begin([0], [self._rng], [{"neuron": self.neuron, "block": block_of(self._seed)}])
        self._inform()

    def _inform(self) -> None:
        self.info = {key: value[0] for key, value in information(self._episodes, np.zeros(1, int), "edits").items()}

    def _label(self, slot: int) -> SessionLabel:
        state, texts = self._episodes.state, self._episodes.texts[0]
        place = int(state.order[0, slot])
        return {
            "neuron": self.neuron,
            "label": texts[place],
            "mean": float(state.means[0, place]),
            "deviation": float(state.deviations[0, place]),
            "images": int(state.image_count[0]),
        }


def _standing(log: Log) -> list[tuple[int, Move]]:
    """Return the moves that were not undone, with their steps."""
    standing: list[tuple[int, Move]] = []
    for step, move in enumerate(log.moves):
        if move.event != "undo":
            standing.append((step, move))
        elif standing:
            standing.pop()
        else:
            raise DnRError(f"`path` must be an undamaged log (got {log.line(step)}, which undoes nothing)")
    return standing
