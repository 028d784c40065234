"""Who is let in at the desk, what is recorded of them, and what their database role may."""

import itertools
import json
import re
import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
from audit_story import approved
from desk_parties import Opened, new_key, opened_desk
from fastapi.testclient import TestClient
from psycopg import sql
from psycopg_pool import ConnectionPool
from starlette.websockets import WebSocketDisconnect

from audit.desk import api_keys
from audit.desk.app import create_app, create_routes
from audit.desk.callers import Role
from audit.desk.rights import grant
from audit.desk.service import now_us, open_desk
from audit.entry import ActorKind
from audit.settings import SettingsError
from deploy.postgres_server import create_guest, drop_guest


@pytest.fixture
def opened(dsn: str, tmp_path: Path) -> Iterator[Opened]:
    with opened_desk(dsn, approved(), tmp_path) as desk:
        yield desk


def routes(opened: Opened) -> list[tuple[str, str]]:
    """Method and an address of every route that asks for somebody's credentials."""
    description = create_routes(opened.desk).openapi()
    return [
        (method.upper(), re.sub(r"\{[^}]+\}", "x", path))
        for path, operations in description["paths"].items()
        for method, operation in operations.items()
        if operation.get("security")
    ]


def test_no_route_answers_without_credentials_and_each_records_those_it_answers(opened):
    found = routes(opened)
    assert len(found) >= 15
    nobody, officer = opened.client_with(None), opened.client_as(Role.RECORDS_OFFICER)
    for method, path in found:
        refused = nobody.request(method, path)
        assert refused.status_code == 401, path
        assert refused.headers["www-authenticate"].startswith("Bearer")
        asked = officer.request(method, path)
        assert asked.status_code not in {401, 403}, path
        assert asked.status_code < 500, (path, asked.text)
        assert asked.headers["wardround-recorded-as"], path
    opened.settle()
    entries = opened.get("/v1/events", type="audit.", limit=500)["entries"]
    recorded = [re.sub(r"\{[^}]+\}", "x", one["entry"]["body"]["route"]) for one in entries]
    assert recorded == [f"{method} {path}" for method, path in found]
    assert {one["entry"]["actor"]["role"] for one in entries} == {"records-officer"}


def test_an_operator_sees_health_and_findings_and_nothing_of_the_record(opened):
    operator = opened.client_as(Role.OPERATOR)
    assert operator.get("/v1/health/log").status_code == 200
    assert operator.get("/v1/findings").status_code == 200
    for path in ("/v1/events", "/v1/runs", "/v1/events/0/proof", "/v1/governance/proposals"):
        answer = operator.get(path)
        assert answer.status_code == 403
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["type"] == "wrong-role"
    opened.settle()
    refusals = opened.get("/v1/events", type="anomaly.access_refused")["entries"]
    assert len(refusals) == 1  # one a minute from one caller; the next entry counts the rest
    assert refusals[0]["entry"]["body"]["reason"] == "wrong-role"
    assert refusals[0]["entry"]["actor"]["role"] == "operator"
    assert refusals[0]["entry"]["outcome"] == 8


def test_a_key_that_expired_or_was_revoked_opens_nothing_from_then_on(opened):
    path = opened.settings.desk.keys
    old = new_key(path, expires_us=now_us() - 1)
    key = new_key(path)
    assert opened.client_with(old).get("/v1/whoami").status_code == 401
    client = opened.client_with(key)
    assert client.get("/v1/whoami").status_code == 200
    api_keys.revoke_key(path, key[len(api_keys.PREFIX) :].partition(".")[0])
    assert client.get("/v1/whoami").status_code == 401


def test_a_changed_secret_an_unknown_id_and_other_schemes_are_refused(opened):
    key = opened.client.headers["authorization"].removeprefix("Bearer ")
    changed = key[:-1] + ("A" if key[-1] != "A" else "B")
    for header in (f"Bearer {changed}", f"Basic {key}", "Bearer ", "Bearer a.b.c", key, "Bearer é"):
        client = opened.client_with(None)
        answer = client.get("/v1/whoami", headers={"Authorization": header.encode("latin-1")})
        assert answer.status_code == 401, header
        assert key not in answer.text


