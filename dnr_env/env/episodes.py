"""The episodes of an environment: the rules applied to a stack, for any number of parallel episodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dnr_env.env.candidates import candidates
from dnr_env.env.options import read_options
from dnr_env.env.rules import Action, Rules
from dnr_env.env.state import State
from dnr_env.env.users import UserSource, concepts_of
from dnr_env.errors import unknown
from dnr_env.evidence.sight import see
from dnr_env.interfaces import MutationBatch, Origin, Trial, Usage
from dnr_env.scores import promise, score
from dnr_env.seeds import Purpose
from dnr_env.stack import Stack
from dnr_env.types import BoolArray, FloatArray, IntArray


class Episodes:
    """n parallel episodes on one stack.

    Args:
        n: the number of episodes.
        stack: the models.
        rules: the limits, the cost of images and the score.
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
        self._mutator = stack.mutators[mutator]
        self.state = State.empty(n, rules, stack.lab.reader.dim, stack.probe.controls.shape[1])
        self.neuron = np.zeros(n, np.intp)
        self.texts: list[list[str]] = [[] for _ in range(n)]
        """The master list of each episode."""
        self.origins: list[list[Origin]] = [[] for _ in range(n)]
        """The origin of each concept of each master list: that of whoever named it first."""
        self.queues: list[list[tuple[str, Origin]]] = [[] for _ in range(n)]
        """The concepts of the user that each episode has yet to measure, with their origins."""
        self.messages = [""] * n
        self.failures = [""] * n
        """Why the writer had no answer in the last step or, at the beginning, no candidates; "" otherwise."""
        self.usage = [Usage()] * n
        """The language model usage that the texts of each episode cost."""
        self.ended = np.ones(n, bool)
        self._labels = np.zeros(n, np.intp)  # places in the master lists
        self._values = np.zeros(n)  # held-out values of the labels

    @property
    def reward_images(self) -> int:
        """The number of images that the value of one label is computed on."""
        return self.rules.reward_images if self.rules.reward == "held_out" else 0

    def begin(
        self, rows: Sequence[int], rngs: Sequence[np.random.Generator], options: Sequence[Mapping[str, Any]]
    ) -> None:
        """Begin an episode in each of the given rows, with its generator and its reset options."""
        starts = [read_options(option, self.stack.neurons, self.stack.language, self.rules) for option in options]
        chosen = [
            start.neuron if start.neuron is not None else self.neurons[rng.integers(len(self.neurons))]
            for rng, start in zip(rngs, starts, strict=True)
        ]
        firsts = candidates(self.stack.proposer, chosen, starts, self.rules.n_slots)
        which = np.array(rows, np.intp)
        self.ended[which] = True  # a failure below must leave no running episode
        self.state.clear(which)
        self.neuron[which] = chosen
        self.state.block[which] = [start.block for start in starts]
        self.state.exemplars[which] = self.stack.probe.exemplar_embeddings[chosen]
        self.state.attainable[which] = promise(
            self.rules.score, np.zeros(len(which)), lambda: self.stack.vocabulary.best_simulation(self.neuron[which])
        )
        self.state.controls[which] = self.stack.probe.controls[chosen]
        for row, rng, neuron, first in zip(rows, rngs, chosen, firsts, strict=True):
            self.usage[row], self.failures[row] = first.usage, first.failure
            given = concepts_of(self.users, neuron, rng, self.stack) if self.users else []
            self.queues[row] = [(text, "user") for text in given]
            self.messages[row] = ""
            self.state.user_left[row] = len(self.queues[row])
            count = len(first.concepts)
            embeddings = self.stack.embedder.embed_texts(first.concepts)
            self.texts[row], self.origins[row] = list(first.concepts), [first.origin] * count
            simulations = self.stack.probe.simulation(embeddings, np.full(count, neuron))
            self.state.join(np.full(count, row), embeddings, simulations)
        wanted = [(row, place) for row in rows for place in range(len(self.texts[row]))]
        self._measure([row for row, _ in wanted], [place for _, place in wanted])
        self._labels[which] = self.state.incumbent[which]
        self._values[which] = self._value(which)
        self.ended[which] = False

    def suggest(self, row: int, text: str, origin: Origin = "user") -> str:
        """Make a concept the next one that ADD measures, and return the text that will be measured.

        Raises:
            ConceptError: the concept cannot be drawn.
        """
        concept = self.stack.language.normalise(text)
        self.queues[row].insert(0, (text, origin))
        self.state.user_left[row] += 1
        return concept

    def act(
        self, actions: IntArray, slots: IntArray, rngs: Sequence[np.random.Generator]
    ) -> tuple[FloatArray, BoolArray]:
        """Take one action in every episode. Episodes that have ended stay as they are.

        Args:
            actions: (n,) values of `Action`.
            slots: (n,) the slot that each action is for; 0 is the incumbent.
            rngs: (n,) the generators of the episodes.

        Returns:
            (n,) rewards, 0 for episodes that had ended before, and (n,) flags of the episodes that end in this step.
        """
        try:
            return self._act(actions, slots, rngs)
        except BaseException:
            # After a failure halfway, the episodes are in no state from which they could go on.
            self.ended[:] = True
            raise

    def _act(
        self, actions: IntArray, slots: IntArray, rngs: Sequence[np.random.Generator]
    ) -> tuple[FloatArray, BoolArray]:
        state, rules = self.state, self.rules
        rows = np.arange(len(actions))
        live = ~self.ended
        places = state.order[rows, slots]
        legal = state.masks()[rows, actions] & (places < state.size)
        self.messages, self.failures = [""] * len(actions), [""] * len(actions)
        scored_before = state.scores[rows, self._labels]
        labels_before = self._labels

        for row in np.flatnonzero(live & ~legal & (actions != Action.STOP)).tolist():
            self.messages[row] = (
                "the action had no effect: no budget, steps or user concept is left, or the slot is empty"
            )
        drawing, targets = self._targets(np.where(live & legal, actions, Action.STOP), places, rngs)
        self._measure(drawing, targets)
        drawn = np.zeros(len(actions), np.intp)
        drawn[drawing] = rules.images_per_measure
        state.spent += drawn
        acted = np.flatnonzero(live & (actions != Action.STOP))
        state.note_gain(acted, scored_before[acted])

        stopped = actions == Action.STOP
        self._labels = np.where(live, np.where(stopped & legal, places, state.incumbent), self._labels)
        rewards = -rules.image_cost * drawn
        if rules.reward == "observed":
            rewards = rewards + np.where(live, state.scores[rows, self._labels] - scored_before, 0.0)
        elif rules.reward == "held_out":
            changed = np.flatnonzero(self._labels != labels_before)
            values = self._values.copy()
            values[changed] = self._value(changed)
            rewards = rewards + (values - self._values)
            self._values = values
        # Running out is a terminal state, not a truncation: both limits are observed, and the label is final.
        spent = (state.steps >= rules.max_steps) | (rules.budget - state.spent < rules.images_per_measure)
        ended = live & (stopped | spent)
        self.ended |= ended
        return rewards, ended

    def _targets(
        self, actions: IntArray, places: IntArray, rngs: Sequence[np.random.Generator]
    ) -> tuple[list[int], list[int]]:
        """Return the rows that measure something, and the places of the concepts that they measure."""
        keeping, mutating, adding = (np.flatnonzero(actions == a) for a in (Action.KEEP, Action.MUTATE, Action.ADD))
        mutated = self._mutated(mutating, places[mutating], rngs)
        waiting = [self.queues[row].pop(0) for row in adding]
        concepts = [self.stack.language.normalise(phrase) for phrase, _ in waiting]
        added = self._join(adding.tolist(), concepts, [origin for _, origin in waiting])
        self.state.from_user[adding, added] = True
        for row, (phrase, _) in zip(adding.tolist(), waiting, strict=True):
            if words := self.stack.language.passed_over(phrase):
                unread = f"ignored words of {phrase[:80]!r}: {', '.join(words)}"
                self.messages[row] = "; ".join(filter(None, [self.messages[row], unread]))
        self.state.user_left[adding] -= 1
        return [*keeping.tolist(), *mutating.tolist(), *adding.tolist()], [*places[keeping].tolist(), *mutated, *added]

    def _mutated(self, rows: IntArray, places: IntArray, rngs: Sequence[np.random.Generator]) -> list[int]:
        """Mutate a concept in each of the given rows, and return the places of the new concepts."""
        if not len(rows):
            return []
        state = self.state
        batch = MutationBatch(
            concepts=[self.texts[row][place] for row, place in zip(rows, places, strict=True)],
            tried=[self.texts[row] for row in rows],
            embeddings=state.image_embeddings[rows],
            activations=state.image_activations[rows],
            seen=np.arange(self.rules.all_images) < state.image_count[rows][:, None],
            rngs=[rngs[row] for row in rows],
            neurons=self.neuron[rows],
            history=lambda i: self.history(int(rows[i])),
            score=self.rules.score,
        )
        suggestions = self._mutator.mutate(batch)
        for row, suggestion in zip(rows.tolist(), suggestions, strict=True):
            self.usage[row] = self.usage[row].plus(suggestion.usage)
            self.failures[row] = suggestion.failure
        concepts = [suggestion.concept for suggestion in suggestions]
        return self._join(rows.tolist(), concepts, [self._mutator.origin] * len(rows))

    def history(self, row: int) -> list[Trial]:
        """Return every concept of an episode's master list with its measurements."""
        state = self.state
        seeds = Purpose.SEARCH.seeds(0, self.rules.most_images, int(state.block[row]))
        return [
            Trial(
                text,
                float(state.scores[row, place]),
                float(state.errors[row, place]),
                state.activations[row, place, : state.counts[row, place]].copy(),
                seeds[: state.counts[row, place]],
            )
            for place, text in enumerate(self.texts[row])
        ]

    def _join(self, rows: Sequence[int], texts: Sequence[str], origins: Sequence[Origin]) -> list[int]:
        """Return the places of concepts in the master lists of distinct rows, appending those that are new."""
        places = [
            self.texts[row].index(text) if text in self.texts[row] else -1
            for row, text in zip(rows, texts, strict=True)
        ]
        new = [i for i, place in enumerate(places) if place < 0]
        if new:
            which = np.array([rows[i] for i in new])
            embeddings = self.stack.embedder.embed_texts([texts[i] for i in new])
            joined = self.state.join(which, embeddings, self.stack.probe.simulation(embeddings, self.neuron[which]))
            for i, place in zip(new, joined.tolist(), strict=True):
                places[i] = place
                self.texts[rows[i]].append(texts[i])
                self.origins[rows[i]].append(origins[i])
        for i in set(range(len(rows))) - set(new):
            again = f"{texts[i]!r} had been measured before, and was measured again"
            self.messages[rows[i]] = "; ".join(filter(None, [self.failures[rows[i]], again]))
        return places

    def _measure(self, rows: Sequence[int], places: Sequence[int]) -> None:
        """Measure `images_per_measure` more images of each concept, all in one batch."""
        if not len(rows):
            return
        which, where = np.array(rows, np.intp), np.array(places, np.intp)
        first = self.state.counts[which, where]
        seeds = Purpose.SEARCH.rows(self.rules.images_per_measure, self.state.block[which]) + first[:, None]
        concepts = [self.texts[r][p] for r, p in zip(rows, places, strict=True)]
        stack = self.stack
        seen = see(stack.lab, stack.probe, concepts=concepts, neurons=self.neuron[which], seeds=seeds)
        self.state.record(which, where, seen.activations, seen.embeddings, seen.similarities)

    def value(self, rows: IntArray, texts: Sequence[str]) -> FloatArray:
        """(b,) values of texts for the neurons of the given rows, on reward seeds; 0 if rewards are not held out."""
        rules = self.rules
        if rules.reward != "held_out" or not len(rows):
            return np.zeros(len(rows))
        seeds = Purpose.REWARD.rows(rules.reward_images, self.state.block[rows])
        stack, neurons = self.stack, self.neuron[rows]
        seen = see(stack.lab, stack.probe, concepts=texts, neurons=neurons, seeds=seeds)
        return score(
            rules.score,
            activations=seen.activations,
            counts=np.full(len(rows), rules.reward_images),
            m=rules.images_per_measure,
            similarities=seen.similarities,
            controls=self.state.controls[rows],
            simulations=stack.vocabulary.simulation(texts, neurons),
        )[0]

    def _value(self, rows: IntArray) -> FloatArray:
        """(b,) values of the labels of the given rows."""
        return self.value(rows, [self.texts[row][self._labels[row]] for row in rows])

    def masks(self, slots: bool) -> BoolArray:
        """(n, 4) which actions have an effect; with `slots`, (n, 4 + n_slots) also which slots hold a candidate."""
        masks = self.state.masks()
        if not slots:
            return masks
        return np.concatenate([masks, np.arange(self.rules.n_slots) < self.state.size[:, None]], axis=1)

    @property
    def labels(self) -> list[str]:
        """The present label of each episode."""
        return [texts[label] if texts else "" for texts, label in zip(self.texts, self._labels.tolist(), strict=True)]
