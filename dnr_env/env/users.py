"""The sources of a user's concepts: a list, a file, a callable, or a simulated user."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

from dnr_env.errors import ConceptError, DnRError
from dnr_env.stack import Stack

UserSource = Callable[[int, np.random.Generator], Sequence[str]]
"""Maps the index of a neuron and the episode's generator to the concepts that ADD lists, in order."""
Users = UserSource | Sequence[str] | str | Path | None
"""A source, a list of concepts, a file of concepts, "simulated" or "simulated:QUALITY", or None for no user."""

_MOST_BYTES = 1 << 20


def user_source(users: Users, stack: Stack) -> UserSource | None:
    """Return the source that the argument `user_concepts` describes.

    Raises:
        DnRError: a file cannot be read, a concept cannot be drawn, a quality is not a number from 0 to 1, or the stack
            has nothing that a simulated user could know and a mutator does not.
    """
    if users is None or callable(users):
        return users
    if not isinstance(users, Iterable | Path):
        raise DnRError(f"`user_concepts` must be a list, a file, a callable or 'simulated:0.5' (got {users!r})")
    if isinstance(users, str) and users.partition(":")[0] == "simulated":
        quality = _quality(users)
        if stack.insight is None and stack.probes.beside is None:
            raise DnRError(
                "`user_concepts` must be a list, a file or a callable where the stack has no images beside its probe "
                f"set, from which a simulated user could know better (got {users!r})"
            )
        return SimulatedUser(stack, quality)
    texts = _read(Path(users).expanduser()) if isinstance(users, (str, Path)) else list(users)
    if not all(isinstance(text, str) for text in texts):
        raise DnRError(f"`user_concepts` must be texts such as 'red star' (got {texts!r:.80})")
    for text in texts:
        try:
            stack.language.normalise(text)
        except ConceptError as error:
            raise DnRError(f"`user_concepts`: {error}") from None
    return FixedUser(texts)


def concepts_of(source: UserSource, neuron: int, rng: np.random.Generator, stack: Stack) -> list[str]:
    """Return the concepts of one episode. A bad one is refused now, not in the middle of the episode.

    Raises:
        ConceptError: a concept cannot be drawn.
        DnRError: the source returns no list.
    """
    given = source(neuron, rng)
    if isinstance(given, str):
        raise DnRError(f"`user_concepts` must return a list of texts (got the text {given[:80]!r})")
    for text in given:
        stack.language.normalise(text)
    return list(given)


def _quality(users: str) -> float:
    text = users.partition(":")[2] or "0.5"
    try:
        quality = float(text)
    except ValueError:
        quality = -1.0
    if not 0 <= quality <= 1:
        raise DnRError(f"`user_concepts` must be simulated:QUALITY with a quality from 0 to 1 (got {users!r})")
    return quality


def _read(path: Path) -> list[str]:
    """Read one concept from each line. Empty lines and lines that begin with # are ignored."""
    try:
        size = path.stat().st_size
        if not path.is_file():
            raise DnRError(f"`user_concepts` must be a text file with one concept per line (got {path}, not a file)")
        if size > _MOST_BYTES:
            raise DnRError(
                f"`user_concepts` must be a text file of at most {_MOST_BYTES:,} bytes (got {path}, {size:,} bytes)"
            )
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DnRError(f"`user_concepts` must be a text file that can be read (got {path}: {error.strerror})") from None
    except UnicodeDecodeError:
        raise DnRError(f"`user_concepts` must be a text file in UTF-8 (got {path})") from None
    lines = [line.strip() for line in text.splitlines()]
    concepts = [line for line in lines if line and not line.startswith("#")]
    if not concepts:
        raise DnRError(f"`user_concepts` must be a file with at least one concept (got {path}, which holds none)")
    return concepts


class FixedUser:
    """A user who gives the same concepts in every episode."""

    def __init__(self, concepts: Sequence[str]) -> None:
        self.concepts = list(concepts)

    def __call__(self, neuron: int, rng: np.random.Generator) -> list[str]:
        """Return the concepts of one episode."""
        return self.concepts


class SimulatedUser:
    """A user for training, who gives a good concept with some probability and a random one of the vocabulary otherwise.

    A good concept comes from what no mutator knows. In an embedded world, the user has seen other pictures and may say
    more words than the vocabulary (`Stack.insight`). Elsewhere it is the best of a few hundred random words of the
    vocabulary by simulation on the images beside the probe set (`ProbeSource.beside`).

    Args:
        stack: the stack whose neurons the user knows.
        quality: the probability that a concept is a good one.
        count: the number of concepts in an episode.
    """

    def __init__(self, stack: Stack, quality: float, count: int = 2) -> None:
        self._stack = stack
        self.quality = quality
        self.count = count

    def __call__(self, neuron: int, rng: np.random.Generator) -> list[str]:
        """Return the concepts of one episode."""
        good = self._stack.insight or self._best_beside
        return [
            good(neuron, rng) if rng.random() < self.quality else self._random(rng, 1)[0] for _ in range(self.count)
        ]

    def _random(self, rng: np.random.Generator, count: int) -> list[str]:
        vocabulary = self._stack.vocabulary.concepts
        return [vocabulary[i] for i in rng.integers(len(vocabulary), size=count).tolist()]

    def _best_beside(self, neuron: int, rng: np.random.Generator, considered: int = 300) -> str:
        images = self._stack.probes.beside
        assert images is not None  # or there is no such user
        texts = self._random(rng, considered)
        embeddings = self._stack.embedder.embed_texts(texts)
        return texts[int(images.simulation(embeddings, np.full(considered, neuron)).argmax())]
