"""The episodes of an environment: the rules of `episode`, fed by a stack. One implementation for any number of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium import spaces

from dnr_env.episode import PROGRESS, SCORE_COLUMNS, Action, Rules, State
from dnr_env.errors import DnRError, unknown
from dnr_env.models import MutationBatch, Trial, Usage
from dnr_env.scores import promise, score
from dnr_env.seeds import BLOCKS, SeedBlock
from dnr_env.stacks import Stack
from dnr_env.types import BoolArray, FloatArray, IntArray, ObjectArray
from dnr_env.users import UserSource

Info = dict[str, Any]
_OPTIONS = ("neuron", "concepts", "block")  # of `begin`


def observation_space(rules: Rules, dim: int) -> spaces.Dict:
    """The space of one episode's observations."""

    def box(limit: float, *shape: int) -> spaces.Box:
        return spaces.Box(-limit, limit, shape, np.float32)

    return spaces.Dict(
        {
            "concepts": box(1.001, rules.n_slots, dim),
            "scores": box(100.0, rules.n_slots, len(SCORE_COLUMNS)),
            "exemplars": box(1.001, dim),
            "progress": box(100.0, len(PROGRESS)),
        }
    )


class Refinement:
    """n episodes on one stack.

    Args:
        n: how many.
        stack: the models.
        rules: budget, price and score.
        neurons: indices of the neurons that `begin` draws from.
        mutator: name of the stack's mutator; None is its first.
        users: source of user concepts.
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
        """The master lists."""
        self.queues: list[list[str]] = [[] for _ in range(n)]
        """The user's concepts that are still to come."""
        self.messages = [""] * n
        self.usage = [Usage()] * n
        """What each episode's texts have cost at a language model."""
        self.ended = np.ones(n, bool)
        self._labels = np.zeros(n, np.intp)  # places of the labels in the master lists
        self._values = np.zeros(n)  # of the labels

    @property
    def reward_images(self) -> int:
        """Images that the value of one label is taken on."""
        return self.rules.reward_images if self.rules.reward == "held_out" else 0

    # --- beginning -----------------------------------------------------------------------------------------------

    def begin(
        self, rows: Sequence[int], rngs: Sequence[np.random.Generator], options: Sequence[Mapping[str, Any]]
    ) -> None:
        """Begin an episode in each of some rows, with its generator and its reset options."""
        for option in options:
            if wrong := option.keys() - _OPTIONS:
                raise unknown("options", min(wrong), _OPTIONS)
        blocks = [_block(option.get("block", 0)) for option in options]
        chosen = [
            self._neuron(option["neuron"])
            if option.get("neuron") is not None
            else self.neurons[rng.integers(len(self.neurons))]
            for rng, option in zip(rngs, options, strict=True)
        ]
        texts, usages = self._candidates(chosen, [option.get("concepts") for option in options])
        which = np.array(rows, np.intp)
        self.ended[which] = True  # until everything has succeeded
        self.state.clear(which)
        self.neuron[which] = chosen
        self.state.block[which] = blocks
        self.state.exemplars[which] = self.stack.probe.exemplar_embeddings[chosen]
        self.state.attainable[which] = promise(
            self.rules.score, np.zeros(len(which)), lambda: self.stack.words.best_simulation(self.neuron[which])
        )
        self.state.controls[which] = self.stack.probe.controls[chosen]
        for row, rng, neuron, concepts, usage in zip(rows, rngs, chosen, texts, usages, strict=True):
            self.usage[row] = usage
            self.queues[row] = list(self.users(neuron, rng)) if self.users else []
            for text in self.queues[row]:
                self.stack.normalise(text)  # here, not in the middle of the episode, is where it may be refused
            self.messages[row] = ""
            self.state.user_left[row] = len(self.queues[row])
            embeddings = self.stack.embedder.embed_texts(concepts)
            self.texts[row] = list(concepts)
            simulations = self.stack.probe.simulation(embeddings, np.full(len(concepts), neuron))
            self.state.join(np.full(len(concepts), row), embeddings, simulations)
        wanted = [(row, place) for row in rows for place in range(len(self.texts[row]))]
        self._measure([row for row, _ in wanted], [place for _, place in wanted])
        self._labels[which] = self.state.incumbent[which]
        self._values[which] = self._value(which)
        self.ended[which] = False

    def suggest(self, row: int, text: str) -> str:
        """Put a concept before the others that ADD will take; returns the text that will be measured.

        Raises:
            ConceptError: it cannot be drawn.
        """
        concept = self.stack.normalise(text)
        self.queues[row].insert(0, text)
        self.state.user_left[row] += 1
        return concept

    def _neuron(self, wanted: int | str) -> int:
        names = self.stack.lab.reader.neurons
        if isinstance(wanted, str):
            if wanted not in names:
                raise unknown("neuron", wanted, names)
            return names.index(wanted)
        if not isinstance(wanted, int | np.integer):
            raise DnRError(f"neuron: {wanted!r} is no neuron; a name or an index will do")
        if not 0 <= wanted < len(names):
            raise DnRError(f"neuron: {wanted} is outside the target, whose neurons are 0 to {len(names) - 1}")
        return int(wanted)

    def _candidates(
        self, neurons: Sequence[int], given: Sequence[Sequence[str] | None]
    ) -> tuple[list[list[str]], list[Usage]]:
        """The concepts that episodes begin with, all proposals in one batch."""
        asked = [neuron for neuron, texts in zip(neurons, given, strict=True) if texts is None]
        proposals = dict(zip(asked, self.stack.propose(asked, self.rules.n_slots), strict=True))
        concepts = [
            proposals[neuron].concepts if texts is None else self._checked(texts)
            for neuron, texts in zip(neurons, given, strict=True)
        ]
        usage = [
            proposals[neuron].usage if texts is None else Usage() for neuron, texts in zip(neurons, given, strict=True)
        ]
        return concepts, usage

    def _checked(self, given: Sequence[str]) -> list[str]:
        if isinstance(given, str) or not all(isinstance(text, str) for text in given):
            raise DnRError(f"concepts: {given!r} is no list of texts; ['red star', 'blue thing'] will do")
        texts = list(dict.fromkeys(self.stack.normalise(text) for text in given))
        if not 1 <= len(texts) <= self.rules.n_slots:
            raise DnRError(f"concepts: {len(texts)} distinct ones were given; 1 to {self.rules.n_slots} will do")
        return texts

    # --- acting --------------------------------------------------------------------------------------------------

    def act(
        self, actions: IntArray, slots: IntArray, rngs: Sequence[np.random.Generator]
    ) -> tuple[FloatArray, BoolArray, BoolArray]:
        """One action in every episode; those that have ended stay as they are.

        Args:
            actions: (n,) values of `Action`.
            slots: (n,) the slot that each acts on; 0 is the incumbent.
            rngs: (n,) the episodes' generators.

        Returns:
            (n,) rewards, terminated and truncated flags; an episode that had ended before has reward 0.
        """
        try:
            return self._act(actions, slots, rngs)
        except BaseException:
            # A failure in the middle leaves no episode that could go on as if nothing had happened.
            self.ended[:] = True
            raise

    def _act(
        self, actions: IntArray, slots: IntArray, rngs: Sequence[np.random.Generator]
    ) -> tuple[FloatArray, BoolArray, BoolArray]:
        state, rules = self.state, self.rules
        rows = np.arange(len(actions))
        live = ~self.ended
        places = state.order[rows, slots]
        legal = state.masks()[rows, actions] & (places < state.size)
        self.messages = [""] * len(actions)
        scored_before = state.scores[rows, self._labels]
        labels_before = self._labels

        for row in np.flatnonzero(live & ~legal & (actions != Action.STOP)).tolist():
            self.messages[row] = "the action has no effect now: no budget, no step, no user concept, or an empty slot"
        drawing, targets = self._targets(np.where(live & legal, actions, Action.STOP), places, rngs)
        self._measure(drawing, targets)
        drawn = np.zeros(len(actions), np.intp)
        drawn[drawing] = rules.images_per_measure
        state.spent += drawn
        acted = np.flatnonzero(live & (actions != Action.STOP))
        state.note_gain(acted, scored_before[acted])

        terminated = live & (actions == Action.STOP)
        self._labels = np.where(live, np.where(terminated & legal, places, state.incumbent), self._labels)
        rewards = -rules.image_cost * drawn
        if rules.reward == "observed":
            rewards = rewards + np.where(live, state.scores[rows, self._labels] - scored_before, 0.0)
        elif rules.reward == "held_out":
            changed = np.flatnonzero(self._labels != labels_before)
            values = self._values.copy()
            values[changed] = self._value(changed)
            rewards = rewards + (values - self._values)
            self._values = values
        spent = (state.steps >= rules.max_steps) | (rules.budget - state.spent < rules.images_per_measure)
        truncated = live & ~terminated & spent
        self.ended |= terminated | truncated
        return rewards, terminated, truncated

    def _targets(
        self, actions: IntArray, places: IntArray, rngs: Sequence[np.random.Generator]
    ) -> tuple[list[int], list[int]]:
        """The rows that measure something now, and the places of what they measure; new concepts join."""
        keeping, mutating, adding = (np.flatnonzero(actions == a) for a in (Action.KEEP, Action.MUTATE, Action.ADD))
        mutated = self._mutated(mutating, places[mutating], rngs)
        phrases = [self.queues[row].pop(0) for row in adding]
        added = self._join(adding.tolist(), [self.stack.normalise(phrase) for phrase in phrases], user=True)
        for row, phrase in zip(adding.tolist(), phrases, strict=True):
            if words := self.stack.passed_over(phrase):
                unread = f"not read of {phrase[:80]!r}: {', '.join(words)}"
                self.messages[row] = "; ".join(filter(None, [self.messages[row], unread]))
        self.state.user_left[adding] -= 1
        return [*keeping.tolist(), *mutating.tolist(), *adding.tolist()], [*places[keeping].tolist(), *mutated, *added]

    def _mutated(self, rows: IntArray, places: IntArray, rngs: Sequence[np.random.Generator]) -> list[int]:
        """Mutate a concept in some rows, and return the new concepts' places."""
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
        return self._join(rows.tolist(), [suggestion.concept for suggestion in suggestions])

    def history(self, row: int) -> list[Trial]:
        """Every concept of an episode's master list, with what its images came to."""
        state = self.state
        seeds = SeedBlock.SEARCH.seeds(0, self.rules.most_images, int(state.block[row]))
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

    def _join(self, rows: Sequence[int], texts: Sequence[str], user: bool = False) -> list[int]:
        """The places of concepts in distinct rows' master lists, each at the end if it is new there."""
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
        for i in set(range(len(rows))) - set(new):
            self.messages[rows[i]] = f"{texts[i]!r} is already measured; it was measured again"
        if user:
            self.state.from_user[rows, places] = True
        return places

    def _measure(self, rows: Sequence[int], places: Sequence[int]) -> None:
        """Measure `images_per_measure` more images of some concepts, everything in one batch for the lab."""
        if not len(rows):
            return
        which, where = np.array(rows, np.intp), np.array(places, np.intp)
        first = self.state.counts[which, where]
        seeds = SeedBlock.SEARCH.rows(self.rules.images_per_measure, self.state.block[which]) + first[:, None]
        seen = self.stack.measure(
            [self.texts[r][p] for r, p in zip(rows, places, strict=True)], self.neuron[which], seeds
        )
        self.state.record(which, where, seen.activations, seen.embeddings, seen.similarities)

    def value(self, rows: IntArray, texts: Sequence[str]) -> FloatArray:
        """(b,) values, on reward seeds, of texts for the neurons of some rows; 0 where rewards are not held out."""
        rules = self.rules
        if rules.reward != "held_out" or not len(rows):
            return np.zeros(len(rows))
        seeds = SeedBlock.REWARD.rows(rules.reward_images, self.state.block[rows])
        seen = self.stack.measure(texts, self.neuron[rows], seeds)
        counts = np.full(len(rows), rules.reward_images)
        size, controls = rules.images_per_measure, self.state.controls[rows]
        simulations = self.stack.simulation(texts, self.neuron[rows])
        return score(rules.score, seen.activations, counts, size, seen.similarities, controls, simulations)[0]

    def _value(self, rows: IntArray) -> FloatArray:
        """(b,) the labels' values."""
        return self.value(rows, [self.texts[row][self._labels[row]] for row in rows])

    # --- seeing --------------------------------------------------------------------------------------------------

    def infos(self, rows: IntArray) -> Info:
        """What `info` holds of b episodes, b rows first: texts and the agent's own images, nothing else measured."""
        state, names = self.state, self.stack.lab.reader.neurons
        slots = state.order[rows, : self.rules.n_slots]
        row = rows[:, None]
        filled = (slots < state.size[row])[..., None]
        episodes = list(zip(rows.tolist(), slots.tolist(), strict=True))
        texts = self.texts
        return {
            "neuron": _objects([names[self.neuron[r]] for r, _ in episodes]),
            "label": _objects([texts[r][self._labels[r]] for r, _ in episodes]),
            "concepts": _objects(
                [tuple(texts[r][p] if p < len(texts[r]) else "" for p in places) for r, places in episodes]
            ),
            "master": _objects([tuple(texts[r]) for r, _ in episodes]),
            "master_scores": np.where(np.isfinite(state.scores[rows]), state.scores[rows], 0.0),
            "activations": np.where(filled, state.activations[row, slots], np.float32(0)),
            "similarities": np.where(filled, state.similarities[row, slots], np.float32(0)),
            "images": state.image_count[rows],
            "usage": np.array([self.usage[r] for r, _ in episodes]).reshape(-1, len(Usage())),
            "message": _objects([self.messages[r] for r, _ in episodes]),
        }


def _block(wanted: Any) -> int:
    if not isinstance(wanted, int | np.integer) or isinstance(wanted, bool) or not 0 <= wanted < BLOCKS:
        raise DnRError(f"block: a block of image seeds is a whole number from 0 to {BLOCKS - 1} (got {wanted!r})")
    return int(wanted)


def _objects(values: list[Any]) -> ObjectArray:
    out = np.empty(len(values), object)
    out[:] = values
    return out
