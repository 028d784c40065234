"""The aggregate: the plain mean, exact to the last bit, whatever comes in."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from protocol.errors import LayoutError
from protocol.update import Layout, Tensor
from services.coordinator.aggregate import RunningMean

LAYOUT = Layout(tensors=(Tensor(name="w", shape=(5,)),))
numbers = st.floats(-1e6, 1e6, width=32)
updates = st.lists(arrays("<f4", 5, elements=numbers), min_size=1, max_size=6)


@given(updates, arrays("<f4", 5, elements=numbers))
def test_it_moves_the_model_by_the_mean(sent: list[np.ndarray], model: np.ndarray) -> None:
    mean = RunningMean(LAYOUT)
    for update in sent:
        mean.add(update)
    total = np.zeros(5)
    for update in sent:
        total = total + update.astype(np.float64)
    expected = (model.astype(np.float64) + total / len(sent)).astype("<f4")
    np.testing.assert_array_equal(mean.applied_to(model), expected)


@pytest.mark.parametrize("bad", [np.full(5, np.nan, "<f4"), np.zeros(4, "<f4"), np.zeros(5)])
def test_what_is_refused_leaves_the_sum_as_it_was(bad: np.ndarray) -> None:
    mean = RunningMean(LAYOUT)
    mean.add(np.ones(5, "<f4"))
    with pytest.raises(LayoutError):
        mean.add(bad)
    np.testing.assert_array_equal(mean.applied_to(np.zeros(5, "<f4")), np.ones(5, "<f4"))


def test_there_is_no_mean_of_nothing() -> None:
    with pytest.raises(ValueError, match="no updates"):
        RunningMean(LAYOUT).applied_to(np.zeros(5, "<f4"))
