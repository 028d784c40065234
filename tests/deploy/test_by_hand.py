"""The auditors' desk, founded by hand with the commands and files that the README names."""

import os
import re
import secrets
import shutil
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import httpx
import psycopg
import pytest
import yaml
from audit_parties import free_port
from psycopg import sql

import deploy

DEPLOY = Path(deploy.__file__).parent
PSQL = shutil.which("psql")

pytestmark = pytest.mark.skipif(PSQL is None, reason="the SQL files are for psql")


def run(*words: str, cwd: Path | None = None, **environment: str) -> str:
    done = subprocess.run(
        words,
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, "COLUMNS": "200", "NO_COLOR": "1", **environment},
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, (words, done.stdout, done.stderr)
    return done.stdout


def wardround(*words: str, cwd: Path) -> str:
    return run(sys.executable, "-m", "deploy", *words, cwd=cwd, PYTHONPATH=str(DEPLOY.parent))


@pytest.fixture
def party(postgres: str) -> Iterator[str]:
    """A name for a party's role and database, both gone after the test."""
    name = f"hand_{secrets.token_hex(4)}"
    yield name
    with psycopg.connect(postgres, autocommit=True) as admin:
        names = (sql.Identifier(name), sql.Identifier(f"{name}_desk"))
        admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(names[0]))
        for role in names:
            admin.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(role))


@pytest.fixture
def audit(tmp_path: Path) -> Path:
    """The audit party's folder, with its keys and papers."""
    folders = []
    for role, name in (("hospital", "north"), ("hospital", "south"), ("hospital", "west"),
                       ("centre", "centre"), ("audit", "audit")):  # fmt: skip
        host = () if role == "hospital" else ("--host", "127.0.0.1")
        words = ("enrol", role, name, str(tmp_path / name), "--consortium", "lungs")
        wardround(*words, "--organisation", name.title(), *host, cwd=tmp_path)
        folders.append(f"{name}/enrolment.json")
    said = wardround("found", "papers", *folders, cwd=tmp_path)
    assert "note: with 2 of 3 organisations, one that lies" in said
    home = tmp_path / "audit"
    shutil.copytree(tmp_path / "papers" / "audit", home, dirs_exist_ok=True)
    return home


def settle_database(postgres: str, party: str) -> tuple[str, str]:
    """Run both SQL files as their comments say; the DSNs of the party and of its desk."""
    dsns = []
    for file, role in (("roles.sql", party), ("desk.sql", f"{party}_desk")):
        password = secrets.token_hex(12)
        assert PSQL
        run(PSQL, postgres, "-v", f"party={party}", "-v", f"password={password}",
            "-f", str(DEPLOY / "postgres" / file))  # fmt: skip
        parts = urlsplit(postgres)
        place = f"{role}:{password}@{parts.hostname}:{parts.port}"
        dsns.append(urlunsplit((parts.scheme, place, f"/{party}", parts.query, "")))
    return dsns[0], dsns[1]


def write_settings(home: Path, dsns: tuple[str, str], role: str) -> tuple[int, int]:
    """The example's settings, with this place's own values; the log's port and the desk's."""
    text = (DEPLOY / "examples" / "audit.toml").read_text()
    ports = free_port(), free_port()
    for old, new in (
        ("0.0.0.0:7443", f"0.0.0.0:{ports[0]}"),
        ("0.0.0.0:7444", f"0.0.0.0:{ports[1]}"),
        ("postgresql://audit:secret@127.0.0.1:5432/audit", dsns[0]),
        ("postgresql://audit_desk:secret@127.0.0.1:5432/audit", dsns[1]),
        ('"audit_desk"', f'"{role}"'),
    ):
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    (home / "audit.toml").write_text(text)
    return ports


def doctor(home: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "deploy", "doctor", "audit.toml"],
        capture_output=True, text=True, cwd=home, timeout=60, check=False,
        env={**os.environ, "COLUMNS": "300", "NO_COLOR": "1", "PYTHONPATH": str(DEPLOY.parent)},
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    return " ".join(done.stdout.split())


