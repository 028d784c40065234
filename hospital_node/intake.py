"""Taking images in: a scan of this hospital's folder, and its summary in the hospital's own log."""

from pathlib import Path
from typing import Any

import psycopg

from hospital_node.database import prepare
from hospital_node.errors import ConfigurationError
from hospital_node.identity import read_identity
from hospital_node.imaging.folder import Progress
from hospital_node.imaging.ingest import IngestReport, Source, ingest_folder
from hospital_node.local_log import LocalKind, open_local_outbox
from hospital_node.settings import NodeSettings
from protocol.events import Event


def take_in(settings: NodeSettings, progress: Progress) -> dict[str, Any]:
    """Scan the folder of the settings; what came of it, for this hospital's eyes.

    Raises:
        ConfigurationError: the database or the pseudonym key cannot be used.
        ImagingError: folder or labels cannot be used.
    """
    local = open_local_outbox(read_identity(settings).signer)
    prepare(settings.database.dsn)
    images = settings.images
    source = Source(images.folder, images.labels, images.label_columns)
    with psycopg.connect(settings.database.dsn, autocommit=True) as connection:
        report = ingest_folder(
            connection, source, key=_read_key(settings.keys.pseudonym), progress=progress
        )
        with connection.transaction():
            local.append(connection, _ingested(report))
    return {
        "indexed": report.indexed,
        "read": report.read,
        "unchanged": report.unchanged,
        "gone": report.gone,
        "not_moved": report.not_moved,
        "quarantined": [
            {
                "file": item.path.as_posix(),
                "reason": str(item.reason),
                "explanation": item.explanation,
            }
            for item in report.quarantined
        ],
    }


def _ingested(report: IngestReport) -> Event:
    return Event(
        LocalKind.IMAGES_INGESTED,
        {
            "indexed": report.indexed,
            "read": report.read,
            "gone": report.gone,
            "not_moved": report.not_moved,
            "quarantined": len(report.quarantined),
        },
    )


def _read_key(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as cause:
        raise ConfigurationError(f"keys.pseudonym = {path}: {cause.strerror}") from cause
