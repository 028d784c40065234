"""Enrolment: a party makes its keys at its own place and says who it is.

The one rule: what leaves the folder is the `Enrolment`, and it holds public halves only. Which
parties a consortium takes in is not decided here.
"""

import secrets
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from audit.keys import create_key, create_witness_key
from deploy.certificates import make_request, write_private
from protocol.consortium import Role
from protocol.record import Name, Record, Text

PSEUDONYM_KEY_BYTES = 32
"""HMAC-SHA-256 gains nothing from a longer key (RFC 2104 §3)."""


class Enrolment(Record):
    """What a party hands to the consortium; every key in it is a public one."""

    consortium: Name
    name: Name
    role: Role
    organisation: Text
    event_vkey: str
    witness_vkey: str | None = None
    """Hospitals only."""
    log_vkey: str | None = None
    """The audit service only: the key of the consortium's log."""
    supernode_key: str | None = None
    """Hospitals only: Flower's key of the node, as an OpenSSH public key."""
    certificate_request: str
    """PKCS #10, PEM."""


@dataclass(frozen=True, slots=True)
class Party:
    """Who is enrolling, and where it serves."""

    consortium: str
    name: str
    role: Role
    organisation: str
    hosts: tuple[str, ...] = ()
    """DNS names and IP addresses its certificate is for; none for a party that only connects."""


def enrol(folder: Path, party: Party) -> Enrolment:
    """Make every key the party's role needs under `folder/keys`; return what may be known of them.

    Raises:
        SettingsError: the folder holds keys already.
        AuditError: the same, of a log key.
    """
    keys = folder / "keys"
    keys.mkdir(parents=True, exist_ok=True)
    keys.chmod(0o700)
    mine = f"{party.consortium}/{party.name}"
    hospital, log = party.role is Role.HOSPITAL, party.role is Role.AUDIT
    return Enrolment(
        consortium=party.consortium,
        name=party.name,
        role=party.role,
        organisation=party.organisation,
        event_vkey=create_key(keys / "event.key", mine),
        witness_vkey=_hospital_keys(keys, mine) if hospital else None,
        log_vkey=create_key(keys / "log.key", f"{party.consortium}/log") if log else None,
        supernode_key=_supernode_key(keys) if hospital else None,
        certificate_request=make_request(
            keys / "tls.key", name=party.name, organisation=party.organisation, hosts=party.hosts
        ),
    )


def _hospital_keys(keys: Path, mine: str) -> str:
    write_private(keys / "pseudonym.key", secrets.token_bytes(PSEUDONYM_KEY_BYTES))
    create_key(keys / "log.key", f"{mine}/log")
    return create_witness_key(keys / "witness.key", f"{mine}/witness")


def _supernode_key(keys: Path) -> str:
    """ECDSA P-384 in OpenSSH form: the only one that Flower 1.41 reads."""
    key = ec.generate_private_key(ec.SECP384R1())
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.OpenSSH,
        serialization.NoEncryption(),
    )
    write_private(keys / "supernode.key", private)
    public = key.public_key().public_bytes(
        serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    )
    return public.decode()