def test_a_key_in_the_address_opens_nothing(opened):
    key = opened.client.headers["authorization"].removeprefix("Bearer ")
    for name in ("access_token", "api_key", "key", "Authorization"):
        answer = opened.client_with(None).get("/v1/whoami", params={name: key})
        assert answer.status_code == 401


def test_whoever_fails_too_often_waits_even_with_the_right_key(opened):
    for _ in range(10):
        assert opened.client_with("wrong").get("/v1/whoami").status_code == 401
    answer = opened.client.get("/v1/whoami")
    assert answer.status_code == 429
    assert 1 <= int(answer.headers["retry-after"]) <= 60


def test_what_cannot_be_recorded_is_not_answered(opened):
    with opened.desk.pool.connection() as connection:
        connection.execute(
            "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN RAISE EXCEPTION 'no space left' USING ERRCODE = 'disk_full'; END $$"
        )
        connection.execute(
            "CREATE TRIGGER full_disk BEFORE INSERT ON outbox_entry"
            " FOR EACH ROW EXECUTE FUNCTION full_disk()"
        )
    answer = opened.client.get("/v1/events")
    assert answer.status_code == 503
    assert answer.json()["type"] == "log-unavailable"
    assert "plan" not in answer.text
    with opened.desk.pool.connection() as connection:
        connection.execute("DROP TRIGGER full_disk ON outbox_entry")
    assert opened.client.get("/v1/events").status_code == 200


def test_the_record_learns_a_digest_of_what_was_asked_and_not_the_words(opened):
    opened.client.get("/v1/events", params={"actor": "Maria Musterfrau"})
    opened.client.get("/v1/runs/Maria Musterfrau/timeline")
    opened.client.get("/v1/nowhere/Maria Musterfrau")
    opened.settle()
    with opened.desk.pool.connection() as connection:
        rows = connection.execute("SELECT content FROM audit_bundle").fetchall()
        kept = connection.execute("SELECT facts::text FROM audit_event").fetchall()
    assert len(kept) >= 8
    assert b"Musterfrau" not in b"".join(content for (content,) in rows)
    assert "Musterfrau" not in "".join(text for (text,) in kept)


def test_a_method_of_a_callers_own_making_is_not_written_down(opened):
    assert opened.client.request("MUSTERFRAU", "/v1/whoami").status_code == 405
    assert opened.client_with(None).request("MUSTERFRAU", "/v1/whoami").status_code == 401
    opened.settle()
    with opened.desk.pool.connection() as connection:
        rows = connection.execute("SELECT facts ->> 'route' FROM audit_event").fetchall()
    assert rows.count(("(other) (none)",)) >= 1
    assert not [route for (route,) in rows if route and "MUSTERFRAU" in route]


SPELLINGS = (
    "//v1/events", "/v1//events", "/v1/events/", "/V1/events", "/%2e/v1/events", "/v1/events;x",
    "/static/../v1/events", "/static/%2e%2e/v1/events", "/v1/openapi.json/../events",
    "/fhir/metadata/../../v1/events", "/fhir/CodeSystem/../AuditEvent", "/v1%2fevents", "/fhir",
    "/fhir/CodeSystem/..%2fAuditEvent", "/v1/events%00", "http://desk/v1/events", "/v1",
)  # fmt: skip


def test_no_spelling_of_a_path_shows_anything_without_credentials(opened):
    client = opened.client_with(None)
    for path, method in itertools.product(SPELLINGS, ("GET", "HEAD", "OPTIONS", "POST", "TRACE")):
        answer = client.request(method, path, follow_redirects=False)
        assert answer.status_code in {303, 400, 401, 404, 405}, (method, path, answer.text)
        assert "checkpoint" not in answer.text, (method, path)


