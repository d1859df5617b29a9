"""The session of a person, who labels neurons one after the other. It resumes from its log."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from operator import index
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium.utils import seeding

from dnr_env.agents.human.log import CHOOSING, EVENTS, KINDS, Log, Move, NotPossibleError, StaleStepError
from dnr_env.agents.human.opening import opened
from dnr_env.agents.human.place import labelled, place_of
from dnr_env.agents.human.said import SessionLabel, captions_of, label_of, listed_since, verdict_of
from dnr_env.agents.human.shown import Shown
from dnr_env.env import viewer
from dnr_env.env.episodes import Episodes
from dnr_env.env.information import information
from dnr_env.env.rules import Action
from dnr_env.env.spaces import Choices
from dnr_env.errors import DnRError, unknown
from dnr_env.evaluation.judge import Verdict
from dnr_env.interfaces import Kind
from dnr_env.seeds import block_of


class Session:
    """A state machine without a user interface, made by `open`. Its state is always the replay of its log.

    The person plays `DnR/RefineEdits-v0`, but may leave the kind of a mutation to the mutator. An episode that runs out
    of steps waits for "stop" or "undo", so that the person sees how it ended and still chooses the label. Neurons may
    be labelled in any order: "go" leaves one as it is, and "reopen" takes a label back. `info` is the info of the
    episode's last step. A session must not be shared by threads.
    """

    def __init__(self, log: Log, episodes: Episodes, neurons: Sequence[str], seed: int, blind: bool) -> None:
        self.neurons = list(neurons)
        self.blind = blind
        """Whether a page hides what models say of a neuron until it is `answered`."""
        self._log = log
        self._episodes = episodes
        self._seed = seed
        self._moves: list[Move] = []  # without those that were undone
        self._place = place_of([], len(neurons))
        self._found: dict[tuple[int, tuple[Move, ...]], SessionLabel] = {}  # by the neuron and its moves
        self._told: list[str] = []  # what each of the moves did
        self._shown = Shown()
        self._begin()
        for step, move in enumerate(log.moves):  # the undone ones too, whose images stay on the bill
            try:
                self._require(move)
                self._go(move)
            except DnRError as error:
                raise DnRError(f"`path` must be a log that can be replayed (got {log.line(step)}: {error})") from None

    @classmethod
    def open(
        cls, path: str | Path, neurons: Sequence[str], stack: str | Path = "shapes", seed: int = 0, **options: Any
    ) -> Session:
        """Begin a session, or resume the one that the file holds.

        Args:
            path: the log; `~` is the home folder.
            neurons: the names of the neurons, in the order of labelling. One may come twice, to be labelled anew.
            stack: the stack, as `RefineEnv` takes it.
            seed: the seed of every episode. It selects the block of image seeds, as in a comparison of agents.
            options: further arguments of `RefineEnv`, such as `budget`, with values that JSON can hold; and `blind`.

        Raises:
            DnRError: an argument cannot be used, the log is damaged, or it was begun with other arguments.
        """
        return cls(*opened(path, neurons, stack, seed, options), neurons, int(seed), blind="blind" in options)

    @property
    def episodes(self) -> Episodes:
        """The episode of the neuron, of which nothing may be changed."""
        return self._episodes

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
        return all(map(labelled, self._place.own))

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
        return labelled(self._place.own[self._place.present])

    @property
    def view(self) -> viewer.View:
        """The view of the episode of the neuron, with all images that were shown for it, those of undone events too."""
        spent = self._shown.images(self._place.present)
        return replace(viewer.view(self._episodes, 0), user_left=None, spent=spent)  # an "add" brings its own concept

    @property
    def captions(self) -> list[str]:
        """The distinct captions of the neuron's exemplars, strongest first."""
        return captions_of(self._episodes)

    @property
    def masks(self) -> dict[str, bool]:
        """Which events are possible now, in the order of EVENTS."""
        open_ = not self.labelled
        live = open_ and not self._episodes.ended[0]
        return {
            "keep": live and any(map(self._pays, range(1, self.candidates + 1))),
            "mutate": live,
            "add": live,  # it brings its own concept, so it needs no waiting one
            "stop": open_,
            "go": len(self.neurons) > 1,
            "reopen": not open_,
            "undo": bool(self._moves),
        }

    @property
    def answered(self) -> bool:
        """Whether the person has given this neuron a concept of their own, or a label, even if they undid it."""
        return self._place.present in self._shown.answered

    @property
    def told(self) -> list[str]:
        """What each event did that was not undone, in order: "layer4:3: mutate broaden red disc → red thing"."""
        return self._told.copy()

    def origin(self, text: str) -> tuple[str, str]:
        """How a listed concept came to be: the event ("" of a first one), and the concept that it was made from."""
        return self._parents.get(text, ("", ""))

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
        made = ((number, tuple(own)) for number, own in enumerate(self._place.own) if labelled(own))
        return [self._found[key].copy() for key in made]

    def verdict(self, label: SessionLabel) -> Verdict:
        """Let the judge draw new images of a label and score them."""
        return verdict_of(self._episodes, label, self._seed)

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
        moves, told, shown = self._moves, self._told, self._shown.copy()
        try:
            self._go(move)
            self._log.append(move)
        except BaseException:
            self._shown = shown
            self._play(moves, told)
            raise

    def _require(self, move: Move) -> None:
        masks = self.masks
        if not masks[move.event]:
            possible = ", ".join(name for name in masks if masks[name])
            raise NotPossibleError(f"`event` must be one of {possible} now (got {move.event!r})")
        if move.slot is not None and not 1 <= move.slot <= self.candidates:
            raise NotPossibleError(f"`slot` must be from 1 to {self.candidates} now (got {move.slot})")
        if move.event == "keep" and not self._pays(move.slot or 1):
            raise NotPossibleError(f"`slot` must be a candidate whose drawings are paid for (got {move.slot})")
        if move.kind is not None and move.kind not in (kinds := self.kinds(move.slot or 1)):
            raise NotPossibleError(f"`kind` must be one of {', '.join(kinds)} for this concept (got {move.kind!r})")
        if move.neuron is not None and not 1 <= move.neuron <= len(self.neurons):
            raise NotPossibleError(f"`neuron` must be from 1 to {len(self.neurons)} (got {move.neuron})")

    def _pays(self, slot: int) -> bool:
        return self._shown.pays(self._place.present, self._episodes, slot)

    def _go(self, move: Move) -> None:
        """Take a move, or the last one back."""
        if move.event == "undo":
            self._play(self._moves[:-1], self._told[:-1])
        else:
            self._take(move)

    def _take(self, move: Move) -> None:
        before = self._place.present
        if move.event in ("go", "reopen"):
            self._play([*self._moves, move], [*self._told, ""])
            self._told[-1] = f"{move.event} {self.neuron}"
            return
        label = label_of(self._episodes, move.slot or 1, before + 1, self._shown.images(before))
        told = self._act(move)
        self._moves, self._told = [*self._moves, move], [*self._told, f"{self.neurons[before]}: {told}"]
        self._place = place_of(self._moves, len(self.neurons))
        if move.event in ("add", "stop"):
            self._shown.answered.add(before)
        if move.event == "stop":
            self._found[before, tuple(self._place.own[before])] = label
            self._replay()

    def _act(self, move: Move) -> str:
        """Take a move in the episode, and say what it did. An episode that has ended by itself stays as it is."""
        texts = self._episodes.texts[0]
        about = "" if move.slot is None else texts[int(self._episodes.state.order[0, move.slot - 1])]
        listed = len(texts)
        if move.text is not None:
            self._episodes.suggest(0, move.text)
        if not self._episodes.ended[0]:
            kind = None if move.kind is None else Kind[move.kind.upper()]
            choices = Choices(np.array([Action[move.event.upper()]]), np.array([(move.slot or 1) - 1]), [kind])
            self._episodes.act(choices, [self._rng])
            self._shown.note(self._place.present, self._episodes)
            self._inform()
        (new, parts), how = listed_since(self._episodes, listed), f"{move.event} {move.kind or ''}".rstrip()
        self._parents.update({new: (how, about), **dict.fromkeys(parts, ("part", new))})
        return f"{how} {' → '.join(filter(None, (about, new or move.text)))}".rstrip()

    def _play(self, moves: list[Move], told: list[str]) -> None:
        """Go to the state after the given moves, whose labels are known."""
        self._moves, self._told, self._place = moves, told, place_of(moves, len(self.neurons))
        self._replay()

    def _replay(self) -> None:
        """Play the episode of the present neuron anew. What it has drawn is in the store."""
        self._begin()
        for move in self._place.own[self._place.present]:
            self._act(move)

    def _begin(self) -> None:
        self._parents: dict[str, tuple[str, str]] = {}  # of what was listed: the event, and the concept it is made from
        self._rng = seeding.np_random(self._seed)[0]
        self._episodes.begin([0], [self._rng], [{"neuron": self.neuron, "block": block_of(self._seed)}])
        self.first = float(self._episodes.state.means[0].max())  # the best estimate at the start
        self._inform()

    def _inform(self) -> None:
        self.info = {key: value[0] for key, value in information(self._episodes, np.zeros(1, int), "edits").items()}
