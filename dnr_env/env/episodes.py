"""The episodes of an environment: the rules applied to a stack, for any number of parallel episodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dnr_env.env.candidates import candidates
from dnr_env.env.joining import join
from dnr_env.env.options import read_options
from dnr_env.env.rules import Action, ActionForm, Rules
from dnr_env.env.spaces import Choices
from dnr_env.env.state import State
from dnr_env.env.users import UserSource, concepts_of
from dnr_env.env.value import Values
from dnr_env.errors import unknown
from dnr_env.evidence.sight import see
from dnr_env.interfaces import Kind, MutationBatch, Origin, Trial, Usage
from dnr_env.seeds import TRAINING_BLOCKS, Purpose
from dnr_env.stack import Stack
from dnr_env.types import BoolArray, FloatArray, IntArray

_NOTHING_LEFT = "the action had no effect: no budget or user concept is left, or the slot is empty"
_NO_SUCH_LABEL = "the action had no effect: a concept takes one union and one exception, in a language that has them"


class Episodes:
    """n parallel episodes on one stack.

    Args:
        n: the number of episodes.
        stack: the models.
        rules: the limits, the costs and the score.
        neurons: the indices of the neurons that `begin` draws from.
        mutator: the name of a mutator of the stack; None takes its first.
        users: the source of user concepts, or None.
    """

    def __init__(
        self, n: int, stack: Stack, rules: Rules, neurons: Sequence[int], mutator: str | None, users: UserSource | None
    ) -> None:
        mutator = next(iter(stack.mutators)) if mutator is None else mutator
        if mutator not in stack.mutators:
            raise unknown("mutator", mutator, stack.mutators)
        self.stack = stack
        self.rules = rules
        self.neurons = list(neurons)
        self.users = users
        self._mutator = mutator  # its name: the object may hold what cannot be pickled, as the stack does
        dim, controls = stack.lab.reader.dim, stack.probe.controls.shape[1]
        self.state = State.empty(n, rules, stack.calibration, dim, controls, stack.language.structured)
        self.neuron = np.zeros(n, np.intp)
        self.texts: list[list[str]] = [[] for _ in range(n)]
        """The master list of each episode."""
        self.origins: list[list[Origin]] = [[] for _ in range(n)]
        """The origin of each concept of each master list: that of whoever named it first."""
        self.queues: list[list[tuple[str, Origin]]] = [[] for _ in range(n)]
        """The concepts of the user that each episode has yet to list, with their origins."""
        self.messages = [""] * n
        self.failures = [""] * n
        """Why the writer had no answer in the last step or, at the beginning, no candidates; "" otherwise."""
        self.usage = [Usage()] * n
        """The language model usage that the texts of each episode cost."""
        self.ended = np.ones(n, bool)
        self.label_places = np.zeros(n, np.intp)  # in the master lists
        self._values = np.zeros(n)  # held-out values of the labels
        self._held_out = Values(stack, rules)

    @property
    def reward_images(self) -> int:
        """The number of images of each noun phrase that the value of a label is computed on."""
        return self.rules.reward_images if self.rules.reward == "held_out" else 0

    def begin(
        self, rows: Sequence[int], rngs: Sequence[np.random.Generator], options: Sequence[Mapping[str, Any]]
    ) -> None:
        """Begin an episode in each of the given rows, with its generator and its reset options. Nothing is drawn."""
        starts = [read_options(option, self.stack.neurons, self.stack.language, self.rules) for option in options]
        chosen = [
            start.neuron if start.neuron is not None else self.neurons[rng.integers(len(self.neurons))]
            for rng, start in zip(rngs, starts, strict=True)
        ]
        blocks = [
            start.block if start.block is not None else int(rng.integers(TRAINING_BLOCKS))
            for rng, start in zip(rngs, starts, strict=True)
        ]
        firsts = candidates(self.stack.proposer, chosen, starts, self.rules.n_slots)
        which = np.array(rows, np.intp)
        self.ended[which] = True  # a failure below must leave no running episode
        self.state.clear(which)
        self.neuron[which] = chosen
        self.state.block[which] = blocks
        self.state.exemplars[which] = self.stack.probe.exemplar_embeddings[chosen]
        self.state.controls[which] = self.stack.probe.controls[chosen]
        for row, rng, neuron, first in zip(rows, rngs, chosen, firsts, strict=True):
            self.usage[row], self.failures[row] = first.usage, first.failure
            given = concepts_of(self.users, neuron, rng, self.stack) if self.users else []
            self.queues[row] = [(text, "user") for text in given]
            self.state.user_left[row] = len(self.queues[row])
            self.texts[row], self.origins[row] = [], []
        self._list(
            [row for row, first in zip(rows, firsts, strict=True) for _ in first.concepts],
            [text for first in firsts for text in first.concepts],
            [first.origin for first in firsts for _ in first.concepts],
        )
        for row in rows:
            self.messages[row] = ""
        self.label_places[which] = self.state.incumbent[which]
        self._values[which] = self._value(which)
        self.ended[which] = False

    def suggest(self, row: int, text: str, origin: Origin = "user") -> str:
        """Make a concept the next one that ADD lists, and return the text that will be listed.

        Raises:
            ConceptError: the concept cannot be drawn.
        """
        concept = self.stack.language.normalise(text)
        self.queues[row].insert(0, (text, origin))
        self.state.user_left[row] += 1
        return concept

    def act(self, choices: Choices, rngs: Sequence[np.random.Generator]) -> tuple[FloatArray, BoolArray]:
        """Take one action in every episode. Episodes that have ended stay as they are.

        Args:
            choices: the actions, with their slots and kinds.
            rngs: (n,) the generators of the episodes.

        Returns:
            (n,) rewards, 0 for episodes that had ended before, and (n,) flags of the episodes that end in this step.
        """
        try:
            return self._act(choices, rngs)
        except BaseException:
            # After a failure halfway, the episodes are in no state from which they could go on.
            self.ended[:] = True
            raise

    def _act(self, choices: Choices, rngs: Sequence[np.random.Generator]) -> tuple[FloatArray, BoolArray]:
        state, rules, actions = self.state, self.rules, choices.actions
        rows = np.arange(len(actions))
        live, stopped = ~self.ended, actions == Action.STOP
        if choices.slots is None:
            places = np.where(actions == Action.KEEP, state.hopeful, state.incumbent)
        else:
            places = state.order[rows, choices.slots]
        # ADD is for no slot, and STOP on an empty one takes the incumbent.
        legal = self.masks("incumbent")[rows, actions] & ((places < state.size) | (actions == Action.ADD) | stopped)
        asked = [Kind.MODEL if kind is None else kind for kind in choices.kinds]
        unable = legal & (actions == Action.MUTATE) & ~state.kinds(places)[rows, asked]
        legal &= ~unable
        self.messages, self.failures = [""] * len(actions), [""] * len(actions)
        estimated, best = state.means[rows, self.label_places], state.means[rows, state.incumbent]
        labels_before = self.label_places

        for row in np.flatnonzero(live & ~legal).tolist():
            self.messages[row] = _NO_SUCH_LABEL if unable[row] else _NOTHING_LEFT
        keeping, mutating, adding = (np.flatnonzero(live & legal & (actions == a)) for a in list(Action)[:3])
        paid = self._mutate(mutating, places[mutating], [choices.kinds[row] for row in mutating.tolist()], rngs)
        self._add(adding)
        self._draw(keeping, places[keeping])
        acted = np.flatnonzero(live & ~stopped)
        state.note_gain(acted, best[acted])

        named = np.where(places < state.size, places, state.incumbent)
        self.label_places = np.where(live, np.where(stopped, named, state.incumbent), self.label_places)
        rewards = -rules.dollar_cost * paid
        rewards[keeping] -= rules.image_cost * rules.images_per_measure
        if rules.reward == "observed":
            rewards += np.where(live, state.means[rows, self.label_places] - estimated, 0.0)
        elif rules.reward == "held_out":
            changed = np.flatnonzero(self.label_places != labels_before)
            values = self._values.copy()
            values[changed] = self._value(changed)
            rewards += values - self._values
            self._values = values
        # Running out of steps is a terminal state, not a truncation: it is observed, and the label is final.
        ended = live & (stopped | (state.steps >= rules.max_steps))
        self.ended |= ended
        return rewards, ended

    def _mutate(
        self, rows: IntArray, places: IntArray, kinds: list[Kind | None], rngs: Sequence[np.random.Generator]
    ) -> FloatArray:
        """Mutate a concept in each of the given rows, and return (n,) the dollars that this cost."""
        paid = np.zeros(len(self.texts))
        if not len(rows):
            return paid
        state = self.state
        batch = MutationBatch(
            concepts=[self.texts[row][place] for row, place in zip(rows, places, strict=True)],
            tried=[self.texts[row] for row in rows],
            embeddings=state.image_embeddings[rows],
            activations=state.image_activations[rows],
            seen=np.arange(state.image_activations.shape[1]) < state.image_count[rows][:, None],
            rngs=[rngs[row] for row in rows],
            neurons=self.neuron[rows],
            history=lambda i: self.history(int(rows[i])),
            score=self.rules.score,
            kinds=kinds,
        )
        mutator = self.stack.mutators[self._mutator]
        suggestions = mutator.mutate(batch)
        for row, suggestion in zip(rows.tolist(), suggestions, strict=True):
            self.failures[row] = suggestion.failure
            if suggestion.usage != Usage():
                self.usage[row] = self.usage[row].plus(suggestion.usage)
                paid[row] = self.stack.bill.cost(suggestion.usage)
        concepts = [suggestion.concept for suggestion in suggestions]
        self._list(rows.tolist(), concepts, [one.origin or mutator.origin for one in suggestions])
        return paid

    def _add(self, rows: IntArray) -> None:
        """List the next concept of the user in each of the given rows."""
        waiting = [self.queues[row].pop(0) for row in rows]
        concepts = [self.stack.language.normalise(phrase) for phrase, _ in waiting]
        places = self._list(rows.tolist(), concepts, [origin for _, origin in waiting])
        self.state.from_user[rows, places] = True
        for row, (phrase, _) in zip(rows.tolist(), waiting, strict=True):
            if words := self.stack.language.passed_over(phrase):
                unread = f"ignored words of {phrase[:80]!r}: {', '.join(words)}"
                self.messages[row] = "; ".join(filter(None, [self.messages[row], unread]))
        self.state.user_left[rows] -= 1

    def history(self, row: int) -> list[Trial]:
        """Return every concept of an episode's master list with its measurements."""
        state = self.state
        seeds = Purpose.SEARCH.seeds(0, state.activations.shape[2], int(state.block[row]))
        own = np.where(state.parts[row, :, 0] < 0, state.counts[row], 0)  # the images of a label are its parts'
        return [
            Trial(
                text,
                float(state.means[row, place]),
                float(state.deviations[row, place]),
                state.activations[row, place, : own[place]].copy(),
                seeds[: own[place]],
            )
            for place, text in enumerate(self.texts[row])
        ]

    def _list(self, rows: Sequence[int], texts: Sequence[str], origins: Sequence[Origin]) -> list[int]:
        """Return the places of concepts in the master lists, appending those that are new. Nothing is drawn.

        The parts of a new label are listed before it, if they are not listed yet. A row may occur more than once if its
        texts are new and distinct.
        """
        new: list[int] = []
        for row, text, origin in zip(rows, texts, origins, strict=True):
            if text in self.texts[row]:
                again = f"{text!r} is listed already"
                self.messages[row] = "; ".join(filter(None, [self.failures[row], again]))
                continue
            parts = self.stack.language.parts(text).drawn if self.state.structured else ()
            joining = [one for one in dict.fromkeys((*parts, text)) if one not in self.texts[row]]
            self.texts[row] += joining
            self.origins[row] += [origin] * len(joining)
            new += [row] * len(joining)
        if new:
            join(self.stack, self.state, np.array(new), self.neuron, self.texts)
        return [self.texts[row].index(text) for row, text in zip(rows, texts, strict=True)]

    def _draw(self, rows: IntArray, places: IntArray) -> None:
        """Draw and measure `images_per_measure` images of each concept, or of one of its parts, all in one batch."""
        if not len(rows):
            return
        state, stack = self.state, self.stack
        drawn = state.next_drawn(rows, places)
        first = state.counts[rows, drawn]
        seeds = Purpose.SEARCH.rows(self.rules.images_per_measure, state.block[rows]) + first[:, None]
        concepts = [self.texts[row][place] for row, place in zip(rows.tolist(), drawn.tolist(), strict=True)]
        seen = see(stack.lab, stack.probe, concepts=concepts, neurons=self.neuron[rows], seeds=seeds)
        state.record(rows, drawn, seen.activations, seen.embeddings, seen.similarities)

    def value(self, rows: IntArray, texts: Sequence[str]) -> FloatArray:
        """(b,) held-out values of texts for the neurons of the given rows; 0 if rewards are not held out."""
        if self.rules.reward != "held_out":
            return np.zeros(len(rows))
        return self._held_out.of(texts, self.neuron[rows], self.state.block[rows])

    def _value(self, rows: IntArray) -> FloatArray:
        """(b,) values of the labels of the given rows."""
        return self.value(rows, [self.texts[row][self.label_places[row]] for row in rows])

    def masks(self, form: ActionForm) -> BoolArray:
        """(n, 4) which actions have an effect, then which slots hold a candidate, then the kinds, as the form has them.

        The kinds are those that can change the incumbent. Whether a mutator finds a concept of a kind shows only when
        it is asked.
        """
        return self.state.masks(slots=form != "incumbent", kinds=form == "edits")

    @property
    def labels(self) -> list[str]:
        """The present label of each episode."""
        places = self.label_places.tolist()
        return [texts[place] if texts else "" for texts, place in zip(self.texts, places, strict=True)]
