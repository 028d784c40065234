"""The patients a plan trains on and is held to account with, out of the index.

The one rule kept here: the unit is the patient. A label, a partition and a place in the manifest
belong to all of a patient's images together. Networks and privacy are not known here.
"""

import hashlib
import hmac
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import structlog
from psycopg import Connection

from hospital_node.imaging import index, volumes
from hospital_node.imaging.consent import ConsentMode
from hospital_node.imaging.errors import EmptyCohortError, OneClassError
from hospital_node.imaging.index import Labelled
from hospital_node.imaging.outlined import OutlineRef, Outlines, find_outlines, keep_outlined
from hospital_node.imaging.pixels import Picture, picture_of
from hospital_node.imaging.targets import LeftOut, Target, by_patient, keep_answered, target_of
from hospital_node.imaging.volumes import ImageRef, VolumeRef, open_image
from protocol.budget import Partition
from protocol.plan import Cohort, Preprocessing, Task

_log = structlog.get_logger(__name__)

MIN_SALT_BYTES = 16
"""Below 128 bits a commitment could be tried against guesses."""


class Kind(StrEnum):
    """What a plan takes for one image."""

    PICTURES = "pictures"
    VOLUMES = "volumes"


def kind_of(preprocessing: Preprocessing) -> Kind:
    """What a plan with this preprocessing takes for one image."""
    return Kind.PICTURES if preprocessing.volume is None else Kind.VOLUMES


@dataclass(frozen=True, slots=True)
class Patient:
    """One patient, with one answer and at least one image."""

    pseudonym: str
    label: Target
    """What the network is to answer; of a binary question 1 for the positive class, otherwise 0."""
    images: tuple[ImageRef, ...] | tuple[VolumeRef, ...]
    """By instance."""
    outlines: tuple[tuple[OutlineRef, ...], ...] = ()
    """Of a plan that outlines structures, where those of each image are; otherwise none."""


@dataclass(frozen=True, slots=True)
class Found:
    """What of this hospital's index answers to a cohort, before anything is bound."""

    train: tuple[Patient, ...]
    held_out: tuple[Patient, ...]
    images: tuple[Labelled, ...]
    left_out: LeftOut


@dataclass(frozen=True, slots=True)
class Selection:
    """A cohort as this hospital has it; patients by pseudonym."""

    train: tuple[Patient, ...]
    held_out: tuple[Patient, ...]
    manifest: str
    """Salted commitment to every image, label and partition of the selection."""


def select(
    connection: Connection[Any],
    cohort: Cohort,
    *,
    salt: bytes,
    mode: ConsentMode = ConsentMode.OPT_OUT,
    kind: Kind = Kind.PICTURES,
) -> Selection:
    """The patients of `cohort` in this hospital's index.

    A patient is positive when any of its images carries the positive label: a finding that shows in
    one view is the patient's finding. Images and patients whose labels answer nothing are left out
    (`targets`). Whether there are enough patients is for the caller to say.

    Args:
        connection: to the hospital's database, after a scan.
        cohort: what the plan asks for.
        salt: secret random bytes, the same for as long as the manifest is to stay the same.
        mode: what a patient's silence means here.
        kind: what the plan takes for one image (`kind_of`).

    Raises:
        EmptyCohortError: nothing in the index answers to the cohort.
        OneClassError: all training patients carry the same answer.
    """
    found = look_up(connection, cohort, mode=mode, kind=kind)
    _check_classes(found.train, cohort)
    return Selection(found.train, found.held_out, commit(found.images, salt))


def look_up(
    connection: Connection[Any], cohort: Cohort, *, mode: ConsentMode, kind: Kind = Kind.PICTURES
) -> Found:
    """The training and the held-out patients of `cohort`, and their images, whatever the classes.

    Raises:
        EmptyCohortError: nothing in the index answers to the cohort.
    """
    folder = index.folder_of(connection)
    images, left_out = _answered(connection, cohort, mode=mode, kind=kind)
    if folder is None or not images:
        raise EmptyCohortError(
            f"no {_SINGULAR[kind]} is of modality {' or '.join(cohort.modality)} with a label in "
            f"column {cohort.label!r}{_also_asked(cohort)}; "
            f"{index.count_instances(connection)} images are indexed. "
            "Scan the folder, or look at the quarantine and at the consents for what was left out"
            + (f". {left_out}" if left_out else "")
        )
    if left_out:
        _log.warning("labels answer nothing", column=cohort.label, why=str(left_out))
    drawn = None
    if cohort.task is Task.SEGMENTATION:
        drawn = find_outlines(connection, images, folder)
    train, held_out = (
        tuple(
            _patient(images_of, cohort, _refs(images_of, folder, kind), drawn=drawn)
            for images_of in by_patient(image for image in images if image.partition is partition)
        )
        for partition in (Partition.TRAIN, Partition.HELD_OUT)
    )
    return Found(train, held_out, tuple(images), left_out)


def recommit(
    connection: Connection[Any], cohort: Cohort, *, salt: bytes, mode: ConsentMode, kind: Kind
) -> str | None:
    """The manifest that `select` would bind now, whatever the classes; none of an empty cohort.

    Raises:
        ValueError: the salt is too short.
    """
    images, _ = _answered(connection, cohort, mode=mode, kind=kind)
    return commit(images, salt) if images else None


