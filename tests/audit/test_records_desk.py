"""Records over HTTP, and the whole story of a payload: kept, read, held, lifted, erased, proven."""

import base64
import secrets
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from audit_parties import Certified
from audit_story import approved
from desk_parties import Opened, opened_desk
from fastapi.testclient import TestClient

from audit import __main__ as verifier
from audit.app import create_app
from audit.commitment import Opening, spell
from audit.desk.callers import Role
from audit.entry import Entry
from audit.payloads.deposit import Deposit
from audit.proof import check_proof
from protocol.events import Event


@dataclass
class Bureau:
    """A desk with two records officers and a hospital that hands in payloads."""

    opened: Opened
    oda: TestClient
    pia: TestClient
    door: TestClient

    def commit(self, opening: Opening) -> Entry:
        """The hospital's entry that commits to `opening`."""
        story = self.opened.story
        event = Event("data.manifest", {"list": spell(opening.commitment)}, story.plan.id)
        content = story.write("east", event)
        self.opened.write([content])
        return Entry.parse(content)

    def deposit(self, opening: Opening, entry: Entry, member: str = "east") -> Any:
        deposit = Deposit.sign(
            opening,
            self.opened.story.signers[member],
            event_id=entry.event_id,
            media_type="text/plain",
        )
        return self.door.post("/v1/payloads", json=deposit.to_json())

    def keep(self, content: bytes = b"list of images") -> str:
        opening = Opening(secrets.token_bytes(32), content)
        assert self.deposit(opening, self.commit(opening)).status_code == 201
        return spell(opening.commitment)

    def erase(self, commitment: str) -> Any:
        request = {"commitment": commitment, "reason": "objection", "reference": "2026/9"}
        proposal = self.oda.post("/v1/erasures", json=request).json()
        path = f"/v1/erasures/{proposal['id']}/confirm"
        return self.pia.post(path, json={"digest": proposal["digest"]})


@pytest.fixture
def bureau(dsn: str, tmp_path: Path) -> Iterator[Bureau]:
    with opened_desk(dsn, approved(), tmp_path) as opened:
        door = TestClient(Certified(create_app(opened.parts), "east"))
        oda, pia = (opened.client_as(Role.RECORDS_OFFICER) for _ in range(2))
        yield Bureau(opened, oda, pia, door)


def test_a_payload_may_go_while_every_proof_stays(bureau, tmp_path, capsys):
    opened = bureau.opened
    secret = secrets.token_hex(20).encode()
    opening = Opening(secrets.token_bytes(32), secret)
    entry = bureau.commit(opening)
    assert bureau.deposit(opening, entry).json()["retention"] == "default"
    commitment = spell(opening.commitment)

    read = bureau.oda.get(f"/v1/payloads/{commitment}/content?purpose=patient-request").json()
    assert base64.b64decode(read["payload"]) == secret

    scope = {"commitments": [commitment]}
    wanted = {"reason": "litigation", "reference": "2026/114", "scope": scope}
    hold = bureau.oda.post("/v1/holds", json=wanted).json()["id"]
    asked = {"commitment": commitment, "reason": "objection", "reference": "2026/9"}
    refused = bureau.oda.post("/v1/erasures", json=asked)
    assert (refused.status_code, refused.json()["type"]) == (409, "held")
    assert "litigation" in refused.json()["detail"]

    wanted = {"reason": "matter-closed", "reference": "2026/114"}
    lift = bureau.oda.post(f"/v1/holds/{hold}/lift", json=wanted).json()
    said = {"digest": lift["digest"]}
    assert bureau.oda.post(f"/v1/lifts/{lift['id']}/confirm", json=said).status_code == 409
    assert bureau.pia.post(f"/v1/lifts/{lift['id']}/confirm", json=said).status_code == 200

    assert bureau.erase(commitment).json()["decision"]["verdict"] == "confirmed"
    gone = bureau.oda.get(f"/v1/payloads/{commitment}/content?purpose=patient-request")
    assert (gone.status_code, gone.json()["type"]) == (410, "payload-removed")
    database = everything_in_the_database(opened)
    assert not any(part in database for part in (secret, opening.salt))

    opened.settle()
    who = {one: client.get("/v1/whoami").json()["id"] for one, client in people(bureau).items()}
    assert acts(opened) == [
        ("payload.read", who["oda"]),
        ("retention.hold_set", who["oda"]),
        ("retention.lift_proposed", who["oda"]),
        ("retention.hold_lifted", who["pia"]),
        ("erasure.proposed", who["oda"]),
        ("erasure.performed", who["pia"]),
    ]
    opened.cosign()
    evidence = tmp_path / "evidence.tar"
    evidence.write_bytes(bureau.door.get("/v1/exports/evidence").content)
    policy = ["--policy", str(tmp_path / "consortium.json")]
    assert verifier.main(["verify", str(evidence), *policy]) == 0, capsys.readouterr().out
    proof = bureau.door.get(f"/v1/events/{entry.event_id}/proof").text
    log, witnesses = opened.desk.trust.log, opened.desk.trust.witnesses
    check_proof(proof, entry.leaf, log_verifier=log, witness_policy=witnesses)
    assert commitment.encode() in evidence.read_bytes()
    assert secret not in evidence.read_bytes()


