"""Every route of the review page, tried by every role, by nobody, and from a locked screen."""

from typing import Any

import pytest
from fastapi import APIRouter, FastAPI
from review_room import PASSWORD, Room, Visitor

from hospital_node.review.app import OPEN, check_routes, list_routes
from hospital_node.review.roles import Role

READS = {Role.READER, Role.ADJUDICATOR}
EVERYBODY = set(Role)

ALLOWED: dict[tuple[str, str], set[Role]] = {
    ("GET", "/"): EVERYBODY,
    ("GET", "/worklist"): READS,
    ("POST", "/next"): READS,
    ("POST", "/cases/{case_id}/claim"): READS,
    ("POST", "/cases/{case_id}/return"): READS,
    ("GET", "/cases/{case_id}"): READS,
    ("POST", "/cases/{case_id}/draft"): READS,
    ("POST", "/cases/{case_id}/sign"): READS,
    ("GET", "/cases/{case_id}/pictures"): READS,
    ("POST", "/cases/{case_id}/priors"): READS,
    ("GET", "/cases/{case_id}/pictures/{study}/{series}/{number}"): READS,
    ("GET", "/agreement"): {Role.QA},
    ("GET", "/people"): {Role.IT},
    ("POST", "/people/{account}/end"): {Role.IT},
    ("POST", "/people/{account}/close"): {Role.IT},
    ("POST", "/alive"): EVERYBODY,
    ("POST", "/lock"): EVERYBODY,
    ("GET", "/locked"): EVERYBODY,
    ("POST", "/unlock"): EVERYBODY,
    ("POST", "/sign-out"): EVERYBODY,
}
"""The whole table: a route that is not here fails the first test."""

LOCKED_TOO = {("GET", "/locked"), ("POST", "/unlock"), ("POST", "/sign-out")}
CASE_PATH = {
    "case_id": "ABCD-EFGH",
    "study": "0",
    "series": "0",
    "number": "0",
    "account": "a" * 16,
}


def table(room: Room) -> set[tuple[str, str]]:
    return {
        (method, route.path)
        for route in list_routes(room.app.routes)
        for method in route.methods - {"HEAD"}
    }


def call(visitor: Visitor, method: str, path: str, fields: dict[str, str]) -> Any:
    address = path.format(**CASE_PATH)
    return visitor.get(address) if method == "GET" else visitor.send(address, fields)


def test_there_are_these_routes_and_no_other(room: Room) -> None:
    assert table(room) == ALLOWED.keys() | OPEN


def test_a_route_without_roles_is_not_served() -> None:
    app, router = FastAPI(openapi_url=None, docs_url=None, redoc_url=None), APIRouter()
    router.get("/heat-maps/{case_id}")(lambda case_id: case_id)
    app.include_router(router)
    with pytest.raises(RuntimeError, match="says no roles"):
        check_routes(app)


@pytest.mark.parametrize("role", Role)
def test_a_role_calls_what_is_its_own_and_nothing_else(room: Room, role: Role) -> None:
    visitor = room.person(f"one-{role}", role)
    fields = {"form_token": visitor.form_token, "password": PASSWORD}
    # What ends the session comes last.
    ends = {"/lock": 1, "/unlock": 2, "/sign-out": 3}
    for method, path in sorted(table(room) - OPEN, key=lambda one: (ends.get(one[1], 0), one)):
        status = call(visitor, method, path, fields).status_code
        is_let_in = status != 403
        assert is_let_in == (role in ALLOWED[method, path]), (method, path, status)


def test_nobody_calls_anything_without_a_session(room: Room) -> None:
    stranger = Visitor(room.app)
    for method, path in sorted(table(room) - OPEN):
        answer = call(stranger, method, path, {"form_token": ""})
        assert (answer.status_code, answer.headers.get("location")) == (303, "/sign-in"), path


def test_a_locked_screen_opens_nothing(room: Room) -> None:
    visitor = room.person("one-reader", Role.READER)
    token = visitor.form_token
    assert visitor.post("/lock").headers["location"] == "/locked"
    for method, path in sorted(table(room) - OPEN - LOCKED_TOO):
        answer = call(visitor, method, path, {"form_token": token})
        assert (answer.status_code, answer.headers.get("location")) == (303, "/locked"), path


def test_every_form_needs_the_token_of_its_session_and_our_origin(room: Room) -> None:
    mine, other = room.person("one", Role.READER), room.person("two", Role.READER)
    foreign = other.form_token
    for method, path in sorted(table(room) - OPEN):
        if method == "GET" or Role.READER not in ALLOWED[method, path]:
            continue
        address = path.format(**CASE_PATH)
        assert mine.send(address, {"form_token": foreign}).status_code == 403, path
        token = {"form_token": mine.form_token}
        assert mine.send(address, token, origin="https://x.test").status_code == 403, path


def test_every_answer_carries_a_policy_that_runs_nothing_foreign(room: Room) -> None:
    visitor = room.person("one", Role.READER)
    for path in ("/sign-in", "/worklist", "/nowhere", "/cases/ABCD-EFGH", "/static/x/y.js"):
        headers = visitor.get(path).headers
        policy = headers["content-security-policy"]
        assert policy.startswith("default-src 'none'"), path
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        if not path.startswith("/static"):
            assert headers["cache-control"] == "no-store"


def test_no_route_says_anything_of_a_model(room: Room) -> None:
    words = ("model", "inference", "heat", "probab", "predict", "score", "reveal", "ai")
    for _, path in table(room):
        parts = path.strip("/").split("/")
        assert not [word for word in words if word in parts], path
