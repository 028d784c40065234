"""The desk as a process of its own, over TLS, with keys made at the command line."""

import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from audit_parties import Certificates, await_port, free_port, running_service
from audit_story import Story, approved

from audit.settings import Tls


@pytest.fixture
def home(dsn: str, tmp_path: Path) -> tuple[Path, int, int]:
    """An `audit.toml` of the audit member, the log's port and the desk's."""
    return write_home(tmp_path, approved(), Certificates(tmp_path).issue("audit"), dsn)


def write_home(folder: Path, story: Story, tls: Tls, dsn: str) -> tuple[Path, int, int]:
    (folder / "consortium.json").write_bytes(story.consortium_bytes)
    for name, signer in (("log", story.log), ("event", story.signers["audit"])):
        key = folder / f"{name}.key"
        key.touch(mode=0o600)
        key.write_text(signer.private_text() + "\n")
    log, desk = free_port(), free_port()
    config = folder / "audit.toml"
    config.write_text(
        f"""
consortium = "consortium.json"
[audit]
state = "state"
listen = "127.0.0.1:{log}"
[database]
dsn = "{dsn}"
[keys]
log = "log.key"
event = "event.key"
[desk]
listen = "127.0.0.1:{desk}"
keys = "auditors.json"
[tls]
ca = "{tls.ca}"
certificate = "{tls.certificate}"
key = "{tls.key}"
"""
    )
    return config, log, desk


def wardround(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "deploy", "audit", *words],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def start_desk(config: Path) -> subprocess.Popen[bytes]:
    errors = config.with_name("desk.err").open("wb")
    with errors:
        return subprocess.Popen(
            [sys.executable, "-m", "audit.desk", "--config", str(config)], stderr=errors
        )


@contextmanager
def running_desk(config: Path, port: int) -> Iterator[httpx.Client]:
    process = start_desk(config)
    try:
        await_port(process, port, config.with_name("desk.err"))
        ca = config.parent / "ca.pem"
        context = ssl.create_default_context(cafile=str(ca))
        with httpx.Client(base_url=f"https://127.0.0.1:{port}", verify=context) as client:
            yield client
    finally:
        process.terminate()
        assert process.wait(10) == 0


def test_an_auditor_asks_over_tls_with_a_key_made_at_the_command_line(home):
    config, log, desk = home
    made = wardround(
        "key", "new", "--role", "auditor", "--organisation", "Authority", "--config", str(config)
    )
    assert made.returncode == 0, made.stderr
    key = made.stdout.strip()
    with running_service(config, log), running_desk(config, desk) as client:
        header = {"Authorization": f"Bearer {key}"}
        assert client.get("/v1/whoami").status_code == 401
        answer = client.get("/v1/whoami", headers=header)
        assert answer.json()["organisation"] == "Authority"
        identity = answer.json()["id"].removeprefix("key.")
        listed = wardround("key", "list", "--config", str(config)).stdout
        assert identity in listed
        assert key not in listed
        again = wardround("project", "--again", "--config", str(config))
        assert "entries can be searched" in again.stdout, again.stderr
        assert wardround("key", "revoke", identity, "--config", str(config)).returncode == 0
        assert client.get("/v1/whoami", headers=header).status_code == 401
    assert key not in config.with_name("desk.err").read_text()


def test_a_desk_that_cannot_work_ends_with_one_plain_line(home):
    config, _, _ = home
    for mend, text in (
        (lambda: None, "wardround audit key new"),
        (lambda: make_key(config), "start the audit service first"),
        (lambda: replace_in(config, 'event = "event.key"\n', ""), "keys.event: missing"),
        (lambda: replace_in(config, "[desk]", "[deck]"), "desk"),
    ):
        mend()
        process = start_desk(config)
        assert process.wait(60) == 3
        lines = config.with_name("desk.err").read_text().splitlines()
        assert text in lines[-1], lines
        assert lines[-1].startswith("auditors' desk: ")


def make_key(config: Path) -> None:
    words = ("key", "new", "--role", "operator", "--organisation", "A", "--config", str(config))
    assert wardround(*words).returncode == 0


def replace_in(config: Path, old: str, new: str) -> None:
    config.write_text(config.read_text().replace(old, new))
