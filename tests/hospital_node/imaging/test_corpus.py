"""A corpus of sound, odd and malformed files: each is indexed or in quarantine with its reason."""

import csv
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import psycopg
import pytest
from synthetic import KEY

from hospital_node.imaging import index
from hospital_node.imaging.ingest import Source, ingest_folder
from hospital_node.imaging.quarantine import Reason
from hospital_node.imaging.reader import BoundedReader, Limits
from hospital_node.imaging.reading import Facts

_BESIDE = Path(__file__).parents[4] / "shared" / "data"
CORPUS = Path(os.environ.get("WARDROUND_DATA", _BESIDE)) / "dicom_corpus"

pytestmark = pytest.mark.skipif(
    not (CORPUS / "manifest.csv").exists(),
    reason=f"NO CORPUS at {CORPUS}: hostile files are not tried; set WARDROUND_DATA to its folder",
)

SOUND = {Reason.BURNED_IN, Reason.IDENTIFIER_LEFT, Reason.DUPLICATE, None}
"""What may become of a file that decodes and names its patient, by the hospital's rules."""

PIXEL_FAULTS = {
    Reason.TRUNCATED,
    Reason.BAD_GEOMETRY,
    Reason.NO_DECODER,
    Reason.UNDECODABLE,
    Reason.PIXELS_DISAGREE,
}

RIGHT = {
    "TC0171": Reason.NO_PATIENT,  # identifiers of 65 characters and more (PS3.5 §6.2, LO)
    "TC0017": Reason.NO_PATIENT,
    "TC0021": Reason.NO_PATIENT,
    "TC0025": Reason.NO_PATIENT,
    "TC0423": Reason.NO_PATIENT,
    "TC0195": Reason.NO_INSTANCE,
    "TC0459": Reason.NO_INSTANCE,
    "TC0463": Reason.NO_INSTANCE,
    "TC0457": Reason.NO_INSTANCE,
    "TC0471": Reason.NO_INSTANCE,
    "TC0437": Reason.MODALITY_CONFLICT,
    "TC0443": Reason.MODALITY_CONFLICT,
    "TC0439": Reason.MODALITY_CONFLICT,
    "TC0307": Reason.PIXELS_DISAGREE,
    "TC0289": Reason.PIXELS_DISAGREE,
    "TC0341": Reason.PIXELS_DISAGREE,
    "TC0329": Reason.BAD_GEOMETRY,
    "TC0231": Reason.NOT_CLEARED,
    "TC0361": Reason.DUPLICATE,  # it calls itself what another file is, and differs
    "TC0279": Reason.NOT_CLEARED,
    "image_dfl": Reason.NO_PATIENT,
    "image1.dcm": Reason.NO_MODALITY,
    "image2.dcm": Reason.NO_MODALITY,
    "image3.dcm": Reason.NO_MODALITY,
    "image4.dcm": Reason.NO_MODALITY,
    "image5.dcm": Reason.NO_MODALITY,
    "image6.dcm": Reason.NO_MODALITY,
    "image7.dcm": Reason.NO_MODALITY,
}
"""Files whose pixels a reference reader decodes and that are not used all the same."""


def manifest() -> list[dict[str, str]]:
    with (CORPUS / "manifest.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def fits(row: dict[str, str], reason: Reason | None) -> bool:
    """Whether what became of a file goes with what the manifest says of it."""
    name = Path(row["file"]).name
    right = RIGHT.get(name) or RIGHT.get(name.partition("_")[0])
    if right is not None:
        return reason is right
    if row["has_pixels"] != "True":
        return reason in {Reason.NO_PIXELS, Reason.NO_PATIENT}
    if row["pixels"].startswith("FAIL"):
        return reason in PIXEL_FAULTS
    return reason in SOUND


def reader() -> BoundedReader:
    return BoundedReader(Limits(readers=1))


@pytest.fixture(scope="module")
def labels(tmp_path_factory) -> Path:
    """A label for every file that names a patient, so that nothing is kept back for want of one."""
    path = tmp_path_factory.mktemp("labels") / "labels.csv"
    with path.open("w", newline="", encoding="utf-8") as file, reader() as bounded:
        writer = csv.writer(file)
        writer.writerow(("file", "patient_id", "label"))
        for row in manifest():
            facts = bounded.read((CORPUS / row["file"]).read_bytes())
            if isinstance(facts, Facts):
                writer.writerow((row["file"], facts.patient_id, "x"))
    return path


def test_every_file_of_the_corpus_has_its_place_and_the_right_reason(dsn, labels):
    with psycopg.connect(dsn, autocommit=True) as connection:
        index.prepare(connection)
        source = Source(CORPUS, labels)
        report = ingest_folder(connection, source, key=KEY, limits=Limits(readers=2))
        known = index.known_files(connection)
        again = ingest_folder(connection, source, key=KEY, limits=Limits(readers=2))
    rows = manifest()
    reasons = {row["file"]: known[row["file"]].reason for row in rows}
    wrong = [
        f"{row['file']}: {reasons[row['file']]}"
        for row in rows
        if not fits(row, reasons[row["file"]])
    ]
    assert wrong == []
    assert report.indexed + len(report.quarantined) == len(known)
    assert known["manifest.csv"].reason is Reason.NOT_DICOM
    assert report.indexed > 0.5 * len(rows), Counter(reasons.values())
    assert {item.reason for item in report.quarantined}.isdisjoint(
        {Reason.READER_DIED, Reason.TOO_SLOW, Reason.TOO_MUCH_MEMORY}
    )
    assert (again.indexed, again.quarantined) == (report.indexed, report.quarantined)


def test_reading_the_corpus_stays_within_its_memory():
    """The reader's peak, told by a process that has no other child."""
    told = subprocess.run(
        [sys.executable, "-c", _READ_ALL, str(CORPUS)],
        check=True,
        capture_output=True,
        text=True,
        timeout=300,
    )
    files, peak_kib = map(int, told.stdout.split())
    assert files > 100
    assert peak_kib * 1024 < Limits().memory_bytes


_READ_ALL = """
import resource, sys
from pathlib import Path
from hospital_node.imaging.reader import BoundedReader, Limits

paths = [path for path in Path(sys.argv[1]).rglob("*") if path.is_file()]
with BoundedReader(Limits(readers=1)) as bounded:
    for path in paths:
        bounded.read(path.read_bytes())
print(len(paths), resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""
