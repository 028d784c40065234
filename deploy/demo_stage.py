"""The stage of a demo: a folder, a PostgreSQL, and five parties provisioned as in real life.

The one rule: each party lives in a folder of its own, which is all it needs to run; what one party
may not know of another is not in its folder. Leaving the stage ends everything that was started.
"""

import fcntl
import os
import secrets
import shutil
import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from audit.desk.api_keys import Holder, make_key
from audit.desk.callers import Role as AuditRole
from audit.desk.settings import DESK_DSN_VARIABLE
from audit.settings import DSN_VARIABLE, SettingsError
from deploy.certificates import Authority, write_private
from deploy.demo_options import MARKER, DemoOptions
from deploy.enrolment import Enrolment, Party, enrol
from deploy.postgres_server import (
    create_guest,
    create_party,
    drop_guest,
    drop_party,
    postgres_server,
)
from deploy.processes import (
    Process,
    audit_household,
    centre_household,
    is_up,
    node_household,
    python,
)
from deploy.provision import (
    AUDITORS,
    Addresses,
    admit,
    audit_settings,
    centre_settings,
    found_consortium,
    lay_node_keys,
    node_settings,
    policy_settings,
    toml_text,
)
from protocol.ballot import Rule
from protocol.consortium import Consortium, Role
from services.coordinator.bundle import fab_digest

CONSORTIUM = "demo"
AUDIT = "audit"
CENTRE = "centre"
DESK = "desk"
AUDITOR_KEY = "auditor.key"
"""File in the audit service's folder with the key of the demo's auditor."""
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_LOOPBACK = ("localhost", "127.0.0.1")


@dataclass(frozen=True, slots=True)
class Home:
    """One party's folder."""

    name: str
    role: Role
    folder: Path

    @property
    def config(self) -> Path:
        """The party's settings."""
        kind = "node" if self.role is Role.HOSPITAL else str(self.role)
        return self.folder / f"{kind}.toml"

    @property
    def state(self) -> Path:
        """Where its processes keep what they need, their logs among it."""
        return self.folder / "state"

    @property
    def organisation(self) -> str:
        """Its name for people."""
        names = {Role.AUDIT: "Audit Office", Role.CENTRE: "Coordinating Centre"}
        return names.get(self.role, f"{self.name.capitalize()} Hospital")

    def ports(self) -> tuple[tuple[str, str], ...]:
        """Every setting that names an address it listens on, with the address."""
        households = {Role.AUDIT: audit_household, Role.CENTRE: centre_household}
        return households.get(self.role, node_household)(self.config).ports

    def process(self) -> Process:
        """`wardround ... up` for this party."""
        word = "node" if self.role is Role.HOSPITAL else str(self.role)
        command = python("-m", "deploy", word, "up", "--config", str(self.config))
        return Process(self.name, command, lambda: is_up(self.state))


@dataclass(frozen=True, slots=True)
class Stage:
    """Everything the demo plays on."""

    folder: Path
    audit: Home
    centre: Home
    hospitals: tuple[Home, ...]

    @property
    def homes(self) -> tuple[Home, ...]:
        """Every party."""
        return (self.audit, self.centre, *self.hospitals)

    @classmethod
    def at(cls, folder: Path, hospitals: Sequence[str]) -> "Stage":
        """A stage in `folder` for these hospitals."""
        return cls(
            folder,
            Home(AUDIT, Role.AUDIT, folder / AUDIT),
            Home(CENTRE, Role.CENTRE, folder / CENTRE),
            tuple(Home(name, Role.HOSPITAL, folder / name) for name in hospitals),
        )


@contextmanager
def clear_stage(options: DemoOptions) -> Iterator[Stage]:
    """An empty stage in `options.out`, what an earlier demo left there removed.

    Raises:
        SettingsError: a demo is running there.
    """
    out = options.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    with (out / MARKER).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as cause:
            raise SettingsError(f"--out {options.out}: a demo is running there") from cause
        _remove_old(out)
        state = out / "state"
        state.mkdir(mode=0o711)
        yield Stage.at(state, options.hospitals)


def _remove_old(out: Path) -> None:
    place = out / "state" / "postgres" / "place"
    if place.exists():
        shutil.rmtree(place.read_text().strip(), ignore_errors=True)
    shutil.rmtree(out / "state", ignore_errors=True)
    for name in ("summary.json", "report.html", "evidence.tar", "consortium.json"):
        (out / name).unlink(missing_ok=True)


