"""What the sentences on a world's headroom count."""

from __future__ import annotations

import numpy as np
from headroom import room

from dnr_env.evaluation.results import Results

BEST = [0.5, 0.6, 0.7, 0.8]  # by neuron
BELOW = {"stop": [0.4, 0.2, 0.3, 0.01], "promise": [0.1, 0.2, 0.0, 0.01], "hindsight": [0.0] * 4, "weak": [0.3] * 4}
PRICE = 0.05


def test_the_way_the_solved_and_the_best_rule_are_counted() -> None:
    records = [
        {
            "agent": agent, "member": "", "neuron": f"layer1:{neuron}", "seed": seed,
            "value": best - below[neuron], "net": best - below[neuron] - PRICE * (agent == "strong"),
        }
        for agent, below in {**BELOW, "strong": [0.1] * 4}.items()
        for neuron, best in enumerate(BEST) for seed in (1, 2)
    ]  # fmt: skip
    optima = {f"layer1:{neuron}": np.full(2, best) for neuron, best in enumerate(BEST)}
    said = " ".join(room(Results(records, optima), ("weak", "strong")))
    assert "4 neurons, 2 blocks" in said
    assert "optimum: 0.2275." in said
    assert "goes 66% of it" in said  # 0.60 of 0.91
    assert "Solved at reset: 25%; by the label of the model alone: 50%; by the best label of any agent: 100%" in said
    assert "`strong`. Hindsight less its net value: 0.1500 [" in said
    assert "images aside: 0.1000 [" in said
