"""Rebuilding: the ledger written anew from the hospital's own log, when a disk or a hand lost rows.

The one rule: the log is believed only where it is the one that was anchored and tells of every
charge that this hospital has signed elsewhere. Where it is behind, nothing is written, since a
ledger made from it would give budget back. What a charge costs is not known here.
"""

from collections.abc import Generator, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from audit import outbox
from audit.checkpoint import open_checkpoint
from audit.client import Logged
from audit.entry import Entry
from audit.evidence import TarLog
from audit.keys import load_signer
from audit.merkle import leaf_hash
from audit.note import Verifier
from audit.outbox import CONSORTIUM
from audit.tiles import TileCutter, bundles_of, split_bundle
from hospital_node.database import Connection
from hospital_node.errors import LedgerBehindError, LedgerError
from hospital_node.ledger_rows import Account, Row, checked_row, insert_row, lines_of
from hospital_node.local_events import LedgerRebuilt, ledger_rebuilt
from hospital_node.local_log import LOCAL
from hospital_node.site import Site
from protocol.budget import Charge, Partition, account_of
from protocol.event import Actor
from protocol.events import Kind, privacy_charged
from protocol.standing import Anchor

NOT_BEGUN = (
    "nothing was written, since the ledger would count less than was charged; restore a newer copy "
    "of the database, or name a newer export of this hospital's own log"
)

OWN_LOG = "its own log does not tell of"
EXPORT = "the export of its own log was made before"
"""Why charges are not told of: an export that is whole can only be too old for them."""


@dataclass(frozen=True, slots=True)
class _Said:
    """What the consortium's log holds of this hospital."""

    own_log: Verifier
    """The key of the hospital's own log."""
    entries: tuple[Logged, ...]
    charges: Mapping[str, bytes]
    """The signed entry of each charge, by the charge's digest."""
    anchored: Mapping[int, bytes]
    """The root of so many first entries of the hospital's own log."""


def rebuild_ledger(site: Site, actor: Actor, *, copy: Path | None = None) -> LedgerRebuilt:
    """Write the ledger anew from the hospital's own log, in one transaction.

    Rows that the log bears out stay as they are. One that is written anew has a work id that no
    work will ever have: what it paid for is not done a second time under it.

    Args:
        site: The site.
        actor: Whose word this is done at.
        copy: An export of the hospital's own log, from which its entries are put back first, and
            the other chain's from the consortium's log. Entries that came after the export are
            lost; none of them may have been about a charge.

    Raises:
        LedgerBehindError: the hospital's own log is shorter than what is known of it elsewhere.
        LedgerError: it is another one.
        LogUnavailableError: the consortium's log cannot be asked, so nothing is known elsewhere.
        AuditError: the copy or what the log answers cannot be believed.
    """
    own_log = load_signer(site.settings.keys.log).verifier
    said = _ask(site, own_log)
    with site.pool.connection() as connection:
        connection.execute("LOCK TABLE ledger_account, ledger_charge IN ACCESS EXCLUSIVE MODE")
        restored = 0 if copy is None else _restore(connection, site, copy=copy, said=said)
        lost = _check_anchored(connection, site, said.anchored)
        if lost and copy is None:
            raise LedgerBehindError(
                f"{lost} entries of this hospital's own log were anchored in the consortium's log "
                f"and are not here: {NOT_BEGUN}"
            )
        signed = {**said.charges, **_own_charges(connection, site)}
        lines = _read_lines(connection, site)
        _check_told(signed, lines, source=OWN_LOG if copy is None else EXPORT)
        kept = _keep_rows(connection, site, lines)
        set_aside = _set_aside(connection, site, kept)
        written = _write_missing(connection, site, lines=lines, kept=kept, signed=signed)
        done = LedgerRebuilt(
            charges=len(lines),
            written=written,
            set_aside=set_aside,
            restored=restored,
            lost=lost,
        )
        site.local.append(connection, ledger_rebuilt(done, actor))
        site.ledger.check(connection, account_of(site.name))
    return done


_Lines = Mapping[tuple[Partition, int], Charge]
"""The charges that the hospital's own log tells of, by group of patients and number."""


