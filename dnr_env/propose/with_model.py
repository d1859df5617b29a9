"""Mutations of kind MODEL, for mutators that have no model of the neuron."""

from __future__ import annotations

from dnr_env.interfaces import Kind, MutationBatch, Mutator, Origin, Suggestion


class WithModel:
    """A mutator that leaves the requests of kind MODEL to another.

    With it, the kind means the same whichever mutator of a stack is asked.

    Args:
        own: answers the other requests.
        model: answers the requests of kind MODEL, with its own origin.
    """

    def __init__(self, own: Mutator, model: Mutator) -> None:
        self.own = own
        self.model = model
        self.origin: Origin = own.origin

    def mutate(self, batch: MutationBatch) -> list[Suggestion]:
        """See `dnr_env.interfaces.Mutator`."""
        ours = [row for row, kind in enumerate(batch.kinds) if kind != Kind.MODEL]
        if len(ours) == len(batch.kinds):
            return self.own.mutate(batch)
        theirs = [row for row, kind in enumerate(batch.kinds) if kind == Kind.MODEL]
        modelled = [answer._replace(origin=self.model.origin) for answer in self.model.mutate(batch.take(theirs))]
        answers = dict(zip(theirs, modelled, strict=True))
        if ours:
            answers.update(zip(ours, self.own.mutate(batch.take(ours)), strict=True))
        return [answers[row] for row in range(len(batch.kinds))]
