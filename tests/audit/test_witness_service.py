"""A witness as a process, beside a log as a process: one pushes, the other cosigns, over TLS."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psycopg
import pytest
from audit_parties import (
    Certificates,
    Consortium,
    free_port,
    new_signer,
    running_service,
    write_config,
)
from typer.testing import CliRunner
from witness_memory import witness_memory

from audit.__main__ import main
from audit.checkpoint import Checkpoint, WitnessKey, WitnessPolicy, sign_checkpoint
from audit.cli import app
from audit.client import LogClient
from audit.note import Algorithm
from audit.verifying.findings import EXIT_CODES, Fault
from audit.witnesses.add_checkpoint import Addition


@pytest.fixture
def north() -> Consortium:
    return Consortium(quorum=0)


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    return Certificates(tmp_path)


@pytest.fixture
def memory(dsn: str, postgres: str) -> Iterator[str]:
    with witness_memory(dsn, postgres) as pool:
        yield pool.conninfo


def write_witness(folder: Path, certificates: Certificates, *, memory: str, vkey: str) -> Path:
    tls = certificates.issue("door")
    config = folder / "witness.toml"
    config.write_text(
        f"""
[witness]
listen = "127.0.0.1:{free_port()}"
key = "witness.key"
[database]
dsn = "{memory}"
[tls]
certificate = "{tls.certificate}"
key = "{tls.key}"
[[logs]]
vkey = "{vkey}"
"""
    )
    return config


def make_key(folder: Path) -> str:
    made = CliRunner().invoke(
        app, ["witness-keygen", "regulator.example/witness", str(folder / "witness.key")]
    )
    assert made.exit_code == 0
    return made.output.strip()


@contextmanager
def running_witness(config: Path) -> Iterator[str]:
    port = int(config.read_text().split("127.0.0.1:")[1].split('"')[0])
    url = f"https://127.0.0.1:{port}"
    process = subprocess.Popen(
        [sys.executable, "-m", "audit.witnesses.service", "--config", config]
    )
    try:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            assert process.poll() is None
            try:
                httpx.get(url, verify=False)  # only whether anybody answers
                break
            except httpx.TransportError:
                time.sleep(0.05)
        yield url
    finally:
        process.terminate()
        assert process.wait(10) == 0


def test_a_regulators_witness_cosigns_a_log_that_lists_it(
    tmp_path, dsn, memory, north, certificates
) -> None:
    vkey = make_key(tmp_path)
    own, mine = certificates.issue("audit"), certificates.issue("anna")
    witness = write_witness(tmp_path, certificates, memory=memory, vkey=north.log.vkey)
    port = free_port()
    config = write_config(tmp_path, north, tls=own, dsn=dsn, port=port)
    policy = WitnessPolicy((WitnessKey.from_vkey("the regulator", vkey),), 1)
    with running_witness(witness) as url:
        config.write_text(
            f'{config.read_text()}\n[[witnesses]]\nurl = "{url}"\nvkey = "{vkey}"\n'
            f'organisation = "the regulator"\nca = "{own.ca}"\n'
        )
        with (
            running_service(config, port) as service,
            LogClient(service.url, mine, north.log.verifier, north.policy) as client,
        ):
            client.submit(north.chain().several(3))
            await_cosigned(client, policy)


def await_cosigned(client: LogClient, policy: WitnessPolicy) -> None:
    deadline = time.monotonic() + 30
    while not policy.cosignatures(client.checkpoint()):
        assert time.monotonic() < deadline, "the regulator's word never came"
        time.sleep(0.1)


def test_a_fork_at_the_door_is_taken_out_as_evidence_that_verifies(
    tmp_path, memory, north, certificates
) -> None:
    make_key(tmp_path)
    config = write_witness(tmp_path, certificates, memory=memory, vkey=north.log.vkey)
    notes = [
        sign_checkpoint(Checkpoint(north.log.name, 4, bytes([n]) * 32), north.log) for n in (1, 2)
    ]
    with running_witness(config) as url:
        answers = [
            httpx.post(
                f"{url}/add-checkpoint", content=Addition(old, (), note).format(), verify=False
            )
            for old, note in zip((0, 4), notes, strict=True)
        ]
    assert [answer.status_code for answer in answers] == [200, 409]
    out = tmp_path / "forks"
    told = CliRunner().invoke(app, ["witness", "forks", "--config", str(config), "--out", str(out)])
    assert told.exit_code == 1, "a proven fork must not look like success to a script"
    assert "proven" in told.output
    fork = str(out / "fork-0.json")
    assert main(["verify", fork, "--vkey", north.log.vkey]) == EXIT_CODES[Fault.EQUIVOCATION][0]


def test_a_witness_without_forks_says_so_with_success(tmp_path, memory, north, certificates):
    config = write_witness(tmp_path, certificates, memory=memory, vkey=north.log.vkey)
    told = CliRunner().invoke(app, ["witness", "forks", "--config", str(config)])
    assert told.exit_code == 0


def start_wrongly(config: Path) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "audit.witnesses.service", "--config", str(config)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return done.returncode, done.stderr.strip().splitlines()[-1]


def test_what_is_wrong_with_a_witnesss_file_is_named(tmp_path, memory, north, certificates):
    make_key(tmp_path)
    config = write_witness(tmp_path, certificates, memory=memory, vkey=north.log.vkey)
    good = config.read_text()
    (tmp_path / "other.key").touch(mode=0o600)
    (tmp_path / "other.key").write_text(new_signer("x").private_text() + "\n")
    wrong = {
        "witness.key": good.replace('"witness.key"', '"other.key"'),
        "logs.vkey": good.replace(north.log.vkey, new_signer("y", Algorithm.COSIGNATURE).vkey),
        "database.dsn": good.replace(memory, "host=127.0.0.1 port=1 connect_timeout=2"),
        "tls": good.replace("door.pem", "nowhere.pem"),
        "logs": good[: good.index("[[logs]]")],
        "one key": good + f'[[logs]]\nvkey = "{Consortium().log.vkey}"\n',
    }
    for setting, text in wrong.items():
        config.write_text(text)
        code, line = start_wrongly(config)
        assert code == 3, setting
        assert setting in line


def test_a_memory_that_is_none_is_said_so(tmp_path, dsn) -> None:
    config = tmp_path / "node.toml"
    config.write_text(f'[database]\ndsn = "{psycopg.conninfo.make_conninfo(dsn)}"\n')
    told = CliRunner().invoke(app, ["witness", "forks", "--config", str(config)])
    assert told.exit_code == 3
    assert "database.dsn" in told.output
