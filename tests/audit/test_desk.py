"""The auditors' desk: who is let in, and that nothing is answered that was not recorded first."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from audit_story import whole_story
from desk_parties import ORGANISATION, Opened, opened_desk


@pytest.fixture
def opened(dsn: str, tmp_path: Path) -> Iterator[Opened]:
    with opened_desk(dsn, whole_story(), tmp_path) as desk:
        yield desk


def test_an_auditor_is_told_how_the_record_knows_them(opened):
    answer = opened.get("/v1/whoami")
    assert answer["role"] == "auditor"
    assert answer["organisation"] == ORGANISATION
    assert answer["log"] == "demo/log"


def test_every_call_is_an_entry_of_the_log_that_names_the_caller(opened):
    me = opened.get("/v1/whoami")["id"]
    answer = opened.client.get("/v1/events", params={"type": "plan.voted"})
    assert len(answer.json()["entries"]) == 3
    opened.settle()
    page = opened.get("/v1/events", type="audit.query")
    assert [one["entry"]["body"]["route"] for one in page["entries"]] == [
        "GET /v1/whoami",
        "GET /v1/events",
    ]
    assert {one["entry"]["actor"]["id"] for one in page["entries"]} == {me}
    assert page["entries"][1]["entry"]["event_id"] == answer.headers["wardround-recorded-as"]