def _ask(site: Site, own_log: Verifier) -> _Said:
    verifier = site.outbox.signer.verifier
    found = tuple(site.log.events(producer=verifier.name))
    charges: dict[str, bytes] = {}
    anchored: dict[int, bytes] = {}
    for logged in found:
        entry = Entry.parse(logged.entry)
        entry.verify(verifier)
        if entry.type == Kind.PRIVACY_CHARGED:
            charges[Charge.from_json(entry.body).digest] = logged.entry
        elif entry.type == Kind.LOG_ANCHORED:
            anchor = Anchor.from_json(entry.body)
            if anchor.log_vkey == own_log.vkey:
                checkpoint = open_checkpoint(anchor.checkpoint, own_log)
                anchored[checkpoint.size] = checkpoint.root
    return _Said(own_log, found, charges, anchored)


def _restore(connection: Connection, site: Site, *, copy: Path, said: _Said) -> int:
    """Put both chains of this hospital back; how many entries of its own log were lost."""
    verifier = site.outbox.signer.verifier
    with closing(_entries_of(copy, verifier, own_log=said.own_log)) as entries:
        restored = outbox.restore(connection, LOCAL, producer=verifier.name, entries=entries)
    contents = (logged.entry for logged in said.entries)
    outbox.restore(connection, CONSORTIUM, producer=verifier.name, entries=contents)
    delivered = [(Entry.parse(one.entry).seq, one.index) for one in said.entries]
    outbox.confirm(connection, CONSORTIUM, producer=verifier.name, delivered=delivered)
    return restored


def _entries_of(copy: Path, verifier: Verifier, *, own_log: Verifier) -> Generator[bytes]:
    """The entries in an export of the hospital's own log, each seen to be signed by it."""
    with TarLog.open(copy) as log:
        size = open_checkpoint(log.checkpoint_note, own_log).size
        for name in bundles_of(size):
            for content in split_bundle(log.read(name) or b"")[0]:
                Entry.parse(content).verify(verifier)
                yield content


def _check_anchored(connection: Connection, site: Site, anchored: Mapping[int, bytes]) -> int:
    """How many entries of the hospital's own log were anchored and are not here.

    This hospital alone writes there, so an entry's number in its chain is its place in the log.

    Raises:
        LedgerError: what is here is not what was anchored.
    """
    tree = TileCutter()
    with connection.cursor(name="own_log") as rows:
        rows.execute(
            "SELECT content FROM outbox_entry WHERE log = 'local' AND producer = %s ORDER BY seq",
            (site.local.signer.name,),
        )
        for (content,) in rows:
            tree.append(leaf_hash(bytes(content)))
            if tree.size in anchored and anchored[tree.size] != tree.root():
                raise LedgerError(
                    f"the first {tree.size} entries of this hospital's own log are not those that "
                    f"were anchored in the consortium's log: {NOT_BEGUN}"
                )
    return max(0, max(anchored, default=0) - tree.size)


def _own_charges(connection: Connection, site: Site) -> dict[str, bytes]:
    """The signed entry of each charge that this database still has, by the charge's digest."""
    verifier = site.outbox.signer.verifier
    rows = connection.execute(
        """
        SELECT content FROM outbox_entry
        WHERE log = 'consortium' AND producer = %s
        AND position('"type":"privacy.charged"'::bytea IN content) > 0
        """,
        (verifier.name,),
    )
    found = {}
    for (content,) in rows:
        entry = Entry.parse(bytes(content))
        if entry.type == Kind.PRIVACY_CHARGED:
            entry.verify(verifier)
            found[Charge.from_json(entry.body).digest] = entry.content
    return found