def people(bureau: Bureau) -> dict[str, TestClient]:
    return {"oda": bureau.oda, "pia": bureau.pia}


def acts(opened: Opened) -> list[tuple[str, str]]:
    """What officers did, as an auditor finds it in the log."""
    found = []
    for kind in ("payload.", "retention.", "erasure."):
        found += opened.get("/v1/events", type=kind)["entries"]
    ordered = sorted(found, key=lambda one: one["index"])
    return [(one["entry"]["type"], one["entry"]["actor"]["id"]) for one in ordered]


def everything_in_the_database(opened: Opened) -> bytes:
    """Every row of every table, as a copy of the database would have it."""
    content = bytearray()
    with opened.desk.pool.connection() as connection:
        tables = connection.execute(
            "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
        ).fetchall()
        for (table,) in tables:
            with connection.cursor().copy(f"COPY {table} TO STDOUT (FORMAT BINARY)") as copy:
                for chunk in copy:
                    content += bytes(chunk)
    return bytes(content)


@pytest.mark.parametrize("role", [Role.AUDITOR, Role.OPERATOR])
def test_nobody_but_a_records_officer_reads_or_removes(bureau, role):
    commitment, client = bureau.keep(), bureau.opened.client_as(role)
    some = uuid.uuid4()
    calls = [
        ("GET", f"/v1/payloads/{commitment}/content?purpose=legal", None),
        ("POST", "/v1/holds", {"reason": "safety", "reference": "1", "scope": {"since_us": 0}}),
        ("POST", f"/v1/holds/{some}/lift", {"reason": "narrowed", "reference": "1"}),
        ("POST", "/v1/disposals", {"retention": "default", "reference": "1"}),
        ("POST", f"/v1/erasures/{some}/confirm", {"digest": commitment}),
        ("POST", f"/v1/disposals/{some}/withdraw", None),
        ("POST", "/v1/payloads:sweep", None),
    ]
    for method, path, body in calls:
        assert client.request(method, path, json=body).status_code == 403, path


def test_an_auditor_sees_what_is_kept_and_decided_but_not_what_it_is(bureau):
    commitment = bureau.keep(b"list of images")
    bureau.erase(bureau.keep())
    auditor = bureau.opened.client
    shown = auditor.get(f"/v1/payloads/{commitment}")
    assert shown.json()["producer"] == "demo/east"
    assert shown.json()["removed_by"] is None
    (erasure,) = auditor.get("/v1/erasures").json()
    assert auditor.get(f"/v1/erasures/{erasure['id']}").json() == erasure
    assert erasure["decision"]["decided_by"] != erasure["proposed_by"]
    kept = {one["name"]: one["kept"] for one in auditor.get("/v1/retention/classes").json()}
    assert kept == {"default": 1, "documentation": 0, "operation": 0}
    assert auditor.get("/v1/retention/due?retention=default").json() == []
    assert auditor.get("/v1/disposals").json() == []


