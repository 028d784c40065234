"""What leaves the desk as a file: exact, complete, harmless to open, checked against the log."""

import base64
import csv
import hashlib
import io
import json
import re
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from audit_parties import Said
from audit_story import RUN, Story, whole_story
from desk_parties import Opened, opened_desk
from exported import read_ndjson
from fhir.resources.R4B.auditevent import AuditEvent

from audit.canonical import canonical_json, parse_canonical
from audit.checkpoint import Checkpoint
from audit.desk.callers import Role
from audit.desk.exports.exporting import write_export
from audit.desk.exports.parquet import MANIFEST_KEY
from audit.entry import Entry
from audit.errors import EvidenceError
from audit.evidence import TarLog
from audit.export_check import DIFFERENT, check_export
from audit.export_lines import Format, Manifest
from audit.merkle import leaf_hash
from audit.note import Note
from audit.refusal import LogUnavailableError
from audit.selection import Selection
from audit.trust import Trust


@pytest.fixture
def opened(dsn: str, tmp_path: Path) -> Iterator[Opened]:
    with opened_desk(dsn, whole_story(), tmp_path) as desk:
        yield desk


def export(opened: Opened, kind: str, **wanted: object) -> tuple[bytes, dict]:
    answer = opened.client.post("/v1/exports", json={"format": kind, "filter": wanted})
    assert answer.status_code == 200, answer.text
    digest = base64.b64encode(hashlib.sha256(answer.content).digest()).decode()
    assert answer.headers["content-digest"] == f"sha-256=:{digest}:"
    return answer.content, parse_canonical(base64.b64decode(answer.headers["wardround-export"]))


def evidence(opened: Opened, folder: Path) -> Path:
    path = folder / "evidence.tar"
    path.write_bytes(export(opened, "evidence")[0])
    return path


def check(opened: Opened, content: bytes, folder: Path) -> tuple[str, ...]:
    path = folder / "export"
    path.write_bytes(content)
    with TarLog.open(evidence(opened, folder)) as log:
        return check_export(path, log, opened.desk.consortium).differences


def test_an_ndjson_export_gives_back_the_exact_entries(opened):
    content, summary = export(opened, "ndjson")
    manifest, rows = read_ndjson(content)
    assert [entry.content for _, entry in rows] == opened.story.entries
    assert [index for index, _ in rows] == list(range(len(opened.story.entries)))
    assert (summary["count"], summary["size"]) == (len(rows), manifest.size)
    for line in content.splitlines()[1:-1]:
        said = json.loads(line)
        assert leaf_hash(canonical_json(said["entry"])).hex() == said["leaf"]


def test_the_same_export_under_the_same_salt_is_the_same_bytes(opened, tmp_path):
    fixed = replace(opened.desk, random=bytes)
    for kind in Format:
        once, again = (
            write_export(fixed, kind, Selection(), folder=new_folder(tmp_path)) for _ in "12"
        )
        assert once.path.read_bytes() == again.path.read_bytes(), kind


def new_folder(parent: Path) -> Path:
    return Path(tempfile.mkdtemp(dir=parent))


@pytest.mark.parametrize("kind", ["ndjson", "csv", "parquet", "pdf"])
def test_no_guess_of_a_filter_that_fits_nothing_shows_in_the_digest_on_record(opened, kind):
    """Who holds the log and the checkpoint can make every part of such a file but the salt."""
    name = "Anna Schmidt 1948"
    once, again = (export(opened, kind, run_id=name)[0] for _ in "12")
    assert once != again
    opened.settle()
    found = [one["entry"] for one in opened.get("/v1/events", type="audit.export")["entries"]]
    assert [one["body"]["count"] for one in found] == [0, 0]
    assert len({one["body"]["content_digest"] for one in found}) == 2
    assert name not in json.dumps(found)


@pytest.mark.parametrize("kind", ["ndjson", "csv"])
@pytest.mark.parametrize(
    "wanted", [{}, {"type": "privacy."}, {"run_id": RUN, "round": 2}, {"type": "no.such"}]
)
def test_an_export_checks_against_the_evidence(opened, tmp_path, kind, wanted):
    assert check(opened, export(opened, kind, **wanted)[0], tmp_path) == ()


def test_whatever_is_done_to_an_export_is_named_by_index(opened, tmp_path):
    content, _ = export(opened, "ndjson", type="update.sent")
    lines = content.splitlines(keepends=True)
    indices = [json.loads(line)["index"] for line in lines[1:-1]]
    other = export(opened, "ndjson", type="plan.voted")[0].splitlines(keepends=True)

    def differences(changed: list[bytes]) -> str:
        return " | ".join(check(opened, b"".join(changed), tmp_path))

    assert f"entry {indices[1]} is missing" in differences(lines[:2] + lines[3:])
    assert f"entry {indices[0]} does not belong" in differences([*lines[:2], *lines[1:]])
    changed = lines[1].replace(b"update.sent", b"update.lost")
    assert f"entry {indices[0]} is not what" in differences([lines[0], changed, *lines[2:]])
    stranger = json.loads(other[1])["index"]
    assert f"entry {stranger} does not belong" in differences([lines[0], other[1], *lines[1:]])
    assert "does not end" in differences(lines[:-1])
    assert "behind the end" in differences([*lines, lines[-2]])
    wider = lines[0].replace(b'"type":"update.sent"', b'"type":"update."')
    assert "does not end" not in differences([wider, *lines[1:]])  # a choice that gives the same
    wrong = lines[0].replace(b'"type":"update.sent"', b'"type":"round.closed"')
    assert "is missing" in differences([wrong, *lines[1:]])


