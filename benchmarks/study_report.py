"""Tables and plots of the study, from the records of its comparisons."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from agents.bounds import least_images
from agents.compare import contestants, optimal_values
from agents.learned import LearnedAgent
from agents.plots import plot_curves, plot_differences, plot_profiles
from agents.results import Record, Results, images_to_reach, markdown, shown
from agents.statistics import Interval, iqm_interval, mean_interval, probability_of_improvement
from dnr_env import Rules, load_stack
from dnr_env.files import make_folder, read_lines, write_atomically
from dnr_env.judge import IMAGES, judge
from dnr_env.stacks import Stack

POLICY, SHIPPED, ORACLE = "policy", "learned", "oracle"
_SHARES = (0.9, 0.95, 0.98)


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
            read_lines(self.folder / "results.jsonl", ("agent", "member", "policy", "neuron", "seed", "return"))
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
        return Results(records, optimal_values(stack, neurons, rules)), rules, stack


Found = Mapping[str, tuple[Results, Rules, Stack]]
"""The comparisons of a study, by their names, as `Comparison.read` gives them."""


def with_member(results: Results, agent: str, member: str, name: str) -> Results:
    """A comparison with one more agent: a member of another."""
    more = [{**r, "agent": name} for key, r in results.cells.items() if key[:2] == (agent, member)]
    return Results([*more, *results.cells.values()], results.optima)


def everybody(results: Results, image_cost: float) -> str:
    """Return, judge score, images, share of the optimum, regret and attributes of all agents.

    The first measurement is free to all; agents that label without one would be spared its bill.
    """
    rows = []
    for agent in results.ranked():
        values, added = results.table(agent, "value"), results.mean(agent, "added_images")
        billed = results.mean(agent, "return") - image_cost * (results.mean(agent, "images") - added)
        rows.append(
            [
                agent,
                shown(mean_interval(results.table(agent, "return"))),
                f"{billed:.4f}",
                shown(mean_interval(values), 3),
                shown(iqm_interval(values), 3),
                f"{added:.1f}",
                shown(results.fraction(agent), 3),
                shown(results.regret(agent)),
                f"{results.mean(agent, 'simulation'):.3f}",
                shown(results.f1(agent), 3),
            ]
        )
    headings = (
        "agent",
        "return",
        "all images billed",
        "judge score",
        "IQM of it",
        "images added",
        "of optimum",
        "regret",
        "simulation",
        "F1",
    )
    return markdown(headings, rows)


def apart(results: Results, policy: str) -> str:
    """What a policy is ahead of every other agent, paired."""
    ours = results.table(policy, "return")
    rows = []
    for agent in results.ranked():
        if agent in (POLICY, SHIPPED):
            continue
        better = probability_of_improvement(ours, results.table(agent, "return"))
        rows.append(
            [
                agent,
                shown(results.difference(policy, agent, "return")),
                shown(results.difference(policy, agent, "value")),
                shown(results.difference(policy, agent, "added_images"), 1),
                shown(better, 2),
            ]
        )
    return markdown((f"`{policy}` less", "return", "judge score", "images", f"P({policy} is better)"), rows)


def images(results: Results, loops: Sequence[str]) -> str:
    """Images that agents need to gain nearly what the best loop gains."""
    best = max(loops, key=lambda agent: results.mean(agent, "value"))
    target = float(results.gain_at(best, 10**9).mean())
    rows = []
    for agent in sorted([POLICY, SHIPPED, *loops], key=lambda agent: -results.mean(agent, "value")):
        reached = [images_to_reach(results, agent, share * target) for share in _SHARES]
        rows.append(
            [
                agent,
                f"{results.mean(agent, 'value'):.4f}",
                f"{results.mean(agent, 'added_images'):.1f}",
                *("never" if limit is None else str(limit) for limit in reached),
                shown(results.area(agent, 100)),
            ]
        )
    said = (
        f"The loop with the best judge score is `{best}`, with {results.mean(best, 'added_images'):.1f} images; its "
        f"labels gain {target:.4f} on held-out images. At which limit on images does an agent gain a share of that?\n\n"
    )
    headings = (
        "agent",
        "judge score",
        "images drawn",
        *(f"{s:.0%} of it" for s in _SHARES),
        "mean gain, 0 to 99 images",
    )
    return said + markdown(headings, rows)


def bound(results: Results, rules: Rules, stack: Stack) -> str:
    """Images drawn by best-arm identification among the first candidates, beside the lower bound."""
    names = stack.lab.reader.neurons
    found = stack.propose([names.index(neuron) for neuron in results.neurons], rules.n_slots)
    least = []
    for neuron, proposal in zip(results.neurons, found, strict=True):
        verdicts = judge(
            stack, [neuron] * len(proposal.concepts), proposal.concepts, rules.score, rules.images_per_measure
        )
        sigma = float(np.sqrt(np.mean([IMAGES * v.error**2 for v in verdicts])))
        least.append(least_images([v.value for v in verdicts], sigma))
    quarter, median, three_quarters = np.percentile(least, (25, 50, 75))
    rows = []
    for agent in results.agents:
        if agent.split(":")[0] in ("stop", "halving", "lucb", "top-two", "dnd", POLICY):
            total, value = results.mean(agent, "images"), results.mean(agent, "value")
            rows.append([agent, f"{total:.1f}", f"{value:.3f}"])
    said = (
        f"To name the best of the first candidates with 95% confidence takes at least {median:,.0f} images on the "
        f"median test neuron (quartiles {quarter:,.0f} and {three_quarters:,.0f}), by the bound of Garivier and "
        "Kaufmann.\n\n"
    )
    return said + markdown(("agent", "images, initial ones included", "judge score"), rows)


def transfer(found: Found, names: Sequence[str], policy: str, shipped: str, tuned: str) -> str:
    """One row a setting: a policy, the best of the others, the best of the tuned loops; is the policy above all others?

    Args:
        found: the study's comparisons.
        names: of the settings.
        policy: POLICY or SHIPPED.
        shipped: the member that SHIPPED is.
        tuned: the loop that was best on the validation neurons.
    """
    rows = []
    for name in names:
        results = with_member(found[f"transfer-{name}"][0], POLICY, shipped, SHIPPED)
        others = [agent for agent in results.ranked() if agent not in (POLICY, SHIPPED, ORACLE)]
        rows.append(
            [
                name,
                shown(mean_interval(results.table(policy, "return"))),
                f"{results.mean(policy, 'added_images'):.1f}",
                f"{others[0]} ({results.mean(others[0], 'added_images'):.1f} images)",
                shown(results.difference(policy, others[0], "return")),
                shown(results.difference(policy, tuned, "return")),
                "yes" if results.mean(policy, "return") > results.mean(others[0], "return") else "no",
            ]
        )
    less = f"`{policy}` less"
    headings = (
        "setting",
        f"return of `{policy}`",
        "images",
        "best other",
        f"{less} it",
        f"{less} `{tuned}`",
        "above all",
    )
    return markdown(headings, rows)


def everywhere(found: Found, names: Sequence[str]) -> str:
    """Mean return of every agent in every setting."""
    settings = {name: found[name if name == "test" else f"transfer-{name}"][0] for name in ("test", *names)}
    agents = settings["test"].ranked()
    rows = [[agent, *(f"{results.mean(agent, 'return'):.4f}" for results in settings.values())] for agent in agents]
    return markdown(("agent", *settings), rows)


def attributes(results: Results) -> str:
    """F1 of the attributes of planted neurons."""
    f1 = {agent: found for agent in results.agents if (found := results.f1(agent))}
    rows = [
        [
            agent,
            shown(f1[agent], 3),
            f"{results.mean(agent, 'added_images'):.1f}",
            f"{results.planted(agent, 'precision'):.3f}",
            f"{results.planted(agent, 'recall'):.3f}",
            *("" if agent == ours else shown(results.f1_difference(ours, agent), 3) for ours in (POLICY, SHIPPED)),
        ]
        for agent in sorted(f1, key=lambda agent: -f1[agent].estimate)
    ]
    less = (f"`{ours}` less it" for ours in (POLICY, SHIPPED))
    return markdown(("agent", "F1", "images", "precision", "recall", *less), rows)


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
            shown(mean_interval(results.table(agent, "return"))),
            f"{results.mean(agent, 'value'):.4f}",
            f"{results.mean(agent, 'added_images'):.1f}",
            "" if agent == last else shown(results.difference(agent, last, "return")),
            "" if agent == last else shown(results.difference(agent, last, "value")),
        ]
        for agent in results.ranked()
    ]
    headings = (
        "agent",
        "trainings",
        "return",
        "judge score",
        "images",
        f"return less `{last}`",
        f"judge score less `{last}`",
    )
    return markdown(headings, rows)


def settings(searched: Mapping[str, Sequence[Path]]) -> str:
    """Settings of the learner, and what the best policy of each training came to on the validation neurons."""
    cards = {name: [LearnedAgent.load(folder).card for folder in folders] for name, folders in searched.items()}
    returns = {name: float(np.mean([card["validation_return"] for card in found])) for name, found in cards.items()}
    rows = [
        [
            name,
            *(f"{cards[name][0][key]:g}" for key in ("learning_rate", "entropy", "gamma")),
            cards[name][0]["network"],
            str(len(cards[name])),
            f"{returns[name]:.4f}",
        ]
        for name in sorted(returns, key=lambda name: -returns[name])
    ]
    headings = ("settings", "learning rate", "entropy bonus", "discount", "network", "trainings", "validation return")
    return markdown(headings, rows)


def graded(found: Found, shipped: str) -> dict[str, dict[str, list[float]]]:
    """What the card of the shipped policy says of it: estimates with 95% intervals."""
    test = with_member(found["test"][0], POLICY, shipped, SHIPPED)
    named = {}
    for said, name in (("F1", "planted"), ("F1 at a price of 0", "planted-free")):
        f1 = with_member(found[f"transfer-{name}"][0], POLICY, shipped, SHIPPED).f1(SHIPPED)
        assert f1
        named[said] = _numbers(f1)
    keys = {"return": "return", "judge score": "value", "images": "added_images"}
    grades = {name: mean_interval(test.table(SHIPPED, key)) for name, key in keys.items()}
    return {
        "test neurons": {name: _numbers(interval) for name, interval in grades.items()},
        "planted neurons, grounded_k": named,
    }


def _numbers(interval: Interval) -> list[float]:
    return [round(number, 4) for number in (interval.estimate, interval.low, interval.high)]


def write_report(
    found: Found,
    folder: Path,
    transfers: Sequence[str],
    chosen: Sequence[str],
    shipped: str,
    searched: Mapping[str, Sequence[Path]],
) -> None:
    """Write the tables and plots of docs/results.

    Args:
        found: the study's comparisons.
        folder: where they go.
        transfers: names of the transfer settings.
        chosen: the tuned loops, the nearest family's first.
        shipped: the member of the policy that the package has.
        searched: folders of the policies of each setting of the learner.
    """
    make_folder(folder)
    test, rules, stack = found["test"]
    loops = [
        a for a in test.agents if a.split(":")[0].split("@")[0] in ("line", "patience", "lookahead", "annealed", "dnr")
    ]
    both = with_member(test, POLICY, shipped, SHIPPED)
    tables = {
        "test": everybody(both, rules.image_cost),
        "differences": apart(both, POLICY),
        "differences-shipped": apart(both, SHIPPED),
        "images": images(both, loops),
        "bound": bound(test, rules, stack),
        **{
            name: transfer(found, transfers, policy, shipped, chosen[0])
            for name, policy in (("transfer", POLICY), ("transfer-shipped", SHIPPED))
        },
        "everywhere": everywhere(found, transfers),
        "attributes": attributes(with_member(found["transfer-planted"][0], POLICY, shipped, SHIPPED)),
        "attributes-free": attributes(with_member(found["transfer-planted-free"][0], POLICY, shipped, SHIPPED)),
        "scores": scores(found),
        "settings": settings(searched),
        "variants": variants(found["variants"][0]),
        "with-user": variants(found["with-user"][0]),
        "unpaired": variants(found["unpaired"][0]),
    }
    for name, text in tables.items():
        write_atomically(folder / f"{name}.md", (text + "\n").encode())
    near = [agent for agent in test.ranked() if agent not in (POLICY, "constant", "random-label")][:14]
    plot_differences(test, POLICY, near, folder / "differences.png")
    plot_profiles(test, folder / "profiles.png")
    some = {POLICY, "lookahead@informed", "dnr", "clip-dissect", *chosen[:5]}
    curves = Results([r for key, r in test.cells.items() if key[0] in some], test.optima)
    plot_curves(curves, folder / "images.png")
