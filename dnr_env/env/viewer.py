"""Views of an episode, as an image or as text: exemplars, candidates, estimates with error bars, and the budget."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
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
    mean: float  # posterior mean of its value
    deviation: float  # posterior deviation of its value
    promise: float  # the mean before anything was drawn of it
    coverage: float
    precision: float
    images: int
    from_user: bool
    drawn: Images  # its first images; none where nothing was drawn
    activations: FloatArray  # of these, normalised

    @property
    def said(self) -> tuple[str, str]:
        """What drawings and real images say of it, in words."""
        drawn = f"{self.images} drawn, promise {self.promise:.3f}" if self.images else "not drawn"
        return drawn, f"coverage {self.coverage:.2f}, precision {self.precision:.2f}"


@dataclass(frozen=True)
class View:
    """Everything that is shown of one episode."""

    neuron: str
    score_name: str
    candidates: list[Candidate]
    exemplars: Callable[[], Images]
    """Reads the neuron's exemplars, which only the picture shows."""
    steps: int
    max_steps: int
    spent: int
    """The number of images drawn."""
    budget: int
    user_left: int | None
    """The number of user concepts that are not listed yet; None where a user gives each with its ADD."""
    message: str
    n_slots: int
    """The number of rows in the image, filled or empty."""


def view(episodes: Episodes, row: int, images: int = 5) -> View:
    """Collect what is shown of an episode, with up to `images` images of each candidate."""
    state, rules, stack = episodes.state, episodes.rules, episodes.stack
    neuron = int(episodes.neuron[row])
    candidates = []
    for place in state.order[row, : min(rules.n_slots, len(episodes.texts[row]))].tolist():
        drawn = drawings(episodes, row, place, images)
        candidates.append(
            Candidate(
                text=episodes.texts[row][place],
                mean=float(state.means[row, place]),
                deviation=float(state.deviations[row, place]),
                promise=float(state.promises[row, place]),
                coverage=float(state.cover[row, place, 0]),
                precision=float(state.cover[row, place, 2]),
                images=int(state.counts[row, place]),
                from_user=bool(state.from_user[row, place]),
                drawn=stack.lab.images([text for text, _ in drawn], [seed for _, seed in drawn]) if drawn else [],
                activations=state.activations[row, place, : len(drawn)].copy(),
            )
        )
    return View(
        neuron=stack.neurons[neuron],
        score_name=rules.score,
        candidates=candidates,
        exemplars=partial(stack.probe.images, stack.probe.exemplars[neuron][:8]),
        steps=int(state.steps[row]),
        max_steps=rules.max_steps,
        spent=int(state.image_count[row]),
        budget=rules.budget,
        user_left=int(state.user_left[row]),
        message=episodes.messages[row],
        n_slots=rules.n_slots,
    )


def drawings(episodes: Episodes, row: int, place: int, most: int) -> list[tuple[str, int]]:
    """The first images of a concept, as what was drawn and the seed: of a label, those of its parts in turn."""
    images = episodes.state.images_of(row, place)[:most].tolist()
    seeds = Purpose.SEARCH.seeds(0, episodes.state.activations.shape[2], int(episodes.state.block[row]))
    return [(episodes.texts[row][of], int(seeds[image])) for of, image in images]


def text(view: View) -> str:
    """Render an episode as lines of text."""
    left = view.budget - view.spent
    lines = [
        f"neuron {view.neuron}   step {view.steps}/{view.max_steps}   images left {left}/{view.budget}"
        + ("" if view.user_left is None else f"   user concepts left {view.user_left}")
    ]
    scale = Scale(view.candidates, _CELLS)
    for number, c in enumerate(view.candidates, 1):
        sure, unsure = round(scale(c.mean - c.deviation)), round(scale(c.mean + c.deviation))
        bar = "█" * sure + "▒" * (unsure - sure)
        mark, by = "▶" if number == 1 else " ", " (user)" if c.from_user else ""
        lines.append(
            f"{mark}{number:2d} {c.mean:6.3f} ± {c.deviation:5.3f} {bar:<{_CELLS}} {c.text}{by}: {', '.join(c.said)}"
        )
    if view.message:
        lines.append(f"  ! {view.message}")
    return "\n".join(lines)


class Scale:
    """Places values on the bar that all candidates share: from 0, or the lowest value, to the highest.

    Args:
        candidates: whose means and deviations have to fit.
        length: of the bar.
    """

    def __init__(self, candidates: Sequence[Candidate], length: float) -> None:
        self._low = min([0.0, *(c.mean - c.deviation for c in candidates)])
        high = max([0.0, *(c.mean + c.deviation for c in candidates)])
        self._length, self._span = length, max(high - self._low, 1e-9)

    def __call__(self, value: float) -> float:
        """The distance of a value from the left end."""
        return self._length * (value - self._low) / self._span


_CELLS = 20
_TILE, _GAP, _WIDTH = 64, 8, 960
_LEFT, _RIGHT = 620, 860  # of the bars
_GREY = (110, 116, 128)
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
    for i, image in enumerate(view.exemplars()):
        canvas.paste(_tile(image), (110 + i * (_TILE + 4), 40))
    _gauge(pen, 700, 44, "images", view.spent, view.budget)
    _gauge(pen, 700, 76, "steps", view.steps, view.max_steps)
    _scores_head(pen, view, head)
    scale = Scale(view.candidates, _RIGHT - _LEFT)
    for number, candidate in enumerate(view.candidates):
        _candidate(canvas, pen, candidate, head + 30 + number * (_TILE + _GAP), number == 0, scale)
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
    pen.text((_LEFT, y), f"{view.score_name}: posterior mean ± deviation", _INK, font=_font(13))


def _candidate(
    canvas: Image.Image, pen: ImageDraw.ImageDraw, c: Candidate, y: int, incumbent: bool, scale: Scale
) -> None:
    if incumbent:
        pen.rectangle((0, y - 4, _WIDTH, y + _TILE + 3), fill=(238, 244, 252))
    for i, (image, activation) in enumerate(zip(c.drawn, c.activations, strict=True)):
        x = _GAP + i * (_TILE + 4)
        canvas.paste(_tile(image), (x, y))
        height = 1 + int((_TILE - 1) * float(np.clip(activation, 0, 1.5)) / 1.5)
        pen.rectangle((x + _TILE - 5, y + _TILE - height, x + _TILE - 1, y + _TILE - 1), fill=_ACCENT, outline=_PAPER)
    x = _GAP + 5 * (_TILE + 4) + 4
    pen.text((x, y + 4), c.text[:34], _USER if c.from_user else _INK, font=_font(15))
    drawn, real = c.said
    pen.text((x, y + 25), drawn + (", from the user" if c.from_user else ""), _GREY, font=_font(12))
    pen.text((x, y + 42), real, _GREY, font=_font(12))

    def at(value: float) -> float:
        return _LEFT + scale(value)

    middle = y + _TILE // 2
    pen.rectangle(
        (at(0), middle - 9, max(at(c.mean), at(0)), middle + 9), fill=_ACCENT if incumbent else (150, 175, 205)
    )
    low, high = at(c.mean - c.deviation), at(c.mean + c.deviation)
    pen.line((low, middle, high, middle), fill=_INK, width=2)
    for end in (low, high):
        pen.line((end, middle - 6, end, middle + 6), fill=_INK, width=2)
    pen.text((_RIGHT + 14, middle - 8), f"{c.mean:.3f}", _INK, font=_font(14))
