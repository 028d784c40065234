"""A whole report: of every kind of question, of odd groups, and as a page that people read."""

import json
from typing import Any

import numpy as np
import pytest
from protocol_strategies import a_plan
from training_cases import make_patients

from hospital_node.judging.classification import Answers, Terms, judge
from hospital_node.judging.comparison import ECE, MEAN_AUC, Better, Model, Points
from hospital_node.judging.page import render_page
from hospital_node.judging.telling import told_findings
from hospital_node.training.evaluate import patient_answers
from protocol.catalogue import layout_of
from protocol.plan import Cohort, Task

TERMS = Terms(Points((0.9, 0.95), (0.9,), least=10), smallest_group=10, seed=1)
NAMES = ("bacterial", "viral", "none")


def a_cohort(task: Task) -> Cohort:
    if task is Task.BINARY:
        return Cohort(modality=("CR",), label="kind", minimum_patients=1, positive="opacity")
    return Cohort(modality=("CR",), label="kind", minimum_patients=1, task=task, classes=NAMES)


def a_group(task: Task, patients: int, *, seed: int) -> Answers:
    """Patients whom the shared model sees well and the other hardly."""
    coins = np.random.default_rng(seed)
    width = 1 if task is Task.BINARY else 3
    if task is Task.MULTI_CLASS:
        labels = coins.integers(0, 3, patients)
        truth = np.eye(3)[labels]
    else:
        truth = coins.integers(0, 2, (patients, width)).astype(float)
        labels = truth[:, 0].astype(np.int64) if task is Task.BINARY else truth.astype(np.int64)
    by = {}
    for model, size in ((Model.SHARED, 3.0), (Model.ALONE, 0.4)):
        logits = size * (truth - 0.5) + coins.standard_normal(truth.shape)
        powers = np.exp(2 * logits)  # twice as sure as they should be
        shares = powers / powers.sum(axis=1, keepdims=True)
        by[model] = shares if task is Task.MULTI_CLASS else powers / (1 + powers)
    return Answers(labels, by)


