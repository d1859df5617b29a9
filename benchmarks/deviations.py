"""Would another move have been better? Repeats the episodes of a rule with one move changed.

    PYTHONPATH=. python benchmarks/deviations.py --out results/deviations

An episode of a rule is repeated from its start, with the same seeds and drawings, up to a step that chance decides.
There each repetition takes another allowed move, and then the rule goes on. What a repetition earns more than the
episode is the advantage of its move. OUT/deviations.md tabulates advantages on train neurons, by kind of move. The last
columns say whether they can be foretold: a network that sees what a policy sees, fitted to four fifths of the neurons,
foretells those of the others. If it could, a policy could be better than the rule by one move.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import tyro
from study_settings import WORLDS, split
from tqdm import tqdm

from dnr_env import DnRError, Rules, load_stack
from dnr_env.agents.base import Agent, Observation
from dnr_env.agents.learned.features import CONTEXT, MOVE_SETS, PER_SLOT, SLOTS, features, move_masks
from dnr_env.agents.registry import make_agent
from dnr_env.agents.training.cloning import places_of
from dnr_env.env.rules import Action
from dnr_env.evaluation.results import markdown
from dnr_env.evaluation.rollout import Job, rollout
from dnr_env.files import make_folder, write_atomically
from dnr_env.interfaces import Kind
from dnr_env.types import BoolArray, FloatArray, IntArray

MOVES = MOVE_SETS["edits"]
REPEATS = 8
"""Repetitions of an episode, of which the first changes nothing."""
_EPISODES = 8  # played together
_LATEST = 22  # a rule has hardly any step after it
_FOLDS = 5
_EPOCHS, _BATCH, _WIDTH = 30, 128, 48
_CLIP = 0.1
_CLEAR = 0.002  # an advantage worth having


@dataclass(frozen=True)
class Options:
    """Measure what single moves would have gained."""

    out: Path
    """Folder of the table."""
    rule: str = "turns:9"
    """The rule, which plays DnR/RefineEdits-v0."""
    stacks: tuple[str, ...] = WORLDS
    """The worlds."""
    neurons: str = split("train")
    """The neurons."""
    episodes: int = 700
    """Episodes in each world. Prices take turns."""
    prices: tuple[float, ...] = (0.00002, 0.00005, 0.00015)
    """Prices of an image."""


class Deviation(NamedTuple):
    """Another move at one step of an episode."""

    neuron: str
    seen: FloatArray  # (features,)
    usual: int  # the rule's move
    move: int
    advantage: float


class Deviating(Agent):
    """Plays a rule. At one step of each episode, all rows of the episode but the first take another move.

    Args:
        rule: The rule.
        steps: (episodes,) the step of each. Row r belongs to episode r // REPEATS.
        rng: Chooses the moves.
    """

    def __init__(self, rule: Agent, steps: IntArray, rng: np.random.Generator) -> None:
        self.rule, self.steps, self.rng = rule, steps, rng
        self.name, self.env_id, self.state_size = f"deviating from {rule.name}", rule.env_id, rule.state_size
        self.taken: dict[int, tuple[FloatArray, list[int]]] = {}
        """What was seen, and the moves of all rows of the episode."""
        self._step = 0

    def act(
        self, observation: Observation, memory: FloatArray, masks: BoolArray | None, deterministic: bool
    ) -> IntArray:
        """Take the rule's actions, but for the rows that deviate now."""
        actions = self.rule.act(observation, memory, masks, deterministic)
        assert masks is not None
        now = np.flatnonzero(self.steps == self._step)
        if len(now):
            seen, allowed, usual = features(observation), move_masks(masks, MOVES), places_of(actions, MOVES)
            for episode in now.tolist():
                first = episode * REPEATS
                if usual[first] < 0:
                    continue
                others = np.flatnonzero(allowed[first] & (np.arange(len(MOVES)) != usual[first]))
                moves = [int(usual[first]), *self.rng.permutation(others)[: REPEATS - 1].tolist()]
                actions[first : first + len(moves)] = MOVES[moves]
                self.taken[episode] = seen[first], moves
        self._step += 1
        return actions


def deviations(rule: str, jobs: Sequence[Job], stack: str, rules: Rules, rng: np.random.Generator) -> list[Deviation]:
    """Play some episodes with their repetitions. Those that end before their step have no deviation."""
    agent = Deviating(make_agent(rule), rng.integers(0, _LATEST, len(jobs)), rng)
    repeated = [job for job in jobs for _ in range(REPEATS)]
    played = list(rollout(agent, repeated, stack=stack, rules=rules, mutator="informed", batch=len(repeated)))
    found = []
    for episode, (seen, moves) in agent.taken.items():
        rows = played[episode * REPEATS :][: len(moves)]
        if rows[0].steps > agent.steps[episode]:
            gains = [row.total_reward - rows[0].total_reward for row in rows]
            found += [
                Deviation(jobs[episode][0], seen, moves[0], move, gain)
                for move, gain in zip(moves[1:], gains[1:], strict=True)
            ]
    return found


