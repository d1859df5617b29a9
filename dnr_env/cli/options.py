"""The options of each command."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import tyro

from dnr_env.env.rules import Rules


@dataclass(frozen=True)
class Stacked:
    """Options of every command."""

    stack: str = "shapes"
    """The models: shapes, scenes or a variant, turbo, sd15, or a YAML file. Settings may follow, as in
    "turbo probe.images=photos target.layers=layer3" or "shapes infidelity=0.2"."""


@dataclass(frozen=True)
class Scored(Stacked):
    """Options of every command that plays episodes."""

    score: str = "grounded_k"
    """The score of a concept."""
    budget: int = 100
    """The number of images that may be drawn for a neuron."""
    image_cost: float = Rules.image_cost
    """The price of one image, in units of the score. Every image that the search draws is billed."""

    @property
    def rules(self) -> Rules:
        """The environment's rules."""
        return Rules(score=self.score, budget=self.budget, image_cost=self.image_cost)


@dataclass(frozen=True, kw_only=True)
class Compare(Scored):
    """Agents x neurons x seeds: a table with intervals, paired differences, plots and a report."""

    out: Path
    """The folder of the results. Episodes that it already holds are not played again."""
    agents: tuple[str, ...] = ("stop", "dnd", "dnr", "rounds:1@informed", "promise", "learned")
    """learned, gradient, improve, turns, kinds, cover, shortlist:N:TIMES, stop, random, dnd, dnr, annealed, patience:N,
    rounds:N, line:N, lookahead, until:SIGNAL:X:LEAST:MOST, halving, lucb, top-two, promise, clip-dissect, linear,
    linear-joined, constant, random-label, oracle, python:FILE.py:CLASS, or the folder of a run of dnr-train, which
    stands for the policies of all its seeds; human:FOLDER stands for people's sessions. dnr@informed is the loop dnr
    with the mutator informed. The last agent is compared with each of the others."""
    neurons: str = "test"
    """A split, a layer, or neurons such as layer4:0-9,planted:test."""
    seeds: tuple[int, ...] = (1, 2)
    """The seeds of the episodes. Each has its own block of image seeds, and there are 16 of these."""
    dollar_cost: float = Rules.dollar_cost
    """The price of one US dollar that a language model costs for mutations, in units of the score."""
    user_concepts: str | None = None
    """A file of concepts, or simulated:QUALITY."""

    @property
    def rules(self) -> Rules:
        """The environment's rules."""
        return replace(super().rules, dollar_cost=self.dollar_cost)


@dataclass(frozen=True)
class Labelling(Scored):
    """Options of the command that labels, and of its plan."""

    agent: str = "promise"
    """The agent that labels, as in compare. promise takes the word of the vocabulary that fits the real images best,
    and draws nothing. dnr draws images, and asks the captioner and the language model."""
    neurons: str = "test"
    """A split, a layer, or neurons such as layer4:0-9,planted:test."""


@dataclass(frozen=True, kw_only=True)
class Label(Labelling):
    """Label neurons: labels.jsonl, labels.csv, exemplars.csv and report.html."""

    out: Path
    """The folder of the results. Neurons that it already holds are not labelled again."""
    seed: int = 0
    """The seed of the episodes."""
    user_concepts: str | None = None
    """A file of concepts, or simulated:QUALITY."""
    most_failed: float = 0.2
    """The largest share of neurons that may fail. The command stops before it draws anything if the language model has
    no answer for more, and ends with exit code 1 if more have no label."""


@dataclass(frozen=True)
class Plan(Labelling):
    """Print what `label` would take at most: captions, calls, images, GPU time, dollars."""


@dataclass(frozen=True, kw_only=True)
class Rank(Scored):
    """Score and rank the label of every neuron in a layer with six methods (Table 1 of the DnR report)."""

    out: Path
    """The folder of the results."""
    layer: str = "layer4"
    """The layer."""
    agent: str = "promise"
    """The agent that labels."""
    seed: int = 0
    """The seed of the episodes."""


@dataclass(frozen=True, kw_only=True)
class Calibrate(Stacked):
    """Measure how promises and drawings of this stack foretell values: a file for its setting `calibration`. It needs a
    generator, and draws about 900 images a neuron, which the store keeps.
    """

    out: Path
    """The file that is written."""
    neurons: str = "train"
    """A split, a layer, or neurons such as layer4:0-99. Neurons that do not vary are left out."""
    limit: int = 200
    """The most neurons, spread evenly over those given."""


@dataclass(frozen=True, kw_only=True)
class Exemplars(Stacked):
    """Show the real images that excite each neuron most, with heat maps, a histogram of its activations and images at
    their quantiles: exemplars.csv and a page. No captioner, generator, language model or embedder is needed.
    """

    out: Path
    """The folder of the results."""
    neurons: str = "all"
    """A split, a layer, or neurons such as layer4:0-9,planted:test."""