def test_a_desk_that_is_set_up_by_hand_answers_its_auditor(audit, postgres, party):
    ports = write_settings(audit, settle_database(postgres, party), f"{party}_desk")
    assert "mend the desk" in doctor(audit), "there is no key yet"
    key = wardround("audit", "key", "new", "--role", "auditor", "--organisation", "Authority",
                    cwd=audit).strip()  # fmt: skip
    assert "start the audit service once" in doctor(audit)
    up = subprocess.Popen(
        [sys.executable, "-m", "deploy", "audit", "up", "--config", "audit.toml"],
        cwd=audit, env={**os.environ, "PYTHONPATH": str(DEPLOY.parent)},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        answer = ask(up, ports[1], audit / "tls" / "ca.pem", key)
        assert answer["organisation"] == "Authority"
        said = doctor(audit)
        assert "ok the desk, with 1 valid keys" in said
        assert "ok the log, at" in said
        assert "ok witnesses, though with 2 of 3 organisations, one that lies" in said
        assert re.findall(r"mend (\w+)", said) == ["database"], "fsync is off in tests"
    finally:
        up.send_signal(signal.SIGTERM)
        assert up.wait(30) == 0


def ask(up: subprocess.Popen[bytes], port: int, ca: Path, key: str) -> dict[str, str]:
    """What the desk says of whoever holds this key, as soon as it answers."""
    context = ssl.create_default_context(cafile=str(ca))
    deadline = time.monotonic() + 60
    while True:
        assert up.poll() is None
        assert time.monotonic() < deadline, "the desk never answered"
        try:
            answer = httpx.get(
                f"https://127.0.0.1:{port}/v1/whoami",
                headers={"Authorization": f"Bearer {key}"},
                verify=context,
            )
        except httpx.TransportError:
            time.sleep(0.1)
        else:
            assert answer.status_code == 200, answer.text
            return dict(answer.json())


def test_a_desk_that_may_write_to_the_log_is_told_to_use_a_role_of_its_own(audit, postgres, party):
    own, _ = settle_database(postgres, party)
    write_settings(audit, (own, own), party)
    wardround("audit", "key", "new", "--role", "auditor", "--organisation", "A", cwd=audit)
    with psycopg.connect(own) as connection:
        connection.execute("CREATE TABLE audit_bundle (a int)")
    assert "its database role may write to the log" in doctor(audit)
    (audit / "keys" / "auditors.json").chmod(0o644)
    assert "others may read it; run chmod 600" in doctor(audit)


def test_the_database_container_makes_the_desks_role_as_by_hand(postgres, party, tmp_path):
    """The container's script, with the two names it is given there changed for this place."""
    settle_role = (DEPLOY / "postgres" / "desk.sh").read_text()
    assert settle_role.count("/wardround/desk.sql") == 1
    script = tmp_path / "desk.sh"
    script.write_text(
        settle_role.replace("/wardround/desk.sql", str(DEPLOY / "postgres" / "desk.sql"))
    )
    with psycopg.connect(postgres, autocommit=True) as admin:
        admin.execute(
            sql.SQL("CREATE ROLE {} SUPERUSER LOGIN PASSWORD 'x'").format(sql.Identifier(party))
        )
        admin.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(*[sql.Identifier(party)] * 2))
    parts = urlsplit(postgres)
    run("sh", str(script), POSTGRES_USER=party, DESK_PASSWORD="y", PGPASSWORD="x",
        PGHOST=str(parts.hostname), PGPORT=str(parts.port))  # fmt: skip
    desk = urlunsplit(
        (
            parts.scheme,
            f"{party}_desk:y@{parts.hostname}:{parts.port}",
            f"/{party}",
            parts.query,
            "",
        )
    )
    with psycopg.connect(desk) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute("CREATE TABLE mine (a int)")


def test_what_the_desks_script_reads_is_what_compose_gives_it():
    service = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]["audit-database"]
    script = (DEPLOY / "postgres" / "desk.sh").read_text()
    assert set(re.findall(r"\$([A-Z_]+)", script)) <= service["environment"].keys()
    mounted = {volume.split(":")[1]: volume.split(":")[0] for volume in service["volumes"]}
    assert mounted["/wardround/desk.sql"] == "./postgres/desk.sql"
    assert mounted["/docker-entrypoint-initdb.d/desk.sh"] == "./postgres/desk.sh"
    assert "/wardround/desk.sql" in script
