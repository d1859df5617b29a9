"""Tables of the study, as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from bounds import least_images
from study_comparisons import HINDSIGHT, ORACLE, POLICY, PROMISE, SHIPPED, Found, with_member
from study_settings import WORLDS

from dnr_env import Rules
from dnr_env.evaluation.judge import IMAGES, judge
from dnr_env.evaluation.results import Results, correction, f1_score, markdown, shown
from dnr_env.evaluation.statistics import difference_interval, mean_interval, probability_of_improvement
from dnr_env.seeds import block_of
from dnr_env.stack import Stack


def everybody(results: Results) -> str:
    """Tabulate net value by both embedders, judge score, images, share of the optimum and attributes of all agents.

    Every image of the search is billed. The images of rewards and judge belong to the evaluation and are not.
    """
    rows = [
        [
            agent,
            shown(mean_interval(results.table(agent, "net"))),
            shown(mean_interval(results.table(agent, "judge_net"))),
            shown(mean_interval(results.table(agent, "value")), 3),
            f"{results.mean(agent, 'images'):.1f}",
            f"{results.mean(agent, 'reward_images') + results.mean(agent, 'judge_images'):.0f}",
            shown(results.fraction(agent), 3),
            shown(results.f1(agent), 3),
        ]
        for agent in results.ranked()
    ]
    headings = (
        "agent",
        "net value",
        "by the judge's embedder",
        "judge score",
        "images drawn",
        "images of reward and judge",
        "of optimum",
        "F1",
    )
    return markdown(headings, rows)


def ladder(results: Results, rule: str) -> str:
    """Tabulate what deciding is worth: nothing drawn, the best rule, the policy, hindsight, and each step up.

    Args:
        results: The comparison, with the agent `hindsight`.
        rule: The rule that was best on the validation neurons.
    """
    rungs = (PROMISE, rule, POLICY, HINDSIGHT)
    rows = []
    for below, agent in zip(("", *rungs), rungs, strict=False):
        row = [agent]
        for key in ("net", "judge_net"):
            row.append(shown(mean_interval(results.table(agent, key))))
            row.append(shown(results.difference(agent, below, key)) if below else "")
        rows.append([*row, f"{results.mean(agent, 'images'):.1f}", shown(results.f1(agent), 3)])
    headings = (
        "rung", "net value", "more than the rung below", "net value by the judge's embedder", "more than below",
        "images drawn", "F1",
    )  # fmt: skip
    return markdown(headings, rows)


def apart(results: Results, agent: str, leave: Sequence[str] = ()) -> str:
    """Tabulate the paired differences between an agent and all others, corrected for their number.

    Args:
        results: The comparison.
        agent: The agent whose values come first.
        leave: Agents that are left out.
    """
    others = [other for other in results.ranked() if other not in (agent, *leave)]
    nets, values = results.differences(agent, others, "net"), results.differences(agent, others, "judge_net")
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
        "net value by the judge's embedder",
        "adjusted p of it",
        "images",
        f"P({agent} is better)",
    )
    return said + markdown(headings, rows)


def bound(results: Results, rules: Rules, stack: Stack) -> str:
    """Tabulate the images that best-arm identification draws, next to the lower bound."""
    names = stack.neurons
    found = stack.proposer.propose([names.index(neuron) for neuron in results.neurons], rules.n_slots)
    least = []
    for neuron, proposal in zip(results.neurons, found, strict=True):
        verdicts = judge(
            stack,
            neurons=[neuron] * len(proposal.concepts),
            labels=proposal.concepts,
            rules=Rules(score=rules.score, images_per_measure=rules.images_per_measure),
            blocks=[block_of(results.seeds[0])] * len(proposal.concepts),
        )
        values, errors = (np.array([getattr(v, name) for v in verdicts], float) for name in ("value", "error"))
        least.append(least_images(values.tolist(), float(np.sqrt(IMAGES * np.mean(errors**2)))))
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
    """Tabulate, for each setting, a policy next to `promise` and to the best other agent.

    Args:
        found: The study's comparisons.
        names: Names of the settings.
        policy: `POLICY` or `SHIPPED`.
        shipped: The member of `POLICY` that is shipped.
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
    """Tabulate the mean net value of every agent that played in every setting."""
    tests = {world: found[f"test-{world}"][0] for world in WORLDS}
    settings = {**tests, **{name: found[f"transfer-{name}"][0] for name in names}}
    agents = [agent for agent in tests[WORLDS[0]].ranked() if all(agent in one.agents for one in settings.values())]
    rows = [[agent, *(f"{results.mean(agent, 'net'):.4f}" for results in settings.values())] for agent in agents]
    return markdown(("agent", *settings), rows)


