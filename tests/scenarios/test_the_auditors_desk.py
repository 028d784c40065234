"""The auditors' desk over a federation that really ran: what was written is what is read."""

import base64
import tomllib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from desk_parties import new_key
from fastapi.testclient import TestClient
from federation import HOSPITALS, Federation, wait_until
from psycopg_pool import ConnectionPool

from audit.checkpoint import open_checkpoint
from audit.desk.app import create_app
from audit.desk.service import open_desk
from audit.desk.settings import DeskSettings
from audit.merkle import leaf_hash
from audit.proof import check_proof
from protocol.plan import Plan

pytestmark = pytest.mark.scenario

Ask = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def desk(people: Federation, first_run: str) -> Iterator[TestClient]:
    """A desk beside the federation's log, whose auditor asks with every call."""
    home = people.folder / "audit"
    content = tomllib.loads((home / "audit.toml").read_text())
    content["desk"] = {"listen": "127.0.0.1:0", "keys": "auditors.json"}
    settings = DeskSettings.model_validate(content, context={"folder": home})
    headers = {"Authorization": f"Bearer {new_key(settings.desk.keys)}"}
    people.settle()
    with ConnectionPool(settings.dsn, min_size=1, max_size=4, open=True) as pool:
        client = TestClient(create_app(open_desk(settings, pool)), headers=headers)
        # Each question is itself an entry, so that the log is never at rest.
        size = len(people.entries())
        wait_until(lambda: client.get("/v1/health/log").json()["projected"] >= size)
        yield client


@pytest.fixture
def ask(desk: TestClient) -> Ask:
    def asking(path: str, **parameters: str | int) -> dict[str, Any]:
        answer = desk.get(path, params=parameters)
        assert answer.status_code == 200, (path, answer.text)
        assert answer.headers["wardround-recorded-as"]
        return dict(answer.json())

    return asking


def test_who_took_part_is_told_round_by_round(ask: Ask, first_run: str) -> None:
    answer = ask(f"/v1/runs/{first_run}/timeline", limit=500)
    assert [sorted(one["participants"]) for one in answer["rounds"]] == [sorted(HOSPITALS)] * 2
    assert answer["run"]["candidates"]
    for site in HOSPITALS:
        found = ask(f"/v1/nodes/{site}/participation")
        mine = [one for one in found["rounds"] if one["run_id"] == first_run]
        assert [(one["round"], one["outcome"]) for one in mine] == [(1, "in"), (2, "in")]


def test_what_each_hospital_spent_is_what_its_mechanisms_come_to(ask: Ask, first_run: str) -> None:
    accounts = ask(f"/v1/runs/{first_run}/privacy-ledger")["accounts"]
    assert sorted({one["site"] for one in accounts}) == sorted(HOSPITALS)
    for one in accounts:
        assert one["is_borne_out"], one
        assert float(one["epsilon_logged"]) == pytest.approx(one["epsilon_recomputed"], rel=1e-3)


def test_the_votes_are_the_hospitals_own(ask: Ask, plans: tuple[Plan, ...], first_run: str) -> None:
    (proposal,) = ask("/v1/governance/proposals", plan_id=plans[0].id)["proposals"]
    assert proposal["meets_rule"]
    assert {one["site"] for one in proposal["votes"] if one["counts"]} == set(HOSPITALS)
    assert proposal["activation"]


def test_what_led_to_the_model_is_whole(ask: Ask, first_run: str) -> None:
    (digest,) = ask(f"/v1/runs/{first_run}/timeline")["run"]["candidates"]
    answer = ask(f"/v1/models/{digest}/lineage")
    assert answer["is_known"]
    assert answer["rounds"] == [f"round:{first_run}/{number}" for number in (1, 2)]
    kinds = {one["kind"] for one in answer["nodes"]}
    assert kinds >= {"model", "round", "site", "plan", "approval", "charge", "data"}
    names = {one["id"] for one in answer["nodes"]}
    assert all({edge["source"], edge["target"]} <= names for edge in answer["edges"])


def test_an_honest_federation_shows_no_fault(ask: Ask, first_run: str) -> None:
    answer = ask("/v1/findings")
    assert answer["is_complete"]
    assert not [one for one in answer["findings"] if one["gravity"] == "fault"]
    for run in ask("/v1/contributions")["runs"]:
        assert run["agrees"], run


def test_every_entry_of_the_run_is_proven_to_whoever_asks(
    ask: Ask, desk: TestClient, people: Federation, first_run: str
) -> None:
    membership = people.sites["north"].membership
    page = ask("/v1/events", run_id=first_run, limit=500)
    assert page["next_after"] is None
    mine = [entry for entry in people.entries() if entry.run_id == first_run]
    assert {bytes.fromhex(one["leaf"]) for one in page["entries"]} >= {one.leaf for one in mine}
    assert open_checkpoint(page["checkpoint"]["note"], membership.log)
    for one in page["entries"][::7]:
        found = ask(f"/v1/events/{one['index']}")
        assert leaf_hash(base64.b64decode(found["content"])).hex() == one["leaf"]
        check_proof(
            desk.get(one["proof"]).text,
            bytes.fromhex(one["leaf"]),
            log_verifier=membership.log,
            witness_policy=membership.witnesses,
        )