def test_a_cell_that_was_changed_beside_its_entry_shows(opened, tmp_path):
    content, _ = export(opened, "csv", type="update.sent")
    changed = content.replace(b'"demo/east"', b'"demo/west"', 1)
    assert changed != content
    (difference,) = check(opened, changed, tmp_path)
    assert "is not what the log holds" in difference


def test_an_export_of_another_history_is_not_taken_for_one_of_this(opened, tmp_path):
    content, _ = export(opened, "ndjson", type="plan.voted")
    forged = Story()
    forged.entries = list(reversed(whole_story().entries))
    lines = content.splitlines(keepends=True)
    manifest = parse_canonical(lines[0].strip())["manifest"] | {"checkpoint": forged.note()}
    head = canonical_json({"manifest": manifest}) + b"\n"
    found = check(opened, b"".join([head, *lines[1:]]), tmp_path)
    assert any("another history" in text for text in found)


def test_an_export_under_a_checkpoint_that_no_quorum_cosigned_is_named(opened, tmp_path):
    """The log's key alone vouches for no export: its holder can sign any history."""
    lines = export(opened, "ndjson", type="plan.voted")[0].splitlines(keepends=True)
    manifest = parse_canonical(lines[0].strip())["manifest"]
    alone = opened.story.note().partition("/witness ")[0].rpartition("\n")[0] + "\n"
    head = canonical_json({"manifest": manifest | {"checkpoint": alone}}) + b"\n"
    (difference,) = check(opened, b"".join([head, *lines[1:]]), tmp_path)
    assert "the export's checkpoint" in difference


def test_evidence_older_than_the_export_is_refused(opened, tmp_path):
    old = evidence(opened, tmp_path)
    opened.settle()
    opened.cosign()
    path = tmp_path / "newer"
    path.write_bytes(export(opened, "ndjson")[0])
    with TarLog.open(old) as log, pytest.raises(EvidenceError, match="newer evidence"):
        check_export(path, log, opened.desk.consortium)


HOSTILE = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "|calc", 'a"b', "a,b;=c", "a\r\nb",
           "<b>bold</b>", "&amp;", "\u202e\u4e2d\U0001f600", "＝1"]  # fmt: skip


def test_no_cell_is_a_formula_and_every_value_comes_back(dsn, tmp_path):
    story = whole_story()
    for text in HOSTILE:
        story.write("centre", Said(body={"explanation": text}, run_id=text))
    with opened_desk(dsn, story, tmp_path) as opened:
        content, _ = export(opened, "csv", type="test.noted")
        rows = list(csv.DictReader(io.StringIO(content.decode(), newline="")))
        entries = [row for row in rows if row["record"] == "entry"]
        assert [Entry.parse(row["entry"].encode()).run_id for row in entries] == HOSTILE
        assert [row["run_id"].removeprefix("'") for row in entries] == HOSTILE
        begins = {cell[:1] for row in rows for cell in row.values()}
        assert not begins & set("=+-@|\t\r＝")
        assert check(opened, content, tmp_path) == ()
        ndjson, _ = export(opened, "ndjson", type="test.noted")
        assert check(opened, ndjson, tmp_path) == ()


def pdf_text(content: bytes) -> str:
    """Everything that a report's pages draw as text, a line a piece."""
    streams = re.findall(rb"stream\r?\n(.*?)~>\s*endstream", content, re.DOTALL)
    drawn = b"".join(zlib.decompress(base64.a85decode(stream.strip())) for stream in streams)
    pieces = re.findall(rb"\(((?:\\.|[^\\()])*)\) Tj", drawn)
    return b"\n".join(re.sub(rb"\\([()\\])", rb"\1", piece) for piece in pieces).decode("latin-1")


def test_a_report_shows_text_as_text_and_names_its_checkpoint(dsn, tmp_path):
    story = whole_story()
    story.write("east", Said(type="round.halted", body={"explanation": "<b>no</b> &amp; \u4e2d"}))
    with opened_desk(dsn, story, tmp_path) as opened:
        text = pdf_text(export(opened, "pdf")[0])
        assert "<b>no</b> &amp; [U+4E2D]" in text
        assert "Privacy spent per hospital" in text
        root = Checkpoint.parse(Note.parse(story.note()).text).root.hex()
        assert root in text.replace("\n", "")
        assert "Org east, Org north, Org south (3 organisations; 2 are needed)" in text
        narrow = pdf_text(export(opened, "pdf", type="plan.voted")[0])
        assert "no entry of this extract records a failure" in narrow
        assert "Privacy spent" not in narrow
        assert "type = plan.voted" in narrow


