"""Records of comparisons."""

from __future__ import annotations

from typing import Any


def record(agent: str, member: str, neuron: int, seed: int, value: float) -> dict[str, Any]:
    """Make a record with one value."""
    return {"agent": agent, "member": member, "neuron": f"layer4:{neuron}", "seed": seed, "value": value}


def episode(agent: str, member: str, neuron: int, seed: int, gains: list[float]) -> dict[str, Any]:
    """Make the record of an episode that draws five images per gain."""
    curve = [[5 * i, gain, 0.0] for i, gain in enumerate([0.0, *gains])]
    return {**record(agent, member, neuron, seed, 0.0), "curve": curve, "images": 5 * len(gains)}
