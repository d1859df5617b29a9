"""The networks of policies: rows that do not depend on the batch, and slots without an order."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from playing import observations, random_policy
from trainings import options

from dnr_env.agents.learned.features import CHANGED, CONTEXT, MOVE_SETS, PER_SLOT, SLOTS, features
from dnr_env.agents.learned.network import PRESENT, SetNetwork, kind_of, logits_of, network_of
from dnr_env.agents.training import train
from dnr_env.agents.training.set_policy import acting_network
from dnr_env.env.rules import Action, ActionForm
from dnr_env.interfaces import Kind
from dnr_env.types import FloatArray

ANY = st.integers(0, 2**32 - 1)


SLOT_FORMS: tuple[ActionForm, ...] = ("slots", "edits")
ADDRESSED = {
    form: (MOVE_SETS[form][:, 0] != Action.ADD) & ~(MOVE_SETS[form][:, 2:] == Kind.MODEL).any(axis=1)
    for form in SLOT_FORMS
}
"""The moves that are for a slot."""


@pytest.fixture(scope="module", params=SLOT_FORMS)
def form(request: pytest.FixtureRequest) -> ActionForm:
    found: ActionForm = request.param
    return found


@pytest.fixture(scope="module")
def set_network(form: ActionForm) -> SetNetwork:
    network = acting_network(train.make_model(options(network="set", moves=form), seed=3))
    assert isinstance(network, SetNetwork)
    return network


@settings(max_examples=50, deadline=None)
@given(seed=ANY, order=st.permutations(range(CHANGED)))
def test_slots_in_another_order_are_moves_in_another_order(
    set_network: SetNetwork, form: ActionForm, seed: int, order: list[int]
) -> None:
    rng = np.random.default_rng(seed)
    slots, context = rng.normal(size=(5, SLOTS, PER_SLOT)), rng.normal(size=(5, CONTEXT))
    slots[:, :, PRESENT] = rng.integers(2, size=(5, SLOTS))
    order = [*order, *range(CHANGED, SLOTS)]

    def moves(which: FloatArray) -> FloatArray:
        return logits_of(set_network, np.concatenate([which.reshape(5, -1), context], axis=1).astype(np.float32))

    before, after = moves(slots), moves(slots[:, order])
    place = {tuple(move): i for i, move in enumerate(MOVE_SETS[form].tolist())}
    permuted = [
        place[(action, order[slot] if addressed else slot, *kind)]
        for (action, slot, *kind), addressed in zip(MOVE_SETS[form].tolist(), ADDRESSED[form], strict=True)
    ]
    assert before.shape == (5, len(place))
    assert after == pytest.approx(before[:, permuted], abs=1e-6)


def test_an_absent_slot_says_nothing_to_the_others(set_network: SetNetwork, form: ActionForm) -> None:
    rows = features(observations(40))
    slots = rows[:, : SLOTS * PER_SLOT].reshape(40, SLOTS, PER_SLOT)
    absent = slots[:, :, PRESENT] == 0
    changed = rows.copy()
    changed[:, : SLOTS * PER_SLOT] = np.where(
        absent[:, :, None] & (np.arange(PER_SLOT) != PRESENT), 3.0, slots
    ).reshape(40, -1)
    kept = ~absent[:, MOVE_SETS[form][:, 1]] | ~ADDRESSED[form]
    before, after = logits_of(set_network, rows), logits_of(set_network, changed)
    assert absent.any()
    assert (before == after)[kept].all()


@pytest.mark.parametrize("kind", ["set", "flat"])
def test_the_logits_of_a_row_do_not_depend_on_the_others(set_network: SetNetwork, kind: str) -> None:
    network = set_network if kind == "set" else random_policy().network
    rows = features(observations(150))
    together = logits_of(network, rows)
    assert np.ptp(together, axis=0).min() > 0
    for size in (1, 7, 64, 65):
        parts = [logits_of(network, rows[start : start + size]) for start in range(0, 150, size)]
        assert np.array_equal(np.concatenate(parts), together)
    order = np.random.default_rng(0).permutation(150)
    assert np.array_equal(logits_of(network, rows[order]), together[order])


@pytest.mark.parametrize("kind", ["set", "flat"])
def test_a_network_is_rebuilt_from_its_kind_and_its_tensors(set_network: SetNetwork, kind: str) -> None:
    network = set_network if kind == "set" else random_policy(activation="relu").network
    assert kind_of(network) == (kind, "tanh" if kind == "set" else "relu")
    again = network_of(*kind_of(network), network.state_dict())
    rows = features(observations(20))
    assert np.array_equal(logits_of(again, rows), logits_of(network, rows))


def test_a_network_of_another_kind_is_refused(set_network: SetNetwork) -> None:
    with pytest.raises(ValueError, match=r"`network` must be set or flat \(got 'recurrent'\)"):
        network_of("recurrent", "tanh", set_network.state_dict())
