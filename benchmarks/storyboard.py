"""One episode as a picture: what was listed, what was drawn and how it excited the neuron, and each incumbent.

PYTHONPATH=. python benchmarks/storyboard.py --stack scenes --neuron layer3:5 --out results/episode.png
"""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import tyro
from PIL import Image, ImageDraw, ImageFont, ImageOps

from dnr_env import DnRError
from dnr_env.agents.base import Agent, State
from dnr_env.agents.registry import make_agent
from dnr_env.env.episodes import Episodes
from dnr_env.env.rules import Action
from dnr_env.evaluation.judge import judge
from dnr_env.files import write_atomically
from dnr_env.interfaces import Kind
from dnr_env.seeds import Purpose, block_of
from dnr_env.types import FloatArray, Images, IntArray

_TILE, _GAP, _WIDTH, _RIGHT = 48, 6, 860, 400
_LINE = 17
_INK, _GREY, _BLUE, _PALE, _PAPER = (28, 32, 40), (110, 116, 128), (38, 110, 190), (238, 244, 252), (255, 255, 255)


@dataclass(frozen=True)
class Options:
    """Draw an episode."""

    neuron: str
    """The neuron."""
    out: Path
    """The picture, a PNG."""
    stack: str = "scenes"
    """The stack."""
    agent: str = "learned"
    """The agent: a name, or the folder of a training."""
    seed: int = 9
    """Seed of the episode and of its block of drawings."""


@dataclass
class Scene:
    """What happened in one step, or in several in a row that list concepts."""

    title: str
    lines: list[str] = field(default_factory=list)
    images: Images = field(default_factory=list)
    activations: FloatArray = field(default_factory=lambda: np.zeros(0))
    after: str = ""
    """The incumbent afterwards, with its posterior mean and deviation."""

    @property
    def height(self) -> int:
        """In pixels."""
        return max(_LINE * (len(self.lines) + 1), _LINE + _TILE if len(self.images) else 0) + 2 * _GAP


def tell(agent: Agent, options: Options) -> tuple[list[Scene], Episodes]:
    """Play an episode. Returns what happened, and the episode at its end."""
    made = {"mutator": "informed", **agent.env_options}
    env: Any = gym.make(f"dnr_env:{agent.env_id}", stack=options.stack, neurons=options.neuron, **made)
    observation, info = env.reset(seed=options.seed, options={"block": block_of(options.seed)})
    playing: Episodes = env.unwrapped.episodes
    scenes = [Scene("candidates, from captions", [_line(playing, place) for place in range(len(playing.texts[0]))])]
    scenes[0].after = _incumbent(playing)
    state: State | None = agent.start([options.seed])
    over = False
    while not over:
        action, state = agent.predict(observation, state, None, True, info["action_mask"].astype(bool))
        listed, counts = len(playing.texts[0]), playing.state.counts[0].copy()
        observation, _, over, _, info = env.step(action)
        if action[0] == Action.MUTATE:
            if scenes[-1].title != Action.MUTATE.name:
                scenes.append(Scene(Action.MUTATE.name))
            kind = f"{Kind(int(action[2])).name}: " if len(action) > 2 else ""
            scenes[-1].lines.append(kind + _new(playing, listed))
        elif action[0] == Action.KEEP:
            scenes.append(_drawn(playing, counts))
        else:
            scenes.append(Scene(f"STOP: {info['label']}"))
        scenes[-1].after = _incumbent(playing)
    return scenes, playing


def _line(playing: Episodes, place: int) -> str:
    """A concept, with its posterior mean before anything was drawn of it."""
    return f"{playing.texts[0][place]} ({playing.state.promises[0, place]:.3f})"


def _new(playing: Episodes, listed: int) -> str:
    """What a mutation has added to a master list that was this long. A label of several phrases brings its parts."""
    places = range(listed, len(playing.texts[0]))
    if not places:
        return "nothing new"
    return _line(playing, next((place for place in places if playing.state.parts[0, place, 0] >= 0), places[0]))


def _incumbent(playing: Episodes) -> str:
    place = int(playing.state.incumbent[0])
    mean, deviation = playing.state.means[0, place], playing.state.deviations[0, place]
    return f"{playing.texts[0][place]}: {mean:.3f} ± {deviation:.3f}"


