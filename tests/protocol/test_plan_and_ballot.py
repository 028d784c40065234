"""Plans say what they must, and the rule counts votes as people would by hand."""

import json
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from protocol_strategies import SITES, a_plan, ballots, cohorts

from protocol.aggregation import Aggregation
from protocol.ballot import Activated, Ballot, Choice, NotActivated, Rule, decide_activation
from protocol.errors import RecordError
from protocol.plan import Cohort, Plan, Preprocessing, Task, VolumeGrid


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"sites": ["birch", "amber"]}, "sorted"),
        ({"sites": ["amber", "amber"]}, "sorted"),
        ({"sites": []}, "at least 1"),
        ({"sites": ["Amber Hospital"]}, "pattern"),
        ({"aggregation": {"rule": "fedavg", "quorum": 5, "deadline_s": 60}}, "quorum 5 exceeds"),
        ({"rounds": 0}, "greater than or equal to 1"),
        ({"title": "two\nlines"}, "pattern"),
    ],
)
def test_an_incoherent_plan_is_refused(changes: dict[str, object], complaint: str) -> None:
    with pytest.raises(RecordError, match=complaint):
        Plan.from_json(a_plan().to_json() | changes)


@pytest.mark.parametrize(
    "changes", [{"delta": "0"}, {"delta": "1"}, {"epsilon": "0"}, {"max_grad_norm": "-1"}]
)
def test_a_privacy_promise_without_meaning_is_refused(changes: dict[str, str]) -> None:
    body = a_plan().to_json()
    with pytest.raises(RecordError, match=r"delta|epsilon"):
        Plan.from_json(body | {"privacy": body["privacy"] | changes})


@pytest.mark.parametrize(
    "changes",
    [{"learning_rate": "0"}, {"learning_rate": "-1"}, {"momentum": "1"}, {"weight_decay": "-0.1"}],
)
def test_an_optimiser_that_cannot_descend_is_refused(changes: dict[str, str]) -> None:
    body = a_plan().to_json()
    with pytest.raises(RecordError, match=next(iter(changes))):
        Plan.from_json(body | {"optimiser": body["optimiser"] | changes})


def _by_hand(plan: Plan, cast: Sequence[Ballot], rule: Rule) -> tuple[str, ...] | None:
    """The rule as a person would apply it with paper and pencil."""
    seen: dict[str, Choice] = {}
    for ballot in cast:
        if ballot.plan_id != plan.id or ballot.site not in plan.sites or ballot.site in seen:
            continue
        seen[ballot.site] = ballot.choice
    approving = sorted(site for site, choice in seen.items() if choice == "approve")
    refusing = [site for site, choice in seen.items() if choice == "refuse"]
    enough = len(approving) >= rule.approvals and len(approving) >= plan.aggregation.quorum
    return tuple(approving) if enough and len(refusing) <= rule.refusals_allowed else None


@given(st.lists(ballots, max_size=8), st.integers(1, 4), st.integers(0, 2))
def test_the_rule_agrees_with_a_count_by_hand(
    cast: list[Ballot], approvals: int, refusals: int
) -> None:
    plan = a_plan()
    rule = Rule(approvals=approvals, refusals_allowed=refusals)
    decision = decide_activation(plan, cast, rule)
    expected = _by_hand(plan, cast, rule)
    assert (decision.signers if isinstance(decision, Activated) else None) == expected


def test_the_first_ballot_of_a_site_counts() -> None:
    plan = a_plan(sites=("amber",), aggregation=Aggregation(quorum=1, deadline_s=60))
    refuse, approve = (
        Ballot(plan_id=plan.id, site="amber", choice=choice)
        for choice in (Choice.REFUSE, Choice.APPROVE)
    )
    rule = Rule(approvals=1)
    assert isinstance(decide_activation(plan, [refuse, approve], rule), NotActivated)
    assert decide_activation(plan, [approve, refuse], rule) == Activated(("amber",))


def test_a_ballot_for_another_plan_does_not_count() -> None:
    plan, other = a_plan(), a_plan(rounds=6)
    cast = [Ballot(plan_id=other.id, site=site, choice=Choice.APPROVE) for site in SITES]
    assert isinstance(decide_activation(plan, cast, Rule(approvals=2)), NotActivated)


def test_a_reason_says_who_refused() -> None:
    plan = a_plan()
    cast = [Ballot(plan_id=plan.id, site="cedar", choice=Choice.REFUSE)]
    decision = decide_activation(plan, cast, Rule(approvals=2))
    assert isinstance(decision, NotActivated)
    assert "cedar" in decision.reason


OLD_COHORT = b'{"label":"l","minimum_patients":3,"modality":["CR"],"positive":"p"}'


