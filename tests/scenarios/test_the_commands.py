"""The commands of hospital and centre, on a federation that has run."""

import json
from pathlib import Path

import pytest
from federation import Federation, small_plan, wait_until
from typer.testing import CliRunner

from hospital_node import cli as node
from hospital_node.errors import VoteError
from hospital_node.voting import plans as voted_on
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


def test_the_budget_says_what_is_left_and_what_each_plan_took(
    people: Federation, plans: tuple[Plan, Plan, Plan], first_run: str
) -> None:
    train, held_out = json.loads(ask_node(people, "budget", "--json"))
    assert train["left"] == pytest.approx(train["budget"] - train["epsilon"])
    assert (train["secure_noise"], held_out["secure_noise"]) == (True, True)
    assert sum(plan["charges"] for plan in train["plans"]) == train["charges"]
    mine = next(plan for plan in train["plans"] if plan["plan_id"] == plans[0].id)
    assert (mine["title"], mine["rounds"], mine["charges"]) == ("The first plan", 2, 4)
    assert mine["epsilon_training_frozen"] < mine["epsilon_training"] < mine["epsilon"] <= 3
    assert mine["epsilon"] <= train["epsilon"]
    assert mine["epsilon_claimed_per_image"] <= 3 < mine["epsilon_per_image_claim_most"]
    in_words = ask_node(people, "budget")
    assert "The first plan: a tool that bounds each image would report epsilon" in in_words


def test_a_preview_says_what_a_plan_would_cost_and_charges_nothing(
    people: Federation, plans: tuple[Plan, Plan, Plan], first_run: str
) -> None:
    new = small_plan("A plan nobody has voted on", rounds=3)
    people.propose(new)
    north = people.sites["north"]
    wait_until(lambda: new.id in {one.plan.id for one in voted_on(north)})
    before = ask_node(people, "budget", "--json")
    found = json.loads(ask_node(people, "budget", "preview", new.id, "--json"))
    assert (found["vote"], found["objection"]) == (None, None)
    assert found["spent"] < found["after"] <= found["spent"] + 3
    assert found["left"] == pytest.approx(found["budget"] - found["after"])
    assert found["is_affordable"] == (found["after"] <= found["budget"])
    assert found["epsilon_training_frozen"] < found["epsilon_training"] < 3
    words = ask_node(people, "budget", "preview", new.id)
    assert words.startswith("A plan nobody has voted on: the budget ")
    assert ask_node(people, "budget", "--json") == before
    with pytest.raises(VoteError, match="holds no plan"):
        ask_node(people, "budget", "preview", "sha256:" + 64 * "0")


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


def test_a_plan_of_several_findings_can_be_drafted(people: Federation, tmp_path: Path) -> None:
    config = str(people.folder / "centre" / "centre.toml")
    path = tmp_path / "plan.json"
    words = ["draft", str(path), "--task", "multi-label", "--class", "effusion", "--class", "mass"]
    invoked = CliRunner().invoke(centre.app, [*words, "--config", config], catch_exceptions=False)
    assert invoked.exit_code == 0
    plan = Plan.from_json(json.loads(path.read_text()))
    assert plan.cohort.classes == ("effusion", "mass")
    assert plan.network.classes == 2


def test_a_coordinator_that_is_not_there_is_said_in_words(people: Federation) -> None:
    config = str(people.folder / "centre" / "centre.toml")
    with pytest.raises(CentreError, match="start it with `wardround centre up`"):
        CliRunner().invoke(centre.app, ["status", "--config", config], catch_exceptions=False)
