"""No group that is too small is shown, and none can be had by subtracting what is."""

from itertools import combinations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from hospital_node.judging.subgroups import Group, groups_by, shown

LEAST = 3

people = st.lists(
    st.tuples(st.sampled_from("ABCD"), st.sampled_from("xyz"), st.booleans()),
    min_size=1,
    max_size=60,
)
People = list[tuple[str, str, bool]]


def of(someone: People) -> tuple[tuple[Group, ...], np.ndarray]:
    traits = {"view": [one[0] for one in someone], "age": [one[1] for one in someone]}
    return groups_by(traits), np.array([int(one[2]) for one in someone])


def is_enough(members: set[int], someone: People) -> bool:
    positive = sum(someone[one][2] for one in members)
    return min(len(members), positive, len(members) - positive) >= LEAST


@settings(deadline=None)
@given(people)
def test_what_is_shown_is_large_and_no_difference_of_what_is_shown_is_small(
    someone: People,
) -> None:
    groups, labels = of(someone)
    told = shown(groups, labels, least=LEAST)
    sets = [(one.trait, set(np.flatnonzero(one.members).tolist())) for one in told]
    assert all(is_enough(members, someone) for _, members in sets)
    for whole in (set(range(len(someone))), *(members for _, members in sets)):
        for trait in ("view", "age"):
            parts = [members for name, members in sets if name == trait and members <= whole]
            rest = whole.difference(*parts)
            assert not parts or not rest or is_enough(rest, someone)


def test_one_small_group_takes_the_next_smallest_with_it() -> None:
    views = ["PA"] * 40 + ["AP"] * 30 + ["LL"] * 4
    labels = np.arange(74) % 2
    told = shown(groups_by({"view": views}), labels, least=10)
    assert [one.value for one in told] == ["PA"]


def test_two_small_groups_that_are_large_together_hide_one_another() -> None:
    views = ["PA"] * 40 + ["AP"] * 12 + ["LL"] * 12
    labels = np.arange(64) % 2
    told = shown(groups_by({"view": views}), labels, least=10)
    assert [one.value for one in told] == ["PA"]


def test_a_group_within_a_group_of_another_trait_is_not_had_by_subtraction_either() -> None:
    # All laterals are of one modality, whose other patients are shown as another view.
    views = ["PA"] * 40 + ["LL"] * 4 + ["AP"] * 40 + ["LLD"] * 30
    modality = ["DX"] * 44 + ["CR"] * 70
    labels = np.arange(114) % 2
    told = {
        one.value
        for one in shown(groups_by({"view": views, "modality": modality}), labels, least=10)
    }
    assert "LL" not in told
    assert not {"DX", "PA"} <= told


def test_a_group_of_one_class_alone_is_not_shown() -> None:
    views = ["PA"] * 40 + ["AP"] * 40
    labels = np.array([0, 1] * 20 + [0] * 40)
    assert shown(groups_by({"view": views}), labels, least=10) == ()


def test_bands_of_age_come_in_their_order() -> None:
    ages = ["80 and more", "2 to 11", "not stated", "12 to 17", "0 to 1"]
    values = [one.value for one in groups_by({"age": ages})]
    assert values == ["0 to 1", "2 to 11", "12 to 17", "80 and more", "not stated"]


def test_however_many_groups_are_left_out_their_patients_are_enough_together() -> None:
    labels = np.arange(60) % 2
    for cut in combinations(range(2, 60, 6), 2):
        views = ["a"] * cut[0] + ["b"] * (cut[1] - cut[0]) + ["c"] * (60 - cut[1])
        told = shown(groups_by({"view": views}), labels, least=10)
        rest = 60 - sum(int(one.members.sum()) for one in told)
        assert rest == 0 or rest >= 20 or not told