def test_a_cohort_that_asks_for_no_more_has_the_bytes_it_always_had() -> None:
    cohort = Cohort.from_bytes(OLD_COHORT)
    assert cohort.to_bytes() == OLD_COHORT
    assert cohort.minimum_images == 1


@pytest.mark.parametrize("default", [b'"age":null,', b'"body_part":[],'])
def test_a_default_spelt_out_is_not_canonical(default: bytes) -> None:
    with pytest.raises(RecordError, match="not canonical"):
        Cohort.from_bytes(OLD_COHORT.replace(b"{", b"{" + default))


@given(cohorts)
def test_every_cohort_comes_back_from_its_bytes(cohort: Cohort) -> None:
    assert Cohort.from_bytes(cohort.to_bytes()) == cohort


@pytest.mark.parametrize(
    "asked",
    [
        {"studied": {"first": "2020-02", "last": "2020-01"}},
        {"studied": {"first": "2020-13", "last": "2021-01"}},
        {"age": {"least_years": 20, "most_years": 19}},
        {"age": {"least_years": 20, "most_years": 91}},
        {"body_part": ["chest"]},
        {"view_position": ["PA\\\\AP"]},
        {"minimum_images": 0},
    ],
)
def test_a_cohort_that_nothing_could_answer_to_is_refused(asked: dict[str, object]) -> None:
    with pytest.raises(RecordError):
        Cohort.from_json(json.loads(OLD_COHORT) | asked)


KINDS = ("bacterial", "viral", "none")


@pytest.mark.parametrize("task", [Task.MULTI_CLASS, Task.MULTI_LABEL, Task.SEGMENTATION])
def test_a_task_of_several_classes_is_in_the_bytes_and_its_positive_is_not(task: Task) -> None:
    cohort = Cohort(modality=("CR",), label="l", minimum_patients=3, task=task, classes=KINDS)
    assert cohort.to_json().keys() == {"classes", "label", "minimum_patients", "modality", "task"}
    assert Cohort.from_bytes(cohort.to_bytes()) == cohort


@pytest.mark.parametrize(
    ("asked", "complaint"),
    [
        ({"positive": ""}, "names one label value"),
        ({"positive": "p", "task": "binary"}, "not canonical"),
        ({"positive": "p", "classes": ["p"]}, "no classes"),
        ({"positive": "p", "task": "multi-class", "classes": ["p", "q"]}, "no positive value"),
        ({"task": "multi-class", "classes": ["p"]}, "needs 2 classes or more"),
        ({"task": "multi-label"}, "needs 2 classes or more"),
        ({"task": "segmentation"}, "needs 1 classes or more"),
        ({"task": "multi-class", "classes": ["p", "q", "p"]}, "the same"),
        ({"task": "multi-label", "classes": ["p", "q|r"]}, "class 2"),
        ({"task": "multi-class", "classes": ["", "p"]}, "class 1"),
        ({"task": "multi-class", "classes": [" p", "q"]}, "class 1"),
        ({"task": "ranking", "classes": ["p", "q"]}, "binary"),
    ],
)
def test_a_cohort_whose_answers_do_not_fit_its_task_is_refused(
    asked: dict[str, object], complaint: str
) -> None:
    bare = {key: value for key, value in json.loads(OLD_COHORT).items() if key != "positive"}
    with pytest.raises(RecordError, match=complaint):
        Cohort.from_json(bare | asked)


def test_a_binary_cohort_has_a_positive_value() -> None:
    with pytest.raises(ValueError, match="names one label value as positive"):
        Cohort(modality=("CR",), label="l", minimum_patients=3)


@pytest.mark.parametrize("outputs", [1, 2, 4])
def test_a_network_has_an_output_for_each_class_of_the_cohort(outputs: int) -> None:
    plan = a_plan()
    cohort = Cohort(
        modality=("CR",),
        label="l",
        minimum_patients=3,
        task=Task.MULTI_LABEL,
        classes=KINDS,
    )
    network = plan.network.model_copy(update={"classes": 3})
    several = a_plan(cohort=cohort, network=network)
    assert Plan.from_bytes(several.to_bytes()) == several
    body = several.to_json()
    with pytest.raises(RecordError, match=f"needs network.classes 3, and this one says {outputs}"):
        Plan.from_json(body | {"network": body["network"] | {"classes": outputs}})


def test_a_binary_question_has_one_output() -> None:
    body = a_plan().to_json()
    with pytest.raises(RecordError, match=r"needs network.classes 1, and this one says 2"):
        Plan.from_json(body | {"network": body["network"] | {"classes": 2}})


def _of_kinds(task: Task, **optimiser: object) -> dict[str, object]:
    """A plan of three classes as JSON."""
    body = a_plan().to_json()
    cohort = {key: value for key, value in body["cohort"].items() if key != "positive"}
    return body | {
        "cohort": cohort | {"task": str(task), "classes": list(KINDS)},
        "network": body["network"] | {"classes": 3},
        "optimiser": body["optimiser"] | optimiser,
    }


