"""Views of an episode, as an image or as text: exemplars, candidates, scores with error bars, and the budget."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

from dnr_env.seeds import Purpose
from dnr_env.types import FloatArray, ImageArray, Images

if TYPE_CHECKING:
    from dnr_env.env.episodes import Episodes


@dataclass(frozen=True)
class Candidate:
    """A candidate, which is one row of the image."""

    text: str
    score: float
    error: float
    images: int
    simulation: float
    from_user: bool
    drawn: ImageArray  # (m, height, width, 3), its first images
    activations: FloatArray  # (m,) normalised


@dataclass(frozen=True)
class View:
    """Everything that is shown of one episode."""

    neuron: str
    score_name: str
    candidates: list[Candidate]
    exemplars: Images
    steps: int
    max_steps: int
    spent: int
    budget: int
    user_left: int | None
    """The number of user concepts that are not measured yet; None where a user gives each with its ADD."""
    message: str
    n_slots: int
    """The number of rows in the image, filled or empty."""


def view(episodes: Episodes, row: int, images: int = 5) -> View:
    """Collect what is shown of an episode, with up to `images` images of each candidate."""
    state, rules, stack = episodes.state, episodes.rules, episodes.stack
    neuron, block = int(episodes.neuron[row]), int(state.block[row])
    candidates = []
    for place in state.order[row, : min(rules.n_slots, len(episodes.texts[row]))].tolist():
        text, shown = episodes.texts[row][place], min(images, int(state.counts[row, place]))
        candidates.append(
            Candidate(
                text=text,
                score=float(state.scores[row, place]),
                error=float(state.errors[row, place]),
                images=int(state.counts[row, place]),
                simulation=float(state.simulations[row, place]),
                from_user=bool(state.from_user[row, place]),
                drawn=stack.lab.images([text] * shown, Purpose.SEARCH.seeds(0, shown, block).tolist()),
                activations=state.activations[row, place, :shown].copy(),
            )
        )
    return View(
        neuron=stack.neurons[neuron],
        score_name=rules.score,
        candidates=candidates,
        exemplars=stack.probe.images(stack.probe.exemplars[neuron][:8]),
        steps=int(state.steps[row]),
        max_steps=rules.max_steps,
        spent=int(state.spent[row]),
        budget=rules.budget,
        user_left=int(state.user_left[row]),
        message=episodes.messages[row],
        n_slots=rules.n_slots,
    )


def text(view: View) -> str:
    """Render an episode as lines of text."""
    left = view.budget - view.spent
    lines = [
        f"neuron {view.neuron}   step {view.steps}/{view.max_steps}   images left {left}/{view.budget}"
        + ("" if view.user_left is None else f"   user concepts left {view.user_left}")
    ]
    most = max((c.score for c in view.candidates), default=1.0)
    for number, c in enumerate(view.candidates):
        bar = "█" * round(20 * max(c.score, 0.0) / max(most, 1e-9))
        by = " (user)" if c.from_user else ""
        mark, score = "▶" if number == 0 else " ", f"{c.score:6.3f} ± {c.error:5.3f}"
        # The simulation is shown because it decides between equal scores.
        lines.append(f"{mark} {score} {bar:<20} {c.images:3d} images  simulation {c.simulation:6.3f}  {c.text}{by}")
    if view.message:
        lines.append(f"  ! {view.message}")
    return "\n".join(lines)


_TILE, _GAP, _WIDTH = 64, 8, 960
_INK, _PALE, _ACCENT, _USER, _PAPER = (28, 32, 40), (222, 226, 232), (38, 110, 190), (190, 95, 20), (255, 255, 255)


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def picture(view: View) -> ImageArray:
    """Render an episode as an image (height, width, 3) uint8, whose size does not depend on the candidates."""
    head = 3 * _GAP + 40 + _TILE
    canvas = Image.new("RGB", (_WIDTH, head + 30 + view.n_slots * (_TILE + _GAP) + 2 * _GAP), _PAPER)
    pen = ImageDraw.Draw(canvas)
    pen.text((_GAP, _GAP), f"neuron {view.neuron}", _INK, font=_font(20))
    pen.text((_GAP, 40), "exemplars", _INK, font=_font(13))
    for i, image in enumerate(view.exemplars):
        canvas.paste(_tile(image), (110 + i * (_TILE + 4), 40))
    _gauge(pen, 700, 44, "images", view.spent, view.budget)
    _gauge(pen, 700, 76, "steps", view.steps, view.max_steps)
    _scores_head(pen, view, head)
    best = max((c.score + c.error for c in view.candidates), default=1.0)
    lowest = min([0.0, *(c.score - c.error for c in view.candidates)])
    for number, candidate in enumerate(view.candidates):
        _candidate(canvas, pen, candidate, head + 30 + number * (_TILE + _GAP), number == 0, (lowest, max(best, 1e-9)))
    return np.asarray(canvas)


def _tile(image: ImageArray) -> Image.Image:
    return ImageOps.fit(Image.fromarray(image), (_TILE, _TILE))


def _gauge(pen: ImageDraw.ImageDraw, x: int, y: int, name: str, used: int, most: int) -> None:
    width = 160
    pen.text((x, y), name, _INK, font=_font(13))
    pen.rectangle((x + 52, y + 2, x + 52 + width, y + 16), fill=_PALE)
    pen.rectangle((x + 52, y + 2, x + 52 + int(width * min(used / max(most, 1), 1)), y + 16), fill=_ACCENT)
    pen.text((x + 60 + width, y), f"{used}/{most}"[:10], _INK, font=_font(11))


def _scores_head(pen: ImageDraw.ImageDraw, view: View, y: int) -> None:
    pen.text((_GAP, y), "candidates, best first", _INK, font=_font(13))
    pen.text((620, y), f"{view.score_name} ± standard error", _INK, font=_font(13))


def _candidate(
    canvas: Image.Image, pen: ImageDraw.ImageDraw, c: Candidate, y: int, incumbent: bool, span: tuple[float, float]
) -> None:
    if incumbent:
        pen.rectangle((0, y - 4, _WIDTH, y + _TILE + 3), fill=(238, 244, 252))
    for i, (image, activation) in enumerate(zip(c.drawn, c.activations, strict=True)):
        x = _GAP + i * (_TILE + 4)
        canvas.paste(_tile(image), (x, y))
        height = 1 + int((_TILE - 1) * float(np.clip(activation, 0, 1.5)) / 1.5)
        pen.rectangle((x + _TILE - 5, y + _TILE - height, x + _TILE - 1, y + _TILE - 1), fill=_ACCENT, outline=_PAPER)
    x = _GAP + 5 * (_TILE + 4) + 4
    pen.text((x, y + 14), c.text[:34], _USER if c.from_user else _INK, font=_font(15))
    note = f"{c.images} images, simulation {c.simulation:.3f}" + (", from the user" if c.from_user else "")
    pen.text((x, y + 36), note, (110, 116, 128), font=_font(12))
    left, right = 620, 860

    def at(value: float) -> float:
        return left + (right - left) * (value - span[0]) / (span[1] - span[0])

    middle = y + _TILE // 2
    pen.rectangle(
        (at(0), middle - 9, max(at(c.score), at(0)), middle + 9), fill=_ACCENT if incumbent else (150, 175, 205)
    )
    low, high = at(c.score - c.error), at(c.score + c.error)
    pen.line((low, middle, high, middle), fill=_INK, width=2)
    for end in (low, high):
        pen.line((end, middle - 6, end, middle + 6), fill=_INK, width=2)
    pen.text((right + 14, middle - 8), f"{c.score:.3f}", _INK, font=_font(14))
