"""Exports as lines: what was written is read back; offline the same entries are picked."""

import csv
import io
from pathlib import Path

import psycopg
import pytest
from audit_parties import Consortium, Said
from audit_story import START_US, whole_story
from desk_parties import opened_desk
from exported import read_ndjson
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.desk import search
from audit.desk.search import Search
from audit.entry import Actor, ActorKind, Entry, Outcome
from audit.errors import EvidenceError
from audit.export_lines import (
    COLUMNS,
    LINES,
    LONGEST_RECORD_BYTES,
    Format,
    Manifest,
    index_of,
    manifest_of,
    records,
)
from audit.selection import Selection

PARTIES = Consortium()
NOTE = whole_story().note()
SALT = "5a" * 32
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**53), 2**53), TEXTS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner),
    max_leaves=6,
)
SAID = st.builds(
    Said,
    body=st.dictionaries(st.sampled_from(["index", "leaf", "entry", "end", "text"]), VALUES),
    plan_id=st.none() | TEXTS,
    run_id=st.none() | TEXTS,
    round=st.none() | st.integers(0, 9),
    outcome=st.sampled_from(Outcome),
    actor=st.none()
    | st.builds(Actor, kind=st.just(ActorKind.PERSON), id=st.just("k1"), organisation=TEXTS),
)
SELECTIONS = st.builds(
    Selection,
    type=st.sampled_from([None, "test.noted", "test.", "plan."]),
    run_id=st.none() | TEXTS,
    round=st.none() | st.integers(0, 9),
)


def rows_of(said: list[Said]) -> list[tuple[int, Entry]]:
    chain = PARTIES.chain()
    return [(7 * number, Entry.parse(chain.draft(one))) for number, one in enumerate(said)]


def lines_of(content: bytes) -> list[bytes]:
    return io.BytesIO(content).readlines()


@given(st.lists(SAID, max_size=4), SELECTIONS)
@settings(max_examples=60)
def test_ndjson_gives_back_the_exact_entries(said, selection):
    rows, manifest = rows_of(said), Manifest(Format.NDJSON, selection, NOTE, SALT)
    content = b"".join(LINES[Format.NDJSON].export(manifest, rows))
    lines = lines_of(content)
    assert read_ndjson(content) == (manifest, rows)
    assert manifest_of(*lines[:2]) == manifest
    assert [index_of(line, Format.NDJSON) for line in lines[1:-1]] == [index for index, _ in rows]


@given(st.lists(SAID, max_size=4), SELECTIONS)
@settings(max_examples=60)
def test_csv_gives_back_the_exact_entries_and_no_cell_is_a_formula(said, selection):
    rows, manifest = rows_of(said), Manifest(Format.CSV, selection, NOTE, SALT)
    content = b"".join(LINES[Format.CSV].export(manifest, rows))
    found = list(records(lines_of(content)))
    assert b"".join(found) == content
    assert manifest_of(*found[:2]) == manifest
    assert [index_of(record, Format.CSV) for record in found[2:-1]] == [index for index, _ in rows]
    table = list(csv.reader(io.StringIO(content.decode(), newline="")))
    assert tuple(table[0]) == COLUMNS
    assert [Entry.parse(cells[-1].encode()) for cells in table[2:-1]] == [e for _, e in rows]
    assert not {cell[:1] for cells in table for cell in cells} & set("=+-@|%\t\r\n")


@given(st.binary(max_size=200), st.sampled_from([Format.CSV, Format.NDJSON]))
def test_any_bytes_name_an_index_or_none(record, kind):
    assert index_of(record, kind) is None or index_of(record, kind) >= 0
    with pytest.raises(EvidenceError):
        manifest_of(record, record)


LONG = b'"' + b"x" * 140_000 + b'"'


@pytest.mark.parametrize("record", [LONG, b'"entry","' + LONG, b'"a\r"b"\rc', b"\0,1", b'"\r\n'])
def test_a_record_that_no_csv_reader_takes_names_no_index(record):
    assert index_of(record, Format.CSV) is None
    header = b"".join(LINES[Format.CSV].export(Manifest(Format.CSV, Selection(), NOTE, SALT), []))
    with pytest.raises(EvidenceError):
        manifest_of(header.splitlines(keepends=True)[0], record)


def test_a_quotation_mark_that_nobody_closes_does_not_keep_the_whole_file_in_memory():
    line = b"x" * 1023 + b"\n"
    lines = [b'"' + line, *[line] * 4096]
    found = list(records(lines))
    assert b"".join(found) == b"".join(lines)
    assert max(map(len, found)) <= LONGEST_RECORD_BYTES + len(line) + 1


ORGANISATION = "Org \N{GREEK SMALL LETTER EPSILON}"


def test_what_is_picked_offline_is_what_the_database_picks(dsn: str, tmp_path: Path):
    """Every value of every column, alone and with a type beside it."""
    story = whole_story()
    actor = Actor(ActorKind.PERSON, "k1", ORGANISATION, "auditor", "test")
    story.write("centre", Said(body={"a": [{"model_digest": "no"}]}, actor=actor))
    story.write("east", Said(outcome=Outcome.SERIOUS_FAILURE))
    with opened_desk(dsn, story, tmp_path) as opened:
        entries = [Entry.parse(content) for content in story.entries]
        organisations = {party.producer: party.organisation for party in opened.desk.parties}
        wanted = [Selection(**one) for one in _choices(entries, organisations)]
        assert len(wanted) > 60
        with psycopg.connect(dsn) as connection:
            for selection in wanted:
                database = search.each(connection, Search(**selection.to_json()), size=len(entries))
                ours = [
                    index
                    for index, entry in enumerate(entries)
                    if selection.describes(entry, organisations)
                ]
                assert [index for index, _ in database] == ours, selection


def _choices(entries: list[Entry], organisations: dict[str, str]) -> list[dict[str, object]]:
    models = {
        text
        for entry in entries
        for name, text in entry.body.items()
        if isinstance(text, str) and text.startswith("sha256:")
    }
    alone: list[dict[str, object]] = [{}, {"actor": "k1"}, {"organisation": ORGANISATION}]
    for column in ("type", "plan_id", "run_id", "round", "producer", "outcome"):
        values = {getattr(entry, column) for entry in entries} - {None}
        alone += [{column: value} for value in sorted(values)]
    alone += [{"type": "plan."}, {"type": "p"}, {"type": "."}]
    alone += [{"organisation": one} for one in sorted(set(organisations.values()))]
    alone += [{"model": digest} for digest in sorted(models)]
    moments = (START_US, START_US + 5_000_000, START_US + 5_000_001)
    alone += [{name: at} for name in ("since_us", "until_us") for at in moments]
    return alone + [{**one, "type": "update.sent"} for one in alone]


def test_a_selection_is_read_as_it_was_printed():
    selection = Selection(type="a.", round=0, outcome=8, since_us=5)
    assert Selection.from_json(selection.to_json()) == selection
    for wrong in ({"name": "x"}, {"round": "1"}, {"type": 1}, {"round": True}, [], None):
        with pytest.raises(EvidenceError):
            Selection.from_json(wrong)
