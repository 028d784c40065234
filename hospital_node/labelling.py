"""Labelling: what a scan is to go by, as the settings name it: the labels file, reports, consents.

The one rule: reports are read before the images that they speak of, so that a scan that finds both
needs no second.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from psycopg import Connection

from hospital_node.imaging import reports
from hospital_node.imaging.answers import Told
from hospital_node.imaging.folder import name_of
from hospital_node.imaging.ingest import Source
from hospital_node.settings import NodeSettings


@dataclass(frozen=True, slots=True)
class Prepared:
    """What to scan, and what has changed of the reports before it."""

    source: Source
    reports_changed: int
    """Reports that were new, changed or gone: images may have other labels now."""


def prepare_source(
    connection: Connection[Any],
    settings: NodeSettings,
    *,
    key: bytes,
    part: Path = Path(),
    among: Sequence[Path] | None = None,
) -> Prepared:
    """What to scan by the settings, once the reports have been read.

    Args:
        connection: to the hospital's database, with no transaction open.
        settings: of this hospital.
        key: its pseudonym key.
        part: below the folder of images, what to scan of it.
        among: files below the folder, the only ones that may be new reports; none, everything.

    Raises:
        FolderError: the folder of reports cannot be used.
        ScanError: the process that reads reports does not start.
    """
    images, changed = settings.images, 0
    told: tuple[Told, ...] = ()
    names: frozenset[str] = frozenset()
    if images.sr is not None:
        places = reports.Places(images.folder, images.sr)
        changed = reports.take_in(connection, places, key=key, among=among)
        with connection.transaction():
            told = reports.told_by_reports(connection)
            names = reports.names_among_images(connection)
    source = Source(
        images.folder,
        images.labels,
        images.label_columns,
        images.consent,
        below=part,
        told=told,
        reports=names,
    )
    return Prepared(source, changed)


def images_of(source: Source, paths: Sequence[Path]) -> tuple[Path, ...]:
    """Those of `paths` that are no reports."""
    return tuple(path for path in paths if name_of(path) not in source.reports)
