"""Labels from reports: what a table of codes makes of them, and what it makes of hostile ones."""

from io import BytesIO

import pytest
from dicom_site import tiny
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import DeflatedExplicitVRLittleEndian
from sr import (
    ABSENT,
    LUNG,
    NODULE,
    OPACITY,
    PRESENCE,
    PRESENT,
    CodedConcept,
    bytes_of,
    group,
    plain,
    report,
)

from hospital_node.imaging import codes, labels_sr
from hospital_node.imaging.labels_sr import (
    REPORT_EXPLANATIONS,
    Accepted,
    Refused,
    ReportFault,
    Rule,
    Said,
    SrLabels,
    read_report,
)
from hospital_node.imaging.report_reader import MAX_REPORT_BYTES, ReportReader

NODULES = SrLabels(
    labels=(
        Rule(label="nodule", finding="SCT:27925004"),
        Rule(label="clear", finding="SCT:27925004", name="SCT:705057003", value="SCT:2667000"),
    )
)


@pytest.fixture(scope="module")
def images():
    first = tiny()
    first.StudyTime = "101500"
    second = tiny(1, study=first.StudyInstanceUID, series=first.SeriesInstanceUID)
    return [first, second]


def said(made: Dataset, table: SrLabels = NODULES) -> dict[str, dict[str, str]]:
    """Labels by image; fails where there is a fault."""
    found = read_report(bytes_of(made), table)
    assert isinstance(found, Said), found
    return {uid: one.labels for one in found.labellings for uid in one.instances}


def fault(made: Dataset, table: SrLabels = NODULES) -> ReportFault:
    found = read_report(bytes_of(made), table)
    assert isinstance(found, Refused), found
    return found.fault


def table(*rules: Rule, **changes) -> SrLabels:
    return SrLabels(labels=rules, **changes)


def test_a_finding_gives_its_label_to_the_images_that_its_group_names(images):
    first, second = images
    made = report(
        images,
        [
            group(finding=NODULE, images=[first]),
            group(finding=NODULE, says=[(PRESENCE, ABSENT)], images=[second]),
        ],
    )
    assert said(made) == {
        first.SOPInstanceUID: {"label": "nodule"},
        second.SOPInstanceUID: {"label": "clear"},
    }


def test_a_group_that_names_no_image_is_about_all_of_the_evidence(images):
    made = report(images, [group(finding=NODULE)])
    assert set(said(made)) == {one.SOPInstanceUID for one in images}


def test_an_absence_that_the_table_does_not_name_gives_no_label(images):
    one_line = table(Rule(label="nodule", finding="SCT:27925004"))
    made = report(images, [group(finding=NODULE, says=[(PRESENCE, ABSENT)])])
    assert fault(made, one_line) is ReportFault.NO_FINDING
    with_it = report(images, [group(finding=NODULE, says=[(PRESENCE, PRESENT)])])
    assert set(said(with_it, one_line)) == {one.SOPInstanceUID for one in images}


def test_all_codes_of_a_line_have_to_stand_in_one_group(images):
    first, second = images
    rule = Rule(
        label="nodule", finding="SCT:27925004", site="SCT:39607008",
        name="SCT:705057003", value="SCT:52101004",
    )  # fmt: skip
    apart = [
        group(finding=NODULE, site=LUNG, images=[first]),
        group(says=[(PRESENCE, PRESENT)], images=[second]),
    ]
    assert fault(report(images, apart), table(rule)) is ReportFault.NO_FINDING
    together = group(finding=NODULE, site=LUNG, says=[(PRESENCE, PRESENT)], images=[second])
    assert set(said(report(images, [*apart, together]), table(rule))) == {second.SOPInstanceUID}


def test_codes_of_old_snomed_are_those_of_today(images):
    old = CodedConcept("G-A203", "SRT", "Present")
    assert mapped() == "52101004"
    made = report(images, [group(says=[(OPACITY, old)])])
    rule = Rule(label="opacity", name="SCT:128309005", value="SCT:52101004")
    assert set(said(made, table(rule))) == {one.SOPInstanceUID for one in images}
    written_old = Rule(label="opacity", name="SCT:128309005", value="SRT:G-A203")
    assert said(made, table(written_old)) == said(made, table(rule))


def mapped() -> str:
    return codes.plain("SRT:G-A203").removeprefix("SCT:")


def test_several_columns_come_of_one_report(images):
    rules = (
        Rule(label="yes", column="nodule", finding="SCT:27925004"),
        Rule(label="yes", column="opacity", finding="SCT:128309005"),
    )
    made = report(images, [group(finding=NODULE), group(finding=OPACITY, images=images[:1])])
    found = said(made, table(*rules))
    assert found[images[0].SOPInstanceUID] == {"nodule": "yes", "opacity": "yes"}
    assert found[images[1].SOPInstanceUID] == {"nodule": "yes"}


def test_two_labels_for_one_image_refuse_the_whole_report(images):
    groups = [group(finding=NODULE), group(finding=NODULE, says=[(PRESENCE, ABSENT)])]
    assert fault(report(images, groups)) is ReportFault.CONTRADICTS


