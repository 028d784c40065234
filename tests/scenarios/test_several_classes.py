"""Plans of several classes and of several findings, from the labels file to the released counts."""

import csv
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from federation import HOSPITALS, Federation, federation, small_plan
from synthetic import write_labels

from hospital_node import cohorts
from hospital_node.imaging.phantom import POSITIVE
from protocol.catalogue import CATALOGUE, layout_of
from protocol.plan import Cohort, Network, Plan, Privacy, Task
from protocol.round import Evaluation, OrderKind, RoundState
from services.coordinator import store

pytestmark = pytest.mark.scenario

CLASSES = ("clear", "nodules", "effusion")
KINDS = ("nodules", "effusion", "nodules|effusion")
TASKS = [Task.MULTI_CLASS, Task.MULTI_LABEL]


def tell_kinds(_: str, images: Path) -> None:
    """Every third patient with a finding has both kinds of it."""
    with (images / "labels.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    ill = sorted({row["patient_id"] for row in rows if row["label"] == POSITIVE})
    for row in rows:
        is_ill = row["label"] == POSITIVE
        row["label"] = KINDS[ill.index(row["patient_id"]) % 3] if is_ill else "clear"
    write_labels(images, rows)


@pytest.fixture(scope="module")
def kinds(tmp_path_factory: pytest.TempPathFactory, postgres: str) -> Iterator[Federation]:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("kinds")
    with federation(folder, postgres, alter=tell_kinds) as everybody:
        yield everybody


def plan_for(task: Task) -> Plan:
    card = CATALOGUE["efficientnet-lite0-head"]
    return small_plan(
        f"Findings, {task}",
        cohort=Cohort(
            modality=("CR", "DX"),
            label="label",
            minimum_patients=5,
            task=task,
            classes=CLASSES,
        ),
        network=Network(name=card.name, weights_digest=card.weights_digest, classes=3),
        privacy=Privacy(
            epsilon="1",
            delta="0.00001",
            max_grad_norm="0.5",
            images_per_patient=4,
            expected_patients=8,
        ),
        rounds=1,
    )


@pytest.mark.parametrize("task", TASKS)
def test_a_plan_of_several_classes_is_voted_trained_and_judged(
    kinds: Federation, task: Task
) -> None:
    plan = plan_for(task)
    kinds.propose(plan)
    for name in HOSPITALS:
        kinds.vote(name, plan)
    kinds.activate(plan, votes=len(HOSPITALS))
    run_id = kinds.run(plan)
    (only,) = kinds.rounds(run_id)
    assert only.state is RoundState.CLOSED
    assert only.closing is not None
    assert sorted(only.closing.participants) == sorted(HOSPITALS)
    for name in HOSPITALS:
        update = kinds.exchange(run_id, name, OrderKind.TRAIN, 1).update
        assert update is not None
        assert update.size == layout_of(plan.network).size == 3 * 1281
    with kinds.centre.pool.connection() as connection:
        run = store.load_run(connection, run_id)
        evaluations = store.load_evaluations(connection, run_id)
    assert run.state == "completed"
    assert [(one.site, one.released) for one in evaluations] == [(name, True) for name in HOSPITALS]
    told = [
        Evaluation.from_json(entry.body)
        for entry in kinds.entries()
        if entry.run_id == run_id and entry.type == "evaluation.released"
    ]
    assert [one.classes for one in told] == [CLASSES] * 3
    assert kinds.verify().is_verified


def test_a_preview_counts_every_class_and_whom_the_labels_kept_out(kinds: Federation) -> None:
    site = kinds.sites[HOSPITALS[0]]
    one, several = (
        cohorts.preview(site, plan_for(task).cohort, delta="0.00001")["never_leaves"]
        for task in TASKS
    )
    assert one["images_of_other_labels"] > 0
    assert several["images_of_other_labels"] == 0
    assert sum(one["patients_train_by_class"].values()) == one["patients_train"]
    assert one["patients_train"] < several["patients_train"]
    assert sum(several["patients_train_by_class"].values()) > several["patients_train"]
    assert set(one["patients_train_by_class"]) == set(CLASSES)
