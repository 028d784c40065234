"""Evidence: a log as one tar file, or as the directory of files that such a tar unpacks to.

The tar is laid out as a C2SP tlog-tiles directory (`checkpoint`, `tile/…`, `tile/entries/…`) with
three more members: `consortium.json`, the keys; `policy`, its log, witnesses and quorum for tools
of others (C2SP tlog-policy); and last `manifest.json`, the digest of every other member. The same
log always gives the same bytes. Reading never unpacks anything to disk, and bounds what it reads;
whether the content is true is not judged here.
"""

import hashlib
import io
import os
import stat
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from audit.canonical import canonical_json, parse_canonical
from audit.checkpoint import Checkpoint
from audit.errors import AuditError, EvidenceError
from audit.merkle import HASH_BYTES, leaf_hash
from audit.note import Note
from audit.policy import write_policy
from audit.tiles import (
    TILE_WIDTH,
    TileCutter,
    TileName,
    bundle_path,
    encode_bundle,
    parse_path,
    split_bundle,
)
from audit.trust import Trust

CHECKPOINT = "checkpoint"
CONSORTIUM = "consortium.json"
POLICY = "policy"
MANIFEST = "manifest.json"
SCHEMA = "wardround/evidence/v1"

MAX_MEMBER_BYTES = 64 * 2**20
"""The largest member, a bundle of 256 longest entries, has 17 MB; the rest is headroom."""


MAX_MEMBERS = 2**20
"""Tiles and bundles of some hundred million entries; beyond, the file was made to exhaust."""

_BROKEN = (OSError, tarfile.TarError, ValueError, OverflowError, RecursionError)
"""What `tarfile` meets in files made to be no tar: some headers nest, some count wrong."""


def write_evidence(
    path: Path, note: str, *, entries: Iterable[bytes], consortium_bytes: bytes
) -> None:
    """Write the evidence of a log to `path`, replacing what is there only when it is complete.

    Args:
        path: The tar file.
        note: The cosigned checkpoint.
        entries: Exactly the entries the checkpoint covers, in order; read once.
        consortium_bytes: The consortium file, as agreed out of band.

    Raises:
        EvidenceError: the entries do not have the checkpoint's size and root, the consortium file
            is none, or the file cannot be written.
        NoteError: the note holds no checkpoint.
    """
    checkpoint = Checkpoint.parse(Note.parse(note).text)
    trust = Trust.parse(consortium_bytes)
    draft = path.with_name(path.name + ".part")
    try:
        with draft.open("wb") as file, tarfile.open(fileobj=file, mode="w:") as tar:
            writer = _Writer(tar)
            writer.add(CHECKPOINT, note.encode())
            writer.add(CONSORTIUM, consortium_bytes)
            writer.add(POLICY, write_policy(trust.log, trust.witnesses))
            writer.add_log(entries, checkpoint)
            writer.add_manifest()
        draft.replace(path)
    except OSError as cause:
        raise EvidenceError(f"{path} cannot be written: {cause}") from cause
    finally:
        draft.unlink(missing_ok=True)


class _Writer:
    def __init__(self, tar: tarfile.TarFile) -> None:
        self._tar = tar
        self._digests: dict[str, str] = {}

    def add(self, name: str, content: bytes) -> None:
        self._digests[name] = hashlib.sha256(content).hexdigest()
        member = tarfile.TarInfo(name)  # owner, group and time stay 0: same log, same bytes
        member.size = len(content)
        self._tar.addfile(member, io.BytesIO(content))

    def add_log(self, entries: Iterable[bytes], checkpoint: Checkpoint) -> None:
        cutter = TileCutter()
        bundle: list[bytes] = []
        for entry in entries:
            leaf = leaf_hash(entry)
            bundle.append(entry)
            filled = cutter.append(leaf)
            if len(bundle) == TILE_WIDTH:
                self._add_bundle(bundle, cutter.size)
            self._add_tiles(filled)
        if bundle:
            self._add_bundle(bundle, cutter.size)
        self._add_tiles(cutter.partial_tiles())
        if (cutter.size, cutter.root()) != (checkpoint.size, checkpoint.root):
            raise EvidenceError(
                f"{cutter.size} entries do not make the tree of {checkpoint.size} that the "
                "checkpoint names; export the entries below the checkpoint's size, unchanged"
            )

    def add_manifest(self) -> None:
        self.add(MANIFEST, canonical_json({"schema": SCHEMA, "members": self._digests}))

    def _add_bundle(self, bundle: list[bytes], size: int) -> None:
        index = (size - 1) // TILE_WIDTH
        self.add(bundle_path(index, len(bundle)), encode_bundle(bundle))
        bundle.clear()

    def _add_tiles(self, tiles: list[tuple[TileName, bytes]]) -> None:
        for name, content in tiles:
            self.add(name.path, content)


