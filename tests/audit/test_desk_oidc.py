"""Sign-in by an identity provider: a real one, over HTTP, and everything that must not count."""

import base64
import hmac
import json
import time
from collections.abc import Iterator
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from oidc_issuer import AUDIENCE, Issuer, running_issuer
from pydantic import ValidationError

from audit.desk.callers import Role, Via
from audit.desk.oidc import IdentityProvider, discover
from audit.desk.settings import Oidc
from audit.refusal import LogUnavailableError

KEY = bytes(range(32))


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    with running_issuer() as issuer:
        yield issuer


@pytest.fixture
def provider(issuer: Issuer) -> IdentityProvider:
    return IdentityProvider(Oidc(issuer=issuer.url, audience=AUDIENCE), KEY)


@pytest.mark.parametrize("kid", ["rsa", "ec"])
def test_a_person_is_known_by_a_pseudonym_a_role_and_an_organisation(provider, issuer, kid):
    caller = provider.find(issuer.token(kid=kid))
    assert caller is not None
    assert (caller.role, caller.organisation) == (Role.AUDITOR, "Data Protection Office")
    assert caller.via is Via.OIDC
    assert caller.id.startswith("person.")
    assert "maria" not in caller.id


def test_the_pseudonym_is_the_persons_own_and_the_desks_own(provider, issuer):
    again = provider.find(issuer.token(kid="rsa", name="Other Name"))
    other = provider.find(issuer.token(sub="somebody.else"))
    elsewhere = IdentityProvider(Oidc(issuer=issuer.url, audience=AUDIENCE), bytes(32))
    mine = provider.find(issuer.token())
    assert mine is not None
    assert mine == again
    assert other is not None
    assert other.id != mine.id
    foreign = elsewhere.find(issuer.token())
    assert foreign is not None
    assert foreign.id != mine.id


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "http://127.0.0.1:1"},
        {"aud": "another-desk"},
        {"aud": None},
        {"exp": 1_700_000_000},
        {"exp": None},
        {"nbf": 4_000_000_000},
        {"sub": None},
        {"sub": ""},
        {"sub": "\ud800"},
        {"iat": None},
        {"roles": ["viewer"]},
        {"roles": None},
        {"roles": {"auditor": True}},
        {"organisation": None},
        {"organisation": ""},
        {"organisation": "line\nbreak"},
    ],
)
def test_a_token_for_another_place_time_or_role_does_not_count(provider, issuer, changes):
    assert provider.find(issuer.token()) is not None
    assert provider.find(issuer.token(**changes)) is None


def test_a_token_that_the_issuer_did_not_sign_does_not_count(provider, issuer):
    stranger = ec.generate_private_key(ec.SECP256R1())
    forged = jwt.encode(issuer.claims(), stranger, "ES256", headers={"kid": "ec"})
    unknown = jwt.encode(issuer.claims(), stranger, "ES256", headers={"kid": "nobody"})
    nameless = jwt.encode(issuer.claims(), stranger, "ES256")
    assert [provider.find(token) for token in (forged, unknown, nameless)] == [None, None, None]


def test_a_tokens_own_word_for_its_algorithm_is_not_believed(provider, issuer):
    """The two classic forgeries: no signature, and the public key used as a shared secret."""
    unsigned = jwt.encode(issuer.claims(), None, "none", headers={"kid": "rsa"})
    public = issuer.rsa.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    confused = _hs256(issuer.claims(), public)
    assert provider.find(unsigned) is None
    assert provider.find(confused) is None


def _hs256(claims: dict[str, Any], secret: bytes) -> str:
    """A token by hand, since no library signs with a public key as its secret."""
    parts = [
        base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=")
        for part in ({"alg": "HS256", "typ": "JWT", "kid": "rsa"}, claims)
    ]
    text = b".".join(parts)
    signature = base64.urlsafe_b64encode(hmac.digest(secret, text, "sha256")).rstrip(b"=")
    return (text + b"." + signature).decode()


