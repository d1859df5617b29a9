"""The networks of the confirmation: as preregistered, trainable, and neurons drawn from all their layers."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from confirm_networks import NETWORKS, NEURONS, PLANTED, FreshNetwork, neurons_of, table_of

from dnr_env import load_stack
from dnr_env.neurons import split_of
from dnr_env.scenes.widths import WIDTHS
from dnr_env.stack import Stack

ROOT = Path(__file__).parents[2]


def test_the_preregistration_says_what_is_trained() -> None:
    page = (ROOT / "docs" / "study" / "preregistration.md").read_text(encoding="utf-8")
    assert table_of(NETWORKS) in page
    assert f"{NEURONS} of each network, {NEURONS * len(NETWORKS)} in all" in page
    assert NEURONS * len(NETWORKS) >= 300


def test_the_preregistration_says_which_policy_plays() -> None:
    page = (ROOT / "docs" / "study" / "preregistration.md").read_text(encoding="utf-8")
    trainings = sorted((ROOT / "benchmarks" / "policy").iterdir())
    assert [folder.name for folder in trainings] == ["seed-0", "seed-1", "seed-2"]
    for folder in trainings:
        digest = hashlib.sha256((folder / "policy.safetensors").read_bytes()).hexdigest()
        card = json.loads((folder / "policy.json").read_bytes())
        (row,) = [line for line in page.splitlines() if line.startswith(f"| {folder.name} ")]
        _, _, steps, said, _ = (cell.strip() for cell in row.split("|"))
        assert said == digest
        assert steps.split()[0] == str(card["trained_steps"])
    (command,) = re.findall(r"--agents (.*?) benchmarks/policy", page.replace("\\\n", ""))
    tuned = [agent for agent in command.split() if f"`{agent}`" in page]
    assert tuned == command.split()


def test_networks_differ_and_those_of_a_world_stand_together() -> None:
    assert len({network.name for network in NETWORKS}) == len({network.seed for network in NETWORKS}) == 12
    assert [network.world for network in NETWORKS] == ["shapes"] * 6 + ["scenes"] * 6
    assert Counter(network.architecture for network in NETWORKS[6:]) == dict.fromkeys(WIDTHS, 2)
    shipped = {("shapes", 0), ("shapes", 1), ("scenes", 0), ("scenes", 1), ("scenes", 2)}
    assert not shipped & {(network.world, network.seed) for network in NETWORKS}


@pytest.mark.slow
@pytest.mark.parametrize("network", [NETWORKS[0], NETWORKS[-1]], ids=lambda network: network.name)
def test_the_training_script_makes_a_network_that_can_be_studied(
    network: FreshNetwork, tmp_path: Path, scene_weights: None
) -> None:
    short = replace(network, steps=2)
    (tmp_path / "networks").mkdir()
    command = [sys.executable, "-m", *short.training(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    neurons = load_stack(short.stack(tmp_path)).neurons
    for layer, width in enumerate(network.widths, 1):
        assert sum(name.startswith(f"layer{layer}:") for name in neurons) == width


def test_neurons_are_of_all_layers_vary_and_are_the_same_every_time(stack: Stack) -> None:
    chosen = neurons_of(stack, 7)
    assert len(set(chosen)) == len(chosen) == NEURONS
    assert Counter(name.split(":")[0] for name in chosen) == {
        "planted": PLANTED, "layer1": 6, "layer2": 6, "layer3": 6, "layer4": 6,
    }  # fmt: skip
    assert {split_of(name) for name in chosen if name.startswith("planted")} == {"test"}
    assert stack.probe.alive[stack.neurons.indices(chosen)].all()
    assert neurons_of(stack, 7) == chosen != neurons_of(stack, 8)
