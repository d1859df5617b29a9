"""What the page shows of a session: texts, numbers and names of pictures, and nothing that is computed later."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dnr_env.agents.human.log import KINDS
from dnr_env.agents.human.said import SessionLabel, why
from dnr_env.agents.human.session import Session
from dnr_env.env import viewer
from dnr_env.evaluation.exemplars import exemplar_images, exemplar_overlays
from dnr_env.evaluation.histogram import Histogram, histogram
from dnr_env.evidence.probe import Probe
from dnr_env.stack import Stack
from dnr_env.types import FloatArray
from dnr_env.web.gallery import Gallery, Picture

_LAST = 10
WIDTH = 200
"""Of the bar of an estimate, in its own units."""


@dataclass(frozen=True)
class Drawing:
    """A drawing and how much it excites the neuron."""

    picture: Picture
    activation: float
    """On the scale on which 0 is a typical real image and 1 the mean of the exemplars."""
    height: float
    """Of its bar, from 0 to 100: 100 is an activation of 1.5."""


@dataclass(frozen=True)
class Card:
    """A candidate."""

    slot: int
    text: str
    mean: float
    deviation: float
    promise: float
    coverage: float
    precision: float
    simulation: float
    words: float
    """The price of its words."""
    score: float | None
    """Of the drawings alone; None without any."""
    error: float | None
    images: int
    drawings: list[Drawing]
    low: float
    """Where the bar of one deviation below and above the mean begins and ends, and where the mean is, up to WIDTH."""
    middle: float
    high: float
    zero: float
    kinds: list[str]
    """The kinds of mutation that can change it."""
    how: str
    """The event that listed it; "" of a first candidate."""
    made_from: str


@dataclass(frozen=True)
class Exemplar:
    """A real image that excites the neuron."""

    picture: Picture
    over: Picture | None
    """With a heat map, where the target has one."""
    name: str
    activation: float


@dataclass(frozen=True)
class Branch:
    """A listed concept, and what was made from it."""

    text: str
    how: str
    """The event that listed it; "" of a first one."""
    branches: list[Branch]


@dataclass(frozen=True)
class Page:
    """Everything that a page shows."""

    step: int
    neuron: str
    number: int
    count: int
    finished: bool
    labels: list[SessionLabel]
    label: SessionLabel | None
    """Of this neuron, if it has one."""
    masks: dict[str, bool]
    hidden: bool
    """Whether what models say is hidden."""
    exemplars: list[Exemplar]
    captions: list[str]
    cards: list[Card]
    histogram: Histogram | None
    score_name: str
    spent: int
    budget: int
    images_per_measure: int
    image_cost: float
    steps: int
    max_steps: int
    message: str
    gain: float
    """The estimate of the first candidate, less the bill, above that of the first one at the start."""
    told: list[str]
    """The last events, latest first."""
    tree: list[Branch]
    """The listed concepts, each under the one that it was made from; none while only first ones are listed."""


def page(session: Session, gallery: Gallery) -> Page:
    """Look at a session.

    Args:
        session: the session.
        gallery: keeps the pictures.
    """
    view, stack, rules = session.view, session.episodes.stack, session.episodes.rules
    hidden = session.blind and not session.answered
    labels = session.labels()
    cards = [] if hidden else _cards(session, view, gallery)
    try:
        exemplars, unseen = _exemplars(stack, session.neuron, gallery), ""
    except Exception as error:
        exemplars, unseen = [], f"the exemplars cannot be shown ({type(error).__name__}: {error})"
    return Page(
        step=session.step,
        neuron=session.neuron,
        number=session.present,
        count=len(session.neurons),
        finished=session.finished,
        labels=labels,
        label=next((label for label in labels if label["number"] == session.present), None),
        masks=session.masks,
        hidden=hidden,
        exemplars=exemplars,
        captions=[] if hidden else session.captions,
        cards=cards,
        histogram=_histogram(stack, session.neuron, cards),
        score_name=view.score_name,
        spent=view.spent,
        budget=view.budget,
        images_per_measure=rules.images_per_measure,
        image_cost=rules.image_cost,
        steps=view.steps,
        max_steps=view.max_steps,
        message="; ".join(filter(None, (view.message, unseen, "" if hidden else _without_card(session)))),
        gain=float(session.episodes.state.means[0].max()) - session.first - rules.image_cost * view.spent,
        told=[] if hidden else session.told[-_LAST:][::-1],
        tree=[] if hidden else _tree(session),
    )


def _without_card(session: Session) -> str:
    """What is said of a concept that the last event listed, if it is not among the best."""
    newest = [text for text in session.info["master"] if text][-1]
    if newest in session.info["concepts"] or not session.told or not session.told[-1].endswith(newest):
        return ""
    mean = session.info["master_means"][session.info["master"].index(newest)]
    return f"{newest} is listed, but {mean:.3f} is too little for a card among the best"


def _tree(session: Session) -> list[Branch]:
    """The listed concepts in the order in which they were listed."""
    made = {text: Branch(text, session.origin(text)[0], []) for text in session.info["master"] if text}
    roots: list[Branch] = []
    for text, branch in made.items():
        parent = session.origin(text)[1]
        (made[parent].branches if parent in made else roots).append(branch)
    return roots if any(branch.how for branch in made.values()) else []


def _cards(session: Session, view: viewer.View, gallery: Gallery) -> list[Card]:
    scale = viewer.Scale(view.candidates, WIDTH)

    def place(value: float) -> float:
        return round(scale(value), 1)

    cards = []
    for slot, c in enumerate(view.candidates, 1):
        said = why(session.episodes, slot)
        how, made_from = session.origin(c.text)
        cards.append(
            Card(
                slot=slot,
                text=c.text,
                mean=c.mean,
                deviation=c.deviation,
                promise=c.promise,
                coverage=c.coverage,
                precision=c.precision,
                simulation=said.simulation,
                words=said.words,
                score=said.score,
                error=said.error,
                images=c.images,
                drawings=[
                    Drawing(gallery.show(image), float(a), round(100 * float(np.clip(a / 1.5, 0.02, 1)), 1))
                    for image, a in zip(c.drawn, c.activations, strict=True)
                ],
                low=place(c.mean - c.deviation),
                middle=place(c.mean),
                zero=place(0.0),
                high=place(c.mean + c.deviation),
                kinds=[kind for kind in KINDS if kind in session.kinds(slot)],
                how=how,
                made_from=made_from,
            )
        )
    return cards


def _exemplars(stack: Stack, neuron: str, gallery: Gallery) -> list[Exemplar]:
    index, probe = stack.neurons.index(neuron), stack.probe
    images, overs = exemplar_images(stack, probe, neuron), exemplar_overlays(stack, probe, neuron)
    which = probe.exemplars[index].tolist()
    normalised = _normalised(probe, index)[which].tolist()
    return [
        Exemplar(
            gallery.show(image),
            None if overs is None else gallery.show(overs[i]),
            Path(probe.describe(which[i])).name,
            normalised[i],
        )
        for i, image in enumerate(images)
    ]


def _normalised(probe: Probe, index: int) -> FloatArray:
    which = np.array([index])
    normalised: FloatArray = probe.normalise(probe.real(which), which)[0]
    return normalised


def _histogram(stack: Stack, neuron: str, cards: list[Card]) -> Histogram | None:
    """The neuron's activations on the real images, with marks at the mean exemplar and at the means of drawings."""
    index = stack.neurons.index(neuron)
    if not stack.probe.alive[index]:
        return None
    real = _normalised(stack.probe, index)
    low, high = float(real.min()), float(real.max())
    marks = {"exemplars": 1.0}
    for card in cards:
        if card.drawings:
            marks[str(card.slot)] = float(np.clip(np.mean([d.activation for d in card.drawings]), low, high))
    return histogram(real, marks)
