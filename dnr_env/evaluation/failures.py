"""What failed in a run: counted, said with its reasons, and too much of it refused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from dnr_env.agents.base import Agent
from dnr_env.env.rules import Rules
from dnr_env.errors import DnRError
from dnr_env.interfaces import ORIGINS
from dnr_env.progress import bar
from dnr_env.stack import Stack

MOST_FAILED = 0.2
"""The share of neurons that may fail, or begin with captions because the writer had no answer."""
EARLY = 16
"""A run in which the first neurons all fail, at least this many, is stopped: the rest would fail too."""
_REASONS = 3  # reasons that are said

Record = Mapping[str, Any]


def check_share(option: str, share: float) -> float:
    """Check that a setting is a share.

    Raises:
        DnRError: it is not a number from 0 to 1.
    """
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share <= 1:
        raise DnRError(f"`{option}` must be a number from 0 to 1 (got {share!r})")
    return share


def reasons(failures: Iterable[str]) -> str:
    """Say the most frequent reasons with their counts, most frequent first."""
    counts = Counter(failures)
    said = [f"{reason} ({count})" for reason, count in counts.most_common(_REASONS)]
    rest = sum(counts.values()) - sum(count for _, count in counts.most_common(_REASONS))
    return "; ".join([*said, *([f"others ({rest})"] if rest else [])])


def origins(records: Sequence[Record]) -> str:
    """Count the labels by origin, most frequent first: "40 writer, 3 captions"."""
    counts = Counter(record["origin"] for record in records if not record["failure"])
    ordered = sorted(counts, key=lambda origin: (-counts[origin], ORIGINS.index(origin)))
    return ", ".join(f"{counts[origin]} {origin}" for origin in ordered) or "none"


def check_starts(
    stack: Stack, agent: Agent, neurons: Sequence[str], rules: Rules, most_failed: float, earlier: Sequence[Record] = ()
) -> None:
    """Make the candidates that an agent starts from, before anything is drawn.

    Args:
        stack: the stack.
        agent: the agent. Agents that bring their own concepts start from no proposal.
        neurons: the neurons that are about to be labelled.
        rules: the rules of the episodes.
        most_failed: the largest share of neurons without candidates of the writer's.
        earlier: the records of neurons that were labelled earlier in the same run.

    Raises:
        DnRError: more than that share has none, or none of the first neurons has.
    """
    if not agent.plays or agent.initial_concepts is not None:
        return
    count = agent.env_options.get("n_slots", rules.n_slots)
    stack.proposer.retry()
    failed = [record["fallback"] for record in earlier if record["fallback"]]
    whole, asked = len(earlier) + len(neurons), len(earlier)
    with bar(total=len(neurons), unit="neuron", desc="candidates", disable=len(neurons) <= EARLY) as shown:
        for start in range(0, len(neurons), EARLY):
            part = stack.neurons.indices(neurons[start : start + EARLY]).tolist()
            failed += [one.failure for one in stack.proposer.attempt(part, count) if one.failure]
            asked += len(part)
            shown.update(len(part))
            if (asked == whole and len(failed) > most_failed * whole) or len(failed) == asked >= EARLY:
                raise DnRError(
                    f"{len(failed)} of {asked} neurons have no candidates of the writer's, and nothing was drawn: "
                    f"{reasons(failed)}; name another `writer.model` or `captioner.model`, raise `writer.max_tokens` "
                    "where answers are cut short, set `writer` to null to take captions on purpose, or raise "
                    "`most_failed`"
                )


def check_labels(records: Sequence[Record], most_failed: float) -> None:
    """Refuse a run of which too much failed.

    Args:
        records: the records of all neurons that were asked for.
        most_failed: the largest share of neurons without a label.

    Raises:
        DnRError: every neuron failed, or more than that share, or the writer answered no question.
    """
    failed = [record["failure"] for record in records if record["failure"]]
    if failed and (len(failed) == len(records) or len(failed) > most_failed * len(records)):
        raise DnRError(
            f"{len(failed)} of {len(records)} neurons have no label: {reasons(failed)}; the same command tries again"
        )
    unanswered = [reason for record in records for reason in (*record["unanswered"], record["fallback"]) if reason]
    if unanswered and not any("writer" in record["origins"] for record in records):
        raise DnRError(f"the writer answered none of its questions: {reasons(unanswered)}")
