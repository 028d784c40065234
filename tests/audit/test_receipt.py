"""A receipt has one spelling, and a log that breaks it is convicted by its own tree."""

from dataclasses import replace

import pytest
from audit_parties import Chain, check_kept
from audit_story import START_US, key_of
from hypothesis import given
from hypothesis import strategies as st

from audit.checkpoint import Checkpoint, open_checkpoint, sign_checkpoint
from audit.entry import Entry
from audit.errors import NoteError
from audit.receipt import (
    HEADER,
    Promised,
    Receipt,
    Verdict,
    open_receipt,
    sign_receipt,
)

LOG = key_of("demo/log")
DEADLINE_US = START_US + 60_000_000


def receipt_for(*entries: Entry) -> Receipt:
    return Receipt(
        "demo/log",
        entries[0].producer,
        START_US,
        DEADLINE_US,
        tuple(Promised(entry.seq, entry.leaf) for entry in entries),
    )


@pytest.fixture(scope="module")
def mine() -> list[Entry]:
    """One hospital's entries."""
    return [Entry.parse(content) for content in Chain(key_of("demo/east")).several(4)]


receipts = st.builds(
    Receipt,
    origin=st.just("demo/log"),
    producer=st.sampled_from(["demo/east", "d"]),
    received_us=st.integers(0, 2**40),
    deadline_us=st.integers(2**40, 2**53),
    promised=st.lists(
        st.builds(Promised, st.integers(0, 2**53), st.binary(min_size=32, max_size=32)),
        min_size=1,
        max_size=5,
    ).map(tuple),
)


@given(receipts)
def test_a_receipt_read_again_is_the_same(receipt):
    assert open_receipt(sign_receipt(receipt, LOG), LOG.verifier) == receipt


@given(receipts, st.data())
def test_any_change_to_a_receipt_is_noticed(receipt, data):
    note = sign_receipt(receipt, LOG).encode()
    at = data.draw(st.integers(0, len(note) - 1))
    changed = note[:at] + bytes([note[at] ^ data.draw(st.integers(1, 127))]) + note[at + 1 :]
    with pytest.raises((NoteError, UnicodeDecodeError)):
        open_receipt(changed.decode(), LOG.verifier)


def test_its_bytes_are_as_the_chapter_has_them(mine):
    receipt = receipt_for(mine[0])
    assert receipt.text() == (
        "wardround/receipt/v1\ndemo/log\ndemo/east\n1760000000000000\n1760000060000000\n"
        f"0 {receipt.text().split()[-1]}\n"
    )
    assert receipt.text().startswith(f"{HEADER}\n")


def test_a_receipt_passes_for_no_checkpoint_and_a_checkpoint_for_no_receipt(mine):
    receipt = sign_receipt(receipt_for(mine[0]), LOG)
    with pytest.raises(NoteError):
        open_checkpoint(receipt, LOG.verifier)
    checkpoint = sign_checkpoint(Checkpoint("demo/log", 3, b"\1" * 32), LOG)
    with pytest.raises(NoteError):
        open_receipt(checkpoint, LOG.verifier)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text.replace("receipt/v1", "receipt/v2"),
        lambda text: text.replace("1760000060000000", "1750000000000000"),
        lambda text: text.replace("1760000060000000", "01760000060000000"),
        lambda text: text.rpartition("\n")[0].rpartition("\n")[0] + "\n",
        lambda text: text[:-2] + "\n",
        lambda text: text.replace("\n0 ", "\n0"),
    ],
    ids=["another version", "due before", "leading zero", "no entry", "short hash", "no blank"],
)
def test_what_is_no_receipt_is_not_read_as_one(mine, spoil):
    with pytest.raises(NoteError):
        Receipt.parse(spoil(receipt_for(mine[0]).text()))


def test_a_receipt_of_another_log_is_not_taken(mine):
    receipt = replace(receipt_for(mine[0]), origin="demo/other")
    with pytest.raises(NoteError, match="expected one of"):
        open_receipt(sign_receipt(receipt, LOG), LOG.verifier)


def test_a_receipt_for_other_entries_is_not_taken(mine):
    receipt = receipt_for(mine[0], mine[1])
    receipt.check_covers(mine[:2])
    for others in (mine[:1], mine[1:3], [mine[1], mine[0]]):
        with pytest.raises(NoteError):
            receipt.check_covers(others)


def test_a_promise_is_kept_when_the_entries_are_in_the_log(mine):
    judged = check_kept(receipt_for(*mine[:2]), mine, as_of_us=DEADLINE_US + 1)
    assert judged.verdict is Verdict.KEPT


def test_an_entry_missing_after_the_deadline_convicts_the_log(mine):
    without = [mine[0], *mine[2:]]
    judged = check_kept(receipt_for(*mine[:2]), without, as_of_us=DEADLINE_US + 1)
    assert judged.verdict is Verdict.BROKEN
    assert "seq 1" in judged.explanation


def test_an_entry_missing_before_the_deadline_is_waited_for(mine):
    judged = check_kept(receipt_for(mine[0]), [], as_of_us=DEADLINE_US)
    assert judged.verdict is Verdict.PENDING


def test_a_producer_that_forked_itself_convicts_nobody_else(mine):
    other = replace(mine[0], content=mine[0].content + b" ")
    assert other.leaf != mine[0].leaf
    judged = check_kept(receipt_for(other), mine, as_of_us=DEADLINE_US + 1)
    assert judged.verdict is Verdict.SUPPLANTED
    judged = check_kept(receipt_for(other), [], as_of_us=DEADLINE_US + 1)
    assert judged.verdict is Verdict.BROKEN
