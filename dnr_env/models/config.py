"""The settings of a stack of real models."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from dnr_env.extras import needed
from dnr_env.shapes.config import ShapesConfig

with needed():
    from pydantic import BaseModel, BeforeValidator, ConfigDict, Field


def _one_or_more(value: Any) -> Any:
    return [value] if isinstance(value, (str, int)) else value


Names = Annotated[tuple[str, ...], BeforeValidator(_one_or_more)]
"""One or several names. A single name needs no brackets."""


class Section(BaseModel):
    """A part of the configuration. An unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", coerce_numbers_to_str=True)


class TargetConfig(Section):
    """The network under study."""

    network: str = "torchvision:resnet50"
    """`torchvision:NAME`, `timm:NAME`, `open_clip:NAME/TAG`, `hf:ID`, `example:efficientnet_lite0`, or a factory of
    the user's own, `python:MODULE:FACTORY` or `python:FILE.py:FACTORY`."""
    layers: Names = ("layer4",)
    """The modules to read, by their paths in `named_modules()`; patterns such as `blocks.*` or `layer?.*.conv2`; or
    `all`, which is every convolution, linear and attention layer."""
    weights: str = "DEFAULT"
    """`DEFAULT`, `none` (random weights), or a file: safetensors, or a checkpoint saved by `torch.save`."""
    channels: int | None = None
    """The axis of the channels in the layers' outputs. It is needed only where an error asks for it."""
    pooling: Literal["mean", "max", "cls", "tokens-max"] = "mean"
    """How a map is reduced to one number, over space or over tokens."""
    neurons: str = "all"
    """The neurons of each layer: `all`, `0-511`, `3,7,10-20`. A layer that only a pattern chose may have fewer."""
    sae: str | None = None
    """A file of a sparse autoencoder on the layer, of SAELens or sparsify, with its cfg.json beside it. Its features
    become the neurons."""
    dtype: str = "float32"
    """The number format of the forward pass."""
    batch: int = Field(default=32, ge=1)
    """Images per forward pass."""


class ProbeConfig(Section):
    """The real images."""

    images: str | None = None
    """A folder of images, searched recursively, a zip archive, a Parquet or Arrow file, `hf-dataset:PATH`,
    `torchvision:NAME:FOLDER`, or a function of the user's own, `python:FILE.py:FUNCTION`."""
    limit: int | None = Field(default=None, ge=1)
    """The maximum number of images. If there are more, a fixed random subset is used."""
    crops: bool = True
    """Whether attention crops are captioned in addition to the exemplars."""
    corruptions: Names = ()
    """Corruptions under which the judge repeats the simulation: blur, jpeg, greyscale, …"""


class CaptionerConfig(Section):
    """The captioner: a model of the hub."""

    model: str = "Salesforce/blip-image-captioning-large"
    """A hub id or a folder."""
    revision: str | None = None
    """A commit, tag or branch."""
    prompt: str | None = None
    """The question to a chat model."""
    max_new_tokens: int = Field(default=32, ge=1)
    """The longest caption, in tokens."""
    dtype: str = "auto"
    """The number format; `auto` is bfloat16 on a GPU and float32 otherwise."""
    batch: int = Field(default=16, ge=1)
    """Images per forward pass."""


class WriterConfig(Section):
    """The language model that summarises captions and mutates concepts."""

    model: str = "gpt-4o-mini"
    """A model of the server, or `hf:ID` for a model that runs on this machine."""
    revision: str | None = None
    """A commit, tag or branch of an `hf:` model."""
    base_url: str | None = None
    """An OpenAI-compatible server. The default is OPENAI_BASE_URL or, if that is not set, OpenAI itself."""
    temperature: float = Field(default=0.3, ge=0, le=2)
    """The sampling temperature."""
    max_tokens: int = Field(default=200, ge=8)
    """The longest answer, in tokens."""
    effort: Literal["none", "minimal", "low", "medium", "high", "xhigh"] | None = None
    """How much a reasoning model thinks. null leaves it to the model."""
    thinking_tokens: int = Field(default=0, ge=0)
    """The tokens that a reasoning model may think, in addition to `max_tokens`; 2,000 suit most."""
    timeout_s: float = Field(default=60, gt=0)
    """Seconds after which a request fails."""
    retries: int = Field(default=2, ge=0)
    """Further attempts after a failure that may pass."""
    patience_s: float = Field(default=300, ge=0)
    """Seconds for which a server that is busy or starts is waited for."""
    concurrency: int = Field(default=8, ge=1)
    """The maximum number of simultaneous requests."""
    candidates: int = Field(default=8, ge=1)
    """The maximum number of concepts that a neuron starts with."""
    input_price: float = Field(default=0.0, ge=0)
    """US dollars per million input tokens."""
    output_price: float = Field(default=0.0, ge=0)
    """US dollars per million output tokens."""


