"""Flower's SuperLink as the centre runs it: on loopback, for this machine's own processes.

The one rule: its Control API, which anyone who can connect may use to push code to every hospital,
is bound to loopback and nowhere else; hospitals come in through `services.door`. The process here
writes what SuperLink needs, then becomes it. What rounds are is unknown to it.
"""

import argparse
import ipaddress
import os
import secrets
import socket
import sqlite3
import sys
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from audit.settings import SettingsError, exit_code_of, read_settings
from services.settings import CentreSettings

HOST = "127.0.0.1"
SECRET_BYTES = 32
"""Length of an HMAC-SHA-256 key (RFC 2104 §3)."""

_VALID = timedelta(days=3650)
"""The key never leaves the machine that serves and trusts it, so nothing is gained by renewal."""

QUIET = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
}
"""Environment in which Flower looks nothing up outside."""


@dataclass(frozen=True, slots=True)
class SuperLinkPlace:
    """Where the centre's SuperLink is, and what its own processes show it."""

    folder: Path
    port: int

    @property
    def address(self) -> str:
        """`host:port`."""
        return f"{HOST}:{self.port}"

    @property
    def certificate(self) -> Path:
        """Its certificate, which is trusted by itself: no authority stands behind loopback."""
        return self.folder / "loopback.pem"

    @property
    def key(self) -> Path:
        """The certificate's private key."""
        return self.folder / "loopback.key"

    @property
    def secret(self) -> Path:
        """Shared with the process that acts as the server's app; nobody else gets tasks."""
        return self.folder / "runtime.secret"

    @property
    def database(self) -> Path:
        """Flower's own SQLite file: runs, nodes and messages under way."""
        return self.folder / "superlink.db"

    @property
    def home(self) -> Path:
        """`FLWR_HOME`."""
        return self.folder / "home"


def place_of(settings: CentreSettings) -> SuperLinkPlace:
    """Where this centre's SuperLink is."""
    return SuperLinkPlace(settings.centre.state / "superlink", settings.superlink.port)


def prepare(place: SuperLinkPlace, *, now: datetime) -> None:
    """Make the folder, the certificate and the secret, where they are not there yet.

    SuperLink must not be running.
    """
    place.folder.mkdir(parents=True, exist_ok=True)
    place.folder.chmod(0o700)
    place.home.mkdir(exist_ok=True)
    if not place.secret.exists():
        _write_private(place.secret, secrets.token_bytes(SECRET_BYTES))
    if not (place.certificate.exists() and place.key.exists()):
        _make_certificate(place, now)
    if place.database.exists():
        _give_space_back(place.database)


def command(place: SuperLinkPlace) -> list[str]:
    """The command that starts SuperLink."""
    return [
        str(Path(sys.executable).with_name("flower-superlink")),
        *("--host", HOST, "--port", str(place.port)),
        *("--ssl-certfile", str(place.certificate), "--ssl-keyfile", str(place.key)),
        *("--ssl-ca-certfile", str(place.certificate)),
        *("--enable-supernode-auth", "--isolation", "process"),
        *("--superexec-auth-secret-file", str(place.secret)),
        *("--database", str(place.database)),
        "--disable-runtime-dependency-installation",
    ]


def check_port_free(port: int, setting: str) -> None:
    """Pass when nobody listens on the loopback port.

    Raises:
        SettingsError: somebody does.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as cause:
            raise SettingsError(
                f"{setting} = {port}: port {port} of {HOST} is taken ({cause.strerror}); "
                "stop what listens there or choose another"
            ) from cause


def _give_space_back(database: Path) -> None:
    """Shrink Flower's file to what it holds; it keeps the size of the largest round otherwise."""
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("VACUUM")


def _make_certificate(place: SuperLinkPlace, now: datetime) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "wardround loopback")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + _VALID)
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(HOST))]),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    _write_private(
        place.key,
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
    )
    place.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))


def _write_private(path: Path, content: bytes) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(content)


def main(arguments: list[str] | None = None) -> int:
    """Become SuperLink; return only when that fails."""
    parser = argparse.ArgumentParser(prog="services.superlink", description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="the centre's centre.toml")
    config: Path = parser.parse_args(arguments).config
    try:
        place = place_of(read_settings(config, CentreSettings))
        check_port_free(place.port, "superlink.port")
        prepare(place, now=datetime.now(UTC))
        line = command(place)
        os.execve(line[0], line, {**os.environ, **QUIET, "FLWR_HOME": str(place.home)})  # noqa: S606
    except (SettingsError, OSError, sqlite3.Error) as error:
        print(f"superlink: {error}", file=sys.stderr)
        return exit_code_of(error)


if __name__ == "__main__":
    sys.exit(main())