class TarLog:
    """The evidence in one tar file, open for reading."""

    def __init__(self, tar: tarfile.TarFile) -> None:
        self._tar = tar
        self._members = _members_of(tar)
        self.checkpoint_note = read_utf8(self._need(CHECKPOINT))
        self.consortium_bytes: bytes | None = self._need(CONSORTIUM)

    @classmethod
    def open(cls, path: Path) -> Self:
        """The evidence at `path`; use it in a `with` statement.

        Raises:
            EvidenceError: the file is no evidence, or a member that must be there is missing.
        """
        try:
            tar = tarfile.open(path, "r:")  # noqa: SIM115 - closed by the value it is given to
        except _BROKEN as cause:
            raise EvidenceError(f"{path} is not a readable tar file: {cause}") from cause
        try:
            return cls(tar)
        except BaseException:
            tar.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._tar.close()

    def read(self, name: TileName) -> bytes | None:
        """The bytes of a tile or bundle, or none where the tar has none."""
        return self._read(name.path)

    def damaged(self) -> Iterator[str]:
        """What differs between the members and the manifest's digests of them, as sentences.

        Raises:
            EvidenceError: the manifest is missing or unreadable.
        """
        try:
            digests = dict(parse_canonical(self._need(MANIFEST))["members"])
        except (AuditError, LookupError, TypeError, ValueError) as cause:
            raise EvidenceError(f"{MANIFEST} cannot be read: {cause}") from cause
        yield from self._damaged_policy()
        present = self._members.keys() - {MANIFEST}
        for name in sorted(present ^ digests.keys()):
            yield f"{name} is in {'the tar' if name in present else 'the manifest'} alone"
        for name in sorted(present & digests.keys()):
            if hashlib.sha256(self._need(name)).hexdigest() != digests[name]:
                yield f"{name} is not the one that the manifest names"

    def _damaged_policy(self) -> Iterator[str]:
        """What differs between the policy and the consortium file that it was written from."""
        try:
            trust = Trust.parse(self._need(CONSORTIUM))
        except EvidenceError:
            yield f"{CONSORTIUM} is no consortium file"
            return
        if self._read(POLICY) not in {None, write_policy(trust.log, trust.witnesses)}:
            yield f"{POLICY} is not the rule that {CONSORTIUM} states"

    def _need(self, name: str) -> bytes:
        content = self._read(name)
        if content is None:
            raise EvidenceError(f"the tar has no {name}; it is no evidence, or cut short")
        return content

    def _read(self, name: str) -> bytes | None:
        member = self._members.get(name)
        if member is None:
            return None
        try:
            file = self._tar.extractfile(member)
            content = file.read() if file else b""
        except _BROKEN as cause:
            raise EvidenceError(f"{name} cannot be read from the tar: {cause}") from cause
        if len(content) != member.size:
            raise EvidenceError(f"{name} is cut short: {len(content)} of {member.size} bytes")
        return content


@dataclass(frozen=True, slots=True)
class DirectoryLog:
    """A C2SP tlog-tiles directory."""

    folder: Path
    checkpoint_note: str
    consortium_bytes: bytes | None

    @classmethod
    def open(cls, folder: Path) -> Self:
        """The log in `folder`.

        Raises:
            EvidenceError: there is no readable checkpoint.
        """
        note = _read_file(folder / CHECKPOINT)
        if note is None:
            raise EvidenceError(f"{folder} holds no file {CHECKPOINT}; it is no tlog-tiles log")
        return cls(folder, read_utf8(note), _read_file(folder / CONSORTIUM))

    def read(self, name: TileName) -> bytes | None:
        """The bytes of a tile or bundle; a full tile serves where a partial one is asked for."""
        content = _read_file(self.folder / name.path)
        if content is not None or name.width == TILE_WIDTH:
            return content
        full = _read_file(self.folder / TileName(name.level, name.index).path)
        return None if full is None else narrow(full, name)

    def damaged(self) -> Iterator[str]:
        """Nothing: a directory has no manifest."""
        return iter(())


def narrow(full: bytes, name: TileName) -> bytes:
    """The first `name.width` hashes or entries of a full tile or bundle."""
    if name.level is None:
        return encode_bundle(split_bundle(full)[0][: name.width])
    return full[: name.width * HASH_BYTES]


def _members_of(tar: tarfile.TarFile) -> dict[str, tarfile.TarInfo]:
    members: dict[str, tarfile.TarInfo] = {}
    try:
        for member in tar:
            _check_member(member)
            if member.name in members:
                raise EvidenceError(f"the tar holds {member.name!r} twice")
            if len(members) == MAX_MEMBERS:
                raise EvidenceError(f"the tar holds more than {MAX_MEMBERS} members")
            members[member.name] = member
    except _BROKEN as cause:
        raise EvidenceError(f"the tar cannot be read: {cause}") from cause
    return members


def _check_member(member: tarfile.TarInfo) -> None:
    if not member.isreg() or member.issparse() or not 0 <= member.size <= MAX_MEMBER_BYTES:
        raise EvidenceError(
            f"{member.name!r} is not a plain file of at most {MAX_MEMBER_BYTES} bytes"
        )
    if member.name not in {CHECKPOINT, CONSORTIUM, POLICY, MANIFEST}:
        try:
            parse_path(member.name)
        except AuditError as cause:
            raise EvidenceError(f"{member.name!r} does not belong into evidence") from cause


def _read_file(path: Path) -> bytes | None:
    """The content of a plain file; what is no plain file could be endless or never answer."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise EvidenceError(f"{path} is not a plain file")
        with path.open("rb") as file:
            content = file.read(MAX_MEMBER_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as cause:
        raise EvidenceError(f"{path} cannot be read: {os.strerror(cause.errno or 0)}") from cause
    if len(content) > MAX_MEMBER_BYTES:
        raise EvidenceError(f"{path} has more than {MAX_MEMBER_BYTES} bytes")
    return content


def read_utf8(content: bytes) -> str:
    """The text of a checkpoint.

    Raises:
        EvidenceError: it is not UTF-8.
    """
    try:
        return content.decode()
    except UnicodeDecodeError as cause:
        raise EvidenceError("the checkpoint is not text in UTF-8") from cause