def kind_of(move: int) -> str:
    """Name what a move does, whatever the slot."""
    action = Action(int(MOVES[move, 0]))
    return action.name if action != Action.MUTATE else Kind(int(MOVES[move, 2])).name


def foretold(found: Sequence[Deviation]) -> FloatArray:
    """(deviations,) what a network foretells of each advantage, fitted to the deviations of other neurons."""
    inputs = torch.from_numpy(np.stack([_input(one) for one in found]))
    advantages = torch.tensor([[one.advantage] for one in found], dtype=torch.float32).clamp(-_CLIP, _CLIP) / _CLIP
    neurons = sorted({one.neuron for one in found})
    fold = np.array([neurons.index(one.neuron) % _FOLDS for one in found])
    result = np.zeros(len(found))
    torch.manual_seed(0)
    for held in range(_FOLDS):
        network = torch.nn.Sequential(
            torch.nn.Linear(inputs.shape[1], _WIDTH), torch.nn.Tanh(), torch.nn.Dropout(0.3), torch.nn.Linear(_WIDTH, 1)
        )
        optimizer = torch.optim.AdamW(network.parameters(), 1e-3, weight_decay=0.01)
        known = torch.from_numpy(np.flatnonzero(fold != held))
        for _ in range(_EPOCHS):
            for rows in torch.split(known[torch.randperm(len(known))], _BATCH):
                loss = torch.nn.functional.mse_loss(network(inputs[rows]), advantages[rows])
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
        with torch.inference_mode():
            result[fold == held] = _CLIP * network.eval()(inputs[fold == held])[:, 0].numpy()
    return result


def _input(one: Deviation) -> FloatArray:
    """The move and the rule's move, with what is seen of their slots, of the best slot and of the episode."""
    slots, context = one.seen[: SLOTS * PER_SLOT].reshape(SLOTS, PER_SLOT), one.seen[-CONTEXT:]
    parts = [slots[0], context]
    for move in (one.move, one.usual):
        parts += [slots[MOVES[move, 1]], np.eye(len(MOVES), dtype=np.float32)[move]]
    return np.concatenate(parts)


def table(found: dict[str, list[Deviation]]) -> str:
    """Tabulate the advantages by world and kind of move. ± is one standard error."""
    rows = []
    for world, every in found.items():
        guesses = foretold(every)
        kinds = np.array([kind_of(one.move) for one in every])
        advantages = np.array([one.advantage for one in every])
        for kind in ("all but STOP", *sorted(set(kinds))):
            which = kinds == kind if kind != "all but STOP" else kinds != Action.STOP.name
            best = which & (guesses > _CLEAR)
            rows.append(
                [
                    world,
                    kind,
                    str(which.sum()),
                    _mean(advantages[which]),
                    f"{np.mean(advantages[which] > _CLEAR):.0%}",
                    _correlation(guesses[which], advantages[which]),
                    str(best.sum()),
                    _mean(advantages[best]),
                ]
            )
    headings = (
        "world", "move", "tried", "mean advantage", f"above {_CLEAR}", "correlation with what is foretold",
        f"foretold above {_CLEAR}", "their mean advantage",
    )  # fmt: skip
    return markdown(headings, rows)


def _mean(values: FloatArray) -> str:
    if len(values) < 2:
        return ""
    return f"{values.mean():+.4f} ± {values.std(ddof=1) / np.sqrt(len(values)):.4f}"


def _correlation(one: FloatArray, other: FloatArray) -> str:
    return f"{np.corrcoef(one, other)[0, 1]:.2f}" if len(one) > 1 and one.std() > 0 and other.std() > 0 else ""


def main() -> None:
    """Play, and write the table."""
    options = tyro.cli(Options)
    found: dict[str, list[Deviation]] = {}
    try:
        make_folder(options.out)
        for stack in options.stacks:
            rng = np.random.default_rng(0)
            neurons = load_stack(stack).neurons.named(options.neurons)
            jobs = [(str(rng.choice(neurons)), int(rng.integers(8))) for _ in range(options.episodes)]
            found[stack] = []
            for number, start in enumerate(tqdm(range(0, len(jobs), _EPISODES), unit="batch", desc=stack)):
                rules = Rules(image_cost=options.prices[number % len(options.prices)])
                found[stack] += deviations(options.rule, jobs[start : start + _EPISODES], stack, rules, rng)
        text = table(found)
        print(text)
        write_atomically(options.out / "deviations.md", f"{text}\n".encode())
    except DnRError as error:
        sys.exit(f"deviations.py: {error}")


if __name__ == "__main__":
    main()
