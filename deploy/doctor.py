"""`wardround doctor`: what is wrong with a party's place, before or while it runs.

The one rule: every check says what was looked at and, where something is wrong, what to do; none
changes anything. It knows what every party's file has in common (files, database, certificates, the
way to the log) and nothing of what the parties do.
"""

import ssl
import stat
import time
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from http.client import HTTPException, HTTPSConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
from cryptography import x509

from audit.errors import AuditError
from audit.keys import load_signer
from audit.membership import read_trust
from audit.settings import AuditSettings, SettingsError, read_settings, split_address
from deploy.processes import audit_household, centre_household, check_ports, is_up, node_household

_CONNECT_TIMEOUT_S = 5.0
_SOON = timedelta(days=30)
_HERE = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104 - a setting's value, not bound here
"""What listens on all addresses, and the one at which it is asked from here."""

_SKEW_S = 300.0
"""Flower refuses a node whose clock is off by more."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    subject: str
    remedy: str = ""
    """What is wrong and what to do; empty when all is well."""

    @property
    def is_sound(self) -> bool:
        """Whether nothing is wrong."""
        return not self.remedy


def examine(config: Path) -> list[Finding]:
    """Everything that can be said about the party whose settings are in `config`.

    Raises:
        SettingsError: the file cannot be read, so that there is nothing to examine.
    """
    settings = _read(config)
    checks: list[Callable[[], Iterator[Finding]]] = [
        lambda: _keys(settings),
        lambda: _certificates(settings),
        lambda: _consortium(settings),
        lambda: _database(settings),
        lambda: _ports(config, settings),
        lambda: _log(settings),
        lambda: _desk(config, settings),
    ]
    return [
        Finding("settings", ""),
        *(finding for check in checks for finding in check()),
    ]


def _read(config: Path) -> Any:
    try:
        tables = tomllib.loads(config.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as cause:
        raise SettingsError(f"{config}: cannot be read: {cause}") from cause
    if "site" in tables:
        from hospital_node.settings import NodeSettings  # noqa: PLC0415 - a party has its own part

        return read_settings(config, NodeSettings)
    if "centre" in tables:
        from services.settings import CentreSettings  # noqa: PLC0415

        return read_settings(config, CentreSettings)
    return read_settings(config, AuditSettings)


def _keys(settings: Any) -> Iterator[Finding]:
    """Private keys are there, and nobody else can read them."""
    paths = {name: getattr(settings.keys, name) for name in type(settings.keys).model_fields}
    for name, path in {**paths, "tls": settings.tls.key}.items():
        subject = f"keys.{name}"
        if not path.exists():
            yield Finding(subject, f"{path} is not there; `wardround enrol` makes it")
        elif stat.S_IMODE(path.stat().st_mode) & 0o077:
            yield Finding(subject, f"others may read {path}; run chmod 600 on it")
        elif name in {"event", "witness", "log"}:
            try:
                load_signer(path)
                yield Finding(subject)
            except AuditError as fault:
                yield Finding(subject, str(fault))
        else:
            yield Finding(subject)


def _certificates(settings: Any) -> Iterator[Finding]:
    """The certificate is by the consortium's authority, fits its key, and is valid for a while."""
    tls = settings.tls
    try:
        authority = x509.load_pem_x509_certificate(tls.ca.read_bytes())
        mine = x509.load_pem_x509_certificate(tls.certificate.read_bytes())
        mine.verify_directly_issued_by(authority)
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(tls.certificate, tls.key)
    except (OSError, ValueError, TypeError) as cause:
        yield Finding("tls", f"certificate, authority and key do not belong together: {cause}")
        return
    left = mine.not_valid_after_utc - datetime.now(UTC)
    if left < _SOON:
        yield Finding(
            "tls",
            f"the certificate ends on {mine.not_valid_after_utc:%d %B %Y}; send a new request",
        )
    else:
        yield Finding(f"tls, valid for {left.days} days more")


def _consortium(settings: Any) -> Iterator[Finding]:
    """The membership record can be read, and knows this party's key."""
    try:
        membership = read_trust(settings.consortium)
        signer = load_signer(_own_key(settings))
    except (SettingsError, AuditError) as fault:
        yield Finding("consortium", str(fault))
        return
    known = membership.producers.get(signer.name)
    if signer.verifier in {known, membership.log}:
        yield Finding("consortium, which knows this party's key")
        weakness = membership.witnesses.weakness
        if weakness is not None:
            yield Finding(f"witnesses, though {weakness}")
    else:
        yield Finding(
            "consortium",
            f"{settings.consortium} does not know the key {signer.vkey}; get the record that was "
            "made from this party's enrolment",
        )