def test_parquet_has_typed_columns_and_the_manifest_in_it(opened, tmp_path):
    content, _ = export(opened, "parquet", type="privacy.charged")
    table = pq.read_table(io.BytesIO(content))
    manifest = Manifest.from_json(parse_canonical(table.schema.metadata[MANIFEST_KEY]))
    assert manifest.selection == Selection(type="privacy.charged")
    rows = table.to_pylist()
    assert len(rows) == 5
    for row in rows:
        assert row["entry"] == opened.story.entries[row["index"]]
        assert row["leaf"] == leaf_hash(row["entry"])
        assert row["time"].tzinfo is not None


def test_fhir_ndjson_is_one_valid_resource_a_line_each_with_its_proof(opened):
    content, summary = export(opened, "fhir-ndjson", type="plan.voted")
    lines = content.splitlines()
    assert len(lines) == summary["count"] == 3
    for line in lines:
        AuditEvent.model_validate_json(line)
        assert b"c2sp.org/tlog-proof@v1" in line


def test_evidence_is_whole_and_verifies(opened, tmp_path):
    refused = opened.client.post(
        "/v1/exports", json={"format": "evidence", "filter": {"type": "plan.voted"}}
    )
    assert refused.status_code == 400
    path = evidence(opened, tmp_path)
    with tarfile.open(path) as tar:
        assert {"checkpoint", "consortium.json", "manifest.json"} <= set(tar.getnames())
    with TarLog.open(path) as log:
        assert list(log.damaged()) == []
        assert Trust.parse(log.consortium_bytes or b"").log == opened.desk.trust.log


def test_every_export_is_on_the_record_with_its_digest_and_count(opened):
    content, summary = export(opened, "csv", type="plan.voted")
    opened.settle()
    (found,) = opened.get("/v1/events", type="audit.export")["entries"]
    body = found["entry"]["body"]
    assert body["content_digest"] == "sha256:" + hashlib.sha256(content).hexdigest()
    assert (body["count"], body["format"], body["size"]) == (3, "csv", summary["size"])
    assert found["entry"]["actor"]["role"] == "auditor"
    assert "plan.voted" not in json.dumps(body)


def test_only_readers_export(opened):
    wanted = {"format": "ndjson"}
    assert opened.client_with(None).post("/v1/exports", json=wanted).status_code == 401
    assert opened.client_as(Role.OPERATOR).post("/v1/exports", json=wanted).status_code == 403
    assert (
        opened.client_as(Role.RECORDS_OFFICER).post("/v1/exports", json=wanted).status_code == 200
    )


@pytest.mark.parametrize(
    "wanted",
    [
        {},
        {"format": "xlsx"},
        {"format": "csv", "filter": {"name": "x"}},
        {"format": "csv", "filter": {"round": "1"}},
        {"format": "csv", "filter": {"round": 2**60}},
        {"format": "csv", "filter": {"type": "a\u0000b"}},
        {"format": "csv", "sort": "date"},
    ],
)
def test_what_is_not_of_its_form_is_refused(opened, wanted):
    answer = opened.client.post("/v1/exports", json=wanted)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"


def test_nothing_is_exported_that_no_quorum_has_seen(opened, tmp_path):
    """Entries beyond the witnessed checkpoint wait for it."""
    opened.get("/v1/whoami")
    opened.settle()
    exported = write_export(opened.desk, Format.NDJSON, Selection(), folder=tmp_path)
    assert exported.count == exported.manifest.size == len(opened.story.entries)


def test_nothing_is_exported_before_all_of_it_can_be_searched(opened, tmp_path):
    with opened.desk.pool.connection() as connection:
        connection.execute("DELETE FROM audit_event WHERE idx > 3")
    with pytest.raises(LogUnavailableError, match="can be searched yet"):
        write_export(opened.desk, Format.NDJSON, Selection(), folder=tmp_path)
    assert list(tmp_path.glob("export*")) == []


def test_an_outcome_has_a_code_and_a_verdict(opened, tmp_path):
    content, _ = export(opened, "ndjson", type="plan.voted")
    path = tmp_path / "export"
    with TarLog.open(evidence(opened, tmp_path)) as log:
        path.write_bytes(content)
        fine = check_export(path, log, opened.desk.consortium)
        path.write_bytes(content.replace(b"approve", b"refuse!"))
        spoilt = check_export(path, log, opened.desk.consortium)
    assert (fine.exit_code, spoilt.exit_code) == (0, DIFFERENT)
    assert list(fine.lines())[-1].startswith("complete and unchanged: 3 of")
    assert list(spoilt.lines())[-1].startswith("NOT COMPLETE")
