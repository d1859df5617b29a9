"""What labelling would take, before anything is loaded or paid: captions, calls, images, GPU time, dollars."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dnr_env.describe.probe import EXEMPLARS
from dnr_env.episode import Rules
from dnr_env.judge import IMAGES
from dnr_env.neurons import select
from dnr_env.stacks import EMBEDDED, load

if TYPE_CHECKING:
    from agents.base import Agent
    from dnr_env.config import GeneratorConfig, WriterConfig

SHOWN = 8
"""Captioned drawings that a question for a mutation shows at most."""
_TOKENS = {"simplify": (140, 20), "summarise": (330, 25), "condense": (150, 15), "mutate": (480, 50)}
"""Tokens that a question of each kind reads and writes, of captions of ten words."""
_UNET_TFLOP, _XL_UNET_TFLOP, _VAE_TFLOP, _TINY_VAE_TFLOP = 0.804, 1.589, 2.515, 0.141
"""For one image of 512 x 512 pixels: a step of the UNet (SD 1.x and 2.x, SDXL), and the decoders."""
SUSTAINED_TFLOPS = 316.0
"""40% of the 790 TFLOP/s that one H100 or H200 sustains in bfloat16."""


@dataclass(frozen=True)
class Plan:
    """Upper bounds: nothing is taken off for what neurons share or the cache holds."""

    neurons: int
    captions: int
    calls: int
    input_tokens: int
    output_tokens: int
    search_images: int
    judge_images: int
    gpu_seconds: float | None
    """To draw the images; None where the generator's cost is not known."""
    dollars: float

    def lines(self) -> list[str]:
        """The plan as text."""
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
    """The plan of labelling some neurons with an agent. No model but the target is loaded.

    Args:
        spec: the stack, as `dnr_env.load_stack` takes it.
        agent: who labels.
        wanted: the neurons, as `dnr_env.neurons.select` takes them.
        rules: the environment's rules.
    """
    slots = agent.env_options.get("n_slots", rules.n_slots)
    if spec in EMBEDDED:
        neurons = len(select(load(spec).lab.reader.neurons, wanted))
        return _of(rules, agent, neurons, slots, None, (0.0, 0.0))
    from dnr_env.config import read_config
    from dnr_env.models.stack import make_target

    config = read_config(spec)
    candidates = min(slots, config.writer.candidates) if config.writer else slots
    neurons = len(select(make_target(config).neurons, wanted))
    tflop = tflop_of(config.generator), tflop_of(config.judge.generator or config.generator)
    return _of(rules, agent, neurons, candidates, config.writer, tflop)


def _of(
    rules: Rules,
    agent: Agent,
    neurons: int,
    candidates: int,
    writer: WriterConfig | None,
    tflop: tuple[float | None, float | None],
) -> Plan:
    first = (agent.starts or candidates) * rules.images_per_measure
    mutations = min(rules.max_steps, rules.budget // rules.images_per_measure)
    if agent.measurements is not None:
        mutations = min(mutations, agent.measurements)
    search = first + mutations * rules.images_per_measure
    if not agent.plays:
        candidates = first = mutations = search = 0
    elif agent.name.partition("@")[0] == "dnd":
        mutations, search = 0, min(candidates * max(10, rules.images_per_measure), first + rules.budget)
    asked = mutations if agent.env_options.get("mutator", "writer") == "writer" else 0  # the others ask nobody
    captioned = EXEMPLARS if candidates else 0
    if agent.starts is not None:  # of the writer it wants one summary in the end, or nothing
        candidates = 2 if mutations else 0
    counts = {
        "simplify": captioned if candidates else 0,
        "summarise": candidates,
        "condense": candidates,
        "mutate": 2 * asked,  # an answer that brings nothing new is asked for once more
    }
    calls = {kind: neurons * number for kind, number in counts.items()} if writer else {}
    read = sum(number * _TOKENS[kind][0] for kind, number in calls.items())
    written = sum(number * _TOKENS[kind][1] for kind, number in calls.items())
    return Plan(
        neurons=neurons,
        captions=neurons * (captioned + (SHOWN * asked if writer else 0)),
        calls=sum(calls.values()),
        input_tokens=read,
        output_tokens=written,
        search_images=neurons * search,
        judge_images=neurons * IMAGES,
        gpu_seconds=_seconds(neurons, ((search, tflop[0]), (IMAGES, tflop[1]))),
        dollars=(read * writer.input_price + written * writer.output_price) / 1e6 if writer else 0.0,
    )


def _seconds(neurons: int, parts: Sequence[tuple[int, float | None]]) -> float | None:
    """Time to draw so many images of so many TFLOP each, for every neuron."""
    work = 0.0
    for images, tflop in parts:
        if tflop is None:
            return None
        work += images * tflop
    return neurons * work / SUSTAINED_TFLOPS


def tflop_of(generator: GeneratorConfig) -> float | None:
    """TFLOP of one image, twice the multiply-adds; None for an architecture that is not SD 1.x, 2.x or SDXL."""
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
