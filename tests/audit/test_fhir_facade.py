"""The log as FHIR audit events: valid, searchable as FHIR says, each with its proof in it."""

import base64
from collections.abc import Iterator
from pathlib import Path

import pytest
from audit_story import RUN, whole_story
from desk_parties import Opened, opened_desk
from fhir.resources.R4B.auditevent import AuditEvent
from fhir.resources.R4B.bundle import Bundle
from fhir.resources.R4B.capabilitystatement import CapabilityStatement
from fhir.resources.R4B.codesystem import CodeSystem
from fhir.resources.R4B.operationoutcome import OperationOutcome
from fhir.resources.R4B.structuredefinition import StructureDefinition

from audit.desk.callers import Role
from audit.desk.fhir import codes
from audit.desk.fhir.search import TOKENS
from audit.merkle import leaf_hash
from audit.proof import check_proof, parse_proof


@pytest.fixture
def opened(dsn: str, tmp_path: Path) -> Iterator[Opened]:
    with opened_desk(dsn, whole_story(), tmp_path) as desk:
        yield desk


def ids(bundle: dict) -> list[str]:
    Bundle.model_validate(bundle)
    return [
        entry["resource"]["id"]
        for entry in bundle.get("entry", [])
        if entry["search"]["mode"] == "match"
    ]


def search(opened: Opened, *parameters: tuple[str, str], **headers: str) -> dict:
    answer = opened.client.get("/fhir/AuditEvent", params=list(parameters), headers=headers)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/fhir+json"
    return answer.json()


def everything(opened: Opened, *parameters: tuple[str, str]) -> list[dict]:
    """All pages of a search, following `next`."""
    found = []
    url: str | None = None
    while True:
        page = opened.client.get(url).json() if url else search(opened, *parameters)
        found += [entry["resource"] for entry in page.get("entry", [])]
        url = next((link["url"] for link in page["link"] if link["relation"] == "next"), None)
        if url is None:
            return found


def parts(resource: dict) -> dict:
    (extension,) = resource["extension"]
    assert extension["url"] == codes.LOG_PROOF
    return {
        part["url"]: next(value for name, value in part.items() if name != "url")
        for part in extension["extension"]
    }


def test_every_resource_proves_itself_offline(opened):
    trust = opened.desk.trust
    found = everything(opened)
    stored = [base64.b64decode(parts(resource)["entry"]) for resource in found]
    assert [entry for entry in stored if entry in opened.story.entries] == opened.story.entries
    for resource, entry in zip(found, stored, strict=True):
        said = parts(resource)
        assert said["leaf"] == leaf_hash(entry).hex()
        assert parse_proof(said["proof"]).index == int(said["index"])
    first = parts(found[0])
    check_proof(
        first["proof"],
        leaf_hash(stored[0]),
        log_verifier=trust.log,
        witness_policy=trust.witnesses,
    )


def test_a_resource_is_read_by_event_id_and_by_index(opened):
    by_index = opened.client.get("/fhir/AuditEvent/3")
    AuditEvent.model_validate(by_index.json())
    by_id = opened.client.get(f"/fhir/AuditEvent/{by_index.json()['id']}")
    assert by_id.json() == by_index.json()
    assert parts(by_id.json())["index"] == "3"


def test_pages_go_on_where_the_last_one_ended_in_both_orders(opened):
    newest = everything(opened, ("_sort", "-date"), ("_count", "4"), ("subtype", "plan.voted"))
    oldest = everything(opened, ("_sort", "date"), ("_count", "2"), ("subtype", "plan.voted"))
    assert len(oldest) == 3
    assert [r["id"] for r in newest] == [r["id"] for r in reversed(oldest)]
    all_in_pages = everything(opened, ("_count", "5"), ("date", "lt2026"))
    assert [r["recorded"] for r in all_in_pages] == sorted(r["recorded"] for r in all_in_pages)
    assert len(all_in_pages) == len(opened.story.entries)


def test_a_search_finds_what_its_tokens_say_and_nothing_else(opened):
    def kinds(*parameters: tuple[str, str]) -> set[str]:
        return {r["subtype"][-1]["code"] for r in everything(opened, *parameters)}

    assert kinds(("subtype", f"{codes.KIND_SYSTEM}|update.sent")) == {"update.sent"}
    assert kinds(("subtype", "update.sent,run.created,plan.voted")) == {"update.sent", "plan.voted"}
    assert kinds(("subtype", "update.sent"), ("subtype", "plan.voted")) == set()
    assert kinds(("type", f"{codes.LIFECYCLE}|transmit")) == {"update.sent"}
    assert kinds(("type", f"{codes.DICOM}|transmit")) == set()
    assert kinds(("source.identifier", f"{codes.PRODUCER_IDENTIFIER}|demo/centre")) == {
        "consortium.founded", "plan.proposed", "round.opened", "round.closed", "model.candidate"
    }  # fmt: skip
    run = f"{codes.IDENTIFIER}/run|{RUN}"
    assert "plan.voted" not in kinds(("entity:identifier", run))
    assert "update.sent" in kinds(("entity.identifier", run))
    assert kinds(("outcome", "8")) == set()
    third = opened.client.get("/fhir/AuditEvent/2").json()
    assert [r["id"] for r in everything(opened, ("_id", third["id"]))] == [third["id"]]
    assert kinds(("_id", "2")) == set()
    assert kinds(("action", "D")) == set()
    assert kinds(("entity-type", "3"), ("subtype", "round.closed")) == {"round.closed"}
    assert kinds(("agent.identifier", "demo/east"), ("date", "lt2026")) == {
        "plan.voted", "privacy.charged", "update.sent"
    }  # fmt: skip