def test_a_body_that_is_too_long_is_refused_and_that_is_recorded(opened):
    fits = opened.client.post("/v1/exports", content=b" " * 2**20)
    assert fits.status_code == 422
    answer = opened.client.post("/v1/exports", content=b" " * (2**20 + 1))
    assert answer.status_code == 400
    assert answer.headers["wardround-recorded-as"]


def test_there_is_no_way_past_the_record_by_a_websocket(opened):
    with (
        pytest.raises(WebSocketDisconnect) as refused,
        opened.client.websocket_connect("/v1/events"),
    ):
        pass
    assert refused.value.code == 1008


def test_only_whole_names_and_folders_are_open_to_all(opened):
    nobody = opened.client_with(None)
    assert nobody.get("/v1/openapi.json").status_code == 200
    assert nobody.get("/fhir/metadata").status_code == 200
    assert nobody.get("/v1/openapi.jsonx").status_code == 401
    assert nobody.get("/fhir/metadatax").status_code == 401


def test_every_answer_forbids_caching_and_scripts(opened):
    for answer in (opened.client.get("/v1/whoami"), opened.client_with(None).get("/v1/whoami")):
        assert answer.headers["cache-control"] == "no-store"
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["strict-transport-security"]
        assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("typ=plan.voted", 400),
        ("type=plan.voted&type=plan.proposed", 400),
        ("run_id=%00", 422),
        ("run_id=" + "x" * 201, 422),
        ("round=99999999999999999999999999", 422),
        ("round=-1", 422),
        ("after=9007199254740993", 422),
        ("limit=0", 422),
        ("limit=501", 422),
        ("outcome=3", 422),
        ("model=sha256:00", 422),
        ("producer=%ff%fe", 200),
        ("actor=%F0%9F%8F%A5", 200),
    ],
)
def test_a_bad_question_is_refused_with_a_reason(opened, query, status):
    answer = opened.client.get(f"/v1/events?{query}")
    assert answer.status_code == status, answer.text
    if status != 200:
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["detail"]


@pytest.fixture
def guest(postgres: str, dsn: str) -> Iterator[tuple[str, str]]:
    """Name and DSN of a database role that may connect to the test's database."""
    name = f"desk_{secrets.token_hex(6)}"
    made = create_guest(postgres, dsn.rpartition("/")[2].partition("?")[0], name)
    yield name, made
    with psycopg.connect(dsn, autocommit=True) as owner:
        owner.execute(sql.SQL("DROP OWNED BY {}").format(sql.Identifier(name)))
    drop_guest(postgres, name)


def test_the_desk_works_in_a_role_that_can_only_read_the_log(dsn, guest, tmp_path):
    name, guest_dsn = guest
    with opened_desk(dsn, approved(), tmp_path) as desk:
        with psycopg.connect(dsn) as owner:
            grant(owner, name)
        with psycopg.connect(guest_dsn, autocommit=True) as connection:
            for statement in FORBIDDEN:
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    connection.execute(statement)
    with opened_desk_as(guest_dsn, desk) as asked:
        assert asked.get("/v1/events", type="plan.")["entries"]


FORBIDDEN = (
    "INSERT INTO audit_bundle (start, count, content) VALUES (256, 1, '')",
    "INSERT INTO audit_checkpoint (size, note) VALUES (1000000, '')",
    "INSERT INTO audit_claim (size, note) VALUES (1, '')",
    "INSERT INTO audit_witnessed (size, note) VALUES (1000000, '')",
    "UPDATE audit_bundle SET count = 1",
    "UPDATE audit_event SET outcome = 0",
    "DELETE FROM audit_bundle",
    "DELETE FROM outbox_entry",
    "UPDATE outbox_entry SET seq = 0",
    "INSERT INTO outbox_delivery (log, producer, seq, idx) VALUES ('a', 'b', 0, 0)",
    "TRUNCATE audit_event",
    "DROP TABLE audit_bundle",
    "ALTER TABLE audit_bundle DISABLE TRIGGER append_only",
    "CREATE TABLE mine (a int)",
)