@pytest.mark.parametrize(("kid", "algorithm"), [("rsa", "ES256"), ("ec", "RS256"), ("ec", "EdDSA")])
def test_an_algorithm_of_another_kind_than_the_key_is_no_fault_of_the_desk(issuer, kid, algorithm):
    every = Oidc(
        issuer=issuer.url, audience=AUDIENCE, algorithms=("RS256", "PS256", "ES256", "EdDSA")
    )
    _, claims, signature = issuer.token(kid=kid).split(".")
    header = base64.urlsafe_b64encode(json.dumps({"alg": algorithm, "kid": kid}).encode())
    token = f"{header.rstrip(b'=').decode()}.{claims}.{signature}"
    assert IdentityProvider(every, KEY).find(token) is None


def test_a_key_that_the_provider_withdraws_stops_counting():
    with running_issuer() as issuer:
        settings = Oidc(issuer=issuer.url, audience=AUDIENCE)
        provider = IdentityProvider(settings, KEY, keys_s=0.001)
        token = issuer.token(kid="rsa")
        assert provider.find(token) is not None
        issuer.withdrawn.add("rsa")
        time.sleep(0.01)
        assert provider.find(token) is None
        assert provider.find(issuer.token(kid="ec")) is not None


def test_a_provider_that_did_not_answer_is_left_alone_for_a_while():
    now = [0.0]
    with running_issuer() as issuer:
        settings = Oidc(issuer=issuer.url, audience=AUDIENCE)
        provider = IdentityProvider(settings, KEY, clock_s=lambda: now[0])
        issuer.is_away = True
        for _ in range(3):
            with pytest.raises(LogUnavailableError):
                provider.find(issuer.token())
        assert issuer.asked == 1
        issuer.is_away = False
        now[0] = 4.9
        with pytest.raises(LogUnavailableError):
            provider.find(issuer.token())
        now[0] = 5.1
        assert provider.find(issuer.token()) is not None


def test_keys_that_are_no_json_are_said_to_be_away():
    with running_issuer() as issuer:
        settings = Oidc(issuer=issuer.url, audience=AUDIENCE, jwks_uri=f"{issuer.url}/garbage")
        with pytest.raises(LogUnavailableError):
            IdentityProvider(settings, KEY).find(issuer.token())


@pytest.mark.parametrize("name", ["issuer", "jwks_uri"])
def test_a_provider_without_tls_is_refused_unless_it_is_this_machine(name):
    safe = {"issuer": "https://login.example.org", "audience": AUDIENCE}
    assert Oidc(**safe).issuer
    assert Oidc(**{**safe, name: "http://127.0.0.1:8080"})
    for address in ("http://login.example.org", "http://127.0.0.1.example.org", "http://a@b/"):
        with pytest.raises(ValidationError, match="https"):
            Oidc(**{**safe, name: address})


def test_keys_at_an_address_without_tls_are_not_fetched():
    with running_issuer() as issuer:
        issuer.keys_at = "http://keys.example.org/keys"
        with pytest.raises(LogUnavailableError) as refused:
            discover(issuer.url)
        assert "TLS" in str(refused.value.__cause__)


def test_an_algorithm_that_the_settings_leave_out_does_not_count(issuer):
    narrow = IdentityProvider(
        Oidc(issuer=issuer.url, audience=AUDIENCE, algorithms=("ES256",)), KEY
    )
    assert narrow.find(issuer.token(kid="ec")) is not None
    assert narrow.find(issuer.token(kid="rsa")) is None


def test_a_provider_that_is_away_or_another_is_said_so(issuer):
    away = IdentityProvider(Oidc(issuer="http://127.0.0.1:9", audience=AUDIENCE), KEY)
    other = IdentityProvider(Oidc(issuer=f"{issuer.url}/", audience=AUDIENCE), KEY)
    for provider in (away, other):
        with pytest.raises(LogUnavailableError):
            provider.find(issuer.token())