def test_a_date_means_its_whole_span(opened):
    moments = [r["recorded"] for r in everything(opened, ("date", "lt2026"))]
    third = moments[2]

    def count(*dates: str) -> int:
        return len(everything(opened, *(("date", date) for date in (*dates, "lt2026"))))

    second = third[:19] + "Z"
    assert count(third) == count(second) == 1
    assert count(f"ge{second}") == len(moments) - 2
    assert count(f"gt{second}") == len(moments) - 3
    assert count(f"le{second}") == 3
    assert count(f"lt{second}") == 2
    assert count(f"ne{second}") == len(moments) - 1
    assert count(f"ge{second}", f"le{second}") == 1
    assert count("2025-10-09") + count("ne2025-10-09") == len(moments)
    assert count("2025") == count("2025-10") == len(moments)
    assert count("sa2025-10") == count("eb2025-10") == 0


def test_what_is_not_understood_is_passed_over_aloud_or_refused(opened):
    page = search(opened, ("subtype", "plan.voted"), ("patient", "Patient/1"))
    outcome = page["entry"][-1]
    assert outcome["search"]["mode"] == "outcome"
    assert "patient" in outcome["resource"]["issue"][0]["diagnostics"]
    assert "patient" not in page["link"][0]["url"]
    assert len(ids(page)) == 3
    strict = opened.client.get(
        "/fhir/AuditEvent", params={"patient": "1"}, headers={"Prefer": "handling=strict"}
    )
    assert strict.status_code == 400
    OperationOutcome.model_validate(strict.json())


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/fhir/AuditEvent?date=yesterday", 400),
        ("/fhir/AuditEvent?date=2025-13", 400),
        ("/fhir/AuditEvent?date=9999", 400),
        ("/fhir/AuditEvent?_count=0", 400),
        ("/fhir/AuditEvent?_count=-1", 400),
        ("/fhir/AuditEvent?_sort=agent", 400),
        ("/fhir/AuditEvent?_cursor=here", 400),
        ("/fhir/AuditEvent?_format=xml", 400),
        ("/fhir/AuditEvent?type=a%7Cb%7Cc", 400),
        ("/fhir/AuditEvent/999999", 404),
        ("/fhir/AuditEvent/%00", 404),
    ],
)
def test_an_error_is_an_operation_outcome(opened, path, status):
    answer = opened.client.get(path)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/fhir+json"
    OperationOutcome.model_validate(answer.json())


def test_xml_is_not_spoken(opened):
    answer = opened.client.get("/fhir/AuditEvent", headers={"Accept": "application/fhir+xml"})
    assert answer.status_code == 406


def test_only_readers_are_shown_the_record_and_the_terms_are_open(opened):
    nobody, operator = opened.client_with(None), opened.client_as(Role.OPERATOR)
    for path in ("/fhir/AuditEvent", "/fhir/AuditEvent/0"):
        assert nobody.get(path).status_code == 401
        refused = operator.get(path)
        assert refused.status_code == 403
        OperationOutcome.model_validate(refused.json())
    CapabilityStatement.model_validate(nobody.get("/fhir/metadata").json())
    CodeSystem.model_validate(nobody.get("/fhir/CodeSystem/event-kind").json())
    StructureDefinition.model_validate(nobody.get("/fhir/StructureDefinition/log-proof").json())


def test_the_capability_statement_names_what_is_understood(opened):
    statement = opened.client.get("/fhir/metadata").json()
    named = {one["name"] for one in statement["rest"][0]["resource"][0]["searchParam"]}
    assert named == {"date", *(name for name in TOKENS if ":" not in name)}
    for name in named:
        value = "2025" if name == "date" else "x"
        strict = opened.client.get(
            "/fhir/AuditEvent", params={name: value}, headers={"Prefer": "handling=strict"}
        )
        assert strict.status_code == 200, name


def test_a_search_is_on_the_record_as_a_query_that_balp_knows(opened):
    search(opened, ("subtype", "plan.voted"))
    opened.settle()
    (found,) = everything(opened, ("subtype", "audit.query"))
    AuditEvent.model_validate(found)
    assert found["meta"]["profile"] == [codes.BALP_QUERY]
    assert found["type"]["code"] == "rest"
    agents = {a["type"]["coding"][0]["code"]: a for a in found["agent"]}
    assert set(agents) == {"IRCP", "110153", "110152"}
    assert [a["requestor"] for a in found["agent"]].count(True) == 1
    assert "GET /fhir/AuditEvent" in found["entity"][0]["description"]
