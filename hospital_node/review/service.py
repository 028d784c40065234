"""The review page's process: `python -m hospital_node.review --config node.toml`.

The one rule: it serves over TLS or not at all, and what is wrong with its settings is found before
the port opens. It loads nothing of training.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import structlog

from audit.errors import AuditError
from audit.journal import start_journal
from audit.public_http import serve_strangers
from audit.service import listen
from audit.settings import SettingsError, exit_code_of, read_settings
from audit.tls import server_tls
from hospital_node.errors import NodeError
from hospital_node.review.app import create_app
from hospital_node.review.desk import furnish
from hospital_node.review.room import open_room
from hospital_node.settings import NodeSettings

_log = structlog.get_logger("review")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until told to stop; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m hospital_node.review")
    parser.add_argument("--config", type=Path, required=True, help="the hospital's node.toml")
    config: Path = parser.parse_args(arguments).config
    start_journal()
    try:
        serve(read_settings(config, NodeSettings))
    except (SettingsError, AuditError, NodeError) as fault:
        print(f"review page: {fault}", file=sys.stderr)
        return exit_code_of(fault)
    return 0


def serve(settings: NodeSettings) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises:
        SettingsError: there is no [review], or a file, the port or the database cannot be had.
    """
    review = settings.review
    if review is None:
        raise SettingsError("there is no [review]; add listen, certificate and key")
    tls = server_tls("review", certificate=review.certificate, key=review.key)
    with open_room(settings, review) as room, listen(review.listen, "review.listen") as listener:
        host, port = listener.getsockname()[:2]
        _log.info("review page listens", host=host, port=port)
        serve_strangers(create_app(furnish(room)), listener, tls)
    _log.info("review page stopped")
