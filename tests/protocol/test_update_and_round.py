"""One packed array, one layout; and a round that reaches only the states it may."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from protocol_strategies import a_plan

from protocol.catalogue import CATALOGUE, initial_state, layout_of
from protocol.errors import LayoutError, ProtocolError, TransitionError
from protocol.plan import Network
from protocol.round import TRANSITIONS, RoundState, check_transition
from protocol.update import Layout, Tensor, check_packed, pack, packed_digest, unpack

LAYOUT = Layout(
    tensors=(Tensor(name="head.weight", shape=(2, 3)), Tensor(name="head.bias", shape=(2,)))
)

arrays = hnp.arrays(np.float32, (8,), elements=st.floats(-1e6, 1e6, width=32))


@given(arrays)
def test_unpacking_then_packing_gives_the_same_array(packed: np.ndarray) -> None:
    assert np.array_equal(pack(LAYOUT, unpack(LAYOUT, packed)), packed)


@given(arrays, st.integers(0, 7), st.integers(0, 31))
def test_any_changed_bit_changes_the_digest(packed: np.ndarray, place: int, bit: int) -> None:
    altered = packed.copy()
    altered.view(np.uint32)[place] ^= np.uint32(1 << bit)
    assert packed_digest(altered) != packed_digest(packed)


@pytest.mark.parametrize(
    "state",
    [
        {"head.weight": np.zeros((2, 3), np.float32)},
        {
            "head.weight": np.zeros((2, 3), np.float32),
            "head.bias": np.zeros(2, np.float32),
            "x": np.zeros(1, np.float32),
        },
        {"head.weight": np.zeros((3, 2), np.float32), "head.bias": np.zeros(2, np.float32)},
        {"head.weight": np.zeros((2, 3), np.float64), "head.bias": np.zeros(2, np.float32)},
    ],
    ids=["missing", "extra", "transposed", "double"],
)
def test_a_state_of_another_layout_is_refused(state: dict[str, np.ndarray]) -> None:
    with pytest.raises(LayoutError):
        pack(LAYOUT, state)


@pytest.mark.parametrize(
    "packed",
    [
        np.zeros(7, np.float32),
        np.zeros((8, 1), np.float32),
        np.zeros(8, np.float64),
        np.array([np.nan] + [0] * 7, np.float32),
        np.array([np.inf] + [0] * 7, np.float32),
    ],
    ids=["short", "two-dimensional", "double", "not a number", "infinite"],
)
def test_an_array_that_cannot_be_an_update_is_refused(packed: np.ndarray) -> None:
    with pytest.raises(LayoutError):
        check_packed(LAYOUT, packed)


def test_the_head_starts_from_zeros_of_the_catalogues_layout() -> None:
    network = a_plan().network
    start = initial_state(network)
    check_packed(layout_of(network), start)
    assert start.size == CATALOGUE[network.name].features + 1
    assert not start.any()


def test_a_trained_body_starts_from_the_same_numbers_everywhere() -> None:
    card = CATALOGUE["groupnorm-cnn"]
    network = Network(name=card.name, weights_digest=card.weights_digest)
    start = initial_state(network)
    check_packed(layout_of(network), start)
    assert packed_digest(start[: -card.features - 1]) == card.weights_digest
    state = unpack(layout_of(network), start)
    bound = (6 / 9) ** 0.5
    assert 0.9 * bound < np.abs(state["body.0.weight"]).max() <= bound
    assert (state["body.1.weight"] == 1).all()
    assert not state["head.weight"].any()


def test_a_network_outside_the_catalogue_is_refused_by_name() -> None:
    with pytest.raises(ProtocolError, match="resnet999"):
        layout_of(Network(name="resnet999", weights_digest="sha256:" + "0" * 64))


def test_a_known_network_with_other_weights_is_refused() -> None:
    name = next(iter(CATALOGUE))
    with pytest.raises(ProtocolError, match="weights"):
        layout_of(Network(name=name, weights_digest="sha256:" + "0" * 64))


@given(st.sampled_from(RoundState), st.sampled_from(RoundState))
def test_a_round_reaches_only_listed_states(now: RoundState, then: RoundState) -> None:
    if then in TRANSITIONS[now]:
        check_transition(now, then)
    else:
        with pytest.raises(TransitionError, match=str(now)):
            check_transition(now, then)


def test_an_ended_round_stays_ended() -> None:
    assert not TRANSITIONS[RoundState.CLOSED] | TRANSITIONS[RoundState.ABANDONED]