def test_weights_and_prevalence_are_in_the_bytes_only_where_they_are_stated() -> None:
    assert a_plan().optimiser.to_json().keys().isdisjoint({"class_weights", "prevalence"})
    stated = Plan.from_json(
        _of_kinds(
            Task.MULTI_CLASS,
            class_weights=["1", "2.5", "0.5"],
            prevalence=["0.45", "0.35", "0.2"],
        )
    )
    assert Plan.from_bytes(stated.to_bytes()) == stated
    assert stated.id != Plan.from_json(_of_kinds(Task.MULTI_CLASS)).id
    with pytest.raises(RecordError, match="not canonical"):
        Plan.from_json(_of_kinds(Task.MULTI_CLASS, class_weights=[]))


@pytest.mark.parametrize(
    ("task", "stated", "complaint"),
    [
        (Task.MULTI_CLASS, {"class_weights": ["1", "0", "1"]}, "above 0"),
        (Task.MULTI_CLASS, {"class_weights": ["1", "1", "1001"]}, "at most 1000"),
        (Task.MULTI_CLASS, {"class_weights": ["1", "2"]}, "class_weights has 2 numbers"),
        (Task.MULTI_CLASS, {"prevalence": ["0.5", "0.3", "0.3"]}, "adds up to 1.1"),
        (Task.MULTI_LABEL, {"prevalence": ["0.5", "0.3"]}, "prevalence has 2 numbers"),
        (Task.MULTI_LABEL, {"prevalence": ["0.5", "0.3", "1"]}, "below 1"),
        (Task.SEGMENTATION, {"class_weights": ["1", "2", "3"]}, "takes 0 or none"),
    ],
)
def test_a_balance_that_does_not_fit_the_task_is_refused(
    task: Task, stated: dict[str, object], complaint: str
) -> None:
    with pytest.raises(RecordError, match=complaint):
        Plan.from_json(_of_kinds(task, **stated))


def test_shares_of_findings_need_not_add_up() -> None:
    plan = Plan.from_json(_of_kinds(Task.MULTI_LABEL, prevalence=["0.5", "0.5", "0.3"]))
    assert plan.optimiser.prevalence == ("0.5", "0.5", "0.3")


def test_a_binary_plan_may_weigh_its_finding() -> None:
    body = a_plan().to_json()
    weighed = Plan.from_json(body | {"optimiser": body["optimiser"] | {"class_weights": ["3"]}})
    assert weighed.optimiser.class_weights == ("3",)


def test_preprocessing_of_pictures_has_the_bytes_it_had_before_there_were_volumes():
    bare = b'{"normalisation":"imagenet","size_px":160}'
    assert Preprocessing(size_px=160).to_bytes() == bare
    assert Preprocessing.from_bytes(bare) == Preprocessing(size_px=160)
    with pytest.raises(RecordError, match="not canonical"):
        Preprocessing.from_bytes(b'{"normalisation":"imagenet","size_px":160,"volume":null}')


def test_preprocessing_of_volumes_binds_grid_spacing_and_values():
    grid = {"size_voxels": [8, 64, 64], "spacing_mm": ["2.5", "1", "1"]}
    values = {"lower": "-1000", "upper": "400"}

    def digest(**changes: object) -> str:
        volume = VolumeGrid.from_json(grid | values | changes)
        preprocessing = Preprocessing(size_px=64, volume=volume)
        assert Preprocessing.from_bytes(preprocessing.to_bytes()) == preprocessing
        return preprocessing.digest

    others = [
        {},
        {"size_voxels": [9, 64, 64]},
        {"spacing_mm": None},
        {"spacing_mm": ["2", "1", "1"]},
        {"lower": "-900"},
        {"upper": "500"},
    ]
    assert len({digest(**changes) for changes in others}) == len(others)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"upper": "-1000"}, "no range"),
        ({"spacing_mm": ["0", "1", "1"]}, "not positive"),
        ({"spacing_mm": ["1", "1"]}, "at least 3"),
        ({"size_voxels": [0, 64, 64]}, "greater than or equal to 1"),
        ({"size_voxels": [8, 64, 2000]}, "less than or equal to 1024"),
    ],
)
def test_a_grid_that_cannot_be_is_refused(changes, complaint):
    sound = {"size_voxels": [8, 64, 64], "spacing_mm": None, "lower": "-1000", "upper": "400"}
    with pytest.raises(RecordError, match=complaint):
        VolumeGrid.from_json(sound | changes)


def test_slices_of_a_volume_are_as_large_as_the_networks_input():
    grid = VolumeGrid(size_voxels=(8, 64, 64), lower="0", upper="1")
    with pytest.raises(ValueError, match="must be 32 x 32"):
        Preprocessing(size_px=32, volume=grid)
