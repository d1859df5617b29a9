"""The parts of the benchmarks that run quickly."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import bench

from dnr_env.stack import Stack

ROOT = Path(__file__).parents[2]


def test_a_plain_loop_labels_neurons_as_concepts(stack: Stack) -> None:
    neurons = [stack.neurons.index(neuron) for neuron in ("layer4:3", "planted:0")]
    labels = bench.dnd_loop(neurons, share_probe=True)
    assert [stack.language.normalise(label) for label in labels] == labels
    assert labels[0] != labels[1]


def test_the_script_that_times_an_agent_counts_its_images(stack: Stack) -> None:
    command = [sys.executable, "-c", bench.LABEL, "stop", str(stack.neurons.index("layer4:3"))]
    said = json.loads(subprocess.run(command, cwd=ROOT, capture_output=True, check=True, text=True).stdout)
    assert len(said["labels"]) == 1
    assert said["drawn"] >= 0
    assert said["seconds"] > 0