@contextmanager
def databases(stage: Stage, admin_dsn: str | None) -> Iterator[dict[str, str]]:
    """A database and a role for each party: in an embedded server, or in the one given.

    The desk has a role of its own in the audit service's database, under the name `desk`.

    In a server that was given, they are removed again at the end.

    Raises:
        DatabaseError: the server cannot be started or used.
    """
    with ExitStack() as exits:
        prefix = ""
        if admin_dsn is None:
            admin_dsn = exits.enter_context(postgres_server(stage.folder / "postgres")).dsn
        else:
            prefix = "wardround_demo_"
            _clear_server(exits, admin_dsn, [f"{prefix}{home.name}" for home in stage.homes])
        dsns = {home.name: create_party(admin_dsn, f"{prefix}{home.name}") for home in stage.homes}
        dsns[DESK] = create_guest(admin_dsn, f"{prefix}{AUDIT}", f"{prefix}{AUDIT}_desk")
        yield dsns


def _clear_server(exits: ExitStack, admin_dsn: str, names: Sequence[str]) -> None:
    """Remove the demo's databases and roles from a server, now and at the end."""
    guest = f"{names[0]}_desk"
    exits.callback(drop_guest, admin_dsn, guest)
    for name in names:
        drop_party(admin_dsn, name)
        exits.callback(drop_party, admin_dsn, name)
    drop_guest(admin_dsn, guest)


def provision(stage: Stage, dsns: dict[str, str], *, epsilon: float) -> Consortium:
    """Have every party enrol at its own place, found the consortium, and lay out its papers."""
    enrolments = {home.name: _enrol(home) for home in stage.homes}
    hospitals = len(stage.hospitals)
    consortium = found_consortium(
        enrolments.values(),
        rule=Rule(approvals=max(1, hospitals - 1)),
        witness_quorum=hospitals // 2 + 1,
    )
    now = datetime.now(UTC)
    authority = Authority.create(stage.folder / "authority", consortium=CONSORTIUM, now=now)
    for home in stage.homes:
        admit(
            home.folder, enrolments[home.name], consortium=consortium, authority=authority, now=now
        )
    lay_node_keys(stage.centre.state, enrolments.values())
    addresses = _free_addresses()
    desk = {"dsn": dsns[DESK], "role": str(urlsplit(dsns[DESK]).username)}
    _write(stage.audit, audit_settings(addresses, dsns[AUDIT], desk=desk))
    _give_auditor_key(stage.audit)
    _write(stage.centre, centre_settings(CENTRE, addresses, dsns[CENTRE]))
    for home in stage.hospitals:
        content = node_settings(
            enrolments[home.name], addresses, dsns[home.name], bundle_digest=fab_digest()
        )
        _write(home, content)
        policy = policy_settings(epsilon_cap=max(8.0, epsilon))
        (home.folder / "policy.toml").write_text(toml_text(policy))
    return consortium


def _give_auditor_key(home: Home) -> None:
    """Make the first auditor's key, and keep it where only its owner can read it."""
    key = make_key(
        home.folder / AUDITORS,
        Holder("Supervisory Authority", AuditRole.AUDITOR),
        expires_us=None,
        random=secrets.token_bytes,
    )
    write_private(home.folder / AUDITOR_KEY, f"{key}\n".encode())


def _enrol(home: Home) -> Enrolment:
    party = Party(CONSORTIUM, home.name, home.role, home.organisation, _LOOPBACK)
    return enrol(home.folder, party)


def _write(home: Home, content: dict[str, Any]) -> None:
    """The settings hold a password, so nobody else may read them."""
    home.config.touch(mode=0o600)
    home.config.write_text(toml_text(content))


def _free_addresses() -> Addresses:
    """Five loopback ports that nobody has; held together, so that no two are the same."""
    with ExitStack() as exits:
        probes = [exits.enter_context(socket.socket()) for _ in range(5)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        audit, door, centre, superlink, desk = (int(probe.getsockname()[1]) for probe in probes)
    return Addresses(
        audit=f"127.0.0.1:{audit}",
        door=f"127.0.0.1:{door}",
        centre=f"127.0.0.1:{centre}",
        superlink_port=superlink,
        desk=f"127.0.0.1:{desk}",
    )


def environment() -> dict[str, str]:
    """What the demo's processes see: not the DSN of whoever started it, and one thread each.

    A dozen processes share this machine; where each takes every core for its arithmetic, they
    mostly wait for one another (drawing the images takes five times as long).
    """
    ours = {DSN_VARIABLE, DESK_DSN_VARIABLE}
    inherited = {key: value for key, value in os.environ.items() if key not in ours}
    return {**inherited, **dict.fromkeys(_THREAD_VARIABLES, "1")}
