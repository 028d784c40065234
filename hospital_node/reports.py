"""Reports: this hospital's true figures, shown to its own people and noted in its own log."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hospital_node import database, store
from hospital_node.actors import operator_of
from hospital_node.errors import ConfigurationError
from hospital_node.identity import read_identity
from hospital_node.judging.page import render_page
from hospital_node.local_events import Figures, FiguresShown, figures_shown
from hospital_node.local_log import open_local_outbox
from hospital_node.settings import NodeSettings


def show_reports(settings: NodeSettings) -> list[dict[str, Any]]:
    """Every report, the newest first, once the look at them is on the hospital's own record.

    Opens no site, which would load the networks.

    Raises:
        ConfigurationError: a key or the database cannot be used.
    """
    local = open_local_outbox(read_identity(settings).signer)
    dsn = settings.database.dsn
    database.prepare(dsn)
    with database.open_pool(dsn) as pool, pool.connection() as connection:
        reports = list(store.load_reports(connection))
        shown = FiguresShown(figures=Figures.REPORTS, rows=len(reports))
        local.append(connection, figures_shown(shown, operator_of(settings, "look")))
    return reports


def write_page(reports: Sequence[dict[str, Any]], out: Path) -> None:
    """Write reports that somebody was shown as one page, readable by its owner alone.

    Raises:
        ConfigurationError: the file cannot be written.
    """
    try:
        out.touch(mode=0o600)
        out.write_text(render_page(reports), encoding="utf-8")
    except OSError as cause:
        raise ConfigurationError(
            f"{out} cannot be written: {cause.strerror}; name a file in a folder that exists"
        ) from cause
