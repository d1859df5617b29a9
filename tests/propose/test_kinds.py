"""What a kind of mutation means in a vocabulary of free words."""

from __future__ import annotations

import itertools

import pytest
from clustered_words import SIZES, clustered
from hypothesis import given
from hypothesis import strategies as st

from dnr_env.evidence.probe import Probe
from dnr_env.evidence.probe_source import ProbeSource
from dnr_env.evidence.vocabulary import Vocabulary
from dnr_env.interfaces import Kind
from dnr_env.propose.kinds import NEAREST, SIMILAR, kind_of, words_of
from dnr_env.stack import Stack

EDITS = (Kind.NARROW, Kind.BROADEN, Kind.SWAP)
WORDS = [f"{size}:{place}" for place, size in itertools.product(range(0, 60, 2), SIZES)]
OPPOSITE = {Kind.NARROW: Kind.BROADEN, Kind.BROADEN: Kind.NARROW, Kind.SWAP: Kind.SWAP}


@given(st.integers(0, 1000), st.integers(0, 1000))
def test_the_way_back_is_of_the_opposite_kind(before: int, after: int) -> None:
    kind = kind_of(before, after)
    assert kind_of(after, before) == OPPOSITE[kind]
    assert (kind == Kind.SWAP) == (max(before, after) <= SIMILAR * min(before, after))
    if kind != Kind.SWAP:
        assert (kind == Kind.NARROW) == (after < before)


@pytest.mark.parametrize("concept", ["16:0", "10:30", "100:59", "14:7"])
def test_words_of_a_kind_are_near_untried_and_have_the_cover(concept: str) -> None:
    vocabulary, tried = clustered(WORDS), {"16:0", "40:2", "100:2", "14:30"}
    size, place = map(int, concept.split(":"))

    def cosine(word: str) -> float:
        ours, theirs = vocabulary.embedder.embed_texts([concept, word])
        return float(ours @ theirs)

    assert vocabulary.covers([concept, "40:0"]) == [size, 40]
    left = sorted((word for word in WORDS if word != concept and word not in tried), key=lambda w: -cosine(w))
    found = {kind: words_of(kind, concept, tried, vocabulary) for kind in EDITS}
    every = set().union(*found.values())
    assert len(every) == sum(map(len, found.values())) == NEAREST
    assert every <= set(left)
    assert min(map(cosine, every)) >= cosine(left[NEAREST]) - 1e-6
    for kind, words in found.items():
        covers = [int(word.split(":")[0]) for word in words]
        assert all(kind_of(size, cover) == kind for cover in covers)
        assert all(abs(int(word.split(":")[1]) - place) <= 25 for word in words)
    assert bool(found[Kind.NARROW]) == (size * 2 / 3 > 10)
    assert bool(found[Kind.BROADEN]) == (size < 100)


def test_without_a_kind_no_real_image_is_looked_at() -> None:
    def measure(corruption: str | None) -> Probe:
        raise AssertionError("real images are looked at")

    words = Vocabulary(lambda: WORDS, clustered(WORDS).embedder, ProbeSource(measure))
    for kind in (None, Kind.MODEL):
        assert words_of(kind, "10:0", ["10:2", "elsewhere"], words) == set(WORDS) - {"10:0", "10:2"}


def test_nothing_is_left_of_a_kind() -> None:
    vocabulary = clustered(["10:0", "40:0"])
    assert words_of(Kind.BROADEN, "10:0", ["40:0"], vocabulary) == set()
    assert words_of(Kind.NARROW, "10:0", [], vocabulary) == set()
    assert words_of(Kind.SWAP, "14:0", [], vocabulary) == {"10:0"}
    assert words_of(Kind.SWAP, "14:0", [], clustered([])) == set()


def test_covers_do_not_depend_on_what_was_asked_before(stack: Stack) -> None:
    texts = list(stack.vocabulary.concepts[:3000:100])
    fresh = Vocabulary(lambda: texts, stack.embedder, stack.probes)
    one_by_one = [fresh.covers([text])[0] for text in texts[::-1]][::-1]
    assert Vocabulary(lambda: texts, stack.embedder, stack.probes).covers(texts) == one_by_one
    assert fresh.covers(texts) == one_by_one
