"""Signing in at the pages through an identity provider, and everything that must not count."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from audit_story import approved
from code_issuer import CLIENT, CodeIssuer, running_code_issuer
from desk_parties import Opened, opened_desk
from oidc_issuer import AUDIENCE
from pages_visitor import ORIGIN, SESSION, Visitor

STATE = "__Host-wardround-state"


@pytest.fixture(scope="module")
def running() -> Iterator[CodeIssuer]:
    with running_code_issuer() as issuer:
        yield issuer


@pytest.fixture
def issuer(running: CodeIssuer) -> CodeIssuer:
    running.claims_of_next = {}
    return running


@pytest.fixture
def opened(dsn: str, tmp_path: Path, issuer: CodeIssuer) -> Iterator[Opened]:
    oidc = {
        "issuer": issuer.url,
        "audience": AUDIENCE,
        "client_id": CLIENT,
        "redirect_uri": f"{ORIGIN}/sign-in/return",
    }
    with opened_desk(dsn, approved(), tmp_path, oidc=oidc) as desk:
        yield desk


def depart(visitor: Visitor) -> str:
    answer = visitor.get("/sign-in/provider", follow_redirects=False)
    assert answer.status_code == 303
    assert "SameSite=lax" in answer.headers["set-cookie"]
    return answer.headers["location"]


def come_back(visitor: Visitor, code: str, state: str):
    return visitor.get(f"/sign-in/return?code={code}&state={state}", follow_redirects=False)


@pytest.mark.parametrize("endpoint", ["authorization_endpoint", "token_endpoint"])
def test_a_provider_that_sends_people_through_the_clear_is_not_used(
    opened, issuer, monkeypatch, endpoint
):
    monkeypatch.setitem(issuer.endpoints, endpoint, "http://provider.example/in-the-clear")
    answer = Visitor(opened).get("/sign-in/provider", follow_redirects=False)
    assert answer.status_code == 503
    assert "location" not in answer.headers


def test_a_person_signs_in_at_the_provider_and_is_a_pseudonym_here(opened, issuer):
    visitor = Visitor(opened)
    assert "Sign in with your institution" in visitor.page("/sign-in")
    answer = come_back(visitor, *issuer.authorize(depart(visitor)))
    assert answer.status_code == 200
    assert 'http-equiv="refresh" content="0; url=/"' in answer.text
    page = visitor.page("/")
    assert "person." in page
    assert "maria" not in page.lower()
    opened.settle()
    told = opened.get("/v1/events", type="audit.query")["entries"]
    assert [one["entry"]["body"]["route"] for one in told] == ["GET /sign-in/return", "GET /"]
    assert {one["entry"]["body"]["via"] for one in told} == {"oidc"}


def test_a_code_counts_once_and_only_in_the_browser_that_was_sent(opened, issuer):
    visitor, other = Visitor(opened), Visitor(opened)
    code, state = issuer.authorize(depart(visitor))
    depart(other)
    assert come_back(other, code, state).status_code == 401
    assert come_back(Visitor(opened), code, state).status_code == 401
    assert come_back(visitor, code, state).status_code == 200
    assert come_back(visitor, code, state).status_code == 401
    assert SESSION not in other.client.cookies


def test_a_code_that_somebody_else_obtained_buys_nothing(opened, issuer):
    """What PKCE is for: the code is bound to the secret of the departure that asked for it."""
    mine, thiefs = Visitor(opened), Visitor(opened)
    code, _ = issuer.authorize(depart(mine))
    _, state = issuer.authorize(depart(thiefs))
    assert come_back(thiefs, code, state).status_code == 401


@pytest.mark.parametrize(
    "claims",
    [
        {"nonce": "another"},
        {"nonce": None},
        {"aud": AUDIENCE},
        {"aud": "another-client"},
        {"iss": "http://127.0.0.1:1"},
        {"exp": 1_700_000_000},
        {"roles": ["viewer"]},
        {"organisation": None},
    ],
)
def test_an_identity_that_is_not_for_this_sign_in_does_not_count(opened, issuer, claims):
    visitor = Visitor(opened)
    issuer.claims_of_next = claims
    answer = come_back(visitor, *issuer.authorize(depart(visitor)))
    assert answer.status_code == 401
    assert SESSION not in visitor.client.cookies


def test_a_sign_in_that_took_too_long_does_not_count(opened, issuer):
    now = [opened.desk.clock_us()]
    opened.desk = replace(opened.desk, clock_us=lambda: now[0])
    visitor = Visitor(opened)
    code, state = issuer.authorize(depart(visitor))
    now[0] += 600 * 1_000_000
    assert come_back(visitor, code, state).status_code == 401


def test_a_desk_without_a_provider_offers_none(dsn, tmp_path):
    with opened_desk(dsn, approved(), tmp_path) as desk:
        visitor = Visitor(desk)
        assert "your institution" not in visitor.page("/sign-in")
        assert visitor.get("/sign-in/provider", follow_redirects=False).status_code == 303
        assert come_back(visitor, "code", "state").status_code == 401


def test_a_provider_that_is_away_is_said_so(dsn, tmp_path):
    oidc = {
        "issuer": "http://127.0.0.1:1",
        "audience": AUDIENCE,
        "client_id": CLIENT,
        "redirect_uri": f"{ORIGIN}/sign-in/return",
    }
    with opened_desk(dsn, approved(), tmp_path, oidc=oidc) as desk:
        answer = Visitor(desk).get("/sign-in/provider", follow_redirects=False)
        assert answer.status_code == 503
        assert "not possible at the moment" in answer.text
