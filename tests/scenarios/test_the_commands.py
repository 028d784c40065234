"""The commands of hospital and centre, on a federation that has run."""

import json
from pathlib import Path

import pytest
from federation import Federation
from typer.testing import CliRunner

from hospital_node import cli as node
from protocol.plan import Plan
from services import cli as centre
from services.errors import CentreError, ConfigurationError

pytestmark = pytest.mark.scenario


def ask_node(people: Federation, *words: str) -> str:
    config = people.folder / "north" / "node.toml"
    result = CliRunner().invoke(node.app, [*words, "--config", str(config)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_a_hospital_sees_plans_with_its_own_vote(
    people: Federation, plans: tuple[Plan, Plan, Plan], first_run: str
) -> None:
    rows = json.loads(ask_node(people, "plans", "--json"))
    mine = {row["plan_id"]: row for row in rows}
    assert mine[plans[0].id]["vote"] == "approve"
    assert mine[plans[0].id]["policy"] == "permits it"
    assert "The first plan" in ask_node(people, "plans")


def test_a_hospital_sees_what_its_patients_were_charged(people: Federation, first_run: str) -> None:
    rows = json.loads(ask_node(people, "budget", "--json"))
    assert {row["patients"] for row in rows} == {"train", "held-out"}
    for row in rows:
        assert 0 < row["epsilon"] <= row["budget"]


def test_a_hospital_sees_its_own_report(people: Federation, first_run: str) -> None:
    rows = json.loads(ask_node(people, "report", "--json"))
    assert first_run in {row["run_id"] for row in rows}
    assert "stay here" in ask_node(people, "report")


def test_a_second_scan_reads_nothing_anew(people: Federation, first_run: str) -> None:
    report = json.loads(ask_node(people, "ingest", "--json"))
    assert report["indexed"] > 0
    assert report["gone"] == 0
    assert report["quarantined"] == people.quarantined["north"]


def test_a_draft_can_be_proposed_and_is_not_overwritten(people: Federation, tmp_path: Path) -> None:
    config = str(people.folder / "centre" / "centre.toml")
    path = tmp_path / "plan.json"
    words = ["draft", str(path), "--positive", "opacity", "--config", config]
    assert CliRunner().invoke(centre.app, words, catch_exceptions=False).exit_code == 0
    plan = Plan.from_json(json.loads(path.read_text()))
    assert plan.sites == ("north", "south", "west")
    with pytest.raises(ConfigurationError, match="exists already"):
        CliRunner().invoke(centre.app, words, catch_exceptions=False)


def test_a_coordinator_that_is_not_there_is_said_in_words(people: Federation) -> None:
    config = str(people.folder / "centre" / "centre.toml")
    with pytest.raises(CentreError, match="start it with `wardround centre up`"):
        CliRunner().invoke(centre.app, ["status", "--config", config], catch_exceptions=False)
