"""A server that waits for its disk, and the table of bars at the end."""

import pytest
from bars import ROWS, table

from deploy.postgres_server import postgres_server


@pytest.fixture(scope="module")
def durable(tmp_path_factory: pytest.TempPathFactory):
    """DSN of a server with fsync on."""
    with postgres_server(tmp_path_factory.mktemp("durable")) as server:
        yield server.dsn


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if ROWS:
        terminalreporter.section("bars")
        for line in table():
            terminalreporter.write_line(line)
