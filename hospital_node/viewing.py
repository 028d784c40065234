"""Viewing: what waits in quarantine for a person's eyes, shown and released on the record.

The one rule: every look and every release is in this hospital's own log, in the same transaction,
under a pseudonym of the person and a keyed digest of the file. The picture goes to a path that the
person names, inside the hospital, and nowhere else.
"""

import warnings
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
from PIL import Image
from pydicom import dcmread

from hospital_node.actors import operator_of, read_pseudonym_key
from hospital_node.clock import now_us
from hospital_node.database import prepare
from hospital_node.identity import read_identity
from hospital_node.imaging import index
from hospital_node.imaging.copying import make_copy
from hospital_node.imaging.deidentify.profile import profile_of
from hospital_node.imaging.deidentify.pseudonyms import content_pseudonym, copies_key
from hospital_node.imaging.deidentify.receipt import list_receipts
from hospital_node.imaging.deidentify.release import (
    Because,
    Held,
    find_held,
    list_held,
    put_release,
)
from hospital_node.imaging.errors import CopyError, ReleaseError
from hospital_node.imaging.folder import name_of
from hospital_node.imaging.frames import header_of
from hospital_node.imaging.pixels import iter_frames, show
from hospital_node.imaging.quarantine import EXPLANATIONS
from hospital_node.local_events import ImageRelease, ImageShown, image_released, image_shown
from hospital_node.local_log import open_local_outbox
from hospital_node.settings import NodeSettings
from protocol.record import sha256_text


def list_waiting(settings: NodeSettings) -> list[dict[str, Any]]:
    """The files that wait for a person; for this hospital's eyes."""
    prepare(settings.database.dsn)
    with psycopg.connect(settings.database.dsn) as connection:
        return [_view(held) for held in list_held(connection)]


def show_waiting(settings: NodeSettings, asked: str, out: Path) -> tuple[Path, ...]:
    """Write every picture of a waiting file as PNG, one at `out` and any others beside it.

    Raises:
        ReleaseError: no file waits under that id, it has changed, or `out` cannot be written.
    """
    local = open_local_outbox(read_identity(settings).signer)
    key = read_pseudonym_key(settings.keys.pseudonym)
    with psycopg.connect(settings.database.dsn) as connection:
        held = find_held(connection, asked)
        content = _content_of(index.folder_of(connection), held)
        shown = ImageShown(image=content_pseudonym(key, held.content_digest), reason=held.reason)
        local.append(connection, image_shown(shown, operator_of(settings, "release")))
    return _write_pictures(content, out)


def release_waiting(settings: NodeSettings, asked: str, because: Because) -> dict[str, Any]:
    """Let a waiting file out of quarantine; it is used from the next scan on.

    Raises:
        ReleaseError: no file waits under that id.
    """
    local = open_local_outbox(read_identity(settings).signer)
    key = read_pseudonym_key(settings.keys.pseudonym)
    with psycopg.connect(settings.database.dsn) as connection:
        held, actor = find_held(connection, asked), operator_of(settings, "release")
        put_release(connection, held, because, by=actor.id, released_us=now_us())
        release = ImageRelease(
            image=content_pseudonym(key, held.content_digest), reason=held.reason, because=because
        )
        local.append(connection, image_released(release, actor))
    return _view(held)


def write_copy(settings: NodeSettings, file: Path, out: Path) -> str:
    """Write the de-identified copy of a file; the digest of the rules it was made by.

    Raises:
        CopyError: there is none to write, or it cannot be written.
    """
    key = copies_key(read_pseudonym_key(settings.keys.pseudonym))
    try:
        out.write_bytes(make_copy(file.read_bytes(), key))
    except OSError as cause:
        raise CopyError(f"the file cannot be read or the copy written: {cause.strerror}") from cause
    return profile_of().digest


def list_study_receipts(settings: NodeSettings, file: Path | None) -> list[dict[str, Any]]:
    """The receipts of all studies, or of the one that an indexed file belongs to.

    Raises:
        ReleaseError: `file` is not in the index.
    """
    prepare(settings.database.dsn)
    name = None if file is None else name_of(file)
    with psycopg.connect(settings.database.dsn) as connection:
        receipts = list_receipts(connection, file=name)
    if name is not None and not receipts:
        raise ReleaseError(
            "no receipt: that file is not in the index; name it as `wardround node scan` does, "
            "below images.folder, or look for it in the quarantine"
        )
    return [receipt.to_json() for receipt in receipts]


def _view(held: Held) -> dict[str, Any]:
    return {
        "id": held.id,
        "file": held.path.as_posix(),
        "reason": str(held.reason),
        "detail": held.detail,
        "explanation": EXPLANATIONS[held.reason],
    }


def _content_of(folder: Path | None, held: Held) -> bytes:
    """The bytes that were judged, which have been decoded within bounds, or none at all."""
    try:
        content = b"" if folder is None else (folder / held.path).read_bytes()
    except OSError as cause:
        raise ReleaseError(f"file {held.id} can no longer be read; scan again") from cause
    if sha256_text(content) != held.content_digest:
        raise ReleaseError(f"file {held.id} has changed since it was judged; scan again")
    return content


def _write_pictures(content: bytes, out: Path) -> tuple[Path, ...]:
    written = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # their text quotes the file
        instance = dcmread(BytesIO(content))
        for number, stored in enumerate(iter_frames(instance)):
            picture = show(header_of(instance, number), stored)
            path = out if number == 0 else out.with_stem(f"{out.stem}-{number + 1:04d}")
            try:
                Image.fromarray((picture * 255).astype(np.uint8)).save(path, format="PNG")
            except OSError as cause:
                raise ReleaseError(f"{out} cannot be written: {cause.strerror}") from cause
            written.append(path)
    return tuple(written)
