"""Labelling: what a scan is to go by, as the settings name it: labels, reports, outlines, consents.

The one rule: reports and outlines are read before the images that they are about, so that a scan
that finds both needs no second.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from psycopg import Connection

from hospital_node.imaging import outlines, reports
from hospital_node.imaging.answers import Told
from hospital_node.imaging.folder import name_of
from hospital_node.imaging.ingest import Source
from hospital_node.settings import NodeSettings


@dataclass(frozen=True, slots=True)
class Prepared:
    """What to scan, and what has changed of reports and outlines before it."""

    source: Source
    reports_changed: int
    """Reports and outlines that were new, changed or gone: images may have other labels now."""


def prepare_source(
    connection: Connection[Any],
    settings: NodeSettings,
    *,
    key: bytes,
    part: Path = Path(),
    among: Sequence[Path] | None = None,
) -> Prepared:
    """What to scan by the settings, once reports and outlines have been read.

    Args:
        connection: to the hospital's database, with no transaction open.
        settings: of this hospital.
        key: its pseudonym key.
        part: below the folder of images, what to scan of it.
        among: files below the folder, the only ones that may be new reports or outlines; none,
            everything.

    Raises:
        FolderError: the folder of reports cannot be used.
        ScanError: the process that reads reports or outlines does not start.
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
    if images.seg is not None:
        changed += outlines.take_in(connection, images.folder, images.seg, key=key, among=among)
        with connection.transaction():
            told += outlines.told_by_outlines(connection, images.seg.column)
            names |= outlines.names_of_outlines(connection)
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
    """Those of `paths` that are no reports and no outlines."""
    return tuple(path for path in paths if name_of(path) not in source.reports)
