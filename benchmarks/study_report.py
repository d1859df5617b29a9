"""The report of the study: its tables and plots, and the numbers on the card of the shipped policy."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from study_comparisons import ORACLE, POLICY, PROMISE, SHIPPED, Found, with_hindsight, with_member
from study_tables import (
    apart,
    attributes,
    bound,
    everybody,
    everywhere,
    ladder,
    scores,
    transfer,
    variants,
    with_user,
)

from dnr_env.evaluation.plots import plot_differences, plot_profiles, plot_quality
from dnr_env.evaluation.results import Results
from dnr_env.evaluation.statistics import Interval, mean_interval
from dnr_env.files import make_folder, write_atomically


def graded(found: Found, shipped: str) -> dict[str, dict[str, list[float]]]:
    """Evaluate the shipped policy for its card: estimates with 95% intervals."""
    test = with_member(found["test"][0], POLICY, shipped, SHIPPED)
    f1 = with_member(found["transfer-planted"][0], POLICY, shipped, SHIPPED).f1(SHIPPED)
    assert f1
    keys = {"net value": "net", "judge score": "value", "images drawn": "images"}
    grades = {name: mean_interval(test.table(SHIPPED, key)) for name, key in keys.items()}
    return {
        "test neurons": {name: _numbers(interval) for name, interval in grades.items()},
        "planted neurons": {"F1": _numbers(f1)},
    }


def _numbers(interval: Interval) -> list[float]:
    return [round(number, 4) for number in (interval.estimate, interval.low, interval.high)]


def write_report(
    found: Found,
    folder: Path,
    transfers: Sequence[str],
    chosen: Sequence[str],
    best: str,
    shipped: str,
) -> None:
    """Write the tables and plots of docs/explanation/results.

    Args:
        found: The study's comparisons.
        folder: Folder of the tables and plots.
        transfers: Names of the transfer settings.
        chosen: The tuned member of each family.
        best: The rule that is best of all on the validation neurons.
        shipped: The member of the policy that the package ships.
    """
    make_folder(folder)
    test, rules, stack = found["test"]
    both = with_member(test, POLICY, shipped, SHIPPED)
    planted = with_member(found["transfer-planted"][0], POLICY, shipped, SHIPPED)
    tables = {
        "test": everybody(both),
        "ladder": ladder(with_hindsight(test, rules, stack), best),
        "differences": apart(both, POLICY, [SHIPPED]),
        "differences-shipped": apart(both, SHIPPED, [POLICY]),
        "differences-promise": apart(both, PROMISE, [SHIPPED]),
        "sceptic": apart(found["sceptic"][0], POLICY),
        "bound": bound(test, rules, stack),
        **{
            name: transfer(found, transfers, policy, shipped)
            for name, policy in (("transfer", POLICY), ("transfer-shipped", SHIPPED))
        },
        "everywhere": everywhere(found, transfers),
        "attributes": attributes(planted),
        "scores": scores(found),
        "variants": variants(found["variants"][0]),
        "with-user": with_user({name: results for name, (results, _, _) in found.items() if name.startswith("user-")}),
    }
    for name, text in tables.items():
        write_atomically(folder / f"{name}.md", (text + "\n").encode())
    near = [agent for agent in test.ranked() if agent not in (POLICY, "constant", "random-label")][:14]
    plot_differences(test, POLICY, near, folder / "differences.png")
    plot_profiles(test, folder / "profiles.png")
    some = {POLICY, PROMISE, "stop", "dnr", "dnd", "clip-dissect", "linear-joined", ORACLE, *chosen[:6]}
    shortened = Results([r for key, r in test.cells.items() if key[0] in some], test.optima)
    plot_quality(shortened, folder / "quality.png")