def _drawn(playing: Episodes, counts: IntArray) -> Scene:
    """The drawings of the last step. Before it, `counts` (capacity,) images had been drawn of each concept."""
    state = playing.state
    (place,) = np.flatnonzero((state.counts[0] > counts) & (state.parts[0, :, 0] < 0))
    new = range(int(counts[place]), int(state.counts[0, place]))
    text = playing.texts[0][place]
    seeds = Purpose.SEARCH.seeds(new.start, len(new), int(state.block[0])).tolist()
    images = playing.stack.lab.images([text] * len(new), seeds)
    return Scene(f"KEEP: {text}", images=images, activations=state.activations[0, place, new.start : new.stop].copy())


def draw(scenes: Sequence[Scene], playing: Episodes, said: str) -> Image.Image:
    """Draw the scenes below the exemplars.

    Args:
        scenes: What happened.
        playing: The episode at its end.
        said: What is known of the label, for the last line.
    """
    models, neuron = playing.stack, int(playing.neuron[0])
    head = 2 * _GAP + 3 * _LINE + _TILE
    canvas = Image.new("RGB", (_WIDTH, head + sum(scene.height for scene in scenes) + _LINE + 2 * _GAP), _PAPER)
    pen = ImageDraw.Draw(canvas)
    pen.text((_GAP, _GAP), f"{models.name}, neuron {models.neurons[neuron]}", _INK, font=_font(16))
    pen.text((_GAP, _GAP + 24), "exemplars", _GREY, font=_font(12))
    for i, image in enumerate(models.probe.images(models.probe.exemplars[neuron])):
        canvas.paste(ImageOps.fit(Image.fromarray(image), (_TILE, _TILE)), (80 + i * (_TILE + 3), _GAP + 24))
    pen.text((_RIGHT, head - _LINE - 2), "incumbent afterwards: mean ± deviation", _GREY, font=_font(12))
    y = head
    for number, scene in enumerate(scenes):
        if number % 2 == 0:
            pen.rectangle((0, y, _WIDTH, y + scene.height - 1), fill=_PALE)
        pen.text((_GAP, y + _GAP), scene.title, _INK, font=_font(13))
        for i, line in enumerate(scene.lines):
            pen.text((4 * _GAP, y + _GAP + (i + 1) * _LINE), line, _GREY, font=_font(12))
        for i, (image, activation) in enumerate(zip(scene.images, scene.activations, strict=True)):
            x, top = 4 * _GAP + i * (_TILE + 12), y + _GAP + _LINE
            canvas.paste(ImageOps.fit(Image.fromarray(image), (_TILE, _TILE)), (x, top))
            height = 1 + round((_TILE - 1) * float(np.clip(activation, 0, 1.5)) / 1.5)
            pen.rectangle((x + _TILE + 1, top + _TILE - height, x + _TILE + 6, top + _TILE - 1), fill=_BLUE)
        pen.text((_RIGHT, y + _GAP), scene.after, _INK, font=_font(12))
        y += scene.height
    pen.text((_GAP, y + _GAP), said, _INK, font=_font(13))
    return canvas


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def verdict(playing: Episodes, options: Options) -> str:
    """What the judge says of the label and of the best one, and the formula of a planted neuron."""
    stack, rules, label = playing.stack, playing.rules, playing.labels[0]
    best, formula = stack.known.optimum(rules.score).get(options.neuron), stack.known.truth(options.neuron)
    named = [label, *([best] if best else [])]
    many = [options.neuron] * len(named)
    found = judge(stack, neurons=many, labels=named, rules=rules, blocks=[block_of(options.seed)] * len(named))
    values = "; the best label, ".join(f"{text}: {one.value:.3f}" for text, one in zip(named, found, strict=True))
    return f"By the judge, {values}" + (f"; planted: {formula}" if formula else "")


def main() -> None:
    """Play, and write the picture."""
    options = tyro.cli(Options)
    try:
        scenes, playing = tell(make_agent(options.agent), options)
        picture = io.BytesIO()
        draw(scenes, playing, verdict(playing, options)).quantize(256).save(picture, "PNG", optimize=True)
        write_atomically(options.out, picture.getvalue())
    except DnRError as error:
        sys.exit(f"storyboard.py: {error}")


if __name__ == "__main__":
    main()
