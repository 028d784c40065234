"""Provisioning: keys stay, requests travel, and every party's folder is enough to run from."""

import ssl
import stat
import tomllib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from hypothesis import given
from hypothesis import strategies as st

from audit.errors import AuditError
from audit.keys import load_signer
from audit.settings import AuditSettings, SettingsError, read_settings
from deploy.certificates import Authority, make_request
from deploy.enrolment import Enrolment, Party, enrol
from deploy.provision import (
    Addresses,
    admit,
    audit_settings,
    centre_settings,
    found_consortium,
    node_settings,
    policy_settings,
    toml_text,
)
from hospital_node.imaging.consent import ConsentMode
from hospital_node.policy import Policy
from hospital_node.settings import NodeSettings
from protocol.ballot import Rule
from protocol.consortium import Consortium, Role
from services.settings import CentreSettings

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ADDRESSES = Addresses("127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3", 4)


def _everyone(folder: Path) -> dict[str, Enrolment]:
    roles = {"audit": Role.AUDIT, "centre": Role.CENTRE, "north": Role.HOSPITAL}
    return {
        name: enrol(folder / name, Party("test", name, role, f"The {name}", ("localhost",)))
        for name, role in roles.items()
    }


def _found(enrolments: dict[str, Enrolment]) -> Consortium:
    return found_consortium(enrolments.values(), rule=Rule(approvals=1), witness_quorum=1)


def test_what_leaves_a_party_holds_no_private_key(tmp_path: Path) -> None:
    for name, enrolment in _everyone(tmp_path).items():
        sent = enrolment.to_bytes()
        for path in (tmp_path / name / "keys").iterdir():
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            secret = path.read_bytes().strip()
            assert secret not in sent
            if secret.startswith(b"PRIVATE+KEY+"):
                # Base64 has plus signs of its own: the key is what follows the fourth.
                assert secret.split(b"+", 4)[4] not in sent
        assert b"PRIVATE" not in sent


def test_every_key_is_the_one_that_was_enrolled(tmp_path: Path) -> None:
    enrolments = _everyone(tmp_path)
    keys = tmp_path / "north" / "keys"
    assert load_signer(keys / "event.key").vkey == enrolments["north"].event_vkey
    assert load_signer(keys / "witness.key").vkey == enrolments["north"].witness_vkey
    assert load_signer(keys / "log.key").name == "test/north/log"
    assert load_signer(tmp_path / "audit/keys/log.key").vkey == enrolments["audit"].log_vkey
    supernode = serialization.load_ssh_private_key((keys / "supernode.key").read_bytes(), None)
    public = supernode.public_key().public_bytes(
        serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    )
    assert public.decode() == enrolments["north"].supernode_key


def test_a_party_that_enrols_twice_keeps_its_first_keys(tmp_path: Path) -> None:
    _everyone(tmp_path)
    before = (tmp_path / "north/keys/event.key").read_bytes()
    with pytest.raises((AuditError, SettingsError), match="never overwritten"):
        _everyone(tmp_path)
    assert (tmp_path / "north/keys/event.key").read_bytes() == before


def test_an_enrolment_survives_its_journey(tmp_path: Path) -> None:
    for enrolment in _everyone(tmp_path).values():
        assert Enrolment.from_bytes(enrolment.to_bytes()) == enrolment


def test_members_meet_over_tls_and_strangers_do_not(tmp_path: Path) -> None:
    enrolments = _everyone(tmp_path)
    consortium = _found(enrolments)
    authority = Authority.create(tmp_path / "ca", consortium="test", now=NOW)
    for name, enrolment in enrolments.items():
        admit(
            tmp_path / name,
            enrolment,
            consortium=consortium,
            authority=authority,
            now=datetime.now(UTC),
        )
    server = _context(ssl.PROTOCOL_TLS_SERVER, tmp_path / "centre")
    assert _handshake(server, _context(ssl.PROTOCOL_TLS_CLIENT, tmp_path / "north")) == "north"

    other = Authority.create(tmp_path / "other", consortium="test", now=NOW)
    stranger = enrol(tmp_path / "stranger", Party("test", "north", Role.HOSPITAL, "Stranger"))
    admit(
        tmp_path / "stranger",
        stranger,
        consortium=consortium,
        authority=other,
        now=datetime.now(UTC),
    )
    outside = _context(ssl.PROTOCOL_TLS_CLIENT, tmp_path / "stranger")
    outside.load_verify_locations(tmp_path / "north/tls/ca.pem")
    with pytest.raises(ssl.SSLError):
        _handshake(server, outside)


