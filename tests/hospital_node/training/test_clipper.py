import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from hospital_node.training.clipper import clip_rows, clipped_sum

anything = arrays.arrays(
    np.float64, st.tuples(st.integers(1, 6), st.integers(1, 5)), elements=st.floats(width=64)
)


@given(anything, st.floats(1e-3, 1e3))
def test_no_row_is_longer_than_the_bound_whatever_it_holds(
    gradients: np.ndarray, bound: float
) -> None:
    norms = np.linalg.norm(clip_rows(gradients, bound), axis=1)
    assert (norms <= bound * (1 + 1e-9)).all()


@given(anything, st.floats(1e-3, 1e3))
def test_removing_any_patient_moves_the_sum_by_at_most_its_sensitivity(
    gradients: np.ndarray, bound: float
) -> None:
    whole = clipped_sum(gradients, bound)
    for patient in range(len(gradients)):
        rest = clipped_sum(np.delete(gradients, patient, axis=0), bound)
        assert np.linalg.norm(whole.value - rest.value) <= whole.sensitivity * (1 + 1e-9)


def test_a_short_row_is_left_as_it_is() -> None:
    rows = np.array([[0.3, 0.4], [0.0, 0.0], [3.0, 4.0]])
    assert np.allclose(clip_rows(rows, 1.0), [[0.3, 0.4], [0.0, 0.0], [0.6, 0.8]])


def test_a_row_with_one_nan_counts_as_nothing() -> None:
    assert not clip_rows(np.array([[1.0, np.nan]]), 1.0).any()