@contextmanager
def opened_desk_as(dsn: str, before: Opened) -> Iterator[Opened]:
    """The same desk again, over another connection."""
    with ConnectionPool(dsn, min_size=1, max_size=2, open=True) as pool:
        desk = open_desk(before.settings, pool)
        client = TestClient(create_app(desk), headers=before.client.headers)
        yield replace(before, desk=desk, client=client)


def test_a_file_of_keys_that_others_may_read_is_refused(tmp_path):
    path = tmp_path / "auditors.json"
    new_key(path)
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o640)
    with pytest.raises(SettingsError, match="others may read it"):
        api_keys.read_keys(path)


def test_a_file_of_keys_holds_no_key(tmp_path):
    path = tmp_path / "auditors.json"
    key = new_key(path)
    assert key.partition(".")[2] not in path.read_text()


def key_for(path: Path, organisation: str, role: Role, kind: ActorKind) -> str:
    holder = api_keys.Holder(organisation, role, kind)
    return api_keys.make_key(path, holder, expires_us=None, random=secrets.token_bytes)


def test_a_service_is_on_the_record_as_a_service(opened):
    path = opened.settings.desk.keys
    key = key_for(path, "Monitoring", Role.OPERATOR, ActorKind.SERVICE)
    assert opened.client_with(key).get("/v1/health/log").status_code == 200
    opened.settle()
    entries = opened.get("/v1/events", type="audit.query", organisation="Monitoring")["entries"]
    assert [one["entry"]["actor"]["kind"] for one in entries] == ["service"]


@pytest.mark.parametrize(
    ("organisation", "role", "kind"),
    [
        ("A", Role.RECORDS_OFFICER, ActorKind.SERVICE),
        ("A", Role.AUDITOR, ActorKind.SYSTEM),
        ("", Role.AUDITOR, ActorKind.PERSON),
        ("A\nB", Role.AUDITOR, ActorKind.PERSON),
        ("A" * 201, Role.AUDITOR, ActorKind.PERSON),
    ],
)
def test_no_key_is_made_for_a_holder_that_the_record_could_not_name(
    tmp_path, organisation, role, kind
):
    path = tmp_path / "auditors.json"
    with pytest.raises(SettingsError, match=r"kind|records-officer|organisation"):
        key_for(path, organisation, role, kind)
    assert not path.exists()


def test_of_many_changes_at_once_none_is_lost(tmp_path):
    path = tmp_path / "auditors.json"
    first = new_key(path)[len(api_keys.PREFIX) :].partition(".")[0]
    with ThreadPoolExecutor(8) as pool:
        made = [pool.submit(new_key, path) for _ in range(20)]
        revoked = pool.submit(api_keys.revoke_key, path, first)
        made += [pool.submit(new_key, path) for _ in range(20)]
    revoked.result()
    names = {one.result()[len(api_keys.PREFIX) :].partition(".")[0] for one in made}
    kept = {key.id: key for key in api_keys.read_keys(path)}
    assert kept.keys() == names | {first}
    assert [key.id for key in kept.values() if key.is_disabled] == [first]


@pytest.mark.parametrize(
    "change",
    [
        {"digest": None},
        {"digest": "0" * 63},
        {"id": "ADMIN"},
        {"expires_us": "never"},
        {"is_disabled": "false"},
        {"role": "admin"},
        {"kind": "system"},
        {"organisation": 5},
        {"more": 1},
    ],
)
def test_a_file_of_keys_that_was_spoilt_opens_nothing(tmp_path, change):
    path = tmp_path / "auditors.json"
    key = new_key(path)
    content = json.loads(path.read_text())
    path.write_text(json.dumps({"keys": [{**content["keys"][0], **change}]}))
    with pytest.raises(SettingsError, match="not a file of keys"):
        api_keys.KeyRing(path, now_us).find(key)
    path.write_text(json.dumps({"keys": content["keys"] * 2}))
    with pytest.raises(SettingsError, match="one id"):
        api_keys.KeyRing(path, now_us).find(key)
