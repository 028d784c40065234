"""A hospital's own reports: shown on the record, written as a page, and nothing but its own."""

import json
from pathlib import Path

import numpy as np
import psycopg
import pytest
from hospital_home import answer, enrolled_home, local_entries, run

from hospital_node import database, store
from hospital_node.judging.classification import Answers, Terms, judge
from hospital_node.judging.comparison import Model, Points
from protocol.plan import Cohort

RUN, PLAN = "01a205d8-a0cb-74bc-bcb8-9abdf9f2048c", "sha256:" + 64 * "1"


def keep_report(dsn: str) -> None:
    labels = np.arange(60) % 2
    said = np.linspace(0.2, 0.6, 60) + 0.3 * labels
    answers = Answers(labels, {Model.SHARED: said[:, None], Model.ALONE: said[::-1][:, None]})
    report = judge(
        Cohort(modality=("CR",), label="label", positive="nodule", minimum_patients=1),
        answers,
        answers,
        traits={"view": ["PA"] * 40 + ["AP"] * 20},
        terms=Terms(Points((0.9,), (0.9,), least=10), smallest_group=10, seed=0),
    )
    said_of_it = {"site": "north", "title": "Nodules", "patients_train": 60, "images_train": 90}
    said_of_it |= {"patients_held_out": 60, "epsilon_charged": 2.5, "delta": "0.00001"}
    database.prepare(dsn)
    with psycopg.connect(dsn) as connection:
        kept = report | said_of_it | {"released": None}
        store.save_report(connection, PLAN, RUN, report=kept, made_us=1)


@pytest.fixture
def home(tmp_path: Path, dsn: str) -> Path:
    home = enrolled_home(tmp_path, dsn)
    keep_report(dsn)
    return home


def test_the_page_has_the_figures_that_the_command_tells(home: Path, dsn: str) -> None:
    (told,) = answer(home, "report")
    page = home / "report.html"
    result = run(home, "report", "--html", str(page))
    assert result.exit_code == 0, result.output + repr(result.exception)
    text = page.read_text()
    assert f"{told['auc_global']:.3f}" in text
    assert RUN in text
    assert page.stat().st_mode & 0o077 == 0
    shown = [json.loads(one.content)["type"] for one in local_entries(dsn)]
    assert shown.count("figures.shown") == 2


def test_a_page_that_cannot_be_written_is_a_fault_that_names_the_way_out(home: Path) -> None:
    result = run(home, "report", "--html", str(home / "nowhere" / "report.html"))
    assert "name a file in a folder that exists" in str(result.exception)
