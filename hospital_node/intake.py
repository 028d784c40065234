"""Taking images in: a scan of this hospital's folder, and its summary in the hospital's own log."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

import psycopg

from hospital_node.actors import operator_of, read_pseudonym_key
from hospital_node.database import prepare
from hospital_node.identity import read_identity
from hospital_node.imaging.folder import Progress
from hospital_node.imaging.ingest import IngestReport, Source, ingest_folder
from hospital_node.imaging.quarantine import Reason
from hospital_node.local_events import (
    Ingest,
    QuarantineRelease,
    Tally,
    images_ingested,
    quarantine_released,
)
from hospital_node.local_log import open_local_outbox
from hospital_node.settings import NodeSettings


def take_in(settings: NodeSettings, progress: Progress) -> dict[str, Any]:
    """Scan the folder of the settings; what came of it, for this hospital's eyes.

    Raises:
        ConfigurationError: the database or the pseudonym key cannot be used.
        ImagingError: folder or labels cannot be used.
    """
    local = open_local_outbox(read_identity(settings).signer)
    prepare(settings.database.dsn)
    images = settings.images
    source = Source(images.folder, images.labels, images.label_columns, images.consent)
    with psycopg.connect(settings.database.dsn, autocommit=True) as connection:
        report = ingest_folder(
            connection, source, key=read_pseudonym_key(settings.keys.pseudonym), progress=progress
        )
        with connection.transaction():
            actor = operator_of(settings, "ingest")
            local.append(connection, images_ingested(_ingested(report), actor))
            if report.released:
                release = QuarantineRelease(released=_tallies(report.released))
                local.append(connection, quarantine_released(release, actor))
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


def _ingested(report: IngestReport) -> Ingest:
    return Ingest(
        indexed=report.indexed,
        read=report.read,
        gone=report.gone,
        not_moved=report.not_moved,
        quarantined=_tallies(item.reason for item in report.quarantined),
    )


def _tallies(reasons: Iterable[Reason]) -> tuple[Tally, ...]:
    """How many files for each reason; never which."""
    return tuple(
        Tally(reason=reason, files=files) for reason, files in sorted(Counter(reasons).items())
    )
