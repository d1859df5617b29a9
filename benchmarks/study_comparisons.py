"""The comparisons of the study, read back from their folders."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from dnr_env import Rules, load_stack
from dnr_env.evaluation.compare import contestants, optimal_values
from dnr_env.evaluation.judge import IMAGES, agreement, judge
from dnr_env.evaluation.results import Record, Results
from dnr_env.files import read_lines
from dnr_env.seeds import block_of
from dnr_env.stack import Stack

POLICY, SHIPPED, ORACLE, PROMISE, HINDSIGHT = "policy", "learned", "oracle", "promise", "hindsight"


@dataclass(frozen=True)
class Comparison:
    """A comparison by evaluate.py. Its folder may also hold records of other agents, seeds or policies."""

    folder: Path
    agents: tuple[str, ...]
    seeds: tuple[int, ...]

    def fingerprints(self) -> list[str]:
        """Identify the agents and their policies, in order."""
        return [" ".join(contestant.key) for contestant in contestants(self.agents)]

    def records(self) -> list[Record]:
        """Read the records of this comparison, in the order of its agents."""
        lines: list[Record] = list(
            read_lines(self.folder / "results.jsonl", ("agent", "member", "policy", "neuron", "seed", "net"))
        )
        place = {contestant.key: i for i, contestant in enumerate(contestants(self.agents))}
        mine = [r for r in lines if (r["agent"], r["member"], r["policy"]) in place and r["seed"] in self.seeds]
        return sorted(mine, key=lambda r: place[r["agent"], r["member"], r["policy"]])

    def read(self) -> tuple[Results, Rules, Stack]:
        """Read the results, and the rules and the stack that they were made with."""
        settings = json.loads((self.folder / "settings.json").read_bytes())
        stack = load_stack(settings["stack"])
        rules = Rules(**{name: settings[name] for name in Rules.__dataclass_fields__})
        records = self.records()
        neurons = list(dict.fromkeys(r["neuron"] for r in records))
        return Results(records, optimal_values(stack, neurons, self.seeds, rules)), rules, stack


Found = Mapping[str, tuple[Results, Rules, Stack]]
"""The comparisons of a study by name, as `Comparison.read` returns them."""


def with_member(results: Results, agent: str, member: str, name: str) -> Results:
    """Add an agent to a comparison: one member of another agent, under a new name."""
    more = [{**r, "agent": name} for key, r in results.cells.items() if key[:2] == (agent, member)]
    return Results([*more, *results.cells.values()], results.optima)


def with_hindsight(results: Results, rules: Rules, stack: Stack) -> Results:
    """Add the agent `hindsight`: of all labels that any agent chose for a neuron, the best by the judge.

    It pays nothing. The blocks of drawings are dealt into two halves. The label that is best on average on one half is
    valued on the other, so that hindsight does not profit from the luck of its own drawings. `oracle` is left out.
    """
    named: dict[str, dict[str, None]] = {neuron: {} for neuron in results.neurons}
    for (agent, _, neuron, _), record in results.cells.items():
        if agent != ORACLE:
            named[neuron][record["label"]] = None
    halves = results.seeds[::2], results.seeds[1::2]
    records = []
    for neuron, labels in named.items():
        cells = [(label, seed) for label in labels for seed in results.seeds]
        verdicts = judge(
            stack,
            neurons=[neuron] * len(cells),
            labels=[label for label, _ in cells],
            rules=rules,
            blocks=[block_of(seed) for _, seed in cells],
        )
        found = dict(zip(cells, verdicts, strict=True))
        for half, other in (halves, halves[::-1]):
            best = max(labels, key=lambda label: sum(found[label, seed].value or 0.0 for seed in half))
            for seed in other:
                verdict = found[best, seed]
                free = {
                    "images": 0,
                    "reward_images": 0,
                    "judge_images": IMAGES,
                    "return": 0.0,
                    "curve": [[0, 0.0, 0.0]],
                }
                paid = {"net": verdict.value, "judge_net": verdict.judge_value}
                named_by = {
                    "agent": HINDSIGHT,
                    "member": "",
                    "policy": "",
                    "neuron": neuron,
                    "seed": seed,
                    "label": best,
                }
                records.append(
                    {**named_by, **free, **paid, **asdict(verdict), **agreement(stack, neuron, best)._asdict()}
                )
    return Results([*records, *results.cells.values()], results.optima)
