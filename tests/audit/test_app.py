"""The API's answers, without TLS: paths of the standards, and errors by one table."""

from collections.abc import Iterator

import psycopg
import pytest
from audit_parties import Certified, Consortium, running_log
from fastapi.testclient import TestClient

from audit.app import create_app
from audit.errors import AuditError, NoteError
from audit.problems import from_problem, to_problem
from audit.refusal import (
    EntryRefusedError,
    LogBusyError,
    LogHaltedError,
    LogUnavailableError,
    NotYetWitnessedError,
    Refusal,
    UnknownEntryError,
)
from audit.tiles import bundle_path, decode_bundle, decode_tile, encode_bundle, tile_path


@pytest.fixture
def north() -> Consortium:
    return Consortium(quorum=0)


@pytest.fixture
def http(dsn: str, north: Consortium) -> Iterator[TestClient]:
    with (
        running_log(dsn, north.terms(), north.file()) as parts,
        TestClient(Certified(create_app(parts), "anna")) as client,
    ):
        yield client


def test_an_empty_log_has_a_checkpoint(http, north):
    answer = http.get("/checkpoint")
    assert answer.text.startswith(f"{north.log.name}\n0\n")


def test_tiles_and_bundles_are_where_the_standard_has_them(http, north):
    entries = north.chain().several(258)
    assert http.post("/v1/events:batch?wait=integrated", content=encode_bundle(entries)).json() == {
        "indices": list(range(258))
    }
    assert decode_bundle(http.get(f"/{bundle_path(0)}").content) == entries[:256]
    assert decode_bundle(http.get(f"/{bundle_path(1, 2)}").content) == entries[256:]
    assert len(decode_tile(http.get(f"/{tile_path(0, 0)}").content)) == 256
    assert len(decode_tile(http.get(f"/{tile_path(0, 1, 2)}").content)) == 2
    assert len(decode_tile(http.get(f"/{tile_path(1, 0, 1)}").content)) == 1
    assert http.get(f"/{tile_path(0, 1)}").status_code == 404
    assert http.get("/tile/0/1").status_code == 404


def test_a_cut_bundle_and_a_note_that_is_none_are_malformed(http):
    assert http.post("/v1/events:batch", content=b"\0").status_code == 400
    assert http.post("/v1/cosignatures", content=b"\xff").status_code == 400
    assert http.post("/v1/cosignatures", content=b"no note").json()["type"] == "malformed"


def test_health_tells_how_far_the_log_has_got(http, north):
    http.post("/v1/events:batch?wait=integrated", content=encode_bundle(north.chain().several(2)))
    health = http.get("/v1/health/log").json()
    assert (health["signed"], health["witnessed"], health["halted"]) == (2, 2, None)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (EntryRefusedError(Refusal.GAP, "why", position=3, expected_seq=7), 422),
        (UnknownEntryError("why"), 404),
        (LogBusyError("why"), 429),
        (NotYetWitnessedError("why"), 503),
        (LogHaltedError("why"), 503),
        (LogUnavailableError("why"), 503),
    ],
)
def test_an_error_says_the_same_on_both_sides(error: AuditError, status: int) -> None:
    found, problem = to_problem(error)
    again = from_problem(found, problem)
    assert (found, type(again), str(again)) == (status, type(error), str(error))
    assert vars(again) == vars(error)


def test_faults_outside_the_table_say_nothing_about_themselves() -> None:
    assert to_problem(ValueError("secret")) == (
        500,
        {"type": "fault", "detail": "the service met a fault of its own"},
    )
    status, problem = to_problem(psycopg.OperationalError("password=hunter2"))
    assert (status, "hunter2" in str(problem)) == (503, False)
    assert to_problem(NoteError("why"))[0] == 400
