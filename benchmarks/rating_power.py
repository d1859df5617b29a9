"""How large a difference `dnr rate` can find, with simulated annotators and two methods that differ by a known amount.

    PYTHONPATH=. python benchmarks/rating_power.py

The standard deviation of a label's quality is 0.9, that of an annotator's severity 0.4, and that of a rating's noise
0.8, so that the ratings of two annotators have a correlation of about 0.6, as in the scoring study of
Describe-and-Dissect.
"""

from __future__ import annotations

import numpy as np

from dnr_env.evaluation.results import markdown
from dnr_env.evaluation.statistics import Difference
from dnr_env.rating.analysis import differences
from dnr_env.rating.answers import Answer
from dnr_env.rating.plan import CONTROL, make_plan, screens

NEURONS = [f"layer:{i}" for i in range(80)]
FILES = {name: {neuron: f"{name} of {neuron}" for neuron in NEURONS} for name in ("one", "other")}
STUDIES = 60
EFFECT = 0.8


def study(annotators: int, items: int, effect: float, seed: int) -> Difference:
    """The difference between the two methods that a simulated study finds."""
    plan = make_plan(FILES, NEURONS, items=items, repeats=4, pairs=False, control=True, seed=seed)
    rng = np.random.default_rng(seed)
    means = {"one": 3.0, "other": 3.0 + effect, CONTROL: 1.5}
    quality = [means[item.sources[0][0]] + 0.9 * rng.normal() for item in plan.items]
    answered = {}
    for name in [f"p{i}" for i in range(annotators)]:
        severity = 0.4 * rng.normal()
        seen = [(screen, quality[screen.item] + severity + 0.8 * rng.normal()) for screen in screens(plan, name)]
        answered[name] = [Answer(screen, int(np.clip(np.rint(value), 1, 5)), 20.0) for screen, value in seen]
    (found,) = (one.difference for one in differences(plan, answered) if one.other == "one")
    return found


def main() -> None:
    """Print the table."""
    rows = []
    for annotators in (1, 3, 5, 10):
        for items in (40, 80):
            null, real = ([study(annotators, items, e, seed) for seed in range(STUDIES)] for e in (0.0, EFFECT))
            width = np.mean([(one.high - one.low) / 2 for one in null])
            shares = [f"{np.mean([one.adjusted < 0.05 for one in some]):.0%}" for some in (null, real)]
            rows.append([str(annotators), str(items), f"{width:.2f}", *shares])
            print(rows[-1], flush=True)
    columns = ("annotators", "items", "half-width of the interval", "found, effect 0", f"found, effect {EFFECT}")
    print(markdown(columns, rows))


if __name__ == "__main__":
    main()
