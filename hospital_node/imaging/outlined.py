"""Outlined images: which images of a cohort have their outlines, and where these lie.

The one rule: outlines count for an image on whose very grid they were drawn; rows, columns and,
where both say it, the place in the patient have to be the same. What is drawn elsewhere is left out
and counted, and nothing is moved to fit.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import structlog
from psycopg import Connection

from hospital_node.imaging.index import Labelled
from hospital_node.imaging.outlines import Segments, structures_of
from hospital_node.imaging.volumes import ImageRef, VolumeRef
from protocol.plan import Cohort

_log = structlog.get_logger(__name__)

_COSINE_SLACK = 1e-3
_SPACING_SLACK = 1e-2
"""In parts: segmentations are stored with fewer digits than images."""


@dataclass(frozen=True, slots=True)
class OutlineRef:
    """One segmentation, and the exact bytes that were read when it was taken in."""

    path: Path
    """May identify the patient: never logged, never sent."""
    content_digest: str
    segments: tuple[tuple[str, tuple[int, ...]], ...]
    """By structure, the numbers of the segments that are of it."""


@dataclass(frozen=True, slots=True)
class _Drawn:
    """What is known of the outlines of one image."""

    ref: OutlineRef
    rows_px: int
    columns_px: int
    plane: tuple[float, ...] | None


@dataclass(frozen=True, slots=True)
class Outlines:
    """Where the outlines of images are, by keyed digest of their instances."""

    _by_instance: dict[str, tuple[OutlineRef, ...]]

    def of(self, ref: ImageRef | VolumeRef) -> tuple[OutlineRef, ...]:
        """Where the outlines of an image or of all slices of a volume are, each file once."""
        images = (ref,) if isinstance(ref, ImageRef) else ref.slices
        found = [one for image in images for one in self._by_instance.get(image.instance, ())]
        return tuple(dict.fromkeys(found))


def keep_outlined(
    connection: Connection[Any], images: Sequence[Labelled], cohort: Cohort
) -> list[Labelled]:
    """The images of which all structures of the cohort are outlined, by patient as they came."""
    drawn = _drawn(connection, images, Path())
    named = [one for one in images if set(cohort.classes) <= structures_of(one.label)]
    fitting = [one for one in named if all(_is_on(one, by) for by in drawn[one.instance])]
    if len(fitting) < len(images):
        _log.warning(
            "images left out",
            without_all_structures=len(images) - len(named),
            outlined_on_another_grid=len(named) - len(fitting),
        )
    kept: list[Labelled] = []
    for _, group in groupby(fitting, key=lambda image: image.pseudonym):
        of_one = list(group)
        kept += of_one if len(of_one) >= cohort.minimum_images else []
    return kept


def find_outlines(
    connection: Connection[Any], images: Iterable[Labelled], folder: Path
) -> Outlines:
    """Where the outlines of `images` are."""
    drawn = _drawn(connection, images, folder)
    return Outlines({name: tuple(one.ref for one in found) for name, found in drawn.items()})


def _drawn(
    connection: Connection[Any], images: Iterable[Labelled], folder: Path
) -> dict[str, list[_Drawn]]:
    asked = [image.instance for image in images]
    rows = connection.execute(
        """
        SELECT instance, path, content_digest, segments, rows_px, columns_px, plane
        FROM imaging_outline_image JOIN imaging_outline USING (path)
        WHERE instance = ANY(%s)
        ORDER BY instance, path
        """,
        (asked,),
    )
    found: dict[str, list[_Drawn]] = {instance: [] for instance in asked}
    for instance, path, digest, segments, rows_px, columns_px, plane in rows:
        ref = OutlineRef(folder / path, digest, _frozen(segments))
        where = None if plane is None else tuple(plane)
        found[instance].append(_Drawn(ref, rows_px, columns_px, where))
    return found


def _frozen(segments: Segments) -> tuple[tuple[str, tuple[int, ...]], ...]:
    return tuple((name, tuple(numbers)) for name, numbers in sorted(segments.items()))


def _is_on(image: Labelled, drawn: _Drawn) -> bool:
    """Whether outlines lie on the grid of an image, as far as both say where they lie."""
    if (image.rows_px, image.columns_px) != (drawn.rows_px, drawn.columns_px):
        return False
    known = (image.position_mm, image.orientation, image.spacing_mm)
    if drawn.plane is None or image.frames > 1 or None in known:
        return True
    position, cosines, spacing = (np.array(one, dtype=np.float64) for one in known)
    plane = np.array(drawn.plane)
    return bool(
        np.abs(plane[:3] - position).max() < spacing.min() / 2
        and np.abs(plane[3:9] - cosines).max() < _COSINE_SLACK
        and np.allclose(plane[9:], spacing, rtol=_SPACING_SLACK, atol=0)
    )
