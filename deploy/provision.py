"""Provisioning: from enrolments to a consortium, and for each party one folder it can run from.

The one rule: every file written here is either public or already the party's own; private keys stay
where `deploy.enrolment` made them. A party's folder holds its TOML file, the consortium record and
its certificates, and is everything `wardround ... up` needs.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from audit.settings import SettingsError
from deploy.certificates import Authority
from deploy.enrolment import Enrolment
from protocol.ballot import Rule
from protocol.consortium import Consortium, Member, Role


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where the parties reach one another, as `host:port`."""

    audit: str
    door: str
    centre: str
    """The operator's API; nobody else connects to it."""
    superlink_port: int
    desk: str | None = None
    """Where auditors ask; nowhere, where there is no desk."""


def found_consortium(
    enrolments: Iterable[Enrolment], *, rule: Rule, witness_quorum: int
) -> Consortium:
    """The membership record of everyone who enrolled.

    Raises:
        SettingsError: no log key, two of them, a name twice, or enrolments of two consortia.
    """
    ordered = sorted(enrolments, key=lambda enrolment: enrolment.name)
    logs = [enrolment.log_vkey for enrolment in ordered if enrolment.log_vkey]
    names = {enrolment.consortium for enrolment in ordered}
    if len(logs) != 1 or len(names) != 1:
        raise SettingsError(
            f"found {len(logs)} audit services and {len(names)} consortium names among "
            f"{len(ordered)} enrolments; expected one of each"
        )
    try:
        return Consortium(
            name=names.pop(),
            log_vkey=logs[0],
            members=tuple(_member(enrolment) for enrolment in ordered),
            rule=rule,
            witness_quorum=witness_quorum,
        )
    except ValueError as cause:
        raise SettingsError(f"these enrolments make no consortium: {cause}") from cause


def admit(
    folder: Path,
    enrolment: Enrolment,
    *,
    consortium: Consortium,
    authority: Authority,
    now: datetime,
) -> None:
    """Lay a member's certificate, the authority's and the consortium record into its folder.

    Raises:
        SettingsError: the request is not the member's own.
    """
    tls = folder / "tls"
    tls.mkdir(parents=True, exist_ok=True)
    (tls / "ca.pem").write_text(authority.pem)
    certificate = authority.issue(enrolment.certificate_request, name=enrolment.name, now=now)
    (tls / "certificate.pem").write_text(certificate)
    (folder / "consortium.json").write_bytes(consortium.to_bytes())


def lay_node_keys(state: Path, enrolments: Iterable[Enrolment]) -> None:
    """Lay the public Flower keys of the hospitals into the centre's state folder."""
    nodes = state / "nodes"
    nodes.mkdir(parents=True, exist_ok=True)
    for enrolment in enrolments:
        if enrolment.supernode_key is not None:
            (nodes / f"{enrolment.name}.pub").write_text(enrolment.supernode_key)


def audit_settings(
    addresses: Addresses, dsn: str, *, desk: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Content of `audit.toml`; `desk` names the desk's database role and its DSN, if it has one."""
    settings: dict[str, Any] = {
        "consortium": "consortium.json",
        "audit": {"state": "state", "listen": addresses.audit},
        "database": {"dsn": dsn},
        "keys": {"log": "keys/log.key", "event": "keys/event.key"},
        "tls": _TLS,
    }
    if addresses.desk:
        place = {"listen": addresses.desk, "keys": AUDITORS}
        settings["desk"] = {**place, **(desk or {})}
    return settings


def centre_settings(name: str, addresses: Addresses, dsn: str) -> dict[str, Any]:
    """Content of `centre.toml`."""
    return {
        "consortium": "consortium.json",
        "centre": {"name": name, "state": "state", "listen": addresses.centre},
        "database": {"dsn": dsn},
        "keys": {"event": "keys/event.key"},
        "tls": _TLS,
        "door": {"listen": addresses.door},
        "superlink": {"port": addresses.superlink_port},
        "audit": {"url": f"https://{addresses.audit}"},
    }


def node_settings(
    enrolment: Enrolment, addresses: Addresses, dsn: str, *, bundle_digest: str
) -> dict[str, Any]:
    """Content of `node.toml`; the images are expected in `images`.

    `bundle_digest` names the one code bundle whose tasks the node answers.
    """
    keys = ("event", "witness", "log", "pseudonym", "supernode")
    return {
        "consortium": "consortium.json",
        "site": {
            "name": enrolment.name,
            "organisation": enrolment.organisation,
            "state": "state",
        },
        "database": {"dsn": dsn},
        "keys": {key: f"keys/{key}.key" for key in keys},
        "tls": _TLS,
        "centre": {"fleet": addresses.door},
        "audit": {"url": f"https://{addresses.audit}"},
        "images": {"folder": "images", "labels": "images/labels.csv"},
        "policy": {"file": "policy.toml"},
        "flower": {"fab_digests": [bundle_digest]},
    }


def policy_settings(*, epsilon_cap: float) -> dict[str, Any]:
    """Content of `policy.toml`, with what a hospital's people should find said and not assumed."""
    return {
        "epsilon_cap": epsilon_cap,
        "person_must_approve": True,
        "consent": "opt-out",
    }


def toml_text(settings: Mapping[str, Any]) -> str:
    """`settings` as TOML 1.0: values of the top level, then a table for each mapping."""
    values = [f"{key} = {_value(item)}" for key, item in settings.items() if not _is_table(item)]
    blocks = ["\n".join(values)] if values else []
    for key, table in settings.items():
        if _is_table(table):
            rows = [f"{name} = {_value(item)}" for name, item in table.items()]
            blocks.append("\n".join([f"[{key}]", *rows]))
    return "\n\n".join(blocks) + "\n"


AUDITORS = "keys/auditors.json"
"""What is kept of the auditors' keys, in the audit service's folder."""

_TLS = {"ca": "tls/ca.pem", "certificate": "tls/certificate.pem", "key": "keys/tls.key"}


def _member(enrolment: Enrolment) -> Member:
    return Member(
        name=enrolment.name,
        role=Role(enrolment.role),
        organisation=enrolment.organisation,
        event_vkey=enrolment.event_vkey,
        witness_vkey=enrolment.witness_vkey,
    )


def _is_table(item: Any) -> bool:
    return isinstance(item, Mapping)


def _value(item: Any) -> str:
    """One TOML value; JSON's strings are TOML's, save for DEL, which no setting of ours holds."""
    if isinstance(item, list | tuple):
        return "[" + ", ".join(_value(part) for part in item) + "]"
    return json.dumps(item, ensure_ascii=False)
