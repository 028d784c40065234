from datetime import datetime
from pathlib import Path

import pytest
from protocol_strategies import a_plan

from hospital_node.errors import PolicyError
from hospital_node.policy import Forbidden, Permitted, Policy
from protocol.catalogue import CATALOGUE
from protocol.plan import Cohort, Network, Plan, Privacy, Task
from protocol.round import Reason

LABELS = [0, 1] * 50


def a_privacy(**changes: object) -> Privacy:
    return a_plan().privacy.model_copy(update=changes)


def a_cohort(**changes: object) -> Cohort:
    return a_plan().cohort.model_copy(update=changes)


def test_a_plan_within_the_defaults_is_permitted() -> None:
    assert Policy().permits(a_plan()) == Permitted()
    assert Policy().permits_cohort(a_plan(), LABELS) == Permitted()


@pytest.mark.parametrize(
    ("plan", "says"),
    [
        (a_plan(privacy=a_privacy(epsilon="8.1")), "above this hospital's cap of 8"),
        (a_plan(privacy=a_privacy(delta="0.001")), "larger than the 0.00001"),
        (a_plan(cohort=a_cohort(modality=("CR", "MR"))), "modality MR is not allowed here"),
        (
            a_plan(network=Network(name="huge-net", weights_digest=a_plan().id)),
            "network huge-net is not allowed here; allowed: efficientnet-lite0-head",
        ),
        (
            a_plan(network=a_plan().network.model_copy(update={"weights_digest": a_plan().id})),
            "the plan names weights",
        ),
        (
            a_plan(
                cohort=a_cohort(positive="", task=Task.SEGMENTATION, classes=("a", "b", "c")),
                network=a_plan().network.model_copy(update={"classes": 3}),
            ),
            "efficientnet-lite0-head answers for whole images, and the plan's task is segmentation",
        ),
    ],
)
def test_a_plan_beyond_the_policy_is_forbidden_in_plain_words(plan: Plan, says: str) -> None:
    verdict = Policy().permits(plan)
    assert isinstance(verdict, Forbidden)
    assert verdict.reason is Reason.PLAN_NOT_ALLOWED
    assert says in verdict.explanation


def test_a_network_that_outlines_is_permitted_for_outlines_and_for_nothing_else() -> None:
    card = CATALOGUE["unet-2d"]
    policy = Policy(allowed_networks=(card.name,))
    network = Network(name=card.name, weights_digest=card.weights_digest)
    asked = a_cohort(positive="", task=Task.SEGMENTATION, classes=("lung",))
    plan = a_plan(cohort=asked, network=network)
    assert isinstance(policy.permits(plan), Permitted)
    assert isinstance(policy.permits_cohort(plan, [0] * 60), Permitted)
    other = policy.permits(a_plan(network=network))
    assert isinstance(other, Forbidden)
    assert "outlines structures" in other.explanation


def test_too_few_patients_are_refused_without_saying_how_many_there_are() -> None:
    verdict = Policy(minimum_patients=101).permits_cohort(a_plan(), LABELS)
    assert isinstance(verdict, Forbidden)
    assert verdict.reason is Reason.COHORT_TOO_SMALL
    assert "101" in verdict.explanation
    assert "100 " not in verdict.explanation
    plan = a_plan(cohort=a_cohort(minimum_patients=200))
    assert isinstance(Policy().permits_cohort(plan, LABELS), Forbidden)


@pytest.mark.parametrize(("patients", "fits"), [(10_000, True), (10_001, False)])
def test_delta_may_be_a_tenth_of_one_in_n_and_no_more(patients: int, fits: bool) -> None:
    labels = [number % 2 for number in range(patients)]
    verdict = Policy().permits_cohort(a_plan(), labels)
    assert isinstance(verdict, Permitted) == fits
    if isinstance(verdict, Forbidden):
        assert "delta 0.00001 is too large for this many patients" in verdict.explanation


@pytest.mark.parametrize(("label", "missing"), [(0, "positive"), (1, "negative")])
def test_a_site_without_one_of_the_classes_cannot_take_part(label: int, missing: str) -> None:
    verdict = Policy().permits_cohort(a_plan(), [label] * 100)
    assert isinstance(verdict, Forbidden)
    assert missing in verdict.explanation


@pytest.mark.parametrize(
    ("hours", "at", "is_open"),
    [
        ("00:00-00:00", "13:00", True),
        ("08:00-18:00", "08:00", True),
        ("08:00-18:00", "18:00", False),
        ("20:00-06:00", "23:59", True),
        ("20:00-06:00", "05:59", True),
        ("20:00-06:00", "06:00", False),
        ("20:00-06:00", "12:31", False),
    ],
)
def test_orders_are_worked_on_in_the_hours_that_the_policy_names(
    hours: str, at: str, is_open: bool
) -> None:
    verdict = Policy(hours=hours).permits_at(datetime.fromisoformat(f"2026-11-22T{at}"))
    assert isinstance(verdict, Permitted) == is_open
    if isinstance(verdict, Forbidden):
        first, last = hours.split("-")
        assert f"works on orders from {first} to {last}" in verdict.explanation
        assert f"where it is {at}" in verdict.explanation


def test_a_policy_file_says_what_it_says(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text(
        'epsilon_cap = 4.5\nperson_must_approve = true\nallowed_modalities = ["US"]\n'
        "[release_evaluation]\nallowed = false\n"
    )
    policy = Policy.read(path)
    assert str(policy.epsilon_cap) == "4.5"
    assert policy.person_must_approve
    assert not policy.release_evaluation.allowed
    assert policy.minimum_patients == 50


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("epsilon_cap = 0", "epsilon_cap"),
        ("epsilon_cap = inf", "epsilon_cap"),
        ("delta_max = 1", "delta_max"),
        ("epsilon_cup = 3", "epsilon_cup"),
        ("[release_evaluation]\nepsilon_cap = -1", "release_evaluation.epsilon_cap"),
        ('hours = "20-06"', "hours"),
        ('hours = "24:00-06:00"', "hours"),
        ("epsilon_cap = ", "not TOML"),
    ],
)
def test_a_faulty_policy_file_is_refused_by_setting(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "policy.toml"
    path.write_text(text)
    with pytest.raises(PolicyError, match=says):
        Policy.read(path)


def test_a_missing_policy_file_is_not_an_empty_policy(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="No such file"):
        Policy.read(tmp_path / "policy.toml")


@pytest.mark.parametrize(
    ("task", "answers"),
    [(Task.MULTI_CLASS, [0, 2]), (Task.MULTI_LABEL, [(0, 0, 1), (0, 0, 0)])],
)
def test_a_site_without_some_of_several_classes_takes_part_and_with_one_alone_does_not(
    task: Task, answers: list[int | tuple[int, ...]]
) -> None:
    plan = a_plan(
        cohort=a_cohort(positive="", task=task, classes=("a", "b", "c")),
        network=a_plan().network.model_copy(update={"classes": 3}),
    )
    assert Policy().permits(plan) == Permitted()
    assert Policy().permits_cohort(plan, answers * 50) == Permitted()
    verdict = Policy().permits_cohort(plan, answers[:1] * 100)
    assert isinstance(verdict, Forbidden)
    assert "same answer" in verdict.explanation
