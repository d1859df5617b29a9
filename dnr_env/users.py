"""Where a user's concepts come from: a list, a file, a callable, or a simulated user."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dnr_env.errors import ConceptError, DnRError

if TYPE_CHECKING:
    from dnr_env.stacks import Stack

UserSource = Callable[[int, np.random.Generator], Sequence[str]]
"""(index of the neuron, the episode's generator) to the concepts that ADD will take, first one first."""
Users = UserSource | Sequence[str] | str | Path | None
"""A source, a list of concepts, a file of them, "simulated" or "simulated:quality", or nobody."""

_MOST_BYTES = 1 << 20


def user_source(users: Users, stack: Stack) -> UserSource | None:
    """The source that an option names.

    Raises:
        DnRError: a file cannot be used, a concept cannot be drawn, a quality is no number from 0 to 1.
    """
    if users is None or callable(users):
        return users
    if isinstance(users, str) and users.partition(":")[0] == "simulated":
        return SimulatedUser(stack, _quality(users))
    texts = _read(Path(users)) if isinstance(users, (str, Path)) else users
    for text in texts:
        _check(text, stack)
    return FixedUser(texts)


def _check(text: str, stack: Stack) -> None:
    try:
        stack.normalise(text)
    except ConceptError as error:
        raise DnRError(f"user_concepts: {error}") from None


def _quality(users: str) -> float:
    text = users.partition(":")[2] or "0.5"
    try:
        quality = float(text)
    except ValueError:
        quality = -1.0
    if not 0 <= quality <= 1:
        raise DnRError(f"user_concepts: {users!r} has no quality from 0 to 1; simulated:0.5 will do")
    return quality


def _read(path: Path) -> list[str]:
    """One concept a line; empty lines and lines that begin with # are passed over."""
    try:
        size = path.stat().st_size
        if not path.is_file():
            raise DnRError(f"user_concepts: {path} is no file; a text file, one concept a line, will do")
        if size > _MOST_BYTES:
            raise DnRError(f"user_concepts: {path} has {size:,} bytes; a text file of at most {_MOST_BYTES:,} will do")
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DnRError(
            f"user_concepts: {path} cannot be read ({error.strerror}); a text file, one concept a line, will do"
        ) from None
    except UnicodeDecodeError:
        raise DnRError(f"user_concepts: {path} is not UTF-8 text; one concept a line will do") from None
    lines = [line.strip() for line in text.splitlines()]
    concepts = [line for line in lines if line and not line.startswith("#")]
    if not concepts:
        raise DnRError(f"user_concepts: {path} holds no concept; one a line will do")
    return concepts


class FixedUser:
    """The same concepts in every episode."""

    def __init__(self, concepts: Sequence[str]) -> None:
        self.concepts = list(concepts)

    def __call__(self, neuron: int, rng: np.random.Generator) -> list[str]:
        """The concepts of one episode."""
        return self.concepts


class SimulatedUser:
    """A user for training: some of the concepts are good ones, the others random.

    A good one is the best of a few hundred random concepts by simulation, the correlation over the probe set of
    concept-image similarity with the neuron's activation: a user who knows the neuron from real images alone.

    Args:
        stack: whose vocabulary and probe set the user knows.
        quality: the probability that a concept is a good one.
        count: concepts an episode.
    """

    def __init__(self, stack: Stack, quality: float, count: int = 2) -> None:
        self._stack = stack
        self.quality = quality
        self.count = count

    def __call__(self, neuron: int, rng: np.random.Generator) -> list[str]:
        """The concepts of one episode."""
        vocabulary = self._stack.vocabulary()
        return [
            self._good(neuron, rng) if rng.random() < self.quality else vocabulary[int(rng.integers(len(vocabulary)))]
            for _ in range(self.count)
        ]

    def _good(self, neuron: int, rng: np.random.Generator, considered: int = 300) -> str:
        vocabulary = self._stack.vocabulary()
        texts: list[str] = [vocabulary[i] for i in rng.integers(len(vocabulary), size=considered).tolist()]
        best = int(self._stack.simulation(texts, np.full(considered, neuron)).argmax())
        return texts[best]