def _context(protocol: int, folder: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.verify_flags |= ssl.VERIFY_X509_STRICT  # what Python 3.13 does by itself
    context.load_verify_locations(folder / "tls/ca.pem")
    context.load_cert_chain(folder / "tls/certificate.pem", folder / "keys/tls.key")
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def _handshake(server: ssl.SSLContext, client: ssl.SSLContext) -> str:
    """Shake hands in memory; the client's common name as the server sees it."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    left = client.wrap_bio(to_client, to_server, server_hostname="localhost")
    right = server.wrap_bio(to_server, to_client, server_side=True)
    for side in (left, right, left, right):
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue
    shown = right.getpeercert()
    assert shown is not None
    return next(pair[1] for part in shown["subject"] for pair in part if pair[0] == "commonName")


def test_a_request_for_another_name_is_not_signed(tmp_path: Path) -> None:
    authority = Authority.create(tmp_path, consortium="test", now=NOW)
    request = make_request(tmp_path / "k", name="south", organisation="South", hosts=())
    with pytest.raises(SettingsError, match="south"):
        authority.issue(request, name="north", now=NOW)


def test_a_request_cannot_ask_to_become_an_authority(tmp_path: Path) -> None:
    authority = Authority.create(tmp_path, consortium="test", now=NOW)
    request = make_request(tmp_path / "k", name="south", organisation="South", hosts=("10.0.0.7",))
    issued = x509.load_pem_x509_certificate(
        authority.issue(request, name="south", now=NOW).encode()
    )
    assert not issued.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert issued.not_valid_after_utc - NOW < timedelta(days=398)
    names = issued.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(ip) for ip in names.get_values_for_type(x509.IPAddress)] == ["10.0.0.7"]


def test_an_authority_is_read_back_and_never_made_twice(tmp_path: Path) -> None:
    made = Authority.create(tmp_path, consortium="test", now=NOW)
    assert Authority.load(tmp_path).pem == made.pem
    with pytest.raises(SettingsError, match="never overwritten"):
        Authority.create(tmp_path, consortium="test", now=NOW)
    with pytest.raises(SettingsError, match="no authority"):
        Authority.load(tmp_path / "elsewhere")


def test_a_consortium_needs_exactly_one_log(tmp_path: Path) -> None:
    enrolments = _everyone(tmp_path)
    del enrolments["audit"]
    with pytest.raises(SettingsError, match="found 0 audit services"):
        _found(enrolments)


def test_a_quorum_of_witnesses_that_do_not_exist_is_refused(tmp_path: Path) -> None:
    enrolments = _everyone(tmp_path)
    with pytest.raises(SettingsError, match="witness_quorum 3"):
        found_consortium(enrolments.values(), rule=Rule(approvals=1), witness_quorum=3)


def test_every_partys_file_is_read_by_its_own_settings(tmp_path: Path) -> None:
    north = _everyone(tmp_path)["north"]
    files = {
        "audit": (AuditSettings, audit_settings(ADDRESSES, "postgresql://a")),
        "centre": (CentreSettings, centre_settings("centre", ADDRESSES, "postgresql://c")),
        "north": (
            NodeSettings,
            node_settings(north, ADDRESSES, "postgresql://n", bundle_digest="sha256:" + "0" * 64),
        ),
    }
    for name, (model, content) in files.items():
        path = tmp_path / name / "settings.toml"
        path.write_text(toml_text(content))
        settings = read_settings(path, model)
        assert settings.consortium == path.parent / "consortium.json"


_SCALARS = st.one_of(
    st.integers(-(2**53), 2**53),
    st.booleans(),
    st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\x7f")),
)
_VALUES = st.one_of(_SCALARS, st.lists(_SCALARS, max_size=3))
_KEYS = st.from_regex(r"[a-z][a-z0-9_-]{0,8}", fullmatch=True)


@given(
    st.dictionaries(
        _KEYS, st.one_of(_VALUES, st.dictionaries(_KEYS, _VALUES, max_size=3)), max_size=4
    )
)
def test_what_is_written_as_toml_is_read_back(content: dict[str, object]) -> None:
    assert tomllib.loads(toml_text(content)) == content


def test_the_policy_says_what_a_patients_silence_means(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text(toml_text(policy_settings(epsilon_cap=4.0)))
    assert "consent" in tomllib.loads(path.read_text())
    policy = Policy.read(path)
    assert (policy.consent, policy.epsilon_cap) == (ConsentMode.OPT_OUT, 4)
    assert policy.person_must_approve
