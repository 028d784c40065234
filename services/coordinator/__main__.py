"""The coordinator process: API, outbox relay and the thread that carries out runs."""

import argparse
import socket
import ssl
import sys
import threading
from contextlib import AbstractContextManager
from pathlib import Path

import uvicorn
from fastapi import FastAPI

from audit.errors import AuditError
from audit.identity import CertifiedProtocol
from audit.journal import start_journal
from audit.settings import SettingsError, exit_code_of, read_settings, split_address
from services.coordinator.app import create_app
from services.coordinator.flower_grid import open_grid
from services.coordinator.grid import Grid
from services.coordinator.worker import Worker
from services.errors import CentreError, ConfigurationError
from services.opening import open_centre, relay_of
from services.settings import CentreSettings


def main() -> int:
    """Run until told to stop; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m services.coordinator")
    parser.add_argument("--config", type=Path, required=True, help="the centre's centre.toml")
    arguments = parser.parse_args()
    start_journal()
    try:
        serve(read_settings(arguments.config, CentreSettings))
    except (SettingsError, CentreError, AuditError) as fault:
        print(f"coordinator: {fault}", file=sys.stderr)
        return exit_code_of(fault)
    return 0


def serve(settings: CentreSettings) -> None:
    """Serve the API until SIGTERM or Ctrl-C.

    Raises:
        ConfigurationError: the address is taken, or a file or the database cannot be used.
    """
    listener = listen(settings)
    stop = threading.Event()

    def grid() -> AbstractContextManager[Grid]:
        return open_grid(settings)

    with listener, open_centre(settings) as centre:
        worker = Worker(centre, grid, stop)
        worker.start()
        relay = threading.Thread(
            target=relay_of(centre).run, args=(stop,), name="relay", daemon=True
        )
        relay.start()
        try:
            make_server(settings, create_app(centre, worker.submit)).run(sockets=[listener])
        finally:
            stop.set()
            relay.join(timeout=2.0)


def make_server(settings: CentreSettings, app: FastAPI) -> uvicorn.Server:
    """The HTTPS server that asks every caller for a certificate and hands its name on."""
    config = uvicorn.Config(
        app,
        http=CertifiedProtocol,
        ws="none",
        ssl_certfile=settings.tls.certificate,
        ssl_keyfile=settings.tls.key,
        ssl_ca_certs=str(settings.tls.ca),
        ssl_cert_reqs=ssl.CERT_REQUIRED,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=2,
    )
    return uvicorn.Server(config)


def listen(settings: CentreSettings) -> socket.socket:
    """The socket of the operator's API.

    Raises:
        ConfigurationError: the address is taken, or not this machine's.
    """
    host, port = split_address(settings.centre.listen)
    try:
        return socket.create_server((host, port))
    except OSError as cause:
        raise ConfigurationError(
            f"centre.listen = {settings.centre.listen}: {cause.strerror}; "
            "stop what uses the port, or choose another"
        ) from cause


if __name__ == "__main__":
    sys.exit(main())