def _read_lines(connection: Connection, site: Site) -> _Lines:
    verifier = site.local.signer.verifier
    entries = [
        bytes(content)
        for (content,) in connection.execute(
            """
            SELECT content FROM outbox_entry
            WHERE log = 'local' AND producer = %s
            AND position('"type":"ledger.charged"'::bytea IN content) > 0
            """,
            (verifier.name,),
        )
    ]
    found: dict[tuple[Partition, int], Charge] = {}
    for partition in Partition:
        account = Account(account_of(site.name), partition)
        lines = lines_of(entries, account, verifier=verifier)
        missing = sorted(set(range(1, len(lines) + 1)) - set(lines))
        if missing:
            raise LedgerBehindError(
                f"this hospital's own log does not tell of charge {missing[0]} of the {partition} "
                f"patients: {NOT_BEGUN}"
            )
        found.update({(partition, number): charge for number, charge in lines.items()})
    return found


def _check_told(signed: Mapping[str, bytes], lines: _Lines, *, source: str) -> None:
    """Pass when the log tells of every charge that this hospital has signed elsewhere."""
    untold = len(signed.keys() - {charge.digest for charge in lines.values()})
    if untold:
        raise LedgerBehindError(
            f"this hospital has signed {len(signed)} charges, and {source} {untold} of them: "
            f"{NOT_BEGUN}"
        )


def _keep_rows(connection: Connection, site: Site, lines: _Lines) -> set[tuple[Partition, int]]:
    """The rows that the log bears out, by group of patients and number."""
    told = {charge.digest for charge in lines.values()}
    kept = set()
    for row in _sound_rows(connection, site):
        place = (row.charge.partition, row.number)
        if lines.get(place) == row.charge:
            kept.add(place)
        elif row.charge.digest not in told:
            raise LedgerBehindError(
                f"the ledger has charge {row.number} of the {row.charge.partition} patients, "
                f"signed by this hospital, and its own log does not tell of it: {NOT_BEGUN}"
            )
    return kept


def _sound_rows(connection: Connection, site: Site) -> Iterator[Row]:
    """The rows that are as this hospital signed them."""
    stored = connection.execute(
        "SELECT partition, number, plan_id, work_id, charge, entry FROM ledger_charge"
    ).fetchall()
    for partition, *row in stored:
        account = Account(account_of(site.name), Partition(partition))
        try:
            yield checked_row(row, account, site.outbox.signer.verifier)
        except LedgerError:
            continue


def _set_aside(connection: Connection, site: Site, kept: set[tuple[Partition, int]]) -> int:
    """Take the rows that the log contradicts out of the ledger; how many."""
    stored = connection.execute(
        "SELECT position, account, partition, number FROM ledger_charge"
    ).fetchall()
    mine = account_of(site.name)
    wrong = [
        position
        for position, account, partition, number in stored
        if account != mine or (Partition(partition), number) not in kept
    ]
    connection.execute(
        """
        INSERT INTO ledger_set_aside
        SELECT position, account, partition, number, plan_id, work_id, charge, entry, %s
        FROM ledger_charge WHERE position = ANY(%s)
        """,
        (site.clock_us(), wrong),
    )
    connection.execute("ALTER TABLE ledger_charge DISABLE TRIGGER ledger_charge_append_only")
    connection.execute("DELETE FROM ledger_charge WHERE position = ANY(%s)", (wrong,))
    connection.execute("ALTER TABLE ledger_charge ENABLE TRIGGER ledger_charge_append_only")
    return len(wrong)


def _write_missing(
    connection: Connection,
    site: Site,
    *,
    lines: _Lines,
    kept: set[tuple[Partition, int]],
    signed: Mapping[str, bytes],
) -> int:
    """Write the charges that the ledger lacks, in the order of their numbers; how many."""
    missing = sorted(lines.keys() - kept)
    for partition, number in missing:
        charge = lines[partition, number]
        # Where the disk was lost before it was delivered, this hospital says it again.
        entry = signed.get(charge.digest) or site.outbox.append(connection, privacy_charged(charge))
        insert_row(connection, Row(number, f"rebuilt/{partition}/{number}", charge), entry)
    for partition in Partition:
        connection.execute(
            """
            INSERT INTO ledger_account (account, partition, charges) VALUES (%s, %s, %s)
            ON CONFLICT (account, partition) DO UPDATE SET charges = EXCLUDED.charges
            """,
            (account_of(site.name), partition, sum(of is partition for of, _ in lines)),
        )
    return len(missing)
