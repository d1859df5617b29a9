"""Requests of kind MODEL go to the mutator that has a model."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from requests_of_neurons import requests

from dnr_env.interfaces import Kind, MutationBatch, Origin, Suggestion, Trial
from dnr_env.propose.with_model import WithModel


class Reporting:
    """Answers with all that a request says."""

    def __init__(self, origin: Origin) -> None:
        self.origin: Origin = origin
        self.batches: list[MutationBatch] = []

    def mutate(self, batch: MutationBatch) -> list[Suggestion]:
        self.batches.append(batch)
        return [
            Suggestion(
                f"{self.origin} {concept} {batch.tried[i]} {batch.embeddings[i].sum()} {batch.activations[i].sum()} "
                f"{batch.seen[i].sum()} {batch.rngs[i].random()} {batch.neurons[i]} {batch.history(i)} {batch.kinds[i]}"
            )
            for i, concept in enumerate(batch.concepts)
        ]


def batch_of(kinds: list[Kind | None]) -> MutationBatch:
    seeds = list(range(len(kinds)))
    return dataclasses.replace(
        requests(seeds, "red", images=5, pad=8),
        concepts=[f"thing {i}" for i in seeds],
        tried=[[f"tried {i}"] for i in seeds],
        neurons=np.array(seeds) + 7,
        history=lambda i: [Trial(f"drawn {i}", 0.0, 0.0, np.zeros(1), np.zeros(1, int))],
        kinds=kinds,
    )


@given(st.lists(st.sampled_from([None, *Kind]), min_size=1, max_size=6))
@settings(deadline=None)
def test_every_request_is_answered_by_the_right_one_with_all_it_says(kinds: list[Kind | None]) -> None:
    own, model = Reporting("vocabulary"), Reporting("model")
    answers = WithModel(own, model).mutate(batch_of(kinds))
    apart = [Reporting("vocabulary").mutate(batch_of(kinds)), Reporting("model").mutate(batch_of(kinds))]
    assert [answer.concept for answer in answers] == [
        apart[kind == Kind.MODEL][i].concept for i, kind in enumerate(kinds)
    ]
    assert [answer.origin for answer in answers] == ["model" if kind == Kind.MODEL else None for kind in kinds]
    assert all(batch.concepts for batch in own.batches + model.batches)


@pytest.mark.parametrize("origin", ["writer", "vocabulary"])
def test_its_origin_is_that_of_the_mutator_itself(origin: Origin) -> None:
    assert WithModel(Reporting(origin), Reporting("model")).origin == origin