class GeneratorConfig(Section):
    """The generator: a pipeline of diffusers, or a set of images from which the nearest to the text are retrieved."""

    kind: Literal["diffusion", "retrieval"] = "diffusion"
    """`diffusion` draws. `retrieval` takes real images, and of the settings uses only `images`, `limit`, `sets`,
    `template` and `size`."""
    images: str | None = None
    """The images to retrieve, in any form that `probe.images` accepts."""
    limit: int | None = Field(default=None, ge=1)
    """The maximum number of images to retrieve from. If there are more, a fixed random subset is used."""
    sets: int = Field(default=2, ge=1)
    """How many disjoint sets of images there are for a concept: the seeds of runs take them in turn."""
    model: str = "stabilityai/sd-turbo"
    """A hub id or a folder."""
    revision: str | None = None
    """A commit, tag or branch."""
    template: str = "a photo of {}"
    """The prompt, with {} in place of the concept."""
    negative_prompt: str = ""
    """The negative prompt of the guidance."""
    steps: int = Field(default=1, ge=1)
    """Denoising steps."""
    guidance: float = Field(default=0.0, ge=0)
    """The scale of classifier-free guidance. Values up to 1 turn it off."""
    size: int = Field(default=512, ge=8)
    """Width and height in pixels."""
    scheduler: str | None = None
    """A scheduler class of diffusers. The default is the pipeline's own."""
    dtype: str = "auto"
    """The number format; `auto` is bfloat16 on a GPU and float32 otherwise."""
    batch: int = Field(default=8, ge=1)
    """Images per forward pass."""
    compile: bool = False
    """Whether to use torch.compile, which takes minutes once and is faster afterwards."""
    tiny_vae: str | None = None
    """A small decoder such as madebyollin/taesd, which is faster and draws slightly different pixels."""
    tiny_vae_revision: str | None = None
    """A commit, tag or branch of the small decoder."""


class EmbedderConfig(Section):
    """The embedder of images and texts: a model of open_clip."""

    model: str = "ViT-B-16"
    """A model of open_clip, `hf-hub:ID`, or a folder."""
    pretrained: str | None = "openai"
    """The tag of the weights, or a file with weights."""
    dtype: str = "float32"
    """The number format of the forward pass."""
    batch: int = Field(default=64, ge=1)
    """Images per forward pass."""


class JudgeConfig(Section):
    """What the judge draws with, so that a label does not rest on the habits of one prompt or generator."""

    template: str | None = "{}, seen in everyday life"
    """The judge's prompt. null takes the generator's own template."""
    generator: GeneratorConfig | None = None
    """The judge's generator, with all its settings. null takes the generator of the search."""
    embedder: EmbedderConfig | None = None
    """The embedder of the judge's own simulation, with all its settings. null leaves only that of the search."""


class StackConfig(Section):
    """A stack of real models."""

    target: TargetConfig = TargetConfig()
    probe: ProbeConfig = ProbeConfig()
    captioner: CaptionerConfig | None = CaptionerConfig()
    """null: there is none. Agents that start from captions cannot be used."""
    writer: WriterConfig | None = WriterConfig()
    """null: there is no language model. Captions are the concepts, and mutations come from the vocabulary."""
    generator: GeneratorConfig | None = GeneratorConfig()
    """null: the search draws nothing."""
    judge: JudgeConfig | None = JudgeConfig()
    """null: labels are not judged on generated images."""
    embedder: EmbedderConfig | None = EmbedderConfig()
    """null: there is none, which is enough to find exemplars."""
    vocabulary: str = "imagenet"
    """A file with one word per line, or `imagenet`, which stands for its 1,000 class names."""
    calibration: str | None = None
    """A file that `dnr calibrate` wrote for such a stack. null takes cautious constants."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, …"""


class FurtherImages(Section):
    """Real images beside the pictures of an embedded world."""

    images: str | None = None
    """As `probe.images` of a stack of real models. The judge repeats the simulation on them."""
    limit: int | None = Field(default=None, ge=1)
    """The maximum number of images."""


class WorldConfig(Section):
    """A network of the user's own on the pictures of an embedded world, which also has the words."""

    world: ShapesConfig
    target: TargetConfig = TargetConfig()
    probe: FurtherImages = FurtherImages()
    calibration: str | None = None
    """A file that `dnr calibrate` wrote for this network. null takes cautious constants."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, …"""