def _own_key(settings: Any) -> Path:
    """The key by which the consortium knows this party."""
    keys = settings.keys
    path: Path = keys.event if hasattr(keys, "event") else keys.log
    return path


def _database(settings: Any) -> Iterator[Finding]:
    try:
        with psycopg.connect(
            settings.database.dsn, connect_timeout=round(_CONNECT_TIMEOUT_S)
        ) as connection:
            version = connection.info.server_version
            row = connection.execute("SHOW fsync").fetchone()
    except psycopg.Error as cause:
        first = " ".join(str(cause).split()) or type(cause).__name__
        yield Finding("database", f"{first}; check that PostgreSQL runs and database.dsn is right")
        return
    if row == ("on",):
        yield Finding(f"database, PostgreSQL {version // 10000}")
    else:
        yield Finding("database", "fsync is off: a charge could be lost; set fsync = on")


def _ports(config: Path, settings: Any) -> Iterator[Finding]:
    """The ports are free, or it is this party that has them."""
    table = {"AuditSettings": audit_household, "CentreSettings": centre_household}
    household = table.get(type(settings).__name__, node_household)(config)
    if is_up(household.state):
        yield Finding(f"processes of {household.name}, which are up")
        return
    try:
        check_ports(household)
        yield Finding("ports, which are free")
    except SettingsError as fault:
        yield Finding("ports", str(fault))


def _desk(config: Path, settings: Any) -> Iterator[Finding]:
    """The auditors' desk, where there is one: its keys, its database role, its certificate."""
    if getattr(settings, "desk", None) is None:
        return
    from audit.desk.api_keys import read_keys  # noqa: PLC0415 - the audit service's part alone
    from audit.desk.service import ssl_settings  # noqa: PLC0415
    from audit.desk.settings import DeskSettings  # noqa: PLC0415

    try:
        desk = read_settings(config, DeskSettings)
        count = sum(key.is_valid(time.time_ns() // 1000) for key in read_keys(desk.desk.keys))
        ssl_settings(desk)
        with psycopg.connect(desk.dsn, connect_timeout=round(_CONNECT_TIMEOUT_S)) as connection:
            may_write = connection.execute(
                "SELECT has_table_privilege(current_user, 'audit_bundle', 'INSERT')"
            ).fetchone()
    except (SettingsError, AuditError) as fault:
        yield Finding("the desk", str(fault))
    except psycopg.Error as cause:
        first = " ".join(str(cause).split()) or type(cause).__name__
        yield Finding("the desk", f"{first}; start the audit service once, and check desk.dsn")
    else:
        if may_write == (True,):
            yield Finding(
                "the desk",
                "its database role may write to the log; make one that may not "
                "(deploy/postgres/desk.sql) and set desk.role and desk.dsn",
            )
        else:
            yield Finding(f"the desk, with {count} valid keys")


def _log(settings: Any) -> Iterator[Finding]:
    """The audit service answers over TLS, and its clock and ours agree."""
    url = getattr(settings.audit, "url", None) or f"https://{_reachable(settings.audit.listen)}"
    try:
        skew_s = _clock_skew_s(url, settings)
    except (OSError, HTTPException) as cause:
        yield Finding("the log", f"{url} does not answer ({cause}); is the audit service up?")
        return
    yield Finding(f"the log, at {url}")
    if abs(skew_s) > _SKEW_S:
        yield Finding("clock", f"off by {skew_s:.0f} s from the log's; set it by NTP")
    else:
        yield Finding("clock")


def _reachable(listen: str) -> str:
    """Where this machine itself reaches what listens there, be it on all of its addresses."""
    host, port = split_address(listen)
    return f"{_HERE.get(host, listen.rpartition(':')[0])}:{port}"


def _clock_skew_s(url: str, settings: Any) -> float:
    context = ssl.create_default_context(cafile=str(settings.tls.ca))
    if urlsplit(url).hostname in {"127.0.0.1", "::1"}:
        # The certificate is for the name by which others reach it; the authority is looked at.
        context.check_hostname = False
    context.load_cert_chain(settings.tls.certificate, settings.tls.key)
    connection = HTTPSConnection(urlsplit(url).netloc, context=context, timeout=_CONNECT_TIMEOUT_S)
    try:
        connection.request("GET", "/checkpoint")
        date = connection.getresponse().getheader("date")
    finally:
        connection.close()
    return time.time() - parsedate_to_datetime(date).timestamp() if date else 0.0
