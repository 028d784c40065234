"""Taking images in: a scan of this hospital's folder, and its summary in the hospital's own log."""

from collections import Counter
from collections.abc import Iterable
from operator import itemgetter
from pathlib import Path
from typing import Any

import psycopg

from audit.outbox import Outbox
from hospital_node.actors import operator_of, read_pseudonym_key
from hospital_node.clock import now_us
from hospital_node.database import prepare
from hospital_node.identity import read_identity
from hospital_node.imaging import index
from hospital_node.imaging.deidentify.receipt import write_receipts
from hospital_node.imaging.errors import FolderError
from hospital_node.imaging.folder import Progress, name_of
from hospital_node.imaging.ingest import IngestReport, ingest_folder
from hospital_node.imaging.outlines import OutlineFile, list_outlines
from hospital_node.imaging.quarantine import Quarantined, Reason
from hospital_node.imaging.reports import ReportFile, list_reports
from hospital_node.labelling import prepare_source
from hospital_node.local_events import (
    Ingest,
    QuarantineRelease,
    Tally,
    images_ingested,
    quarantine_released,
    study_deidentified,
)
from hospital_node.local_log import open_local_outbox
from hospital_node.settings import NodeSettings


def take_in(settings: NodeSettings, progress: Progress, *, part: Path = Path()) -> dict[str, Any]:
    """Scan the folder of the settings; what came of it, for this hospital's eyes.

    Args:
        settings: of this hospital.
        progress: told of files done.
        part: below the folder, what to scan of it.

    Raises:
        ConfigurationError: the database or the pseudonym key cannot be used.
        ImagingError: folder, labels or consents cannot be used.
    """
    local = open_local_outbox(read_identity(settings).signer)
    prepare(settings.database.dsn)
    key = read_pseudonym_key(settings.keys.pseudonym)
    with psycopg.connect(settings.database.dsn, autocommit=True) as connection:
        source = prepare_source(connection, settings, key=key, part=part).source
        report = ingest_folder(connection, source, key=key, progress=progress)
        with connection.transaction():
            actor = operator_of(settings, "ingest")
            local.append(connection, images_ingested(_ingested(report), actor))
            if report.released:
                release = QuarantineRelease(released=_tallies(report.released))
                local.append(connection, quarantine_released(release, actor))
            note_receipts(connection, local)
        reports, outlines = list_reports(connection), list_outlines(connection)
    return {
        "indexed": report.indexed,
        "read": report.read,
        "unchanged": report.unchanged,
        "gone": report.gone,
        "not_moved": report.not_moved,
        "reports": {
            "taken": sum(one.fault is None for one in reports),
            "refused": [_refused(one) for one in reports if one.fault is not None],
        },
        "outlines": {
            "taken": sum(one.fault is None for one in outlines),
            "unknown_segments": sum(one.unknown for one in outlines),
            "refused": [_refused(one) for one in outlines if one.fault is not None],
        },
        "copies": report.copies,
        "quarantined": [_view(item) for item in report.quarantined],
    }


def scan(settings: NodeSettings, folder: Path | None, progress: Progress) -> dict[str, Any]:
    """Scan a folder and say of each of its files where it is now; for this hospital's eyes.

    Args:
        settings: of this hospital.
        folder: the folder of the settings, or one below it; none for the whole.
        progress: told of files done.

    Raises:
        ConfigurationError: as for `take_in`.
        ImagingError: as for `take_in`, or `folder` lies elsewhere.
    """
    part = _part_of(settings.images.folder, folder)
    done = take_in(settings, progress, part=part)
    with psycopg.connect(settings.database.dsn) as connection:
        indexed = index.list_indexed(connection, below=name_of(part))
        copies = index.list_copies(connection, below=name_of(part))
        kept_back = [one for one in index.list_quarantine(connection) if _is_below(one.path, part)]
    counts = Counter(str(item.reason) for item in kept_back)
    return {
        "folder": str(settings.images.folder / part),
        "indexed": len(indexed),
        "quarantined": len(kept_back),
        "copies": len(copies),
        "reasons": dict(sorted(counts.items())),
        "read": done["read"],
        "unchanged": done["unchanged"],
        "gone": done["gone"],
        "reports": done["reports"],
        "outlines": done["outlines"],
        "files": sorted(
            [{"file": file, "state": "indexed"} for file in indexed]
            + [{"file": file, "state": "copy"} for file in copies]
            + [{"state": "quarantined"} | _view(item) for item in kept_back],
            key=itemgetter("file"),
        ),
    }


def note_receipts(connection: psycopg.Connection[Any], local: Outbox) -> None:
    """Bring the receipts up to date, with an entry for each that says something new.

    Args:
        connection: in the transaction that follows a scan.
        local: the hospital's own log.
    """
    for receipt in write_receipts(connection, made_us=now_us()):
        local.append(connection, study_deidentified(receipt))


def _part_of(images: Path, folder: Path | None) -> Path:
    """Where `folder` lies below the images' folder.

    Raises:
        FolderError: it lies elsewhere; indexing it would make the index forget the images' folder.
    """
    if folder is None:
        return Path()
    try:
        return folder.resolve().relative_to(images.resolve())
    except ValueError as cause:
        raise FolderError(
            f"{folder} is not below {images}, which images.folder of the settings names; put the "
            "files there, or change the setting"
        ) from cause


def _is_below(path: Path, part: Path) -> bool:
    return path.is_relative_to(part)


def _view(item: Quarantined) -> dict[str, str]:
    return {
        "file": item.path.as_posix(),
        "reason": str(item.reason),
        "explanation": item.explanation,
    }


def _refused(item: ReportFile | OutlineFile) -> dict[str, str]:
    return {"file": item.path, "reason": str(item.fault), "explanation": item.explanation}


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