def read_pixels(ref: ImageRef) -> Picture:
    """The picture of an indexed image: shape (H, W), float32 in [0, 1], bright where dense.

    The bytes are those that were decoded within bounds at ingest, or nothing is decoded.

    Raises:
        PixelsError: the file is gone, or is not what was indexed.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # their text quotes the file
        return picture_of(open_image(ref))


def commit(images: Iterable[Labelled], salt: bytes) -> str:
    """The manifest's commitment, `sha256:<64 hex digits>`, whatever the order of `images`.

    It binds instances, contents, labels and partitions, and tells nothing to whom the salt is
    unknown (HMAC-SHA256 under the salt).

    Raises:
        ValueError: the salt is too short.
    """
    if len(salt) < MIN_SALT_BYTES:
        raise ValueError(f"the salt has {len(salt)} bytes; at least {MIN_SALT_BYTES}")
    lines = sorted(
        "\0".join((i.instance, i.content_digest, i.pseudonym, i.partition, i.label)) for i in images
    )
    message = "\n".join(("wardround/manifest/v1", *lines)).encode()
    return "sha256:" + hmac.new(salt, message, hashlib.sha256).hexdigest()


def commit_read(patients: Iterable[Patient], salt: bytes) -> str:
    """A commitment to the images of `patients`, as `commit` makes one of a whole selection.

    Raises:
        ValueError: the salt is too short.
    """
    if len(salt) < MIN_SALT_BYTES:
        raise ValueError(f"the salt has {len(salt)} bytes; at least {MIN_SALT_BYTES}")
    lines = sorted(f"{i.instance}\0{i.content_digest}" for p in patients for i in p.images)
    message = "\n".join(("wardround/read/v1", *lines)).encode()
    return "sha256:" + hmac.new(salt, message, hashlib.sha256).hexdigest()


def _answered(
    connection: Connection[Any], cohort: Cohort, *, mode: ConsentMode, kind: Kind
) -> tuple[list[Labelled], LeftOut]:
    """The images that a plan of this kind takes and whose labels answer its question."""
    images = index.labelled_images(connection, cohort, mode=mode)
    if cohort.task is Task.SEGMENTATION:
        return _of_kind(keep_outlined(connection, images, cohort), kind), LeftOut()
    return keep_answered(_of_kind(images, kind), cohort)


_SINGULAR = {
    Kind.PICTURES: "indexed image of a single frame",
    Kind.VOLUMES: "indexed series or image of several frames makes a volume that",
}


def _of_kind(images: list[Labelled], kind: Kind) -> list[Labelled]:
    """The images that a plan of this kind takes, by patient and instance."""
    match kind:
        case Kind.PICTURES:
            return [image for image in images if image.frames == 1]
        case Kind.VOLUMES:
            gathered = volumes.gather(images, Path())
            for left in gathered.left_out:
                _log.warning(
                    "series makes no volume",
                    series=left.series.removeprefix("sha256:")[:12],
                    images=left.images,
                    why=left.fault.explanation,
                )
            taken = [image for _, members in gathered.volumes for image in members]
            return sorted(taken, key=lambda image: (image.pseudonym, image.instance))


def _refs(
    images: list[Labelled], folder: Path, kind: Kind
) -> tuple[ImageRef, ...] | tuple[VolumeRef, ...]:
    match kind:
        case Kind.PICTURES:
            return tuple(
                ImageRef(image.instance, folder / image.path, image.content_digest)
                for image in images
            )
        case Kind.VOLUMES:
            return tuple(ref for ref, _ in volumes.gather(images, folder).volumes)


def _patient(
    images: list[Labelled],
    cohort: Cohort,
    refs: tuple[ImageRef, ...] | tuple[VolumeRef, ...],
    *,
    drawn: Outlines | None,
) -> Patient:
    target = target_of({image.label for image in images}, cohort)
    if target is None:
        raise ValueError("a patient without an answer was not left out")
    outlines = () if drawn is None else tuple(drawn.of(ref) for ref in refs)
    return Patient(images[0].pseudonym, target, refs, outlines)


def _also_asked(cohort: Cohort) -> str:
    """What a cohort asks for beyond modality and label, as the end of a sentence part."""
    parts = []
    if cohort.body_part:
        parts.append(f"body part {' or '.join(cohort.body_part)}")
    if cohort.view_position:
        parts.append(f"view {' or '.join(cohort.view_position)}")
    if cohort.studied is not None:
        parts.append(f"studied {cohort.studied.first} to {cohort.studied.last}")
    if cohort.age is not None:
        parts.append(f"aged {cohort.age.least_years} to {cohort.age.most_years}")
    if cohort.minimum_images > 1:
        parts.append(f"{cohort.minimum_images} images a patient at least")
    return "".join(f", {part}" for part in parts)


def _check_classes(train: tuple[Patient, ...], cohort: Cohort) -> None:
    """Refuse a cohort in which one answer is right for everybody."""
    answers = {patient.label for patient in train}
    match cohort.task:
        case Task.SEGMENTATION:
            return
        case Task.BINARY if len(answers) < 2:
            positives = sum(patient.label == 1 for patient in train)
            said = f"{positives} carry {cohort.positive!r}"
        case _ if len(answers) < 2:
            said = "all carry the same"
        case _:
            return
    raise OneClassError(
        f"of {len(train)} training patients {said} in column {cohort.label!r}; training needs "
        f"patients of {'both classes' if cohort.task is Task.BINARY else 'different classes'} at "
        "this hospital"
    )
