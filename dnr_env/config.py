"""The configuration of a stack of real models: a YAML file, or one of those in `dnr_env/configs`."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from dnr_env.errors import DnRError, unknown
from dnr_env.models.hub import needed

with needed():
    import yaml
    from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError


def _one_or_more(value: Any) -> Any:
    return [value] if isinstance(value, (str, int)) else value


Names = Annotated[tuple[str, ...], BeforeValidator(_one_or_more)]
"""Names; a single one needs no brackets."""


class Section(BaseModel):
    """A part of the configuration; a key that it does not know is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", coerce_numbers_to_str=True)


class TargetConfig(Section):
    """The network under study."""

    network: str = "torchvision:resnet50"
    """`torchvision:NAME`, `timm:NAME`, `open_clip:NAME/TAG`, `hf:ID`, or the user's own, `python:MODULE:FACTORY` or
    `python:FILE.py:FACTORY`."""
    layers: Names = ("layer4",)
    """Paths of its modules, as `named_modules()` gives them."""
    weights: str = "DEFAULT"
    """`DEFAULT`, `none` (random ones), or a file: safetensors, or a state_dict of `torch.save`."""
    pooling: Literal["mean", "max", "cls", "tokens-max"] = "mean"
    """How a map becomes one number: over space, or over tokens."""
    neurons: str = "all"
    """Neurons of each layer: `all`, `0-511`, `3,7,10-20`."""
    sae: str | None = None
    """A sparse autoencoder on the layer, as safetensors: its features are then the neurons."""
    dtype: str = "float32"
    """Of the forward pass."""
    batch: int = Field(default=32, ge=1)
    """Images of a forward pass."""


class ProbeConfig(Section):
    """Real images."""

    images: str | None = None
    """A folder of images, any depth; or `torchvision:CIFAR10:ROOT` and the like, already on the disk."""
    limit: int | None = Field(default=None, ge=1)
    """At most so many of them, a fixed random part."""
    crops: bool = True
    """Whether attention crops are captioned beside the exemplars."""
    corruptions: Names = ()
    """Corruptions under which the judge measures the simulation again: blur, jpeg, greyscale, …"""


class CaptionerConfig(Section):
    """Image to text, by a model of the hub."""

    model: str = "Salesforce/blip-image-captioning-large"
    """A hub id or a folder."""
    revision: str | None = None
    """A commit, tag or branch."""
    prompt: str | None = None
    """What a chat model is asked."""
    max_new_tokens: int = Field(default=32, ge=1)
    """Longest caption."""
    dtype: str = "auto"
    """bfloat16 on a GPU, float32 else."""
    batch: int = Field(default=16, ge=1)
    """Images of a forward pass."""


class WriterConfig(Section):
    """The language model that summarises captions and mutates concepts."""

    model: str = "gpt-4o-mini"
    """A model of the server, or `hf:ID` for one that runs here."""
    revision: str | None = None
    """Of an `hf:` model."""
    base_url: str | None = None
    """An OpenAI-compatible server; OPENAI_BASE_URL by default, and without that OpenAI itself."""
    temperature: float = Field(default=0.3, ge=0, le=2)
    """Of the sampling."""
    max_tokens: int = Field(default=200, ge=8)
    """Longest answer."""
    timeout_s: float = Field(default=60, gt=0)
    """Seconds that an answer may take."""
    retries: int = Field(default=2, ge=0)
    """Further attempts after a failure that may pass."""
    concurrency: int = Field(default=8, ge=1)
    """Questions under way at a time."""
    candidates: int = Field(default=8, ge=1)
    """Concepts that a neuron begins with at most."""
    input_price: float = Field(default=0.0, ge=0)
    """US dollars for a million tokens read."""
    output_price: float = Field(default=0.0, ge=0)
    """US dollars for a million tokens written."""


class GeneratorConfig(Section):
    """Text to image, by a diffusers pipeline."""

    model: str = "stabilityai/sd-turbo"
    """A hub id or a folder."""
    revision: str | None = None
    """A commit, tag or branch."""
    template: str = "a photo of {}"
    """The prompt, with {} for the concept."""
    negative_prompt: str = ""
    """What guidance leads away from."""
    steps: int = Field(default=1, ge=1)
    """Denoising steps."""
    guidance: float = Field(default=0.0, ge=0)
    """Scale of classifier-free guidance; up to 1 is none."""
    size: int = Field(default=512, ge=8)
    """Pixels a side."""
    scheduler: str | None = None
    """A scheduler class of diffusers; the pipeline's own by default."""
    dtype: str = "auto"
    """bfloat16 on a GPU, float32 else."""
    batch: int = Field(default=8, ge=1)
    """Images drawn together."""
    compile: bool = False
    """Whether torch.compile is used: minutes once, faster after."""
    tiny_vae: str | None = None
    """A small decoder, such as madebyollin/taesd: faster, other pixels."""
    tiny_vae_revision: str | None = None
    """Its commit, tag or branch."""


class JudgeConfig(Section):
    """What the judge draws with, so that a label is more than one prompt's or generator's habit."""

    template: str | None = "{}, seen in everyday life"
    """Its prompt; null for the generator's own."""
    generator: GeneratorConfig | None = None
    """Its generator, in full; the search's by default."""


