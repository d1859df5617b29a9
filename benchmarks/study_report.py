"""The report of the study: its tables and plots, and the numbers on the card of the shipped policy."""

from __future__ import annotations

from pathlib import Path

from study_comparisons import ORACLE, POLICY, PROMISE, SHIPPED, Found, with_hindsight, with_member
from study_settings import EVERYWHERE, WORLDS
from study_steps import Chosen
from study_tables import (
    apart,
    attributes,
    bound,
    by_kind,
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
    """Evaluate the shipped policy for its card: estimates with 95% intervals, on the test neurons of each world."""
    grades = {}
    for world in WORLDS:
        test = with_member(found[f"test-{world}"][0], POLICY, shipped, SHIPPED)
        keys = {"net value": "net", "judge score": "value", "images drawn": "images"}
        intervals = {name: mean_interval(test.table(SHIPPED, key)) for name, key in keys.items()}
        f1 = test.f1(SHIPPED)
        assert f1
        grades[f"test neurons of {world}"] = {name: _numbers(one) for name, one in {**intervals, "F1": f1}.items()}
    return grades


def _numbers(interval: Interval) -> list[float]:
    return [round(number, 4) for number in (interval.estimate, interval.low, interval.high)]


def write_report(found: Found, folder: Path, chosen: Chosen, shipped: str) -> None:
    """Write the tables and plots of docs/explanation/results.

    Args:
        found: The study's comparisons.
        folder: Folder of the tables and plots.
        chosen: The agents that were best on the validation neurons.
        shipped: The member of the policy that the package ships.
    """
    make_folder(folder)
    tables: dict[str, str] = {}
    for world in WORLDS:
        test, rules, stack = found[f"test-{world}"]
        both = with_member(test, POLICY, shipped, SHIPPED)
        users = {name: one for name, (one, _, _) in found.items() if name.startswith(f"user-{world}-")}
        more = {
            "test": everybody(both),
            "ladder": ladder(with_hindsight(test, rules, stack), chosen.rule),
            "differences": apart(both, POLICY, [SHIPPED]),
            "differences-shipped": apart(both, SHIPPED, [POLICY]),
            "differences-promise": apart(both, PROMISE, [SHIPPED]),
            "variants": variants(found[f"variants-{world}"][0]),
            "attributes": attributes(both),
            "with-user": with_user(users),
        }
        tables.update({f"{name}-{world}": text for name, text in more.items()})
        near = [agent for agent in test.ranked() if agent not in (POLICY, "constant", "random-label")][:14]
        plot_differences(test, POLICY, near, folder / f"differences-{world}.png")
        plot_profiles(test, folder / f"profiles-{world}.png")
        tuned = [chosen.families[name] for name in EVERYWHERE]
        some = {POLICY, PROMISE, "stop", "dnr", "dnd", "linear-joined", ORACLE, *tuned}
        shortened = Results([r for key, r in test.cells.items() if key[0] in some], test.optima)
        plot_quality(shortened, folder / f"quality-{world}.png")
    elsewhere = [name.removeprefix("transfer-") for name in found if name.startswith("transfer-")]
    tables |= {
        "sceptic": apart(found["sceptic"][0], POLICY),
        "bound": bound(*found["test-shapes"]),
        "transfer": transfer(found, elsewhere, POLICY, shipped),
        "transfer-shipped": transfer(found, elsewhere, SHIPPED, shipped),
        "everywhere": everywhere(found, elsewhere),
        "scores": scores(found),
    }
    planted, _, stack = found["transfer-scenes-planted"]
    truth = {neuron: formula for neuron in planted.neurons if (formula := stack.known.truth(neuron))}
    tables["by-kind-scenes"] = by_kind(with_member(planted, POLICY, shipped, SHIPPED), truth)
    for name, text in tables.items():
        write_atomically(folder / f"{name}.md", (text + "\n").encode())
