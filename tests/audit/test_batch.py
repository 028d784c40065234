"""A batch is cut into few rows, and every entry and event id is found in them again."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from audit.ids import uuid7
from audit.ordering.batch import after_slot, cut_event_ids, cut_runs, find_id, slot_of
from audit.ordering.parcel import id_bytes
from audit.ordering.recent import Recent
from audit.tiles import decode_bundle, encode_bundle

TIMES_MS = st.integers(0, 2**48 - 1) | st.integers(1_700_000_000_000, 1_700_000_010_000)
EVENT_IDS = st.builds(
    lambda ms, tail: id_bytes(uuid7(ms * 1000, tail)),
    TIMES_MS,
    st.binary(min_size=10, max_size=10),
)


@given(st.integers(0, 1000), st.lists(st.integers(1, 3000) | st.just(65_535), max_size=80))
def test_runs_hold_every_entry_in_order_and_cross_no_bundle(start: int, lengths: list[int]) -> None:
    contents = [bytes([number % 251]) * length for number, length in enumerate(lengths)]
    runs = list(cut_runs(start, encode_bundle(contents), [length + 2 for length in lengths]))
    assert [entry for _, _, run in runs for entry in decode_bundle(run)] == contents
    expected = start
    for first, count, run in runs:
        assert (first, count) == (expected, len(decode_bundle(run)))
        assert first // 256 == (first + count - 1) // 256
        assert count == 1 or len(run) <= 8100
        expected += count
    for (_, _, run), (following, _, after) in pairwise(runs):
        first_after = decode_bundle(after)[0]
        assert following % 256 == 0 or len(run) + 2 + len(first_after) > 8100, "a row too many"


@given(st.integers(0, 1000), st.lists(EVENT_IDS, max_size=60, unique=True))
def test_every_event_id_is_found_in_the_row_of_its_slot(start: int, ids: list[bytes]) -> None:
    rows = list(cut_event_ids(start, ids))
    for index, event_id in enumerate(ids, start):
        slot = slot_of(event_id)
        places = [
            first + place
            for number, first, row in rows
            if number == slot and (place := find_id(row, event_id)) is not None
        ]
        assert places == [index]
        assert event_id < after_slot(slot)
        assert slot == 0 or after_slot(slot - 1) <= event_id


def test_an_id_that_only_shows_across_two_others_is_not_found() -> None:
    first, second = (bytes.fromhex(f"00112233445576778899aabbccddee{end}") for end in ("ff", "00"))
    row = first + second
    assert find_id(row, row[8:24]) is None
    assert (find_id(row, first), find_id(row, second)) == (0, 1)


@given(st.lists(st.lists(EVENT_IDS, min_size=1, max_size=5), max_size=30), EVENT_IDS)
def test_what_memory_calls_new_was_never_there(batches: list[list[bytes]], event_id: bytes) -> None:
    recent, there, index = Recent(b"", generation=4), {}, 0
    for batch in batches:
        fresh = [name for name in dict.fromkeys(batch) if name not in there]
        places = {name: index + place for place, name in enumerate(fresh)}
        recent.add(places)
        there |= places
        index += len(fresh)
        recent.age()
        for name in [*there, event_id]:
            found = recent.find(name)
            assert found in {None, there.get(name)}
            assert recent.has_any([name]) == (found is not None)
            if recent.reaches([name]) and found is None:
                assert name not in there
