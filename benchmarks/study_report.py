"""Tables and plots of the study, from the records of its comparisons."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from agents.bounds import least_images
from agents.compare import contestants, optimal_values
from agents.plots import plot_differences, plot_profiles, plot_quality
from agents.results import Record, Results, correction, markdown, shown
from agents.statistics import Interval, mean_interval, probability_of_improvement
from dnr_env import Rules, load_stack
from dnr_env.files import make_folder, read_lines, write_atomically
from dnr_env.judge import IMAGES, judge
from dnr_env.seeds import block_of
from dnr_env.stacks import Stack

POLICY, SHIPPED, ORACLE, PROMISE = "policy", "learned", "oracle", "promise"


@dataclass(frozen=True)
class Comparison:
    """A comparison of evaluate.py: its folder may hold records of others too, of other agents, seeds or policies."""

    folder: Path
    agents: tuple[str, ...]
    seeds: tuple[int, ...]

    def fingerprints(self) -> list[str]:
        """Which agents and policies these are, in order."""
        return [" ".join(contestant.key) for contestant in contestants(self.agents)]

    def records(self) -> list[Record]:
        """Its own records, in the order of its agents."""
        lines: list[Record] = list(
            read_lines(self.folder / "results.jsonl", ("agent", "member", "policy", "neuron", "seed", "net"))
        )
        place = {contestant.key: i for i, contestant in enumerate(contestants(self.agents))}
        mine = [r for r in lines if (r["agent"], r["member"], r["policy"]) in place and r["seed"] in self.seeds]
        return sorted(mine, key=lambda r: place[r["agent"], r["member"], r["policy"]])

    def read(self) -> tuple[Results, Rules, Stack]:
        """Its results, and what they were made with."""
        settings = json.loads((self.folder / "settings.json").read_bytes())
        stack = load_stack(settings["stack"])
        rules = Rules(**{name: settings[name] for name in Rules.__dataclass_fields__})
        records = self.records()
        neurons = list(dict.fromkeys(r["neuron"] for r in records))
        return Results(records, optimal_values(stack, neurons, self.seeds, rules)), rules, stack


Found = Mapping[str, tuple[Results, Rules, Stack]]
"""The comparisons of a study, by their names, as `Comparison.read` gives them."""


def with_member(results: Results, agent: str, member: str, name: str) -> Results:
    """A comparison with one more agent: a member of another."""
    more = [{**r, "agent": name} for key, r in results.cells.items() if key[:2] == (agent, member)]
    return Results([*more, *results.cells.values()], results.optima)


def everybody(results: Results) -> str:
    """Net value, judge score, images, share of the optimum, simulation and attributes of all agents.

    Every image of the search is billed, the first measurement included. The images of rewards and judge are those of
    the evaluation: who labels pays for none of them.
    """
    rows = [
        [
            agent,
            shown(mean_interval(results.table(agent, "net"))),
            shown(mean_interval(results.table(agent, "value")), 3),
            f"{results.mean(agent, 'images'):.1f}",
            f"{results.mean(agent, 'reward_images') + results.mean(agent, 'judge_images'):.0f}",
            shown(results.fraction(agent), 3),
            f"{results.mean(agent, 'simulation'):.3f}",
            shown(results.f1(agent), 3),
        ]
        for agent in results.ranked()
    ]
    headings = (
        "agent",
        "net value",
        "judge score",
        "images drawn",
        "images of reward and judge",
        "of optimum",
        "simulation",
        "F1",
    )
    return markdown(headings, rows)


def apart(results: Results, agent: str, leave: Sequence[str] = ()) -> str:
    """By how much an agent is ahead of every other, paired, corrected for their number.

    Args:
        results: a comparison.
        agent: who.
        leave: others that are not compared.
    """
    others = [other for other in results.ranked() if other not in (agent, *leave)]
    nets, values = results.differences(agent, others, "net"), results.differences(agent, others, "value")
    rows = [
        [
            other,
            shown(nets[other]),
            f"{nets[other].adjusted:.4f}",
            shown(values[other]),
            f"{values[other].adjusted:.4f}",
            f"{results.mean(agent, 'images') - results.mean(other, 'images'):.1f}",
            shown(probability_of_improvement(results.table(agent, "net"), results.table(other, "net")), 2),
        ]
        for other in others
    ]
    said = f"Brackets are {correction(len(others))}; p-values are corrected likewise, each column on its own.\n\n"
    headings = (
        f"`{agent}` less",
        "net value",
        "adjusted p of net value",
        "judge score",
        "adjusted p of judge score",
        "images",
        f"P({agent} is better)",
    )
    return said + markdown(headings, rows)


def bound(results: Results, rules: Rules, stack: Stack) -> str:
    """Images drawn by best-arm identification among the first candidates, beside the lower bound."""
    names = stack.lab.reader.neurons
    found = stack.propose([names.index(neuron) for neuron in results.neurons], rules.n_slots)
    least = []
    for neuron, proposal in zip(results.neurons, found, strict=True):
        verdicts = judge(
            stack,
            [neuron] * len(proposal.concepts),
            proposal.concepts,
            rules.score,
            rules.images_per_measure,
            blocks=[block_of(results.seeds[0])] * len(proposal.concepts),
        )
        sigma = float(np.sqrt(np.mean([IMAGES * v.error**2 for v in verdicts])))
        least.append(least_images([v.value for v in verdicts], sigma))
    quarter, median, three_quarters = np.percentile(least, (25, 50, 75))
    rows = []
    for agent in results.agents:
        if agent.split(":")[0] in ("stop", "halving", "lucb", "top-two", POLICY):
            total, value = results.mean(agent, "images"), results.mean(agent, "value")
            rows.append([agent, f"{total:.1f}", f"{value:.3f}"])
    said = (
        f"To name the best of the first candidates with 95% confidence takes at least {median:,.0f} images on the "
        f"median test neuron (quartiles {quarter:,.0f} and {three_quarters:,.0f}), by the bound of Garivier and "
        "Kaufmann.\n\n"
    )
    return said + markdown(("agent", "images drawn", "judge score"), rows)


def transfer(found: Found, names: Sequence[str], policy: str, shipped: str) -> str:
    """One row a setting: a policy beside the label of real images alone and the best other agent of all.

    Args:
        found: the study's comparisons.
        names: of the settings.
        policy: POLICY or SHIPPED.
        shipped: the member that SHIPPED is.
    """
    rows = []
    for name in names:
        results = with_member(found[f"transfer-{name}"][0], POLICY, shipped, SHIPPED)
        others = [agent for agent in results.ranked() if agent not in (POLICY, SHIPPED, ORACLE, PROMISE)]
        nothing, best = (results.difference(policy, other, "net") for other in (PROMISE, others[0]))
        value = results.difference(policy, PROMISE, "value")
        rows.append(
            [
                name,
                shown(mean_interval(results.table(policy, "net"))),
                f"{results.mean(policy, 'images'):.1f}",
                shown(nothing),
                shown(value),
                f"{others[0]} ({results.mean(others[0], 'images'):.1f} images)",
                shown(best),
            ]
        )
    less = f"`{policy}` less"
    headings = (
        "setting",
        f"net value of `{policy}`",
        "images drawn",
        f"{less} `{PROMISE}`",
        "the same, judge score",
        "best other in hindsight",
        f"{less} it",
    )
    return markdown(headings, rows)


def everywhere(found: Found, names: Sequence[str]) -> str:
    """Mean net value of every agent in every setting."""
    settings = {name: found[name if name == "test" else f"transfer-{name}"][0] for name in ("test", *names)}
    agents = settings["test"].ranked()
    rows = [[agent, *(f"{results.mean(agent, 'net'):.4f}" for results in settings.values())] for agent in agents]
    return markdown(("agent", *settings), rows)


def attributes(results: Results) -> str:
    """F1 of the attributes of planted neurons."""
    f1 = {agent: found for agent in results.agents if (found := results.f1(agent))}
    rows = [
        [
            agent,
            shown(f1[agent], 3),
            f"{results.mean(agent, 'images'):.1f}",
            f"{results.planted(agent, 'precision'):.3f}",
            f"{results.planted(agent, 'recall'):.3f}",
            *("" if agent == ours else shown(results.f1_difference(ours, agent), 3) for ours in (POLICY, SHIPPED)),
        ]
        for agent in sorted(f1, key=lambda agent: -f1[agent].estimate)
    ]
    less = (f"`{ours}` less it" for ours in (POLICY, SHIPPED))
    return markdown(("agent", "F1", "images drawn", "precision", "recall", *less), rows)


def scores(found: Found) -> str:
    """What the score of the search does to the labels of planted neurons."""
    rows = []
    for name, (results, rules, _) in found.items():
        if name.startswith("score-"):
            for agent in results.agents:
                auc, simulation = results.mean(agent, "auc"), results.mean(agent, "simulation")
                rows.append([rules.score, agent, shown(results.f1(agent), 3), f"{auc:.3f}", f"{simulation:.3f}"])
    rows.sort(key=lambda row: row[2], reverse=True)  # as text: from 0.000 to 1.000
    return markdown(("score", "agent", "F1 of attributes", "AUC", "simulation"), rows)


def variants(results: Results) -> str:
    """All agents beside the last one."""
    last = results.reference
    rows = [
        [
            agent,
            str(len(results.members[agent])),
            shown(mean_interval(results.table(agent, "net"))),
            f"{results.mean(agent, 'value'):.4f}",
            f"{results.mean(agent, 'images'):.1f}",
            "" if agent == last else shown(results.difference(agent, last, "net")),
            "" if agent == last else shown(results.difference(agent, last, "value")),
        ]
        for agent in results.ranked()
    ]
    headings = (
        "agent",
        "trainings",
        "net value",
        "judge score",
        "images drawn",
        f"net value less `{last}`",
        f"judge score less `{last}`",
    )
    return markdown(headings, rows)


def graded(found: Found, shipped: str) -> dict[str, dict[str, list[float]]]:
    """What the card of the shipped policy says of it: estimates with 95% intervals."""
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
    shipped: str,
) -> None:
    """Write the tables and plots of docs/results.

    Args:
        found: the study's comparisons.
        folder: where they go.
        transfers: names of the transfer settings.
        chosen: the tuned members of the families.
        shipped: the member of the policy that the package has.
    """
    make_folder(folder)
    test, rules, stack = found["test"]
    both = with_member(test, POLICY, shipped, SHIPPED)
    planted = with_member(found["transfer-planted"][0], POLICY, shipped, SHIPPED)
    tables = {
        "test": everybody(both),
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
        "with-user": variants(found["with-user"][0]),
    }
    for name, text in tables.items():
        write_atomically(folder / f"{name}.md", (text + "\n").encode())
    near = [agent for agent in test.ranked() if agent not in (POLICY, "constant", "random-label")][:14]
    plot_differences(test, POLICY, near, folder / "differences.png")
    plot_profiles(test, folder / "profiles.png")
    some = {POLICY, PROMISE, "stop", "dnr", "dnd", "clip-dissect", "linear-joined", ORACLE, *chosen[:5]}
    shortened = Results([r for key, r in test.cells.items() if key[0] in some], test.optima)
    plot_quality(shortened, folder / "quality.png")