@pytest.mark.parametrize(
    ("changes", "accepted"),
    [
        ({}, {"verified", "complete", "any"}),
        ({"VerificationFlag": "UNVERIFIED"}, {"complete", "any"}),
        ({"PreliminaryFlag": "PRELIMINARY"}, {"any"}),
        ({"CompletionFlag": "PARTIAL"}, {"any"}),
        ({"VerificationFlag": ""}, {"complete", "any"}),
    ],
)
def test_only_what_is_signed_and_whole_counts_unless_the_settings_say_otherwise(
    images, changes, accepted
):
    made = report(images, [group(finding=NODULE)], **changes)
    for state in Accepted:
        found = read_report(bytes_of(made), NODULES.model_copy(update={"accept": state}))
        assert isinstance(found, Said) == (state in accepted)
        assert isinstance(found, Said) or found.fault is ReportFault.NOT_ACCEPTED
    assert NODULES.accept is Accepted.VERIFIED


def test_what_a_report_does_not_say_is_a_fault(images):
    sound = group(finding=NODULE)
    assert fault(report(images, [group(finding=OPACITY)])) is ReportFault.NO_FINDING
    assert fault(report(images, [sound], PatientID="")) is ReportFault.NO_PATIENT
    assert fault(report(images, [sound], PatientID="x" * 65)) is ReportFault.NO_PATIENT
    alone = report(images, [sound])
    del alone.CurrentRequestedProcedureEvidenceSequence
    assert fault(alone) is ReportFault.NO_IMAGE
    image = tiny()
    image.file_meta = alone.file_meta
    assert fault(image) is ReportFault.UNREADABLE


@pytest.mark.parametrize(
    "words",
    [
        {"label": "x"},
        {"label": "x", "name": "SCT:1"},
        {"label": "x", "value": "SCT:1"},
        {"label": "", "finding": "SCT:1"},
        {"label": "x", "finding": "27925004"},
        {"label": "x", "site": "SCT:39607008"},
    ],
)
def test_a_line_that_decides_nothing_is_refused(words):
    with pytest.raises(ValidationError):
        Rule(**words)


# Hostile files


def deep(levels: int) -> bytes:
    """A report whose content is nested so deep."""
    made = plain(report([tiny_with_time()], [group(finding=NODULE)]))
    inner = Dataset()
    inner.ValueType = "TEXT"
    for _ in range(levels):
        outer = Dataset()
        outer.ValueType = "CONTAINER"
        outer.ContentSequence = Sequence([inner])
        inner = outer
    made.ContentSequence.append(inner)
    return bytes_of(made)


def tiny_with_time() -> Dataset:
    made = tiny()
    made.StudyTime = "101500"
    return made


@pytest.fixture(scope="module")
def reader():
    with ReportReader(NODULES) as reader:
        yield reader


@pytest.mark.parametrize("levels", [40, 150])
def test_content_that_is_nested_too_deep_is_refused(reader, levels):
    found = reader.read(deep(levels))
    assert found in (
        Refused(fault=ReportFault.TOO_COMPLEX),
        Refused(fault=ReportFault.UNREADABLE),
    )


def test_a_report_with_too_many_items_is_refused(reader):
    made = plain(report([tiny_with_time()], [group(finding=NODULE)]))
    item = Dataset()
    item.ValueType = "TEXT"
    made.ContentSequence.extend(item for _ in range(labels_sr.MAX_ITEMS + 1))
    assert reader.read(bytes_of(made)) == Refused(fault=ReportFault.TOO_COMPLEX)


def test_a_report_that_unfolds_to_gigabytes_ends_within_bounds_and_the_next_is_read(reader):
    made = report([tiny_with_time()], [group(finding=NODULE)])
    sound = bytes_of(made)
    made.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    made.add_new(0x00091001, "OB", bytes(2**30))
    made.add_new(0x00090010, "LO", "BOMB")
    bomb = BytesIO()
    made.save_as(bomb, enforce_file_format=True)
    assert len(bomb.getvalue()) < MAX_REPORT_BYTES
    assert isinstance(reader.read(bomb.getvalue()), Refused)
    assert isinstance(reader.read(sound), Said)


def test_what_is_too_large_or_empty_is_not_even_parsed(reader):
    assert reader.read(bytes(MAX_REPORT_BYTES + 1)).fault is ReportFault.TOO_LARGE
    assert reader.read(b"").fault is ReportFault.UNREADABLE


def test_a_child_that_dies_costs_one_report(reader):
    sound = bytes_of(report([tiny_with_time()], [group(finding=NODULE)]))
    assert isinstance(reader.read(sound), Said)
    reader._child.kill()
    assert reader.read(sound).fault is ReportFault.READER_DIED
    assert isinstance(reader.read(sound), Said)


def test_a_child_that_invents_a_label_is_not_believed(reader):
    sound = bytes_of(report([tiny_with_time()], [group(finding=NODULE)]))
    answer = reader.read(sound).model_dump_json().encode()
    assert isinstance(reader._parse(answer), Said)
    assert reader._parse(answer.replace(b'"nodule"', b'"PLANTED"')) is None
    assert reader._parse(b'{"kind":"refused","fault":"report-PLANTED"}') is None


SOUND = bytes_of(report([tiny_with_time()], [group(finding=NODULE, site=LUNG)]))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_no_changed_byte_makes_reading_raise_or_invent(data):
    content = bytearray(SOUND)
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(content)))
    found = read_report(bytes(content[:cut] if cut % 3 else content), NODULES)
    if isinstance(found, Said):
        labels = [one.labels for one in found.labellings]
        assert all(one in ({"label": "nodule"}, {"label": "clear"}) for one in labels)
    else:
        assert found.fault in REPORT_EXPLANATIONS


def test_every_fault_is_explained():
    assert set(REPORT_EXPLANATIONS) == set(ReportFault)
