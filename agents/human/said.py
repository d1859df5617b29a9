"""What is said of a concept: of a label that a person chose, of one that nobody has listed, and of a candidate."""

from __future__ import annotations

from typing import NamedTuple, TypedDict

import numpy as np

from dnr_env.env.episodes import Episodes
from dnr_env.evaluation.judge import Verdict, judge
from dnr_env.seeds import block_of


class SessionLabel(TypedDict):
    """The label of one neuron."""

    number: int
    """Of the neuron in the session, from 1."""
    neuron: str
    label: str
    mean: float
    """The posterior mean of the label's value, from the evidence that the person saw."""
    deviation: float
    """The posterior deviation of the same."""
    images: int
    """The number of images that were shown for the neuron, those of undone events too."""


class Promise(NamedTuple):
    """What real images say of a concept."""

    concept: str
    """The text as it was understood."""
    passed_over: tuple[str, ...]
    """The words that were not."""
    mean: float
    """The mean of its value before anything is drawn."""
    simulation: float
    coverage: float
    precision: float


class Why(NamedTuple):
    """What the estimate of a candidate is made of, beside its promise."""

    simulation: float
    words: float
    """The price of its words."""
    score: float | None
    """Of the drawings alone; None without any."""
    error: float | None
    """Its standard error."""


def promise(episodes: Episodes, text: str) -> Promise:
    """What real images say of a concept for the neuron of the only episode. Nothing is listed or drawn.

    Raises:
        ConceptError: the text cannot be drawn.
    """
    stack, neuron = episodes.stack, int(episodes.neuron[0])
    concept, which = stack.language.normalise(text), np.array([neuron])
    simulation = stack.texts.simulation(stack.probe, [concept], which)
    value = stack.prior.of_labels([concept], neuron, episodes.rules.score, simulation)
    cover = np.stack(stack.covers.of([concept], which), axis=1)[0]
    passed_over = stack.language.passed_over(text)
    return Promise(concept, passed_over, float(value[0]), float(simulation[0]), float(cover[0]), float(cover[2]))


def why(episodes: Episodes, slot: int) -> Why:
    """What the estimate of a candidate of the only episode, by its number from 1, is made of."""
    state = episodes.state
    at = 0, int(state.order[0, slot - 1])
    drawn = bool(state.counts[at])
    score, error = (float(values[at]) if drawn else None for values in (state.scores, state.errors))
    return Why(float(state.simulations[at]), float(state.prices[at]), score, error)


def label_of(episodes: Episodes, slot: int, number: int, images: int) -> SessionLabel:
    """A candidate of the only episode, by its number from 1, as the label of its neuron, and the images shown."""
    state, place = episodes.state, int(episodes.state.order[0, slot - 1])
    return {
        "number": number,
        "neuron": episodes.stack.neurons[int(episodes.neuron[0])],
        "label": episodes.texts[0][place],
        "mean": float(state.means[0, place]),
        "deviation": float(state.deviations[0, place]),
        "images": images,
    }


def captions_of(episodes: Episodes) -> list[str]:
    """The distinct captions of the exemplars of the only episode's neuron, strongest first."""
    (proposal,) = episodes.stack.proposer.propose([int(episodes.neuron[0])], episodes.rules.n_slots)
    return list(dict.fromkeys(excerpt.caption for excerpt in proposal.excerpts))


def verdict_of(episodes: Episodes, label: SessionLabel, seed: int) -> Verdict:
    """What the judge says of a label, on the drawings of a session's seed."""
    (found,) = judge(
        episodes.stack,
        neurons=[label["neuron"]],
        labels=[label["label"]],
        rules=episodes.rules,
        blocks=[block_of(seed)],
    )
    return found


def listed_since(episodes: Episodes, before: int) -> tuple[str, list[str]]:
    """What has joined the only master list since it had some entries: the concept, and the parts that it brought along.

    The concept is "" if nothing has.
    """
    texts, parts = episodes.texts[0], episodes.state.parts[0, :, 0]
    places = range(before, len(texts))
    whole = next((place for place in places if parts[place] >= 0), before)
    return (texts[whole] if places else ""), [texts[place] for place in places if place != whole]
