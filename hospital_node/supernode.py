"""Flower's SuperNode as a hospital runs it: outbound to the centre, loopback to the executor.

The one rule: it connects to one address, with this hospital's certificate, and offers its tasks on
loopback to whoever holds the node's secret. The process writes what SuperNode needs, then runs it.
Nothing here knows what an order is.
"""

import argparse
import os
import secrets
import socket
import ssl
import sys
from dataclasses import dataclass
from pathlib import Path

from audit.settings import SettingsError, Tls, exit_code_of, read_settings
from hospital_node.settings import NodeSettings

HOST = "127.0.0.1"
SECRET_BYTES = 32
"""Length of an HMAC-SHA-256 key (RFC 2104 §3)."""

QUIET = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
}
"""Environment in which Flower looks nothing up outside."""


@dataclass(frozen=True, slots=True)
class SuperNodePlace:
    """Where this hospital's SuperNode is, and what the executor shows it."""

    folder: Path
    wanted_port: int
    """0 for any free one."""

    @property
    def secret(self) -> Path:
        """Shared by SuperNode and executor; nobody else gets tasks."""
        return self.folder / "runtime.secret"

    @property
    def home(self) -> Path:
        """`FLWR_HOME`."""
        return self.folder / "home"

    @property
    def port_file(self) -> Path:
        """Where SuperNode writes the port it took."""
        return self.folder / "runtime.port"

    def address(self) -> str | None:
        """`host:port` of the running SuperNode, or none when it has not started yet."""
        try:
            return f"{HOST}:{int(self.port_file.read_text())}"
        except (OSError, ValueError):
            return None


def place_of(settings: NodeSettings) -> SuperNodePlace:
    """Where this hospital's SuperNode is."""
    return SuperNodePlace(settings.site.state / "flower", settings.flower.client_app_api_port)


def prepare(place: SuperNodePlace) -> int:
    """Make folder and secret where they are not there yet; return the port, which is free.

    Raises:
        SettingsError: the port that was set is taken.
    """
    place.folder.mkdir(parents=True, exist_ok=True)
    place.folder.chmod(0o700)
    place.home.mkdir(exist_ok=True)
    if not place.secret.exists():
        handle = os.open(place.secret, os.O_WRONLY | os.O_CREAT, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(secrets.token_bytes(SECRET_BYTES))
    port = _free_port(place.wanted_port)
    place.port_file.write_text(str(port))
    return port


def arguments_of(settings: NodeSettings, port: int) -> list[str]:
    """What `flower-supernode` is told."""
    return [
        *("--superlink", settings.centre.fleet, "--root-certificates", str(settings.tls.ca)),
        *("--auth-supernode-private-key", str(settings.keys.supernode)),
        *("--host", HOST, "--port", str(port), "--isolation", "process"),
        *("--superexec-auth-secret-file", str(place_of(settings).secret)),
    ]


def client_context(tls: Tls) -> ssl.SSLContext:
    """TLS that believes the consortium's authority alone and shows this hospital's certificate.

    Raises:
        SettingsError: one of the files is missing or is not what it should be.
    """
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_verify_locations(tls.ca)
        context.load_cert_chain(tls.certificate, tls.key)
    except OSError as cause:
        raise SettingsError(f"tls: certificate, key or ca cannot be read: {cause}") from cause
    return context


def _free_port(wanted: int) -> int:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, wanted))
        except OSError as cause:
            raise SettingsError(
                f"flower.client_app_api_port = {wanted}: the port is taken ({cause.strerror}); "
                "stop what listens there, choose another, or 0 for any"
            ) from cause
        return int(probe.getsockname()[1])


def main(arguments: list[str] | None = None) -> int:
    """Run SuperNode until told to stop."""
    parser = argparse.ArgumentParser(prog="hospital_node.supernode", description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="the hospital's node.toml")
    config: Path = parser.parse_args(arguments).config
    try:
        settings = read_settings(config, NodeSettings)
        context = client_context(settings.tls)
        port = prepare(place_of(settings))
    except (SettingsError, OSError) as error:
        print(f"supernode: {error}", file=sys.stderr)
        return exit_code_of(error)
    # Flower reads its environment when it is imported, which therefore waits until now.
    os.environ.update(QUIET, FLWR_HOME=str(place_of(settings).home))
    from hospital_node.fleet import run_supernode  # noqa: PLC0415

    run_supernode(arguments_of(settings, port), context)
    return 0


if __name__ == "__main__":
    sys.exit(main())
