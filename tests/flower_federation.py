"""A centre's and some hospitals' Flower processes, real ones, with throw-away keys."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from audit_parties import new_signer
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from audit.settings import read_settings
from deploy.certificates import Authority, make_request
from protocol.ballot import Rule
from protocol.consortium import Consortium, Member, Role
from services.coordinator.bundle import fab_digest
from services.coordinator.nodes import write_node_key
from services.settings import CentreSettings

HERE = Path(__file__).parent


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Federation:
    """Folders and processes of one centre and its hospitals."""

    def __init__(self, folder: Path, sites: tuple[str, ...], later: tuple[str, ...]) -> None:
        self.folder = folder
        self.sites = sites
        hospitals = (*sites, *later)
        self.now = datetime.now(UTC)
        self.authority = Authority.create(folder / "ca", consortium="lungs", now=self.now)
        self.door_port, self.superlink_port = free_port(), free_port()
        self.runtime_ports = {site: free_port() for site in hospitals}
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.public_keys: dict[str, str] = {}
        members = sorted([*hospitals, "centre"])
        self.consortium = Consortium(
            name="lungs",
            log_vkey=new_signer("lungs/log").vkey,
            members=tuple(
                Member(
                    name=name,
                    role=Role.CENTRE if name == "centre" else Role.HOSPITAL,
                    organisation=name,
                    event_vkey=new_signer(f"lungs/{name}").vkey,
                )
                for name in members
            ),
            rule=Rule(approvals=1),
            witness_quorum=0,
        )
        self._write_centre()
        for site in hospitals:
            self._write_site(site, fab_digest())

    def certify(self, name: str, *hosts: str) -> Path:
        """A folder with the party's TLS key and certificate."""
        folder = self.folder / name
        request = make_request(folder / "tls.key", name=name, organisation=name, hosts=hosts)
        (folder / "tls.pem").write_text(self.authority.issue(request, name=name, now=self.now))
        (folder / "ca.pem").write_text(self.authority.pem)
        (folder / "consortium.json").write_bytes(self.consortium.to_bytes())
        return folder

    def _write_centre(self) -> None:
        folder = self.certify("centre", "127.0.0.1", "localhost")
        (folder / "centre.toml").write_text(f"""
consortium = "consortium.json"
[centre]
name = "centre"
state = "state"
listen = "127.0.0.1:1"
[database]
dsn = "postgresql:///unused"
[keys]
event = "event.key"
[tls]
ca = "ca.pem"
certificate = "tls.pem"
key = "tls.key"
[door]
listen = "127.0.0.1:{self.door_port}"
[superlink]
port = {self.superlink_port}
[audit]
url = "https://127.0.0.1:1"
""")

    def _write_site(self, site: str, digest: str) -> None:
        folder = self.certify(site)
        key = ec.generate_private_key(ec.SECP384R1())
        (folder / "supernode.key").write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.OpenSSH,
                serialization.NoEncryption(),
            )
        )
        public = key.public_key().public_bytes(
            serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
        )
        self.public_keys[site] = public.decode()
        self.allow(site, digest)

    def enrol(self, site: str) -> None:
        """Lay the site's node key where the centre looks for it."""
        write_node_key(self.settings.centre.state / "nodes", site, self.public_keys[site])

    def allow(self, site: str, digest: str) -> None:
        """Write the site's settings, with the one bundle it allows."""
        (self.folder / site / "node.toml").write_text(f"""
consortium = "consortium.json"
[site]
name = "{site}"
organisation = "{site}"
state = "state"
[database]
dsn = "postgresql:///unused"
[keys]
event = "event.key"
witness = "witness.key"
log = "log.key"
pseudonym = "pseudonym.key"
supernode = "supernode.key"
[tls]
ca = "ca.pem"
certificate = "tls.pem"
key = "tls.key"
[centre]
fleet = "127.0.0.1:{self.door_port}"
[audit]
url = "https://127.0.0.1:1"
[images]
folder = "images"
labels = "labels.csv"
[policy]
file = "policy.toml"
[flower]
client_app_api_port = {self.runtime_ports[site]}
fab_digests = ["{digest}"]
""")

    @property
    def settings(self) -> CentreSettings:
        """The centre's."""
        return read_settings(self.folder / "centre" / "centre.toml", CentreSettings)

    def start(self, name: str, *command: str) -> None:
        """Start a process; what it says goes to `<name>.log`."""
        log = (self.folder / f"{name}.log").open("ab")
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        self.processes[name] = subprocess.Popen(
            [sys.executable, *command], stdout=log, stderr=log, env=environment
        )

    def start_centre(self) -> None:
        config = str(self.folder / "centre" / "centre.toml")
        self.start("superlink", "-m", "services.superlink", "--config", config)
        self.start("door", "-m", "services.door", "--config", config)
        self.wait_port(self.superlink_port)
        self.wait_port(self.door_port)

    def start_supernode(self, site: str) -> None:
        config = str(self.folder / site / "node.toml")
        self.start(f"{site}-supernode", "-m", "hospital_node.supernode", "--config", config)

    def start_executor(self, site: str) -> None:
        config = str(self.folder / site / "node.toml")
        # -P: folders of tests are named as packages are, and must not stand before them.
        self.start(f"{site}-executor", "-P", str(HERE / "flower_site.py"), "--config", config)

    def stop(self, name: str, number: signal.Signals = signal.SIGTERM) -> int:
        """Stop a process; its exit code."""
        process = self.processes.pop(name)
        process.send_signal(number)
        try:
            return process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text(errors="replace")

    @staticmethod
    def wait_port(port: int, timeout_s: float = 40) -> None:
        until = time.monotonic() + timeout_s
        while time.monotonic() < until:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return
            time.sleep(0.1)
        raise TimeoutError(f"nothing listens on port {port}")

    def ports(self) -> tuple[int, ...]:
        return (self.door_port, self.superlink_port, *self.runtime_ports.values())


@contextmanager
def federation(folder: Path, *sites: str, later: tuple[str, ...] = ()) -> Iterator[Federation]:
    """All processes of a centre and its sites, stopped at the end; `later` ones are only known."""
    made = Federation(folder, sites, later)
    try:
        made.start_centre()
        for site in made.sites:
            made.enrol(site)
            made.start_supernode(site)
            made.start_executor(site)
        yield made
    finally:
        for name in reversed(list(made.processes)):
            made.stop(name)