def test_reading_without_a_purpose_is_refused(bureau):
    commitment = bureau.keep()
    for query in ("", "?purpose=", "?purpose=curiosity"):
        assert bureau.oda.get(f"/v1/payloads/{commitment}/content{query}").status_code == 422


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"reason": "litigation", "reference": "Jane Doe", "scope": {"since_us": 0}},
        {"reason": "because", "reference": "1", "scope": {"since_us": 0}},
        {"reason": "litigation", "reference": "1", "scope": {}},
        {"reason": "litigation", "reference": "1", "scope": {"plan_id": None}},
        {"reason": "litigation", "reference": "1", "scope": {"patient": "Jane Doe"}},
        {"reason": "litigation", "reference": "1", "scope": {"since_us": 0}, "note": "Jane Doe"},
    ],
)
def test_a_hold_that_is_none_is_refused_without_repeating_it(bureau, body):
    answer = bureau.oda.post("/v1/holds", json=body)
    assert answer.status_code == 422
    assert "Jane" not in answer.text


def test_what_is_unknown_is_said_to_be(bureau):
    nothing, some = "sha256:" + "00" * 32, uuid.uuid4()
    request = {"commitment": nothing, "reason": "objection", "reference": "1"}
    assert bureau.oda.post("/v1/erasures", json=request).status_code == 404
    for path in (f"/v1/payloads/{nothing}", f"/v1/holds/{some}", f"/v1/disposals/{some}"):
        assert bureau.oda.get(path).status_code == 404
    lift = {"reason": "narrowed", "reference": "1"}
    assert bureau.oda.post(f"/v1/holds/{some}/lift", json=lift).status_code == 404
    confirm = bureau.pia.post(f"/v1/lifts/{some}/confirm", json={"digest": nothing})
    assert confirm.status_code == 404


def test_a_request_sent_twice_is_one_request(bureau):
    scope = {"since_us": 0}
    wanted = {"id": str(uuid.uuid4()), "reason": "safety", "reference": "1", "scope": scope}
    first, second = (bureau.oda.post("/v1/holds", json=wanted) for _ in range(2))
    assert first.json() == second.json()
    assert len(bureau.oda.get("/v1/holds").json()) == 1
    other = bureau.oda.post("/v1/holds", json={**wanted, "reference": "2"})
    assert (other.status_code, other.json()["type"]) == (409, "conflict")


def test_the_writers_door_says_why_it_does_not_take_a_payload(bureau):
    opening = Opening(secrets.token_bytes(32), b"x")
    entry = bureau.commit(opening)
    assert bureau.deposit(opening, entry, "north").status_code == 403
    assert bureau.deposit(Opening(opening.salt, b"y"), entry).status_code == 422
    assert bureau.door.post("/v1/payloads", content=b"{").status_code == 422
    assert bureau.door.post("/v1/payloads", content=b"\xff").status_code == 422
    assert bureau.door.post("/v1/payloads", content=bytes(200_000)).status_code == 413
    assert bureau.deposit(opening, entry).status_code == 201
    assert bureau.deposit(opening, entry).status_code == 200
    bureau.erase(spell(opening.commitment))
    assert bureau.deposit(opening, entry).status_code == 410


def test_after_a_confirmation_the_files_are_swept_without_being_asked(bureau):
    commitment = bureau.keep()
    before = file_of_payloads(bureau.opened)
    bureau.erase(commitment)
    assert file_of_payloads(bureau.opened) != before
    assert bureau.oda.post("/v1/payloads:sweep").json() == {"swept": True}


def file_of_payloads(opened: Opened) -> int:
    with opened.desk.pool.connection() as connection:
        row = connection.execute("SELECT pg_relation_filenode('audit_payload')").fetchone()
    return int(row[0])
