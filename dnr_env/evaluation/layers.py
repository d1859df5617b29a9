"""A summary of each layer: how many of its neurons are named well, named too narrowly, polysemantic or dead."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from dnr_env.evidence.probe import EXEMPLARS, Probe
from dnr_env.files import csv_table, write_atomically
from dnr_env.stack import Stack
from dnr_env.types import FloatArray

KINDS = ("named well", "too narrow", "polysemantic", "unnamed", "dead")
"""The kinds of neurons:

- named well: the label foretells which real images excite the neuron, and its drawings excite it, where there are any;
- too narrow: its drawings excite the neuron, but most real images that do so show something else;
- polysemantic: the label does not foretell, and the neuron's exemplars fall into two groups;
- unnamed: none of these;
- dead: the neuron is constant, or its activations are not finite.
"""
FORETELLS = 0.3
"""The simulation from which a label foretells. The best published method reaches means of .3 to .4 over the neurons of
a trained network (Linear Explanations with SigLIP on ResNet-50; Oikarinen and Weng 2024)."""
EXCITES = 0.8
"""The AUC from which drawings excite. 0.5 is chance; CoSy reports means of .9 for good methods (Kopf et al. 2024)."""
COLUMNS = ("layer", "neurons", *KINDS, "simulation", "auc")
_SMALLEST = 3
"""The fewest exemplars of a group."""
_NULL = 400
"""Random sets of real images that exemplars are compared with."""

LayerRow = dict[str, Any]


def layers_of(stack: Stack, records: Sequence[Mapping[str, Any]]) -> list[LayerRow]:
    """Summarise each layer with the neurons that have a label.

    Args:
        stack: what labelled.
        records: of `label_neurons`.

    Returns:
        A row per layer, in the order of the records: the number of neurons of each kind, the mean simulation, and the
        mean AUC, which is None where nothing was drawn. Dead neurons do not count in the means.
    """
    groups, rows = Groups(stack.probe), []
    layers: dict[str, list[Mapping[str, Any]]] = {}
    for record in records:
        layers.setdefault(record["neuron"].rpartition(":")[0], []).append(record)
    for layer, inside in layers.items():
        kinds = Counter(kind_of(record, groups.split(stack.neurons.index(record["neuron"]))) for record in inside)
        alive = [record for record in inside if record["alive"]]
        rows.append(
            {
                "layer": layer,
                "neurons": len(inside),
                **{kind: kinds[kind] for kind in KINDS},
                "simulation": _mean([record["simulation"] for record in alive]),
                "auc": _mean([record["auc"] for record in alive if record["auc"] is not None]),
            }
        )
    return rows


def kind_of(record: Mapping[str, Any], split: bool) -> str:
    """The kind of a neuron, one of KINDS.

    Args:
        record: of `label_neurons`.
        split: whether its exemplars fall into two groups.
    """
    if not record["alive"]:
        return "dead"
    excites = record["auc"] is None or record["auc"] >= EXCITES
    if excites and record["simulation"] >= FORETELLS:
        return "named well"
    if split and record["simulation"] < FORETELLS:
        return "polysemantic"
    return "too narrow" if excites and record["auc"] is not None else "unnamed"


class Groups:
    """Finds neurons whose exemplars fall into two groups.

    Args:
        probe: the real images.
    """

    def __init__(self, probe: Probe) -> None:
        self.probe = probe

    def split(self, neuron: int) -> bool:
        """Whether the exemplars part more clearly than 95 of 100 random sets of as many real images."""
        exemplars = self.probe.exemplars[neuron]
        return len(exemplars) == EXEMPLARS and parting(self.probe.embeddings[exemplars]) > self._chance

    @cached_property
    def _chance(self) -> float:
        rng, embeddings = np.random.default_rng(0), self.probe.embeddings
        chosen = (rng.choice(len(embeddings), EXEMPLARS, replace=False) for _ in range(_NULL))
        return float(np.quantile([parting(embeddings[one]) for one in chosen], 0.95))


def parting(embeddings: FloatArray) -> float:
    """The mean silhouette of the best partition into two groups of at least three.

    Args:
        embeddings: (EXEMPLARS, dim), unit vectors. Distances are cosine distances.

    Returns:
        Between -1 and 1; 0 for images without differences.

    Source: Rousseeuw 1987, "Silhouettes". All partitions are tried.
    """
    count = len(embeddings)
    distances = 1 - embeddings.astype(np.float64) @ embeddings.T
    np.fill_diagonal(distances, 0)
    inside = _partitions(count)
    size = inside.sum(axis=1, keepdims=True)
    to_inside, to_outside = inside @ distances, (1 - inside) @ distances
    own = np.where(inside, to_inside / (size - 1), to_outside / (count - size - 1))
    other = np.where(inside, to_outside / (count - size), to_inside / size)
    larger = np.maximum(own, other)
    rounding = 1e-6  # of float32 embeddings
    return float(np.where(larger > rounding, (other - own) / np.maximum(larger, rounding), 0).mean(axis=1).max())


def _partitions(count: int) -> FloatArray:
    """(partitions, count) 1 for the members of the smaller group."""
    sizes = range(_SMALLEST, count // 2 + 1)
    groups = [group for size in sizes for group in itertools.combinations(range(count), size)]
    made = np.zeros((len(groups), count))
    for row, group in zip(made, groups, strict=True):
        row[list(group)] = 1
    return made


def write_layers(rows: Sequence[LayerRow], path: Path) -> None:
    """The summary as CSV."""
    write_atomically(path, csv_table(COLUMNS, rows))


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None
