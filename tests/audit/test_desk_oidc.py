"""Sign-in by an identity provider: a real one, over HTTP, and everything that must not count."""

import base64
import hmac
import json
from collections.abc import Iterator
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from oidc_issuer import AUDIENCE, Issuer, running_issuer

from audit.desk.callers import Role, Via
from audit.desk.oidc import IdentityProvider
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
