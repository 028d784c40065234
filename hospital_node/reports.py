"""Reports: this hospital's true figures, shown to its own people and noted in its own log."""

from typing import Any

from hospital_node import database, store
from hospital_node.actors import operator_of
from hospital_node.identity import read_identity
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
