"""The shelf: which pictures a study has, series by series, in the order they are paged through.

The one rule: slices are in order of position, by the same rules as volumes of a cohort; where they
have none, the list says so and why. Projections stand each for itself. Pixels are not read here.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from hospital_node.imaging.deidentify.profile import profile_of
from hospital_node.imaging.frames import Plane
from hospital_node.imaging.series import SeriesFault, SeriesReason, Slice, arrange
from hospital_node.imaging.volumes import ImageRef
from hospital_node.review.acting import Act
from hospital_node.review.room import ReadingRoom

_PROJECTIONS = frozenset({"CR", "DX", "MG", "IO", "PX", "RF", "XA", "US", "OT"})
"""Modalities whose images are looked at one by one, however a device puts them into series."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where one picture is: a file, and its frame counted from 0."""

    ref: ImageRef
    frame: int
    is_ordered: bool = True
    """Whether `frame` counts along the normal, where the file says positions; else as stored."""


@dataclass(frozen=True, slots=True)
class ShownSeries:
    """Pictures that are paged through."""

    name: str
    places: tuple[Place, ...]
    note: str = ""
    """What a reader has to know about the order."""


@dataclass(frozen=True, slots=True)
class _Row:
    series: str
    ref: ImageRef
    modality: str
    view: str
    frames: int
    place: Slice
    is_positioned: bool


def series_of(act: Act, study: str) -> tuple[ShownSeries, ...]:
    """The series of a study, the longest last; projections in the order of their views."""
    rows = act.connection.execute(
        """
        SELECT series, instance, path, content_digest, modality, view_position, frames,
            rows_px, columns_px, spacing_mm, position_mm, orientation
        FROM imaging_instance JOIN imaging_fit USING (instance)
        WHERE profile = %s AND study = %s
        ORDER BY modality, view_position, series, instance
        """,
        (profile_of().digest, study),
    ).fetchall()
    images = sorted((_row(row, act.room) for row in rows), key=lambda row: row.series)
    shown = [
        one
        for _, group in groupby(images, key=lambda row: row.series)
        for one in _shown(list(group))
    ]
    return tuple(sorted(shown, key=lambda one: (len(one.places), one.name)))


def _row(row: Sequence[object], room: ReadingRoom) -> _Row:
    series, instance, path, digest, modality, view, frames, rows, columns, *geometry = row
    spacing, position, cosines = geometry
    ref = ImageRef(str(instance), room.folder / str(path), str(digest))
    plane = _plane(spacing, position, cosines)
    return _Row(
        series=str(series),
        ref=ref,
        modality=str(modality),
        view=str(view),
        frames=int(str(frames)),
        place=Slice(int(str(rows)), int(str(columns)), plane),
        is_positioned=position is not None,
    )


def _plane(spacing: object, position: object, cosines: object) -> Plane | None:
    if not (isinstance(spacing, list) and isinstance(position, list) and isinstance(cosines, list)):
        return None
    return Plane(
        position_mm=(position[0], position[1], position[2]),
        row=(cosines[0], cosines[1], cosines[2]),
        column=(cosines[3], cosines[4], cosines[5]),
        spacing_mm=(spacing[0], spacing[1]),
    )


def _shown(images: Sequence[_Row]) -> Iterator[ShownSeries]:
    single = [one for one in images if one.frames == 1]
    for image in images:
        if image.frames > 1:
            yield _of_frames(image)
    if not single:
        return
    if len(single) == 1 or single[0].modality in _PROJECTIONS:
        for image in single:
            yield ShownSeries(_name(image, 1), (Place(image.ref, 0),))
        return
    stack = arrange([one.place for one in single])
    order = range(len(single)) if isinstance(stack, SeriesFault) else stack.order
    places = tuple(Place(single[number].ref, 0) for number in order)
    yield ShownSeries(_name(single[0], len(places)), places, _note(stack))


def _of_frames(image: _Row) -> ShownSeries:
    places = tuple(
        Place(image.ref, number, is_ordered=image.is_positioned) for number in range(image.frames)
    )
    note = "" if image.is_positioned else "in the order of the file, which says no positions"
    return ShownSeries(_name(image, image.frames), places, note)


def _note(stack: object) -> str:
    if not isinstance(stack, SeriesFault):
        return ""
    if stack.reason is SeriesReason.TOO_FEW:
        return "too few slices to order by position"
    return f"not ordered by position: {stack.explanation}"


def _name(image: _Row, pictures: int) -> str:
    words = [image.modality, image.view] if image.view else [image.modality]
    return " ".join(words) if pictures == 1 else f"{' '.join(words)}, {pictures} slices"