@dataclass(frozen=True, kw_only=True)
class Judge(Stacked):
    """Score labels from any source, and compare them: judged.csv, means.csv, differences.csv and report.html."""

    labels: tyro.conf.Positional[tuple[Path, ...]]
    """CSV files with the columns neuron and label, or layer, unit and label; or explanation files of CoSy. The last of
    several is compared with each of the others."""
    out: Path
    """The folder of the results."""
    neurons: str | None = None
    """The neurons whose labels are judged, as in label; all of the files' if not given."""
    layer: str | None = None
    """The layer of files that give indices without a layer, or by another name."""
    score: str = "grounded_k"
    """The score of a label."""
    seed: int = 0
    """The seed of the images that the labels are judged on."""

    @property
    def rules(self) -> Rules:
        """The rules that name the score."""
        return Rules(score=self.score)


@dataclass(frozen=True, kw_only=True)
class Play(Scored):
    """Label neurons yourself, in the terminal."""

    out: Path
    """The file of the session."""
    neurons: str | None = None
    """The neurons to label, one after the other; if not given, those of the file, or layer4:test for a new one."""
    seed: int = 0
    """The seed of the episodes."""


@dataclass(frozen=True, kw_only=True)
class Serve(Scored):
    """Label neurons yourself, on a page in your browser. Nothing but this machine can reach it."""

    out: Path
    """The folder of the sessions, one file for each annotator."""
    neurons: str = "layer4:test"
    """The neurons to label."""
    annotator: tuple[str, ...] = ("me",)
    """Who labels. Each has a link and a session of their own."""
    blind: bool = False
    """Hide what models say of a neuron until the person has added a concept of their own."""
    shuffle: bool = False
    """Give each annotator the neurons in an order of their own."""
    repeats: int = 0
    """How many neurons each annotator labels twice, to see whether they agree with themselves."""
    seed: int = 0
    """The seed of the episodes."""
    port: int = 8765
    """The port; 0 takes a free one."""
    browser: bool = True
    """Open the first annotator's page."""


@dataclass(frozen=True, kw_only=True)
class Rate(Stacked):
    """Ask people how well labels fit, on a page in their browser. Nothing but this machine can reach it."""

    labels: tyro.conf.Positional[tuple[Path, ...]]
    """CSV files with the columns neuron and label, or layer, unit and label; or explanation files of CoSy. Labels may
    be any text. The last of several is compared with each of the others."""
    out: Path
    """The folder of the answers, one file for each annotator."""
    annotator: tuple[str, ...] = ("me",)
    """Who rates. Each has a link, and an order of their own."""
    pairs: bool = False
    """Show two labels side by side, the last file's and another's, and ask which fits better."""
    items: int = 40
    """The most screens for each annotator, with the repeated ones."""
    repeats: int = 4
    """How many of these show an item again, to see whether annotators agree with themselves."""
    control: bool = True
    """Add labels of other neurons, which should not fit."""
    neurons: str = "all"
    """The neurons to choose from: a split, a layer, or neurons such as layer4:0-9. All files must label them."""
    layer: str | None = None
    """The layer of files that give indices without a layer, or by another name."""
    consent: Path | None = None
    """A text file that annotators agree to, with empty lines between paragraphs, instead of the built-in text."""
    seed: int = 0
    """The seed of the choice of neurons and controls."""
    port: int = 8765
    """The port; 0 takes a free one."""
    browser: bool = True
    """Open the first annotator's page."""


@dataclass(frozen=True)
class Ratings:
    """Analyse the answers of `dnr rate`: ratings.csv, means.csv, differences.csv and annotators.csv beside them."""

    folder: Annotated[Path, tyro.conf.Positional]
    """The folder that `dnr rate` wrote."""


@dataclass(frozen=True, kw_only=True)
class Site:
    """Make a static site of the labels of `dnr label`: an index to search, and a page for each neuron."""

    results: Annotated[Path, tyro.conf.Positional]
    """The folder that `dnr label` wrote."""
    out: Path
    """The folder of the site."""
    stack: str | None = None
    """The stack; by default the one that labelled."""
    title: str = "Neuron labels"
    """What the site is called."""


@dataclass(frozen=True, kw_only=True)
class ExportSessions:
    """Turn people's sessions into tables, with rewards on held-out images, and into a Minari data set."""

    sessions: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Logs of `dnr play` or `dnr serve`, or folders of them."""
    out: Path
    """The folder of decisions.csv and labels.csv."""
    minari: str | None = None
    """The name of a Minari data set to make, such as dnr/people-v0."""
    parquet: bool = False
    """Also write the tables as Parquet files."""


@dataclass(frozen=True)
class Store:
    """Show what the store holds, or forget the answers of a model and keep the images."""

    action: Annotated[Literal["show", "forget"], tyro.conf.Positional] = "show"
    """show counts the entries by kind; forget removes those of one model."""
    writer: str | None = None
    """With forget: the language model whose answers and candidates are forgotten, as `dnr store` names it."""
    captioner: str | None = None
    """With forget: the captioner whose captions are forgotten, with the candidates that were made of them."""


@dataclass(frozen=True)
class Doctor(Stacked):
    """Check that a stack has everything it needs. The exit code is 1 if something is missing."""

    load: bool = False
    """Also load every model, which downloads missing ones."""
