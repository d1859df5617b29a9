"""The session of a person, who labels neurons one after the other. It resumes from its log."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from operator import index
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

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

FORMAT = 3
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


class Place(NamedTuple):
    """Where the moves that stand have led."""

    present: int
    """The index of the neuron that the person is at."""
    own: list[list[Move]]
    """The moves for each neuron. One that has its label ends with a "stop"."""


def place_of(moves: Sequence[Move], neurons: int) -> Place:
    """Follow moves that stand, without the undone and the undos.

    A "stop" leads to the next neuron without a label, the first ones after the last; if all have theirs, it stays.
    """
    present, own = 0, [list[Move]() for _ in range(neurons)]
    for move in moves:
        if move.neuron is not None:
            present = move.neuron - 1
        elif move.event == "reopen":
            own[present].pop()
        else:
            own[present].append(move)
            if move.event == "stop":
                after = ((present + i) % neurons for i in range(1, neurons))
                present = next((i for i in after if not _labelled(own[i])), present)
    return Place(present, own)


def _labelled(own: Sequence[Move]) -> bool:
    return bool(own) and own[-1].event == "stop"


class Session:
    """A state machine without a user interface, made by `open`. Its state is always the replay of its log.

    The person plays `DnR/RefineEdits-v0`, but may leave the kind of a mutation to the mutator. An episode that runs out
    of steps waits for "stop" or "undo", so that the person sees how it ended and still chooses the label. Neurons may
    be labelled in any order: "go" leaves one as it is, and "reopen" takes a label back. `info` is the info of the
    episode's last step. A session must not be shared by threads.
    """

    def __init__(self, log: Log, episodes: Episodes, neurons: Sequence[str], seed: int) -> None:
        self.neurons = list(neurons)
        self._log = log
        self._episodes = episodes
        self._seed = seed
        self._moves: list[Move] = []  # without those that were undone
        self._place = place_of([], len(neurons))
        self._found: dict[tuple[int, tuple[Move, ...]], SessionLabel] = {}  # by the neuron and its moves
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
        return all(map(_labelled, self._place.own))

    @property
    def neuron(self) -> str:
        """The neuron that the person is at."""
        return self.neurons[self._place.present]

    @property
    def present(self) -> int:
        """The number of this neuron, from 1."""
        return self._place.present + 1

    @property
    def labelled(self) -> bool:
        """Whether this neuron has its label."""
        return _labelled(self._place.own[self._place.present])

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
        open_ = not self.labelled
        live = open_ and not self._episodes.ended[0]
        return {
            "keep": live and bool(self._episodes.masks("incumbent")[0, Action.KEEP]),
            "mutate": live,
            "add": live,  # it brings its own concept, so it needs no waiting one
            "stop": open_,
            "go": len(self.neurons) > 1,
            "reopen": not open_,
            "undo": bool(self._moves),
        }

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
        """The labels of the neurons that have one, in the order of the neurons."""
        made = ((number, tuple(own)) for number, own in enumerate(self._place.own) if _labelled(own))
        return [self._found[key].copy() for key in made]

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
        neuron: int | None = None,
    ) -> None:
        """Take one event and log it. After any error the session and its log are as they were.

        Args:
            event: one of EVENTS.
            text: the concept, for "add".
            step: the `step` that the person saw; None is the present one.
            slot: the number of the candidate, from 1, for an event in CHOOSING. A "stop" takes it as the label.
            kind: one of KINDS, for "mutate"; None lets the mutator choose.
            neuron: the number of the neuron to "go" to, from 1.

        Raises:
            StaleStepError: the step is over.
            NotPossibleError: `masks` does not allow the event, there is no such candidate or neuron, or `kinds` does
                not allow the kind for it.
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
        if (neuron is None) == (event == "go"):
            raise DnRError(
                f"`neuron` must be {'a number for' if event == 'go' else 'None for'} a {event} (got {neuron!r})"
            )
        number = int(index(slot)) if event in CHOOSING else None
        to = None if neuron is None else int(index(neuron))
        move = Move(event, (text or "") if event == "add" else None, number, kind, to)
        self._require(move)
        moves = self._moves
        try:
            if event == "undo":
                self._play(moves[:-1])
            else:
                self._take(move)
            self._log.append(move)
        except BaseException:
            self._play(moves)
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
        if move.neuron is not None and not 1 <= move.neuron <= len(self.neurons):
            raise NotPossibleError(f"`neuron` must be from 1 to {len(self.neurons)} (got {move.neuron})")

    def _take(self, move: Move) -> None:
        """Take a move that does not undo."""
        before = self._place
        if move.event in ("go", "reopen"):
            self._play([*self._moves, move])
            return
        label = self._label((move.slot or 1) - 1)
        self._act(move)
        self._moves = [*self._moves, move]
        self._place = place_of(self._moves, len(self.neurons))
        if move.event == "stop":
            self._found[before.present, tuple(self._place.own[before.present])] = label
            self._replay()

    def _act(self, move: Move) -> None:
        """Take a move in the episode. One that has ended by itself stays as it is."""
        if move.text is not None:
            self._episodes.suggest(0, move.text)
        if not self._episodes.ended[0]:
            kind = None if move.kind is None else Kind[move.kind.upper()]
            choices = Choices(np.array([Action[move.event.upper()]]), np.array([(move.slot or 1) - 1]), [kind])
            self._episodes.act(choices, [self._rng])
            self._inform()

    def _play(self, moves: list[Move]) -> None:
        """Go to the state after the given moves, whose labels are known."""
        self._moves, self._place = moves, place_of(moves, len(self.neurons))
        self._replay()

    def _replay(self) -> None:
        """Play the episode of the present neuron anew. What it has drawn is in the store."""
        self._begin()
        for move in self._place.own[self._place.present]:
            self._act(move)

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