def attributes(results: Results) -> str:
    """Tabulate the F1 of the attributes of planted neurons, and the share of parts named.

    Labels of `shapes` have no parts. A formula of one part counts, too.
    """
    f1 = {agent: found for agent in results.agents if (found := results.f1(agent))}
    rows = [
        [
            agent,
            shown(f1[agent], 3),
            f"{results.mean(agent, 'images'):.1f}",
            f"{results.planted(agent, 'precision'):.3f}",
            f"{results.planted(agent, 'recall'):.3f}",
            "" if (parts := results.planted(agent, "parts")) is None else f"{parts:.3f}",
            *("" if agent == ours else shown(results.f1_difference(ours, agent), 3) for ours in (POLICY, SHIPPED)),
        ]
        for agent in sorted(f1, key=lambda agent: -f1[agent].estimate)
    ]
    less = (f"`{ours}` less it" for ours in (POLICY, SHIPPED))
    return markdown(("agent", "F1", "images drawn", "precision", "recall", "parts named", *less), rows)


def by_kind(results: Results, truth: Mapping[str, str]) -> str:
    """Tabulate the F1 and the share of the parts named by the kind of formula of planted neurons of `scenes`.

    Args:
        results: The comparison on planted neurons.
        truth: The formula of each neuron.
    """
    kinds: dict[str, list[str]] = {}
    for neuron in results.neurons:
        kinds.setdefault(kind_of(truth[neuron]), []).append(neuron)
    rows = []
    for agent in sorted(results.agents, key=lambda agent: -results.f1(agent).estimate):  # type: ignore[union-attr]
        row = [agent, f"{results.mean(agent, 'images'):.1f}", shown(results.f1(agent), 3)]
        for kind, neurons in kinds.items():
            row.append(f"{results.table(agent, f1_score, neurons).mean():.3f}")
            if kind in SEVERAL:
                row[-1] += f", {results.table(agent, 'parts', neurons).mean():.2f}"
        several = [neuron for kind in SEVERAL for neuron in kinds.get(kind, [])]
        rows.append([*row, shown(mean_interval(results.table(agent, "parts", several)), 2)])
    headings = (f"{kind} ({len(neurons)})" for kind, neurons in kinds.items())
    return markdown(("agent", "images drawn", "F1", *headings, "parts of unions and sums"), rows)


SEVERAL = ("unions", "sums")
"""The kinds of formulas that have several parts."""


def kind_of(formula: str) -> str:
    """The kind of a formula of `scenes`."""
    marks = {" + ": "sums", " | ": "unions", "!": "exceptions"}
    return next((kind for mark, kind in marks.items() if mark in formula), "noun phrases")


def scores(found: Found) -> str:
    """Tabulate how the score of the search affects the labels of planted neurons."""
    rows = []
    for name, (results, rules, _) in found.items():
        if name.startswith("score-"):
            for agent in results.agents:
                auc, simulation = results.mean(agent, "auc"), results.mean(agent, "simulation")
                rows.append([rules.score, agent, shown(results.f1(agent), 3), f"{auc:.3f}", f"{simulation:.3f}"])
    rows.sort(key=lambda row: row[2], reverse=True)  # as text: from 0.000 to 1.000
    return markdown(("score", "agent", "F1 of attributes", "AUC", "simulation"), rows)


def variants(results: Results) -> str:
    """Tabulate all agents next to the last one."""
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


def with_user(found: Mapping[str, Results]) -> str:
    """Tabulate what a user's concepts are worth to each agent, by how often they are good.

    Args:
        found: The comparisons by name, that without a user first.
    """
    names = list(found)
    nobody = found[names[0]]
    rows = []
    for name in names:
        for agent in found[name].agents:
            results = found[name]
            cells = [record for (who, *_), record in results.cells.items() if who == agent]
            row = [name.rpartition("-")[2], agent, shown(mean_interval(results.table(agent, "net")))]
            if name != names[0]:
                row.append(shown(difference_interval(results.table(agent, "net"), nobody.table(agent, "net"))))
            else:
                row.append("")
            share = np.mean([record["origin"] == "user" for record in cells])
            rows.append([*row, f"{results.mean(agent, 'images'):.1f}", f"{share:.2f}"])
    headings = ("good concepts", "agent", "net value", "more than without a user", "images drawn", "labels of the user")
    return markdown(headings, rows)
