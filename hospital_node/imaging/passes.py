"""The two passes of a scan: every file is read, and every indexed content tried for identifiers.

The first decodes each file that is new or changed and indexes it or puts it into quarantine. The
second de-identifies each content that was not yet tried under the rules of today, for trial; what
would still name its patient goes into quarantine. The one rule: both commit batch by batch, and
what is done is not done again, so that a scan that is cut off goes on where it stopped.
"""

from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from psycopg import Connection

from hospital_node.imaging import clearances, index
from hospital_node.imaging.answers import Answer, Answers
from hospital_node.imaging.fingerprint import digest_of
from hospital_node.imaging.folder import Progress, name_of
from hospital_node.imaging.index import Known
from hospital_node.imaging.judging import (
    Judge,
    hold_back,
    may_be_written_on,
    settle_cleared,
    settle_read,
)
from hospital_node.imaging.looking import Desk, Loaded, Looked, Same, look_at_all
from hospital_node.imaging.quarantine import Reason
from hospital_node.imaging.reader import Verdict, Wanted
from hospital_node.imaging.reading import Facts, Fault

_BATCH = 256
"""Files to a transaction: so much is done again after a crash, at most."""

_BATCH_BYTES = 2**28
"""What was read for a transaction: of large files fewer, so that most of them are put away while
others are read."""


@dataclass(frozen=True, slots=True)
class Work:
    """What both passes need of a scan."""

    desk: Desk
    key: bytes = field(repr=False)
    answers: Answers


def read_files(
    connection: Connection[Any], work: Work, paths: Sequence[Path], *, progress: Progress
) -> int:
    """Index every file or put it into quarantine; how many stand as they stood."""
    with connection.transaction():
        released = index.list_releases(connection)
        reading = _Reading.of(index.known_files(connection), work.answers, released)
    judge = Judge(work.key, work.answers, released)
    unchanged = 0
    with closing(_looked(work, paths, reading, progress=progress)) as batches:
        for batch in batches:
            changed = [look for look in batch if not isinstance(look.verdict, Same)]
            with connection.transaction():
                settle_read(connection, changed, judge)
            unchanged += len(batch) - len(changed)
    return unchanged


def clear_files(
    connection: Connection[Any], work: Work, paths: Sequence[Path], *, progress: Progress
) -> None:
    """Try every indexed content among `paths` that was not, and hold back what is not fit."""
    names = {name_of(path): path for path in paths}
    with connection.transaction():
        hold_back(connection, clearances.list_unfit(connection, names))
        wanted = clearances.untried(connection, names)
    todo = [names[name] for name in wanted]
    with closing(_looked(work, todo, _Clearing(wanted), progress=progress)) as batches:
        for batch in batches:
            with connection.transaction():
                settle_cleared(connection, batch)


@dataclass(frozen=True, slots=True)
class _Reading:
    """The first pass: what was known before, and what labels and people say now."""

    files: dict[str, Known]
    answers: Answers
    released: frozenset[tuple[str, Reason]]
    indexed: frozenset[tuple[str, str]]
    """Instances of the index, each with its fingerprint."""
    wanted: Wanted = Wanted.FACTS

    @classmethod
    def of(
        cls,
        files: dict[str, Known],
        answers: Answers,
        released: frozenset[tuple[str, Reason]],
    ) -> "_Reading":
        """The pass over files of which so much is known."""
        indexed = {(one.instance, one.fingerprint) for one in files.values() if one.pseudonym}
        return cls(files, answers, released, frozenset(indexed))

    def known(self, path: Path, fingerprint: str) -> Same | None:
        """Whether looking at the file again could change nothing."""
        before = self.files.get(name_of(path))
        if before is None or before.fingerprint != fingerprint:
            return None
        return Same.SAME if self._still_holds(path, before) else None

    def meanwhile(self, loaded: Loaded) -> None:
        """Nothing."""

    def finish(self, loaded: Loaded, verdict: Verdict) -> None:
        """Digest what a person may have let out, or may let out."""
        if isinstance(verdict, Facts) and may_be_written_on(verdict):
            loaded.content_digest = digest_of(loaded.content)

    def _still_holds(self, path: Path, before: Known) -> bool:
        if before.reason is not None:
            is_released = (before.content_digest, before.reason) in self.released
            return before.reason.is_final and not before.is_outdated and not is_released
        if before.labels is None:
            return (before.instance, before.fingerprint) in self.indexed
        now = self.answers.answer(
            instance=before.instance, file=name_of(path), patient=before.pseudonym
        )
        # Whatever it says of the partition: a patient keeps the first.
        return isinstance(now, Answer) and now.labels == before.labels


@dataclass(frozen=True, slots=True)
class _Clearing:
    """The second pass: files by name, and the fingerprints under which they were indexed."""

    fingerprints: dict[str, str]
    wanted: Wanted = Wanted.CLEARANCE

    def known(self, path: Path, fingerprint: str) -> Fault | None:
        """Whether the file is no longer what was read."""
        is_same = self.fingerprints[name_of(path)] == fingerprint
        return None if is_same else Fault(reason=Reason.FILE_CHANGED)

    def meanwhile(self, loaded: Loaded) -> None:
        """Digest what ballots will bind."""
        loaded.content_digest = digest_of(loaded.content)

    def finish(self, loaded: Loaded, verdict: Verdict) -> None:
        """Nothing."""


def _looked(
    work: Work, paths: Sequence[Path], task: _Reading | _Clearing, *, progress: Progress
) -> Generator[list[Looked], None, None]:
    """What came of looking at files, batch by batch; progress is told after each."""
    looked = look_at_all(work.desk, paths, task)
    done = 0
    with closing(looked):
        for batch in _batches(looked):
            yield batch
            done += len(batch)
            progress(done, len(paths))


def _batches(looked: Iterable[Looked]) -> Iterator[list[Looked]]:
    batch: list[Looked] = []
    read_bytes = 0
    for look in looked:
        batch.append(look)
        read_bytes += look.read_bytes
        if len(batch) == _BATCH or read_bytes >= _BATCH_BYTES:
            yield batch
            batch, read_bytes = [], 0
    if batch:
        yield batch