class EmbedderConfig(Section):
    """Images and texts in one space, by open_clip."""

    model: str = "ViT-B-16"
    """A model of open_clip, `hf-hub:ID`, or a folder."""
    pretrained: str | None = "openai"
    """The tag of its weights, or a file of them."""
    dtype: str = "float32"
    """Of the forward pass."""
    batch: int = Field(default=64, ge=1)
    """Images of a forward pass."""


class StackConfig(Section):
    """A stack of real models."""

    target: TargetConfig = TargetConfig()
    probe: ProbeConfig = ProbeConfig()
    captioner: CaptionerConfig = CaptionerConfig()
    writer: WriterConfig | None = WriterConfig()
    """null: no language model; concepts are captions, and mutations come from the vocabulary."""
    generator: GeneratorConfig = GeneratorConfig()
    judge: JudgeConfig = JudgeConfig()
    embedder: EmbedderConfig = EmbedderConfig()
    vocabulary: str = "imagenet"
    """A file of words, one a line, or `imagenet`: its 1,000 class names."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, …"""


_PATHS = {
    ("target", "network"), ("target", "weights"), ("target", "sae"), ("probe", "images"), ("captioner", "model"),
    ("writer", "model"), ("generator", "model"), ("generator", "tiny_vae"), ("embedder", "model"),
    ("embedder", "pretrained"), ("vocabulary",), ("judge", "generator", "model"), ("judge", "generator", "tiny_vae"),
}  # fmt: skip
"""Settings that may hold a path, which is relative to the file that it stands in."""
_BEFORE_PATH = re.compile(r"(python|open_clip|hf|torchvision:\w+):")


def read_config(spec: str) -> StackConfig:
    """The configuration that a text describes: a name or file, then settings such as `probe.images=photos`.

    Raises:
        DnRError: the file cannot be read, or a setting is unknown or has no usable value.
    """
    try:
        name, *settings = shlex.split(spec) or [""]
    except ValueError as error:
        raise DnRError(f"stack: {spec!r} cannot be read ({error}); name key=value will do") from None
    shipped = {path.stem: path for path in (Path(__file__).parent / "configs").glob("*.yaml")}
    path = shipped.get(name, Path(name).expanduser())
    if not path.is_file():
        raise unknown("stack", name, [*shipped, "a file such as stack.yaml"])
    values = _read_file(path)
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals:
            raise DnRError(f"stack: {setting!r} is no setting; probe.images=photos is the form")
        _set(values, key, text)
    for place in _PATHS:
        _anchor(values, place, Path.cwd())
    try:
        return StackConfig.model_validate(values)
    except ValidationError as error:
        raise _readable(error) from None


def _read_file(path: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise DnRError(f"stack: {path} cannot be read ({reason}); a YAML file will do") from None
    except yaml.YAMLError as error:
        raise DnRError(f"stack: {path} is not plain YAML: {' '.join(str(error).split())[:200]}") from None
    if not isinstance(values, dict):
        raise DnRError(f"stack: {path} holds no settings; 'target:', 'probe:' and so on will do")
    for place in _PATHS:
        _anchor(values, place, path.parent.resolve())
    return values


def _anchor(values: dict[str, Any], place: tuple[str, ...], folder: Path) -> None:
    """Make a path that is relative to a folder absolute, where there is something at that path."""
    *above, key = place
    for part in above:
        values = values.get(part) or {}
        if not isinstance(values, dict):
            return
    text = values.get(key)
    if not isinstance(text, str):
        return
    found = _BEFORE_PATH.match(text)
    kind = found.group() if found else ""
    path, colon, end = text.removeprefix(kind), "", ""
    if kind.startswith(("python", "torchvision")):  # a function, or a split, can follow
        path, colon, end = path.partition(":")
    found_at = folder / Path(path).expanduser()
    if found_at.is_file() or (found_at.is_dir() and place != ("vocabulary",)):
        values[key] = f"{kind}{found_at}{colon}{end}"


def _set(values: dict[str, Any], key: str, text: str) -> None:
    *above, last = key.split(".")
    for part in above:
        inner = values.get(part)
        values[part] = dict(inner) if isinstance(inner, dict) else {}
        values = values[part]
    try:
        values[last] = yaml.safe_load(text)
    except yaml.YAMLError:
        raise DnRError(f"stack: {key}={text} has no readable value; text or a number will do") from None


def _readable(error: ValidationError) -> DnRError:
    """The first fault as one sentence."""
    fault = error.errors(include_url=False)[0]
    place = [str(part) for part in fault["loc"]]
    if fault["type"] == "extra_forbidden":
        kind: type[Section] = StackConfig
        for part in place[:-1]:
            kind = _section(kind.model_fields[part].annotation)
        return unknown("stack", ".".join(place), [".".join([*place[:-1], name]) for name in kind.model_fields])
    value = fault["input"]
    if fault["type"] == "model_type":
        inside = next(iter(_section(StackConfig.model_fields[place[0]].annotation).model_fields))
        null = ", or null for none" if place == ["writer"] else ""
        return DnRError(
            f"{'.'.join(place)}: {value!r} is no section; settings such as {place[0]}.{inside}{null} will do"
        )
    return DnRError(f"{'.'.join(place)}: {value!r} cannot be used; {fault['msg'][:1].lower()}{fault['msg'][1:]}")


def _section(annotation: Any) -> type[Section]:
    """The kind of section that a setting is, where it can also be null."""
    return next(
        kind for kind in (annotation, *get_args(annotation)) if isinstance(kind, type) and issubclass(kind, Section)
    )