def a_report(task: Task, patients: int = 150, **changes: Any) -> dict[str, Any]:
    views = ["PA"] * (patients - patients // 3) + ["AP"] * (patients // 3)
    report = judge(
        a_cohort(task),
        changes.get("held_out", a_group(task, patients, seed=2)),
        a_group(task, 200, seed=3),
        traits=changes.get("traits", {"view": views}),
        terms=TERMS,
    )
    return json.loads(json.dumps(report, allow_nan=False))


def as_stored(report: dict[str, Any]) -> dict[str, Any]:
    return report | {
        "run_id": "run",
        "plan_id": "sha256:0",
        "site": "north",
        "title": "Opacity on <b>children's</b> films",
        "patients_train": 200,
        "patients_held_out": 150,
        "images_train": 400,
        "epsilon_charged": 2.9,
        "delta": "0.00001",
        "released": None,
    }


@pytest.mark.parametrize("task", [Task.BINARY, Task.MULTI_CLASS, Task.MULTI_LABEL])
def test_every_kind_of_question_is_told_finding_by_finding(task: Task) -> None:
    report = a_report(task)
    assert [one["name"] for one in report["questions"]] == list(
        ("opacity",) if task is Task.BINARY else NAMES
    )
    assert report["better"] == Better.SHARED
    assert (report["confusion"] is not None) == (task is Task.MULTI_CLASS)
    assert (report["roc_global"] is not None) == (task is Task.BINARY)
    areas = [one["figures"][0]["global"][0] for one in report["questions"]]
    assert report["auc_global"] == pytest.approx(np.mean(areas))
    assert report["auc_global"] > report["auc_local"]
    if task is not Task.BINARY:
        assert report["mean"]["name"] == MEAN_AUC
    if task is Task.MULTI_CLASS:
        rows = np.array(report["confusion"]["global"])
        answers = a_group(task, 150, seed=2)
        assert rows.sum(axis=1).tolist() == np.bincount(answers.labels).tolist()
        right = (answers.by[Model.SHARED].argmax(axis=1) == answers.labels).sum()
        assert np.trace(rows) == right


@pytest.mark.parametrize("task", [Task.BINARY, Task.MULTI_CLASS, Task.MULTI_LABEL])
def test_a_temperature_of_training_patients_mends_held_out_ones(task: Task) -> None:
    report = a_report(task, 400)
    assert report["temperature"]["local"] > 1.3
    told = {one["name"]: one["local"][0] for one in report["questions"][0]["figures"]}
    assert told["ECE at its own temperature"] < 0.7 * told[ECE]


def test_the_held_out_patients_have_no_say_in_the_temperature() -> None:
    spoiled = a_group(Task.BINARY, 150, seed=2)
    spoiled = Answers(1 - spoiled.labels, spoiled.by)
    assert (
        a_report(Task.BINARY, held_out=spoiled)["temperature"]
        == (a_report(Task.BINARY)["temperature"])
    )


def test_a_small_group_is_named_without_any_figure() -> None:
    views = ["PA"] * 100 + ["AP"] * 42 + ["LL"] * 8
    groups = a_report(Task.BINARY, traits={"view": views})["questions"][0]["subgroups"]
    told = {one["group"]: one for one in groups}
    assert told["PA"]["patients"] == 100
    assert told["PA"]["figures"][0]["name"] == "AUC"
    for hidden in ("AP", "LL"):
        assert told[hidden]["patients"] is told[hidden]["figures"] is None


@pytest.mark.parametrize("labels", [[], [1], [0, 0, 0], [0, 1]])
def test_odd_groups_have_a_report_and_a_page(labels: list[int]) -> None:
    said = np.linspace(0.1, 0.9, len(labels))[:, None]
    held_out = Answers(np.array(labels, dtype=np.int64), dict.fromkeys(Model, said))
    report = a_report(Task.BINARY, held_out=held_out, traits={"view": ["PA"] * len(labels)})
    assert report["better"] == Better.UNTOLD
    assert (report["auc_global"] is None) == (len(set(labels)) < 2)
    assert "cannot be told" in render_page([as_stored(report)])


@pytest.mark.parametrize("task", [Task.BINARY, Task.MULTI_CLASS, Task.MULTI_LABEL])
def test_the_page_says_it_in_words_and_tables_and_loads_nothing(task: Task) -> None:
    page = render_page([as_stored(a_report(task)), {"run_id": "old", "auc_global": 0.8}])
    assert "The shared model is better for our patients." in page
    assert "No figure about held-out patients." in page
    assert "<b>children" not in page
    assert not [word for word in ("<script", "<link", "src=", "@import", "url(") if word in page]
    assert page.count('role="img"') == page.count("<svg")
    assert "1 older report holds" in page
    for name in ("opacity",) if task is Task.BINARY else NAMES:
        assert f"<h3>{name}</h3>" in page


def test_the_page_tells_of_outlines_by_structure() -> None:
    told = {"global": [0.812, 0.7, 0.9], "local": [0.5, 0.4, 0.6], "difference": [0.312, 0.2, 0.4]}
    page = render_page([as_stored({"structures": [{"name": "left lung", **told}]})])
    assert "left lung" in page
    assert "0.312 (0.200 to 0.400)" in page
    assert "by Dice" in page


def test_before_any_run_the_page_says_so() -> None:
    assert "No model has been judged here yet." in render_page([])


def test_an_image_that_is_not_finite_counts_as_undecided() -> None:
    plan, patients = a_plan(), make_patients((1, 3))
    patients.images[3] = np.nan
    model = np.zeros(layout_of(plan.network).size, dtype=np.float32)
    model[0] = 4.0
    single = 1 / (1 + np.exp(-4.0 * patients.images[:3, 0].astype(float)))
    expected = [single[0], (single[1] + single[2] + 0.5) / 3]
    assert np.allclose(patient_answers(plan, model, patients)[:, 0], expected)


def test_a_policy_names_the_findings_that_are_told_of() -> None:
    several, binary = a_cohort(Task.MULTI_LABEL), a_cohort(Task.BINARY)
    assert told_findings(several, ()).names == NAMES
    assert told_findings(several, ()).sensitivity == "1.7320508075688772"
    assert told_findings(several, ("viral",)).columns == (1,)
    assert told_findings(several, ("viral",)).sensitivity == "1"
    assert told_findings(several, ("fracture",)).columns == ()
    assert told_findings(binary, ("viral",)).names == ("opacity",)
