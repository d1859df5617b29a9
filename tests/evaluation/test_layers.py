"""The summary of a layer: kinds of neurons, and exemplars that fall into two groups."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dnr_env
from dnr_env.evaluation.layers import COLUMNS, KINDS, Groups, kind_of, layers_of, parting, write_layers
from dnr_env.evidence.probe import Probe
from dnr_env.stack import Stack
from dnr_env.types import FloatArray


def unit(rows: FloatArray) -> FloatArray:
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


def silhouette(embeddings: FloatArray, group: set[int]) -> float:
    """By the definition, point by point."""
    total = 0.0
    places = range(len(embeddings))
    for i in places:
        own = [1 - embeddings[i] @ embeddings[j] for j in places if j != i and (j in group) == (i in group)]
        other = [1 - embeddings[i] @ embeddings[j] for j in places if (j in group) != (i in group)]
        a, b = float(np.mean(own)), float(np.mean(other))
        total += (b - a) / max(a, b)
    return total / len(embeddings)


@pytest.mark.parametrize("seed", range(3))
def test_the_best_partition_is_that_of_the_definition(seed: int) -> None:
    embeddings = unit(np.random.default_rng(seed).normal(size=(10, 4)))
    groups = [set(group) for size in (3, 4, 5) for group in itertools.combinations(range(10), size)]
    assert parting(embeddings) == pytest.approx(max(silhouette(embeddings, group) for group in groups), abs=1e-5)


def test_equal_images_do_not_part() -> None:
    assert parting(unit(np.ones((10, 4)))) == 0


def test_two_kinds_of_exemplars_are_found_and_one_is_not() -> None:
    """Neuron 0 likes the images of either of two kinds, neuron 1 those of one, neuron 2 none in particular."""
    rng = np.random.default_rng(0)
    kinds = rng.integers(20, size=600)
    embeddings = unit(np.eye(20)[kinds] + 0.1 * rng.normal(size=(600, 20)))
    noise = 0.1 * rng.random((600, 3))
    activations = np.column_stack([np.isin(kinds, (3, 7)), kinds == 3, np.zeros(600)]) + noise
    groups = Groups(Probe("", activations.astype(np.float32), embeddings, lambda indices: []))
    assert [groups.split(neuron) for neuron in range(3)] == [True, False, False]


@pytest.mark.parametrize(
    ("auc", "simulation", "split", "alive", "kind"),
    [
        (0.95, 0.5, False, True, "named well"),
        (0.95, 0.5, True, True, "named well"),
        (None, 0.5, False, True, "named well"),
        (0.95, 0.1, False, True, "too narrow"),
        (0.95, 0.1, True, True, "polysemantic"),
        (None, 0.1, True, True, "polysemantic"),
        (None, 0.1, False, True, "unnamed"),
        (0.6, 0.5, True, True, "unnamed"),
        (0.6, 0.1, False, True, "unnamed"),
        (0.95, 0.5, True, False, "dead"),
    ],
)
def test_kinds(auc: float | None, simulation: float, split: bool, alive: bool, kind: str) -> None:
    assert kind_of({"auc": auc, "simulation": simulation, "alive": alive}, split) == kind


def test_a_row_counts_every_neuron_once(stack: Stack, tmp_path: Path) -> None:
    records: list[dict[str, Any]] = [
        {"neuron": neuron, "auc": auc, "simulation": simulation, "alive": alive}
        for neuron, auc, simulation, alive in [
            ("layer1:0", 0.9, 0.6, True),
            ("layer1:1", 0.9, 0.4, True),
            ("layer1:2", 0.5, 0.0, False),
            ("layer2:5", 0.6, 0.1, True),
        ]
    ]
    rows = layers_of(stack, records)
    assert [(row["layer"], row["neurons"]) for row in rows] == [("layer1", 3), ("layer2", 1)]
    assert [sum(row[kind] for kind in KINDS) for row in rows] == [3, 1]
    assert (rows[0]["named well"], rows[0]["dead"]) == (2, 1)
    assert rows[0]["simulation"] == pytest.approx(0.5)
    assert rows[0]["auc"] == pytest.approx(0.9)
    write_layers(rows, tmp_path / "layers.csv")
    assert (tmp_path / "layers.csv").read_text().splitlines()[0] == ",".join(COLUMNS)


def test_labels_of_several_layers_are_summarised_and_those_of_one_are_not(tmp_path: Path) -> None:
    page = dnr_env.label(neurons="layer1:0,layer2:0-1", progress=False).save(tmp_path / "two")
    assert [line.split(",")[:2] for line in (tmp_path / "two" / "layers.csv").read_text().splitlines()[1:]] == [
        ["layer1", "1"],
        ["layer2", "2"],
    ]
    assert 'src="layers.png"' in page.read_text()
    assert (tmp_path / "two" / "layers.png").stat().st_size > 1000
    page = dnr_env.label(neurons="layer1:0", progress=False).save(tmp_path / "one")
    assert "layers.png" not in page.read_text()
    assert not (tmp_path / "one" / "layers.csv").exists()
