"""The cost of labelling, estimated in advance: captions, language-model calls, images, GPU time and dollars."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dnr_env.env.rules import Rules
from dnr_env.evaluation.judge import IMAGES
from dnr_env.evidence.probe import EXEMPLARS
from dnr_env.registry import load, read_spec
from dnr_env.scenes.config import ScenesConfig
from dnr_env.shapes.config import ShapesConfig

if TYPE_CHECKING:
    from dnr_env.agents.base import Agent
    from dnr_env.models.config import GeneratorConfig, WriterConfig

SHOWN = 8
"""The most captioned drawings in a prompt for a mutation."""
_TOKENS = {"simplify": (140, 20), "summarise": (330, 25), "condense": (150, 15), "mutate": (480, 50)}
"""Input and output tokens of each kind of prompt, for captions of ten words."""
_UNET_TFLOP, _XL_UNET_TFLOP, _VAE_TFLOP, _TINY_VAE_TFLOP = 0.804, 1.589, 2.515, 0.141
"""TFLOP per image of 512 x 512 pixels: one step of the UNets (SD 1.x and 2.x, SDXL), and the decoders."""
SUSTAINED_TFLOPS = 316.0
"""Assumed speed: 40% of the 790 TFLOP/s that one H100 or H200 sustains in bfloat16."""


@dataclass(frozen=True)
class Plan:
    """Upper bounds on the cost. Shared concepts and cached images are not deducted."""

    neurons: int
    captions: int
    calls: int
    input_tokens: int
    output_tokens: int
    search_images: int
    judge_images: int
    gpu_seconds: float | None
    """GPU time to draw the images; None if the generator's cost is unknown."""
    dollars: float

    def lines(self) -> list[str]:
        """Format the plan as lines of text."""
        images = self.search_images + self.judge_images
        time = "unknown: this generator's cost is not in the tables; benchmarks/generate.py measures"
        if self.gpu_seconds is not None:
            time = f"{_duration(self.gpu_seconds)} of an H100 or H200, at {SUSTAINED_TFLOPS:.0f} TFLOP/s"
        tokens = f"{self.input_tokens:,} tokens read, {self.output_tokens:,} written"
        return [
            f"neurons     {self.neurons:,}",
            f"captions    {self.captions:,} at most",
            f"LLM calls   {self.calls:,} at most, where every answer can be read ({tokens}): ${self.dollars:,.2f}",
            f"images      {images:,} at most "
            f"({self.search_images:,} of the search, {self.judge_images:,} of the judge)",
            f"drawing     {time}",
            "Neurons that share concepts share their images, and what the cache holds is free.",
        ]


def plan(spec: str, agent: Agent, wanted: str, rules: Rules) -> Plan:
    """Estimate the cost of labelling neurons with an agent. No model except the target is loaded.

    Args:
        spec: The stack, as in `dnr_env.load_stack`.
        agent: The agent.
        wanted: The neurons, as in `Neurons.select`.
        rules: The rules of the environment.
    """
    slots = agent.env_options.get("n_slots", rules.n_slots)
    _, config = read_spec(spec)
    if isinstance(config, ShapesConfig | ScenesConfig):
        neurons = len(load(spec).neurons.select(wanted))
        return _of(rules, agent, neurons, slots, None, (0.0, 0.0), IMAGES)
    from dnr_env.models.config import WorldConfig
    from dnr_env.models.stack import make_target

    if isinstance(config, WorldConfig):
        neurons = len(make_target(config).neurons.select(wanted))
        return _of(rules, agent, neurons, slots, None, (0.0, 0.0), IMAGES)
    candidates = min(slots, config.writer.candidates) if config.writer else slots
    neurons = len(make_target(config).neurons.select(wanted))
    search, judging = config.generator, config.judge and (config.judge.generator or config.generator)
    tflop = tflop_of(search) if search else 0.0, tflop_of(judging) if judging else 0.0
    return _of(rules, agent, neurons, candidates, config.writer, tflop, IMAGES if judging else 0)


def _of(
    rules: Rules,
    agent: Agent,
    neurons: int,
    candidates: int,
    writer: WriterConfig | None,
    tflop: tuple[float | None, float | None],
    judged: int,
) -> Plan:
    if not agent.plays:
        candidates = 0
    listed = candidates if agent.initial_concepts is None else agent.initial_concepts
    search = agent.most_measurements(rules, listed) * rules.images_per_measure if agent.plays else 0
    most = rules.max_steps if agent.mutations is None else min(rules.max_steps, agent.mutations)
    asks = agent.plays and agent.env_options.get("mutator", "writer") == "writer"  # other mutators cost no calls
    asked = most if asks else 0
    captioned = EXEMPLARS if candidates else 0
    if agent.initial_concepts is not None:  # such an agent uses the writer for one final summary at most
        candidates = 2 if most else 0
    counts = {
        "simplify": captioned if candidates else 0,
        "summarise": candidates,
        "condense": candidates,
        "mutate": 2 * asked,  # a second try if the first answer is not new
    }
    calls = {kind: neurons * number for kind, number in counts.items()} if writer else {}
    read = sum(number * _TOKENS[kind][0] for kind, number in calls.items())
    written = sum(number * _TOKENS[kind][1] for kind, number in calls.items())
    return Plan(
        neurons=neurons,
        captions=neurons * (captioned + (min(SHOWN * asked, search) if writer else 0)),
        calls=sum(calls.values()),
        input_tokens=read,
        output_tokens=written,
        search_images=neurons * search,
        judge_images=neurons * judged,
        gpu_seconds=_seconds(neurons, ((search, tflop[0]), (judged, tflop[1]))),
        dollars=(read * writer.input_price + written * writer.output_price) / 1e6 if writer else 0.0,
    )


def _seconds(neurons: int, parts: Sequence[tuple[int, float | None]]) -> float | None:
    """Compute the time to draw (images, TFLOP per image) for every neuron."""
    work = 0.0
    for images, tflop in parts:
        if tflop is None:
            return None
        work += images * tflop
    return neurons * work / SUSTAINED_TFLOPS


def tflop_of(generator: GeneratorConfig) -> float | None:
    """Compute the TFLOP of one image, twice the multiply-adds, or None unless the model is SD 1.x, 2.x or SDXL.

    An image that is retrieved costs none.
    """
    if generator.kind == "retrieval":
        return 0.0
    name = generator.model.lower()
    known = ("sd-turbo", "stable-diffusion-v1", "stable-diffusion-2", "sdxl", "stable-diffusion-xl", "lcm_dreamshaper")
    if not any(part in name for part in known):
        return None
    step = _XL_UNET_TFLOP if "xl" in name else _UNET_TFLOP
    passes = generator.steps * (2 if generator.guidance > 1 else 1)
    decoder = _TINY_VAE_TFLOP if generator.tiny_vae else _VAE_TFLOP
    return float((step * passes + decoder) * (generator.size / 512) ** 2)


def _duration(seconds: float) -> str:
    for unit, length in (("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.0f} s"
