"""The Python API: name the neurons of a model that is in memory, or that a stack names."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from numbers import Integral
from pathlib import Path
from typing import Any

from dnr_env.agents.base import Agent
from dnr_env.agents.registry import check_agents, identity, make_agent
from dnr_env.assemble import assemble
from dnr_env.env.rules import Rules
from dnr_env.env.users import Users, user_source
from dnr_env.errors import DnRError, unknown
from dnr_env.evaluation.exemplars import BANDS, exemplars_of
from dnr_env.evaluation.failures import MOST_FAILED, check_labels, check_share
from dnr_env.evaluation.folder import rules_noted, settle, users_noted
from dnr_env.evaluation.labelling import label_neurons
from dnr_env.evaluation.ranking import rank_neurons
from dnr_env.evaluation.verdicts import judge_labels, read_sources
from dnr_env.exemplar_table import ExemplarTable
from dnr_env.judged_table import Judged
from dnr_env.neurons import Neurons, Which, layers_like
from dnr_env.progress import bars
from dnr_env.seeds import EVALUATION_BLOCKS, block_of
from dnr_env.stack import Stack
from dnr_env.tables import Labels, Ranking


def label(
    model: Any = None,
    layer: str | Sequence[str] | None = None,
    *,
    neurons: Which = None,
    images: Any = None,
    stack: str | Path | Stack = "shapes",
    agent: str | Agent = "promise",
    preprocess: Callable[[Any], Any] | None = None,
    pooling: str | None = None,
    rules: Rules | None = None,
    seed: int = 0,
    user_concepts: Users = None,
    out: str | Path | None = None,
    most_failed: float = MOST_FAILED,
    progress: bool = True,
) -> Labels:
    """Name neurons. A neuron that fails has no label but a `failure`, and the others go on.

    Args:
        model: an `nn.Module`, which is left as it was; a function of a float batch (n, 3, h, w) that returns
            activations; a name as in a stack, such as "torchvision:resnet50"; None for the stack's own target.
        layer: the module to read, as `named_modules` calls it, or several; a pattern such as "blocks.*"; or "all"
            for every convolution, linear and attention layer.
        neurons: indices within the layer, names such as "layer4:7", or a text as on the command line; None for all.
        images: a folder, a list of paths, PIL images or arrays, a torch `Dataset` or `DataLoader`, or a Hugging Face
            `Dataset` with an image column; None for those of the stack.
        stack: what captions, draws and judges. A model takes the place of its target.
        agent: who labels: a name as on the command line, or an agent.
        preprocess: a transform of (n, 3, h, w) uint8 tensors, or of PIL images, to the model's input. None uses the
            transform that models of timm and open_clip carry, or else ImageNet's, with a warning.
        pooling: "mean" or "max" over space or patch tokens, "cls" for the class token, "tokens-max" for all tokens;
            None is the stack's, by default "mean".
        rules: budget, price and score; `reward` does not matter.
        seed: seeds the episodes' random choices and selects the block of image seeds.
        user_concepts: see `RefineEnv`.
        out: a folder to which rows are appended as they come. Repeat the call to resume.
        most_failed: the share of neurons that may begin with captions because the language model had no answer. If
            there are more, nothing is drawn.
        progress: whether to show progress bars.

    Returns:
        The labels, including any that `out` already held.

    Raises:
        DnRError: an argument cannot be used, every neuron fails, or more of them than `most_failed` allows begin with
            captions.
    """
    with bars(progress):
        rules = Rules.of(rules, {"reward": "none"})
        most_failed = check_share("most_failed", most_failed)  # before anything is written
        chosen = make_agent(agent) if isinstance(agent, str) else agent
        models = assemble(model, layer, images, stack, preprocess, pooling)
        check_agents(models, [chosen])
        names = names_of(models.neurons, layer, neurons)
        (seed,) = usable_seeds("seed", [seed])
        user_source(user_concepts, models)  # before anything is written
        settings: dict[str, str | float | None] = {
            "agent": chosen.name,
            "policy": identity(chosen),
            "seed": seed,
            "user_concepts": users_noted(user_concepts),
            **rules_noted(rules),
        }
        folder = None if out is None else Path(out).expanduser()
        if folder:
            settle(folder, models, settings)
        records = label_neurons(
            models,
            chosen,
            neurons=names,
            seed=seed,
            rules=rules,
            user_concepts=user_concepts,
            path=folder / "labels.jsonl" if folder else None,
            most_failed=most_failed,
        )
        return Labels(records, models, chosen, rules, settings)


def exemplars(
    model: Any = None,
    layer: str | Sequence[str] | None = None,
    images: Any = None,
    *,
    neurons: Which = None,
    stack: str | Path | Stack | None = None,
    preprocess: Callable[[Any], Any] | None = None,
    pooling: str | None = None,
    progress: bool = True,
) -> ExemplarTable:
    """Find the images that excite each neuron most, and some at the quantiles of its activations.

    Nothing is captioned, drawn or asked.

    Args:
        model: see `label`, also for the arguments below.
        layer: the module to read, or several.
        images: where to look.
        neurons: which neurons; None for all.
        stack: where the images and, without `model`, the target come from. None means "shapes" if `images` is not
            given; otherwise only the model and the images are used.
        preprocess: the model's transform.
        pooling: over space or tokens.
        progress: whether to show progress bars.
    """
    with bars(progress):
        models = assemble(model, layer, images, stack, preprocess, pooling)
        names = names_of(models.neurons, layer, neurons)
        return ExemplarTable(exemplars_of(models, models.probes.whole, names, BANDS), models)


def judge(
    model: Any = None,
    layer: str | Sequence[str] | None = None,
    labels: Mapping[str, str] | Iterable[tuple[str, str]] | str | Path | Sequence[str | Path] | None = None,
    *,
    neurons: Which = None,
    images: Any = None,
    stack: str | Path | Stack = "shapes",
    preprocess: Callable[[Any], Any] | None = None,
    pooling: str | None = None,
    rules: Rules | None = None,
    seed: int = 0,
    out: str | Path | None = None,
    progress: bool = True,
) -> Judged:
    """Score labels of any source, on drawings that no search has seen.

    Args:
        model: see `label`, also for the arguments below.
        layer: the module to read, or several. It is also the layer of files that give indices.
        labels: neuron to label, as a mapping or as pairs; or a CSV file, or several, which are compared. A file has the
            columns neuron and label, or layer, unit and label; explanation files of CoSy are read as they are.
        neurons: whose labels are judged; None for all of the labels.
        images: the real images.
        stack: what draws and judges.
        preprocess: the model's transform.
        pooling: over space or tokens.
        rules: only `score` and `images_per_measure` matter.
        seed: selects the block of image seeds.
        out: a folder to which rows are appended as they come. Repeat the call to resume.
        progress: whether to show progress bars.

    Raises:
        DnRError: a neuron is not the target's, a label cannot be drawn, or files cannot be compared.
    """
    with bars(progress):
        rules = rules or Rules()
        models = assemble(model, layer, images, stack, preprocess, pooling)
        models.require("judge", ("embedder",))
        layers = _layers(models.neurons, layer)
        within = None if isinstance(neurons, str) else layer  # a text may name more than the layer of the files
        only = None if neurons is None else names_of(models.neurons, within, neurons)
        sources = read_sources(labels, models, layers[0] if len(layers) == 1 else None, only)
        (seed,) = usable_seeds("seed", [seed])
        settings: dict[str, str | float | None] = {
            "judged": True,
            "seed": seed,
            "score": rules.score,
            "images_per_measure": rules.images_per_measure,
        }
        folder = None if out is None else Path(out).expanduser()
        if folder:
            settle(folder, models, settings)
        path = folder / "judged.jsonl" if folder else None
        given = list(dict.fromkeys(pair for source in sources for pair in source.labels))
        records = judge_labels(models, given, rules=rules, block=block_of(seed), path=path)
        return Judged(sources, records, models, rules, settings)


def rank(
    model: Any = None,
    layer: str | Sequence[str] | None = None,
    *,
    labels: Mapping[str, str] | None = None,
    neurons: Which = None,
    images: Any = None,
    stack: str | Path | Stack = "shapes",
    agent: str | Agent = "promise",
    preprocess: Callable[[Any], Any] | None = None,
    pooling: str | None = None,
    rules: Rules | None = None,
    seed: int = 0,
    out: str | Path | None = None,
    progress: bool = True,
) -> Ranking:
    """Rank neurons under the six scoring methods of Table 1 of the DnR report, on drawings of their labels.

    Args:
        model: see `label`, also for the arguments below.
        layer: the module to read, or several.
        labels: neuron to label; None labels `neurons` with `agent`.
        neurons: which neurons to label and rank.
        images: the real images.
        stack: what captions, draws and judges.
        agent: who labels.
        preprocess: the model's transform.
        pooling: over space or tokens.
        rules: the rules of labelling, of which `images_per_measure` counts in the scores.
        seed: seeds the labelling and selects the block of image seeds.
        out: the folder of the labels.
        progress: whether to show progress bars.
    """
    with bars(progress):
        models = assemble(model, layer, images, stack, preprocess, pooling)
        models.require("rank", ("judge", "embedder"))
        (seed,) = usable_seeds("seed", [seed])
        if labels is None:
            wanted = names_of(models.neurons, layer, neurons)
            options: dict[str, Any] = {"agent": agent, "rules": rules, "seed": seed, "out": out, "progress": progress}
            made = label(neurons=wanted, stack=models, **options)
            check_labels([made.of(neuron).record for neuron in wanted], MOST_FAILED)
            named = {neuron: made.of(neuron).text for neuron in wanted if not made.of(neuron).failure}
        else:
            named = dict(read_sources(labels, models)[0].labels)
        rows = rank_neurons(models, neurons=list(named), labels=named, rules=rules or Rules(), block=block_of(seed))
        return Ranking(rows)


def names_of(known: Neurons, layer: str | Sequence[str] | None, neurons: Which) -> list[str]:
    """The neurons that somebody asks for, within the layers. Numbers are indices within a single layer.

    Raises:
        DnRError: there is no such layer or neuron.
    """
    layers = _layers(known, layer)
    inside = [name for name in known if not layers or _layer(name) in layers]
    if neurons is None:
        return inside
    if not isinstance(neurons, str) and isinstance(neurons, Iterable) and len(layers) == 1:
        prefix = inside[0].rpartition(":")[0]
        neurons = [one if isinstance(one, str) else f"{prefix}:{one}" for one in neurons]
    chosen = known.named(neurons)
    if outside := sorted(set(chosen) - set(inside), key=known.index):
        raise DnRError(f"`neurons` must lie in the layers {', '.join(layers)} (got {outside[0]})")
    return chosen


def _layers(known: Neurons, layer: str | Sequence[str] | None) -> list[str]:
    """The layers that names and patterns choose; none for None."""
    names = list(dict.fromkeys(map(_layer, known)))
    chosen: list[str] = []
    for one in [layer] if isinstance(layer, str) else list(layer or ()):
        found = [one] if one in names else layers_like(one, names) or [one.removesuffix(".sae")]
        if found[0] not in names:
            raise unknown("layer", one, names)
        chosen += found
    return chosen


def _layer(neuron: str) -> str:
    return neuron.rpartition(":")[0].removesuffix(".sae")


def usable_seeds(option: str, seeds: Sequence[int]) -> tuple[int, ...]:
    """Seeds of episodes, each once.

    Raises:
        DnRError: there is none, one is no whole number of at least 0, or two draw the same images.
    """
    for seed in seeds:
        if isinstance(seed, bool) or not isinstance(seed, Integral) or seed < 0:
            raise DnRError(f"`{option}` must be a whole number of at least 0 (got {seed!r})")
    if not seeds:
        raise DnRError(f"`{option}` must name at least one seed (got none)")
    distinct = tuple(dict.fromkeys(int(seed) for seed in seeds))
    if len({block_of(seed) for seed in distinct}) < len(distinct):
        raise DnRError(f"`{option}` must differ modulo {EVALUATION_BLOCKS}, or two draw alike (got {list(seeds)})")
    return distinct
