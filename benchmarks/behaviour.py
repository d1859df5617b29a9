"""What does a policy do? Counts its moves by what it sees.

    PYTHONPATH=. python benchmarks/behaviour.py --out results/behaviour

Plays a policy and a rule on the test neurons of both worlds at three prices, and writes Markdown tables:

- moves.md: how many moves of each kind an episode has, for the policy and the rule;
- seen-WORLD.md: the policy's moves by what it sees: the step, the headroom, what the best drawing is worth, the cover
  of the incumbent, the price;
- hidden.md: how many of the policy's decisions change when a group of observations is hidden from it, and how often the
  rule would have made the same move.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro
from study_settings import WORLDS

from dnr_env import DnRError, Rules, load_stack
from dnr_env.agents.base import Agent, Observation, State, column, price_of_keep, progress
from dnr_env.agents.gradient import ListingAgent
from dnr_env.agents.learned.features import GROUPS, MOVE_SETS, features, move_masks
from dnr_env.agents.learned.network import logits_of
from dnr_env.agents.learned.policy import LearnedAgent
from dnr_env.agents.registry import make_agent
from dnr_env.agents.training.cloning import places_of
from dnr_env.env.rules import Action
from dnr_env.evaluation.results import markdown
from dnr_env.evaluation.rollout import rollout
from dnr_env.files import make_folder, write_atomically
from dnr_env.interfaces import Kind
from dnr_env.types import BoolArray, FloatArray, IntArray

MOVES = ("KEEP of the incumbent", "KEEP of another", *(kind.name for kind in Kind), "ADD", "STOP")
_NARROW, _ADD, _STOP = 2, 2 + len(Kind), 3 + len(Kind)
BINS: dict[str, tuple[float, ...]] = {
    "step": (2, 4, 7, 10, 13, 19),
    "headroom": (0.0, 0.01, 0.03),
    "worth of the best drawing / its price": (0.5, 1, 2, 5),
    "coverage of the incumbent": (0.2, 0.4, 0.6),
    "precision of the incumbent": (0.3, 0.5, 0.7),
    "price of an image / 0.00005": (0.9, 1.1),
}
"""What a policy sees, and the bounds between its bins. A bin includes its lower bound."""


@dataclass(frozen=True)
class Options:
    """Count what a policy does."""

    out: Path
    """Folder of the tables."""
    policy: str = "learned"
    """The policy: `learned`, or the folder of a training."""
    rule: str = "turns:9"
    """The rule beside it."""
    neurons: str = "test"
    """The neurons."""
    seeds: tuple[int, ...] = (9, 10)
    """Seeds of the episodes."""
    prices: tuple[float, ...] = (0.00002, 0.00005, 0.00015)
    """Prices of an image."""


class Watched(Agent):
    """Plays as an agent does, and notes what it sees and what it does.

    Args:
        agent: The agent, of `DnR/RefineEdits-v0`.
        beside: The rule that is asked for its move in the same place, as if it had listed what the agent has.
    """

    def __init__(self, agent: Agent, beside: ListingAgent) -> None:
        self.agent, self.beside = agent, beside
        self.name, self.env_id, self.env_options = agent.name, agent.env_id, agent.env_options
        self.state_size = agent.state_size
        self.seen: list[FloatArray] = []
        """(bins,) of each decision."""
        self.moves: list[int] = []
        """Indices of `MOVES`."""
        self.alike: list[bool] = []
        """Whether the rule would have made the same move."""
        self.changed: dict[str, list[bool]] = {group: [] for group in GROUPS}
        """Whether the policy would move otherwise if it did not see a group of observations. Empty for rules."""
        self.episodes = 0

    def start(self, seeds: Sequence[int]) -> State:
        """Begin episodes, none of which has ended."""
        self.episodes += len(seeds)
        self._running = np.ones(len(seeds), bool)
        self._listed, self._step = np.zeros(len(seeds)), 0
        return self.agent.start(seeds)

    def act(
        self, observation: Observation, memory: FloatArray, masks: BoolArray | None, deterministic: bool
    ) -> IntArray:
        """Act as the agent does."""
        assert masks is not None
        actions = self.agent.act(observation, memory, masks, deterministic)
        rows = np.flatnonzero(self._running)
        self._step += 1
        asked = np.zeros((len(actions), self.beside.state_size + 1))
        asked[:, 0] = self._listed
        others = self.beside.act(observation, asked, masks, deterministic)
        self.seen += list(_seen(observation, self._step)[rows])
        self.moves += _named(actions)[rows].tolist()
        self.alike += _same(actions, others)[rows].tolist()
        if isinstance(self.agent, LearnedAgent):
            for group, changed in self.changed.items():
                blind = _blind(self.agent, observation, masks, group)
                changed += (~_same(actions, blind))[rows].tolist()
        self._listed += actions[:, 0] == Action.MUTATE
        self._running &= actions[:, 0] != Action.STOP
        return actions


def _blind(policy: LearnedAgent, observation: Observation, masks: BoolArray, group: str) -> IntArray:
    """(n, 3) the actions of a policy that does not see a group of observations."""
    logits = logits_of(policy.network, features(observation, (*policy.without, group)))
    best: IntArray = policy.moves[np.where(move_masks(masks, policy.moves), logits, -np.inf).argmax(axis=1)]
    return best


def _seen(observation: Observation, step: int) -> FloatArray:
    """(n, bins) what is seen, in the order of `BINS`."""
    price = progress(observation, "image_cost") / 1000
    worth = column(observation, "worth").max(axis=1) / price_of_keep(observation)
    cover = [column(observation, name)[:, 0] for name in ("coverage", "precision")]
    return np.column_stack((np.full(len(price), step), progress(observation, "headroom"), worth, *cover, price / 5e-5))


def _named(actions: IntArray) -> IntArray:
    """(n,) the index in `MOVES` of actions (n, 3)."""
    action, slot, kind = actions.T
    found = np.where(action == Action.KEEP, np.minimum(slot, 1), _NARROW + kind)
    return np.where(action == Action.ADD, _ADD, np.where(action == Action.STOP, _STOP, found))


def _same(actions: IntArray, others: IntArray) -> BoolArray:
    """(n,) whether two moves are the same for a policy."""
    one, other = places_of(actions, MOVE_SETS["edits"]), places_of(others, MOVE_SETS["edits"])
    same: BoolArray = (one == other) & (one >= 0)
    return same


def watched(agent: Agent, rule: ListingAgent, world: str, options: Options) -> Watched:
    """Play an agent at each price."""
    watching = Watched(agent, rule)
    stack = load_stack(world)
    jobs = [(name, seed) for name in stack.neurons.named(options.neurons) for seed in options.seeds]
    for price in options.prices:
        for _ in rollout(watching, jobs, stack=stack, rules=Rules(image_cost=price), mutator="informed"):
            pass
    return watching


def moves_table(found: Mapping[str, Sequence[Watched]]) -> str:
    """Tabulate the moves by world and agent."""
    rows = []
    for world, agents in found.items():
        for one in agents:
            counts = np.bincount(one.moves, minlength=len(MOVES))
            rows.append([world, one.name, *(f"{count / one.episodes:.2f}" for count in counts)])
    return markdown(("world", "agent", *MOVES), rows)


def seen_table(one: Watched) -> str:
    """Tabulate the shares of the moves by what is seen. Moves that are never made are left out."""
    moves, seen = np.array(one.moves), np.stack(one.seen)
    made = [move for move in range(len(MOVES)) if (moves == move).any()]
    rows = []
    for values, (name, bounds) in zip(seen.T, BINS.items(), strict=True):
        bins = np.digitize(values, bounds)
        for place in sorted(set(bins)):
            inside = moves[bins == place]
            shares = (f"{np.mean(inside == move):.0%}" for move in made)
            rows.append([name, _between(bounds, place), str(len(inside)), *shares])
    return markdown(("sees", "of", "decisions", *(MOVES[move] for move in made)), rows)


def _between(bounds: Sequence[float], place: int) -> str:
    """Say what a bin holds: the lower bound is in it, the upper is not."""
    if place == 0:
        return f"below {bounds[0]:g}"
    return f"{bounds[place - 1]:g} " + (f"to {bounds[place]:g}" if place < len(bounds) else "or more")


def hidden_table(found: Mapping[str, Watched]) -> str:
    """Tabulate how many decisions change without a group of observations, and how many are the rule's."""
    rows = [
        [world, f"{np.mean(one.alike):.1%}", *(f"{np.mean(changed):.1%}" for changed in one.changed.values())]
        for world, one in found.items()
    ]
    rule = next(iter(found.values())).beside.name
    return markdown(("world", f"as `{rule}`", *(f"change without {group}" for group in GROUPS)), rows)


def main() -> None:
    """Play, and write the tables."""
    options = tyro.cli(Options)
    policies: dict[str, Watched] = {}
    every: dict[str, list[Watched]] = {}
    try:
        make_folder(options.out)
        for world in WORLDS:
            rule = make_agent(options.rule)
            if not isinstance(rule, ListingAgent):
                raise DnRError(f"`rule` must be a rule that lists before it draws (got {options.rule!r})")
            policies[world] = watched(make_agent(options.policy), rule, world, options)
            every[world] = [policies[world], watched(rule, rule, world, options)]
        tables = {"moves": moves_table(every), "hidden": hidden_table(policies)}
        tables |= {f"seen-{world}": seen_table(one) for world, one in policies.items()}
        for name, text in tables.items():
            print(f"{name}\n\n{text}\n")
            write_atomically(options.out / f"{name}.md", f"{text}\n".encode())
    except DnRError as error:
        sys.exit(f"behaviour.py: {error}")


if __name__ == "__main__":
    main()
